//! GoBGP: configuration rendered, its answers and its log read. Pure.
//!
//! It installs no routes, speaks no BFD, and is slow to connect (5 s and more), so sessions come up soonest when the other side connects.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::config::{Advertised, At, GracefulRestart, Neighbour, RemoteAsn, RouterConfig};
use super::table::{Family, Notification, Path, Restart, Session, State, Table};

/// The configuration file, without announcements. On SIGHUP a running GoBGP does what it says.
pub(super) fn render(config: &RouterConfig) -> Result<String> {
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\nport = {}\n",
        config.asn, config.router_id, config.port
    );
    for neighbour in &config.neighbours {
        text += &neighbour_text(config, neighbour)?;
    }
    Ok(text)
}

fn neighbour_text(config: &RouterConfig, neighbour: &Neighbour) -> Result<String> {
    ensure!(neighbour.bfd.is_none(), "GoBGP speaks no BFD");
    let asn = match neighbour.remote {
        RemoteAsn::Is(asn) => asn,
        RemoteAsn::Internal => config.asn,
        RemoteAsn::External => bail!("GoBGP has to be told the number of a neighbour's AS"),
    };
    let (kind, name) = match &neighbour.at {
        At::Address(address) => ("neighbors", format!("neighbor-address = \"{address}\"")),
        At::Interface(interface) => ("neighbors", format!("neighbor-interface = \"{interface}\"")),
        At::Range(range) => {
            ensure!(neighbour.password.is_none(), "GoBGP takes no password for a range of neighbours");
            let group = range.to_string();
            ("peer-groups", format!("peer-group-name = \"{group}\""))
        }
    };
    let mut text = String::new();
    let _ = writeln!(text, "[[{kind}]]\n[{kind}.config]\n{name}\npeer-as = {asn}");
    if let Some(password) = &neighbour.password {
        let _ = writeln!(text, "auth-password = {password:?}");
    }
    let timers = neighbour.timers;
    let _ = writeln!(
        text,
        "[{kind}.timers.config]\nhold-time = {}\nkeepalive-interval = {}\nconnect-retry = {}\nidle-hold-time-after-reset = 1",
        timers.hold, timers.keepalive, timers.connect
    );
    let _ = writeln!(text, "[{kind}.transport.config]\npassive-mode = {}", neighbour.passive);
    if neighbour.port != 179 {
        let _ = writeln!(text, "remote-port = {}", neighbour.port);
    }
    if let Some(source) = neighbour.source {
        let _ = writeln!(text, "local-address = \"{source}\"");
    }
    if let Some(hops) = neighbour.multihop {
        let _ = writeln!(text, "[{kind}.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = {hops}");
    }
    if let Some(hops) = neighbour.ttl_security {
        // RFC 5082 section 3: what comes from so many hops away has this TTL left.
        let least = 256 - u16::from(hops.max(1));
        let _ = writeln!(text, "[{kind}.ttl-security.config]\nenabled = true\nttl-min = {least}");
    }
    let restarts = neighbour.graceful_restart != GracefulRestart::Off;
    if restarts {
        let helper = neighbour.graceful_restart == GracefulRestart::Helper;
        let _ = writeln!(
            text,
            "[{kind}.graceful-restart.config]\nenabled = true\nrestart-time = 120\nhelper-only = {helper}"
        );
    }
    for (speaks, family) in [(neighbour.families.v4(), "ipv4"), (neighbour.families.v6(), "ipv6")] {
        if speaks {
            let _ = writeln!(
                text,
                "[[{kind}.afi-safis]]\n[{kind}.afi-safis.config]\nafi-safi-name = \"{family}-unicast\"\n\
                 [{kind}.afi-safis.mp-graceful-restart.config]\nenabled = {restarts}"
            );
        }
    }
    if let At::Range(range) = neighbour.at {
        let _ = writeln!(
            text,
            "[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = \"{range}\"\npeer-group = \"{range}\""
        );
    }
    Ok(text)
}

