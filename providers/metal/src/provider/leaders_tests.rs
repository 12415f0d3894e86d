//! Two controllers and an API server, and leadership that changes 10,000 times at the worst moments: no address is given twice.
//!
//! What may go wrong here: a leader dies between any two steps; a write of it lands all the same, up to the moment at which its successor may
//! begin (`engine` sees to that by the fence); an answer is lost; what a leader sees of the Services is old, so that its write
//! meets another resourceVersion; users create, delete and change Services and pools all the while; strangers come and go.

use super::tests::{annotate, facts, lb, now, own, pool, service, show, spec};
use super::*;
use causeway_api::{Severity, TrafficPolicy};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;

const SERVICES: usize = 7;
const TAKEOVERS: usize = 10_000;

/// splitmix64: the same run each time for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or_default()
    }
}

/// With whom a Service may be on one address.
#[derive(Clone, Debug, PartialEq)]
struct Terms {
    sharing: String,
    local: bool,
    port: u16,
}

fn terms(member: &Member) -> Terms {
    let service = member.service().expect("a Service");
    Terms {
        sharing: member.annotations.get("metallb.io/allow-shared-ip").cloned().unwrap_or_default(),
        local: service.traffic_policy == TrafficPolicy::Local,
        port: service.ports[0].port,
    }
}

fn compatible(a: &Terms, b: &Terms) -> bool {
    !a.sharing.is_empty() && a.sharing == b.sharing && a.local == b.local && a.port != b.port
}

/// A Service as the API server holds it.
#[derive(Clone)]
struct Stored {
    member: Member,
    /// It is wanted; otherwise it waits for our finalizer, if it still shows something.
    wanted: bool,
    version: u64,
    /// The terms on which it was given what it shows.
    given: Terms,
}

impl Stored {
    fn shows(&self) -> Vec<IpAddr> {
        self.member.current.iter().filter_map(|point| point.ip).collect()
    }
}

struct Server {
    services: Vec<Stored>,
    pools: usize,
    strangers: Vec<(u8, &'static str)>,
    conflicts: usize,
    grants: usize,
}

/// A write on its way.
struct Sent {
    status: Option<MemberStatus>,
    version: u64,
    terms: Terms,
    /// Those of all Services, as the leader had taken them in when it decided: what a user changes later is looked at next.
    seen: Vec<Terms>,
}

impl Server {
    /// A conditional write. Answers whether it took effect, and what it gave to two.
    fn write(&mut self, which: usize, sent: Sent) -> (bool, Vec<String>) {
        if self.services[which].version != sent.version {
            self.conflicts += 1;
            return (false, Vec::new());
        }
        let before = self.services[which].shows();
        let stored = &mut self.services[which];
        stored.version += 1;
        match &sent.status {
            Some(status) => show(&mut stored.member, status),
            None => stored.member.current.clear(),
        }
        stored.given = sent.terms.clone();
        let mut doubles = Vec::new();
        for address in self.services[which].shows().into_iter().filter(|a| !before.contains(a)) {
            self.grants += 1;
            for (other, stored) in self.services.iter().enumerate().filter(|(other, _)| *other != which) {
                let theirs = [&stored.given, &terms(&stored.member), &sent.seen[other]];
                let may = theirs.into_iter().any(|theirs| compatible(&sent.terms, theirs));
                if stored.shows().contains(&address) && !may {
                    doubles.push(format!("{address}: to s{which} while s{other} has it"));
                }
            }
        }
        (true, doubles)
    }
}

/// One of the two processes while it leads.
struct Leader {
    metal: Metal,
    facts: Facts,
    /// Services as its watch showed them last.
    view: Vec<Stored>,
    /// The terms of each when it was taken over, or decided about last.
    known: Vec<Terms>,
    sent: BTreeMap<usize, Sent>,
    written: BTreeMap<usize, LbKey>,
}

impl Leader {
    fn begin(server: &Server) -> Self {
        let metal = Metal::default();
        let mut leader = Self {
            facts: Facts::default(),
            view: server.services.clone(),
            known: server.services.iter().map(|stored| terms(&stored.member)).collect(),
            sent: BTreeMap::new(),
            written: BTreeMap::new(),
            metal,
        };
        leader.read_facts(server);
        // Those on their way out are told too, as long as they show something.
        let all: Vec<_> = leader
            .view
            .iter()
            .filter(|stored| stored.wanted || !stored.member.current.is_empty())
            .map(|stored| lb(&leader.metal, std::slice::from_ref(&stored.member)))
            .collect();
        now(leader.metal.start(&all, &leader.facts)).expect("never fails");
        leader
    }

    fn read_facts(&mut self, server: &Server) {
        let ranges: &[&str] = match server.pools {
            0 => &["192.0.2.0/30"],
            1 => &["192.0.2.2-192.0.2.5"],
            _ => &["192.0.2.4/31"],
        };
        let mut objects = vec![pool("p", ranges)];
        objects.extend(server.strangers.iter().map(|(n, phase)| {
            let address = format!("192.0.2.{n}");
            own(
                "AddressConflict",
                &address,
                json!({"address": address, "mac": "m", "phase": phase, "node": "n", "interface": "i"}),
            )
        }));
        self.facts = facts(&self.metal, objects);
    }

