//! Arguments as written: the one table of flags, from which `--help` and docs/flags.md are made. Nothing is judged here but the
//! form of single values; see [`super::config`] for the rest.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::controllers::ControllersArgs;
use super::duration;

/// Load balancers for Kubernetes: turns Services of type LoadBalancer and Ingresses into load balancers of a cloud, or into addresses
/// that are announced on bare metal.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, disable_help_subcommand = true, args_override_self = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller: a Deployment with two or more replicas, of which one leads.
    Controller(Box<ControllerArgs>),
    /// Run the node agent of bare metal: a DaemonSet that announces the addresses.
    Speaker(Box<SpeakerArgs>),
    /// Show what would be made or changed, and why something cannot be.
    ///
    /// With -f nothing is contacted: no cluster, no cloud, no clock. The exit status is 2 if any object has an error; everything else
    /// is printed all the same.
    Plan(Box<PlanArgs>),
    /// Say whether the set-up on bare metal is sound: rights, definitions, kube-proxy, pools, what Services wait for.
    ///
    /// Only reads. The exit status is 2 if anything must be mended.
    Check(Box<CheckArgs>),
    /// Take our marks off Services and Ingresses: for uninstalling, or for going back to another controller.
    ///
    /// Stop the controller first: it would put them back. Without --keep the addresses are given back too.
    Release(Box<ReleaseArgs>),
    /// Print the CustomResourceDefinitions of the providers in this binary, as YAML.
    Crds(CrdsArgs),
    /// Print a page of the generated reference documentation, as Markdown.
    #[command(hide = true)]
    Docs(DocsArgs),
    /// Print the version and the providers in this binary.
    Version,
}

/// `causeway controller`.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    /// Provider.
    #[command(flatten)]
    pub provider: ProviderArgs,
    /// Engine.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Which controllers run.
    #[command(flatten)]
    pub controllers: ControllersArgs,
    /// Leader election.
    #[command(flatten)]
    pub leader: LeaderArgs,
    /// API server.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// Admin endpoints.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Port of /livez, /readyz, /metrics and /debug.
    #[arg(long, value_name = "PORT", default_value_t = 10258, help_heading = "Admin")]
    pub admin_port: u16,
    /// Secret with the key by which speakers know each other; the controller makes it if there is none. Only with metal [default:
    /// kube-system/causeway-membership].
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "Provider")]
    pub membership_secret: Option<String>,
    /// Write nothing as long as the controller of this other implementation is ready, and take over when it is gone. For coming from it.
    /// Only with metal.
    #[arg(long, value_name = "NAME", value_enum, help_heading = "Provider")]
    pub coexist: Option<Peer>,
    /// Namespace of the Lease of the peer that `--adopt` names: where it runs.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system", help_heading = "Provider")]
    pub adopt_lease_namespace: String,
    /// The controllers that `--adopt` names do nothing any more: their Leases are not looked at. Needed where the Lease is another's too, as that of
    /// cloud-provider-aws and openstack-cloud-controller-manager, which goes on being held while these run for nodes alone
    /// (`--controllers=*,-service-lb-controller`), and where there is none, as of octavia-ingress-controller.
    #[arg(long, help_heading = "Provider")]
    pub adopt_peer_stopped: bool,
    /// Log and file.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `--coexist`: whom to leave the field to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// MetalLB, looked for in the configuration's namespace.
    #[value(name = "metallb")]
    MetalLb,
}

/// The provider that `causeway check` looks at if none is named.
pub const CHECKED_BY_DEFAULT: &str = "metal";
/// Default of `--config-namespace`.
pub const CONFIG_NAMESPACE: &str = "metallb-system";
/// Default of `--membership-secret`.
pub const MEMBERSHIP_SECRET: &str = "kube-system/causeway-membership";

