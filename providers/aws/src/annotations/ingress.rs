//! Annotations of Ingresses, some of which may also stand on the Services that an Ingress sends to. Pure data.

use super::service::{arns, attributes, capacity, path};
use super::value::{self, Kind};
use super::{Per, Place, table};
use crate::alb::{actions, auth, conditions, listen};

/// Prefix of the keys.
pub const PREFIX: &str = "alb.ingress.kubernetes.io/";

fn name(text: &str) -> Result<(), String> {
    crate::naming::check(text)
}

/// Whether a name is that of a group.
///
/// # Errors
/// What is wrong with it.
pub fn group_name(text: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let right = (1..=63).contains(&text.len())
        && text.chars().all(|c| inner(c) || matches!(c, '-' | '.'))
        && text.starts_with(inner)
        && text.ends_with(inner);
    if right {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is not 1 to 63 lower-case letters, digits, dashes and dots, with a letter or digit at both ends"
        ))
    }
}

fn group_order(text: &str) -> Result<(), String> {
    match text.trim().parse::<i32>() {
        Ok(-1000..=1000) => Ok(()),
        _ => Err(format!("{text:?} is not a number from -1000 to 1000")),
    }
}

fn codes(text: &str) -> Result<(), String> {
    let code = |t: &str| t.trim().parse::<u32>().ok().filter(|c| *c <= 599);
    let right = |item: &&str| match item.split_once('-') {
        Some((low, high)) => matches!((code(low), code(high)), (Some(l), Some(h)) if l <= h),
        None => code(item).is_some(),
    };
    let items = value::list(text);
    if !items.is_empty() && items.iter().all(right) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is no list of statuses: write such as 200, 200,202 or 200-399, for gRPC such as 12 or 0-99"
        ))
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

const PORT: Kind = Kind::Number(1, 65535);
const ATTRIBUTES: Kind = Kind::Checked("key=value, …", attributes);
const HEALTH_PORT_KIND: Kind = Kind::Checked("number, name of a port, or traffic-port", health_port);

