//! Validated configuration. One pure step from [`Arguments`]: all that is wrong is said at once, each with its flag and what to do;
//! after it no code looks at a flag again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_api::names;

use super::args::{
    self, Arguments, CheckArgs, Command, CommonArgs, ControllerArgs, DocsPage, KubeArgs, LogFormat,
    OutputFormat, Peer, PlanArgs, ReleaseArgs,
};
use super::controllers::Controllers;
use super::provider::Provider;
use crate::engine::EngineConfig;
use crate::engine::queue::QueueConfig;
use crate::kube::client::ConnectOptions;

mod provider;
mod speaker;

pub use self::provider::{AwsConfig, ProviderConfig};
pub use self::speaker::{MembershipKey, SpeakerConfig};

/// What to run, and how.
#[derive(Clone, Debug)]
pub enum Config {
    /// The controller.
    Controller(Box<ControllerConfig>),
    /// The node agent.
    Speaker(Box<SpeakerConfig>),
    /// Show what would be.
    Plan(Box<PlanConfig>),
    /// Say whether the set-up is sound.
    Check(Box<CheckConfig>),
    /// Take our marks away.
    Release(Box<ReleaseConfig>),
    /// Print the CustomResourceDefinitions, of one provider or of all.
    Crds(Option<Provider>),
    /// Print a page of the reference.
    Docs(DocsPage),
    /// Print the version.
    Version,
}

/// One flag that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {message}")]
pub struct ConfigError {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// What is the matter, and what to do.
    pub message: String,
}

/// A Secret or Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The way to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct KubeConfig {
    /// kubeconfig; `None`: the pod's credentials.
    pub kubeconfig: Option<PathBuf>,
    /// Address that overrides that of the kubeconfig: a URL with http or https.
    pub master: Option<String>,
    /// Requests per second on average; greater than 0.
    pub qps: f64,
    /// Requests in a burst; at least 1.
    pub burst: u32,
}

impl From<&KubeConfig> for ConnectOptions {
    fn from(config: &KubeConfig) -> Self {
        Self {
            kubeconfig: config.kubeconfig.clone(),
            master: config.master.clone(),
            qps: config.qps,
            burst: config.burst,
        }
    }
}

/// Leader election: retry period < renew deadline < lease duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderConfig {
    /// Whether there is an election at all.
    pub elect: bool,
    /// How long an unrenewed Lease counts; whole seconds, at least 1.
    pub lease_duration: Duration,
    /// How long to try to renew.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry_period: Duration,
    /// The Lease.
    pub lease: ObjectName,
}

/// Admin endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// /metrics and /debug for everybody.
    pub insecure_metrics: bool,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Directives of `tracing_subscriber::EnvFilter`; they parse.
    pub filter: String,
    /// Form.
    pub format: LogFormat,
}

/// `causeway controller`.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Provider and classes.
    pub provider: ProviderConfig,
    /// Which controllers run.
    pub controllers: Controllers,
    /// How work is done.
    pub engine: EngineConfig,
    /// Leader election.
    pub leader: LeaderConfig,
    /// API server.
    pub kube: KubeConfig,
    /// Admin endpoints.
    pub admin: AdminConfig,
    /// The speakers' key (metal).
    pub membership_secret: ObjectName,
    /// Whom to leave the field to (metal).
    pub coexist: Option<Peer>,
    /// Namespace of the Lease of the peer of [`ProviderConfig::adopt`].
    pub adopt_lease_namespace: String,
    /// The peers of [`ProviderConfig::adopt`] do nothing any more, whoever holds their Leases.
    pub adopt_peer_stopped: bool,
    /// Log.
    pub log: LogConfig,
}

/// `causeway plan`.
#[derive(Clone, Debug)]
pub struct PlanConfig {
    /// Files, `-` is standard input; empty: the running cluster.
    pub files: Vec<PathBuf>,
    /// Form of the output.
    pub output: OutputFormat,
    /// Inventory of the cloud, offline.
    pub inventory: Option<PathBuf>,
    /// Provider and classes.
    pub provider: ProviderConfig,
    /// API server.
    pub kube: KubeConfig,
    /// Log.
    pub log: LogConfig,
}

