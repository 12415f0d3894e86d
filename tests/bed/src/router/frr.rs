//! FRR: configuration rendered, changes of it as commands, its JSON and its log read. Pure.
//!
//! A configuration is a list of *sections*, each a place in FRR's tree of modes with settings in it. A change is the difference of two such lists,
//! so that a session is touched by what changed of its own and by nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use serde_json::Value;

use super::config::{At, Bfd, GracefulRestart, Neighbour, RemoteAsn, RouterConfig};
use super::table::{
    BfdSession, Family, Notification, Path, Restart, Session, State, Table, community, large_community,
};

/// Most paths used at once.
const PATHS: u8 = 64;

/// A setting: what is set, and to what. FRR takes back `no WHAT VALUE`; a new value replaces the old one.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Setting {
    what: String,
    value: String,
}

impl Setting {
    fn line(&self) -> String {
        format!("{} {}", self.what, self.value).trim_end().to_owned()
    }

    fn undo(&self) -> String {
        // What is set to "no" is undone without it.
        if let Some(line) = self.line().strip_prefix("no ") {
            return line.to_owned();
        }
        match self.what.as_str() {
            // The only one that does not take its value back.
            "set as-path prepend" => format!("no {}", self.what),
            _ => format!("no {}", self.line()),
        }
    }
}

fn set(what: impl Into<String>, value: impl ToString) -> Setting {
    Setting { what: what.into(), value: value.to_string() }
}

/// Settings in one place of the tree.
#[derive(Clone, Debug)]
struct Section {
    /// The commands that lead there.
    path: Vec<String>,
    /// What removes the whole section, as said one level above; `None` for those that are always there.
    removal: Option<String>,
    settings: Vec<Setting>,
}

impl Section {
    fn at(&self, lines: impl IntoIterator<Item = String>, depth: usize) -> String {
        let lines: Vec<String> = lines.into_iter().collect();
        if lines.is_empty() {
            return String::new();
        }
        let mut text = String::new();
        for (level, command) in self.path[..depth].iter().enumerate() {
            text += &format!("{}{command}\n", " ".repeat(level));
        }
        for line in lines {
            text += &format!("{}{line}\n", " ".repeat(depth));
        }
        for level in (0..depth).rev() {
            text += &format!("{}exit\n", " ".repeat(level));
        }
        text
    }
}

/// The whole configuration, for `vtysh -f`.
pub(super) fn render(config: &RouterConfig) -> Result<String> {
    let sections = sections(config)?;
    Ok(sections.iter().map(|s| s.at(s.settings.iter().map(Setting::line), s.path.len())).collect())
}

/// The commands, for `vtysh -f`, that make `old` into `new`. Neighbours that are the same in both keep their sessions.
pub(super) fn change(old: &RouterConfig, new: &RouterConfig) -> Result<String> {
    ensure!(
        (old.asn, old.port) == (new.asn, new.port),
        "FRR takes another AS number or port only when it is started anew"
    );
    // A neighbour of another AS is another neighbour: it goes, with all that was set, and comes again.
    let same = |neighbour: &&Neighbour| {
        new.neighbours.iter().any(|other| (&other.at, other.remote) == (&neighbour.at, neighbour.remote))
    };
    let (kept, gone): (Vec<&Neighbour>, Vec<&Neighbour>) = old.neighbours.iter().partition(same);
    let bgp = Section { path: vec![format!("router bgp {}", old.asn)], removal: None, settings: Vec::new() };
    let mut text = bgp.at(gone.iter().flat_map(|neighbour| removal(neighbour)), 1);

    let kept = RouterConfig { neighbours: kept.into_iter().cloned().collect(), ..old.clone() };
    let (before, after) = (sections(&kept)?, sections(new)?);
    let all_before = sections(old)?;
    let find = |all: &[Section], path: &[String]| all.iter().position(|section| section.path == path);
    for section in before.iter().rev() {
        let Some(at) = find(&after, &section.path) else { continue };
        let stays = |setting: &&Setting| after[at].settings.iter().any(|other| other.what == setting.what);
        let dropped = section.settings.iter().filter(|setting| !stays(setting)).map(Setting::undo);
        text += &section.at(dropped, section.path.len());
    }
    for section in all_before.iter().rev().filter(|section| find(&after, &section.path).is_none()) {
        text += &section.at(section.removal.clone(), section.path.len() - 1);
    }
    for section in &after {
        let had: &[Setting] = find(&before, &section.path).map_or(&[], |at| before[at].settings.as_slice());
        let added = section.settings.iter().filter(|setting| !had.contains(setting)).map(Setting::line);
        text += &section.at(added, section.path.len());
    }
    Ok(text)
}

