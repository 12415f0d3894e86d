//! The provider, and which objects are ours: validated. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use causeway_api::Capabilities;

use super::{Check, dns_subdomain};
use crate::cli::args::{self, ClusterHealthArg, ProviderArgs};
use crate::cli::provider::Provider;
use crate::translate::{ClassRules, ClusterHealth};

/// What only AWS has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsConfig {
    /// Region; `None`: by the chain of AWS's SDKs.
    pub region: Option<String>,
    /// VPC; `None`: that of the instance.
    pub vpc_id: Option<String>,
    /// Options of the provider by name; they are known, and their values right.
    pub options: BTreeMap<String, String>,
}

/// Provider, and which objects are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// The provider.
    pub provider: Provider,
    /// Its own file, if it has one.
    pub cloud_config: Option<PathBuf>,
    /// In marks of cloud resources; `None`: the uid of namespace kube-system.
    pub cluster_id: Option<String>,
    /// In tags that others set by it, where a provider knows such.
    pub cluster_name: Option<String>,
    /// What only AWS has.
    pub aws: AwsConfig,
    /// Exactly these classes are ours.
    pub load_balancer_classes: Vec<String>,
    /// Services without a class, if the user said it; see [`class_rules`](Self::class_rules).
    pub own_classless: Option<bool>,
    /// Health checks of Services with externalTrafficPolicy Cluster.
    pub cluster_health: ClusterHealth,
    /// Namespace of the provider's own objects.
    pub config_namespace: String,
    /// What becomes of addresses that no pool holds any more.
    pub outside_pools: args::OutsidePoolsArg,
    /// Whose load balancers are taken over.
    pub adopt: Vec<&'static causeway_api::Peer>,
    /// Whose way is gone where a peer's differs; `None`: as the inventory says, else ours.
    pub compat: Option<args::CompatArg>,
    /// Further controllers of IngressClasses that are ours.
    pub ingress_controllers: Vec<String>,
}

impl ProviderConfig {
    /// The provider for AWS, planning for an empty cloud.
    #[cfg(feature = "aws")]
    #[must_use]
    pub fn aws(&self) -> causeway_aws::Aws<causeway_aws::Offline> {
        causeway_aws::Aws::offline(self.aws_overrides())
    }

    /// What flags say of AWS.
    #[cfg(feature = "aws")]
    #[must_use]
    pub fn aws_overrides(&self) -> causeway_aws::Overrides {
        use causeway_aws::options::Compat;
        causeway_aws::Overrides {
            cluster_id: self.cluster_id.clone(),
            cluster_name: self.cluster_name.clone(),
            region: self.aws.region.clone(),
            vpc_id: self.aws.vpc_id.clone(),
            compat: self.compat.map(|compat| match compat {
                args::CompatArg::None => Compat::None,
                args::CompatArg::Lbc => Compat::Lbc,
            }),
            options: self.aws.options.clone(),
            adopt: self.adopt.first().copied(),
        }
    }

    /// The provider for OpenStack, planning for an empty cloud.
    #[cfg(feature = "openstack")]
    #[must_use]
    pub fn openstack(&self) -> causeway_openstack::OpenStack<causeway_openstack::Offline> {
        causeway_openstack::OpenStack::offline(self.openstack_overrides())
    }

    /// What flags say of OpenStack.
    #[cfg(feature = "openstack")]
    #[must_use]
    pub fn openstack_overrides(&self) -> causeway_openstack::Overrides {
        causeway_openstack::Overrides {
            cluster_id: self.cluster_id.clone(),
            cluster_name: self.cluster_name.clone(),
            adopt: self.adopt.clone(),
        }
    }

    /// The provider for bare metal.
    #[cfg(feature = "metal")]
    #[must_use]
    pub fn metal(&self) -> causeway_metal::Metal {
        use causeway_metal::allocator::OutsidePools;
        causeway_metal::Metal::new(match self.outside_pools {
            args::OutsidePoolsArg::Move => OutsidePools::Move,
            args::OutsidePoolsArg::Keep => OutsidePools::Keep,
            args::OutsidePoolsArg::TakeBack => OutsidePools::Reallocate,
        })
    }

    /// Whose Services are ours. With classes it is exactly these; Services without a class are ours too if the user says so or, where
    /// no class is given, if that is the provider's default.
    #[must_use]
    pub fn class_rules(&self, capabilities: &Capabilities) -> ClassRules {
        let by_default = capabilities.own_classless && self.load_balancer_classes.is_empty();
        // What annotations claim is a matter of Services without class: it counts while nothing is said about these.
        let claims = self.load_balancer_classes.is_empty() && self.own_classless.is_none();
        let given = &self.load_balancer_classes;
        ClassRules {
            classes: if given.is_empty() { capabilities.classes.clone() } else { given.clone() },
            own_classless: self.own_classless.unwrap_or(by_default),
            claims: if claims { capabilities.claims.clone() } else { Vec::new() },
            ingress_controllers: self.ingress_controllers.clone(),
        }
    }
}

