//! Who else has an address: asked before use, noticed while it is announced. Frame by frame and in virtual time.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use causeway_speaker::l2::{
    DropReason, Finding, Frame, Kin, MacAddr, Outcome, Probing, Segment, Timing, Verdict, arp, ndp,
};
use causeway_speaker::moment::Moment;
use causeway_sys::Addressed;
use rstest::rstest;

const OURS: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const PEER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x02]);
const STRANGER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x99]);
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const ALL: MacAddr = MacAddr::BROADCAST;

fn at(milliseconds: u64) -> Moment {
    Moment::after_origin(Duration::from_millis(milliseconds))
}

fn segment(complete: bool) -> Segment {
    let mut segment = Segment::new(OURS, Timing::default(), Probing::default(), 1);
    segment.set_kin(Arc::new(Kin { stations: HashSet::from([PEER]), complete }));
    segment
}

fn announcing(address: impl Into<IpAddr>, complete: bool) -> Segment {
    let mut segment = segment(complete);
    segment.announce(&BTreeSet::from([address.into()]), at(0));
    segment
}

fn hear(segment: &mut Segment, frame: Frame, now: Moment) -> Verdict {
    let addressed = match frame.as_slice()[0] {
        0xff => Addressed::Broadcast,
        0x33 => Addressed::Multicast,
        _ => Addressed::Host,
    };
    segment.receive(frame.as_slice(), addressed, now)
}

/// Asks to the end: the times of the questions, and the findings.
fn ask(segment: &mut Segment, address: IpAddr, start: u64) -> (Vec<u128>, Vec<(u128, Finding)>) {
    segment.probe(address, at(start));
    let (mut questions, mut found) = (Vec::new(), Vec::new());
    while let Some(now) = segment.next_deadline() {
        while let Some((asked, frame)) = segment.next_question(now) {
            assert_eq!(asked, address);
            let expected = match address {
                IpAddr::V4(address) => arp::probe(OURS, address),
                IpAddr::V6(address) => ndp::probe(OURS, address),
            };
            assert_eq!(frame, expected);
            questions.push(now.since_origin().as_millis());
        }
        while let Some(finding) = segment.next_finding() {
            found.push((now.since_origin().as_millis(), finding));
        }
    }
    (questions, found)
}

#[rstest]
#[case(V4.into())]
#[case(V6.into())]
fn an_address_that_nobody_has_is_free_after_three_questions(#[case] address: IpAddr) {
    let mut segment = segment(true);
    let (questions, found) = ask(&mut segment, address, 1_000);
    assert_eq!(questions.len(), 3);
    assert_eq!(questions[0], 1_000, "at once");
    assert!(questions.windows(2).all(|pair| (180..=220).contains(&(pair[1] - pair[0]))), "{questions:?}");
    let [(when, finding)] = found[..] else { panic!("{found:?}") };
    assert_eq!(finding, Finding { address, outcome: Outcome::Free });
    assert!(when <= 1_000 + Probing::default().duration().as_millis());
    assert!(segment.groups().is_empty(), "asked to the end");
}

#[test]
fn a_question_tells_no_address_of_its_own() {
    let probe = arp::parse(&arp::probe(OURS, V4).as_slice()[14..]).expect("readable");
    assert!(probe.sender_address.is_unspecified());
    assert_eq!((probe.operation, probe.target_address), (arp::Operation::Request, V4));
    let probe = ndp::parse(&ndp::probe(OURS, V6).as_slice()[14..]).expect("readable");
    assert!(probe.source.is_unspecified());
    assert_eq!((probe.kind, probe.target, probe.link_layer), (ndp::Kind::Solicitation, V6, None));
}

fn arp_answer(by: MacAddr) -> Frame {
    arp::reply(by, &arp::parse(&arp::probe(OURS, V4).as_slice()[14..]).expect("readable"))
}

#[rstest]
#[case::answer(V4.into(), arp_answer(STRANGER))]
#[case::uses_it(V4.into(), arp::request(STRANGER, V4, ALL, Ipv4Addr::new(192, 0, 2, 1)))]
#[case::announces_it(V4.into(), arp::gratuitous(STRANGER, V4, arp::Operation::Request))]
#[case::wants_it_too(V4.into(), arp::probe(STRANGER, V4))]
#[case::answer_6(V6.into(), ndp::unsolicited(STRANGER, V6))]
#[case::uses_it_6(V6.into(), ndp::solicitation((STRANGER, V6), (ndp::group_mac(ndp::solicited_node(V6)), ndp::solicited_node(V6)), V6, Some(STRANGER)))]
#[case::wants_it_too_6(V6.into(), ndp::probe(STRANGER, V6))]
fn whoever_has_or_wants_it_is_found(#[case] address: IpAddr, #[case] frame: Frame) {
    let mut segment = segment(true);
    segment.probe(address, at(0));
    assert!(segment.next_question(at(0)).is_some());
    assert_eq!(hear(&mut segment, frame, at(5)), Verdict::Dropped(DropReason::Claimed));
    assert_eq!(segment.next_finding(), Some(Finding { address, outcome: Outcome::InUse(STRANGER) }));
    assert_eq!(segment.next_deadline(), None, "no further question");
    hear(&mut segment, frame, at(6));
    assert_eq!(segment.next_finding(), None, "told once");
}

