//! Somebody else has the address: a kernel that really has it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::segment::{Bed, run};
use crate::speaker::Speaker;
use crate::{asker, wait_until};

const TAKEN: [&str; 2] = ["10.77.0.150", "fd77::150"];

/// An address that a stranger has is not announced until he lets it go; one that nobody has is after the questions.
pub fn before_first_use(bed: &Bed) {
    bed.ip("client", "addr add 10.77.0.150/24 dev eth0");
    bed.ip("client", "addr add fd77::150/64 dev eth0 nodad");
    // Both, also the one that n2 would have: from then on n2 counts as dead, and all are n1's.
    let mut one = Speaker::start(bed, "n1", &["10.77.0.100", "10.77.0.101"]);
    wait_until("announced", Duration::from_secs(10), || one.announced().len() == 2);

    one.give(&["10.77.0.100", "10.77.0.101", "10.77.0.160", "fd77::160", TAKEN[0], TAKEN[1]]);
    let start = Instant::now();
    let stranger = format!("{} eth0 probe", bed.mac("client"));
    for vip in TAKEN {
        wait_until("the stranger is met", Duration::from_secs(3), || {
            one.conflict(vip).as_ref() == Some(&stranger)
        });
    }
    let met = start.elapsed();
    wait_until("what nobody has is announced", Duration::from_secs(3), || {
        one.announced().contains("10.77.0.160") && one.announced().contains("fd77::160")
    });
    let announced = start.elapsed();
    assert!(announced > Duration::from_millis(500), "asked for first: {announced:?}");
    for vip in TAKEN {
        assert!(!one.announced().contains(vip), "{vip} is not ours");
    }
    assert!(one.conflict("10.77.0.160").is_none() && one.conflict("10.77.0.100").is_none());

    bed.ip("client", "addr del 10.77.0.150/24 dev eth0");
    bed.ip("client", "addr del fd77::150/64 dev eth0");
    for vip in TAKEN {
        wait_until("it is free and announced", Duration::from_secs(10), || {
            one.conflict(vip).is_none() && one.announced().contains(vip)
        });
    }
    one.terminate();
    println!(
        "ok: strangers met after {met:?}, free addresses announced after {announced:?}; announced when let go"
    );
}

/// The addresses that are given next are asked for before; so their first use does not wait.
pub fn ahead(bed: &Bed) {
    let mut listener = asker::start_listening(&bed.client());
    let vips = ["10.77.0.100", "10.77.0.101"];
    let mut one = Speaker::start(bed, "n1", &vips);
    let mut two = Speaker::start(bed, "n2", &vips);
    // Eight of them, three times each.
    let next: Vec<String> = (102..110).map(|last| format!("10.77.0.{last}")).collect();
    let probes = |said: &[asker::Said], vip: &str| {
        said.iter().filter(|(of, kind, _)| of == vip && kind == "probe").count()
    };
    let said =
        listener.wait_for(Duration::from_secs(15), |said| next.iter().all(|vip| probes(said, vip) >= 3));
    for vip in &next {
        let askers: BTreeSet<&str> =
            said.iter().filter(|(of, _, _)| of == vip).map(|(_, _, mac)| mac.as_str()).collect();
        assert_eq!(askers.len(), 1, "{vip} is asked for by the node that would have it");
    }
    assert_eq!(probes(said, "10.77.0.110"), 0, "no more than that");
    // The end of the time of the last question shows only in what follows: try the addresses one after the other.
    let mut times = Vec::new();
    let mut given: Vec<&str> = vips.to_vec();
    for vip in &next {
        given.push(vip);
        one.give(&given);
        two.give(&given);
        let time = wait_until("announced", Duration::from_secs(3), || {
            one.announced().contains(vip) || two.announced().contains(vip)
        });
        times.push(time);
    }
    times.sort_unstable();
    assert!(times[4] < Duration::from_millis(150), "not asked for first: {times:?}");
    one.terminate();
    two.terminate();
    println!(
        "ok: free addresses are asked for ahead; first use takes {:?} (median), {:?} (worst)",
        times[4], times[7]
    );
}

/// Who claims an announced address is noticed, told and answered at once, and asked until he is gone.
pub fn while_announced(bed: &Bed) {
    let vips = ["10.77.0.101", "fd77::101"];
    let one = Speaker::start(bed, "n1", &vips);
    wait_until("announced", Duration::from_secs(10), || one.announced().len() == 2);
    let ours = bed.mac("n1");

    // Another's duplicate address detection is told that it is taken (iputils: exit status 1).
    let detection = Command::new("ip")
        .args(["netns", "exec", &bed.namespace("n2"), "arping", "-D", "-q", "-c", "2", "-I", "eth0", vips[0]])
        .status()
        .expect("`ip` of iproute2 is needed");
    assert_eq!(detection.code(), Some(1), "arping -D");
    assert_eq!(one.conflict(vips[0]), None, "asking is no claim");

    // While its speaker has not told the stations of n2, a claim right after the start counts as hand-over; wait for the end of that time.
    let mut listener = asker::start_listening(&bed.client());
    listener.wait_for(Duration::from_secs(9), |said| {
        said.iter().filter(|(vip, _, _)| vip == vips[0]).count() >= 2
    });
    let stranger = format!("{} eth0 announced", bed.mac("client"));
    bed.ip("client", "addr add 10.77.0.101/24 dev eth0");
    bed.ip("client", "addr add fd77::101/64 dev eth0 nodad");
    let mut tries = 0;
    wait_until("the claim is noticed", Duration::from_secs(10), || {
        tries += 1;
        run(&bed.client(), &["arping", "-U", "-q", "-c", "1", "-I", "eth0", vips[0]]);
        one.conflict(vips[0]).as_ref() == Some(&stranger)
    });
    assert_eq!(asker::one(&bed.client(), vips[0]).as_deref(), Some(ours.as_str()), "kept");
    // By the stranger's own question, with the address as its source.
    wait_until("the claim is noticed", Duration::from_secs(10), || {
        run(
            &bed.client(),
            &[
                "bash",
                "-c",
                "ip -6 neigh flush dev eth0; ip -6 route replace fd77::2/128 dev eth0 src fd77::101; echo > /dev/udp/fd77::2/9",
            ],
        );
        one.conflict(vips[1]).as_ref() == Some(&stranger)
    });
    assert_eq!(one.announced().len(), 2, "kept");

    bed.ip("client", "route del fd77::2/128 dev eth0");
    bed.ip("client", "addr del 10.77.0.101/24 dev eth0");
    bed.ip("client", "addr del fd77::101/64 dev eth0");
    for vip in vips {
        wait_until("the conflict is over", Duration::from_secs(10), || one.conflict(vip).is_none());
    }
    one.terminate();
    println!(
        "ok: claims of announced addresses noticed (try {tries}), answered, and over when the other is gone"
    );
}
