//! Neighbour discovery, frame by frame.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use causeway_speaker::l2::ndp::{self, ALL_NODES, Kind, Packet, Unreadable, group_mac, solicited_node};
use causeway_speaker::l2::{DropReason, Frame, MacAddr, Probing, Segment, Timing, Verdict};
use causeway_speaker::moment::Moment;
use causeway_sys::Addressed;
use proptest::prelude::*;
use rstest::rstest;

const OURS: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const ASKER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x99]);
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x1234, 0x5678);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x1234, 0x5679);
const ASKER_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);

/// A solicitation octet by octet, to the group, with its source link-layer address.
const BY_HAND: [u8; 86] = [
    0x33, 0x33, 0xff, 0x34, 0x56, 0x78, 0x02, 0x00, 0x00, 0x00, 0x00, 0x99, 0x86, 0xdd, 0x60, 0x00, 0x00,
    0x00, 0x00, 0x20, 0x3a, 0xff, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x99, 0xff, 0x02, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x34, 0x56, 0x78, 0x87, 0x00, 0x00, 0x00, 0, 0, 0, 0, 0x20, 0x01,
    0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x01, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00,
    0x99,
];

fn at(milliseconds: u64) -> Moment {
    Moment::after_origin(Duration::from_millis(milliseconds))
}

fn announcing() -> Segment {
    let mut segment = Segment::new(OURS, Timing::default(), Probing::default(), 1);
    segment.announce(&BTreeSet::from([IpAddr::V6(VIP)]), at(0));
    segment
}

fn dropped(verdict: Verdict) -> DropReason {
    match verdict {
        Verdict::Dropped(reason) => reason,
        said => panic!("said {said:?}"),
    }
}

/// The checksum, computed octet by octet as RFC 1071 describes it: by other means than the code under test.
fn checksum(frame: &[u8]) -> u16 {
    let message = &frame[54..];
    let mut octets = frame[22..54].to_vec();
    octets.extend((message.len() as u32).to_be_bytes());
    octets.extend([0, 0, 0, 58]);
    octets.extend(message);
    let mut sum: u32 =
        octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// With a checksum that fits.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[56..58].fill(0);
    let sum = checksum(&frame).to_be_bytes();
    frame[56..58].copy_from_slice(&sum);
    frame
}

fn multicast() -> Frame {
    let group = solicited_node(VIP);
    ndp::solicitation((ASKER, ASKER_ADDRESS), (group_mac(group), group), VIP, Some(ASKER))
}

fn unicast(option: Option<MacAddr>) -> Frame {
    ndp::solicitation((ASKER, ASKER_ADDRESS), (OURS, VIP), VIP, option)
}

#[rstest]
#[case::to_the_group(multicast(), Addressed::Multicast)]
#[case::unicast_with_link_layer_address(unicast(Some(ASKER)), Addressed::Host)]
#[case::unicast_without(unicast(None), Addressed::Host)]
fn whoever_asks_is_answered_alone(#[case] question: Frame, #[case] addressed: Addressed) {
    let Verdict::Reply { address, frame } = announcing().receive(question.as_slice(), addressed, at(0))
    else {
        panic!("no answer");
    };
    assert_eq!(address, IpAddr::V6(VIP));
    let octets = frame.as_slice();
    assert_eq!(octets.len(), 86);
    assert_eq!(octets[..6], ASKER.0);
    assert_eq!(octets[6..12], OURS.0);
    assert_eq!(checksum(octets), 0, "a whole packet sums up to nothing");
    assert_eq!(octets[21], 255, "hop limit");
    assert_eq!(
        ndp::parse(&octets[14..]).expect("readable"),
        Packet {
            kind: Kind::Advertisement { solicited: true, overrides: true },
            source: VIP,
            destination: ASKER_ADDRESS,
            target: VIP,
            link_layer: Some(OURS),
        }
    );
}

