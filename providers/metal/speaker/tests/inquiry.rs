//! What is asked for, withheld and told, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_api::{Endpoints, Layer, LbKey, ObjectRef, OwnObject, OwnObjects};
use causeway_metal::advertisement::L2Advertisement;
use causeway_metal::announce::{Announcement, Decision, Verdict, When, World, announcements};
use causeway_metal::candidates::{Interfaces, LiveSet, NodeFacts};
use causeway_metal::pool::Pools;
use causeway_speaker::announced::{Duty, Failure};
use causeway_speaker::inquiry::{Inquiries, Phase, Reported, Settings};
use causeway_speaker::l2::{Finding, MacAddr, Outcome, Probing};
use causeway_speaker::moment::Moment;
use causeway_speaker::{SpeakerEvent, spare};
use serde_json::{Value, json};

const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn at(seconds: u64) -> Moment {
    Moment::after_origin(Duration::from_secs(seconds))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|text| ip(text)).collect()
}

fn ports() -> BTreeMap<u32, String> {
    BTreeMap::from([(2, "eth0".to_owned()), (3, "eth1".to_owned())])
}

fn decision(address: &str, interfaces: Interfaces) -> Decision {
    let object = ObjectRef::service("default", format!("of-{address}"), "");
    Decision {
        announcement: Arc::new(Announcement {
            key: LbKey::object(Layer::L4, object.clone()),
            object,
            addresses: vec![ip(address)],
            labels: BTreeMap::new(),
            shares_address: false,
            when: When::ClusterEndpoints,
            endpoints: Endpoints::default(),
            single_announcer: false,
        }),
        pool: None,
        elected: Some("me".into()),
        verdict: Verdict::Announce(interfaces),
    }
}

/// A node that is elected for these addresses, on all its interfaces.
struct Node {
    inquiries: Inquiries,
}

impl Node {
    fn new() -> Self {
        let mut inquiries = Inquiries::new(Settings::default(), 1);
        inquiries.set_world(BTreeSet::new(), BTreeMap::new(), at(0));
        Node { inquiries }
    }

    /// The addresses that it announces.
    fn decide(&mut self, addresses: &[&str], now: Moment) -> Duty {
        let decisions: Vec<Decision> = addresses.iter().map(|a| decision(a, Interfaces::All)).collect();
        let mut duty = Duty::new("me", &decisions, &ports());
        self.inquiries.withhold(&mut duty, &BTreeSet::new(), now);
        duty
    }

    /// Services have these, and the node is elected for all.
    fn given(&mut self, addresses: &[&str], now: Moment) -> Duty {
        self.inquiries.set_world(set(addresses), BTreeMap::new(), now);
        self.decide(addresses, now)
    }

    fn free(&mut self, index: u32, address: &str, now: Moment) -> Option<SpeakerEvent> {
        self.inquiries.found(index, "eth0", Finding { address: ip(address), outcome: Outcome::Free }, now)
    }

    fn met(&mut self, address: &str, now: Moment) -> Option<SpeakerEvent> {
        let outcome = Outcome::InUse(STRANGER);
        self.inquiries.found(2, "eth0", Finding { address: ip(address), outcome }, now)
    }
}

#[test]
fn a_new_address_is_asked_for_on_every_interface_and_then_announced() {
    let mut node = Node::new();
    assert!(node.given(&["192.0.2.1"], at(1)).all_addresses().is_empty());
    assert!(node.inquiries.withholds(ip("192.0.2.1")));
    assert_eq!(node.inquiries.questions(at(1)), [(2, ip("192.0.2.1")), (3, ip("192.0.2.1"))]);
    assert_eq!(node.inquiries.questions(at(1)), [], "once");
    assert_eq!(node.free(2, "192.0.2.1", at(2)), None);
    assert!(node.decide(&["192.0.2.1"], at(2)).all_addresses().is_empty(), "eth1 has not answered yet");
    assert_eq!(node.free(3, "192.0.2.1", at(2)), None);
    let duty = node.decide(&["192.0.2.1"], at(2));
    assert_eq!(duty.all_addresses(), set(&["192.0.2.1"]));
    assert_eq!(duty.announced.len(), 1);
}

