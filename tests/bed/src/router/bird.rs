//! BIRD 2: configuration rendered, its answers and its log read. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;

use super::config::{Advertised, At, Bfd, GracefulRestart, Neighbour, RemoteAsn, RouterConfig};
use super::table::{BfdSession, Family, Notification, Path, Restart, Session, State, Table};

/// The configuration file. `birdc configure` makes a running BIRD do what it says, and touches what changed.
pub(super) fn render(config: &RouterConfig) -> Result<String> {
    let mut text =
        format!("log stderr all;\nrouter id {};\nprotocol device {{ scan time 1; }}\n", config.router_id);
    if config.neighbours.iter().any(|neighbour| neighbour.bfd.is_some()) {
        text += "protocol bfd { }\n";
    }
    for (number, family) in [(4, "ipv4"), (6, "ipv6")] {
        let _ = writeln!(
            text,
            "protocol kernel kernel{number} {{ {family} {{ import none; export where source = RTS_BGP; }}; merge paths on limit 64; }}"
        );
        let own = config.advertise.iter().filter(|route| route.prefix.addr().is_ipv4() == (number == 4));
        let own: String = own.map(|route| format!("  route {} blackhole;\n", route.prefix)).collect();
        let _ = writeln!(text, "protocol static own{number} {{ {family};\n{own}}}");
    }
    // A MED goes out only if the filter on the way out has set it.
    text += "filter announced {\n";
    for route in config.advertise.iter().filter(|route| !route.is_plain()) {
        let _ = writeln!(
            text,
            "  if source = RTS_STATIC && net = {} then {{ {}}}",
            route.prefix,
            attributes(route, config.asn)
        );
    }
    text += "  if source ~ [ RTS_STATIC, RTS_BGP ] then accept;\n  reject;\n}\n";
    for (number, neighbour) in config.neighbours.iter().enumerate() {
        text += &session_text(config, neighbour, number + 1)?;
    }
    Ok(text)
}

/// What is set of a route of our own.
fn attributes(route: &Advertised, asn: u32) -> String {
    let mut text = String::new();
    if let Some(next_hop) = route.next_hop {
        let _ = write!(text, "bgp_next_hop = {next_hop}; ");
    }
    for _ in 0..route.prepend {
        let _ = write!(text, "bgp_path.prepend({asn}); ");
    }
    if let Some(value) = route.local_pref {
        let _ = write!(text, "bgp_local_pref = {value}; ");
    }
    if let Some(value) = route.med {
        let _ = write!(text, "bgp_med = {value}; ");
    }
    for (high, low) in &route.communities {
        let _ = write!(text, "bgp_community.add(({high},{low})); ");
    }
    for [a, b, c] in &route.large {
        let _ = write!(text, "bgp_large_community.add(({a},{b},{c})); ");
    }
    if let Some(bytes) = route.bandwidth {
        // Subtype 0x04, two octets of AS, a float (RFC 10005 section 2); AS_TRANS for a long AS. Of the transitive type: BIRD keeps
        // the other one from eBGP neighbours.
        let short = u16::try_from(asn).unwrap_or(23456);
        let high = 0x0004_0000 | u32::from(short);
        let _ =
            write!(text, "bgp_ext_community.add((generic, {high:#x}, {:#x})); ", (bytes as f32).to_bits());
    }
    text
}

