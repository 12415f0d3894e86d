//! Neighbour discovery, with a kernel as the one that asks.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use causeway_speaker::l2::{MacAddr, ndp};
use causeway_sys::{PacketSocket, Traffic};

use crate::segment::{Bed, run, this_program};
use crate::speaker::Speaker;
use crate::{asker, wait_until};

const VIP: &str = "fd77::100";

/// The process: `solicit ADDRESS MAC-TO KIND`, from the namespace's eth0: what comes back within 300 ms, one line each: `MAC solicited|unsolicited[+override]`.
pub fn solicit(arguments: &[String]) {
    let target: Ipv6Addr = arguments[0].parse().expect("an address");
    let node: MacAddr = arguments[1].parse().expect("a MAC");
    let own = asker::own_mac();
    let from: Ipv6Addr = "fd77::9".parse().expect("an address");
    let group = ndp::solicited_node(target);
    let question = match arguments[2].as_str() {
        "multicast" => ndp::solicitation((own, from), (ndp::group_mac(group), group), target, Some(own)),
        "unicast" => ndp::solicitation((own, from), (node, target), target, Some(own)),
        "bare" => ndp::solicitation((own, from), (node, target), target, None),
        "probe" => ndp::probe(own, target),
        other => panic!("{other}"),
    };
    asker::runtime().block_on(async {
        let socket = PacketSocket::open(asker::index(), Traffic::NeighborDiscovery)
            .expect("a packet socket (needs root)");
        socket.join(ndp::group_mac(ndp::ALL_NODES).0).expect("joined");
        socket.send(question.as_slice()).await.expect("sent");
        let mut buffer = [0u8; 1518];
        let mut silent = true;
        let answers = async {
            loop {
                let received = socket.receive(&mut buffer).await.expect("received");
                if let Ok(packet) = ndp::parse(&buffer[14..received.length])
                    && packet.target == target
                    && let ndp::Kind::Advertisement { solicited, overrides } = packet.kind
                {
                    let kind = if solicited { "solicited" } else { "unsolicited" };
                    let overrides = if overrides { "+override" } else { "" };
                    println!("{} {kind}{overrides}", packet.link_layer.unwrap_or_default());
                    silent = false;
                }
            }
        };
        let Err(_elapsed) = tokio::time::timeout(Duration::from_millis(300), answers).await;
        if silent {
            println!("silence");
        }
    });
}

fn answer(bed: &Bed, target: &str, kind: &str) -> String {
    run(&bed.client(), &[&this_program(), "solicit", target, &bed.mac("n1"), kind]).trim().to_owned()
}

/// The client's entry for an address.
fn neighbour(bed: &Bed, address: &str) -> String {
    bed.ask_ip("client", &format!("-6 neigh show {address} dev eth0")).trim().to_owned()
}

/// Sends a datagram there, so that the kernel must find the neighbour, or confirm it.
fn use_it(bed: &Bed, address: &str) {
    run(&bed.client(), &["bash", "-c", &format!("echo > /dev/udp/{address}/9")]);
}

