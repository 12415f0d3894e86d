//! The multicast groups in which IPv6 hosts ask for announced addresses. I/O.
//!
//! Two memberships for each group. That of the packet socket makes the network card let its frames in, whatever the kernel thinks of IPv6 on the interface. That of
//! an IPv6 socket makes the kernel report the group (MLD, RFC 3810): a switch that snoops would else not forward its frames to us. Receiving *all* multicast instead would
//! wake the kernel for each frame of every stream on the segment, and snooping switches would still not send what nobody reported.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;

use causeway_sys::PacketSocket;
use socket2::{Domain, Protocol, Socket, Type};

use crate::l2::ndp::{ALL_NODES, group_mac};

/// The groups joined on one interface. All are left when this and the packet socket go.
#[derive(Debug)]
pub(crate) struct Groups {
    interface: u32,
    /// Each with the index of the socket in `reporters` that joined it; `None` where the kernel reports no groups.
    joined: BTreeMap<Ipv6Addr, Option<usize>>,
    /// The kernel bounds the groups of one socket (`net.core.optmem_max`): some hundred each.
    reporters: Vec<Socket>,
}

impl Groups {
    /// On the interface of this socket. Answers to probes for duplicates go to all nodes: that group is joined from the start.
    pub(crate) fn new(interface: u32, socket: &PacketSocket) -> io::Result<Self> {
        socket.join(group_mac(ALL_NODES).0)?;
        Ok(Groups { interface, joined: BTreeMap::new(), reporters: Vec::new() })
    }

    /// Joins what is missing and leaves the others. What cannot be joined is tried again the next time.
    pub(crate) fn set(&mut self, wanted: &BTreeSet<Ipv6Addr>, socket: &PacketSocket) {
        let gone: Vec<Ipv6Addr> =
            self.joined.keys().filter(|group| !wanted.contains(group)).copied().collect();
        for group in gone {
            let left = socket.leave(group_mac(group).0);
            let reporter = self.joined.remove(&group).flatten().and_then(|index| self.reporters.get(index));
            let left = left
                .and(reporter.map_or(Ok(()), |reporter| reporter.leave_multicast_v6(&group, self.interface)));
            if let Err(error) = left {
                // The interface has gone, and its memberships with it.
                tracing::debug!(%error, %group, "multicast group not left");
            }
        }
        for group in wanted {
            if self.joined.contains_key(group) {
                continue;
            }
            if let Err(error) = socket.join(group_mac(*group).0) {
                tracing::warn!(%error, %group, interface = self.interface, "cannot join a multicast group: an IPv6 address will not be found there");
                continue;
            }
            let reporter = self.report(group).inspect_err(|error| {
                tracing::debug!(%error, %group, interface = self.interface, "the kernel does not report this multicast group; a switch that snoops MLD may keep its frames from us");
            });
            self.joined.insert(*group, reporter.ok());
        }
    }

    /// Has the kernel report a group; gives the socket that holds it.
    fn report(&mut self, group: &Ipv6Addr) -> io::Result<usize> {
        if let Some(last) = self.reporters.last() {
            match last.join_multicast_v6(group, self.interface) {
                Ok(()) => return Ok(self.reporters.len() - 1),
                // This socket is full: the next one.
                Err(error) if FULL.contains(&error.raw_os_error().unwrap_or_default()) => {}
                Err(error) => return Err(error),
            }
        }
        let next = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        next.join_multicast_v6(group, self.interface)?;
        self.reporters.push(next);
        Ok(self.reporters.len() - 1)
    }
}

/// ENOMEM, ENOBUFS.
const FULL: [i32; 2] = [12, 105];
