//! The ARP answerer, frame by frame and in virtual time. Neighbour discovery has its own file beside this one.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use causeway_speaker::l2::{DropReason, MacAddr, Probing, Segment, Timing, Verdict, arp};
use causeway_speaker::moment::Moment;
use causeway_sys::Addressed;
use proptest::prelude::*;
use rstest::rstest;

const OURS: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const ASKER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x99]);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const ASKER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

fn at(milliseconds: u64) -> Moment {
    Moment::after_origin(Duration::from_millis(milliseconds))
}

fn set(addresses: &[Ipv4Addr]) -> BTreeSet<IpAddr> {
    addresses.iter().copied().map(IpAddr::V4).collect()
}

fn announcing() -> Segment {
    let mut segment = Segment::new(OURS, Timing::default(), Probing::default(), 1);
    segment.announce(&set(&[VIP]), at(0));
    segment
}

fn dropped(verdict: Verdict) -> DropReason {
    match verdict {
        Verdict::Dropped(reason) => reason,
        said => panic!("said {said:?}"),
    }
}

#[rstest]
#[case::broadcast(MacAddr::BROADCAST, Addressed::Broadcast, ASKER_ADDRESS)]
#[case::unicast_confirmation(OURS, Addressed::Host, ASKER_ADDRESS)]
#[case::probe(MacAddr::BROADCAST, Addressed::Broadcast, Ipv4Addr::UNSPECIFIED)]
fn questions_are_answered(#[case] to: MacAddr, #[case] addressed: Addressed, #[case] from: Ipv4Addr) {
    let question = arp::request(ASKER, from, to, VIP);
    let Verdict::Reply { address, frame } = announcing().receive(question.as_slice(), addressed, at(10_000))
    else {
        panic!("no answer");
    };
    assert_eq!(address, IpAddr::V4(VIP));
    let octets = frame.as_slice();
    assert_eq!(octets.len(), 42);
    assert_eq!(octets[..6], ASKER.0, "to the asker alone");
    assert_eq!(octets[6..12], OURS.0);
    assert_eq!(octets[12..14], [0x08, 0x06]);
    let packet = arp::parse(&octets[14..]).expect("readable");
    assert_eq!(
        packet,
        arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: OURS,
            sender_address: VIP,
            target_mac: ASKER,
            target_address: from,
        }
    );
}

#[rstest]
#[case::other_address(
    arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, Ipv4Addr::new(192, 0, 2, 11)),
    Addressed::Broadcast,
    DropReason::NotAnnounced
)]
#[case::to_another_station(arp::request(ASKER, ASKER_ADDRESS, MacAddr([2, 0, 0, 0, 0, 7]), VIP), Addressed::Host, DropReason::NotForUs)]
#[case::other_vlan(
    arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, VIP),
    Addressed::OtherHost,
    DropReason::NotForUs
)]
#[case::own_frame(
    arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, VIP),
    Addressed::Outgoing,
    DropReason::FromUs
)]
#[case::own_frame_came_back(
    arp::request(OURS, VIP, MacAddr::BROADCAST, VIP),
    Addressed::Broadcast,
    DropReason::FromUs
)]
#[case::a_reply(
    arp::reply(ASKER, &arp::parse(&arp::request(OURS, VIP, ASKER, ASKER_ADDRESS).as_slice()[14..]).expect("a packet")),
    Addressed::Broadcast,
    DropReason::NotRequest
)]
#[case::sender_broadcast(
    arp::request(MacAddr::BROADCAST, ASKER_ADDRESS, MacAddr::BROADCAST, VIP),
    Addressed::Broadcast,
    DropReason::BadSender
)]
#[case::sender_group(arp::request(MacAddr([1, 0, 0x5e, 0, 0, 1]), ASKER_ADDRESS, MacAddr::BROADCAST, VIP), Addressed::Broadcast, DropReason::BadSender)]
#[case::sender_zero(arp::request(MacAddr([0; 6]), ASKER_ADDRESS, MacAddr::BROADCAST, VIP), Addressed::Broadcast, DropReason::BadSender)]
fn anything_else_is_not(
    #[case] frame: causeway_speaker::l2::Frame,
    #[case] addressed: Addressed,
    #[case] reason: DropReason,
) {
    assert_eq!(dropped(announcing().receive(frame.as_slice(), addressed, at(10_000))), reason);
}

#[test]
fn every_cut_is_survived_and_padding_ignored() {
    let mut segment = announcing();
    let question = arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, VIP);
    for length in 0..question.as_slice().len() {
        assert_eq!(
            dropped(segment.receive(&question.as_slice()[..length], Addressed::Broadcast, at(10_000))),
            DropReason::Truncated,
            "{length} octets"
        );
    }
    let mut padded = question.as_slice().to_vec();
    padded.resize(60, 0xaa);
    assert!(matches!(segment.receive(&padded, Addressed::Broadcast, at(10_000)), Verdict::Reply { .. }));
}

#[rstest]
#[case::hardware_type(14, 2)]
#[case::protocol_type(16, 0x86)]
#[case::reverse_arp(21, 3)]
#[case::operation_zero(21, 0)]
#[case::ethertype(12, 0x86)]
fn other_forms_are_not_understood(#[case] offset: usize, #[case] octet: u8) {
    let mut frame = arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, VIP).as_slice().to_vec();
    frame[offset] = octet;
    let verdict = announcing().receive(&frame, Addressed::Broadcast, at(10_000));
    assert_eq!(dropped(verdict), DropReason::UnknownProtocol);
}

