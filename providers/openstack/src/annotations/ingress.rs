//! Annotations of Ingresses: the peer controller's, and our own. Pure data.

use super::table;
use super::value::Kind;

/// Prefix of the peer's keys.
pub const PREFIX: &str = "octavia.ingress.kubernetes.io/";

/// Most that Octavia takes as a timeout, in milliseconds: a day.
const MOST_TIMEOUT: i64 = 86_400_000;

macro_rules! key {
    ($rest:literal) => {
        concat!("octavia.ingress.kubernetes.io/", $rest)
    };
}

table! {
    INTERNAL = Exclusive key!("internal"), Kind::Bool, "true",
        "No floating IP: the load balancer is reached at its VIP only.", refused_if_wrong();
    KEEP_FLOATING_IP = Exclusive key!("keep-floatingip"), Kind::Bool, "false",
        "The floating IP is left when the load balancer is deleted.";
    FLOATING_IP = Exclusive key!("floatingip"), Kind::Address, "a new one",
        "Address of the floating IP: a free one of the project, else one that is made.", refused_if_wrong();
    SOURCE_RANGES = Exclusive key!("whitelist-source-range"), Kind::CidrList, "everybody",
        "Networks that may use the load balancer. In a group, who says otherwise than the oldest is not served.", refused_if_wrong();
    TIMEOUT_CLIENT_DATA = Exclusive key!("timeout-client-data"), Kind::Number(0, MOST_TIMEOUT), "50000",
        "Milliseconds that a client may be silent.";
    TIMEOUT_MEMBER_CONNECT = Exclusive key!("timeout-member-connect"), Kind::Number(0, MOST_TIMEOUT), "5000",
        "Milliseconds to connect to a member.";
    TIMEOUT_MEMBER_DATA = Exclusive key!("timeout-member-data"), Kind::Number(0, MOST_TIMEOUT), "50000",
        "Milliseconds that a member may be silent.";
    TIMEOUT_TCP_INSPECT = Exclusive key!("timeout-tcp-inspect"), Kind::Number(0, MOST_TIMEOUT), "0",
        "Milliseconds to wait for further data to inspect.";
    SSL_REDIRECT = Own "causeway.io/ssl-redirect", Kind::Bool, "true",
        "Requests by HTTP for hosts that have a certificate are sent to HTTPS (status 308). Not for hosts with a wildcard or none, which a redirect of Octavia cannot name.", refused_if_wrong();
}