table! { Place::Ingress;
    NAME = Exclusive "load-balancer-name", Kind::Checked("name of at most 32 characters", name), "made from namespace, name and uid, or from the group",
        "Name of the load balancer; counts when it is made.", refused_if_wrong();
    GROUP_NAME = Own "group.name", Kind::Checked("name of at most 63 characters", group_name), "the Ingress alone",
        "Ingresses with one name share a load balancer: those of one namespace, unless their class says otherwise.", refused_if_wrong();
    GROUP_ORDER = Own "group.order", Kind::Checked("-1000 to 1000", group_order), "0",
        "Order among the Ingresses of a group; counts between rules that are equally specific.";
    TAGS = Union "tags", Kind::Tags, "option default-tags",
        "Tags of everything that is made.", place(Place::IngressOrBackend);
    IP_ADDRESS_TYPE = Exclusive "ip-address-type", Kind::OneOf(&["ipv4", "dualstack", "dualstack-without-public-ipv4"]), "ipv4",
        "Address families of the load balancer.", refused_if_wrong();
    SCHEME = Exclusive "scheme", Kind::OneOf(&["internal", "internet-facing"]), "that of the load balancer that is there, else option default-load-balancer-scheme",
        "Where clients come from. A change replaces the load balancer.", refused_if_wrong();
    SUBNETS = Exclusive "subnets", Kind::List, "those of the load balancer that is there, else discovered",
        "Subnets by id or Name tag, one per zone, of at least two zones.", refused_if_wrong();
    COIP_POOL = Exclusive "customer-owned-ipv4-pool", Kind::Text, "",
        "Pool of customer-owned addresses, on Outposts.", refused_if_wrong();
    IPAM_POOL = Exclusive "ipam-ipv4-pool-id", Kind::Text, "",
        "IPAM pool for public addresses.", refused_if_wrong();
    LOAD_BALANCER_ATTRIBUTES = Exclusive "load-balancer-attributes", ATTRIBUTES, "AWS's",
        "Attributes of the load balancer. What is taken away goes back to AWS's default.", refused_if_wrong();
    CAPACITY = Exclusive "minimum-load-balancer-capacity", Kind::Checked("CapacityUnits=NUMBER", capacity), "",
        "Reserved capacity; 0 gives it back.";
    SECURITY_GROUPS = Exclusive "security-groups", Kind::List, "one that is made",
        "Security groups of the load balancer, by id or Name tag, in place of the one that is made.", refused_if_wrong();
    MANAGE_BACKEND_RULES = Exclusive "manage-backend-security-group-rules", Kind::Bool, "true; with security groups of one's own, option enable-manage-backend-security-group-rules",
        "Whether nodes or pods are opened to the load balancer.";
    PREFIX_LISTS = Exclusive "security-group-prefix-lists", Kind::List, "",
        "Prefix lists whose networks may use the load balancer; without inbound-cidrs, these only.", refused_if_wrong();
    INBOUND_CIDRS = Exclusive "inbound-cidrs", Kind::CidrList, "0.0.0.0/0, with dual stack ::/0 too",
        "Networks that may use the load balancer.", refused_if_wrong();
    LISTEN_PORTS = Union "listen-ports", Kind::Checked("JSON: listeners", listen::check_ports), "HTTP 80; HTTPS 443 if there is a certificate",
        "Listeners: `[{\"HTTP\": 80}, {\"HTTPS\": 443}]`.", refused_if_wrong();
    SSL_REDIRECT = Exclusive "ssl-redirect", PORT, "",
        "Every listener with HTTP redirects to HTTPS on this port.", refused_if_wrong();
    CERTIFICATE_ARN = Union "certificate-arn", Kind::Checked("list of ARNs", arns), "certificates of ACM for the hosts",
        "Certificates; the first is the default.", refused_if_wrong();
    CREATE_CERTIFICATE = Own "create-acm-cert", Kind::Bool, "false",
        "Asks ACM for a certificate.", unsupported("a controller of load balancers with the right to issue certificates is a risk, and the peer has it switched off by default; make the certificate with ACM or cert-manager, which discovery then finds by its hosts");
    PRIVATE_CA = Own "acm-pca-arn", Kind::Text, "",
        "Authority of create-acm-cert.", unsupported("create-acm-cert is not supported");
    SSL_POLICY = Exclusive "ssl-policy", Kind::Text, "option default-ssl-policy",
        "Policy of TLS.", refused_if_wrong();
    MUTUAL_AUTHENTICATION = Exclusive "mutual-authentication", Kind::Checked("JSON: mutual TLS", listen::check_mutual), "off",
        "Mutual TLS per port: `[{\"port\": 443, \"mode\": \"verify\", \"trustStore\": NAME or ARN}]`.", refused_if_wrong();
    LISTENER_ATTRIBUTES = Union "listener-attributes", Kind::Map, "AWS's",
        "Attributes of one listener, such as headers of its answers.", per(Per::Listener);
    TARGET_TYPE = Own "target-type", Kind::OneOf(&["instance", "ip"]), "option default-target-type",
        "What targets are: nodes by NodePort, or addresses of pods.", place(Place::IngressOrBackend), refused_if_wrong();
    BACKEND_PROTOCOL = Own "backend-protocol", Kind::Word(&["HTTP", "HTTPS"]), "HTTP",
        "Protocol towards targets.", place(Place::IngressOrBackend), refused_if_wrong();
    BACKEND_PROTOCOL_VERSION = Own "backend-protocol-version", Kind::Word(&["HTTP1", "HTTP2", "GRPC"]), "HTTP1",
        "Version of HTTP towards targets.", place(Place::IngressOrBackend), refused_if_wrong();
    TARGET_GROUP_ATTRIBUTES = Own "target-group-attributes", ATTRIBUTES, "AWS's",
        "Attributes of target groups. What is taken away goes back to AWS's default.", place(Place::IngressOrBackend), refused_if_wrong();
    TARGET_NODE_LABELS = Own "target-node-labels", Kind::Map, "all nodes",
        "Labels that nodes must have to be targets.", place(Place::IngressOrBackend), refused_if_wrong();
    MULTI_CLUSTER = Own "multi-cluster-target-group", Kind::Bool, "false",
        "Other clusters register targets in the same target groups: only our own are ever taken away.", place(Place::IngressOrBackend), refused_if_wrong();
    TARGET_CONTROL_PORT = Own "target-control-port", PORT, "",
        "Control port of the target optimizer.", per(Per::ServicePort);
    HEALTH_PORT = Own "healthcheck-port", HEALTH_PORT_KIND, "10256, with policy Local healthCheckNodePort; traffic-port if another part of the check is given, and for pods",
        "Port of the health check.", place(Place::IngressOrBackend);
    HEALTH_PROTOCOL = Own "healthcheck-protocol", Kind::Word(&["HTTP", "HTTPS"]), "HTTP",
        "Protocol of the health check.", place(Place::IngressOrBackend);
    HEALTH_PATH = Own "healthcheck-path", Kind::Checked("path", path), "/healthz; if another part of the check is given, and for pods, /, for gRPC /AWS.ALB/healthcheck",
        "Path of the health check.", place(Place::IngressOrBackend);
    HEALTH_INTERVAL = Own "healthcheck-interval-seconds", Kind::Number(5, 300), "10; 15 for checks of traffic ports",
        "Seconds between checks.", place(Place::IngressOrBackend);
    HEALTH_TIMEOUT = Own "healthcheck-timeout-seconds", Kind::Number(2, 120), "5",
        "Seconds until a check has failed.", place(Place::IngressOrBackend);
    HEALTHY_THRESHOLD = Own "healthy-threshold-count", Kind::Number(2, 10), "2",
        "Successes until a target is healthy.", place(Place::IngressOrBackend);
    UNHEALTHY_THRESHOLD = Own "unhealthy-threshold-count", Kind::Number(2, 10), "2",
        "Failures until a target is unhealthy.", place(Place::IngressOrBackend);
    SUCCESS_CODES = Own "success-codes", Kind::Checked("statuses", codes), "200; 12 for gRPC",
        "Answers that mean healthy.", place(Place::IngressOrBackend);
    ACTIONS = Own "actions", Kind::Checked("JSON: action", actions::check), "",
        "What a backend with this name and port `use-annotation` does: forward, redirect or fixed-response.", per(Per::Name);
    CONDITIONS = Own "conditions", Kind::Checked("JSON: conditions", conditions::check), "",
        "Further conditions of the rules that go to the backend with this name.", per(Per::Name), refused_if_wrong();
    TRANSFORMS = Own "transforms", Kind::Checked("JSON: transforms", conditions::check_transforms), "",
        "Rewrites of the rules that go to the backend with this name.", per(Per::Name), refused_if_wrong();
    REGEX_PATHS = Own "use-regex-path-match", Kind::Bool, "false",
        "Paths of type ImplementationSpecific are regular expressions.", refused_if_wrong();
    AUTH_TYPE = Own "auth-type", Kind::OneOf(&["none", "oidc", "cognito"]), "none",
        "Who must log in how.", place(Place::IngressOrBackend), refused_if_wrong();
    AUTH_COGNITO = Own "auth-idp-cognito", Kind::Checked("JSON: user pool", auth::check_cognito), "",
        "User pool of Cognito.", place(Place::IngressOrBackend), refused_if_wrong();
    AUTH_OIDC = Own "auth-idp-oidc", Kind::Checked("JSON: provider", auth::check_oidc), "",
        "Provider of OpenID Connect; the client's id and secret are in a Secret.", place(Place::IngressOrBackend), refused_if_wrong();
    AUTH_UNAUTHENTICATED = Own "auth-on-unauthenticated-request", Kind::OneOf(&["authenticate", "allow", "deny"]), "authenticate",
        "What becomes of a request that is not logged in.", place(Place::IngressOrBackend), refused_if_wrong();
    AUTH_SCOPE = Own "auth-scope", Kind::Text, "openid",
        "Claims to ask for.", place(Place::IngressOrBackend), refused_if_wrong();
    AUTH_COOKIE = Own "auth-session-cookie", Kind::Text, "AWSELBAuthSessionCookie",
        "Name of the session's cookie.", place(Place::IngressOrBackend), refused_if_wrong();
    AUTH_TIMEOUT = Own "auth-session-timeout", Kind::Number(1, 604_800), "604800",
        "Longest session, in seconds.", place(Place::IngressOrBackend), refused_if_wrong();
    JWT_VALIDATION = Own "jwt-validation", Kind::Checked("JSON: tokens", auth::check_jwt), "",
        "Checks tokens: issuer, keys and claims.", refused_if_wrong();
    WAFV2_ARN = Exclusive "wafv2-acl-arn", Kind::Text, "what is there stays",
        "Web ACL of WAFv2; `none` takes one away.", refused_if_wrong();
    WAFV2_NAME = Exclusive "wafv2-acl-name", Kind::Text, "what is there stays",
        "Web ACL of WAFv2 by name; `none` takes one away.", refused_if_wrong();
    WAF_ID = Exclusive "waf-acl-id", Kind::Text, "",
        "Web ACL of WAF Classic.", unsupported("AWS ended WAF Classic in September 2025; write wafv2-acl-arn");
    WEB_ACL_ID = Exclusive "web-acl-id", Kind::Text, "",
        "Web ACL of WAF Classic.", unsupported("AWS ended WAF Classic in September 2025; write wafv2-acl-arn");
    SHIELD = Exclusive "shield-advanced-protection", Kind::Bool, "what is there stays",
        "Shield Advanced.";
    FRONTEND_NLB = Exclusive "enable-frontend-nlb", Kind::Bool, "false",
        "Puts an NLB in front, for fixed addresses or PrivateLink.", refused_if_wrong();
    FRONTEND_SCHEME = Exclusive "frontend-nlb-scheme", Kind::OneOf(&["internal", "internet-facing"]), "that of the ALB",
        "Scheme of the NLB in front.", refused_if_wrong();
    FRONTEND_SUBNETS = Exclusive "frontend-nlb-subnets", Kind::List, "those of the ALB",
        "Subnets of the NLB in front.", refused_if_wrong();
    FRONTEND_SECURITY_GROUPS = Exclusive "frontend-nlb-security-groups", Kind::List, "those of the ALB",
        "Security groups of the NLB in front.", refused_if_wrong();
    FRONTEND_PORTS = Exclusive "frontend-nlb-listener-port-mapping", Kind::Map, "the same ports",
        "Ports of the NLB in front and of the ALB behind: `80=443`.", refused_if_wrong();
    FRONTEND_EIPS = Exclusive "frontend-nlb-eip-allocations", Kind::List, "",
        "Elastic IPs of the NLB in front, one per subnet in their order.", refused_if_wrong();
    FRONTEND_ATTRIBUTES = Exclusive "frontend-nlb-attributes", ATTRIBUTES, "AWS's",
        "Attributes of the NLB in front.", refused_if_wrong();
    FRONTEND_TAGS = Exclusive "frontend-nlb-tags", Kind::Tags, "those of the ALB",
        "Tags of the NLB in front.";
    FRONTEND_HEALTH_PORT = Exclusive "frontend-nlb-healthcheck-port", HEALTH_PORT_KIND, "traffic-port",
        "Port of the health check of the ALB.";
    FRONTEND_HEALTH_PROTOCOL = Exclusive "frontend-nlb-healthcheck-protocol", Kind::Word(&["HTTP", "HTTPS"]), "that of the listener",
        "Protocol of the health check of the ALB.";
    FRONTEND_HEALTH_PATH = Exclusive "frontend-nlb-healthcheck-path", Kind::Checked("path", path), "/",
        "Path of the health check of the ALB.";
    FRONTEND_HEALTH_INTERVAL = Exclusive "frontend-nlb-healthcheck-interval-seconds", Kind::Number(5, 300), "15",
        "Seconds between checks of the ALB.";
    FRONTEND_HEALTH_TIMEOUT = Exclusive "frontend-nlb-healthcheck-timeout-seconds", Kind::Number(2, 120), "5",
        "Seconds until a check of the ALB has failed.";
    FRONTEND_HEALTHY_THRESHOLD = Exclusive "frontend-nlb-healthcheck-healthy-threshold-count", Kind::Number(2, 10), "2",
        "Successes until the ALB is healthy.";
    FRONTEND_UNHEALTHY_THRESHOLD = Exclusive "frontend-nlb-healthcheck-unhealthy-threshold-count", Kind::Number(2, 10), "2",
        "Failures until the ALB is unhealthy.";
    FRONTEND_SUCCESS_CODES = Exclusive "frontend-nlb-healthcheck-success-codes", Kind::Checked("statuses", codes), "200-499",
        "Answers of the ALB that mean healthy.";
    ALLOW_DOWNTIME = Exclusive "allow-replacement-downtime", Kind::Bool, "false",
        "Lets a load balancer be deleted before its successor is made, where what is fixed (name, Elastic IPs, private addresses) leaves no other way to change it: nothing is served for some minutes.", own();
    DRY_RUN_PLAN = Own "dry-run-plan", Kind::Bool, "false",
        "Writes the plan and applies nothing.", unsupported("write causeway.io/paused: \"true\" and run causeway plan");
}
