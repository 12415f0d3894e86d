//! Real speakers in network namespaces: real frames, real datagrams, real deaths.
//!
//! Needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and `ip` of iproute2; `arping` serves as an independent asker. Two nodes and a client hang on a bridge in a
//! namespace of its own. This program is its own speaker: it starts itself in a node's namespace.
//!
//! `cargo test -p causeway-speaker --features bed --test bed`.

mod arp_asker;
mod asker;
mod conflicts;
mod neighbours;
mod segment;
mod speaker;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use segment::Bed;
use speaker::Speaker;

const VIPS: [&str; 4] = ["10.77.0.100", "10.77.0.101", "10.77.0.102", "10.77.0.103"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("speak") => speaker::speak(&arguments[2..]),
        Some("ask") => asker::ask(&arguments[2..]),
        Some("listen") => asker::listen(&arguments[2..]),
        Some("solicit") => neighbours::solicit(&arguments[2..]),
        _ => scenarios(),
    }
}

fn scenarios() {
    let bed = Bed::new();
    answers_and_announcements(&bed);
    new_interface(&bed);
    fail_over(&bed);
    hand_over(&bed);
    neighbours::kernel_as_peer(&bed);
    neighbours::no_ipv6_on_the_node(&bed);
    conflicts::ahead(&bed);
    conflicts::before_first_use(&bed);
    conflicts::while_announced(&bed);
    // The harness's own last words; a scenario that fails has panicked before.
    println!("\n9 passed, 0 failed");
}

/// Whoever answers for an address, as the client sees it.
fn holder(bed: &Bed, vip: &str) -> Option<String> {
    let mac = asker::one(&bed.client(), vip)?;
    Some(if mac == bed.mac("n1") {
        "n1".to_owned()
    } else if mac == bed.mac("n2") {
        "n2".to_owned()
    } else {
        panic!("{vip} is answered by a stranger: {mac}")
    })
}

fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        // Leaves the processor to those who are waited for.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    start.elapsed()
}

/// Every address is answered, with its announcing node's MAC, by one node alone, and was announced unasked before.
fn answers_and_announcements(bed: &Bed) {
    let mut listener = asker::start_listening(&bed.client());
    let one = Speaker::start(bed, "n1", &VIPS);
    let two = Speaker::start(bed, "n2", &VIPS);
    for vip in VIPS {
        wait_until("an address is answered", Duration::from_secs(10), || holder(bed, vip).is_some());
    }
    // Both have heard each other by then: one speaker per address.
    wait_until("each address has one speaker", Duration::from_secs(10), || {
        let (one, two) = (one.announced(), two.announced());
        one.is_disjoint(&two) && one.len() + two.len() == VIPS.len()
    });
    let (of_one, of_two) = (one.announced(), two.announced());
    assert!(!of_one.is_empty() && !of_two.is_empty(), "choose other addresses: one node has them all");
    for vip in &of_one {
        assert_eq!(holder(bed, vip).as_deref(), Some("n1"));
        assert_eq!(arping(bed, vip), bed.mac("n1"), "an independent asker");
    }
    for vip in &of_two {
        assert_eq!(holder(bed, vip).as_deref(), Some("n2"));
    }
    assert!(asker::one(&bed.client(), "10.77.0.99").is_none(), "nobody has this address");
    // Five times within five seconds, as request and as reply each.
    let said = listener.wait_for(Duration::from_secs(8), |said| {
        VIPS.iter().all(|vip| said.iter().filter(|(address, _, _)| address == vip).count() >= 10)
    });
    for vip in VIPS {
        let of_vip: Vec<_> = said.iter().filter(|(address, _, _)| address == vip).collect();
        let operations: BTreeSet<&str> = of_vip.iter().map(|(_, operation, _)| operation.as_str()).collect();
        assert_eq!(operations, ["1", "2"].into(), "{vip}");
    }
    println!("ok: answered and announced; n1 holds {of_one:?}, n2 holds {of_two:?}");
    one.terminate();
    two.terminate();
}

/// MAC that `arping` sees.
fn arping(bed: &Bed, vip: &str) -> String {
    let out = segment::run(&bed.client(), &["arping", "-c", "1", "-w", "2", "-I", "eth0", vip]);
    let text = out.to_lowercase();
    let found = text
        .split(|c: char| !(c.is_ascii_hexdigit() || c == ':'))
        .find(|word| word.len() == 17 && word.split(':').count() == 6);
    found.unwrap_or_else(|| panic!("arping says: {out}")).to_owned()
}

/// An interface that appears is used at once, one that goes is left.
fn new_interface(bed: &Bed) {
    let one = Speaker::start(bed, "n1", &VIPS[..1]);
    wait_until("announced", Duration::from_secs(10), || one.interfaces(VIPS[0]) == ["eth0"]);
    let start = Instant::now();
    bed.add_interface("n1", "eth1");
    wait_until("the new interface announces", Duration::from_secs(2), || {
        one.interfaces(VIPS[0]) == ["eth0", "eth1"]
    });
    println!("ok: new interface announces {:?} after `ip link add` began", start.elapsed());
    bed.remove_interface("n1", "eth1");
    wait_until("the interface is left", Duration::from_secs(2), || one.interfaces(VIPS[0]) == ["eth0"]);
    assert_eq!(holder(bed, VIPS[0]).as_deref(), Some("n1"));
    one.terminate();
}

/// A killed speaker's addresses are answered by the other within a second, and stay there when it comes back.
fn fail_over(bed: &Bed) {
    let one = Speaker::start(bed, "n1", &VIPS);
    let two = Speaker::start(bed, "n2", &VIPS);
    wait_until("each address has one speaker", Duration::from_secs(10), || {
        let (one, two) = (one.announced(), two.announced());
        one.is_disjoint(&two) && one.len() + two.len() == VIPS.len()
    });
    let lost = one.announced().pop_first().expect("n1 holds one");
    one.kill();
    let time = wait_until("the survivor answers", Duration::from_secs(6), || {
        holder(bed, &lost).as_deref() == Some("n2")
    });
    assert!((190..1_000).contains(&time.as_millis()), "{time:?}");
    assert_eq!(two.announced().len(), VIPS.len());
    println!("ok: kill -9 to the first answer of the other: {time:?}");
    let one = Speaker::start(bed, "n1", &VIPS);
    // It is heard, and asked to take over, only when it lives: then it has all, and never had any before.
    two.terminate();
    let time = wait_until("it takes over from one that leaves", Duration::from_secs(6), || {
        one.announced().len() == VIPS.len() && holder(bed, &lost).as_deref() == Some("n1")
    });
    println!("ok: started again to having all that the other left: {time:?}");
    one.terminate();
}

/// A speaker that is asked to stop hands over at once.
fn hand_over(bed: &Bed) {
    let one = Speaker::start(bed, "n1", &VIPS);
    let two = Speaker::start(bed, "n2", &VIPS);
    wait_until("each address has one speaker", Duration::from_secs(10), || {
        let (one, two) = (one.announced(), two.announced());
        one.is_disjoint(&two) && one.len() + two.len() == VIPS.len()
    });
    let start = Instant::now();
    one.terminate();
    wait_until("the other has all", Duration::from_millis(700), || two.announced().len() == VIPS.len());
    println!("ok: SIGTERM to the other having all: {:?}", start.elapsed());
    two.terminate();
}
