//! What a peer was told, what it is to know, and the UPDATEs between the two (RFC 4271 §4.3, §9.2). Pure.
//!
//! There is no queue of UPDATEs. Whenever the connection can take something, the difference to the *latest* wish is computed, and as much of it is written as is
//! asked for. So a peer that reads slowly costs a bounded number of octets, and never hears of what was over in the meantime.
//!
//! Prefixes with equal attributes share a message. What is new is said before what is gone: a prefix that replaces another leaves no gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::Family;
use causeway_metal::bgp::{RibOut, RouteAttributes};
use ipnet::IpNet;

use super::attributes::{Dialect, NextHop, Unsent, reach_head, unreach_head};
use super::family::FAMILIES;
use super::message::{self, HEADER, Kind, MAX_LENGTH};

/// The two lengths that each UPDATE has: of withdrawn routes, of attributes.
const LENGTHS: usize = 4;
/// The longest prefix: a length and 16 octets.
const LONGEST_PREFIX: usize = 17;

/// What a peer was told.
#[derive(Debug, Default)]
pub struct Told {
    /// Nothing in place of the attributes: it was told something, and asked to be told again.
    routes: BTreeMap<IpNet, Option<Arc<RouteAttributes>>>,
}

/// Some UPDATEs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The messages, one after the other.
    pub octets: Vec<u8>,
    /// How many they are.
    pub messages: u64,
    /// Whether there is nothing more to say.
    pub complete: bool,
}

/// What is to be said of one prefix of the wish.
enum Standing {
    Said,
    Due,
    Unsendable(Unsent),
}

impl Told {
    /// The peer wants to hear all routes of this family again (RFC 2918 §4), or they lead elsewhere now.
    pub fn forget(&mut self, family: Family) {
        for (prefix, told) in &mut self.routes {
            if Family::of(&prefix.addr()) == family {
                *told = None;
            }
        }
    }

    /// How many prefixes the peer has from us.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether a route was told as it is to be, or why it cannot be; `Ok(false)` if it is about to be.
    ///
    /// # Errors
    ///
    /// Why it cannot be told.
    pub fn has(
        &self,
        prefix: &IpNet,
        wanted: &Arc<RouteAttributes>,
        dialect: &Dialect,
    ) -> Result<bool, Unsent> {
        match self.standing(prefix, wanted, dialect) {
            Standing::Said => Ok(true),
            Standing::Due => {
                let next_hop = dialect.next_hop(Family::of(&prefix.addr()))?;
                fits(&dialect.attributes(wanted, next_hop), next_hop).map(|()| false)
            }
            Standing::Unsendable(why) => Err(why),
        }
    }

    fn standing(&self, prefix: &IpNet, wanted: &Arc<RouteAttributes>, dialect: &Dialect) -> Standing {
        if let Err(why) = dialect.next_hop(Family::of(&prefix.addr())) {
            return Standing::Unsendable(why);
        }
        match self.routes.get(prefix) {
            Some(Some(told)) if Arc::ptr_eq(told, wanted) || told == wanted => Standing::Said,
            _ => Standing::Due,
        }
    }

    /// Writes UPDATEs towards `wanted` until they have `limit` octets or there is nothing more to say. The last message may go beyond the limit.
    pub fn advance(&mut self, wanted: &RibOut, dialect: &Dialect, limit: usize) -> Batch {
        let mut batch = Batch { complete: true, ..Batch::default() };
        let mut due: BTreeMap<(Family, &Arc<RouteAttributes>), Vec<IpNet>> = BTreeMap::new();
        for (prefix, attributes) in wanted {
            if matches!(self.standing(prefix, attributes, dialect), Standing::Due) {
                due.entry((Family::of(&prefix.addr()), attributes)).or_default().push(*prefix);
            }
        }
        // Those of which the peer has something that it is not to have: gone, or as they are now not to be told.
        let mut stale: Vec<IpNet> = Vec::new();
        for ((family, attributes), prefixes) in due {
            let Ok(next_hop) = dialect.next_hop(family) else { continue };
            let encoded = dialect.attributes(attributes, next_hop);
            if fits(&encoded, next_hop).is_err() {
                stale.extend(prefixes.iter().filter(|prefix| self.routes.contains_key(prefix)));
                continue;
            }
            let mut rest = prefixes.as_slice();
            while !rest.is_empty() {
                if batch.octets.len() >= limit {
                    batch.complete = false;
                    return batch;
                }
                let (now, later) =
                    rest.split_at(announce(&mut batch.octets, family, next_hop, &encoded, rest));
                batch.messages += 1;
                self.routes.extend(now.iter().map(|prefix| (*prefix, Some(Arc::clone(attributes)))));
                rest = later;
            }
        }
        let unwanted = |prefix: &IpNet| {
            !wanted.contains_key(prefix) || dialect.next_hop(Family::of(&prefix.addr())).is_err()
        };
        stale.extend(self.routes.keys().copied().filter(unwanted));
        stale.sort_unstable();
        for family in FAMILIES {
            let of_family: Vec<IpNet> =
                stale.iter().copied().filter(|prefix| Family::of(&prefix.addr()) == family).collect();
            let mut rest = of_family.as_slice();
            while !rest.is_empty() {
                if batch.octets.len() >= limit {
                    batch.complete = false;
                    return batch;
                }
                let classic = family == Family::V4 && !matches!(dialect.ipv4, Ok(NextHop::Multiprotocol(_)));
                let (now, later) = rest.split_at(withdraw(&mut batch.octets, family, classic, rest));
                batch.messages += 1;
                for prefix in now {
                    self.routes.remove(prefix);
                }
                rest = later;
            }
        }
        batch
    }
}

