//! A speaker's statement as octets. Pure.
//!
//! Entries, one after the other: one octet of kind, two of length, and the contents. Unknown kinds are skipped.
//!
//! | Kind | Contents |
//! |---|---|
//! | 1 | IPv4 addresses that the sender announces: 4 octets and 4 of term, each |
//! | 2 | IPv6 addresses: 16 octets and 4 of term, each |
//! | 3 | interfaces are known; empty |
//! | 4 | an interface that can announce: MAC address (6 octets), length and text of its name, and its networks: octets of address (4 or 16), prefix length, address |
//! | 5 | why the sender is unfit: one octet, bits from the lowest: kube-proxy, drained |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_metal::fleet::{Statement, Unfit, Uplink};
use ipnet::IpNet;

const HOLDS_V4: u8 = 1;
const HOLDS_V6: u8 = 2;
const UPLINKS_KNOWN: u8 = 3;
const UPLINK: u8 = 4;
const UNFIT: u8 = 5;

/// The most addresses that are said to be held; about those beyond nobody knows, so that they go where the order of nodes has them. Fits into
/// [`super::message::MAX_PARTS`] with the longest names.
const MAX_HELD: usize = 10_000;

/// As octets, in which equal statements are equal.
pub(super) fn encode(statement: &Statement) -> Vec<u8> {
    let mut octets = Vec::new();
    for (kind, v4) in [(HOLDS_V4, true), (HOLDS_V6, false)] {
        let entries: Vec<Vec<u8>> = statement
            .holds
            .iter()
            .take(MAX_HELD)
            .filter(|(address, _)| address.is_ipv4() == v4)
            .map(|(address, term)| [&address_octets(*address)[..], &term.to_be_bytes()].concat())
            .collect();
        // Several entries where one would be too long for its length field.
        for entries in entries.chunks(2048) {
            push(&mut octets, kind, &entries.concat());
        }
    }
    if let Some(uplinks) = &statement.uplinks {
        push(&mut octets, UPLINKS_KNOWN, &[]);
        for uplink in uplinks {
            let mut contents = uplink.mac.to_vec();
            let name = &uplink.name.as_bytes()[..uplink.name.len().min(usize::from(u8::MAX))];
            contents.push(name.len() as u8);
            contents.extend_from_slice(name);
            for network in uplink.networks.iter().take(1024) {
                let address = address_octets(network.addr());
                contents.push(address.len() as u8);
                contents.push(network.prefix_len());
                contents.extend_from_slice(&address);
            }
            push(&mut octets, UPLINK, &contents);
        }
    }
    let bits = (0..).zip(Unfit::ALL).map(|(bit, unfit)| u8::from(statement.unfit.contains(&unfit)) << bit);
    push(&mut octets, UNFIT, &[bits.sum()]);
    octets
}

/// Nothing if it makes no sense.
pub(super) fn decode(mut octets: &[u8]) -> Option<Statement> {
    let mut statement = Statement::default();
    while !octets.is_empty() {
        let [kind, high, low] = take::<3>(&mut octets)?;
        let (mut contents, rest) = octets.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        octets = rest;
        match kind {
            HOLDS_V4 | HOLDS_V6 => {
                while !contents.is_empty() {
                    let length = if kind == HOLDS_V4 { 4 } else { 16 };
                    let address = take_address(&mut contents, length)?;
                    statement.holds.insert(address, u32::from_be_bytes(take(&mut contents)?));
                }
            }
            UPLINKS_KNOWN => drop(statement.uplinks.get_or_insert_default()),
            UPLINK => {
                let uplink = decode_uplink(contents)?;
                statement.uplinks.get_or_insert_default().push(uplink);
            }
            UNFIT => {
                let [bits] = take::<1>(&mut contents)?;
                statement.unfit = (0..)
                    .zip(Unfit::ALL)
                    .filter(|(bit, _)| bits >> bit & 1 == 1)
                    .map(|(_, unfit)| unfit)
                    .collect();
            }
            _ => {}
        }
    }
    Some(statement)
}

fn decode_uplink(mut contents: &[u8]) -> Option<Uplink> {
    let mac = take(&mut contents)?;
    let [length] = take::<1>(&mut contents)?;
    let (name, mut contents) = contents.split_at_checked(length.into())?;
    let name = std::str::from_utf8(name).ok()?.to_owned();
    let mut networks = Vec::new();
    while !contents.is_empty() {
        let [length, prefix] = take::<2>(&mut contents)?;
        networks.push(IpNet::new(take_address(&mut contents, length)?, prefix).ok()?);
    }
    Some(Uplink { name, mac, networks })
}

fn push(octets: &mut Vec<u8>, kind: u8, contents: &[u8]) {
    octets.push(kind);
    octets.extend_from_slice(&(contents.len() as u16).to_be_bytes());
    octets.extend_from_slice(contents);
}

fn address_octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_address(rest: &mut &[u8], length: u8) -> Option<IpAddr> {
    match length {
        4 => Some(Ipv4Addr::from(take::<4>(rest)?).into()),
        16 => Some(Ipv6Addr::from(take::<16>(rest)?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statements() -> impl Strategy<Value = Statement> {
        let network = (any::<IpAddr>(), 0u8..33).prop_map(|(address, prefix)| {
            IpNet::new(address, prefix.min(if address.is_ipv4() { 32 } else { 128 })).expect("in bounds")
        });
        let uplink = ("[a-z0-9.]{0,15}", any::<[u8; 6]>(), proptest::collection::vec(network, 0..4))
            .prop_map(|(name, mac, networks)| Uplink { name, mac, networks });
        (
            proptest::collection::btree_map(any::<IpAddr>(), any::<u32>(), 0..5000),
            proptest::option::of(proptest::collection::vec(uplink, 0..4)),
            proptest::sample::subsequence(Unfit::ALL.to_vec(), 0..=2),
        )
            .prop_map(|(holds, uplinks, unfit)| Statement {
                holds,
                uplinks,
                unfit: unfit.into_iter().collect(),
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_was_written_is_read(statement in statements()) {
            prop_assert_eq!(decode(&encode(&statement)), Some(statement));
        }

        #[test]
        fn nonsense_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _either = decode(&octets);
        }
    }

    #[test]
    fn what_a_later_version_adds_is_skipped_and_what_is_cut_is_refused() {
        let statement = Statement { unfit: [Unfit::Drained].into(), ..Statement::default() };
        let mut octets = encode(&statement);
        push(&mut octets, 99, b"from the future");
        assert_eq!(decode(&octets), Some(statement));
        octets.pop();
        assert_eq!(decode(&octets), None);
    }

    #[test]
    fn a_thousand_addresses_take_eight_datagrams() {
        let holds = (0..1000u32).map(|n| (Ipv4Addr::from(0xc000_0200 + n).into(), 1)).collect();
        let octets = encode(&Statement { holds, ..Statement::default() });
        assert!(octets.len() < 8100, "{}", octets.len());
    }
}
