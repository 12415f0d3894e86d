//! The fuzz targets on their corpus, on every prefix of it, and on a second of random mutations each. `fuzz/` runs the same with libFuzzer, for as long as one likes.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use causeway_speaker::jitter::Jitter;
use rstest::rstest;

/// How long mutations are tried: `FUZZ_SECONDS`, or one second.
fn patience() -> Duration {
    let given = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(1))
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("listed").path();
            let octets = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, octets)
        })
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 2, "{} holds seeds", folder.display());
    seeds
}

/// Flips, replaces, cuts, doubles and splices octets.
fn mutate(octets: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)], dice: &mut Jitter) {
    let mut below = |bound: usize| if bound == 0 { 0 } else { (dice.bits() % bound as u64) as usize };
    for _ in 0..=below(4) {
        let at = below(octets.len());
        match below(6) {
            0 if !octets.is_empty() => octets[at] ^= 1 << below(8),
            1 if !octets.is_empty() => octets[at] = below(256) as u8,
            2 => octets.truncate(at),
            3 => octets.insert(at, below(256) as u8),
            4 => {
                let piece: Vec<u8> = octets[at..].iter().take(below(40)).copied().collect();
                octets.extend(piece);
            }
            _ => {
                let other = &others[below(others.len())].1;
                let from = below(other.len());
                octets.splice(at.., other[from..].iter().copied());
            }
        }
    }
}

#[rstest]
#[case("arp", targets::arp)]
#[case("ndp", targets::ndp)]
#[case("heartbeat", targets::heartbeat)]
#[case("bfd", targets::bfd)]
fn nothing_that_comes_from_the_network_breaks_it(#[case] target: &str, #[case] run: fn(&[u8])) {
    let seeds = corpus(target);
    for (_, octets) in &seeds {
        (0..=octets.len()).for_each(|length| run(&octets[..length]));
    }
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut dice = Jitter::new(seed);
    let start = Instant::now();
    let mut tries = 0u64;
    while start.elapsed() < patience() {
        let mut octets = seeds[(dice.bits() % seeds.len() as u64) as usize].1.clone();
        mutate(&mut octets, &seeds, &mut dice);
        // In most tries with a checksum that fits, or nothing would get past it.
        if target == "ndp" && octets.len() >= 62 && !dice.bits().is_multiple_of(4) {
            seal(&mut octets);
        }
        run(&octets);
        tries += 1;
    }
    assert!(tries > 100, "only {tries} tries");
}

/// Writes the ICMPv6 checksum of what stands there.
fn seal(frame: &mut [u8]) {
    frame[56..58].fill(0);
    let length = (frame.len() - 54) as u32;
    frame[18..20].copy_from_slice(&(length as u16).to_be_bytes());
    let pseudo = [&frame[22..54], &length.to_be_bytes(), &[0, 0, 0, 58], &frame[54..]].concat();
    let mut sum: u32 = pseudo
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[56..58].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// The seeds are what hosts and we ourselves say; written anew with `WRITE_SEEDS=1`, for instance when the heartbeat changes.
#[test]
fn seeds_are_what_is_said() {
    use causeway_metal::fleet::{Statement, Unfit, Uplink};
    use causeway_speaker::l2::{MacAddr, arp, ndp};
    use causeway_speaker::membership::{Input, Outputs};
    use causeway_speaker::moment::Moment;
    use targets::{OURS, PEER, V4, V6, WANTED_V4, WANTED_V6};

    fn sends(outputs: Outputs) -> impl Iterator<Item = Vec<u8>> {
        outputs.sends.into_iter().map(|send| send.octets)
    }

    let asker = MacAddr([2, 0, 0, 0, 0, 0x99]);
    let asker_v6 = "fe80::99".parse().expect("an address");
    let group = ndp::solicited_node(V6);
    let arps = [
        ("request", arp::request(asker, "192.0.2.99".parse().expect("an address"), MacAddr::BROADCAST, V4)),
        ("probe", arp::probe(asker, V4)),
        ("probe-wanted", arp::probe(asker, WANTED_V4)),
        ("claim", arp::gratuitous(asker, V4, arp::Operation::Reply)),
        ("peer", arp::gratuitous(PEER, V4, arp::Operation::Request)),
    ];
    let ndps = [
        ("multicast", ndp::solicitation((asker, asker_v6), (ndp::group_mac(group), group), V6, Some(asker))),
        ("unicast", ndp::solicitation((asker, asker_v6), (OURS, V6), V6, None)),
        ("probe", ndp::probe(asker, V6)),
        ("probe-wanted", ndp::probe(asker, WANTED_V6)),
        ("claim", ndp::unsolicited(asker, V6)),
    ];
    // What n1 says to n2: that it lives, what it announces, and its farewell.
    let [mut n1, _] = targets::acquainted();
    let statement = Statement {
        holds: BTreeMap::from([(V4.into(), 1), (V6.into(), 7)]),
        uplinks: Some(vec![Uplink {
            name: "eth0".into(),
            mac: PEER.0,
            networks: vec![
                "192.0.2.1/24".parse().expect("a network"),
                "fe80::1/64".parse().expect("a network"),
            ],
        }]),
        unfit: [Unfit::Drained].into(),
    };
    let after =
        |milliseconds| Moment::after_origin(targets::ACQUAINTED + Duration::from_millis(milliseconds));
    let mut said: Vec<Vec<u8>> = sends(n1.handle(Input::Say(statement), after(0))).collect();
    said.extend(sends(n1.handle(Input::Tick, after(1))));
    said.extend(sends(n1.handle(Input::Leave, after(2))));
    // Without the tag, which the target appends.
    let beats: Vec<(String, Vec<u8>)> = (0..)
        .zip(said)
        .map(|(number, octets): (u32, Vec<u8>)| {
            (format!("said-{number}"), octets[..octets.len() - 32].to_vec())
        })
        .collect();
    assert!(beats.iter().any(|(_, octets)| octets.len() > 100), "one carries the statement");
    let packets = [
        ("up", targets::control(0xc0, true).to_vec()),
        ("poll", targets::control(0xe0, true).to_vec()),
        ("final", targets::control(0xd0, true).to_vec()),
        ("down", targets::control(0x40, false).to_vec()),
        ("admin-down", targets::control(0x00, false).to_vec()),
        ("init", targets::control(0x80, true).to_vec()),
        ("demand", targets::control(0xc2, true).to_vec()),
        ("authenticated", [targets::control(0xc4, true).to_vec(), vec![1, 4, 1, 0]].concat()),
        ("echo", targets::up().1),
    ];
    let frames = |target: &'static str, frames: Vec<(&'static str, causeway_speaker::l2::Frame)>| {
        frames.into_iter().map(move |(name, frame)| (target, name.to_owned(), frame.as_slice().to_vec()))
    };
    let all = frames("arp", arps.to_vec())
        .chain(frames("ndp", ndps.to_vec()))
        .chain(beats.into_iter().map(|(name, octets)| ("heartbeat", name, octets)))
        .chain(packets.into_iter().map(|(name, octets)| ("bfd", name.to_owned(), octets)));
    for (target, name, octets) in all {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target).join(&name);
        if std::env::var_os("WRITE_SEEDS").is_some() {
            fs::write(&path, &octets).expect("written");
        }
        let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(found, octets, "{}: write it anew with WRITE_SEEDS=1", path.display());
    }
}
