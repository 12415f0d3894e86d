//! From decisions about load balancers to addresses on interfaces, and what changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use causeway_api::{LbKey, ObjectRef};
use causeway_metal::announce::{Decision, Verdict};
use causeway_metal::candidates::Interfaces;

use crate::inquiry::Phase;
use crate::l2::MacAddr;

/// What this node tells the rest of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeakerEvent {
    /// This node announces a load balancer from now on, or on other interfaces or with other addresses than before.
    AnnouncementStarted {
        /// The load balancer.
        key: LbKey,
        /// Its object.
        object: ObjectRef,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Names of the interfaces, sorted.
        interfaces: Vec<String>,
        /// Those that its advertisements ask for.
        asked: Interfaces,
    },
    /// This node announces it no more.
    AnnouncementStopped {
        /// The load balancer.
        key: LbKey,
        /// Its object.
        object: ObjectRef,
        /// The addresses that it had.
        addresses: Vec<IpAddr>,
    },
    /// This node is elected but cannot announce all of it, or none.
    AnnouncementFailed {
        /// The load balancer.
        key: LbKey,
        /// Its object.
        object: ObjectRef,
        /// Why, with what to do.
        failure: Failure,
    },
    /// Somebody else on the segment uses an address. Told again from time to time while it lasts.
    Conflict {
        /// The address.
        address: IpAddr,
        /// Hardware address of the other.
        mac: MacAddr,
        /// Name of the interface on which it was met.
        interface: String,
        /// Whether the address was announced already.
        phase: Phase,
    },
    /// Nobody else uses the address any more.
    ConflictResolved {
        /// The address.
        address: IpAddr,
    },
    /// Another speaker may have announced meanwhile what is announced here, and have said so: it was not heard, or did not hear this one, and now that is mended.
    Contested,
    /// No peer is heard any more, or one is again.
    Isolated {
        /// Whether it is so now.
        isolated: bool,
        /// How many peers there are.
        peers: usize,
    },
}

/// Why an elected node does not announce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// None of the interfaces meant can announce.
    #[error(
        "no interface of node {node} can announce it: of those that its L2Advertisements name (spec.interfaces; all, if they name none), each is missing, \
         down, without carrier, excluded, or part of a bridge or bond"
    )]
    NoInterface {
        /// This node.
        node: String,
    },
    /// Somebody else uses an address of it, and answered before the address was announced for the first time.
    #[error(
        "{address} is not announced: the station {mac} on the same segment uses it. Take the address from that station, or out of the pool (spec.addresses); \
         it is asked for again every {} seconds", recheck.as_secs()
    )]
    InUse {
        /// The address.
        address: IpAddr,
        /// Hardware address of the other.
        mac: MacAddr,
        /// Time between two questions.
        recheck: Duration,
    },
}

/// One load balancer that this node announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Its object.
    pub object: ObjectRef,
    /// The addresses that are announced.
    pub addresses: Vec<IpAddr>,
    /// Names of the interfaces, sorted.
    pub interfaces: Vec<String>,
    /// Those that its advertisements ask for.
    pub asked: Interfaces,
}

/// What this node does, as follows from the decisions and the interfaces that it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duty {
    /// Load balancers that it announces.
    pub announced: BTreeMap<LbKey, Announced>,
    /// Those, or parts of those, that it should and cannot.
    pub failed: BTreeMap<LbKey, (ObjectRef, Failure)>,
    /// The addresses of each interface, by index.
    pub addresses: BTreeMap<u32, BTreeSet<IpAddr>>,
}

