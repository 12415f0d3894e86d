//! Annotations of Services: those of the peer controllers for NLBs, and those that the classic cloud provider has besides. Pure data.

use super::value::{self, Kind};
use super::{Per, Place, table};

/// Prefix of the keys.
pub const PREFIX: &str = "service.beta.kubernetes.io/";
/// Prefix that is understood too; where both are there, [`PREFIX`] wins.
pub const ALTERNATIVE_PREFIX: &str = "service.kubernetes.io/";

const CLASSIC: &str = "it is for Classic Load Balancers, which Causeway does not make";

fn name(text: &str) -> Result<(), String> {
    crate::naming::check(text)
}

/// `*`, and nothing else.
fn star(text: &str) -> Result<(), String> {
    if text == "*" { Ok(()) } else { Err(format!("{text:?} is not \"*\", the only value there is")) }
}

fn port_numbers(text: &str) -> Result<(), String> {
    match value::list(text).iter().find(|p| !p.parse::<u16>().is_ok_and(|p| p > 0)) {
        Some(wrong) => Err(format!("{wrong:?} is not the number of a port")),
        None => Ok(()),
    }
}

fn health_port(text: &str) -> Result<(), String> {
    match text.parse::<u32>() {
        Ok(1..=65535) => Ok(()),
        Ok(_) => Err(format!("{text:?} is not a port: write 1 to 65535")),
        Err(_) if text.trim().is_empty() => Err("it is empty: give it a value, or take it away".to_owned()),
        Err(_) => Ok(()),
    }
}

pub(super) fn http_codes(text: &str) -> Result<(), String> {
    let code = |t: &str| t.trim().parse::<u32>().ok().filter(|c| (200..=599).contains(c));
    let right = |item: &&str| match item.split_once('-') {
        Some((low, high)) => matches!((code(low), code(high)), (Some(l), Some(h)) if l <= h),
        None => code(item).is_some(),
    };
    let items = value::list(text);
    if !items.is_empty() && items.iter().all(right) {
        Ok(())
    } else {
        Err(format!("{text:?} is no list of HTTP statuses: write such as 200, 200,202 or 200-399"))
    }
}

pub(super) fn path(text: &str) -> Result<(), String> {
    if text.starts_with('/') && text.len() <= 1024 && !text.contains(char::is_whitespace) {
        Ok(())
    } else {
        Err(format!("{text:?} is not a path of at most 1024 characters that begins with /"))
    }
}

pub(super) fn capacity(text: &str) -> Result<(), String> {
    let map = value::map(text)?;
    match map.iter().collect::<Vec<_>>()[..] {
        [(key, units)] if key == "CapacityUnits" && units.parse::<u32>().is_ok() => Ok(()),
        _ => Err(format!("{text:?} is not CapacityUnits=NUMBER")),
    }
}

/// Attributes that are known to take only some values.
fn attribute_value(key: &str, text: &str) -> Result<(), String> {
    let words: &[&str] = match key {
        "dns_record.client_routing_policy" => {
            &["any_availability_zone", "partial_availability_zone_affinity", "availability_zone_affinity"]
        }
        "load_balancing.cross_zone.enabled" if text == "use_load_balancer_configuration" => return Ok(()),
        "stickiness.type" => {
            &["lb_cookie", "app_cookie", "source_ip", "source_ip_dest_ip", "source_ip_dest_ip_proto"]
        }
        key if key.ends_with(".enabled") => {
            return match value::bool(text) {
                Some(_) => Ok(()),
                None => Err(format!("{key}={text} is not true or false")),
            };
        }
        "deregistration_delay.timeout_seconds" => {
            return match text.parse::<u32>() {
                Ok(0..=3600) => Ok(()),
                _ => Err(format!("{key}={text} is not a number from 0 to 3600")),
            };
        }
        _ => return Ok(()),
    };
    if words.contains(&text) { Ok(()) } else { Err(format!("{key}={text}: write {}", value::one_of(words))) }
}

/// A map of attributes.
pub(super) fn attributes(text: &str) -> Result<(), String> {
    for (key, value) in value::map(text)? {
        // An empty value takes the general one's place nowhere.
        if !value.is_empty() {
            attribute_value(&key, &value)?;
        }
    }
    Ok(())
}

fn nat_prefixes(text: &str) -> Result<(), String> {
    let right =
        |t: &&str| *t == "auto_assigned" || t.parse::<ipnet::Ipv6Net>().is_ok_and(|n| n.prefix_len() == 80);
    match value::list(text).iter().find(|t| !right(t)) {
        Some(wrong) => Err(format!("{wrong:?} is not an IPv6 network of length 80, nor auto_assigned")),
        None => Ok(()),
    }
}

