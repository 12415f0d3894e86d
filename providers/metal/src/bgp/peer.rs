//! Peers: `BGPPeer` objects checked. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use causeway_api::{Family, ObjectRef, OwnObject, OwnObjects, Problem};

use super::profile::{BfdSettings, Profiles};
use super::secret::{LONGEST, Password, PeerSecret, SECRET_KEY, SECRET_TYPE};
use super::{Report, time};
use crate::annotations::{PASSIVE, TTL_SECURITY};
use crate::kinds::BGPPeerSpec;
use crate::names::reasons;
use crate::selector::{self, Labels, Selector};

/// The AS number that a router must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemoteAsn {
    /// This one.
    Is(u32),
    /// That of this end.
    Internal,
    /// Another than that of this end.
    External,
}

/// Where a router is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerTo {
    /// At this address.
    Address(IpAddr),
    /// At the other end of this interface, which its router advertisements tell ("unnumbered").
    Interface(String),
}

impl std::fmt::Display for PeerTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// The IP families whose routes a session carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Families {
    /// That of the session's addresses.
    OfSession,
    /// Both.
    Both,
}

/// One checked `BGPPeer`. Two that are equal make the same session: only a peer that differs needs a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name of the object.
    pub name: String,
    /// The object, for messages.
    pub object: ObjectRef,
    /// creationTimestamp, seconds since the epoch; `None` counts as oldest.
    pub created: Option<i64>,
    /// AS number of this end.
    pub asn: u32,
    /// AS number that the router must have.
    pub remote: RemoteAsn,
    /// AS number to show the router in place of `asn`, and alone ("no-prepend replace-as").
    pub local_asn: Option<u32>,
    /// Where the router is.
    pub to: PeerTo,
    /// Address to speak from.
    pub source: Option<IpAddr>,
    /// TCP port of the router.
    pub port: u16,
    /// Hold time to offer, whole seconds (RFC 4271 §4.2); 0: none.
    pub hold: Duration,
    /// Time between KEEPALIVE messages, not longer than `hold`; 0 if and only if that is 0.
    pub keepalive: Duration,
    /// Time between attempts to connect, before any back-off.
    pub connect: Duration,
    /// BGP identifier of this end (RFC 6286); `None`: one of the node's addresses.
    pub router_id: Option<Ipv4Addr>,
    /// Selectors of the nodes that speak with it; empty: all.
    pub node_selectors: Vec<Selector>,
    /// For TCP MD5 signatures (RFC 2385).
    pub password: Option<Password>,
    /// Settings of the BFD session beside it, if there is to be one.
    pub bfd: Option<BfdSettings>,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: bool,
    /// The router of another AS is more than one hop away.
    pub multihop: bool,
    /// The families whose routes it carries.
    pub families: Families,
    /// The router connects.
    pub passive: bool,
    /// Hops that packets may have come (RFC 5082).
    pub ttl_security: Option<u8>,
}

impl Peer {
    /// Whether a node with these labels speaks with it.
    #[must_use]
    pub fn matches_node(&self, labels: &Labels) -> bool {
        selector::any(&self.node_selectors, labels)
    }

    /// The AS number that the router sees.
    #[must_use]
    pub fn shown_asn(&self) -> u32 {
        self.local_asn.unwrap_or(self.asn)
    }

    /// Whether the session carries routes of a family. An unnumbered one carries both.
    #[must_use]
    pub fn carries(&self, family: Family) -> bool {
        match (&self.to, self.families) {
            (PeerTo::Address(address), Families::OfSession) => Family::of(address) == family,
            (PeerTo::Interface(_), _) | (_, Families::Both) => true,
        }
    }

    /// Order of precedence: oldest first, ties by name.
    #[must_use]
    pub fn age(&self) -> (Option<i64>, &str) {
        (self.created, &self.name)
    }
}

/// Hold time and keepalive time without any of the two: RFC 4271 §10. (FRR, and so MetalLB by default, offers 180 and 60 s; the shorter hold time of the two ends counts.)
const TIMERS: (Duration, Duration) = (Duration::from_secs(90), Duration::from_secs(30));
/// Base of the back-off between attempts to connect.
const CONNECT: Duration = Duration::from_secs(1);
/// Port of BGP.
const PORT: u16 = 179;