impl Duty {
    /// `ports` are the eligible interfaces of this node: index and name.
    pub fn new<'a>(
        node: &str,
        decisions: impl IntoIterator<Item = &'a Decision>,
        ports: &BTreeMap<u32, String>,
    ) -> Self {
        let mut duty = Duty::default();
        for index in ports.keys() {
            duty.addresses.insert(*index, BTreeSet::new());
        }
        for decision in decisions {
            let Verdict::Announce(interfaces) = &decision.verdict else { continue };
            let announcement = &decision.announcement;
            let addresses = announcement.addresses.clone();
            let fail = |failure| (announcement.object.clone(), failure);
            let mut names = Vec::new();
            for (index, name) in ports.iter().filter(|(_, name)| interfaces.contains(name)) {
                names.push(name.clone());
                duty.addresses.entry(*index).or_default().extend(addresses.iter().copied());
            }
            names.sort_unstable();
            if names.is_empty() {
                duty.failed
                    .insert(announcement.key.clone(), fail(Failure::NoInterface { node: node.to_owned() }));
                continue;
            }
            let object = announcement.object.clone();
            duty.announced.insert(
                announcement.key.clone(),
                Announced { object, addresses, interfaces: names, asked: interfaces.clone() },
            );
        }
        duty
    }

    /// Announce none of these addresses. The failures are said of the load balancers that have them; without one it is only a matter of a moment.
    pub fn withhold(&mut self, reasons: &BTreeMap<IpAddr, Option<Failure>>) {
        if reasons.is_empty() {
            return;
        }
        for addresses in self.addresses.values_mut() {
            addresses.retain(|address| !reasons.contains_key(address));
        }
        let failed = &mut self.failed;
        self.announced.retain(|key, announced| {
            for failure in announced.addresses.iter().filter_map(|address| reasons.get(address)?.as_ref()) {
                failed.insert(key.clone(), (announced.object.clone(), failure.clone()));
            }
            announced.addresses.retain(|address| !reasons.contains_key(address));
            !announced.addresses.is_empty()
        });
    }

    /// What to tell when this duty takes the place of `before`: first what stopped.
    pub fn events_since(&self, before: &Duty) -> Vec<SpeakerEvent> {
        let mut events = Vec::new();
        for (key, was) in &before.announced {
            if !self.announced.contains_key(key) {
                events.push(SpeakerEvent::AnnouncementStopped {
                    key: key.clone(),
                    object: was.object.clone(),
                    addresses: was.addresses.clone(),
                });
            }
        }
        for (key, now) in &self.announced {
            if before.announced.get(key) != Some(now) {
                events.push(SpeakerEvent::AnnouncementStarted {
                    key: key.clone(),
                    object: now.object.clone(),
                    addresses: now.addresses.clone(),
                    interfaces: now.interfaces.clone(),
                    asked: now.asked.clone(),
                });
            }
        }
        for (key, failed) in &self.failed {
            if before.failed.get(key) != Some(failed) {
                let (object, failure) = failed.clone();
                events.push(SpeakerEvent::AnnouncementFailed { key: key.clone(), object, failure });
            }
        }
        events
    }

    /// Every address that is announced on some interface.
    pub fn all_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.values().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use causeway_api::{Endpoints, Layer};
    use causeway_metal::announce::{Announcement, When};

    use super::*;

    fn decision(name: &str, addresses: &[&str], verdict: Verdict) -> Decision {
        let object = ObjectRef::service("default", name, name);
        Decision {
            announcement: Arc::new(Announcement {
                key: LbKey::object(Layer::L4, object.clone()),
                object,
                addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
                labels: Default::default(),
                shares_address: false,
                when: When::ClusterEndpoints,
                endpoints: Endpoints::default(),
                single_announcer: false,
            }),
            pool: None,
            elected: None,
            verdict,
        }
    }

    fn ports(names: &[&str]) -> BTreeMap<u32, String> {
        (2..).zip(names.iter().map(|name| (*name).to_owned())).collect()
    }

    fn only(name: &str) -> Verdict {
        Verdict::Announce(Interfaces::Only([name.to_owned()].into()))
    }

    #[test]
    fn addresses_go_to_the_interfaces_that_are_meant() {
        let decisions = [
            decision("everywhere", &["192.0.2.1"], Verdict::Announce(Interfaces::All)),
            decision("inside", &["192.0.2.2"], only("eth1")),
            decision("nowhere", &["192.0.2.3"], only("eth7")),
            decision("six", &["2001:db8::1"], Verdict::Announce(Interfaces::All)),
            decision("dual", &["192.0.2.4", "2001:db8::4"], Verdict::Announce(Interfaces::All)),
        ];
        let duty = Duty::new("n", &decisions, &ports(&["eth0", "eth1"]));
        let on = |index: u32| duty.addresses[&index].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(on(2), ["192.0.2.1", "192.0.2.4", "2001:db8::1", "2001:db8::4"]);
        assert_eq!(on(3), ["192.0.2.1", "192.0.2.2", "192.0.2.4", "2001:db8::1", "2001:db8::4"]);
        assert_eq!(duty.announced.len(), 4);
        let failed: Vec<String> = duty.failed.values().map(|(object, _)| object.name.clone()).collect();
        assert_eq!(failed, ["nowhere"]);
    }

    #[test]
    fn a_shared_address_stays_while_one_service_is_left() {
        let both = [decision("a", &["192.0.2.1"], only("eth0")), decision("b", &["192.0.2.1"], only("eth1"))];
        let before = Duty::new("n", &both, &ports(&["eth0", "eth1"]));
        let after = Duty::new("n", &both[..1], &ports(&["eth0", "eth1"]));
        assert_eq!(before.addresses[&3].len(), 1);
        assert_eq!(after.addresses[&3].len(), 0);
        assert_eq!(after.all_addresses(), before.all_addresses());
        let events = after.events_since(&before);
        assert!(
            matches!(&events[..], [SpeakerEvent::AnnouncementStopped { object, .. }] if object.name == "b"),
            "{events:?}"
        );
        assert_eq!(after.events_since(&after), []);
    }

    #[test]
    fn a_new_interface_is_news_and_a_failure_is_told_once() {
        let decisions = [
            decision("a", &["192.0.2.1"], Verdict::Announce(Interfaces::All)),
            decision("late", &["192.0.2.2"], only("eth9")),
        ];
        let before = Duty::new("n", &decisions, &ports(&["eth0"]));
        let told = before.events_since(&Duty::default());
        assert!(matches!(
            &told[..],
            [SpeakerEvent::AnnouncementStarted { .. }, SpeakerEvent::AnnouncementFailed { .. }]
        ));
        let after = Duty::new("n", &decisions, &ports(&["eth0", "eth9"]));
        let events = after.events_since(&before);
        assert_eq!(events.len(), 2);
        assert!(
            matches!(&events[0], SpeakerEvent::AnnouncementStarted { interfaces, .. } if interfaces == &["eth0", "eth9"])
        );
        assert!(
            matches!(&events[1], SpeakerEvent::AnnouncementStarted { interfaces, .. } if interfaces == &["eth9"])
        );
    }
}