fn session_text(config: &RouterConfig, neighbour: &Neighbour, number: usize) -> Result<String> {
    let remote = match neighbour.remote {
        RemoteAsn::Is(asn) => format!("as {asn}"),
        RemoteAsn::Internal => "internal".to_owned(),
        RemoteAsn::External => "external".to_owned(),
    };
    let port = if neighbour.port == 179 { String::new() } else { format!(" port {}", neighbour.port) };
    let at = match &neighbour.at {
        At::Address(address) => format!("neighbor {address}{port} {remote};"),
        At::Range(range) => format!("neighbor range {range} {remote};"),
        // BIRD sends no router advertisements and hears none: the other one has to find it and to connect.
        At::Interface(interface) => format!("neighbor range fe80::/10 {remote}; interface \"{interface}\";"),
    };
    let mut text = format!("protocol bgp peer{number} {{\n  ");
    let source = neighbour.source.map(|source| format!("{source} ")).unwrap_or_default();
    let _ = writeln!(text, "local {source}port {} as {};", config.port, config.asn);
    let _ = writeln!(text, "  {at}");
    match neighbour.multihop.or(neighbour.ttl_security.filter(|hops| *hops > 1)) {
        Some(hops) => writeln!(text, "  multihop {hops};"),
        None => writeln!(text, "  direct;"),
    }?;
    if neighbour.ttl_security.is_some() {
        ensure!(
            neighbour.multihop.is_none(),
            "BIRD's TTL security counts the hops of multihop: give one of them"
        );
        text += "  ttl security on;\n";
    }
    let timers = neighbour.timers;
    let _ = writeln!(text, "  hold time {}; keepalive time {};", timers.hold, timers.keepalive);
    // A first attempt that BFD spoils would cost a minute otherwise.
    let _ = writeln!(
        text,
        "  connect delay time {0}; connect retry time {0}; error wait time 1,2;",
        timers.connect.max(1)
    );
    if let Some(password) = &neighbour.password {
        ensure!(
            !password.contains('"'),
            "BIRD's strings have no escapes: a password with a quote is impossible"
        );
        let _ = writeln!(text, "  password \"{password}\";");
    }
    if neighbour.passive {
        text += "  passive on;\n";
    }
    text += match neighbour.graceful_restart {
        GracefulRestart::Helper => "  graceful restart aware;\n",
        GracefulRestart::Full => "  graceful restart on;\n",
        GracefulRestart::Off => "  graceful restart off;\n",
    };
    if let Some(bfd) = &neighbour.bfd {
        text += &bfd_text(bfd)?;
    }
    for (speaks, family) in [(neighbour.families.v4(), "ipv4"), (neighbour.families.v6(), "ipv6")] {
        let extended =
            if family == "ipv4" && neighbour.extended_next_hop { " extended next hop on;" } else { "" };
        if speaks {
            let _ = writeln!(text, "  {family} {{ import all; export filter announced;{extended} }};");
        }
    }
    text += "}\n";
    Ok(text)
}

fn bfd_text(bfd: &Bfd) -> Result<String> {
    ensure!(bfd.echo.is_none(), "BIRD's BFD has no echo mode");
    ensure!(bfd.minimum_ttl.is_none(), "BIRD's BFD knows no minimum TTL");
    let passive = if bfd.passive { " passive;" } else { "" };
    Ok(format!(
        "  bfd {{ min rx interval {} ms; min tx interval {} ms; idle tx interval {} ms; multiplier {};{passive} }};\n",
        bfd.receive,
        bfd.transmit,
        bfd.transmit.max(1000),
        bfd.multiplier
    ))
}

/// What `show protocols all` says of each session, by name.
fn blocks(protocols: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut blocks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = None;
    for line in protocols.lines() {
        // A protocol begins at the margin; what is said of it is indented.
        if !line.starts_with(' ') {
            let mut words = line.split_whitespace();
            name = words.next().filter(|_| words.next() == Some("BGP"));
        }
        if let Some(name) = name {
            blocks.entry(name).or_default().push(line);
        }
    }
    blocks
}

/// The name of the session with that neighbour, out of `show protocols all`.
pub(super) fn protocol(protocols: &str, address: IpAddr) -> Option<&str> {
    let is_with = |block: &[&str]| {
        let found = block.iter().find_map(|line| line.trim().strip_prefix("Neighbor address:"));
        found.and_then(|found| found.trim().split('%').next()?.parse().ok()) == Some(address)
    };
    blocks(protocols).into_iter().find(|(_, block)| is_with(block)).map(|(name, _)| name)
}

/// Reads `show protocols all`, `show bfd sessions`, and what the log tells of the last NOTIFICATIONs.
pub(super) fn sessions(protocols: &str, bfd: &[BfdSession], log: &str) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (name, block) in blocks(protocols) {
        let field =
            |label: &str| block.iter().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        // What listens for a range has no neighbour of its own.
        let Some(address) = field("Neighbor address:") else { continue };
        let plain = address.split('%').next().unwrap_or(address);
        let state = State::parse(field("BGP state:").unwrap_or_default());
        let up = state == State::Established;
        let hold = field("Hold timer:").and_then(|text| text.split('/').nth(1)?.trim().parse().ok());
        sessions.push(Session {
            peer: address.to_owned(),
            address: plain.parse().ok(),
            state,
            remote_asn: field("Neighbor AS:").and_then(|asn| asn.parse().ok()).unwrap_or_default(),
            remote_id: field("Neighbor ID:").and_then(|id| id.parse().ok()),
            hold: hold.filter(|_| up),
            offers: if up { offers(&block) } else { Default::default() },
            established: None,
            up_for: None,
            end: last_notification(log, name),
            bfd: bfd
                .iter()
                .find(|session| Some(session.address) == plain.parse().ok())
                .map(|session| session.up),
        });
    }
    sessions
}

