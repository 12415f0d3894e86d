//! Ranges of addresses as users write them, and as intervals to calculate with. Pure.
//!
//! An address is a number: 32 bits for IPv4, 128 for IPv6, both in a `u128`, always beside its [`Family`]. IPv4-mapped IPv6 addresses
//! count as IPv4, as in Go's `net`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_api::Family;
use ipnet::IpNet;

/// An address as a number within its family.
#[must_use]
pub fn number(address: IpAddr) -> (Family, u128) {
    match address.to_canonical() {
        IpAddr::V4(a) => (Family::V4, u128::from(u32::from(a))),
        IpAddr::V6(a) => (Family::V6, u128::from(a)),
    }
}

/// The address of a number. An IPv4 number beyond 32 bits does not occur; its low bits are taken.
#[must_use]
pub fn address(family: Family, number: u128) -> IpAddr {
    match family {
        #[expect(clippy::cast_possible_truncation, reason = "an IPv4 number has 32 bits")]
        Family::V4 => IpAddr::V4(Ipv4Addr::from(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// Whether an address ends in .0 or .255, which some old equipment takes for a broadcast address (MetalLB's "buggy" addresses). Never
/// true for IPv6.
#[must_use]
pub fn is_buggy(family: Family, number: u128) -> bool {
    family == Family::V4 && matches!(number & 0xff, 0 | 0xff)
}

/// An inclusive interval of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// Family.
    pub family: Family,
    /// First address.
    pub first: u128,
    /// Last address, not before the first.
    pub last: u128,
}

/// Why a text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A lone address.
    #[error("{0:?} is a single address; write it as {0}/{1}")]
    Single(String, u8),
    /// Neither CIDR nor range.
    #[error("{0:?} is neither a CIDR such as 192.0.2.0/28 nor a range such as 192.0.2.10-192.0.2.20")]
    Neither(String),
    /// One end of a range is no address.
    #[error("{1:?} in range {0:?} is not an IP address")]
    End(String, String),
    /// The ends are of two families.
    #[error("range {0:?} begins with one IP family and ends with the other")]
    Families(String),
    /// The first address comes after the last.
    #[error("range {0:?} begins after its end; swap the two addresses")]
    Reversed(String),
}

impl Range {
    /// Parses a CIDR, whose host bits are masked off, or `first-last`, with spaces allowed around the addresses.
    ///
    /// # Errors
    /// Says what is wrong with the text and how to write it.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        match text.split_once('-') {
            Some((first, last)) => Self::parse_ends(text, first.trim(), last.trim()),
            None => Self::parse_cidr(text.trim()),
        }
    }

    fn parse_cidr(text: &str) -> Result<Self, RangeError> {
        let Ok(net) = text.parse::<IpNet>() else {
            return Err(match text.parse::<IpAddr>() {
                Ok(ip) => RangeError::Single(text.to_owned(), if ip.is_ipv4() { 32 } else { 128 }),
                Err(_) => RangeError::Neither(text.to_owned()),
            });
        };
        let ((family, first), (last_family, last)) = (number(net.network()), number(net.broadcast()));
        if family == last_family {
            return Ok(Self { family, first, last });
        }
        // A prefix shorter than /96 around the IPv4-mapped block: it is meant as IPv6.
        match (net.network(), net.broadcast()) {
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ok(Self { family: Family::V6, first: first.into(), last: last.into() })
            }
            _ => Err(RangeError::Families(text.to_owned())),
        }
    }

    fn parse_ends(text: &str, first: &str, last: &str) -> Result<Self, RangeError> {
        let end = |part: &str| {
            part.parse::<IpAddr>().map_err(|_| RangeError::End(text.to_owned(), part.to_owned()))
        };
        let ((family, first), (last_family, last)) = (number(end(first)?), number(end(last)?));
        if family != last_family {
            return Err(RangeError::Families(text.to_owned()));
        }
        if first > last {
            return Err(RangeError::Reversed(text.to_owned()));
        }
        Ok(Self { family, first, last })
    }

    /// Whether a number of this range's family lies within.
    #[must_use]
    pub fn contains(&self, number: u128) -> bool {
        self.first <= number && number <= self.last
    }

    /// Number of addresses; `u128::MAX` for the whole of IPv6.
    #[must_use]
    pub fn size(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// Prefix length of the largest block of addresses within.
    #[must_use]
    pub fn widest(&self) -> u8 {
        let bits: u8 = if self.family == Family::V4 { 32 } else { 128 };
        (0..=bits)
            .find(|length| {
                let host = bits - length;
                // All the addresses there are do not fit a u128.
                let Some(size) = 1_u128.checked_shl(host.into()) else {
                    return (self.first, self.last) == (0, u128::MAX);
                };
                let Some(first) = self.first.checked_next_multiple_of(size) else { return false };
                first.checked_add(size - 1).is_some_and(|last| last <= self.last)
            })
            .unwrap_or(bits)
    }

    /// Number of addresses that end in .0 or .255.
    #[must_use]
    pub fn buggy(&self) -> u128 {
        if self.family == Family::V6 {
            return 0;
        }
        let up_to = |octet: u128, n: u128| (n + 256 - octet) >> 8;
        let count =
            |octet: u128| up_to(octet, self.last) - self.first.checked_sub(1).map_or(0, |n| up_to(octet, n));
        count(0) + count(255)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", address(self.family, self.first), address(self.family, self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("192.0.2.0/24", "192.0.2.0-192.0.2.255")]
    #[case("192.0.2.77/24", "192.0.2.0-192.0.2.255")] // host bits are masked off
    #[case("192.0.2.7/32", "192.0.2.7-192.0.2.7")]
    #[case("192.0.2.10-192.0.2.20", "192.0.2.10-192.0.2.20")]
    #[case(" 192.0.2.10 -  192.0.2.20 ", "192.0.2.10-192.0.2.20")]
    #[case("192.0.2.9-192.0.2.9", "192.0.2.9-192.0.2.9")]
    #[case("2001:db8::/126", "2001:db8::-2001:db8::3")]
    #[case("2001:db8::1-2001:db8::ff", "2001:db8::1-2001:db8::ff")]
    #[case("0.0.0.0/0", "0.0.0.0-255.255.255.255")]
    #[case("::ffff:192.0.2.1-192.0.2.3", "192.0.2.1-192.0.2.3")]
    #[case("::ffff:192.0.2.0/120", "192.0.2.0-192.0.2.255")]
    fn good(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Range::parse(text).expect("valid").to_string(), expected);
    }

    #[rstest]
    #[case("192.0.2.1", "write it as 192.0.2.1/32")]
    #[case("2001:db8::1", "write it as 2001:db8::1/128")]
    #[case("", "neither a CIDR")]
    #[case("all", "neither a CIDR")]
    #[case("192.0.2.0/33", "neither a CIDR")]
    #[case("192.0.2.256/24", "neither a CIDR")]
    #[case("192.0.2.1-", "is not an IP address")]
    #[case("192.0.2.1-20", "\"20\" in range")]
    #[case("192.0.2.1-192.0.2.5-192.0.2.9", "is not an IP address")]
    #[case("192.0.2.1-2001:db8::1", "one IP family")]
    #[case("192.0.2.9-192.0.2.1", "swap the two addresses")]
    fn bad(#[case] text: &str, #[case] says: &str) {
        let error = Range::parse(text).expect_err("invalid").to_string();
        assert!(error.contains(says), "{error}");
    }

    #[rstest]
    #[case("192.0.2.0/24", 256, 2)]
    #[case("192.0.0.0/16", 65_536, 512)]
    #[case("192.0.2.1-192.0.2.254", 254, 0)]
    #[case("192.0.2.255-192.0.3.0", 2, 2)]
    #[case("192.0.2.0/32", 1, 1)]
    #[case("0.0.0.0/0", 1 << 32, 1 << 25)]
    #[case("2001:db8::/120", 256, 0)]
    fn sizes(#[case] text: &str, #[case] size: u128, #[case] buggy: u128) {
        let range = Range::parse(text).expect("valid");
        assert_eq!((range.size(), range.buggy()), (size, buggy));
    }

    #[test]
    fn the_whole_of_ipv6_has_a_size() {
        assert_eq!(Range::parse("::/0").expect("valid").size(), u128::MAX);
    }

    #[rstest]
    #[case("192.0.2.0/24", 24)]
    #[case("192.0.2.77/24", 24)]
    #[case("192.0.2.10-192.0.2.20", 30)]
    #[case("192.0.2.0-192.0.2.254", 25)]
    #[case("192.0.2.1-192.0.2.2", 32)]
    #[case("192.0.2.9-192.0.2.9", 32)]
    #[case("0.0.0.0/0", 0)]
    #[case("255.255.255.255/32", 32)]
    #[case("2001:db8::/126", 126)]
    #[case("2001:db8::1-2001:db8::ff", 121)]
    #[case("::/0", 0)]
    #[case("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1)]
    fn the_largest_block_within(#[case] text: &str, #[case] length: u8) {
        assert_eq!(Range::parse(text).expect("valid").widest(), length);
    }
}
