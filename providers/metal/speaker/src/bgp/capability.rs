//! Capabilities: what a speaker can do (RFC 5492). Pure.
//!
//! An unknown capability is ignored, as is a known one of a wrong length: it counts as not there. Only a length that leads out of its place is an error.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::Family;
use serde::Serialize;

use super::family::{UNICAST, afi, from_wire};

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_ASN: u8 = 65;

/// Of the restart time, twelve bits are sent.
pub const MAX_RESTART_TIME: u16 = 0x0fff;
const RESTARTED: u16 = 0x8000;
const FORWARDING_KEPT: u8 = 0x80;

/// The capabilities of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Families by multiprotocol capabilities (RFC 4760 §8). Empty may also mean that there were only others: see `multiprotocol`.
    pub families: BTreeSet<Family>,
    /// Whether there was any multiprotocol capability. Without, IPv4 is meant.
    pub multiprotocol: bool,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950 §4).
    pub extended_next_hop: bool,
    /// Routes can be asked for again (RFC 2918 §2).
    pub route_refresh: bool,
    /// The AS number in four octets (RFC 6793 §3).
    pub four_octet_asn: Option<u32>,
    /// Graceful restart (RFC 4724 §3).
    pub graceful_restart: Option<GracefulCapability>,
    /// Codes of others.
    pub others: BTreeSet<u8>,
}

/// Graceful restart (RFC 4724 §3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GracefulCapability {
    /// R: this speaker has restarted, and its peer is not to wait for its End-of-RIB.
    pub restarted: bool,
    /// How many seconds it may take until it is back.
    pub time: u16,
    /// Families whose routes outlive a restart, and F: whether what they say has gone on being forwarded during the last.
    pub families: BTreeMap<Family, bool>,
}

/// A capability leads out of the place that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun;

impl Capabilities {
    /// Takes over those in one optional parameter.
    ///
    /// # Errors
    ///
    /// If they cannot be told apart.
    pub fn parse(&mut self, mut octets: &[u8]) -> Result<(), Overrun> {
        while let [code, length, rest @ ..] = octets {
            let (value, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Overrun)?;
            self.take(*code, value);
            octets = rest;
        }
        if octets.is_empty() { Ok(()) } else { Err(Overrun) }
    }