/// All four kinds of question are answered; a kernel finds the address, keeps it, and does not take it for itself. The switch passes on only what
/// was reported to it.
pub fn kernel_as_peer(bed: &Bed) {
    bed.snoop();
    let one = Speaker::start(bed, "n1", &[VIP]);
    wait_until("announced", Duration::from_secs(10), || one.announced().contains(VIP));
    let mac = bed.mac("n1");
    let groups = run(&bed.namespace("n1"), &["cat", "/proc/net/igmp6"]);
    assert!(groups.contains("ff0200000000000000000001ff000100"), "the kernel reports the group: {groups}");

    for (kind, flags) in [
        ("multicast", "solicited+override"),
        ("unicast", "solicited+override"),
        ("bare", "solicited+override"),
        ("probe", "unsolicited+override"),
    ] {
        let said = answer(bed, VIP, kind);
        // What is said unasked, after taking the address, may come in between.
        let unasked = format!("{mac} unsolicited+override");
        let answers: Vec<&str> =
            said.lines().filter(|line| flags.starts_with("un") || *line != unasked).collect();
        let expected = format!("{mac} {flags}");
        assert!(!answers.is_empty() && answers.iter().all(|answer| **answer == expected), "{kind}: {said}");
    }
    assert_eq!(answer(bed, "fd77::1fe", "multicast"), "silence", "nobody has this address");

    // Found, by the kernel's own question to the group.
    bed.ip("client", "-6 neigh flush dev eth0");
    use_it(bed, VIP);
    let found = wait_until("the kernel has found it", Duration::from_secs(3), || {
        neighbour(bed, VIP).contains(&format!("lladdr {mac}"))
    });
    assert!(neighbour(bed, VIP).contains("REACHABLE"), "{}", neighbour(bed, VIP));

    // Kept, by its own unicast questions, several times over (RFC 4861 §7.3).
    let mut confirmed = 0;
    while confirmed < 5 {
        bed.ip("client", &format!("-6 neigh replace {VIP} lladdr {mac} dev eth0 nud probe"));
        wait_until("confirmed", Duration::from_secs(5), || {
            let entry = neighbour(bed, VIP);
            assert!(!entry.contains("FAILED"), "{entry}");
            entry.contains("REACHABLE")
        });
        confirmed += 1;
    }

    // A wrong entry is set right by what is said unasked, when the address moves.
    bed.ip("client", &format!("-6 neigh replace {VIP} lladdr 02:00:00:00:de:ad dev eth0 nud stale"));
    one.terminate();
    let one = Speaker::start(bed, "n1", &[VIP]);
    wait_until("the kernel has learnt it", Duration::from_secs(10), || neighbour(bed, VIP).contains(&mac));

    // Defended against a kernel that wants it.
    let start = Instant::now();
    bed.ip("client", &format!("addr add {VIP}/64 dev eth0"));
    wait_until("the kernel sees that it is taken", Duration::from_secs(5), || {
        bed.ask_ip("client", "-6 addr show dev eth0")
            .lines()
            .any(|line| line.contains(VIP) && line.contains("dadfailed"))
    });
    let failed = start.elapsed();
    bed.ip("client", &format!("addr del {VIP}/64 dev eth0"));

    // An interface that appears later answers as well.
    bed.add_interface("n1", "eth1");
    wait_until("the new interface announces", Duration::from_secs(2), || {
        one.interfaces(VIP) == ["eth0", "eth1"]
    });
    let second = run(&bed.namespace("n1"), &["cat", "/sys/class/net/eth1/address"]).trim().to_owned();
    wait_until("both interfaces answer", Duration::from_secs(5), || {
        let said = answer(bed, VIP, "multicast");
        said.contains(&mac) && said.contains(&second)
    });
    assert_eq!(one.conflict(VIP), None, "its own interfaces are no strangers");
    bed.remove_interface("n1", "eth1");
    one.terminate();
    println!(
        "ok: neighbour discovery: four of four kinds answered; kernel found it in {found:?}, confirmed it {confirmed} times, and saw its own duplicate after {failed:?}"
    );
}

/// A node whose kernel has no IPv6 on the interface announces IPv6 all the same.
pub fn no_ipv6_on_the_node(bed: &Bed) {
    bed.sysctl("n2", "ipv6/conf/eth0/disable_ipv6", "1");
    let vips = ["10.77.0.102", "fd77::102"];
    let two = Speaker::start(bed, "n2", &vips);
    wait_until("announced", Duration::from_secs(10), || two.announced().len() == 2);
    bed.ip("switch", "link set br0 type bridge mcast_snooping 0");
    let mac = bed.mac("n2");
    let said = answer(bed, "fd77::102", "multicast");
    assert!(said.lines().any(|line| line == format!("{mac} solicited+override")), "{said}");
    two.terminate();
    bed.sysctl("n2", "ipv6/conf/eth0/disable_ipv6", "0");
    println!("ok: IPv6 announced from an interface without it");
}