impl Check {
    pub(super) fn provider(&mut self, args: ProviderArgs) -> Option<ProviderConfig> {
        let load_balancer_classes = self.classes(args.load_balancer_class);
        let provider = self.cloud_provider(args.cloud_provider.as_deref())?;
        let no_use = |what: &str| format!("provider {provider} {what}: take the flag away");
        if args.cloud_config.is_some() && !provider.has_cloud_config() {
            self.error("--cloud-config", no_use("reads no file of its own"));
        }
        if args.cluster_id.is_some() && !provider.marks_cloud_resources() {
            self.error("--cluster-id", no_use("marks nothing outside the cluster"));
        }
        if args.config_namespace.is_some() && !provider.has_own_kinds() {
            self.error("--config-namespace", no_use("has no kinds of its own"));
        }
        if args.addresses_outside_pools.is_some() && !provider.has_own_kinds() {
            self.error("--addresses-outside-pools", no_use("has no address pools"));
        }
        let mut adopt: Vec<&'static causeway_api::Peer> =
            args.adopt.iter().filter_map(|name| self.peer(provider, name)).collect();
        adopt.dedup();
        if let ("aws", [one, other, ..]) = (provider.name(), &adopt[..]) {
            self.error(
                "--adopt",
                format!(
                    "provider aws takes over from one controller at a time: give {} first, and {} in its place when everything of the first is taken over",
                    one.name, other.name
                ),
            );
        }
        let cluster_name = args.cluster_name.filter(|name| !name.is_empty());
        if !adopt.is_empty() && cluster_name.is_none() {
            self.error("--adopt", "what a peer made is known by the cluster's name in its tags or its name: give it by --cluster-name, as the peer has it");
        }
        if cluster_name.is_some() && !matches!(provider.name(), "aws" | "openstack") {
            self.error("--cluster-name", no_use("names nothing by it"));
        }
        for (flag, given) in [
            ("--aws-region", args.aws_region.is_some()),
            ("--aws-vpc-id", args.aws_vpc_id.is_some()),
            ("--aws-option", !args.aws_option.is_empty()),
        ] {
            if given && provider.name() != "aws" {
                self.error(flag, no_use("is not AWS"));
            }
        }
        let aws = AwsConfig {
            options: self.aws_options(args.aws_option),
            region: args.aws_region,
            vpc_id: args.aws_vpc_id,
        };
        if args.compat.is_some() && provider.name() != "aws" {
            self.error("--compat", no_use("has no peer with ways of its own"));
        }
        if !args.ingress_controller.is_empty() && !provider.serves_ingresses() {
            self.error("--ingress-controller", no_use("serves no Ingresses"));
        }
        for controller in &args.ingress_controller {
            if !controller.split_once('/').is_some_and(|(domain, _)| dns_subdomain(domain)) {
                self.error(
                    "--ingress-controller",
                    format!("{controller:?} can be no spec.controller of an IngressClass: write such as ingress.k8s.aws/alb"),
                );
            }
        }
        let config_namespace = args.config_namespace.unwrap_or_else(|| args::CONFIG_NAMESPACE.to_owned());
        self.namespace("--config-namespace", &config_namespace);
        self.cluster_id(args.cluster_id.as_deref());
        Some(ProviderConfig {
            provider,
            cloud_config: args.cloud_config,
            cluster_id: args.cluster_id,
            cluster_name,
            aws,
            load_balancer_classes,
            own_classless: args.own_classless,
            cluster_health: match args.cluster_policy_health_check {
                ClusterHealthArg::KubeProxy => ClusterHealth::KubeProxy,
                ClusterHealthArg::TrafficPort => ClusterHealth::TrafficPort,
            },
            config_namespace,
            outside_pools: args.addresses_outside_pools.unwrap_or_default(),
            adopt,
            compat: args.compat,
            ingress_controllers: args.ingress_controller,
        })
    }

    /// The peer of `--adopt`. Its tags hold the cluster's name, so that has to be known.
    fn peer(&mut self, provider: Provider, name: &str) -> Option<&'static causeway_api::Peer> {
        let peers = provider.peers();
        let found = peers.iter().find(|peer| peer.name == name);
        if found.is_none() {
            let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
            self.error(
                "--adopt",
                match &names[..] {
                    [] => format!("provider {provider} takes nothing over: take the flag away"),
                    names => format!(
                        "provider {provider} takes nothing over from {name:?}, but from: {}",
                        names.join(", ")
                    ),
                },
            );
        }
        found
    }

    /// `NAME=VALUE` each; judged by the provider's own table.
    pub(super) fn aws_options(&mut self, given: Vec<String>) -> BTreeMap<String, String> {
        const FLAG: &str = "--aws-option";
        let mut options = BTreeMap::new();
        for option in given {
            let Some((name, value)) = option.split_once('=') else {
                self.error(FLAG, format!("{option:?} is not NAME=VALUE, such as default-target-type=ip"));
                continue;
            };
            #[cfg(feature = "aws")]
            if let Err(why) = causeway_aws::options::Options::default().set(name, value) {
                self.error(FLAG, why);
            }
            if options.insert(name.to_owned(), value.to_owned()).is_some() {
                self.error(FLAG, format!("{name} is there twice: say it once"));
            }
        }
        options
    }

    pub(super) fn cloud_provider(&mut self, name: Option<&str>) -> Option<Provider> {
        let parsed = match name {
            None | Some("") => Err(format!("is missing; there are: {}", Provider::names())),
            Some(name) => Provider::parse(name),
        };
        parsed.map_err(|message| self.error("--cloud-provider", message)).ok()
    }
}