fn prefix_lists(text: &str) -> Result<(), String> {
    match value::list(text).iter().find(|t| !t.starts_with("pl-")) {
        Some(wrong) => Err(format!("{wrong:?} is not the id of a prefix list, such as pl-0123")),
        None if value::list(text).is_empty() => {
            Err("it is empty: give it a value, or take it away".to_owned())
        }
        None => Ok(()),
    }
}

fn allocations(text: &str) -> Result<(), String> {
    match value::list(text).iter().find(|t| !t.starts_with("eipalloc-")) {
        Some(wrong) => Err(format!("{wrong:?} is not an allocation id, such as eipalloc-0123")),
        None if value::list(text).is_empty() => {
            Err("it is empty: give it a value, or take it away".to_owned())
        }
        None => Ok(()),
    }
}

pub(super) fn arns(text: &str) -> Result<(), String> {
    match value::list(text).iter().find(|t| !t.starts_with("arn:")) {
        Some(wrong) => Err(format!("{wrong:?} is not an ARN")),
        None if value::list(text).is_empty() => {
            Err("it is empty: give it a value, or take it away".to_owned())
        }
        None => Ok(()),
    }
}

fn weighted_forward(text: &str) -> Result<(), String> {
    crate::nlb::actions::parse(text).map(drop)
}

/// Values of [`TYPE`] that make a Service without class ours.
pub const TYPE_EXTERNAL: &str = "external";
/// The same, with addresses of pods as targets.
pub const TYPE_NLB_IP: &str = "nlb-ip";
/// The classic cloud provider's NLB.
pub const TYPE_NLB: &str = "nlb";