/// Which cloud, and which objects.
#[derive(Debug, Args)]
#[command(next_help_heading = "Provider")]
pub struct ProviderArgs {
    /// The provider: aws, openstack or metal, as far as it is in this binary. `metallb` means metal.
    #[arg(long, value_name = "NAME")]
    pub cloud_provider: Option<String>,
    /// Take over the load balancers that this other controller made for the same objects, as they are: the same address, nothing changed but
    /// our mark. On aws `aws-load-balancer-controller` or `cloud-provider-aws`, on openstack `openstack-cloud-controller-manager` and
    /// `octavia-ingress-controller`. Needs `--cluster-name` as that controller has it. Nothing at all is done while that controller holds its Lease.
    /// Without the flag nothing of others is ever taken over. Repeatable on openstack.
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub adopt: Vec<String>,
    /// The provider's own configuration file.
    #[arg(long, value_name = "FILE")]
    pub cloud_config: Option<PathBuf>,
    /// Id of the cluster, in the marks of cloud resources [default: the uid of namespace kube-system].
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
    /// Name of the cluster: on aws as in the tags kubernetes.io/cluster/NAME of subnets and security groups, on openstack as in names and descriptions.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Region. Only with aws [default: AWS_REGION, else that of the instance].
    #[arg(long, value_name = "REGION")]
    pub aws_region: Option<String>,
    /// VPC of the nodes. Only with aws [default: that of the instance].
    #[arg(long, value_name = "ID")]
    pub aws_vpc_id: Option<String>,
    /// An option of docs/aws-options.md; it wins over the same in the file of --cloud-config or --inventory. Repeatable. Only with aws.
    #[arg(long, value_name = "NAME=VALUE", action = ArgAction::Append)]
    pub aws_option: Vec<String>,
    /// Services of exactly this spec.loadBalancerClass are ours. Repeatable [default: on aws service.k8s.aws/nlb, and Services without a class
    /// whose annotation aws-load-balancer-type is external or nlb-ip].
    #[arg(long = "load-balancer-class", value_name = "CLASS", action = ArgAction::Append)]
    pub load_balancer_class: Vec<String>,
    /// Services without a class are ours too [default: true on metal and openstack without --load-balancer-class, else false].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub own_classless: Option<bool>,
    /// What health checks ask of a Service with externalTrafficPolicy Cluster: kube-proxy on port 10256 (KEP-3836), or the traffic port
    /// itself, for clusters without kube-proxy.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = ClusterHealthArg::KubeProxy)]
    pub cluster_policy_health_check: ClusterHealthArg,
    /// Namespace of the provider's own objects, such as address pools. Only with metal [default: metallb-system].
    #[arg(long, value_name = "NAMESPACE")]
    pub config_namespace: Option<String>,
    /// IngressClasses with this spec.controller are ours too, besides causeway.io/ingress; such as ingress.k8s.aws/alb, for coming from
    /// aws-load-balancer-controller. Repeatable. Not with metal.
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub ingress_controller: Vec<String>,
    /// Where Causeway does better than this other implementation, do as that does. Only with aws [default: what the inventory says, else
    /// none].
    #[arg(long, value_name = "NAME", value_enum)]
    pub compat: Option<CompatArg>,
    /// What becomes of a Service's address that no pool holds any more: another is given as soon as there is one, it stays for good, or it
    /// is taken back at once, as MetalLB does. Only with metal [default: move].
    #[arg(long, value_name = "WHAT", value_enum)]
    pub addresses_outside_pools: Option<OutsidePoolsArg>,
}

/// `--compat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompatArg {
    /// Nobody.
    None,
    /// aws-load-balancer-controller.
    Lbc,
}

/// `--addresses-outside-pools`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutsidePoolsArg {
    /// Another as soon as there is one.
    #[default]
    Move,
    /// It stays.
    Keep,
    /// Taken back at once.
    TakeBack,
}

/// `--cluster-policy-health-check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterHealthArg {
    /// kube-proxy's /healthz.
    KubeProxy,
    /// The NodePort that carries the traffic.
    TrafficPort,
}

/// How work is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub struct EngineArgs {
    /// Load balancers worked on at once.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub concurrent_service_syncs: usize,
    /// Node changes wait until none came for this long, so that many of them cost one round.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration::parse)]
    pub node_quiet_period: Duration,
    /// Longest time that a node change waits. Changes of Services and Ingresses never wait.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub node_max_wait: Duration,
    /// How often every load balancer is compared with what it should be, spread over the time.
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = duration::parse)]
    pub resync_period: Duration,
    /// Say in log and metrics what would be done; write nothing, neither to the cloud nor to the API server.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub dry_run: bool,
    /// Touch no load balancer, as if every object carried the annotation causeway.io/paused.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub paused: bool,
    /// Delete orphans even if they are more than max(3, 10 %) of all load balancers in an hour.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub confirm_mass_delete: bool,
}

/// Leader election.
#[derive(Debug, Args)]
#[command(next_help_heading = "Leader election")]
pub struct LeaderArgs {
    /// Lead only while holding the Lease. Without it there must never be two replicas.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// How long a Lease counts that is not renewed.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration::parse)]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it stops leading; shorter than the lease.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub leader_elect_renew_deadline: Duration,
    /// Time between two tries.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    pub leader_elect_retry_period: Duration,
    /// Which Lease.
    #[command(flatten)]
    pub lease: LeaseArgs,
}

/// The controller's Lease.
#[derive(Debug, Args)]
#[command(next_help_heading = "Leader election")]
pub struct LeaseArgs {
    /// Namespace of the Lease.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
    /// Name of the Lease [default: causeway-<provider>].
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,
}