    fn busy(&self, which: usize) -> bool {
        self.sent.contains_key(&which) || self.written.contains_key(&which)
    }

    /// Plans and applies for one Service, up to the write of its status.
    fn decide(&mut self, which: usize) {
        if self.busy(which) {
            return;
        }
        let stored = &self.view[which];
        let wanted = if stored.wanted {
            lb(&self.metal, std::slice::from_ref(&stored.member))
        } else {
            LoadBalancer::unwanted(self.metal.key(&stored.member))
        };
        let (stack, problems) = self.metal.desired(&wanted, &self.facts);
        assert!(problems.iter().all(|p| p.severity == Severity::Warning), "{problems:?}");
        let have = now(self.metal.observe(&wanted.key)).expect("never fails");
        for change in &self.metal.plan(&stack, &have).changes {
            now(self.metal.apply(change, &Fence::open())).expect("not fenced");
        }
        let have = now(self.metal.observe(&wanted.key)).expect("never fails");
        let status = self.metal.status(&stack, &have).pop();
        self.known[which] = terms(&stored.member);
        let sent =
            Sent { status, version: stored.version, terms: terms(&stored.member), seen: self.known.clone() };
        self.sent.insert(which, sent);
    }

    /// The write arrives, and so does its answer, unless that is lost.
    fn arrive(&mut self, which: usize, server: &mut Server, answered: bool) -> Vec<String> {
        let Some(sent) = self.sent.remove(&which) else { return Vec::new() };
        let (done, doubles) = server.write(which, sent);
        if done && answered {
            self.written.insert(which, self.metal.key(&self.view[which].member));
        }
        doubles
    }

    fn settle(&mut self, which: usize) {
        if let Some(key) = self.written.remove(&which) {
            self.metal.settled(&key);
        }
    }
}

fn user(server: &mut Server, random: &mut Random) {
    let which = random.below(SERVICES);
    let stored = &mut server.services[which];
    match random.below(5) {
        0 | 1 => {
            // A deleted Service stays, by its finalizer, until it shows nothing.
            if stored.wanted || stored.member.current.is_empty() {
                stored.wanted = !stored.wanted;
            }
        }
        2 => {
            let wish = random.below(8);
            spec(&mut stored.member).requested_address = (wish < 6).then(|| format!("192.0.2.{wish}"));
        }
        3 => annotate(&mut stored.member, "metallb.io/allow-shared-ip", ["", "k", "l"][random.below(3)]),
        _ => {
            spec(&mut stored.member).traffic_policy =
                if random.below(2) == 0 { TrafficPolicy::Cluster } else { TrafficPolicy::Local };
        }
    }
    stored.version += 1;
}

#[test]
fn ten_thousand_changes_of_the_leader_give_no_address_twice() {
    let mut random = Random(0x00ca_05e3);
    let services = (0..SERVICES).map(|n| {
        let number = u16::try_from(n).unwrap_or_default();
        let mut member = service(&format!("s{n}"), number.into());
        spec(&mut member).ports[0].port = 80 + number % 3;
        Stored { given: terms(&member), member, wanted: true, version: 1 }
    });
    let mut server =
        Server { services: services.collect(), pools: 0, strangers: Vec::new(), conflicts: 0, grants: 0 };
    let (mut steps, mut late) = (0u32, 0u32);
    for takeover in 0..TAKEOVERS {
        let mut leader = Leader::begin(&server);
        for _ in 0..random.below(60) {
            steps += 1;
            let which = random.below(SERVICES);
            let doubles = match random.below(16) {
                0..=4 => {
                    leader.decide(which);
                    Vec::new()
                }
                5..=8 => leader.arrive(which, &mut server, true),
                9 => leader.arrive(which, &mut server, false),
                10 | 11 => {
                    leader.settle(which);
                    Vec::new()
                }
                12 => {
                    leader.view[which] = server.services[which].clone();
                    Vec::new()
                }
                13 | 14 => {
                    user(&mut server, &mut random);
                    Vec::new()
                }
                _ => {
                    if random.below(2) == 0 {
                        server.pools = random.below(3);
                    } else {
                        server.strangers = (0..random.below(2))
                            .map(|_| (1, "Probe"))
                            .chain((0..random.below(2)).map(|_| (4, "Announced")))
                            .collect();
                    }
                    leader.read_facts(&server);
                    Vec::new()
                }
            };
            assert_eq!(doubles, Vec::<String>::new(), "takeover {takeover}, step {steps}");
        }
        // It dies. What it had sent may have arrived, in any order.
        for which in leader.sent.keys().copied().collect::<Vec<_>>() {
            if random.below(2) == 0 {
                late += 1;
                let doubles = leader.arrive(which, &mut server, false);
                assert_eq!(doubles, Vec::<String>::new(), "after the end of leader {takeover}");
            }
        }
    }
    println!(
        "{TAKEOVERS} leaders, {steps} steps, {} addresses given, {} conflicts, {late} late writes",
        server.grants, server.conflicts
    );
    // It was no idle run.
    assert!(server.grants > 3_000, "{}", server.grants);
    assert!(server.conflicts > 1_000 && late > 1_000, "{} {late}", server.conflicts);
}