    fn take(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (MULTIPROTOCOL, &[high, low, _, safi]) => {
                self.multiprotocol = true;
                self.families.extend(from_wire(u16::from_be_bytes([high, low]), safi));
            }
            (ROUTE_REFRESH, []) => self.route_refresh = true,
            (EXTENDED_NEXT_HOP, _) => {
                self.extended_next_hop |=
                    value.chunks_exact(6).any(|triple| triple == [0, 1, 0, UNICAST, 0, 2]);
            }
            (GRACEFUL_RESTART, [high, low, families @ ..]) => {
                let first = u16::from_be_bytes([*high, *low]);
                // The last one counts (§3).
                let mut graceful = GracefulCapability {
                    restarted: first & RESTARTED != 0,
                    time: first & MAX_RESTART_TIME,
                    families: BTreeMap::new(),
                };
                for family in families.chunks_exact(4) {
                    let number = u16::from_be_bytes([family[0], family[1]]);
                    if let Some(known) = from_wire(number, family[2]) {
                        graceful.families.insert(known, family[3] & FORWARDING_KEPT != 0);
                    }
                }
                self.graceful_restart = Some(graceful);
            }
            (FOUR_OCTET_ASN, _) if value.len() == 4 => {
                self.four_octet_asn = value.try_into().ok().map(u32::from_be_bytes);
            }
            _ => drop(self.others.insert(code)),
        }
    }

    /// Appends them, one after the other. Always fewer than 100 octets.
    pub fn write(&self, out: &mut Vec<u8>) {
        for family in &self.families {
            let [high, low] = afi(*family).to_be_bytes();
            out.extend_from_slice(&[MULTIPROTOCOL, 4, high, low, 0, UNICAST]);
        }
        if self.route_refresh {
            out.extend_from_slice(&[ROUTE_REFRESH, 0]);
        }
        if self.extended_next_hop {
            out.extend_from_slice(&[EXTENDED_NEXT_HOP, 6, 0, 1, 0, UNICAST, 0, 2]);
        }
        if let Some(graceful) = &self.graceful_restart {
            let mut first = graceful.time.min(MAX_RESTART_TIME);
            if graceful.restarted {
                first |= RESTARTED;
            }
            out.extend_from_slice(&[GRACEFUL_RESTART, 2 + 4 * graceful.families.len() as u8]);
            out.extend_from_slice(&first.to_be_bytes());
            for (family, kept) in &graceful.families {
                let [high, low] = afi(*family).to_be_bytes();
                out.extend_from_slice(&[high, low, UNICAST, if *kept { FORWARDING_KEPT } else { 0 }]);
            }
        }
        if let Some(asn) = self.four_octet_asn {
            out.extend_from_slice(&[FOUR_OCTET_ASN, 4]);
            out.extend_from_slice(&asn.to_be_bytes());
        }
    }

    /// The families that this side speaks: IPv4 if it does not say (RFC 4760 §8 made that explicit; older speakers know nothing else).
    pub fn spoken(&self) -> BTreeSet<Family> {
        if self.multiprotocol { self.families.clone() } else { [Family::V4].into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::family::FAMILIES;
    use super::*;

    fn parsed(octets: &[u8]) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.parse(octets).expect("they can be told apart");
        capabilities
    }

    #[rstest]
    #[case::nothing(&[], Capabilities::default())]
    #[case::ipv6(&[1, 4, 0, 2, 0, 1], Capabilities { families: [Family::V6].into(), multiprotocol: true, ..Default::default() })]
    #[case::only_evpn(&[1, 4, 0, 25, 0, 70], Capabilities { multiprotocol: true, ..Default::default() })]
    #[case::wrong_length(&[1, 3, 0, 2, 0], Capabilities { others: [1].into(), ..Default::default() })]
    #[case::asn_of_two_octets(&[65, 2, 0, 2], Capabilities { others: [65].into(), ..Default::default() })]
    #[case::unknown(&[200, 3, 1, 2, 3, 2, 0], Capabilities { others: [200].into(), route_refresh: true, ..Default::default() })]
    #[case::next_hop_of_vpn(&[5, 6, 0, 1, 0, 128, 0, 2], Capabilities::default())]
    #[case::next_hops(
        &[5, 12, 0, 1, 0, 128, 0, 2, 0, 1, 0, 1, 0, 2],
        Capabilities { extended_next_hop: true, ..Default::default() }
    )]
    #[case::helper_only(
        &[64, 2, 0x40, 120],
        Capabilities { graceful_restart: Some(GracefulCapability { time: 120, ..Default::default() }), ..Default::default() }
    )]
    #[case::last_one_counts(
        &[64, 2, 0, 9, 64, 6, 0x80, 7, 0, 2, 1, 0x80],
        Capabilities {
            graceful_restart: Some(GracefulCapability { restarted: true, time: 7, families: [(Family::V6, true)].into() }),
            ..Default::default()
        }
    )]
    fn read(#[case] octets: &[u8], #[case] capabilities: Capabilities) {
        assert_eq!(parsed(octets), capabilities);
    }

    #[rstest]
    #[case(&[65])]
    #[case(&[65, 4, 0, 0, 0])]
    #[case(&[2, 0, 1, 255])]
    fn an_overrun_is_one(#[case] octets: &[u8]) {
        assert_eq!(Capabilities::default().parse(octets), Err(Overrun));
    }

    fn families() -> impl Strategy<Value = BTreeSet<Family>> {
        proptest::sample::subsequence(FAMILIES.to_vec(), 0..=2).prop_map(|list| list.into_iter().collect())
    }

    prop_compose! {
        fn capabilities()(
            families in families(),
            extended_next_hop: bool,
            route_refresh: bool,
            four_octet_asn: Option<u32>,
            graceful in proptest::option::of((any::<bool>(), 0..=MAX_RESTART_TIME, crate::bgp::capability::tests::families(), any::<bool>())),
        ) -> Capabilities {
            let graceful_restart = graceful.map(|(restarted, time, families, kept)| GracefulCapability {
                restarted, time, families: families.into_iter().map(|family| (family, kept)).collect(),
            });
            let multiprotocol = !families.is_empty();
            Capabilities { families, multiprotocol, extended_next_hop, route_refresh, four_octet_asn, graceful_restart, ..Default::default() }
        }
    }

    proptest! {
        #[test]
        fn read_as_written(capabilities in capabilities()) {
            let mut octets = Vec::new();
            capabilities.write(&mut octets);
            prop_assert!(octets.len() < 100);
            prop_assert_eq!(parsed(&octets), capabilities);
        }

        #[test]
        fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _read = Capabilities::default().parse(&octets);
        }
    }
}