/// The name a neighbour goes by in FRR: its address, its interface, or its peer group.
fn name(at: &At) -> String {
    match at {
        At::Address(address) => address.to_string(),
        At::Interface(interface) => interface.clone(),
        At::Range(range) => format!("in-{}", slug(range)),
    }
}

/// A prefix as a word for names.
fn slug(prefix: &IpNet) -> String {
    prefix.to_string().replace(['.', ':', '/'], "-")
}

fn profile(at: &At) -> String {
    format!("bfd-{}", name(at).replace(['.', ':'], "-"))
}

fn removal(neighbour: &Neighbour) -> Vec<String> {
    let name = name(&neighbour.at);
    match &neighbour.at {
        At::Address(_) => vec![format!("no neighbor {name}")],
        At::Interface(_) => vec![format!("no neighbor {name} interface")],
        At::Range(range) => {
            vec![
                format!("no bgp listen range {range} peer-group {name}"),
                format!("no neighbor {name} peer-group"),
            ]
        }
    }
}

fn sections(config: &RouterConfig) -> Result<Vec<Section>> {
    let mut sections = vec![Section {
        path: Vec::new(),
        removal: None,
        // Neighbours more than a hop away are reached over the default route.
        settings: vec![set("ip nht resolve-via-default", ""), set("ipv6 nht resolve-via-default", "")],
    }];
    for neighbour in &config.neighbours {
        if let Some(bfd) = &neighbour.bfd {
            let profile = profile(&neighbour.at);
            sections.push(Section {
                path: vec!["bfd".to_owned(), format!("profile {profile}")],
                removal: Some(format!("no profile {profile}")),
                settings: bfd_settings(bfd),
            });
        }
    }
    for route in config.advertise.iter().filter(|route| !route.is_plain()) {
        let head = format!("route-map to-{} permit 10", slug(&route.prefix));
        let mut settings = Vec::new();
        settings.extend(route.next_hop.map(|next_hop| match next_hop {
            IpAddr::V4(_) => set("set ip next-hop", next_hop),
            IpAddr::V6(_) => set("set ipv6 next-hop global", next_hop),
        }));
        if !route.communities.is_empty() {
            let all: Vec<String> =
                route.communities.iter().map(|(high, low)| format!("{high}:{low}")).collect();
            settings.push(set("set community", all.join(" ")));
        }
        if !route.large.is_empty() {
            let all: Vec<String> = route.large.iter().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect();
            settings.push(set("set large-community", all.join(" ")));
        }
        settings.extend(route.local_pref.map(|value| set("set local-preference", value)));
        settings.extend(route.med.map(|value| set("set metric", value)));
        if let Some(bytes) = route.bandwidth {
            ensure!(
                bytes % 125_000 == 0 && (1..=25_600).contains(&(bytes / 125_000)),
                "FRR counts link bandwidth in megabits, at most 25600: {bytes} bytes per second are refused"
            );
            settings.push(set("set extcommunity bandwidth", bytes / 125_000));
        }
        if route.prepend > 0 {
            let path = vec![config.asn.to_string(); route.prepend.into()];
            settings.push(set("set as-path prepend", path.join(" ")));
        }
        sections.push(Section { removal: Some(format!("no {head}")), path: vec![head], settings });
    }

    let mut core = vec![
        set("bgp router-id", config.router_id),
        set("bgp log-neighbor-changes", ""),
        set("no bgp ebgp-requires-policy", ""),
        set("no bgp default ipv4-unicast", ""),
        set("no bgp network import-check", ""),
        set("bgp bestpath as-path multipath-relax", ""),
    ];
    let mut families = [Family::V4, Family::V6]
        .map(|family| (family, vec![set("maximum-paths", PATHS), set("maximum-paths ibgp", PATHS)]));
    for neighbour in &config.neighbours {
        core.extend(neighbour_settings(neighbour)?);
        for (family, settings) in &mut families {
            if speaks(neighbour, *family) {
                settings.push(set(format!("neighbor {} activate", name(&neighbour.at)), ""));
            }
        }
    }
    for route in &config.advertise {
        let v4 = route.prefix.addr().is_ipv4();
        let map =
            if route.is_plain() { String::new() } else { format!("route-map to-{}", slug(&route.prefix)) };
        let (_, settings) = &mut families[usize::from(!v4)];
        settings.push(set(format!("network {}", route.prefix), map));
    }
    let bgp = format!("router bgp {}", config.asn);
    sections.push(Section { path: vec![bgp.clone()], removal: None, settings: core });
    for (family, settings) in families {
        let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
        let path = vec![bgp.clone(), format!("address-family {family} unicast")];
        sections.push(Section { path, removal: None, settings });
    }
    Ok(sections)
}