#[rstest]
#[case::ours(V4.into(), arp::probe(OURS, V4), DropReason::FromUs)]
#[case::ours_6(V6.into(), ndp::probe(OURS, V6), DropReason::FromUs)]
#[case::peer(V4.into(), arp_answer(PEER), DropReason::FromPeer)]
#[case::peer_6(V6.into(), ndp::unsolicited(PEER, V6), DropReason::FromPeer)]
#[case::group(V4.into(), arp_answer(ALL), DropReason::BadSender)]
#[case::asks_for_it(V4.into(), arp::request(STRANGER, Ipv4Addr::new(192, 0, 2, 1), ALL, V4), DropReason::NotAnnounced)]
fn whoever_is_no_stranger_is_not(#[case] address: IpAddr, #[case] frame: Frame, #[case] reason: DropReason) {
    let mut segment = segment(true);
    segment.probe(address, at(0));
    assert_eq!(hear(&mut segment, frame, at(5)), Verdict::Dropped(reason));
    assert_eq!(segment.next_finding(), None);
}

#[rstest]
#[case(V4.into(), arp::gratuitous(STRANGER, V4, arp::Operation::Reply), vec![arp::gratuitous(OURS, V4, arp::Operation::Request), arp::gratuitous(OURS, V4, arp::Operation::Reply)])]
#[case(V6.into(), ndp::unsolicited(STRANGER, V6), vec![ndp::unsolicited(OURS, V6)])]
fn an_announced_address_is_defended_once_in_ten_seconds_and_kept(
    #[case] address: IpAddr,
    #[case] claim: Frame,
    #[case] defence: Vec<Frame>,
) {
    let mut segment = announcing(address, true);
    let mut defended = Vec::new();
    // Somebody who insists every 100 ms for half a minute.
    for now in (0..30_000).step_by(100) {
        match hear(&mut segment, claim, at(now)) {
            Verdict::Defend { address: defends, frames } => {
                assert_eq!(defends, address);
                assert_eq!(frames.iter().copied().collect::<Vec<_>>(), defence);
                assert_eq!(
                    segment.next_finding(),
                    Some(Finding { address, outcome: Outcome::Contested(STRANGER) })
                );
                defended.push(now);
            }
            Verdict::Dropped(reason) => assert_eq!(reason, DropReason::Claimed),
            Verdict::Reply { .. } => panic!("a claim is no question"),
        }
    }
    assert_eq!(defended, [0, 10_000, 20_000]);
    assert!(segment.announces(address));
}

#[test]
fn another_speaker_taking_over_is_no_conflict() {
    let mut segment = announcing(V4, true);
    let claim = arp::gratuitous(PEER, V4, arp::Operation::Request);
    assert_eq!(hear(&mut segment, claim, at(1)), Verdict::Dropped(DropReason::FromPeer));
    assert_eq!(segment.next_finding(), None);
}

#[test]
fn while_not_all_speakers_are_known_the_former_holder_has_a_few_seconds() {
    let mut segment = announcing(V4, false);
    let claim = arp::gratuitous(STRANGER, V4, arp::Operation::Reply);
    assert_eq!(hear(&mut segment, claim, at(5_000)), Verdict::Dropped(DropReason::FromPeer));
    assert!(matches!(hear(&mut segment, claim, at(5_001)), Verdict::Defend { .. }));
}

#[test]
fn an_announced_address_can_be_asked_for_meanwhile() {
    let mut segment = announcing(V4, true);
    while segment.next_unsolicited(at(0)).is_some() {}
    segment.probe(V4.into(), at(20_000));
    assert!(segment.next_question(at(20_000)).is_some());
    assert!(matches!(hear(&mut segment, arp_answer(STRANGER), at(20_001)), Verdict::Defend { .. }));
    let found: Vec<Outcome> =
        std::iter::from_fn(|| segment.next_finding()).map(|finding| finding.outcome).collect();
    assert_eq!(found, [Outcome::InUse(STRANGER), Outcome::Contested(STRANGER)]);
}

#[test]
fn who_asks_for_an_announced_address_before_using_it_is_only_answered() {
    for (address, probe) in
        [(IpAddr::V4(V4), arp::probe(STRANGER, V4)), (IpAddr::V6(V6), ndp::probe(STRANGER, V6))]
    {
        let mut segment = announcing(address, true);
        assert!(matches!(hear(&mut segment, probe, at(20_000)), Verdict::Reply { .. }));
        assert_eq!(segment.next_finding(), None);
    }
}
