//! What is asked of the allocator, what it answers, and why not. Pure data.

use std::fmt;
use std::net::IpAddr;

use causeway_api::{Family, FamilyPolicy, LbKey, Protocol};

use serde::Serialize;

use crate::closed::Taken;
use crate::names::events;
use crate::selector::Labels;

/// A protocol and port that a Service listens to.
pub type Port = (Protocol, u16);

/// The families that a Service has, by its cluster IPs (not by `ipFamilies`: those are a wish).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Families {
    /// One.
    One(Family),
    /// Both.
    Both,
}

impl Families {
    /// The families of addresses: one of a family, or two of different families.
    #[must_use]
    pub fn of(addresses: &[IpAddr]) -> Option<Self> {
        match addresses {
            [one] => Some(Self::One(Family::of(&one.to_canonical()))),
            [a, b] if Family::of(&a.to_canonical()) != Family::of(&b.to_canonical()) => Some(Self::Both),
            _ => None,
        }
    }

    /// The single families in it, IPv4 first.
    #[must_use]
    pub fn each(self) -> &'static [Family] {
        match self {
            Self::One(Family::V4) => &[Family::V4],
            Self::One(Family::V6) => &[Family::V6],
            Self::Both => &[Family::V4, Family::V6],
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(Family::V4) => "IPv4",
            Self::One(Family::V6) => "IPv6",
            Self::Both => "IPv4 and IPv6",
        })
    }
}

/// Who may be on one address together: equal sharing keys that are not empty, and equal backend keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SharingKey {
    /// Value of the annotation `allow-shared-ip`; empty: does not share.
    pub sharing: String,
    /// Empty with `externalTrafficPolicy: Cluster`; with `Local` the selector, since one node must have the endpoints of all.
    pub backend: String,
}

/// Paths of the fields of a Service that a request comes from.
pub mod field {
    /// The pool.
    pub const ADDRESS_POOL: &str = "metadata.annotations[metallb.io/address-pool]";
    /// The addresses, by annotation.
    pub const LOAD_BALANCER_IPS: &str = "metadata.annotations[metallb.io/loadBalancerIPs]";
    /// The address, by its deprecated field.
    pub const LOAD_BALANCER_IP: &str = "spec.loadBalancerIP";
    /// The sharing key.
    pub const ALLOW_SHARED_IP: &str = "metadata.annotations[metallb.io/allow-shared-ip]";
}

/// What a load balancer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks. One owner has one reservation.
    pub owner: LbKey,
    /// Namespace of the object.
    pub namespace: String,
    /// Labels of the namespace.
    pub namespace_labels: Labels,
    /// Labels of the object.
    pub labels: Labels,
    /// Families wanted.
    pub families: Families,
    /// What to do if both are wanted and only one can be had.
    pub policy: FamilyPolicy,
    /// The family to have if only one can be had.
    pub primary: Family,
    /// The pool asked for by name.
    pub pool: Option<String>,
    /// The addresses asked for; empty: any.
    pub addresses: Vec<IpAddr>,
    /// Where they were asked for, for messages: one of [`field`].
    pub addresses_field: &'static str,
    /// With whom it may share.
    pub key: SharingKey,
    /// What it listens to.
    pub ports: Vec<Port>,
}

/// What a load balancer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// One address, or two of different families.
    pub addresses: Vec<IpAddr>,
    /// Name of the pool they come from; for addresses in no pool any more that which they came from, if known.
    pub pool: Option<String>,
    /// They are in no pool any more, neither a serving nor a refused one: nobody announces them.
    pub outside: bool,
    /// The family that a Service with `PreferDualStack` has not got: its pool has no free address of it.
    pub lacks: Option<Family>,
    /// What happened when they were assigned last, as Normal Events.
    pub happened: Vec<Happened>,
}

/// Something worth telling the user. The texts are MetalLB's: tools read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// These addresses were given.
    Assigned(Vec<IpAddr>),
    /// A second family was added.
    Additional(IpAddr),
    /// The addresses it had do not fit any more.
    Cleared(String),
    /// One address is left of two, since the Service has one family now.
    Narrowed(IpAddr),
    /// One address is left of two, since no pool holds the other any more, and there is none in its place.
    Lost {
        /// The address that is in no pool.
        gone: IpAddr,
        /// The other.
        left: IpAddr,
    },
}

fn quoted(addresses: &[IpAddr]) -> String {
    let each: Vec<_> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    format!("[{}]", each.join(" "))
}

impl Happened {
    /// Reason of the Event.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Assigned(_) | Self::Additional(_) => events::ALLOCATED,
            Self::Cleared(_) | Self::Narrowed(_) | Self::Lost { .. } => events::CLEARED,
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned(addresses) => write!(f, "Assigned IP {}", quoted(addresses)),
            Self::Additional(address) => write!(f, "Assigned additional IP \"{address}\""),
            Self::Cleared(why) => {
                write!(f, "current IP not allowed by config, will attempt for new IP assignment: {why}")
            }
            Self::Narrowed(address) => {
                write!(f, "the Service has one IP family now: only {address} is left to it")
            }
            Self::Lost { gone, left } => {
                write!(
                    f,
                    "no pool holds {gone} any more, and its pool has none in its place: only {left} is left"
                )
            }
        }
    }
}

