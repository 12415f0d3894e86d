//! The kernel's routes of a network namespace, and their changes as they happen. I/O; the reading is pure.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::Value;

use crate::namespace::Namespace;
use crate::process;

/// A route of the kernel's main table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelRoute {
    /// Where to.
    pub prefix: IpNet,
    /// Who put it there: `bgp`, `bird`, `kernel`, `boot`, ... (iproute2's rt_protos).
    pub protocol: String,
    /// The ways, more than one for ECMP; none for a blackhole.
    pub hops: BTreeSet<Hop>,
}

/// One way of a route.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Hop {
    /// The gateway; `None` if the destination is on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub device: String,
    /// Its share of the flows, relative to the others' weights.
    pub weight: u32,
}

impl Namespace {
    /// The routes of both families, but for multicast and local ones.
    pub fn routes(&self) -> Result<Vec<KernelRoute>> {
        let mut all = Vec::new();
        for (family, any) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
            all.extend(parse(&self.run(&["ip", "-j", family, "route", "show"])?, any)?);
        }
        Ok(all)
    }

    /// The gateways of the route to exactly that prefix; none without such a route.
    pub fn gateways(&self, prefix: IpNet) -> Result<BTreeSet<IpAddr>> {
        let (family, any) = if prefix.addr().is_ipv4() { ("-4", "0.0.0.0/0") } else { ("-6", "::/0") };
        let text = self.run(&["ip", "-j", family, "route", "show", "exact", &prefix.to_string()])?;
        Ok(parse(&text, any)?.into_iter().flat_map(|route| route.hops).filter_map(|hop| hop.via).collect())
    }

    /// Starts to note every change of routes with the time it was seen at; returns once it does.
    pub fn watch_routes(&self) -> Result<RouteWatch> {
        let mut child = self
            .command()
            .args(["ip", "-o", "monitor", "route"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting ip monitor (package iproute2)")?;
        let stdout = child.stdout.take().context("ip monitor has no output")?;
        let lines: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let collected = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let seen = Instant::now();
                if let Ok(mut collected) = collected.lock() {
                    collected.push((seen, line.trim().to_owned()));
                }
            }
        });
        let watch = RouteWatch { child, lines };
        watch.prove(self)?;
        Ok(watch)
    }
}

/// Reads `ip -j route show` of the family whose default route is to `any`; pure.
fn parse(text: &str, any: &str) -> Result<Vec<KernelRoute>> {
    // Without any route it prints nothing or an empty list, as its version has it.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let all: Value = serde_json::from_str(text).with_context(|| format!("ip -j route: {text}"))?;
    all.as_array().into_iter().flatten().map(|route| read(route, any)).collect()
}

fn read(route: &Value, any: &str) -> Result<KernelRoute> {
    let prefix = match route["dst"].as_str().unwrap_or_default() {
        "default" => any.to_owned(),
        address if address.contains('/') => address.to_owned(),
        address if address.contains(':') => format!("{address}/128"),
        address => format!("{address}/32"),
    };
    let hop = |hop: &Value| {
        let via = hop["gateway"].as_str().or(hop["via"]["host"].as_str()).and_then(|via| via.parse().ok());
        let device = hop["dev"].as_str()?.to_owned();
        Some(Hop { via, device, weight: hop["weight"].as_u64().unwrap_or(1) as u32 })
    };
    let hops = match route["nexthops"].as_array() {
        Some(hops) => hops.iter().filter_map(hop).collect(),
        None if route["type"] == "blackhole" => BTreeSet::new(),
        None => hop(route).into_iter().collect(),
    };
    Ok(KernelRoute {
        prefix: prefix.parse().with_context(|| format!("a route's prefix: {route}"))?,
        protocol: route["protocol"].as_str().unwrap_or_default().to_owned(),
        hops,
    })
}

/// A running watch of routes; dropping it ends it.
#[derive(Debug)]
pub struct RouteWatch {
    child: Child,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl RouteWatch {
    /// The changes so far, as `ip monitor route` writes them: a route that is new or changed, or one after `Deleted`. A route of several ways
    /// is on one line, with `\` between its parts.
    pub fn changes(&self) -> Vec<(Instant, String)> {
        let lines = self.lines.lock().map(|lines| lines.clone()).unwrap_or_default();
        lines.into_iter().filter(|(_, line)| !line.contains(PROBE)).collect()
    }

    /// When a change that `fits` was seen first.
    pub fn first(&self, fits: impl Fn(&str) -> bool) -> Option<Instant> {
        self.changes().into_iter().find(|(_, line)| fits(line)).map(|(seen, _)| seen)
    }

    /// Makes changes of its own until one is seen.
    fn prove(&self, namespace: &Namespace) -> Result<()> {
        for _ in 0..100 {
            namespace.run(&["ip", "route", "replace", "blackhole", PROBE])?;
            namespace.run(&["ip", "route", "del", "blackhole", PROBE])?;
            if self.lines.lock().is_ok_and(|lines| lines.iter().any(|(_, line)| line.contains(PROBE))) {
                return Ok(());
            }
        }
        anyhow::bail!("ip monitor in {} sees no changes", namespace.name())
    }
}

/// An address of the benchmark network (RFC 2544) that nothing here uses.
const PROBE: &str = "198.18.255.255";

impl Drop for RouteWatch {
    fn drop(&mut self) {
        // nsenter does not pass signals on: the tree below it is what has to end.
        let _ = process::kill_tree(self.child.id() as i32);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn a_route_of_several_ways_is_read_with_its_weights() {
        let text = r#"[{"dst":"default","gateway":"10.77.0.254","dev":"eth0","flags":[]},
            {"dst":"192.0.2.1","nhid":9,"protocol":"bgp","metric":20,"flags":[],"nexthops":[
              {"gateway":"10.77.0.11","dev":"eth0","weight":1,"flags":[]},
              {"via":{"family":"inet6","host":"fe80::1"},"dev":"to-node1","weight":3,"flags":[]}]},
            {"type":"blackhole","dst":"203.0.113.0/24","protocol":"bird","metric":32,"flags":[]}]"#;
        let routes = parse(text, "0.0.0.0/0").expect("routes");
        assert_eq!(routes[0].prefix, prefix("0.0.0.0/0"));
        assert_eq!(routes[1].protocol, "bgp");
        let hop = |via: &str, device: &str, weight| Hop {
            via: Some(via.parse().expect("an address")),
            device: device.to_owned(),
            weight,
        };
        assert_eq!(
            routes[1].hops,
            BTreeSet::from([hop("10.77.0.11", "eth0", 1), hop("fe80::1", "to-node1", 3)])
        );
        assert_eq!((routes[2].prefix, routes[2].hops.len()), (prefix("203.0.113.0/24"), 0));
    }

    #[test]
    fn a_default_route_of_ipv6_is_one_of_ipv6() {
        let text = r#"[{"dst":"default","gateway":"fd77::254","dev":"eth0","metric":1024,"flags":[],"pref":"medium"}]"#;
        assert_eq!(parse(text, "::/0").expect("routes")[0].prefix, prefix("::/0"));
        assert_eq!(parse("", "::/0").expect("no routes"), []);
    }
}