fn offers(block: &[&str]) -> super::table::Offers {
    let mut offers = super::table::Offers::default();
    let mut restart = Restart::default();
    let mut within = "";
    let section = block
        .iter()
        .skip_while(|line| line.trim() != "Neighbor capabilities")
        .skip(1)
        .take_while(|line| line.starts_with("      "));
    for line in section {
        let text = line.trim();
        let (label, value) = text.split_once(':').map_or((text, ""), |(label, value)| (label, value.trim()));
        let families = || value.split_whitespace().filter_map(Family::parse);
        if line.starts_with("        ") {
            match (within, label) {
                ("Multiprotocol", "AF announced") => offers.families.extend(families()),
                ("Extended next hop", "IPv6 nexthop") => offers.extended_next_hop = value.contains("ipv4"),
                ("Graceful restart", "Restart time") => restart.time = value.parse().unwrap_or_default(),
                ("Graceful restart", "Restart recovery") => restart.restarted = true,
                ("Graceful restart", "AF supported") => {
                    restart.families.extend(families().map(|family| (family, false)));
                }
                ("Graceful restart", "AF preserved") => {
                    restart.families.extend(families().map(|family| (family, true)));
                }
                _ => {}
            }
            continue;
        }
        within = label;
        match label {
            "Route refresh" => offers.route_refresh = true,
            "4-octet AS numbers" => offers.four_octet_asn = true,
            "Graceful restart" => offers.graceful_restart = Some(Restart::default()),
            _ => {}
        }
    }
    offers.graceful_restart = offers.graceful_restart.map(|_| restart);
    offers
}

/// BIRD's words for errors (RFC 4271 section 4.5, RFC 4486) that tests meet; others are known by their text alone.
const ERRORS: [(&str, u8, u8); 20] = [
    ("Connection not synchronized", 1, 1),
    ("Bad message length", 1, 2),
    ("Bad message type", 1, 3),
    ("Unsupported version number", 2, 1),
    ("Bad peer AS", 2, 2),
    ("Bad BGP identifier", 2, 3),
    ("Unsupported optional parameter", 2, 4),
    ("Unacceptable hold time", 2, 6),
    ("Required capability missing", 2, 7),
    ("Hold timer expired", 4, 0),
    ("Finite state machine error", 5, 0),
    ("Cease", 6, 0),
    ("Maximum number of prefixes reached", 6, 1),
    ("Administrative shutdown", 6, 2),
    ("Peer de-configured", 6, 3),
    ("Administrative reset", 6, 4),
    ("Connection rejected", 6, 5),
    ("Other configuration change", 6, 6),
    ("Connection collision resolution", 6, 7),
    ("BFD Down", 6, 10),
];

/// The last NOTIFICATION of a protocol: `<RMT> peer1: Received: Administrative shutdown: "text"`, `<RMT> peer1: Error: Hold timer expired`.
fn last_notification(log: &str, protocol: &str) -> Option<Notification> {
    let ours = format!("> {protocol}: ");
    log.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once(&ours)?;
        let (kind, rest) = rest.split_once(": ")?;
        let received = match kind {
            "Received" => true,
            "Error" => false,
            _ => return None,
        };
        let (error, text) = match rest.split_once(": \"") {
            Some((error, text)) => (error, text.trim_end().trim_end_matches('"')),
            None => (rest.trim(), ""),
        };
        // Some end in the data that came with them.
        let known = ERRORS.iter().find(|(words, ..)| error.starts_with(words));
        let (code, subcode) = known.map_or((0, 0), |(_, code, subcode)| (*code, *subcode));
        let text = if known.is_some() { text } else { rest };
        Some(Notification { code, subcode, received, text: text.to_owned() })
    })
}