/// The way to the API server.
#[derive(Debug, Args)]
#[command(next_help_heading = "API server")]
pub struct KubeArgs {
    /// File with the address of the API server and credentials [default: those of the pod].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Address of the API server; overrides that of the kubeconfig.
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Requests per second to the API server, on average.
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    pub kube_api_qps: f64,
    /// Requests to the API server in a burst.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub kube_api_burst: u32,
}

/// Admin endpoints, but for the port, which differs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Admin")]
pub struct AdminArgs {
    /// Address to listen on for /livez, /readyz, /metrics and /debug.
    #[arg(long, value_name = "ADDRESS", default_value = "::")]
    pub bind_address: IpAddr,
    /// Serve /metrics and /debug to everybody, without asking for a token.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub insecure_metrics: bool,
}

/// Log, and the file that holds flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "General")]
pub struct CommonArgs {
    /// YAML file with flags: a mapping with the same names, without the dashes. The command line wins over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log: a level (error, warn, info, debug, trace), or a list such as `info,causeway::engine=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info", overrides_with = "verbosity")]
    pub log_level: String,
    /// The same as a number, as Kubernetes' own components have it: 4 or more is debug, 6 or more trace.
    #[arg(short = 'v', long = "v", value_name = "N", overrides_with = "log_level")]
    pub verbosity: Option<u8>,
    /// Form of the log.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `causeway speaker`.
#[derive(Debug, Args)]
pub struct SpeakerArgs {
    /// Node and announcements.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Membership.
    #[command(flatten)]
    pub membership: MembershipArgs,
    /// API server.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// Admin endpoints.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Port of /livez, /readyz, /metrics and /debug. Not the controller's: a node may run both.
    #[arg(long, value_name = "PORT", default_value_t = 10268, help_heading = "Admin")]
    pub admin_port: u16,
    /// Log and file.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What is announced, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Announcements")]
pub struct NodeArgs {
    /// Name of the node that this runs on.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// Namespace of address pools and advertisements.
    #[arg(long, value_name = "NAMESPACE", default_value = CONFIG_NAMESPACE)]
    pub config_namespace: String,
    /// Services of exactly this spec.loadBalancerClass are announced. Repeatable; the same as the controller's.
    #[arg(long = "load-balancer-class", value_name = "CLASS", action = ArgAction::Append)]
    pub load_balancer_class: Vec<String>,
    /// Services without a class are announced too; the same as the controller's [default: true without --load-balancer-class].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub own_classless: Option<bool>,
    /// Announce nothing on interfaces whose name matches this: `*` stands for anything. Repeatable, added to the built-in list of
    /// container and tunnel interfaces.
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    pub exclude_interfaces: Vec<String>,
    /// Announce from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers too.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub ignore_exclude_lb: bool,
    /// How often the segment is asked whether somebody else has an address before the address is announced for the first time; 0: never.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub address_probes: u32,
    /// Time between two of these questions, and after the last one until the address counts as free.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration::parse)]
    pub address_probe_interval: Duration,
    /// How many free addresses of each pool and family are asked for before anybody has them, so that their first use need not wait.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub probe_ahead: usize,
    /// Which nodes may be elected for an address: only those with an interface in its network, if there are any; or all.
    #[arg(long, value_name = "RULE", value_enum, default_value_t = ElectionRule::Subnet)]
    pub election: ElectionRule,
    /// Give an address back to the node that is first in order as soon as that is able again, instead of leaving it where it is.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub failback: bool,
    /// Where kube-proxy on this node answers its health check; a node where that fails announces nothing that another one can. `off` in clusters
    /// without kube-proxy.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10256")]
    pub kube_proxy_health: String,
    /// Announce nothing as long as any speaker of this other implementation is ready, and take over when the last is gone. For coming from
    /// it.
    #[arg(long, value_name = "NAME", value_enum)]
    pub coexist: Option<Peer>,
}

/// `--election`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ElectionRule {
    /// Nodes with an interface in the network of the address, and of the interfaces that the advertisement names; all, if there are none.
    Subnet,
    /// All nodes, as MetalLB has it.
    Metallb,
}

/// How speakers know which of them live.
#[derive(Debug, Args)]
#[command(next_help_heading = "Membership")]
pub struct MembershipArgs {
    /// UDP port of the heartbeats.
    #[arg(long, value_name = "PORT", default_value_t = 7947)]
    pub membership_port: u16,
    /// Time between heartbeats of the nodes that stand for the same address.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse)]
    pub membership_interval: Duration,
    /// Time between heartbeats of all others; longer in proportion in clusters of more than 50 nodes.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub membership_slow_interval: Duration,
    /// Heartbeats missed in a row after which a node counts as dead.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub membership_misses: u32,
    /// Secret with the key by which speakers know each other; the controller makes it.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = MEMBERSHIP_SECRET, conflicts_with = "membership_key_file")]
    pub membership_secret: String,
    /// File with that key instead, 32 bytes or more.
    #[arg(long, value_name = "FILE")]
    pub membership_key_file: Option<PathBuf>,
    /// Id of the cluster, in heartbeats [default: the uid of namespace kube-system].
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
}

/// `causeway plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// YAML or JSON file with Kubernetes objects, or `-` for standard input; repeatable, and several may follow one -f. Without it, the
    /// running cluster is asked.
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1.., action = ArgAction::Append)]
    pub files: Vec<PathBuf>,
    /// Form of the output.
    #[arg(short = 'o', long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    pub output: OutputFormat,
    /// File with what the cloud holds, in place of asking it; only with -f.
    #[arg(long, value_name = "FILE", requires = "files")]
    pub inventory: Option<PathBuf>,
    /// Provider.
    #[command(flatten)]
    pub provider: ProviderArgs,
    /// API server.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// Log and file.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `causeway check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Form of the output.
    #[arg(short = 'o', long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    pub output: OutputFormat,
    /// Namespace that Causeway runs in: of its Pods, accounts, Lease and key.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub namespace: String,
    /// Provider, classes and names, as the controller was told. Without a provider it is metal.
    #[command(flatten)]
    pub provider: ProviderArgs,
    /// API server.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// Log and file.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `causeway release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The provider. `metallb` means metal.
    #[arg(long, value_name = "NAME")]
    pub cloud_provider: Option<String>,
    /// Only Services of exactly this spec.loadBalancerClass, of all that carry our marks. Repeatable.
    #[arg(long = "load-balancer-class", value_name = "CLASS", action = ArgAction::Append)]
    pub load_balancer_class: Vec<String>,
    /// Leave the addresses in the status, and the annotation that names their pool: MetalLB, or Causeway again, takes them over. In a cloud the load
    /// balancers stay as they are, with all their tags: those that were taken over from another controller are known to it still.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub keep: bool,
    /// Say what would be done; write nothing.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub dry_run: bool,
    /// Even while a controller holds the Lease, which may put everything back at once.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub force: bool,
    /// The controller's Lease.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// API server.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// Log and file.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// The envelope of docs/plan.md, byte-stable.
    Json,
}

