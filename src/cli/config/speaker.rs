//! What the node agent is told: validated. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{AdminConfig, Check, KubeConfig, LogConfig, ObjectName};
use crate::cli::args::{self, Peer, SpeakerArgs};

/// Where the speakers' key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipKey {
    /// A Secret, watched.
    Secret(ObjectName),
    /// A file.
    File(PathBuf),
}

/// `causeway speaker`.
#[derive(Clone, Debug)]
pub struct SpeakerConfig {
    /// Name of this node.
    pub node_name: String,
    /// Namespace of pools and advertisements.
    pub config_namespace: String,
    /// Exactly these classes are announced.
    pub load_balancer_classes: Vec<String>,
    /// Services without a class are announced too.
    pub own_classless: bool,
    /// Patterns of interfaces to keep silent on, besides the built-in ones; `*` stands for anything.
    pub exclude_interfaces: Vec<String>,
    /// The label that excludes nodes counts for nothing.
    pub ignore_exclude_lb: bool,
    /// Questions whether somebody else has an address, before its first use.
    pub address_probes: u32,
    /// Time between these.
    pub address_probe_interval: Duration,
    /// Free addresses that are asked for ahead, of each pool and family.
    pub probe_ahead: usize,
    /// Nodes are elected whatever networks their interfaces are in.
    pub any_network: bool,
    /// Addresses go back to the node that is first in order.
    pub failback: bool,
    /// Where kube-proxy answers its health check; `None` if it is not to be asked.
    pub kube_proxy_health: Option<SocketAddr>,
    /// Whom to leave the field to.
    pub coexist: Option<Peer>,
    /// UDP port of heartbeats.
    pub membership_port: u16,
    /// Time between heartbeats.
    pub membership_interval: Duration,
    /// Time between those of nodes that stand for no common address.
    pub membership_slow_interval: Duration,
    /// Heartbeats missed until a node counts as dead.
    pub membership_misses: u32,
    /// The key.
    pub membership_key: MembershipKey,
    /// Id of the cluster; `None`: the uid of namespace kube-system.
    pub cluster_id: Option<String>,
    /// API server.
    pub kube: KubeConfig,
    /// Admin endpoints.
    pub admin: AdminConfig,
    /// Log.
    pub log: LogConfig,
}

impl Check {
    pub(super) fn speaker(&mut self, args: SpeakerArgs) -> Option<SpeakerConfig> {
        if !cfg!(feature = "metal") {
            self.error(
                "speaker",
                "provider metal is not compiled into this binary, so there is nothing to announce",
            );
        }
        let load_balancer_classes = self.classes(args.node.load_balancer_class);
        let own_classless = args.node.own_classless.unwrap_or(load_balancer_classes.is_empty());
        let node_name = args.node.node_name.filter(|name| !name.is_empty());
        if node_name.is_none() {
            self.error(
                "--node-name",
                "is missing: give it, or set the environment variable NODE_NAME from spec.nodeName",
            );
        }
        self.namespace("--config-namespace", &args.node.config_namespace);
        for pattern in &args.node.exclude_interfaces {
            if pattern.is_empty() || pattern.contains(['/', ' ', '^', '$', '(', '[']) {
                self.error(
                    "--exclude-interfaces",
                    format!("{pattern:?} is not a pattern: write a name, in which * stands for anything, such as docker*"),
                );
            }
        }
        if args.node.address_probes > 10 {
            self.error("--address-probes", "must be at most 10; 0 switches probing off");
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&args.node.address_probe_interval)
        {
            self.error("--address-probe-interval", "must be between 10ms and 10s");
        }
        if args.node.probe_ahead > 256 {
            self.error("--probe-ahead", "must be at most 256: each costs broadcasts all the time");
        }
        let kube_proxy_health = match args.node.kube_proxy_health.as_str() {
            "off" => None,
            address => address.parse::<SocketAddr>().map_or_else(
                |_| {
                    let message = format!(
                        "{address:?} is not an address with port, such as 127.0.0.1:10256, and not \"off\""
                    );
                    self.error("--kube-proxy-health", message);
                    None
                },
                Some,
            ),
        };
        let membership = args.membership;
        if membership.membership_port == 0 {
            self.error("--membership-port", "must not be 0: all speakers must use the same port");
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&membership.membership_interval) {
            self.error("--membership-interval", "must be between 10ms and 10s");
        } else if !(membership.membership_interval..=Duration::from_secs(10))
            .contains(&membership.membership_slow_interval)
        {
            self.error("--membership-slow-interval", "must be between --membership-interval and 10s");
        }
        if membership.membership_misses < 2 {
            self.error("--membership-misses", "must be at least 2: one lost packet must not move an address");
        }
        self.cluster_id(membership.cluster_id.as_deref());
        let membership_key = match membership.membership_key_file {
            Some(file) => Some(MembershipKey::File(file)),
            None => self
                .object_name("--membership-secret", &membership.membership_secret)
                .map(MembershipKey::Secret),
        };
        let kube = self.kube(args.kube);
        let log = self.log(args.common);
        Some(SpeakerConfig {
            node_name: node_name?,
            config_namespace: args.node.config_namespace,
            load_balancer_classes,
            own_classless,
            exclude_interfaces: args.node.exclude_interfaces,
            ignore_exclude_lb: args.node.ignore_exclude_lb,
            address_probes: args.node.address_probes,
            address_probe_interval: args.node.address_probe_interval,
            probe_ahead: args.node.probe_ahead,
            any_network: args.node.election == args::ElectionRule::Metallb,
            failback: args.node.failback,
            kube_proxy_health,
            coexist: args.node.coexist,
            membership_port: membership.membership_port,
            membership_interval: membership.membership_interval,
            membership_slow_interval: membership.membership_slow_interval,
            membership_misses: membership.membership_misses,
            membership_key: membership_key?,
            cluster_id: membership.cluster_id,
            kube,
            admin: AdminConfig {
                listen: SocketAddr::new(args.admin.bind_address, args.admin_port),
                insecure_metrics: args.admin.insecure_metrics,
            },
            log,
        })
    }
}
