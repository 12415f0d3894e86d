//! Link-layer addresses, and frames that live on the stack. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// Whether this can be the address of one station: not all zero, and without the group bit (IEEE 802-2014 §8.2.2).
    pub fn is_station(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Text that is no Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not six octets in hexadecimal with colons between them")]
pub struct BadMac;

impl FromStr for MacAddr {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(BadMac)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_none() { Ok(MacAddr(octets)) } else { Err(BadMac) }
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The longest frame we send: a neighbour advertisement with one link-layer option
/// (14 + 40 + 24 + 8 octets; RFC 4861 §4.4, §4.6.1).
const CAPACITY: usize = 86;

/// A frame to send, Ethernet header included. Kept in place, so that answering allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    octets: [u8; CAPACITY],
    length: usize,
}

impl Frame {
    pub(super) fn new() -> Self {
        Frame { octets: [0; CAPACITY], length: 0 }
    }

    /// Appends octets. The callers' layouts are fixed and fit; what would not is cut off.
    pub(super) fn push(&mut self, octets: &[u8]) {
        let room = &mut self.octets[self.length..];
        let taken = octets.len().min(room.len());
        debug_assert_eq!(taken, octets.len(), "a frame of ours exceeds {CAPACITY} octets");
        room[..taken].copy_from_slice(&octets[..taken]);
        self.length += taken;
    }

    /// What goes onto the wire.
    pub fn as_slice(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame({:02x?})", self.as_slice())
    }
}

/// What is said unasked about one address: one frame or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames(Frame, Option<Frame>);

impl Frames {
    /// In the order in which they are to be sent.
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        std::iter::once(&self.0).chain(&self.1)
    }
}

impl From<Frame> for Frames {
    fn from(only: Frame) -> Self {
        Frames(only, None)
    }
}

impl From<[Frame; 2]> for Frames {
    fn from([first, second]: [Frame; 2]) -> Self {
        Frames(first, Some(second))
    }
}