/// Arguments of `gobgp` that announce a route, or withdraw it.
pub(super) fn announcement(route: &Advertised, asn: u32, announce: bool) -> Result<Vec<String>> {
    ensure!(route.bandwidth.is_none(), "GoBGP's command line cannot set a link bandwidth");
    let family = if route.prefix.addr().is_ipv4() { "ipv4" } else { "ipv6" };
    let mut words =
        ["global", "rib", "-a", family, if announce { "add" } else { "del" }].map(str::to_owned).to_vec();
    words.push(route.prefix.to_string());
    if !announce {
        return Ok(words);
    }
    let mut with = |name: &str, value: String| words.extend([name.to_owned(), value]);
    with("origin", "igp".to_owned());
    if let Some(next_hop) = route.next_hop {
        with("nexthop", next_hop.to_string());
    }
    if let Some(value) = route.med {
        with("med", value.to_string());
    }
    if let Some(value) = route.local_pref {
        with("local-pref", value.to_string());
    }
    if route.prepend > 0 {
        with("aspath", vec![asn.to_string(); route.prepend.into()].join(","));
    }
    if !route.communities.is_empty() {
        let all: Vec<String> = route.communities.iter().map(|(high, low)| format!("{high}:{low}")).collect();
        with("community", all.join(","));
    }
    if !route.large.is_empty() {
        let all: Vec<String> = route.large.iter().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect();
        with("large-community", all.join(","));
    }
    Ok(words)
}

/// Reads `gobgp -j neighbor` and, by peer, `gobgp neighbor PEER`; and what the log tells of the last NOTIFICATIONs.
pub(super) fn sessions(
    json: &str,
    texts: &BTreeMap<String, String>,
    log: &str,
    now: SystemTime,
) -> Result<Vec<Session>> {
    let all: Value = serde_json::from_str(json).with_context(|| format!("GoBGP's neighbours: {json}"))?;
    let ends = ends(log);
    let neighbours = all.as_array().into_iter().flatten();
    Ok(neighbours.filter_map(|neighbour| session(neighbour, texts, &ends, now)).collect())
}

/// The names by which `gobgp -j neighbor` calls the neighbours.
pub(super) fn peers(json: &str) -> Result<Vec<String>> {
    let all: Value = serde_json::from_str(json).with_context(|| format!("GoBGP's neighbours: {json}"))?;
    Ok(all.as_array().into_iter().flatten().filter_map(peer).collect())
}

fn peer(neighbour: &Value) -> Option<String> {
    let name = neighbour["conf"]["neighbor_interface"].as_str().filter(|name| !name.is_empty());
    name.or(neighbour["state"]["neighbor_address"].as_str()).map(str::to_owned)
}

/// States as GoBGP numbers them (api.PeerState.SessionState).
const STATES: [State; 7] = [
    State::Idle,
    State::Idle,
    State::Connect,
    State::Active,
    State::OpenSent,
    State::OpenConfirm,
    State::Established,
];

fn session(
    neighbour: &Value,
    texts: &BTreeMap<String, String>,
    ends: &BTreeMap<String, Notification>,
    now: SystemTime,
) -> Option<Session> {
    let peer = peer(neighbour)?;
    let details = &neighbour["state"];
    let state =
        details["session_state"].as_u64().and_then(|n| STATES.get(n as usize).copied()).unwrap_or_default();
    let up = state == State::Established;
    let timers = &neighbour["timers"]["state"];
    let since = timers["uptime"]["seconds"].as_u64().map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
    let address = details["neighbor_address"].as_str().unwrap_or_default().split('%').next()?;
    Some(Session {
        address: address.parse().ok(),
        state,
        remote_asn: details["peer_asn"].as_u64().unwrap_or_default() as u32,
        remote_id: details["router_id"].as_str().and_then(|id| id.parse().ok()).filter(|_| up),
        hold: timers["negotiated_hold_time"].as_u64().map(|seconds| seconds as u16).filter(|_| up),
        offers: texts.get(&peer).filter(|_| up).map(|text| offers(text)).unwrap_or_default(),
        established: None,
        up_for: since.filter(|_| up).and_then(|since| now.duration_since(since).ok()),
        end: ends.get(&peer).or_else(|| ends.get(address)).cloned(),
        bfd: None,
        peer,
    })
}