/// `causeway crds`.
#[derive(Debug, Args)]
pub struct CrdsArgs {
    /// Only those of this provider: aws or metal. `metallb` means metal.
    #[arg(long, value_name = "NAME")]
    pub cloud_provider: Option<String>,
}

/// `causeway docs`.
#[derive(Debug, Args)]
pub struct DocsArgs {
    /// Page to print.
    #[arg(value_enum)]
    pub page: DocsPage,
}

/// A page of the generated reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocsPage {
    /// docs/flags.md
    Flags,
    /// docs/crds.md
    Crds,
    /// docs/annotations.md
    Annotations,
    /// docs/metrics.md
    Metrics,
    /// docs/aws-annotations.md
    AwsAnnotations,
    /// docs/aws-options.md
    AwsOptions,
    /// docs/differences-from-lbc.md
    DifferencesFromLbc,
    /// docs/openstack-annotations.md
    OpenstackAnnotations,
    /// docs/openstack-options.md
    OpenstackOptions,
}

/// Flags of a cloud-controller-manager that we do not have, and what to do instead. For people who come with their old arguments.
pub(super) const FOREIGN_FLAGS: &[(&str, &str)] = &[
    ("--secure-port", "the port is --admin-port; it serves plain HTTP"),
    ("--authentication-kubeconfig", "take it away: --kubeconfig serves token reviews too"),
    ("--authorization-kubeconfig", "take it away: --kubeconfig serves access reviews too"),
    ("--use-service-account-credentials", "take it away: there is one ServiceAccount with the least rights"),
    ("--allocate-node-cidrs", "take it away: Causeway allocates no pod CIDRs"),
    ("--configure-cloud-routes", "take it away: Causeway makes no routes"),
    ("--cluster-cidr", "take it away: Causeway makes no routes"),
    ("--route-reconciliation-period", "take it away: Causeway makes no routes"),
    ("--min-resync-period", "see --resync-period"),
    ("--controllers", "take it away: what runs follows from --cloud-provider"),
    ("--feature-gates", "take it away: there are none"),
    ("--leader-elect-resource-lock", "take it away: the lock is always a Lease"),
];