/// `causeway check`.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// Form of the output.
    pub output: OutputFormat,
    /// Provider and classes.
    pub provider: ProviderConfig,
    /// Namespace of Pods, accounts, Lease and key.
    pub namespace: String,
    /// API server.
    pub kube: KubeConfig,
    /// Log.
    pub log: LogConfig,
}

/// `causeway release`.
#[derive(Clone, Debug)]
pub struct ReleaseConfig {
    /// The provider; one that holds nothing outside the cluster.
    pub provider: Provider,
    /// Only Services of these classes; empty: of any, and without.
    pub load_balancer_classes: Vec<String>,
    /// Addresses stay in the status.
    pub keep: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Even while a controller leads.
    pub force: bool,
    /// The controller's Lease.
    pub lease: ObjectName,
    /// API server.
    pub kube: KubeConfig,
    /// Log.
    pub log: LogConfig,
}

/// Everything that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// Arguments to configuration.
///
/// # Errors
/// All flags that cannot be as they are.
pub fn validate(arguments: Arguments) -> Result<Config, ConfigErrors> {
    let mut check = Check::default();
    let config = match arguments.command {
        Command::Controller(args) => check.controller(*args).map(|c| Config::Controller(Box::new(c))),
        Command::Speaker(args) => check.speaker(*args).map(|c| Config::Speaker(Box::new(c))),
        Command::Plan(args) => check.plan(*args).map(|c| Config::Plan(Box::new(c))),
        Command::Check(args) => check.check(*args).map(|c| Config::Check(Box::new(c))),
        Command::Release(args) => check.release(*args).map(|c| Config::Release(Box::new(c))),
        Command::Crds(args) => match args.cloud_provider {
            Some(name) => check.cloud_provider(Some(&name)).map(|p| Config::Crds(Some(p))),
            None => Some(Config::Crds(None)),
        },
        Command::Docs(args) => Some(Config::Docs(args.page)),
        Command::Version => Some(Config::Version),
    };
    match config {
        Some(config) if check.errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors(check.errors)),
    }
}

/// Collects what is wrong. A part answers `None` only after an error was noted.
#[derive(Default)]
struct Check {
    errors: Vec<ConfigError>,
}

impl Check {
    fn error(&mut self, flag: &'static str, message: impl Into<String>) {
        self.errors.push(ConfigError { flag, message: message.into() });
    }

    fn controller(&mut self, args: ControllerArgs) -> Option<ControllerConfig> {
        let provider = self.provider(args.provider);
        let queue = QueueConfig {
            node_quiet: args.engine.node_quiet_period,
            node_max_wait: args.engine.node_max_wait,
            ..QueueConfig::default()
        };
        if queue.node_quiet > queue.node_max_wait {
            self.error("--node-max-wait", "must not be shorter than --node-quiet-period");
        }
        if args.engine.concurrent_service_syncs == 0 {
            self.error("--concurrent-service-syncs", "must be at least 1");
        }
        if args.engine.resync_period < Duration::from_secs(1) {
            self.error("--resync-period", "must be at least 1s");
        }
        let engine = EngineConfig {
            workers: args.engine.concurrent_service_syncs,
            queue,
            resync: args.engine.resync_period,
            dry_run: args.engine.dry_run,
            paused: args.engine.paused,
            confirm_mass_delete: args.engine.confirm_mass_delete,
            ..EngineConfig::default()
        };
        let knows_machines = provider.as_ref().is_some_and(|p| p.provider.knows_machines());
        let controllers = args.controllers.validate(knows_machines, &mut self.errors);
        let kube = self.kube(args.kube);
        let log = self.log(args.common);
        let admin = AdminConfig {
            listen: SocketAddr::new(args.admin.bind_address, args.admin_port),
            insecure_metrics: args.admin.insecure_metrics,
        };
        if args.membership_secret.is_some() && provider.as_ref().is_some_and(|p| !p.provider.has_own_kinds())
        {
            self.error("--membership-secret", "only bare metal has speakers: take the flag away");
        }
        if args.coexist.is_some() && provider.as_ref().is_some_and(|p| !p.provider.has_own_kinds()) {
            self.error("--coexist", "only bare metal has such a peer: take the flag away");
        }
        let adopted = provider.as_ref().map_or(&[][..], |p| &p.adopt);
        if args.adopt_peer_stopped && adopted.is_empty() {
            self.error("--adopt-peer-stopped", "there is no peer without --adopt: take the flag away");
        }
        if let Some(peer) = adopted.iter().find(|peer| peer.lease.is_none())
            && !args.adopt_peer_stopped
            && !args.engine.dry_run
        {
            self.error(
                "--adopt",
                format!(
                    "{} has no Lease, so that nobody can see whether it works: stop it, then give --adopt-peer-stopped too",
                    peer.name
                ),
            );
        }
        let secret = args.membership_secret.unwrap_or_else(|| args::MEMBERSHIP_SECRET.to_owned());
        let membership_secret = self.object_name("--membership-secret", &secret);
        let name = provider.as_ref().map_or("unknown", |p| p.provider.name());
        let leader = self.leader(args.leader, name);
        Some(ControllerConfig {
            provider: provider?,
            controllers,
            engine,
            leader,
            kube,
            admin,
            membership_secret: membership_secret?,
            coexist: args.coexist,
            adopt_lease_namespace: args.adopt_lease_namespace,
            adopt_peer_stopped: args.adopt_peer_stopped,
            log,
        })
    }