/// Whether there is room for a prefix beside these attributes.
fn fits(attributes: &[u8], next_hop: NextHop) -> Result<(), Unsent> {
    // MP_REACH_NLRI: flags, type, length, AFI, SAFI, length of the next hop, that, reserved.
    let multiprotocol = if matches!(next_hop, NextHop::Classic(_)) { 0 } else { 4 + 3 + 1 + 16 + 1 };
    if HEADER + LENGTHS + multiprotocol + attributes.len() + LONGEST_PREFIX <= MAX_LENGTH {
        Ok(())
    } else {
        Err(Unsent::TooLong)
    }
}

/// One message with as many of the prefixes as fit: answers how many those are. At least one does: see [`fits`].
fn announce(
    out: &mut Vec<u8>,
    family: Family,
    next_hop: NextHop,
    attributes: &[u8],
    prefixes: &[IpNet],
) -> usize {
    let mut count = 0;
    let end = out.len() + MAX_LENGTH;
    message::write(out, Kind::Update, |out| {
        out.extend_from_slice(&[0, 0]);
        match next_hop {
            NextHop::Classic(_) => {
                out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
                out.extend_from_slice(attributes);
                count = prefixes_into(out, end, prefixes);
            }
            NextHop::Multiprotocol(address) => sized(out, |out| {
                // RFC 7606 §5.1: first of all, so that it is found even if another is broken.
                let start = out.len();
                reach_head(out, family, address);
                count = prefixes_into(out, end - attributes.len(), prefixes);
                patch(out, start + 2, start + 4);
                out.extend_from_slice(attributes);
            }),
        }
    });
    count
}

/// The same for prefixes that are to go.
fn withdraw(out: &mut Vec<u8>, family: Family, classic: bool, prefixes: &[IpNet]) -> usize {
    let mut count = 0;
    let end = out.len() + MAX_LENGTH;
    message::write(out, Kind::Update, |out| {
        if classic {
            sized(out, |out| count = prefixes_into(out, end - 2, prefixes));
            out.extend_from_slice(&[0, 0]);
        } else {
            out.extend_from_slice(&[0, 0]);
            sized(out, |out| {
                let start = out.len();
                unreach_head(out, family);
                count = prefixes_into(out, end, prefixes);
                patch(out, start + 2, start + 4);
            });
        }
    });
    count
}

/// End-of-RIB: all there is of a family has been said (RFC 4724 §2).
pub fn end_of_rib(out: &mut Vec<u8>, family: Family) {
    match family {
        Family::V4 => message::write(out, Kind::Update, |out| out.extend_from_slice(&[0; LENGTHS])),
        Family::V6 => drop(withdraw(out, family, false, &[])),
    }
}

/// Appends prefixes until `end`; answers how many.
fn prefixes_into(out: &mut Vec<u8>, end: usize, prefixes: &[IpNet]) -> usize {
    for (count, prefix) in prefixes.iter().enumerate() {
        let length = prefix.prefix_len();
        let octets = usize::from(length.div_ceil(8));
        if out.len() + 1 + octets > end {
            return count;
        }
        out.push(length);
        match prefix.network() {
            std::net::IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..octets]),
            std::net::IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..octets]),
        }
    }
    prefixes.len()
}

/// What `body` appends, behind its length.
fn sized(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    body(out);
    patch(out, start, start + 2);
}

/// Writes at `place` how much there is from `begin` on. A message has at most 4096 octets.
fn patch(out: &mut [u8], place: usize, begin: usize) {
    let length = (out.len() - begin) as u16;
    out[place..][..2].copy_from_slice(&length.to_be_bytes());
}