fn speaks(neighbour: &Neighbour, family: Family) -> bool {
    match family {
        Family::V4 => neighbour.families.v4(),
        Family::V6 => neighbour.families.v6(),
    }
}

fn bfd_settings(bfd: &Bfd) -> Vec<Setting> {
    let mut settings = vec![
        set("detect-multiplier", bfd.multiplier),
        set("receive-interval", bfd.receive),
        set("transmit-interval", bfd.transmit),
    ];
    if let Some(echo) = bfd.echo {
        settings.push(set("echo transmit-interval", echo));
        settings.push(set("echo receive-interval", echo));
        settings.push(set("echo-mode", ""));
    }
    if bfd.passive {
        settings.push(set("passive-mode", ""));
    }
    settings.extend(bfd.minimum_ttl.map(|ttl| set("minimum-ttl", ttl)));
    settings
}

fn neighbour_settings(neighbour: &Neighbour) -> Result<Vec<Setting>> {
    let name = name(&neighbour.at);
    let on = |what: &str, value: &dyn ToString| set(format!("neighbor {name} {what}"), value.to_string());
    let remote: &dyn ToString = match &neighbour.remote {
        RemoteAsn::Is(asn) => asn,
        RemoteAsn::Internal => &"internal",
        RemoteAsn::External => &"external",
    };
    let mut settings = match neighbour.at {
        At::Address(_) => vec![on("remote-as", remote)],
        At::Interface(_) => vec![on("interface remote-as", remote)],
        At::Range(_) => vec![on("peer-group", &""), on("remote-as", remote)],
    };
    let timers = neighbour.timers;
    settings.push(on("timers", &format!("{} {}", timers.keepalive, timers.hold)));
    settings.push(on("timers connect", &timers.connect));
    if neighbour.port != 179 {
        ensure!(
            !matches!(neighbour.at, At::Range(_)),
            "a neighbour that connects is not connected to: {name} has no port"
        );
        settings.push(on("port", &neighbour.port));
    }
    settings.extend(neighbour.source.map(|source| on("update-source", &source)));
    settings.extend(neighbour.password.as_ref().map(|password| on("password", password)));
    if neighbour.bfd.is_some() {
        settings.push(on("bfd", &""));
        settings.push(on("bfd profile", &profile(&neighbour.at)));
    }
    ensure!(
        neighbour.multihop.is_none() || neighbour.ttl_security.is_none(),
        "FRR has either multihop or TTL security, not both: {name}"
    );
    settings.extend(neighbour.multihop.map(|hops| on("ebgp-multihop", &hops)));
    settings.extend(neighbour.ttl_security.map(|hops| on("ttl-security hops", &hops)));
    if neighbour.passive {
        settings.push(on("passive", &""));
    }
    if neighbour.extended_next_hop {
        settings.push(on("capability extended-nexthop", &""));
    }
    match neighbour.graceful_restart {
        GracefulRestart::Helper => {}
        GracefulRestart::Full => settings.push(on("graceful-restart", &"")),
        GracefulRestart::Off => settings.push(on("graceful-restart-disable", &"")),
    }
    // A group's members are let in last, when everything else is known of them.
    if let At::Range(range) = neighbour.at {
        settings.push(set(format!("bgp listen range {range}"), format!("peer-group {name}")));
    }
    Ok(settings)
}

