//! Interfaces and addresses of this machine, told by the kernel as they change (rtnetlink(7)). I/O.
//!
//! The kernel's messages are a hint, not a log: they can be lost when the socket's buffer overflows. So everything is read anew then, after
//! a failure, and every [`REREAD`].

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::interfaces::{Link, Links};
use crate::l2::MacAddr;

/// How often everything is read anew without any cause.
const REREAD: Duration = Duration::from_secs(30);
/// How long to wait after the connection to the kernel failed.
const RETRY: Duration = Duration::from_secs(1);

/// Why the interfaces could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// The kernel refused to list.
    #[error("cannot list interfaces or addresses: {0}")]
    List(#[from] rtnetlink::Error),
    /// The socket went away.
    #[error("the netlink connection ended")]
    Ended,
}

/// Publishes the interfaces, at once and upon each change, until nobody listens any more. The first reading is published when it is
/// complete; a failure is logged, what is known stays, and it is tried again.
pub async fn watch(links: watch::Sender<Option<Arc<Links>>>) {
    while !links.is_closed() {
        if let Err(error) = follow(&links).await {
            tracing::warn!(%error, "interfaces cannot be watched; what is known of them stays");
            sleep(RETRY).await;
        }
    }
}

async fn follow(published: &watch::Sender<Option<Arc<Links>>>) -> Result<(), NetlinkError> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = new_multicast_connection(&groups)?;
    let connection = tokio::spawn(connection);
    let _ends_with_us = AbortOnDrop(connection);
    // Subscribed first, read then: what changes in between is told after the reading, and applied to it.
    let mut links = read(&handle).await?;
    publish(published, &links);
    let mut reread = interval(REREAD);
    reread.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reread.reset();
    loop {
        tokio::select! {
            message = messages.next() => {
                let (message, _) = message.ok_or(NetlinkError::Ended)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => apply(&mut links, &inner),
                    NetlinkPayload::Overrun(_) => links = read(&handle).await?,
                    _ => continue,
                }
                // A new bridge or a rebooting switch says many things at once.
                while let Some(Some((message, _))) = futures::FutureExt::now_or_never(messages.next()) {
                    if let NetlinkPayload::InnerMessage(inner) = message.payload {
                        apply(&mut links, &inner);
                    } else {
                        links = read(&handle).await?;
                    }
                }
            }
            _ = reread.tick() => links = read(&handle).await?,
            () = published.closed() => return Ok(()),
        }
        publish(published, &links);
    }
}

/// Ends a task together with whoever started it.
pub(crate) struct AbortOnDrop(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn publish(published: &watch::Sender<Option<Arc<Links>>>, links: &Links) {
    published.send_if_modified(|current| {
        let changed = current.as_deref() != Some(links);
        if changed {
            *current = Some(Arc::new(links.clone()));
        }
        changed
    });
}

async fn read(handle: &Handle) -> Result<Links, NetlinkError> {
    let mut links = Links::default();
    let mut listed = handle.link().get().execute();
    while let Some(message) = listed.try_next().await? {
        if let Some(link) = link_of(&message) {
            links.upsert(link);
        }
    }
    let mut listed = handle.address().get().execute();
    while let Some(message) = listed.try_next().await? {
        if let Some(address) = address_of(&message) {
            links.add_address(message.header.index, address);
        }
    }
    Ok(links)
}

fn apply(links: &mut Links, message: &RouteNetlinkMessage) {
    match message {
        RouteNetlinkMessage::NewLink(message) => {
            if let Some(link) = link_of(message) {
                links.upsert(link);
            }
        }
        RouteNetlinkMessage::DelLink(message) => links.remove(message.header.index),
        RouteNetlinkMessage::NewAddress(message) => {
            if let Some(address) = address_of(message) {
                links.add_address(message.header.index, address);
            }
        }
        RouteNetlinkMessage::DelAddress(message) => {
            if let Some(address) = address_of(message) {
                links.remove_address(message.header.index, address);
            }
        }
        _ => {}
    }
}

/// Messages of the bridge family (a port was added or removed) come over the same group; they carry a part of the attributes only, and
/// name the bridge, so they are not readings of the interface.
fn link_of(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family != netlink_packet_route::AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        broadcast: flags.contains(LinkFlags::Broadcast),
        no_arp: flags.contains(LinkFlags::Noarp),
        controller: None,
        addresses: Default::default(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(octets) => link.mac = octets.as_slice().try_into().ok().map(MacAddr),
            LinkAttribute::Controller(0) => {}
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The interface's own address: on point-to-point links that is `IFA_LOCAL`, while `IFA_ADDRESS` is the other end's.
fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => own = own.or(Some(*address)),
            _ => {}
        }
    }
    IpNet::new(own?, message.header.prefix_len).ok()
}