#[test]
fn a_probe_for_duplicates_is_answered_to_all() {
    let probe = ndp::probe(ASKER, VIP);
    let Verdict::Reply { frame, .. } = announcing().receive(probe.as_slice(), Addressed::Multicast, at(0))
    else {
        panic!("no answer");
    };
    assert_eq!(frame.as_slice()[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(
        ndp::parse(&frame.as_slice()[14..]).expect("readable"),
        Packet {
            kind: Kind::Advertisement { solicited: false, overrides: true },
            source: VIP,
            destination: ALL_NODES,
            target: VIP,
            link_layer: Some(OURS),
        }
    );
}

#[test]
fn the_answer_goes_to_the_station_that_the_option_names() {
    let bond = MacAddr([2, 0, 0, 0, 0, 0xb0]);
    let question = unicast(Some(bond));
    let Verdict::Reply { frame, .. } = announcing().receive(question.as_slice(), Addressed::Host, at(0))
    else {
        panic!("no answer");
    };
    assert_eq!(frame.as_slice()[..6], bond.0);
}

#[test]
fn a_taken_address_is_said_to_all_nodes() {
    let mut segment = announcing();
    let mut times = Vec::new();
    while let Some(now) = segment.next_deadline().filter(|&due| due <= at(5_000)) {
        while let Some((address, frames)) = segment.next_unsolicited(now) {
            assert_eq!(address, IpAddr::V6(VIP));
            let frames: Vec<Frame> = frames.iter().copied().collect();
            assert_eq!(frames, [ndp::unsolicited(OURS, VIP)]);
            assert_eq!(checksum(frames[0].as_slice()), 0);
            times.push(now.since_origin().as_millis());
        }
    }
    assert_eq!(times, [0, 1100, 2200, 3300, 4400]);
}

#[test]
fn groups_follow_what_is_announced_and_asked_for() {
    let mut segment = announcing();
    assert_eq!(segment.groups(), [solicited_node(VIP)].into());
    segment.probe(IpAddr::V6(OTHER), at(0));
    segment.probe("192.0.2.1".parse().expect("an address"), at(0));
    assert_eq!(segment.groups(), [solicited_node(VIP), solicited_node(OTHER)].into());
    segment.announce(&BTreeSet::new(), at(0));
    assert_eq!(segment.groups(), [solicited_node(OTHER)].into());
    assert_eq!(solicited_node(VIP), "ff02::1:ff34:5678".parse::<Ipv6Addr>().expect("an address"));
    assert_eq!(group_mac(solicited_node(VIP)), MacAddr([0x33, 0x33, 0xff, 0x34, 0x56, 0x78]));
}

#[test]
fn octet_by_octet() {
    let by_hand = sealed(BY_HAND.to_vec());
    assert_eq!(multicast().as_slice(), by_hand);
    assert!(matches!(announcing().receive(&by_hand, Addressed::Multicast, at(0)), Verdict::Reply { .. }));
}

fn changed(offset: usize, octet: u8) -> Vec<u8> {
    let mut frame = multicast().as_slice().to_vec();
    frame[offset] = octet;
    sealed(frame)
}

fn of(frame: Frame) -> Vec<u8> {
    frame.as_slice().to_vec()
}

#[rstest]
#[case::not_ip(changed(12, 0x88), DropReason::UnknownProtocol)]
#[case::ip_4(changed(14, 0x40), DropReason::UnknownProtocol)]
#[case::extension_header(changed(20, 0), DropReason::UnknownProtocol)]
#[case::router_solicitation(changed(54, 133), DropReason::UnknownProtocol)]
#[case::from_afar(changed(21, 254), DropReason::HopLimit)]
#[case::code(changed(55, 1), DropReason::Malformed)]
#[case::option_of_no_length(changed(79, 0), DropReason::Malformed)]
#[case::option_too_long(changed(79, 2), DropReason::Malformed)]
#[case::multicast_target(changed(62, 0xff), DropReason::Malformed)]
#[case::other_target(changed(77, 0x79), DropReason::NotAnnounced)]
#[case::other_group(changed(53, 0x79), DropReason::NotForUs)]
#[case::multicast_source(changed(22, 0xff), DropReason::BadSender)]
#[case::zero_station(of(unicast(Some(MacAddr::default()))), DropReason::BadSender)]
#[case::group_station(of(unicast(Some(MacAddr([0x33, 0x33, 0, 0, 0, 1])))), DropReason::BadSender)]
#[case::to_another_station(changed(0, 2), DropReason::NotForUs)]
#[case::probe_with_link_layer_address(
    of(ndp::solicitation((ASKER, Ipv6Addr::UNSPECIFIED), (group_mac(solicited_node(VIP)), solicited_node(VIP)), VIP, Some(ASKER))),
    DropReason::Malformed
)]
#[case::probe_to_unicast(
    of(ndp::solicitation((ASKER, Ipv6Addr::UNSPECIFIED), (OURS, VIP), VIP, None)),
    DropReason::Malformed
)]
#[case::own_question(
    of(ndp::solicitation((OURS, ASKER_ADDRESS), (group_mac(solicited_node(VIP)), solicited_node(VIP)), VIP, Some(ASKER))),
    DropReason::FromUs
)]
#[case::own_announcement(of(ndp::unsolicited(OURS, VIP)), DropReason::FromUs)]
#[case::announcement_of_another(of(ndp::unsolicited(ASKER, OTHER)), DropReason::NotRequest)]
fn anything_else_is_not_answered(#[case] frame: Vec<u8>, #[case] reason: DropReason) {
    assert_eq!(dropped(announcing().receive(&frame, Addressed::Multicast, at(60_000))), reason);
}

