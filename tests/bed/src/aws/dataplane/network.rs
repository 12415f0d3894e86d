//! Addresses of load balancers and the packet filter, in the cloud's namespace. I/O: runs `ip` and `nft` there, where its threads are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::addresses::{CLOUD, CLOUD_OUTSIDE};
use crate::aws::elb::traffic::Traffic;
use crate::aws::firewall::{self, Allowed};
use crate::namespace::Namespace;

/// What was set so far.
#[derive(Debug)]
pub struct Network {
    router: Namespace,
    addresses: BTreeMap<Ipv4Addr, &'static str>,
    routes: BTreeSet<Ipv4Addr>,
    rules: String,
}

impl Network {
    /// Nothing is set yet; `router` gets routes to addresses that lie on no segment.
    pub fn new(router: Namespace) -> Network {
        Network { router, addresses: BTreeMap::new(), routes: BTreeSet::new(), rules: String::new() }
    }

    /// Sets what load balancers need: addresses with the NIC they are on, filter, routes.
    pub fn apply(&mut self, traffic: &Traffic, elastic: &[Ipv4Addr]) -> Result<()> {
        let mut addresses = BTreeMap::new();
        for balancer in &traffic.balancers {
            addresses.insert(balancer.private, "eth0");
            addresses.insert(balancer.address, if balancer.internal { "eth0" } else { "wan" });
        }
        let mut lines = String::new();
        for (address, device) in self.addresses.iter().filter(|(address, _)| !addresses.contains_key(address))
        {
            lines += &format!("addr del {address}/32 dev {device}\n");
        }
        for (address, device) in addresses.iter().filter(|(address, _)| !self.addresses.contains_key(address))
        {
            if *address != CLOUD && *address != CLOUD_OUTSIDE {
                lines += &format!("addr add {address}/32 dev {device}\n");
            }
        }
        if !lines.is_empty() {
            feed("ip", &["-force", "-batch", "-"], &lines)?;
        }
        self.addresses = addresses;
        let outside = |address: &&Ipv4Addr| {
            self.addresses.contains_key(address) && address.octets()[..3] != [198, 51, 100]
        };
        let routes: BTreeSet<Ipv4Addr> = elastic.iter().filter(outside).copied().collect();
        for address in routes.difference(&self.routes) {
            self.router.run(&[
                "ip",
                "route",
                "replace",
                &address.to_string(),
                "via",
                &CLOUD_OUTSIDE.to_string(),
            ])?;
        }
        for address in self.routes.difference(&routes) {
            self.router.run(&["ip", "route", "del", &address.to_string()])?;
        }
        self.routes = routes;
        let rules = filter(traffic);
        if rules != self.rules {
            feed("nft", &["-f", "-"], &rules)?;
            self.rules = rules;
        }
        Ok(())
    }
}

/// The filter for all load balancers that have security groups. Pure.
fn filter(traffic: &Traffic) -> String {
    let guarded: Vec<_> = traffic
        .balancers
        .iter()
        .filter(|balancer| balancer.guarded)
        .map(|balancer| {
            let allowed = balancer.listeners.iter().flat_map(|served| {
                let rule = |protocol, sources: &Vec<_>| Allowed {
                    protocol,
                    port: served.port,
                    sources: sources.clone(),
                };
                [rule("tcp", &served.tcp_sources), rule("udp", &served.udp_sources)]
            });
            (balancer.address.into(), allowed.collect())
        })
        .collect();
    firewall::rules(&guarded)
}

/// Runs a program with text as its input. It takes a few milliseconds, which only the loop of changes waits for.
fn feed(program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    child.stdin.take().context("no input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{program}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