/// Checks all `BGPPeer` objects; those that cannot be used are left out and reported. Without `secrets` nothing is judged about them.
pub(super) fn parse_all(
    objects: &OwnObjects,
    profiles: &Profiles,
    secrets: Option<&BTreeMap<String, PeerSecret>>,
) -> (BTreeMap<String, Arc<Peer>>, Vec<Problem>) {
    let mut problems = Vec::new();
    let peers = objects
        .of("BGPPeer")
        .filter_map(|object| {
            let mut report = Report::new(&object.object, reasons::INVALID_PEER, &mut problems);
            let peer = parse(object, profiles, secrets, &mut report)?;
            report.sound().then(|| (peer.name.clone(), Arc::new(peer)))
        })
        .collect();
    (peers, problems)
}

fn parse(
    object: &OwnObject,
    profiles: &Profiles,
    secrets: Option<&BTreeMap<String, PeerSecret>>,
    report: &mut Report,
) -> Option<Peer> {
    let spec = report.spec::<BGPPeerSpec>(object)?;
    if !spec.vrf.is_empty() {
        report.refuse(
            "spec.vrf",
            "VRFs are not supported; remove it, and let the routes to the router be in the main table",
        );
    }
    if spec.disable_mp && spec.dual_stack_address_family {
        report.refuse(
            "spec.disableMP",
            "contradicts dualStackAddressFamily; remove it, it is deprecated and what it asks for is the default",
        );
    }
    let (asn, remote, local_asn) = numbers(&spec, report);
    let to = place(&spec, report);
    let source = source(&spec, to.as_ref(), report);
    let (hold, keepalive) = timers(&spec, report);
    let connect = connect(&spec, report);
    let node_selectors = report.selectors("nodeSelectors", &spec.node_selectors);
    let password = password(&spec, object, secrets, report);
    let ttl_security = report
        .annotation(&TTL_SECURITY, TTL_SECURITY.number(&object.annotations, 1..=254))
        .and_then(|hops| u8::try_from(hops).ok());
    if ttl_security.is_some() && spec.ebgp_multi_hop {
        report.refuse(TTL_SECURITY.field(), "says how far away the router is already; remove ebgpMultiHop");
    }
    let passive = report.annotation(&PASSIVE, PASSIVE.switch(&object.annotations));
    report.unknown_annotations(object);
    let router_id = router_id(&spec, report);
    let port = port(&spec, report);
    let to = to?;
    let bfd = bfd(&spec, &to, profiles, report);
    if bfd.is_some() && spec.enable_graceful_restart {
        report.warn(
            "spec.enableGracefulRestart",
            reasons::GRACEFUL_RESTART_WITH_BFD,
            "BFD ends with the speaker's process, and tells the router to drop the routes that graceful restart asks it to keep; use one of the two",
        );
    }
    Some(Peer {
        name: object.object.name.clone(),
        object: object.object.clone(),
        created: object.created,
        asn,
        remote,
        local_asn,
        families: match to {
            PeerTo::Address(_) if !spec.dual_stack_address_family => Families::OfSession,
            _ => Families::Both,
        },
        to,
        source,
        port,
        hold,
        keepalive,
        connect,
        router_id,
        node_selectors,
        password,
        bfd,
        graceful_restart: spec.enable_graceful_restart,
        multihop: spec.ebgp_multi_hop,
        passive,
        ttl_security,
    })
}

/// AS numbers: of this end, of the router, and the one to show it.
fn numbers(spec: &BGPPeerSpec, report: &mut Report) -> (u32, RemoteAsn, Option<u32>) {
    let mut number = |field: &str, value: i64| {
        u32::try_from(value).unwrap_or_else(|_| {
            report.refuse(format!("spec.{field}"), format!("{value} is not within 0 to 4294967295"));
            0
        })
    };
    let asn = number("myASN", spec.my_asn);
    let peer_asn = number("peerASN", spec.peer_asn);
    let local_asn = Some(number("localASN", spec.local_asn)).filter(|asn| *asn != 0);
    if spec.my_asn == 0 {
        report.refuse("spec.myASN", "is missing; give the AS number of the nodes, such as 64500");
    }
    let dynamic = spec.dynamic_asn.as_deref().filter(|text| !text.is_empty());
    let remote = match (spec.peer_asn, dynamic) {
        (0, None) => {
            report.refuse("spec.peerASN", "is missing; give the AS number of the router, or dynamicASN");
            RemoteAsn::External
        }
        (0, Some("internal")) => RemoteAsn::Internal,
        (0, Some("external")) => RemoteAsn::External,
        (0, Some(other)) => {
            report.refuse("spec.dynamicASN", format!("{other:?} is neither \"internal\" nor \"external\""));
            RemoteAsn::External
        }
        (_, Some(_)) => {
            report.refuse("spec.dynamicASN", "excludes peerASN; remove one of them");
            RemoteAsn::Is(peer_asn)
        }
        (_, None) => RemoteAsn::Is(peer_asn),
    };
    if let Some(local) = local_asn
        && (remote == RemoteAsn::Is(local) || remote == RemoteAsn::Internal)
    {
        report.refuse(
            "spec.localASN",
            "is for routers of another AS than that which they see here; remove it, or make it another number than the router's",
        );
    }
    let shown = local_asn.unwrap_or(asn);
    if spec.ebgp_multi_hop && (remote == RemoteAsn::Is(shown) || remote == RemoteAsn::Internal) {
        report.refuse(
            "spec.ebgpMultiHop",
            "is for routers of another AS; remove it, routers of our own may be any number of hops away",
        );
    }
    (asn, remote, local_asn)
}