#[test]
fn what_was_in_use_before_is_announced_at_once() {
    // At the start.
    let mut inquiries = Inquiries::new(Settings::default(), 1);
    inquiries.set_world(set(&["192.0.2.1"]), BTreeMap::new(), at(0));
    let mut node = Node { inquiries };
    assert_eq!(node.decide(&["192.0.2.1"], at(0)).all_addresses(), set(&["192.0.2.1"]));
    // On fail-over: it was another's first.
    node.inquiries.set_world(set(&["192.0.2.1", "192.0.2.2"]), BTreeMap::new(), at(1));
    let mut duty = Duty::new("me", &[decision("192.0.2.1", Interfaces::All)], &ports());
    node.inquiries.withhold(&mut duty, &set(&["192.0.2.2"]), at(1));
    let duty = node.decide(&["192.0.2.1", "192.0.2.2"], at(2));
    assert_eq!(duty.all_addresses(), set(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(node.inquiries.questions(at(2)), []);
}

#[test]
fn an_address_without_an_elected_node_stays_new_until_it_has_one() {
    let mut node = Node::new();
    node.inquiries.set_world(set(&["192.0.2.1"]), BTreeMap::new(), at(1));
    assert!(node.decide(&[], at(1)).all_addresses().is_empty());
    assert!(node.decide(&["192.0.2.1"], at(60)).all_addresses().is_empty(), "its endpoints are there now");
    assert!(node.inquiries.withholds(ip("192.0.2.1")));
}

#[test]
fn somebody_who_has_it_keeps_it_from_being_announced_until_he_is_gone() {
    let mut node = Node::new();
    node.given(&["192.0.2.1"], at(1));
    node.inquiries.questions(at(1));
    let event = node.met("192.0.2.1", at(1)).expect("told");
    let conflict = SpeakerEvent::Conflict {
        address: ip("192.0.2.1"),
        mac: STRANGER,
        interface: "eth0".into(),
        phase: Phase::Probe,
    };
    assert_eq!(event, conflict);
    let duty = node.decide(&["192.0.2.1"], at(2));
    assert!(duty.all_addresses().is_empty() && duty.announced.is_empty());
    let (_, failure) = duty.failed.values().next().expect("said on the Service");
    assert!(matches!(failure, Failure::InUse { mac: STRANGER, .. }), "{failure}");
    assert!(failure.to_string().contains("02:00:00:00:00:09"), "{failure}");
    // Asked again after a while, and told again, for lastSeen.
    assert_eq!(node.inquiries.next_deadline(), Some(at(31)));
    assert_eq!(node.inquiries.questions(at(30)), []);
    assert_eq!(node.inquiries.questions(at(31)).len(), 2);
    assert_eq!(node.met("192.0.2.1", at(31)), Some(conflict));
    assert_eq!(node.inquiries.questions(at(61)).len(), 2);
    assert_eq!(node.free(2, "192.0.2.1", at(62)), None);
    let resolved = SpeakerEvent::ConflictResolved { address: ip("192.0.2.1") };
    assert_eq!(node.free(3, "192.0.2.1", at(62)), Some(resolved));
    assert_eq!(node.decide(&["192.0.2.1"], at(62)).all_addresses(), set(&["192.0.2.1"]));
}

#[test]
fn an_announced_address_is_kept_and_the_conflict_told_until_it_ends() {
    let mut inquiries = Inquiries::new(Settings::default(), 1);
    inquiries.set_world(set(&["192.0.2.1"]), BTreeMap::new(), at(0));
    let mut node = Node { inquiries };
    node.decide(&["192.0.2.1"], at(0));
    let finding = Finding { address: ip("192.0.2.1"), outcome: Outcome::Contested(STRANGER) };
    let event = node.inquiries.found(3, "eth1", finding, at(10));
    assert!(
        matches!(&event, Some(SpeakerEvent::Conflict { phase: Phase::Announced, interface, .. }) if interface == "eth1"),
        "{event:?}"
    );
    assert_eq!(node.inquiries.found(3, "eth1", finding, at(20)), None, "not with every claim");
    assert_eq!(node.decide(&["192.0.2.1"], at(21)).all_addresses(), set(&["192.0.2.1"]));
    assert_eq!(node.inquiries.questions(at(50)).len(), 2);
    node.free(2, "192.0.2.1", at(51));
    assert!(matches!(node.free(3, "192.0.2.1", at(51)), Some(SpeakerEvent::ConflictResolved { .. })));
}

fn reported(address: &str, phase: Phase) -> BTreeMap<IpAddr, Reported> {
    BTreeMap::from([(ip(address), Reported { mac: Some(STRANGER), phase, node: "other".into() })])
}

#[test]
fn what_others_reported_is_taken_over_with_the_address() {
    let mut node = Node::new();
    node.inquiries.set_world(set(&["192.0.2.1"]), reported("192.0.2.1", Phase::Probe), at(1));
    assert!(node.decide(&["192.0.2.1"], at(1)).all_addresses().is_empty());
    assert_eq!(node.inquiries.questions(at(1)).len(), 2, "does it still hold?");
    node.free(2, "192.0.2.1", at(2));
    assert!(matches!(node.free(3, "192.0.2.1", at(2)), Some(SpeakerEvent::ConflictResolved { .. })));
    // The object is still there until the API server has deleted it.
    assert_eq!(node.decide(&["192.0.2.1"], at(2)).all_addresses(), set(&["192.0.2.1"]));
    // A report about an address that is announced here does not silence it.
    let mut node = Node::new();
    node.inquiries.set_world(set(&["192.0.2.1"]), BTreeMap::new(), at(1));
    node.decide(&["192.0.2.1"], at(1));
    node.inquiries.questions(at(1));
    node.free(2, "192.0.2.1", at(1));
    node.free(3, "192.0.2.1", at(1));
    node.decide(&["192.0.2.1"], at(1));
    node.inquiries.set_world(set(&["192.0.2.1"]), reported("192.0.2.1", Phase::Probe), at(2_000));
    assert_eq!(node.decide(&["192.0.2.1"], at(2_000)).all_addresses(), set(&["192.0.2.1"]));
}

#[test]
fn an_interface_that_vanishes_holds_nothing_up() {
    let mut node = Node::new();
    node.given(&["192.0.2.1"], at(1));
    node.inquiries.questions(at(1));
    node.free(2, "192.0.2.1", at(2));
    let decisions = [decision("192.0.2.1", Interfaces::All)];
    let left = BTreeMap::from([(2, "eth0".to_owned())]);
    let mut duty = Duty::new("me", &decisions, &left);
    node.inquiries.withhold(&mut duty, &BTreeSet::new(), at(3));
    let deadline = node.inquiries.next_deadline().expect("it goes on");
    assert!(deadline <= at(5), "{deadline:?}");
    assert_eq!(node.inquiries.questions(deadline), [(2, ip("192.0.2.1"))], "on what is left");
    node.free(2, "192.0.2.1", at(6));
    assert!(!node.decide(&["192.0.2.1"], at(6)).all_addresses().is_empty());
}

#[test]
fn without_probes_nothing_is_asked_nor_withheld() {
    let probing = Probing { number: 0, ..Probing::default() };
    let mut inquiries = Inquiries::new(Settings { probing, ..Settings::default() }, 1);
    inquiries.set_world(BTreeSet::new(), BTreeMap::new(), at(0));
    let mut node = Node { inquiries };
    assert_eq!(node.given(&["192.0.2.1"], at(1)).all_addresses(), set(&["192.0.2.1"]));
    assert_eq!((node.inquiries.questions(at(1)), node.inquiries.next_deadline()), (vec![], None));
}

#[test]
fn free_addresses_are_asked_for_ahead_and_again_and_then_used_without_delay() {
    let mut node = Node::new();
    let spare = [
        decision("192.0.2.1", Interfaces::All),
        decision("192.0.2.2", Interfaces::Only(["eth1".into()].into())),
    ];
    node.inquiries.set_spare(&spare, &ports(), at(1));
    let asked = node.inquiries.questions(at(1));
    assert_eq!(asked, [(2, ip("192.0.2.1")), (3, ip("192.0.2.1")), (3, ip("192.0.2.2"))]);
    for (index, address) in asked {
        assert_eq!(node.free(index, &address.to_string(), at(2)), None);
    }
    let again = node.inquiries.next_deadline().expect("again");
    assert!(again >= at(2 + 225) && again <= at(2 + 375), "{again:?}");
    assert_eq!(node.given(&["192.0.2.1"], at(100)).all_addresses(), set(&["192.0.2.1"]), "at once");
    // It was ours without anybody complaining, so it is free when it is given back.
    node.given(&[], at(5_000));
    assert_eq!(node.given(&["192.0.2.1"], at(5_001)).all_addresses(), set(&["192.0.2.1"]));
}

#[test]
fn a_conflict_met_ahead_is_told_and_asked_for_again() {
    let mut node = Node::new();
    node.inquiries.set_spare(&[decision("192.0.2.1", Interfaces::All)], &ports(), at(1));
    node.inquiries.questions(at(1));
    assert!(matches!(node.met("192.0.2.1", at(1)), Some(SpeakerEvent::Conflict { phase: Phase::Probe, .. })));
    assert_eq!(node.inquiries.questions(at(31)).len(), 2);
    // Another node is elected for it: its business.
    node.inquiries.set_spare(&[], &ports(), at(40));
    assert_eq!(node.inquiries.next_deadline(), None);
}

#[test]
fn a_report_that_cannot_be_read_goes_too() {
    let mut node = Node::new();
    let unreadable = Reported { mac: None, phase: Phase::Probe, node: "other".into() };
    node.inquiries.set_world(BTreeSet::new(), BTreeMap::from([(ip("192.0.2.1"), unreadable)]), at(1));
    node.inquiries.set_spare(
        &[decision("192.0.2.1", Interfaces::Only(["eth0".into()].into()))],
        &ports(),
        at(1),
    );
    assert_eq!(node.inquiries.questions(at(1)), [(2, ip("192.0.2.1"))]);
    assert!(matches!(node.free(2, "192.0.2.1", at(2)), Some(SpeakerEvent::ConflictResolved { .. })));
}

#[test]
fn reports_about_addresses_of_no_pool_are_removed_by_their_author_or_in_his_place() {
    let mut node = Node::new();
    node.inquiries.set_world(BTreeSet::new(), reported("198.51.100.1", Phase::Probe), at(1));
    let orphans = |node: &Node, me: &str, exists: bool| node.inquiries.orphans(me, |_| exists, |_| false);
    assert!(orphans(&node, "me", true).is_empty());
    assert_eq!(orphans(&node, "other", true), [ip("198.51.100.1")]);
    assert_eq!(orphans(&node, "me", false), [ip("198.51.100.1")]);
    assert!(node.inquiries.orphans("other", |_| true, |_| true).is_empty());
}

fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
    OwnObject::new(kind, "metallb-system", name, spec)
}

fn world(pools: &[(&str, Value)]) -> World {
    let mut objects: Vec<OwnObject> =
        pools.iter().map(|(name, spec)| own("IPAddressPool", name, spec.clone())).collect();
    objects.push(own("L2Advertisement", "all", json!({})));
    let objects = OwnObjects { objects, ..OwnObjects::default() };
    World {
        pools: Arc::new(Pools::new(&objects).0),
        advertisements: Arc::new(L2Advertisement::parse_all(&objects).0),
        nodes: Arc::new(["n1", "n2", "n3"].map(|name| (name.to_owned(), NodeFacts::default())).into()),
        ..World::default()
    }
}

fn spare_addresses(world: &World) -> BTreeSet<IpAddr> {
    world.announcements.values().flat_map(|lb| lb.addresses.clone()).collect()
}

#[test]
fn the_next_addresses_of_each_pool_and_family_are_spread_over_the_nodes() {
    let world = world(&[
        ("a", json!({"addresses": ["192.0.2.8/30", "192.0.2.0/29", "2001:db8::/64"], "avoidBuggyIPs": true})),
        ("b", json!({"addresses": ["198.51.100.0/31"]})),
    ]);
    let used = set(&["192.0.2.9", "192.0.2.1"]);
    let conflicts = set(&["192.0.2.10", "203.0.113.1", "192.0.2.1"]);
    let spare = spare::world(&world, &used, &conflicts, 3);
    let expected = set(&[
        "192.0.2.8",
        "192.0.2.11",
        "192.0.2.2",  // in the order of the ranges, without .0
        "192.0.2.10", // in conflict and given to nobody
        "2001:db8::",
        "2001:db8::1",
        "2001:db8::2",
        "198.51.100.0",
        "198.51.100.1",
    ]);
    assert_eq!(spare_addresses(&spare), expected);
    let live = LiveSet::Everyone;
    let mut asked = BTreeSet::new();
    for node in ["n1", "n2", "n3"] {
        for decision in announcements(&spare, node, &live) {
            if matches!(decision.verdict, Verdict::Announce(_)) {
                assert!(asked.insert(decision.announcement.addresses[0]), "by one node alone");
            }
        }
    }
    assert_eq!(asked, expected);
}

#[test]
fn somebody_who_answers_for_everything_does_not_have_the_whole_pool_marked() {
    let world = world(&[("a", json!({"addresses": ["10.0.0.0/16"]}))]);
    let conflicts: BTreeSet<IpAddr> = (0..32).map(|n| ip(&format!("10.0.0.{n}"))).collect();
    assert_eq!(spare_addresses(&spare::world(&world, &BTreeSet::new(), &conflicts, 8)), conflicts);
}