#[test]
fn a_damaged_checksum_is_told_apart() {
    let mut frame = multicast().as_slice().to_vec();
    frame[57] ^= 1;
    assert_eq!(dropped(announcing().receive(&frame, Addressed::Multicast, at(0))), DropReason::Checksum);
}

#[test]
fn a_solicited_advertisement_to_a_group_is_malformed() {
    let mut frame = ndp::unsolicited(ASKER, VIP).as_slice().to_vec();
    frame[58] |= 0x40;
    assert_eq!(ndp::parse(&sealed(frame)[14..]), Err(Unreadable::Malformed));
}

#[test]
fn unknown_options_are_passed_by() {
    let mut frame = multicast().as_slice().to_vec();
    frame.splice(78..78, [14, 1, 1, 2, 3, 4, 5, 6]);
    frame[19] += 8;
    let frame = sealed(frame);
    let packet = ndp::parse(&frame[14..]).expect("readable");
    assert_eq!(packet.link_layer, Some(ASKER));
}

#[test]
fn every_cut_is_survived_and_padding_ignored() {
    let mut segment = announcing();
    let question = multicast();
    for length in 0..question.as_slice().len() {
        let verdict = segment.receive(&question.as_slice()[..length], Addressed::Multicast, at(0));
        assert_eq!(dropped(verdict), DropReason::Truncated, "{length} octets");
    }
    let mut padded = question.as_slice().to_vec();
    padded.resize(200, 0xaa);
    assert!(matches!(segment.receive(&padded, Addressed::Multicast, at(0)), Verdict::Reply { .. }));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _unread = ndp::parse(&octets);
        let verdict = announcing().receive(&octets, Addressed::Multicast, at(0));
        prop_assert!(matches!(verdict, Verdict::Dropped(_)));
    }

    /// Also with a checksum that fits, as an attacker's would.
    #[test]
    fn hostile_questions_are_answered_to_the_point_or_not_at_all(
        changes in proptest::collection::vec((0usize..86, any::<u8>()), 0..4), seal in any::<bool>(), option in any::<bool>()
    ) {
        let mut frame = if option { of(multicast()) } else { of(ndp::probe(ASKER, VIP)) };
        for (position, octet) in changes {
            let end = frame.len();
            frame[position % end] = octet;
        }
        let frame = if seal { sealed(frame) } else { frame };
        let mut segment = announcing();
        match segment.receive(&frame, Addressed::Multicast, at(60_000)) {
            Verdict::Reply { address, frame: answer } => {
                prop_assert_eq!(address, IpAddr::V6(VIP));
                let answer = answer.as_slice();
                let read = ndp::parse(&answer[14..]).expect("our own answer is sound");
                prop_assert_eq!(read.target, VIP);
                let all = answer[..6] == [0x33, 0x33, 0, 0, 0, 1];
                prop_assert!(all || answer[0] & 1 == 0, "to one station or, for a probe, to all nodes");
                prop_assert_eq!(all, read.destination == ALL_NODES);
            }
            Verdict::Defend { address, .. } => prop_assert_eq!(address, IpAddr::V6(VIP)),
            Verdict::Dropped(_) => {}
        }
        prop_assert!(segment.announces(IpAddr::V6(VIP)));
    }
}