table! { Place::Service;
    TYPE = Exclusive "aws-load-balancer-type", Kind::OneOf(&["external", "nlb-ip", "nlb"]), "",
        "Of a Service without class: `external` and `nlb-ip` make it ours; `nlb` with --own-classless, with the defaults of the classic cloud provider. Says nothing of a Service with a class, but for `nlb-ip`: targets are addresses of pods.";
    TARGET_TYPE = Own "aws-load-balancer-nlb-target-type", Kind::OneOf(&["instance", "ip"]), "option default-target-type",
        "What targets are: nodes by NodePort, or addresses of pods.", refused_if_wrong();
    NAME = Exclusive "aws-load-balancer-name", Kind::Checked("name of at most 32 characters", name), "made from namespace, name and uid",
        "Name of the load balancer; counts when it is made.", refused_if_wrong();
    SCHEME = Exclusive "aws-load-balancer-scheme", Kind::OneOf(&["internal", "internet-facing"]), "that of the load balancer that is there, else option default-load-balancer-scheme",
        "Where clients come from. A change replaces the load balancer.", refused_if_wrong();
    INTERNAL = Exclusive "aws-load-balancer-internal", Kind::Bool, "",
        "`true` is scheme internal, `false` internet-facing.", refused_if_wrong(), deprecated("write aws-load-balancer-scheme");
    SOURCE_RANGES = Own "load-balancer-source-ranges", Kind::List, "0.0.0.0/0, with dual stack ::/0 too",
        "Client networks; spec.loadBalancerSourceRanges wins. Not with security groups of one's own, nor without client addresses where there is no group.";
    PREFIX_LISTS = Own "aws-load-balancer-security-group-prefix-lists", Kind::Checked("list of prefix list ids", prefix_lists), "",
        "Prefix lists whose networks may use the load balancer; without source ranges, these only.", refused_if_wrong();
    SECURITY_GROUPS = Exclusive "aws-load-balancer-security-groups", Kind::List, "one that is made",
        "Security groups of the load balancer, by id or Name tag, in place of the one that is made.", refused_if_wrong();
    MANAGE_BACKEND_RULES = Exclusive "aws-load-balancer-manage-backend-security-group-rules", Kind::Bool, "true; with security groups of one's own, option enable-manage-backend-security-group-rules",
        "Whether nodes or pods are opened to the load balancer.";
    DISABLE_SECURITY_GROUPS = Exclusive "aws-load-balancer-disable-nlb-sg", Kind::Bool, "false",
        "No security group at all. Fixed at creation.", refused_if_wrong();
    PRIVATE_LINK_RULES = Exclusive "aws-load-balancer-inbound-sg-rules-on-private-link-traffic", Kind::OnOff, "AWS's: on",
        "Whether rules of the security groups hold for PrivateLink traffic too.", refused_if_wrong();
    PATH_MTU = Exclusive "aws-load-balancer-enable-icmp-for-path-mtu-discovery", Kind::OnOff, "off",
        "Lets the ICMP messages in that path MTU discovery needs.";
    SUBNETS = Exclusive "aws-load-balancer-subnets", Kind::List, "those of the load balancer that is there, else discovered",
        "Subnets by id or Name tag, one per zone.", refused_if_wrong();
    EIP_ALLOCATIONS = Exclusive "aws-load-balancer-eip-allocations", Kind::Checked("list of allocation ids", allocations), "",
        "Elastic IPs, one per subnet in their order; internet-facing only. Fixed for a zone once it is enabled.", refused_if_wrong();
    PRIVATE_ADDRESSES = Exclusive "aws-load-balancer-private-ipv4-addresses", Kind::Ipv4List, "",
        "Private addresses, one in each subnet; internal only. Fixed for a zone once it is enabled.", refused_if_wrong();
    IPV6_ADDRESSES = Exclusive "aws-load-balancer-ipv6-addresses", Kind::Ipv6List, "",
        "IPv6 addresses, one in each subnet; dual stack only.", refused_if_wrong();
    IP_ADDRESS_TYPE = Exclusive "aws-load-balancer-ip-address-type", Kind::OneOf(&["ipv4", "dualstack"]), "ipv4; dualstack if the Service has IPv6",
        "Address families of the load balancer.", refused_if_wrong();
    SOURCE_NAT = Exclusive "aws-load-balancer-enable-prefix-for-ipv6-source-nat", Kind::OnOff, "off; on where UDP meets dual stack",
        "Source NAT by IPv6 prefixes, which UDP on dual stack needs.", refused_if_wrong();
    SOURCE_NAT_PREFIXES = Exclusive "aws-load-balancer-source-nat-ipv6-prefixes", Kind::Checked("list of networks of length 80, or auto_assigned", nat_prefixes), "AWS's choice",
        "The prefixes, one per subnet in their order.", refused_if_wrong();
    CERTIFICATES = Own "aws-load-balancer-ssl-cert", Kind::Checked("list of ARNs", arns), "",
        "Certificates of ACM or IAM; the first is the default. Makes listeners TLS.", refused_if_wrong();
    TLS_PORTS = Own "aws-load-balancer-ssl-ports", Kind::List, "all ports with TCP",
        "Ports with TLS by name or number; `*` is all.", refused_if_wrong();
    TLS_POLICY = Own "aws-load-balancer-ssl-negotiation-policy", Kind::Text, "option default-ssl-policy",
        "Policy of TLS.", refused_if_wrong();
    BACKEND_PROTOCOL = Own "aws-load-balancer-backend-protocol", Kind::OneOf(&["ssl", "tcp"]), "tcp",
        "`ssl`: what comes in by TLS goes on by TLS.";
    ALPN = Own "aws-load-balancer-alpn-policy", Kind::OneOf(&["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"]), "AWS's: None",
        "Policy of ALPN on TLS listeners.";
    PROXY_PROTOCOL = Own "aws-load-balancer-proxy-protocol", Kind::Checked("*", star), "",
        "Proxy protocol v2 towards all targets; wins over everything else that says something of it.", refused_if_wrong();
    PROXY_PROTOCOL_PORTS = Own "aws-load-balancer-proxy-protocol-per-target-group", Kind::Checked("list of port numbers", port_numbers), "",
        "Proxy protocol v2 towards the targets of these ports only.", refused_if_wrong();
    TARGET_GROUP_ATTRIBUTES = Own "aws-load-balancer-target-group-attributes", Kind::Checked("key=value, …", attributes), "proxy_protocol_v2.enabled=false",
        "Attributes of all target groups, or of one port's, which wins unless it is empty. What is taken away goes back to AWS's default.", per(Per::ObjectOrPort), refused_if_wrong();
    ATTRIBUTES = Exclusive "aws-load-balancer-attributes", Kind::Checked("key=value, …", attributes), "AWS's",
        "Attributes of the load balancer. What is taken away goes back to AWS's default.", refused_if_wrong();
    LISTENER_ATTRIBUTES = Own "aws-load-balancer-listener-attributes", Kind::Map, "AWS's",
        "Attributes of one listener, such as tcp.idle_timeout.seconds.", per(Per::Listener);
    CROSS_ZONE = Exclusive "aws-load-balancer-cross-zone-load-balancing-enabled", Kind::Bool, "false",
        "Spreads connections over the targets of all zones.", deprecated("write load_balancing.cross_zone.enabled=… into aws-load-balancer-attributes");
    ACCESS_LOG = Exclusive "aws-load-balancer-access-log-enabled", Kind::Bool, "false",
        "Access logs.", deprecated("write access_logs.s3.enabled=… into aws-load-balancer-attributes");
    ACCESS_LOG_BUCKET = Exclusive "aws-load-balancer-access-log-s3-bucket-name", Kind::Text, "",
        "Bucket of the access logs.", deprecated("write access_logs.s3.bucket=… into aws-load-balancer-attributes");
    ACCESS_LOG_PREFIX = Exclusive "aws-load-balancer-access-log-s3-bucket-prefix", Kind::Text, "",
        "Prefix in the bucket.", deprecated("write access_logs.s3.prefix=… into aws-load-balancer-attributes");
    HEALTH_PROTOCOL = Own "aws-load-balancer-healthcheck-protocol", Kind::Word(&["TCP", "HTTP", "HTTPS"]), "HTTP to kube-proxy; TCP if another part of the check is given; for pods TCP",
        "Protocol of the health check.";
    HEALTH_PORT = Own "aws-load-balancer-healthcheck-port", Kind::Checked("number, name of a port, or traffic-port", health_port), "10256, with policy Local healthCheckNodePort; traffic-port if another part of the check is given, and for pods",
        "Port of the health check.";
    HEALTH_PATH = Own "aws-load-balancer-healthcheck-path", Kind::Checked("path", path), "/healthz; / if another part of the check is given",
        "Path of the health check, with HTTP and HTTPS.";
    HEALTH_INTERVAL = Own "aws-load-balancer-healthcheck-interval", Kind::Number(5, 300), "10",
        "Seconds between checks.";
    HEALTH_TIMEOUT = Own "aws-load-balancer-healthcheck-timeout", Kind::Number(2, 120), "6; 10 for the peer's checks of traffic ports",
        "Seconds until a check has failed.";
    HEALTHY_THRESHOLD = Own "aws-load-balancer-healthcheck-healthy-threshold", Kind::Number(2, 10), "2; 3 for checks of traffic ports",
        "Successes until a target is healthy.";
    UNHEALTHY_THRESHOLD = Own "aws-load-balancer-healthcheck-unhealthy-threshold", Kind::Number(2, 10), "2; 3 for checks of traffic ports",
        "Failures until a target is unhealthy.";
    SUCCESS_CODES = Own "aws-load-balancer-healthcheck-success-codes", Kind::Checked("HTTP statuses", http_codes), "200-399",
        "Answers that mean healthy, with HTTP and HTTPS.";
    TARGET_NODE_LABELS = Own "aws-load-balancer-target-node-labels", Kind::Map, "all nodes",
        "Labels that nodes must have to be targets.", refused_if_wrong();
    TAGS = Union "aws-load-balancer-additional-resource-tags", Kind::Tags, "option default-tags",
        "Tags of everything that is made.";
    MULTI_CLUSTER = Own "aws-load-balancer-multi-cluster-target-group", Kind::Bool, "false",
        "Other clusters register targets in the same target groups: only our own are ever taken away.", refused_if_wrong();
    CAPACITY = Exclusive "aws-load-balancer-minimum-load-balancer-capacity", Kind::Checked("CapacityUnits=NUMBER", capacity), "",
        "Reserved capacity; 0 gives it back.";
    TCP_UDP = Own "aws-load-balancer-enable-tcp-udp-listener", Kind::Bool, "true",
        "One listener for TCP and UDP where a Service has both on one port.";
    QUIC_PORTS = Own "aws-load-balancer-quic-enabled-ports", Kind::List, "",
        "Ports by name or number with QUIC in place of UDP. Targets must be addresses of pods that know their server id.", refused_if_wrong();
    ACTIONS = Own "actions", Kind::Checked("JSON", weighted_forward), "all to this Service",
        "Shares the connections of one listener among Services and target groups by weight.", per(Per::Listener), refused_if_wrong();
    ALLOW_DOWNTIME = Exclusive "allow-replacement-downtime", Kind::Bool, "false",
        "Lets a load balancer be deleted before its successor is made, where what is fixed (name, Elastic IPs, private addresses) leaves no other way to change it: nothing is served for some minutes.", own();
    EXTRA_SECURITY_GROUPS = Exclusive "aws-load-balancer-extra-security-groups", Kind::List, "",
        "Further security groups.", unsupported("it is for Classic Load Balancers, which Causeway does not make; write aws-load-balancer-security-groups");
    ACCESS_LOG_INTERVAL = Exclusive "aws-load-balancer-access-log-emit-interval", Kind::Number(5, 60), "",
        "Minutes between files of access logs.", unsupported(CLASSIC);
    DRAINING = Exclusive "aws-load-balancer-connection-draining-enabled", Kind::Bool, "",
        "Connection draining.", unsupported("it is for Classic Load Balancers; an NLB always drains, see deregistration_delay.timeout_seconds in aws-load-balancer-target-group-attributes");
    DRAINING_TIMEOUT = Exclusive "aws-load-balancer-connection-draining-timeout", Kind::Number(1, 3600), "",
        "Time of connection draining.", unsupported("it is for Classic Load Balancers; write deregistration_delay.timeout_seconds into aws-load-balancer-target-group-attributes");
    IDLE_TIMEOUT = Exclusive "aws-load-balancer-connection-idle-timeout", Kind::Number(1, 4000), "",
        "Idle timeout.", unsupported("it is for Classic Load Balancers; write tcp.idle_timeout.seconds into aws-load-balancer-listener-attributes");
}
