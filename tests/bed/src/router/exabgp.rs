//! exabgp: configuration rendered, and what it hears collected. Pure.
//!
//! It keeps no table: it is a peer that says what a test wants said, and writes down every message it gets, decoded and as octets. So its
//! sessions and routes are here put together from the messages.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::config::{Advertised, At, GracefulRestart, Neighbour, RemoteAsn, RouterConfig};
use super::table::{Family, Notification, Offers, Path, Restart, Session, State, Table};

/// The configuration file. `helper` is the program that is told of every message. On SIGUSR1 a running exabgp does what the file says.
pub(super) fn render(config: &RouterConfig, helper: &str) -> Result<String> {
    let mut text = format!("process log {{\n  run {helper};\n  encoder json;\n}}\n");
    for neighbour in &config.neighbours {
        text += &neighbour_text(config, neighbour)?;
    }
    Ok(text)
}

/// Whether a running exabgp can go from `old` to `new`: of a neighbour it has, it does not hear of another way to reach it.
pub(super) fn check_change(old: &RouterConfig, new: &RouterConfig) -> Result<()> {
    let way = |n: &Neighbour| (n.password.clone(), n.passive, n.port, n.multihop, n.ttl_security);
    for neighbour in &new.neighbours {
        let before = old.neighbours.iter().find(|other| other.at == neighbour.at);
        ensure!(
            before.is_none_or(|before| way(before) == way(neighbour)),
            "exabgp takes another password, port, TTL or passiveness for {:?} only when it is started anew",
            neighbour.at
        );
    }
    Ok(())
}

fn neighbour_text(config: &RouterConfig, neighbour: &Neighbour) -> Result<String> {
    ensure!(neighbour.bfd.is_none(), "exabgp speaks no BFD");
    let asn = match neighbour.remote {
        RemoteAsn::Is(asn) => asn,
        RemoteAsn::Internal => config.asn,
        RemoteAsn::External => bail!("exabgp has to be told the number of a neighbour's AS"),
    };
    let at = match &neighbour.at {
        At::Address(address) => address.to_string(),
        At::Range(range) => range.to_string(),
        At::Interface(_) => bail!("exabgp knows neighbours by address only"),
    };
    let source = neighbour.source.context("exabgp has to be told the address to speak from")?;
    let mut text =
        format!("neighbor {at} {{\n  router-id {};\n  local-address {source};\n", config.router_id);
    let _ = writeln!(
        text,
        "  local-as {};\n  peer-as {asn};\n  hold-time {};",
        config.asn, neighbour.timers.hold
    );
    if neighbour.passive || matches!(neighbour.at, At::Range(_)) {
        let _ = writeln!(text, "  passive true;\n  listen {};", config.port);
    } else if neighbour.port != 179 {
        let _ = writeln!(text, "  connect {};", neighbour.port);
    }
    if let Some(password) = &neighbour.password {
        let _ = writeln!(text, "  md5-password {password:?};");
    }
    if let Some(hops) = neighbour.multihop {
        let _ = writeln!(text, "  outgoing-ttl {hops};");
    }
    if let Some(hops) = neighbour.ttl_security {
        let _ = writeln!(text, "  outgoing-ttl 255;\n  incoming-ttl {};", 256 - u16::from(hops.max(1)));
    }
    let families = neighbour.families;
    let word = |said, word| if said { word } else { "" };
    let _ = writeln!(
        text,
        "  family {{{}{} }}",
        word(families.v4(), " ipv4 unicast;"),
        word(families.v6(), " ipv6 unicast;")
    );
    let restart = match neighbour.graceful_restart {
        GracefulRestart::Off => "",
        GracefulRestart::Helper | GracefulRestart::Full => "graceful-restart 120; ",
    };
    let _ = writeln!(
        text,
        "  capability {{ {restart}route-refresh enable; {}}}",
        word(neighbour.extended_next_hop, "nexthop enable; ")
    );
    if neighbour.extended_next_hop {
        text += "  nexthop { ipv4 unicast ipv6; }\n";
    }
    text += "  api { processes [ log ]; neighbor-changes; receive { packets; parsed; open; update; notification; refresh; } }\n  static {\n";
    for route in &config.advertise {
        let spoken = if route.prefix.addr().is_ipv4() { families.v4() } else { families.v6() };
        if spoken {
            let _ = writeln!(text, "    {};", route_text(route, config.asn, source)?);
        }
    }
    text += "  }\n}\n";
    Ok(text)
}

