//! Who is at the other end of a link without addresses (unnumbered). The choice is pure; the kernel's neighbour table is read by rtnetlink(7). I/O.
//!
//! The kernel enters a router's link-local address into its neighbour table, marked as a router, when it hears a router advertisement, whether
//! or not it takes an address from it (RFC 4861 §6.3.4, §7.3.3); routers that peer in this way advertise on the link (FRR at once and every ten seconds).
//! Where nobody is marked as a router, the only neighbour of the link is taken: then it is a cable between two.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::netlink::{AbortOnDrop, NetlinkError};

/// How often everything is read anew without any cause.
const REREAD: Duration = Duration::from_secs(30);
/// How long to wait after the connection to the kernel failed.
const RETRY: Duration = Duration::from_secs(1);

/// The link-local neighbours of all interfaces, and whether each is a router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours(BTreeMap<(u32, Ipv6Addr), bool>);

impl Neighbours {
    /// Who is at the other end: a router (of several the one with the lowest address), or else the only neighbour.
    ///
    /// `own` is this end's address, which is never meant.
    pub fn router(&self, interface: u32, own: Ipv6Addr) -> Option<Ipv6Addr> {
        let all = || {
            let first = (interface, Ipv6Addr::UNSPECIFIED);
            self.0
                .range(first..)
                .take_while(move |((index, _), _)| *index == interface)
                .filter(move |((_, address), _)| *address != own)
        };
        if let Some(((_, router), _)) = all().find(|(_, router)| **router) {
            return Some(*router);
        }
        let mut all = all();
        match (all.next(), all.next()) {
            (Some(((_, only), _)), None) => Some(*only),
            _ => None,
        }
    }

    fn set(&mut self, interface: u32, address: Ipv6Addr, router: Option<bool>) {
        match router {
            Some(router) => drop(self.0.insert((interface, address), router)),
            None => drop(self.0.remove(&(interface, address))),
        }
    }
}

/// Publishes the neighbours until nobody listens any more. Neighbour tables change all the time, so this is to run only while somebody needs it.
pub async fn watch(published: watch::Sender<Arc<Neighbours>>) {
    while !published.is_closed() {
        if let Err(error) = follow(&published).await {
            tracing::warn!(%error, "neighbours cannot be watched; what is known of them stays");
            sleep(RETRY).await;
        }
    }
}

async fn follow(published: &watch::Sender<Arc<Neighbours>>) -> Result<(), NetlinkError> {
    let (connection, handle, mut messages) = new_multicast_connection(&[MulticastGroup::Neigh])?;
    let _ends_with_us = AbortOnDrop(tokio::spawn(connection));
    // Subscribed first, read then, as the interfaces are.
    let mut neighbours = read(&handle).await?;
    let mut reread = interval(REREAD);
    reread.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reread.reset();
    loop {
        published.send_if_modified(|current| {
            let changed = **current != neighbours;
            if changed {
                *current = Arc::new(neighbours.clone());
            }
            changed
        });
        tokio::select! {
            message = messages.next() => {
                let (message, _) = message.ok_or(NetlinkError::Ended)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                        apply(&mut neighbours, &message, true);
                    }
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
                        apply(&mut neighbours, &message, false);
                    }
                    NetlinkPayload::Overrun(_) => neighbours = read(&handle).await?,
                    _ => {}
                }
            }
            _ = reread.tick() => neighbours = read(&handle).await?,
            () = published.closed() => return Ok(()),
        }
    }
}

async fn read(handle: &Handle) -> Result<Neighbours, NetlinkError> {
    let mut neighbours = Neighbours::default();
    let mut listed = handle.neighbours().get().set_address_family(AddressFamily::Inet6).execute();
    while let Some(message) = listed.try_next().await? {
        apply(&mut neighbours, &message, true);
    }
    Ok(neighbours)
}

fn apply(neighbours: &mut Neighbours, message: &NeighbourMessage, there: bool) {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(*address),
        _ => None,
    });
    let Some(address) = address.filter(Ipv6Addr::is_unicast_link_local) else { return };
    // One that does not answer, or never did, is none.
    let lives = !matches!(
        message.header.state,
        NeighbourState::Failed | NeighbourState::Incomplete | NeighbourState::None | NeighbourState::Noarp
    );
    let router = message.header.flags.contains(NeighbourFlags::Router);
    neighbours.set(message.header.ifindex, address, (there && lives).then_some(router));
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nobody(&[], None)]
    #[case::only(&[(2, 7, false)], Some(7))]
    #[case::two_hosts(&[(2, 7, false), (2, 8, false)], None)]
    #[case::one_router(&[(2, 7, false), (2, 8, true)], Some(8))]
    #[case::two_routers(&[(2, 9, true), (2, 8, true)], Some(8))]
    #[case::ourselves(&[(2, 1, true), (2, 8, true)], Some(8))]
    #[case::elsewhere(&[(1, 7, true), (3, 8, true)], None)]
    fn at_the_other_end(#[case] known: &[(u32, u16, bool)], #[case] chosen: Option<u16>) {
        let address = |last: u16| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let mut neighbours = Neighbours::default();
        for (interface, last, router) in known {
            neighbours.set(*interface, address(*last), Some(*router));
        }
        assert_eq!(neighbours.router(2, address(1)), chosen.map(address));
        for (interface, last, _) in known {
            neighbours.set(*interface, address(*last), None);
        }
        assert_eq!(neighbours, Neighbours::default());
    }
}