    fn lease(&mut self, args: args::LeaseArgs, provider: &str) -> ObjectName {
        let lease = ObjectName {
            namespace: args.leader_elect_resource_namespace,
            name: args.leader_elect_resource_name.unwrap_or_else(|| names::lease(provider)),
        };
        for (flag, value) in [
            ("--leader-elect-resource-namespace", &lease.namespace),
            ("--leader-elect-resource-name", &lease.name),
        ] {
            if !dns_subdomain(value) {
                self.error(flag, format!("{value:?} is not a name of Kubernetes"));
            }
        }
        lease
    }

    fn leader(&mut self, args: args::LeaderArgs, provider: &str) -> LeaderConfig {
        let lease = self.lease(args.lease, provider);
        let (lease_duration, renew_deadline, retry_period) = (
            args.leader_elect_lease_duration,
            args.leader_elect_renew_deadline,
            args.leader_elect_retry_period,
        );
        // The Lease object holds whole seconds.
        if lease_duration.as_secs() == 0 || lease_duration.subsec_nanos() != 0 {
            self.error("--leader-elect-lease-duration", "must be a whole number of seconds, at least 1s");
        }
        if renew_deadline >= lease_duration {
            self.error("--leader-elect-renew-deadline", "must be shorter than --leader-elect-lease-duration");
        }
        if retry_period.is_zero() || retry_period.mul_f64(1.2) >= renew_deadline {
            self.error(
                "--leader-elect-retry-period",
                "must be more than 0, and with 20 % of jitter shorter than --leader-elect-renew-deadline",
            );
        }
        LeaderConfig { elect: args.leader_elect, lease_duration, renew_deadline, retry_period, lease }
    }

    fn check(&mut self, mut args: CheckArgs) -> Option<CheckConfig> {
        args.provider.cloud_provider.get_or_insert_with(|| args::CHECKED_BY_DEFAULT.to_owned());
        let provider = self.provider(args.provider);
        if let Some(provider) = provider.as_ref().map(|p| p.provider)
            && !provider.can_be_checked()
        {
            let checked: Vec<&str> =
                Provider::ALL.iter().filter(|p| p.can_be_checked()).map(|p| p.name()).collect();
            let message = format!(
                "there is nothing to check for provider {provider}, only for: {}",
                checked.join(", ")
            );
            self.error("--cloud-provider", message);
        }
        self.namespace("--namespace", &args.namespace);
        let kube = self.kube(args.kube);
        let log = self.log(args.common);
        Some(CheckConfig { output: args.output, provider: provider?, namespace: args.namespace, kube, log })
    }

    fn release(&mut self, args: ReleaseArgs) -> Option<ReleaseConfig> {
        let provider = self.cloud_provider(args.cloud_provider.as_deref());
        if let Some(provider) = provider
            && provider.marks_cloud_resources()
            && !args.keep
        {
            let message = format!(
                "provider {provider} holds load balancers outside the cluster, which are deleted with their objects only: delete those, or turn them into another type; or \
                 give this flag, so that the load balancers stay for another controller"
            );
            self.error("--keep", message);
        }
        let load_balancer_classes = self.classes(args.load_balancer_class);
        let lease = self.lease(args.lease, provider.map_or("unknown", Provider::name));
        let kube = self.kube(args.kube);
        let log = self.log(args.common);
        Some(ReleaseConfig {
            provider: provider?,
            load_balancer_classes,
            keep: args.keep,
            dry_run: args.dry_run,
            force: args.force,
            lease,
            kube,
            log,
        })
    }