fn place(spec: &BGPPeerSpec, report: &mut Report) -> Option<PeerTo> {
    match (spec.peer_address.as_str(), spec.interface.as_str()) {
        ("", "") => {
            report.refuse(
                "spec.peerAddress",
                "is missing; give the address of the router, or the interface that leads to it",
            );
            None
        }
        ("", interface) => Some(PeerTo::Interface(interface.to_owned())),
        (_, interface) if !interface.is_empty() => {
            report.refuse("spec.interface", "excludes peerAddress; remove one of them");
            None
        }
        (text, _) => {
            let address = address("peerAddress", text, report)?;
            if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
                report.refuse(
                    "spec.peerAddress",
                    format!("{text} is a link-local address, which says nothing without an interface; give the interface instead"),
                );
                return None;
            }
            Some(PeerTo::Address(address))
        }
    }
}

fn address(field: &str, text: &str, report: &mut Report) -> Option<IpAddr> {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            report.refuse(format!("spec.{field}"), format!("{text} is not the address of one host"));
            None
        }
        Ok(address) => Some(address),
        Err(_) => {
            report.refuse(format!("spec.{field}"), format!("{text:?} is not an IP address"));
            None
        }
    }
}

fn source(spec: &BGPPeerSpec, to: Option<&PeerTo>, report: &mut Report) -> Option<IpAddr> {
    if spec.source_address.is_empty() {
        return None;
    }
    let source = address("sourceAddress", &spec.source_address, report)?;
    match to {
        Some(PeerTo::Interface(_)) => report.refuse(
            "spec.sourceAddress",
            "cannot be chosen where an interface is given: the session is between the link-local addresses of its ends; remove it",
        ),
        Some(PeerTo::Address(to)) if Family::of(to) != Family::of(&source) => report.refuse(
            "spec.sourceAddress",
            format!("{source} is not of the IP family of peerAddress {to}"),
        ),
        _ => {}
    }
    Some(source)
}

/// RFC 4271 §4.2: 0 or at least three seconds; §4.4: a third of it between keepalives is reasonable, and more than one a second is not allowed.
fn timers(spec: &BGPPeerSpec, report: &mut Report) -> (Duration, Duration) {
    let mut read = |field: &str, text: &str| {
        (!text.is_empty())
            .then(|| time::parse(text))
            .and_then(|read| read.map_err(|message| report.refuse(format!("spec.{field}"), message)).ok())
    };
    let hold = read("holdTime", &spec.hold_time);
    let keepalive = read("keepaliveTime", &spec.keepalive_time);
    // Both in objects that MetalLB converted from its old version; without KEEPALIVE messages no hold time would ever be kept.
    let keepalive =
        keepalive.filter(|keepalive| !keepalive.is_zero() || hold.is_none_or(|hold| hold.is_zero()));
    let (field, hold, keepalive) = match (hold, keepalive) {
        (None, None) => return TIMERS,
        (Some(hold), None) => ("holdTime", hold, hold / 3),
        (None, Some(keepalive)) => ("keepaliveTime", keepalive.saturating_mul(3), keepalive),
        (Some(hold), Some(keepalive)) => ("holdTime", hold, keepalive),
    };
    // The message holds whole seconds.
    let seconds = Duration::from_secs(hold.as_secs());
    if !hold.is_zero() && hold < Duration::from_secs(3) {
        report.refuse(
            format!("spec.{field}"),
            format!("makes a hold time of {hold:?}, which must be 0 or at least 3s"),
        );
    } else if seconds > Duration::from_secs(u16::MAX.into()) {
        report.refuse(
            format!("spec.{field}"),
            format!("makes a hold time of {hold:?}, which must be at most 65535s"),
        );
    } else if keepalive > hold {
        report.refuse(
            "spec.keepaliveTime",
            format!("{keepalive:?} is longer than the hold time of {hold:?}; a third of that is usual"),
        );
    } else if !keepalive.is_zero() && keepalive < Duration::from_secs(1) {
        report.refuse("spec.keepaliveTime", format!("{keepalive:?} is too short; it must be at least 1s"));
    }
    (seconds, keepalive.min(seconds))
}