/// Reads `show route all`, and out of `show protocols all` whose routes are kept for a restart: of a route BIRD 2.0 does not say it.
pub(super) fn routes(text: &str, protocols: &str) -> Result<Table> {
    let restarting = |block: &[&str]| {
        let says = |words: &str| block.iter().any(|line| line.trim().starts_with(words));
        says("Neighbor graceful restart active") && !says("Neighbor ID:")
    };
    let away: BTreeSet<&str> =
        blocks(protocols).into_iter().filter(|(_, block)| restarting(block)).map(|(name, _)| name).collect();
    let mut table = Table::new();
    let mut prefix: Option<IpNet> = None;
    let mut peers: BTreeMap<IpNet, Vec<(Path, bool)>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(said) = line.strip_prefix('\t') {
            let Some((path, is_bgp)) = prefix.and_then(|prefix| peers.get_mut(&prefix)?.last_mut()) else {
                continue;
            };
            read_attribute(path, is_bgp, said);
            continue;
        }
        // `PREFIX kind [protocol since from ADDRESS] * (preference) [AS...]`; further paths leave the prefix out.
        let Some((head, rest)) = line.split_once('[') else { continue };
        let mut words = head.split_whitespace();
        if !line.starts_with(' ') {
            let word = words.next().unwrap_or_default();
            prefix = Some(word.parse().with_context(|| format!("BIRD's prefix {word:?}"))?);
        }
        let Some(prefix) = prefix else { continue };
        let (origin, rest) = rest.split_once(']').with_context(|| format!("BIRD's route {line:?}"))?;
        let from =
            origin.split_once(" from ").and_then(|(_, from)| from.split('%').next()?.trim().parse().ok());
        let protocol = origin.split_whitespace().next().unwrap_or_default();
        let path = Path {
            from,
            used: rest.trim_start().starts_with('*'),
            stale: away.contains(protocol),
            ..Path::default()
        };
        peers.entry(prefix).or_default().push((path, false));
    }
    for (prefix, paths) in peers {
        // Where the neighbour is the next hop, BIRD leaves it out.
        let of = |(mut path, is_bgp): (Path, bool)| {
            path.from = path.from.or(path.next_hop.filter(|_| is_bgp));
            path
        };
        table.insert(prefix, paths.into_iter().map(of).collect());
    }
    Ok(table)
}

fn read_attribute(path: &mut Path, is_bgp: &mut bool, said: &str) {
    if said.trim() == "Type: BGP univ" {
        *is_bgp = true;
    }
    let Some((label, value)) = said.trim().split_once(": ") else { return };
    let numbers = |text: &str| -> Vec<u32> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.filter_map(|word| word.parse().ok()).collect()
    };
    // `(1,2) (3,4)`
    let tuples = || value.split(')').map(numbers).filter(|tuple| !tuple.is_empty());
    match label {
        "BGP.as_path" => path.as_path = numbers(value),
        "BGP.next_hop" => path.next_hop = value.split_whitespace().next().and_then(|hop| hop.parse().ok()),
        "BGP.med" => path.med = value.parse().ok(),
        "BGP.local_pref" => path.local_pref = value.parse().ok(),
        "BGP.community" => {
            let pair = |tuple: Vec<u32>| Some((*tuple.first()? as u16, *tuple.get(1)? as u16));
            path.communities = tuples().filter_map(pair).collect();
        }
        "BGP.large_community" => {
            path.large = tuples().filter_map(|tuple| <[u32; 3]>::try_from(tuple).ok()).collect();
        }
        "BGP.ext_community" => {
            // `(unknown 0x4004, AS, float)`: link bandwidth, transitive or not.
            path.bandwidth = value.split(')').find_map(|tuple| {
                let (_, rest) = tuple.split_once("unknown 0x")?;
                let mut parts = rest.split(',').map(str::trim);
                let kind = u32::from_str_radix(parts.next()?, 16).ok()?;
                let bits = parts.nth(1)?.parse().ok()?;
                (kind & 0xbfff == 4).then(|| f32::from_bits(bits) as u64)
            });
        }
        _ => {}
    }
}

/// Reads `show bfd sessions`.
pub(super) fn bfd(text: &str) -> Vec<BfdSession> {
    let seconds = |word: &str| Some(Duration::from_secs_f64(word.parse().ok()?));
    let session = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, interface, state, _, interval, timeout] = words[..] else { return None };
        Some(BfdSession {
            address: address.split('%').next()?.parse().ok()?,
            up: state == "Up",
            transmit: seconds(interval)?,
            detection: seconds(timeout)?,
            multihop: interface == "---",
            diagnostic: String::new(),
        })
    };
    text.lines().filter_map(session).collect()
}

#[cfg(test)]
mod tests;
