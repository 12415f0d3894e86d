//! Annotations of Services: the peer controller's, and our own. Pure data.

use super::table;
use super::value::{self, Kind};

/// Prefix of the peer's keys.
pub const PREFIX: &str = "loadbalancer.openstack.org/";

const HUGE: i64 = i32::MAX as i64;
/// Most that Octavia takes as a timeout, in milliseconds: a day.
const MOST_TIMEOUT: i64 = 86_400_000;

/// The methods, of which each provider of Octavia knows some.
pub const METHODS: &[&str] = &["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT"];

fn proxy(text: &str) -> Result<(), String> {
    match text.trim() {
        "v1" | "v2" => Ok(()),
        other if value::bool(other).is_some() => Ok(()),
        other => Err(format!("{other:?} is not known: write v1, v2 or false")),
    }
}

macro_rules! key {
    ($rest:literal) => {
        concat!("loadbalancer.openstack.org/", $rest)
    };
}

table! {
    INTERNAL = Exclusive "service.beta.kubernetes.io/openstack-internal-load-balancer", Kind::Bool, "option internal-lb",
        "No floating IP: the load balancer is reached at its VIP only. Where option internal-lb is true, that holds for all.", refused_if_wrong();
    FLOATING_NETWORK = Exclusive key!("floating-network-id"), Kind::Text, "option floating-network-id, else the external network there is",
        "Network that the floating IP comes from.", refused_if_wrong();
    FLOATING_SUBNET_ID = Exclusive key!("floating-subnet-id"), Kind::Text, "option floating-subnet-id",
        "Subnet that the floating IP comes from.", refused_if_wrong();
    FLOATING_SUBNET = Exclusive key!("floating-subnet"), Kind::Checked("pattern of a name", value::check_subnet_pattern), "option floating-subnet",
        "Subnets that the floating IP may come from, by name: with * and ?, or ~ and a regular expression; ! in front takes the others.", refused_if_wrong();
    FLOATING_SUBNET_TAGS = Exclusive key!("floating-subnet-tags"), Kind::Text, "option floating-subnet-tags",
        "Subnets that the floating IP may come from, by tags with commas: one of them, with & in front all of them; ! before it takes the others.", refused_if_wrong();
    CLASS = Exclusive key!("class"), Kind::Text, "",
        "Section [LoadBalancerClass \"…\"] of the configuration. Its floating network and subnet win over annotations.", refused_if_wrong();
    SUBNET = Exclusive key!("subnet-id"), Kind::Text, "that of the class, option subnet-id, else that of the nodes",
        "Subnet of the VIP.", refused_if_wrong();
    NETWORK = Exclusive key!("network-id"), Kind::Text, "that of the class, option network-id",
        "Network of the VIP; Octavia takes a subnet of it.", refused_if_wrong();
    PORT = Exclusive key!("port-id"), Kind::Text, "",
        "Port whose address is the VIP.", refused_if_wrong();
    MEMBER_SUBNET = Own key!("member-subnet-id"), Kind::Text, "that of the class, option member-subnet-id, subnet-id, else that of the nodes",
        "Subnet through which the load balancer reaches the nodes.", refused_if_wrong();
    CONNECTION_LIMIT = Own key!("connection-limit"), Kind::Number(-1, HUGE), "-1",
        "Most connections of a listener; -1: no limit.";
    KEEP_FLOATING_IP = Exclusive key!("keep-floatingip"), Kind::Bool, "false",
        "The floating IP is left when the load balancer is deleted.";
    PROXY_PROTOCOL = Own key!("proxy-protocol"), Kind::Checked("v1, v2, true (v1), false", proxy), "false",
        "Pods are told the client's address by the PROXY protocol. Not together with x-forwarded-for.", refused_if_wrong();
    X_FORWARDED_FOR = Own key!("x-forwarded-for"), Kind::Bool, "false",
        "Ports with TCP take HTTP, and requests get the header X-Forwarded-For.", refused_if_wrong();
    X_FORWARDED_PORT = Own key!("x-forwarded-port"), Kind::Bool, "false",
        "The same with X-Forwarded-Port.", refused_if_wrong();
    X_FORWARDED_PROTO = Own key!("x-forwarded-proto"), Kind::Bool, "false",
        "The same with X-Forwarded-Proto.", refused_if_wrong();
    METHOD = Own key!("lb-method"), Kind::Word(METHODS), "option lb-method",
        "How a member is chosen. Provider ovn knows SOURCE_IP_PORT and SOURCE_IP, amphora the others.";
    TIMEOUT_CLIENT_DATA = Own key!("timeout-client-data"), Kind::Number(0, MOST_TIMEOUT), "50000",
        "Milliseconds that a client may be silent. Not with provider ovn, as the other timeouts.";
    TIMEOUT_MEMBER_CONNECT = Own key!("timeout-member-connect"), Kind::Number(0, MOST_TIMEOUT), "5000",
        "Milliseconds to connect to a member.";
    TIMEOUT_MEMBER_DATA = Own key!("timeout-member-data"), Kind::Number(0, MOST_TIMEOUT), "50000",
        "Milliseconds that a member may be silent.";
    TIMEOUT_TCP_INSPECT = Own key!("timeout-tcp-inspect"), Kind::Number(0, MOST_TIMEOUT), "0",
        "Milliseconds to wait for further data to inspect.";
    MONITOR = Own key!("enable-health-monitor"), Kind::Bool, "option create-monitor",
        "Members are watched. Without it, nodes that cannot take traffic get it all the same.";
    MONITOR_DELAY = Own key!("health-monitor-delay"), Kind::Number(1, 86_400), "option monitor-delay",
        "Seconds between checks.";
    MONITOR_TIMEOUT = Own key!("health-monitor-timeout"), Kind::Number(1, 86_400), "option monitor-timeout",
        "Seconds until a check has failed; not more than the delay.";
    MONITOR_RETRIES = Own key!("health-monitor-max-retries"), Kind::Number(1, 10), "option monitor-max-retries",
        "Successes until a member is healthy.";
    MONITOR_RETRIES_DOWN = Own key!("health-monitor-max-retries-down"), Kind::Number(1, 10), "option monitor-max-retries-down",
        "Failures until a member is not.";
    FLAVOR = Exclusive key!("flavor-id"), Kind::Text, "option flavor-id",
        "Flavor of the load balancer; counts when it is made. Not with provider ovn.";
    AVAILABILITY_ZONE = Exclusive key!("availability-zone"), Kind::Text, "option availability-zone",
        "Availability zone of the load balancer; counts when it is made. Not with provider ovn.";
    TLS_CONTAINER = Own key!("default-tls-container-ref"), Kind::Checked("URL", value::check_reference), "option default-tls-container-ref",
        "Certificate in Barbican: ports with TCP take TLS, and pods get HTTP.", refused_if_wrong();
    LOAD_BALANCER_ID = Exclusive key!("load-balancer-id"), Kind::Text, "",
        "A load balancer that is there already gets the listeners; it is never deleted. The id of the own load balancer, or of one that is gone, says nothing.", refused_if_wrong();
    HOSTNAME = Own key!("hostname"), Kind::Checked("DNS name", value::check_hostname), "",
        "The status has this name instead of the address.";
    NODE_SELECTOR = Own key!("node-selector"), Kind::Checked("key=value, key, …", value::check_selector), "option node-selector",
        "Labels that nodes must have, all of them, to be members.", refused_if_wrong();
    TLS_SECRET = Own "causeway.io/tls-secret", Kind::Text, "",
        "Secret of type kubernetes.io/tls in the Service's namespace; it is put into Barbican, and again when it changes. Wins over default-tls-container-ref.", refused_if_wrong();
    TLS_PORTS = Own "causeway.io/tls-ports", Kind::Text, "all ports with TCP",
        "Ports by name or number, separated by commas, that take TLS where there is a certificate.", refused_if_wrong();
    HEALTH_PATH = Own "causeway.io/health-monitor-path", Kind::Checked("path", value::check_path), "/healthz of kube-proxy, where that is asked",
        "The traffic port is asked with HTTP for this path.";
    HEALTH_CODES = Own "causeway.io/health-monitor-expected-codes", Kind::Checked("statuses", value::check_codes), "200",
        "Answers that mean healthy.";
}

/// Written to the object beside its status: the address, where the status has a name.
pub const LOAD_BALANCER_ADDRESS: &str = key!("load-balancer-address");