fn route_text(route: &Advertised, asn: u32, source: IpAddr) -> Result<String> {
    let next_hop = match route.next_hop {
        Some(next_hop) => next_hop,
        None => {
            ensure!(
                source.is_ipv4() == route.prefix.addr().is_ipv4(),
                "exabgp has to be told a next hop for {}: it speaks from {source}",
                route.prefix
            );
            source
        }
    };
    let mut text = format!("route {} next-hop {next_hop}", route.prefix);
    if route.prepend > 0 {
        // The path is given whole; exabgp adds nothing to it.
        let _ = write!(text, " as-path [ {}]", format!("{asn} ").repeat(usize::from(route.prepend) + 1));
    }
    if let Some(value) = route.med {
        let _ = write!(text, " med {value}");
    }
    if let Some(value) = route.local_pref {
        let _ = write!(text, " local-preference {value}");
    }
    if !route.communities.is_empty() {
        let all: Vec<String> = route.communities.iter().map(|(high, low)| format!("{high}:{low}")).collect();
        let _ = write!(text, " community [ {} ]", all.join(" "));
    }
    if !route.large.is_empty() {
        let all: Vec<String> = route.large.iter().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect();
        let _ = write!(text, " large-community [ {} ]", all.join(" "));
    }
    if let Some(bytes) = route.bandwidth {
        let short = u16::try_from(asn).unwrap_or(23456);
        let _ = write!(text, " extended-community [ bandwidth:{short}:{bytes} ]");
    }
    Ok(text)
}

/// What the messages so far make of sessions and routes.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) sessions: Vec<Session>,
    pub(super) table: Table,
}

/// Reads the messages, a JSON object per line.
pub(super) fn heard(config: &RouterConfig, messages: &str) -> Result<Heard> {
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    for neighbour in &config.neighbours {
        if let At::Address(address) = neighbour.at {
            let session = Session {
                peer: address.to_string(),
                address: Some(address),
                established: Some(0),
                ..Session::default()
            };
            sessions.insert(session.peer.clone(), session);
        }
    }
    let mut paths: BTreeMap<String, BTreeMap<ipnet::IpNet, Path>> = BTreeMap::new();
    // The last line may be half written.
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let neighbour = &message["neighbor"];
        let Some(peer) = neighbour["address"]["peer"].as_str() else { continue };
        let session = sessions.entry(peer.to_owned()).or_insert_with(|| Session {
            peer: peer.to_owned(),
            address: peer.parse().ok(),
            established: Some(0),
            ..Session::default()
        });
        session.remote_asn = neighbour["asn"]["peer"].as_u64().unwrap_or_default() as u32;
        match message["type"].as_str() {
            Some("state") => match neighbour["state"].as_str() {
                Some("up") => {
                    session.state = State::Established;
                    session.established = session.established.map(|times| times + 1);
                }
                Some("connected") => session.state = State::OpenSent,
                _ => {
                    session.state = State::Idle;
                    (session.hold, session.offers) = (None, Offers::default());
                    paths.remove(peer);
                }
            },
            Some("open") if neighbour["open"].is_object() => {
                let open = &neighbour["open"];
                let own = config.neighbours.iter().find(|n| covers(&n.at, session.address));
                let theirs = open["hold_time"].as_u64().unwrap_or_default() as u16;
                session.hold = Some(own.map_or(theirs, |own| own.timers.hold.min(theirs)));
                session.remote_id = open["router_id"].as_str().and_then(|id| id.parse().ok());
                session.offers = offers(&open["capabilities"]);
            }
            Some("notification") => session.end = notification(&neighbour["message"]).or(session.end.take()),
            Some("update") if neighbour["message"]["update"].is_object() => {
                update(
                    paths.entry(peer.to_owned()).or_default(),
                    session.address,
                    &neighbour["message"]["update"],
                )?;
            }
            _ => {}
        }
    }
    let mut table = Table::new();
    for (prefix, path) in paths.into_values().flatten() {
        table.entry(prefix).or_default().push(path);
    }
    Ok(Heard { sessions: sessions.into_values().collect(), table })
}

fn covers(at: &At, address: Option<IpAddr>) -> bool {
    match at {
        At::Address(one) => Some(*one) == address,
        At::Range(range) => address.is_some_and(|address| range.contains(&address)),
        At::Interface(_) => false,
    }
}