/// Reads the capabilities that `gobgp neighbor PEER` lists.
fn offers(text: &str) -> super::table::Offers {
    let mut offers = super::table::Offers::default();
    let mut restart = Restart::default();
    let (mut within, mut remote) = ("", false);
    let section = text.lines().skip_while(|line| line.trim() != "Neighbor capabilities:").skip(1);
    for line in section.take_while(|line| !line.trim().starts_with("Message statistics")) {
        let depth = line.len() - line.trim_start().len();
        let (label, value) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
        let received = value.contains("received");
        if depth <= 4 {
            (within, remote) = (label, false);
            match label {
                "route-refresh" => offers.route_refresh |= received,
                "4-octet-as" => offers.four_octet_asn = received,
                "graceful-restart" if received => offers.graceful_restart = Some(Restart::default()),
                _ => {}
            }
            continue;
        }
        if label == "Local" || label == "Remote" {
            remote = label == "Remote";
        }
        match within {
            "multiprotocol" if received => offers.families.extend(Family::parse(label)),
            "extended-nexthop" if remote && value.contains("ipv4-unicast") => offers.extended_next_hop = true,
            "graceful-restart" if remote && label == "Remote" => {
                let mut words = value.split_whitespace().skip_while(|word| *word != "time").skip(1);
                restart.time = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
                restart.restarted = value.contains("restart flag set");
            }
            "graceful-restart" if remote => {
                // `ipv4-unicast, forward flag set`
                let (family, flags) = line.trim().split_once(',').unwrap_or((line.trim(), ""));
                restart
                    .families
                    .extend(Family::parse(family).map(|family| (family, flags.contains("forward"))));
            }
            _ => {}
        }
    }
    offers.graceful_restart = offers.graceful_restart.map(|_| restart);
    offers
}

/// The last NOTIFICATION of each neighbour, out of the log of JSON lines.
fn ends(log: &str) -> BTreeMap<String, Notification> {
    let mut ends = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("notification")) {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let received = match entry["msg"].as_str() {
            Some("received notification") => true,
            Some("sent notification") => false,
            _ => continue,
        };
        let number = |field: &str| entry[field].as_u64().unwrap_or_default() as u8;
        let Some(peer) = entry["Key"].as_str() else { continue };
        let text = entry["Communicated-Reason"].as_str().unwrap_or_default().to_owned();
        ends.insert(
            peer.to_owned(),
            Notification { code: number("Code"), subcode: number("Subcode"), received, text },
        );
    }
    ends
}

/// Reads `gobgp -j global rib`.
pub(super) fn routes(json: &str) -> Result<Table> {
    // An empty table is no JSON but a sentence.
    if !json.trim_start().starts_with('{') {
        return Ok(Table::new());
    }
    let all: Value = serde_json::from_str(json).with_context(|| format!("GoBGP's routes: {json}"))?;
    let mut table = Table::new();
    for (prefix, paths) in all.as_object().into_iter().flatten() {
        let paths = paths.as_array().into_iter().flatten().map(path).collect();
        table.insert(prefix.parse().with_context(|| format!("GoBGP's prefix {prefix}"))?, paths);
    }
    Ok(table)
}

fn path(entry: &Value) -> Path {
    let address = |value: &Value| value.as_str()?.split('%').next()?.parse::<IpAddr>().ok();
    let mut path = Path {
        from: address(&entry["neighbor-ip"]),
        used: entry["best"] == true,
        stale: entry["stale"] == true,
        ..Path::default()
    };
    for attribute in entry["attrs"].as_array().into_iter().flatten() {
        let numbers = |value: &Value| -> Vec<u32> {
            value.as_array().into_iter().flatten().filter_map(|n| Some(n.as_u64()? as u32)).collect()
        };
        let number = |field: &str| attribute[field].as_u64().map(|n| n as u32);
        // By the attribute's number (IANA's registry).
        match attribute["type"].as_u64() {
            Some(2) => {
                let segments = attribute["as_paths"].as_array().into_iter().flatten();
                path.as_path = segments.flat_map(|segment| numbers(&segment["asns"])).collect();
            }
            Some(3 | 14) => {
                path.next_hop = address(&attribute["nexthop"]).filter(|hop| !hop.is_unspecified())
            }
            Some(4) => path.med = number("metric"),
            Some(5) => path.local_pref = number("value"),
            Some(8) => {
                let split = |value: u32| ((value >> 16) as u16, value as u16);
                path.communities = numbers(&attribute["communities"]).into_iter().map(split).collect();
            }
            Some(16) => {
                let mut all = attribute["value"].as_array().into_iter().flatten();
                path.bandwidth = all.find_map(|community| Some(community["bandwidth"].as_f64()? as u64));
            }
            Some(32) => {
                let part = |value: &Value, field: &str| Some(value[field].as_u64()? as u32);
                let large = |value: &Value| {
                    Some([part(value, "ASN")?, part(value, "LocalData1")?, part(value, "LocalData2")?])
                };
                path.large = attribute["value"].as_array().into_iter().flatten().filter_map(large).collect();
            }
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests;