/// Plays the segment's own announcements until `end`; gives the times in milliseconds.
fn play(segment: &mut Segment, end: Moment) -> Vec<(u128, IpAddr)> {
    let mut said = Vec::new();
    while let Some(now) = segment.next_deadline().filter(|&due| due <= end) {
        while let Some((address, frames)) = segment.next_unsolicited(now) {
            let operations: Vec<u8> = frames.iter().map(|frame| frame.as_slice()[21]).collect();
            assert_eq!(operations, [1, 2], "a request, then a reply");
            for frame in frames.iter() {
                let octets = frame.as_slice();
                assert_eq!(octets[..6], [0xff; 6]);
                let packet = arp::parse(&octets[14..]).expect("readable");
                assert_eq!(IpAddr::V4(packet.sender_address), address);
                assert_eq!(packet.sender_address, packet.target_address);
                assert_eq!((packet.sender_mac, packet.target_mac), (segment.mac(), MacAddr::BROADCAST));
            }
            said.push((now.since_origin().as_millis(), address));
        }
        assert!(segment.next_deadline().is_none_or(|next| next > now), "no progress");
    }
    said
}

#[test]
fn a_taken_address_is_said_at_once_and_every_1100_ms_for_5_s() {
    let mut segment = announcing();
    let times: Vec<u128> = play(&mut segment, at(5_000)).into_iter().map(|(time, _)| time).collect();
    assert_eq!(times, [0, 1100, 2200, 3300, 4400]);
}

#[test]
fn refresh_goes_on_with_jitter_and_addresses_drift_apart() {
    let mut segment = Segment::new(OURS, Timing::default(), Probing::default(), 42);
    let addresses: Vec<Ipv4Addr> = (1..=100).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
    segment.announce(&set(&addresses), at(0));
    let said = play(&mut segment, at(3_600_000));
    let later = said.iter().filter(|(time, _)| *time > 5_000).count();
    // Every 60 s on average for an hour, less the burst.
    assert!((5_600..6_400).contains(&later), "{later} announcements");
    let one: Vec<u128> = said
        .iter()
        .filter(|(time, address)| *time > 5_000 && *address == IpAddr::V4(VIP))
        .map(|(time, _)| *time)
        .collect();
    assert!(one.windows(2).all(|pair| (45_000..75_000).contains(&(pair[1] - pair[0]))), "{one:?}");
    let last_minute: BTreeSet<u128> =
        said.iter().map(|(time, _)| *time).filter(|time| *time > 3_540_000).collect();
    assert!(last_minute.len() > 50, "they speak at {} moments", last_minute.len());
}

#[test]
fn without_refresh_silence_follows_the_burst() {
    let mut segment =
        Segment::new(OURS, Timing { refresh: None, ..Timing::default() }, Probing::default(), 1);
    segment.announce(&set(&[VIP]), at(0));
    assert_eq!(play(&mut segment, at(1_000_000)).len(), 5);
    assert_eq!(segment.next_deadline(), None);
    segment.repeat_all(at(1_000_000));
    assert_eq!(play(&mut segment, at(2_000_000)).len(), 5);
}

#[test]
fn a_given_up_address_is_silent_at_once_and_kept_ones_do_not_start_anew() {
    let other = Ipv4Addr::new(192, 0, 2, 11);
    let mut segment = Segment::new(OURS, Timing::default(), Probing::default(), 1);
    segment.announce(&set(&[VIP, other]), at(0));
    assert_eq!(play(&mut segment, at(2_500)).len(), 6);
    segment.announce(&set(&[other]), at(2_500));
    let question = arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, VIP);
    assert_eq!(
        dropped(segment.receive(question.as_slice(), Addressed::Broadcast, at(10_000))),
        DropReason::NotAnnounced
    );
    let rest = play(&mut segment, at(5_000));
    assert_eq!(rest, [(3_300, IpAddr::V4(other)), (4_400, IpAddr::V4(other))]);
}

#[test]
fn after_a_stall_missed_announcements_are_not_made_up_for() {
    let mut segment = announcing();
    assert!(segment.next_unsolicited(at(0)).is_some());
    assert!(segment.next_unsolicited(at(60_000)).is_some());
    assert!(segment.next_unsolicited(at(60_000)).is_none());
}

#[test]
fn a_new_hardware_address_is_said_at_once() {
    let mut segment = announcing();
    assert_eq!(play(&mut segment, at(5_000)).len(), 5);
    let new = MacAddr([2, 0, 0, 0, 0, 2]);
    segment.set_mac(new, at(6_000));
    assert_eq!(segment.next_deadline(), Some(at(6_000)));
    assert_eq!(play(&mut segment, at(6_000)).len(), 1);
    segment.set_mac(new, at(6_500));
    assert_eq!(segment.next_deadline(), Some(at(7_100)), "the same address again changes nothing");
}

proptest! {
    #[test]
    fn arbitrary_frames_never_panic_nor_draw_an_answer(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(matches!(announcing().receive(&octets, Addressed::Broadcast, at(10_000)), Verdict::Dropped(_)));
    }

    #[test]
    fn damaged_questions_are_answered_to_the_point_or_not_at_all(
        position in 0usize..42, octet in any::<u8>(), length in 0usize..80
    ) {
        let mut frame = arp::request(ASKER, ASKER_ADDRESS, MacAddr::BROADCAST, VIP).as_slice().to_vec();
        frame[position] = octet;
        frame.resize(length, 0);
        if let Verdict::Reply { address, frame: answer } = announcing().receive(&frame, Addressed::Broadcast, at(10_000)) {
            prop_assert_eq!(address, IpAddr::V4(VIP));
            prop_assert_eq!(&answer.as_slice()[..6], &frame[22..28], "to the sender's hardware address");
            prop_assert!(answer.as_slice()[0] & 1 == 0, "never to a group");
        }
    }
}