/// Why no address was given. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// There are no pools.
    #[error("there is no IPAddressPool; create one in the namespace that pools are read from")]
    NoPools,
    /// No pool that gives addresses to this Service has a free one.
    #[error(
        "no available IPs: no pool that this Service may use has a free {families} address; add addresses to a pool, or delete a Service \
         that needs none"
    )]
    Exhausted {
        /// Families wanted.
        families: Families,
    },
    /// The pool asked for has no free address.
    #[error(
        "no available IPs in pool {pool}: it has no free {families} address; add addresses to it, or name another pool"
    )]
    PoolExhausted {
        /// The pool.
        pool: String,
        /// Families wanted.
        families: Families,
    },
    /// The pool asked for does not exist.
    #[error("unknown pool {pool:?}; create that IPAddressPool, or name one of: {known}")]
    UnknownPool {
        /// The pool.
        pool: String,
        /// Pools that there are.
        known: String,
    },
    /// The pool asked for has a problem of its own.
    #[error(
        "pool {pool} gives no addresses because its spec is not valid; see the Events of that IPAddressPool"
    )]
    PoolRefused {
        /// The pool.
        pool: String,
    },
    /// The pool is set aside for other Services.
    #[error(
        "pool {pool} not compatible for ip assignment: its serviceAllocation does not match this Service's namespace and labels; change either, \
         or name another pool"
    )]
    PoolSetAside {
        /// The pool.
        pool: String,
    },
    /// The addresses are not in one serving pool.
    #[error("{} is not allowed in config: no pool holds it; ask for an address of a pool, or add it to one", quoted(.addresses))]
    OutsidePools {
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// The address ends in .0 or .255, and its pool leaves those out.
    #[error(
        "{address} is not allowed in config: pool {pool} has avoidBuggyIPs; ask for an address that does not end in .0 or .255"
    )]
    LeftOut {
        /// The address.
        address: IpAddr,
        /// Its pool.
        pool: String,
    },
    /// Somebody has the address already.
    #[error("{address} {taken}, so it is not given out; {}", closed_remedy(.taken))]
    Closed {
        /// The address.
        address: IpAddr,
        /// Who has it.
        taken: Box<Taken>,
    },
    /// Addresses and pool asked for do not agree.
    #[error(
        "requested loadBalancer IP(s) {} is not compatible with requested address pool {pool}; remove one of the two requests",
        quoted(.addresses)
    )]
    PoolDisagrees {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// The pool.
        pool: String,
    },
    /// The addresses asked for are of other families than the Service.
    #[error(
        "requested loadBalancer IP(s) {} does not match the ipFamily of the service, which is {families}; ask for one address of each of its \
         families",
        quoted(.addresses)
    )]
    FamilyMismatch {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Families of the Service.
        families: Families,
    },
    /// The address is used by Services that this one may not join.
    #[error(
        "can't change sharing key for {service:?}, address {address} also in use by {users}: {why}; give all of them the same \
         metallb.io/allow-shared-ip, or ask for another address"
    )]
    NotShared {
        /// The one that asks.
        service: String,
        /// The address.
        address: IpAddr,
        /// Who uses it.
        users: String,
        /// What keeps them apart.
        why: String,
    },
    /// The address is shared, and another Service has this port.
    #[error("port {}/{port} is already in use on \"{address}\" by {user}; change the port, or ask for another address", .protocol.as_str())]
    PortTaken {
        /// The address.
        address: IpAddr,
        /// Protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
        /// Who has it.
        user: String,
    },
}

fn closed_remedy(taken: &Taken) -> String {
    match taken {
        Taken::Node(_) => "ask for another address, and take this one out of its pool".into(),
        Taken::Stranger(stranger) => format!(
            "take it from that host, or ask for another address; deleting AddressConflict {} has it tried again at once",
            stranger.object.path()
        ),
    }
}

/// No address was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Denied {
    /// Why none could be given.
    pub error: AllocError,
    /// Why the owner had to give back what it had, if it had something.
    pub cleared: Option<String>,
}

impl AllocError {
    /// The field of the Service that is to be looked at; empty if the pools are.
    #[must_use]
    pub fn field(&self, request: &Request) -> &'static str {
        match self {
            Self::UnknownPool { .. } => field::ADDRESS_POOL,
            Self::OutsidePools { .. }
            | Self::LeftOut { .. }
            | Self::Closed { .. }
            | Self::PoolDisagrees { .. }
            | Self::FamilyMismatch { .. } => request.addresses_field,
            Self::PoolSetAside { .. } | Self::PoolRefused { .. } | Self::PoolExhausted { .. }
                if request.pool.is_some() =>
            {
                field::ADDRESS_POOL
            }
            Self::PoolSetAside { .. } | Self::PoolRefused { .. } => request.addresses_field,
            Self::NotShared { .. } if !request.addresses.is_empty() => request.addresses_field,
            Self::NotShared { .. } => field::ALLOW_SHARED_IP,
            Self::PortTaken { .. } => "spec.ports",
            Self::NoPools | Self::Exhausted { .. } | Self::PoolExhausted { .. } => "",
        }
    }
}