fn connect(spec: &BGPPeerSpec, report: &mut Report) -> Duration {
    if spec.connect_time.is_empty() {
        return CONNECT;
    }
    match time::parse(&spec.connect_time) {
        Ok(time) if time.subsec_nanos() == 0 && (1..=65535).contains(&time.as_secs()) => return time,
        Ok(time) => {
            report.refuse(
                "spec.connectTime",
                format!("{time:?} is not a whole number of seconds from 1 to 65535"),
            );
        }
        Err(message) => report.refuse("spec.connectTime", message),
    }
    CONNECT
}

/// RFC 6286 §2.1: any number but 0, written like an IPv4 address.
fn router_id(spec: &BGPPeerSpec, report: &mut Report) -> Option<Ipv4Addr> {
    if spec.router_id.is_empty() {
        return None;
    }
    let id = spec.router_id.parse().ok().filter(|id: &Ipv4Addr| !id.is_unspecified());
    if id.is_none() {
        report.refuse(
            "spec.routerID",
            format!("{:?} is no BGP identifier; write it like an IPv4 address", spec.router_id),
        );
    }
    id
}

fn port(spec: &BGPPeerSpec, report: &mut Report) -> u16 {
    match u16::try_from(spec.peer_port) {
        // In the old version 0 stood for the default.
        Ok(0) => PORT,
        Ok(port @ 1..=16384) => port,
        _ => {
            report.refuse("spec.peerPort", format!("{} is not within 1 to 16384", spec.peer_port));
            PORT
        }
    }
}

fn password(
    spec: &BGPPeerSpec,
    object: &OwnObject,
    secrets: Option<&BTreeMap<String, PeerSecret>>,
    report: &mut Report,
) -> Option<Password> {
    let (name, namespace) = (&spec.password_secret.name, &spec.password_secret.namespace);
    let (field, password) = match (spec.password.is_empty(), name.is_empty()) {
        (true, true) => return None,
        (false, false) => {
            report.refuse("spec.passwordSecret", "excludes password; remove one of them");
            return None;
        }
        (false, true) => ("spec.password", Password::new(spec.password.0.as_bytes())),
        (true, false) => {
            let home = &object.object.namespace;
            if !namespace.is_empty() && namespace != home {
                report.refuse(
                    "spec.passwordSecret.namespace",
                    format!(
                        "Secrets are read from namespace {home} only, where this object is; move it there"
                    ),
                );
                return None;
            }
            match secrets?.get(name) {
                Some(PeerSecret::Password(password)) => ("spec.passwordSecret", password.clone()),
                refused => {
                    let message = match refused {
                        Some(PeerSecret::WrongType(kind)) => {
                            format!("Secret {name} is of type {kind}; make one of type {SECRET_TYPE}")
                        }
                        Some(_) => {
                            format!("Secret {name} holds no password; add one under the key {SECRET_KEY}")
                        }
                        None => format!(
                            "there is no Secret {name} in namespace {home}; create it, of type {SECRET_TYPE}"
                        ),
                    };
                    report.refuse("spec.passwordSecret", message);
                    return None;
                }
            }
        }
    };
    let octets = password.as_bytes().len();
    if octets > LONGEST {
        report.refuse(
            field,
            format!("the password has {octets} octets; TCP MD5 signatures take at most {LONGEST}"),
        );
    }
    Some(password)
}

fn bfd(spec: &BGPPeerSpec, to: &PeerTo, profiles: &Profiles, report: &mut Report) -> Option<BfdSettings> {
    if spec.bfd_profile.is_empty() {
        return None;
    }
    let mut settings = match profiles.get(&spec.bfd_profile) {
        Ok(settings) => settings.clone(),
        Err(message) => {
            report.refuse("spec.bfdProfile", message);
            return None;
        }
    };
    // RFC 5883 §3: no echo over several hops. RFC 5881 §4 has it for IPv6 too, but hosts and routers do not loop it back there.
    let several = spec.ebgp_multi_hop;
    let v6 = !matches!(to, PeerTo::Address(IpAddr::V4(_)));
    if settings.echo.is_some() && (several || v6) {
        let why = if several { "goes over several hops" } else { "is over IPv6" };
        report.warn(
            "spec.bfdProfile",
            reasons::NO_BFD_ECHO,
            format!(
                "BFDProfile {} asks for echo mode, but this session {why}: BFD goes on without echo; name a profile without echoMode",
                spec.bfd_profile
            ),
        );
        settings.echo = None;
    }
    Some(settings)
}

#[cfg(test)]
mod tests;