    fn plan(&mut self, args: PlanArgs) -> Option<PlanConfig> {
        let provider = self.provider(args.provider);
        let kube = self.kube(args.kube);
        let log = self.log(args.common);
        if args.files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
            self.error("--filename", "standard input can be read once only");
        }
        Some(PlanConfig {
            files: args.files,
            output: args.output,
            inventory: args.inventory,
            provider: provider?,
            kube,
            log,
        })
    }

    fn classes(&mut self, classes: Vec<String>) -> Vec<String> {
        for class in &classes {
            let (domain, name) = class.rsplit_once('/').map_or((None, class.as_str()), |(d, n)| (Some(d), n));
            if !domain.is_none_or(dns_subdomain) || !qualified_name(name) {
                self.error(
                    "--load-balancer-class",
                    format!("{class:?} can be no spec.loadBalancerClass: write name or example.com/name"),
                );
            }
        }
        classes
    }

    fn kube(&mut self, args: KubeArgs) -> KubeConfig {
        if !(args.kube_api_qps.is_finite() && args.kube_api_qps > 0.0) {
            self.error("--kube-api-qps", "must be more than 0");
        }
        if args.kube_api_burst == 0 {
            self.error("--kube-api-burst", "must be at least 1");
        }
        if let Some(master) = &args.master {
            let uri = master.parse::<http::Uri>().ok();
            let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
            if !matches!(scheme, Some("http" | "https")) {
                self.error("--master", format!("{master:?} is not a URL: write https://HOST:PORT"));
            }
        }
        KubeConfig {
            kubeconfig: args.kubeconfig,
            master: args.master,
            qps: args.kube_api_qps,
            burst: args.kube_api_burst,
        }
    }

    fn log(&mut self, args: CommonArgs) -> LogConfig {
        let filter = match args.verbosity {
            // Our crates all begin with this word; the rest of a debug log is the libraries' noise.
            Some(4..=5) => "info,causeway=debug".to_owned(),
            Some(6..=7) => "info,causeway=trace".to_owned(),
            Some(8..) => "trace".to_owned(),
            Some(_) => "info".to_owned(),
            None => args.log_level,
        };
        if !directives(&filter) || tracing_subscriber::EnvFilter::builder().parse(&filter).is_err() {
            self.error(
                "--log-level",
                format!(
                    "{filter:?} is no level: write error, warn, info, debug, trace, or such as info,causeway::engine=debug"
                ),
            );
        }
        LogConfig { filter, format: args.log_format }
    }

    fn namespace(&mut self, flag: &'static str, name: &str) {
        if !dns_label(name) {
            self.error(flag, format!("{name:?} is not the name of a namespace"));
        }
    }

    fn cluster_id(&mut self, id: Option<&str>) {
        let good = |id: &str| !id.is_empty() && id.len() <= 63 && qualified_name(id);
        if !id.is_none_or(good) {
            self.error("--cluster-id", "must be 1 to 63 letters, digits, dashes, dots and underscores");
        }
    }

    fn object_name(&mut self, flag: &'static str, text: &str) -> Option<ObjectName> {
        match text.split_once('/') {
            Some((namespace, name)) if dns_label(namespace) && dns_subdomain(name) => {
                Some(ObjectName { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => {
                self.error(flag, format!("{text:?} is not NAMESPACE/NAME"));
                None
            }
        }
    }
}

/// `level` or `module=level`, separated by commas. EnvFilter itself takes a misspelt level for the name of a module.
fn directives(text: &str) -> bool {
    let level = |t: &str| matches!(t, "off" | "error" | "warn" | "info" | "debug" | "trace");
    text.split(',').all(|d| match d.trim().rsplit_once('=') {
        Some((module, l)) => !module.is_empty() && level(l),
        None => level(d.trim()),
    })
}

/// RFC 1123 label: what a namespace may be called.
fn dns_label(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| alphanumeric(c) || c == '-')
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
}

/// RFC 1123 subdomain: what most objects may be called.
fn dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(dns_label)
}

/// The name part of a qualified name, as in label keys.
fn qualified_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