/// Reads `show bgp neighbors json`, and what the log tells of each neighbour's past.
pub(super) fn sessions(json: &str, log: &str) -> Result<Vec<Session>> {
    let all: Value = serde_json::from_str(json).with_context(|| format!("FRR's neighbours: {json}"))?;
    let mut past = past(log);
    let neighbours = all.as_object().context("FRR's neighbours are no object")?;
    // FRR puts warnings beside neighbours.
    let neighbours = neighbours.iter().filter(|(_, neighbour)| neighbour["bgpState"].is_string());
    Ok(neighbours.map(|(peer, neighbour)| session(peer, neighbour, past.remove(peer))).collect())
}

fn session(peer: &str, neighbour: &Value, past: Option<Past>) -> Session {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let state = State::parse(neighbour["bgpState"].as_str().unwrap_or_default());
    let up = state == State::Established;
    let past = past.unwrap_or_default();
    Session {
        peer: peer.to_owned(),
        address: peer.parse().ok().or_else(|| text(&neighbour["hostForeign"])?.parse().ok()),
        state,
        remote_asn: neighbour["remoteAs"].as_u64().unwrap_or_default() as u32,
        remote_id: text(&neighbour["remoteRouterId"])
            .and_then(|id| id.parse().ok())
            .filter(|id: &std::net::Ipv4Addr| !id.is_unspecified()),
        hold: neighbour["bgpTimerHoldTimeMsecs"].as_u64().map(|ms| (ms / 1000) as u16).filter(|_| up),
        offers: if up { offers(neighbour) } else { Default::default() },
        established: Some(past.established),
        up_for: neighbour["bgpTimerUpMsec"].as_u64().map(Duration::from_millis).filter(|_| up),
        end: past.end,
        bfd: neighbour["peerBfdInfo"]["status"].as_str().map(|status| status == "Up"),
    }
}

fn offers(neighbour: &Value) -> super::table::Offers {
    let capabilities = &neighbour["neighborCapabilities"];
    let received = |value: &Value| {
        value["received"] == true
            || value["advertisedAndReceived"] == true
            || value
                .as_str()
                .is_some_and(|text| text == "received" || text.starts_with("advertisedAndReceived"))
    };
    let families = capabilities["multiprotocolExtensions"].as_object().into_iter().flatten();
    let info = &neighbour["gracefulRestartInfo"];
    let restart = || Restart {
        time: (capabilities["gracefulRestartRemoteTimerMsecs"].as_u64().unwrap_or_default() / 1000) as u16,
        restarted: info["rBit"] == true,
        families: capabilities["addressFamiliesByPeer"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(family, flags)| Some((Family::parse(family)?, flags["preserved"] == true)))
            .collect(),
    };
    super::table::Offers {
        families: families
            .filter(|(_, value)| received(value))
            .filter_map(|(family, _)| Family::parse(family))
            .collect(),
        route_refresh: received(&capabilities["routeRefresh"]),
        four_octet_asn: received(&capabilities["4byteAs"]),
        extended_next_hop: received(&capabilities["extendedNexthop"]),
        graceful_restart: received(&capabilities["gracefulRestart"]).then(restart),
    }
}

/// What the log tells of a neighbour.
#[derive(Debug, Default, Eq, PartialEq)]
struct Past {
    established: u64,
    end: Option<Notification>,
}

/// Reads bgpd's log: it remembers what the tables forget with a dynamic neighbour, or with the next attempt to connect.
fn past(log: &str) -> BTreeMap<String, Past> {
    let mut all: BTreeMap<String, Past> = BTreeMap::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("%ADJCHANGE: neighbor ") {
            let Some((peer, rest)) = rest.split_once('(') else { continue };
            if rest.ends_with(" Up") {
                all.entry(peer.to_owned()).or_default().established += 1;
            }
        } else if let Some((_, rest)) = line.split_once("%NOTIFICATION") {
            // `: received from neighbor 10.77.0.13 6/2 (Cease/Administrative Shutdown) "text"`; `(Hard Reset): received ...` with the end within
            // a Hard Reset (RFC 8538 section 3.1).
            let Some((_, rest)) = rest.split_once(": ") else { continue };
            let received = rest.starts_with("received");
            let Some((_, rest)) = rest.split_once(" neighbor ") else { continue };
            let mut words = rest.split_whitespace();
            let (Some(peer), Some(numbers)) = (words.next(), words.next()) else { continue };
            let Some((code, subcode)) = numbers.split_once('/') else { continue };
            let (Ok(code), Ok(subcode)) = (code.parse(), subcode.parse()) else { continue };
            let text = rest.split_once('"').map_or("", |(_, text)| text.trim_end().trim_end_matches('"'));
            let peer = peer.split('(').next().unwrap_or(peer);
            all.entry(peer.to_owned()).or_default().end =
                Some(Notification { code, subcode, received, text: text.to_owned() });
        }
    }
    all
}