fn offers(capabilities: &Value) -> Offers {
    let families = capabilities["1"]["families"].as_array().into_iter().flatten();
    let restart = &capabilities["64"];
    let flags = |value: &Value, flag: &str| value.as_array().into_iter().flatten().any(|word| word == flag);
    Offers {
        families: families.filter_map(|family| Family::parse(family.as_str()?)).collect(),
        route_refresh: capabilities["2"].is_object(),
        four_octet_asn: capabilities["65"].is_object(),
        extended_next_hop: capabilities["5"].is_object(),
        graceful_restart: restart.is_object().then(|| Restart {
            time: restart["time"].as_u64().unwrap_or_default() as u16,
            // exabgp calls the R bit by the name of the F bit.
            restarted: flags(&restart["restart-flags"], "forwarding"),
            families: restart["address-family-flags"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(family, bits)| {
                    Some((Family::parse(family)?, flags(bits, "restart") || flags(bits, "forwarding")))
                })
                .collect(),
        }),
    }
}

/// Reads a NOTIFICATION as it came, in hexadecimal: exabgp 4.2 itself cannot read one that comes with a text.
fn notification(packet: &Value) -> Option<Notification> {
    let hex = packet["body"].as_str()?.trim_start_matches("0x");
    let pairs =
        hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
    let octets: Vec<u8> = pairs.collect::<Option<_>>()?;
    let (&[code, subcode], data) = octets.split_first_chunk()?;
    // A length and that many octets of text (RFC 9003 section 2), with the Cease of an administrator.
    let text = match data.split_first() {
        Some((length, text)) if code == 6 && matches!(subcode, 2 | 4) => text.get(..usize::from(*length)),
        _ => None,
    };
    let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
    Some(Notification { code, subcode, received: true, text })
}

fn update(paths: &mut BTreeMap<ipnet::IpNet, Path>, from: Option<IpAddr>, update: &Value) -> Result<()> {
    let prefix = |nlri: &Value| {
        let text = nlri["nlri"].as_str().or(nlri.as_str()).unwrap_or_default();
        text.parse::<ipnet::IpNet>().with_context(|| format!("exabgp's prefix {nlri}"))
    };
    for nlri in
        update["withdraw"].as_object().into_iter().flatten().flat_map(|(_, all)| all.as_array()).flatten()
    {
        paths.remove(&prefix(nlri)?);
    }
    let attributes = &update["attribute"];
    let number = |field: &str| attributes[field].as_u64().map(|value| value as u32);
    let list = |field: &str| attributes[field].as_array().into_iter().flatten();
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().into_iter().flatten().filter_map(|n| Some(n.as_u64()? as u32)).collect()
    };
    let path = Path {
        from,
        next_hop: None,
        as_path: numbers(&attributes["as-path"]),
        local_pref: number("local-preference"),
        med: number("med"),
        communities: list("community")
            .filter_map(|pair| <[u32; 2]>::try_from(numbers(pair)).ok())
            .map(|[high, low]| (high as u16, low as u16))
            .collect(),
        large: list("large-community").filter_map(|three| numbers(three).try_into().ok()).collect(),
        // Eight octets as one number; type 0x00 or 0x40, subtype 0x04, the lower half a float.
        bandwidth: list("extended-community")
            .filter_map(|one| one["value"].as_u64())
            .find_map(|value| ((value >> 48) & 0xbfff == 4).then(|| f32::from_bits(value as u32) as u64)),
        used: true,
        stale: false,
    };
    for (next_hop, all) in
        update["announce"].as_object().into_iter().flatten().flat_map(|(_, hops)| hops.as_object()).flatten()
    {
        let next_hop: Option<IpAddr> = next_hop.parse().ok();
        for nlri in all.as_array().into_iter().flatten() {
            let link_local = matches!(next_hop, Some(IpAddr::V6(address)) if address.is_unicast_link_local());
            let path = Path { next_hop, ..path.clone() };
            match paths.entry(prefix(nlri)?) {
                // Of the two addresses of an IPv6 next hop the global one counts.
                std::collections::btree_map::Entry::Occupied(known)
                    if link_local
                        && Path { next_hop: known.get().next_hop, ..path.clone() } == *known.get() => {}
                entry => {
                    entry.insert_entry(path);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
