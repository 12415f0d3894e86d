//! What a peer makes of our messages, as another implementation reads them (netgauze): the oracle of what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_metal::bgp::RouteAttributes;
use causeway_speaker::bgp::{Family, HEADER, MAX_LENGTH};
use ipnet::IpNet;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::nlri::{Ipv4UnicastAddress, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute::{AsPath, MpReach, MpUnreach, Origin, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

/// A route as the peer has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    pub next_hop: Option<IpAddr>,
    pub path: Vec<u32>,
    pub path_of_four_octets: Option<Vec<u32>>,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub communities: BTreeSet<u32>,
    pub large: BTreeSet<[u32; 3]>,
    pub extended: Vec<[u8; 8]>,
}

/// Everything that a peer was told.
#[derive(Debug, Default)]
pub struct Heard {
    pub table: BTreeMap<IpNet, Route>,
    pub end_of_rib: Vec<Family>,
    /// Prefixes in the order in which they were last said or taken back.
    pub order: Vec<(IpNet, bool)>,
    pub updates: usize,
    pub others: Vec<BgpMessage>,
    /// Of each message.
    pub lengths: Vec<usize>,
    /// A message that has not come whole.
    pub rest: Vec<u8>,
    pub two_octets: bool,
}

impl Heard {
    pub fn hear(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
        while self.rest.len() >= HEADER {
            let length = usize::from(u16::from_be_bytes([self.rest[16], self.rest[17]]));
            assert!((HEADER..=MAX_LENGTH).contains(&length), "a message of {length} octets");
            if self.rest.len() < length {
                return;
            }
            let rest = self.rest.split_off(length);
            let message = std::mem::replace(&mut self.rest, rest);
            self.lengths.push(length);
            match read(&message, self.two_octets) {
                BgpMessage::Update(update) => self.update(&update),
                other => self.others.push(other),
            }
        }
    }

    fn update(&mut self, update: &BgpUpdateMessage) {
        self.updates += 1;
        if let Some(family) = update.end_of_rib() {
            let ipv4 = format!("{family:?}").starts_with("Ipv4");
            self.end_of_rib.push(if ipv4 { Family::V4 } else { Family::V6 });
            return;
        }
        let (mut route, mut told, mut gone) = (Route::default(), Vec::new(), Vec::new());
        let mut kinds = Vec::new();
        for attribute in update.path_attributes() {
            kinds.push(format!("{:?}", attribute.value()).split(['(', ' ']).next().map(str::to_owned));
            match attribute.value() {
                PathAttributeValue::Origin(origin) => assert_eq!(*origin, Origin::IGP),
                PathAttributeValue::AsPath(AsPath::As4PathSegments(segments)) => {
                    route.path =
                        segments.iter().flat_map(|segment| segment.as_numbers().iter().copied()).collect();
                }
                PathAttributeValue::AsPath(AsPath::As2PathSegments(segments)) => {
                    let numbers = segments.iter().flat_map(|segment| segment.as_numbers());
                    route.path = numbers.map(|asn| u32::from(*asn)).collect();
                }
                PathAttributeValue::As4Path(path) => {
                    let numbers = path.segments().iter().flat_map(|segment| segment.as_numbers());
                    route.path_of_four_octets = Some(numbers.copied().collect());
                }
                PathAttributeValue::NextHop(next_hop) => route.next_hop = Some(next_hop.next_hop().into()),
                PathAttributeValue::MultiExitDiscriminator(med) => route.med = Some(med.metric()),
                PathAttributeValue::LocalPreference(preference) => {
                    route.local_pref = Some(preference.metric());
                }
                PathAttributeValue::Communities(communities) => {
                    route.communities =
                        communities.communities().iter().map(|community| community.value()).collect();
                }
                PathAttributeValue::LargeCommunities(communities) => {
                    let parts = communities.communities().iter();
                    route.large = parts
                        .map(|large| [large.global_admin(), large.local_data1(), large.local_data2()])
                        .collect();
                }
                PathAttributeValue::ExtendedCommunities(communities) => {
                    for community in communities.communities() {
                        let mut octets = Vec::new();
                        community.write(&mut octets).expect("written");
                        route.extended.push(octets.try_into().expect("eight octets"));
                    }
                }
                PathAttributeValue::MpReach(MpReach::Ipv4Unicast {
                    next_hop,
                    next_hop_local: None,
                    nlri,
                }) => {
                    route.next_hop = Some(*next_hop);
                    told.extend(nlri.iter().map(ipv4));
                }
                PathAttributeValue::MpReach(MpReach::Ipv6Unicast {
                    next_hop_global,
                    next_hop_local: None,
                    nlri,
                }) => {
                    route.next_hop = Some((*next_hop_global).into());
                    told.extend(nlri.iter().map(ipv6));
                }
                PathAttributeValue::MpUnreach(MpUnreach::Ipv4Unicast { nlri }) => {
                    gone.extend(nlri.iter().map(ipv4));
                }
                PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                    gone.extend(nlri.iter().map(ipv6));
                }
                other => panic!("never sent: {other:?}"),
            }
        }
        kinds.sort();
        assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]), "an attribute twice: {kinds:?}");
        told.extend(update.nlri().iter().map(ipv4));
        gone.extend(update.withdraw_routes().iter().map(ipv4));
        assert!(!told.is_empty() || !gone.is_empty(), "an UPDATE that says nothing");
        for prefix in gone {
            assert!(self.table.remove(&prefix).is_some(), "{prefix} was withdrawn, but never told");
            self.order.push((prefix, false));
        }
        for prefix in told {
            assert!(route.next_hop.is_some());
            self.table.insert(prefix, route.clone());
            self.order.push((prefix, true));
        }
    }
}

/// One message, as the other implementation understands it.
pub fn read(message: &[u8], two_octets: bool) -> BgpMessage {
    let mut context = BgpParsingContext::asn2_default();
    context.set_asn4(!two_octets);
    let mut reader = SliceReader::new(message);
    let read = BgpMessage::parse(&mut reader, &mut context);
    let read = read.unwrap_or_else(|error| panic!("not understood: {error:?}\n{message:02x?}"));
    assert!(reader.is_empty(), "something is left of {message:02x?}");
    // And what it would write itself is the same.
    let mut again = Vec::new();
    read.write(&mut again).expect("written");
    let mut reader = SliceReader::new(&again);
    assert_eq!(BgpMessage::parse(&mut reader, &mut context).as_ref(), Ok(&read));
    read
}

fn ipv4(address: &Ipv4UnicastAddress) -> IpNet {
    address.network().address().into()
}

fn ipv6(address: &Ipv6UnicastAddress) -> IpNet {
    address.network().address().into()
}

/// What is to be told, as a peer has it.
pub fn expected(route: &RouteAttributes, asn: u32, internal: bool, next_hop: IpAddr) -> Route {
    let short = u16::try_from(asn).unwrap_or(23456).to_be_bytes();
    Route {
        next_hop: Some(next_hop),
        path: if internal { Vec::new() } else { vec![asn; 1 + usize::from(route.prepend)] },
        path_of_four_octets: None,
        local_pref: internal.then(|| route.local_pref.unwrap_or(100)),
        med: route.med,
        communities: route.communities.clone(),
        large: route.large.clone(),
        extended: route
            .bandwidth
            .map(|bandwidth| {
                let [a, b, c, d] = (bandwidth as f32).to_be_bytes();
                [if internal { 0x40 } else { 0 }, 4, short[0], short[1], a, b, c, d]
            })
            .into_iter()
            .collect(),
    }
}