/// Reads `show bgp ipv4|ipv6 unicast json detail`.
pub(super) fn routes(json: &str) -> Result<Table> {
    let all: Value = serde_json::from_str(json).with_context(|| format!("FRR's routes: {json}"))?;
    let mut table = Table::new();
    for (prefix, entry) in all["routes"].as_object().into_iter().flatten() {
        // FRR 8 and 9 list a head and then paths; 10 has them in an object.
        let listed = entry.as_array().or_else(|| entry["paths"].as_array());
        let listed = listed.with_context(|| format!("FRR's routes have no paths for {prefix}"))?;
        let paths = listed.iter().filter(|path| path["peer"].is_object()).map(path);
        table.insert(prefix.parse().with_context(|| format!("FRR's prefix {prefix}"))?, sorted(paths));
    }
    Ok(table)
}

/// Reads `show bgp ipv4|ipv6 unicast PREFIX json`; no path if FRR has none.
pub(super) fn paths(json: &str) -> Result<Vec<Path>> {
    let all: Value = serde_json::from_str(json).with_context(|| format!("FRR's paths: {json}"))?;
    Ok(sorted(all["paths"].as_array().into_iter().flatten().map(path)))
}

fn sorted(paths: impl Iterator<Item = Path>) -> Vec<Path> {
    let mut paths: Vec<Path> = paths.collect();
    paths.sort_by_key(|path| (!path.used, path.next_hop));
    paths
}

fn path(path: &Value) -> Path {
    let hops = || path["nexthops"].as_array().into_iter().flatten();
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let global = hops().find(|hop| hop["scope"] != "link-local").or_else(|| hops().next());
    let words = |field: &str| path[field]["string"].as_str().unwrap_or_default().split_whitespace();
    Path {
        from: address(&path["peer"]["peerId"]).filter(|from| !from.is_unspecified()),
        next_hop: global.and_then(|hop| address(&hop["ip"])).filter(|hop| !hop.is_unspecified()),
        as_path: path["aspath"]["segments"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|segment| segment["list"].as_array().into_iter().flatten())
            .filter_map(|asn| Some(asn.as_u64()? as u32))
            .collect(),
        local_pref: path["locPrf"].as_u64().map(|value| value as u32),
        med: path["metric"].as_u64().map(|value| value as u32),
        communities: words("community").filter_map(community).collect::<BTreeSet<_>>(),
        large: words("largeCommunity").filter_map(large_community).collect(),
        bandwidth: words("extendedCommunity")
            .find_map(|word| word.strip_prefix("LB:")?.split(':').nth(1)?.parse().ok()),
        used: path["bestpath"]["overall"] == true || path["multipath"] == true,
        stale: path["stale"] == true,
    }
}

/// Reads `show bfd peers json`.
pub(super) fn bfd(json: &str) -> Result<Vec<BfdSession>> {
    let all: Value = serde_json::from_str(json).with_context(|| format!("FRR's BFD sessions: {json}"))?;
    let Some(all) = all.as_array() else { bail!("FRR's BFD sessions are no list") };
    let session = |session: &Value| {
        let ms = |field: &str| session[field].as_u64().unwrap_or_default();
        let text = |field: &str| session[field].as_str().unwrap_or_default().to_owned();
        // RFC 5880 sections 6.8.4 and 6.8.7: each side sends no faster than the other one hears, and is missed after the other's own multiplier.
        let receive = ms("receive-interval").max(ms("remote-transmit-interval"));
        Some(BfdSession {
            address: session["peer"].as_str()?.parse().ok()?,
            up: session["status"] == "up",
            transmit: Duration::from_millis(ms("transmit-interval").max(ms("remote-receive-interval"))),
            detection: Duration::from_millis(receive * ms("remote-detect-multiplier")),
            multihop: session["multihop"] == true,
            diagnostic: text("diagnostic"),
        })
    };
    Ok(all.iter().filter_map(session).collect())
}

#[cfg(test)]
mod tests;
