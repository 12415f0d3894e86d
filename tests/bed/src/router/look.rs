//! What a router knows, asked of its daemons, waited for; and what an administrator would do to a session. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;

use super::{BfdSession, Kind, Path, Router, Session, Table, bird, exabgp, frr, gobgp};
use crate::wait;

impl Router {
    /// Its sessions. Of neighbours that may connect from a range, those that have.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        let log = || self.speaker().log();
        match self.record.kind {
            Kind::Frr => frr::sessions(&self.ask(&["show bgp neighbors json"])?, &log()),
            Kind::Bird => {
                Ok(bird::sessions(&self.ask(&["show", "protocols", "all"])?, &self.bfd_sessions()?, &log()))
            }
            Kind::Gobgp => {
                let json = self.ask(&["-j", "neighbor"])?;
                let mut texts = BTreeMap::new();
                for peer in gobgp::peers(&json)? {
                    // One that has just gone says nothing.
                    let text = self.ask(&["neighbor", &peer]).unwrap_or_default();
                    texts.insert(peer, text);
                }
                gobgp::sessions(&json, &texts, &log(), SystemTime::now())
            }
            Kind::Exabgp => Ok(self.heard()?.sessions),
        }
    }

    /// The session with the neighbour at that address.
    pub fn session(&self, address: impl Into<IpAddr>) -> Result<Session> {
        let address = address.into();
        let sessions = self.sessions()?;
        let known: Vec<String> = sessions.iter().map(|session| session.peer.clone()).collect();
        sessions.into_iter().find(|session| session.address == Some(address)).with_context(|| {
            format!("the router in {} knows no neighbour {address} but {known:?}", self.namespace.name())
        })
    }

    /// Its BFD sessions; none of a daemon without BFD.
    pub fn bfd_sessions(&self) -> Result<Vec<BfdSession>> {
        match self.record.kind {
            Kind::Frr => frr::bfd(&self.ask(&["show bfd peers json"])?),
            Kind::Bird if self.record.config.neighbours.iter().any(|neighbour| neighbour.bfd.is_some()) => {
                Ok(bird::bfd(&self.ask(&["show", "bfd", "sessions"])?))
            }
            Kind::Bird | Kind::Gobgp | Kind::Exabgp => Ok(Vec::new()),
        }
    }

    /// All its routes, of both families.
    pub fn routes(&self) -> Result<Table> {
        match self.record.kind {
            Kind::Frr => {
                let mut table = frr::routes(&self.ask(&["show bgp ipv4 unicast json detail"])?)?;
                table.extend(frr::routes(&self.ask(&["show bgp ipv6 unicast json detail"])?)?);
                Ok(table)
            }
            Kind::Bird => {
                let protocols = self.ask(&["show", "protocols", "all"])?;
                bird::routes(&self.ask(&["show", "route", "all"])?, &protocols)
            }
            Kind::Gobgp => {
                let mut table = gobgp::routes(&self.ask(&["-j", "global", "rib", "-a", "ipv4"])?)?;
                table.extend(gobgp::routes(&self.ask(&["-j", "global", "rib", "-a", "ipv6"])?)?);
                Ok(table)
            }
            Kind::Exabgp => Ok(self.heard()?.table),
        }
    }

    /// The paths to exactly that prefix; none if it knows none.
    pub fn paths(&self, prefix: IpNet) -> Result<Vec<Path>> {
        if self.record.kind == Kind::Frr {
            // Much faster than the whole table.
            let family = if prefix.addr().is_ipv4() { "ipv4" } else { "ipv6" };
            let answer = self.ask(&[&format!("show bgp {family} unicast {prefix} json")])?;
            let exact: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
            // A shorter prefix that covers it is no answer.
            let exact = exact["prefix"].as_str().is_none_or(|found| found.parse() == Ok(prefix));
            return if exact { frr::paths(&answer) } else { Ok(Vec::new()) };
        }
        Ok(self.routes()?.remove(&prefix).unwrap_or_default())
    }

    fn heard(&self) -> Result<exabgp::Heard> {
        // Before the first message there is no file.
        let messages = fs::read(self.init().state(&self.file("messages"))).unwrap_or_default();
        exabgp::heard(&self.record.config, &String::from_utf8_lossy(&messages))
    }

    /// The messages that exabgp has heard, as it wrote them: each one as octets (`neighbor.message.body`), then decoded (`neighbor.open`,
    /// `neighbor.message.update`).
    pub fn messages(&self) -> Result<Vec<serde_json::Value>> {
        ensure!(self.record.kind == Kind::Exabgp, "only exabgp keeps messages");
        let text = fs::read(self.init().state(&self.file("messages"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Ends the session with a neighbour at once, as an administrator would (Cease, Administrative Reset, RFC 4486); it may come back.
    pub fn reset(&self, neighbour: impl Into<IpAddr>) -> Result<()> {
        let address = neighbour.into();
        match self.record.kind {
            Kind::Frr => drop(self.ask(&[&format!("clear bgp {address}")])?),
            Kind::Bird => drop(self.ask(&["restart", &self.bird_protocol(address)?])?),
            Kind::Gobgp => drop(self.ask(&["neighbor", &address.to_string(), "reset"])?),
            Kind::Exabgp => bail!("exabgp cannot reset a session"),
        }
        Ok(())
    }

    /// Asks a neighbour for its routes anew (route refresh, RFC 2918).
    pub fn refresh(&self, neighbour: impl Into<IpAddr>) -> Result<()> {
        let address = neighbour.into();
        match self.record.kind {
            Kind::Frr => drop(self.ask(&[&format!("clear bgp {address} in")])?),
            Kind::Bird => drop(self.ask(&["reload", "in", &self.bird_protocol(address)?])?),
            Kind::Gobgp => drop(self.ask(&["neighbor", &address.to_string(), "softresetin"])?),
            Kind::Exabgp => bail!("exabgp asks for no routes"),
        }
        Ok(())
    }

    /// Shuts the session with a configured neighbour down, with a text for its operator (RFC 9003); `None` lets it come up again. GoBGP 3 takes
    /// the text and does not send it.
    pub fn shut_down(&self, neighbour: impl Into<IpAddr>, text: Option<&str>) -> Result<()> {
        let address = neighbour.into();
        match (self.record.kind, text) {
            (Kind::Frr, text) => {
                let what = match text {
                    Some(text) => format!("neighbor {address} shutdown message {text}"),
                    None => format!("no neighbor {address} shutdown"),
                };
                self.configure_frr(&[&format!("router bgp {}", self.record.config.asn), &what])?;
            }
            (Kind::Bird, Some(text)) => {
                self.ask(&["disable", &self.bird_protocol(address)?, &format!("\"{text}\"")])?;
            }
            (Kind::Bird, None) => drop(self.ask(&["enable", &self.bird_protocol(address)?])?),
            (Kind::Gobgp, Some(text)) => {
                drop(self.ask(&["neighbor", &address.to_string(), "disable", "--reason", text])?)
            }
            (Kind::Gobgp, None) => drop(self.ask(&["neighbor", &address.to_string(), "enable"])?),
            (Kind::Exabgp, _) => bail!("exabgp cannot shut a session down"),
        }
        Ok(())
    }

    /// BIRD's name of the session with that neighbour.
    fn bird_protocol(&self, address: IpAddr) -> Result<String> {
        let protocols = self.ask(&["show", "protocols", "all"])?;
        let name = bird::protocol(&protocols, address).map(str::to_owned);
        name.with_context(|| format!("BIRD in {} knows no neighbour {address}", self.namespace.name()))
    }

    /// Waits until the session with that neighbour is established.
    pub async fn wait_established(&self, neighbour: impl Into<IpAddr>, timeout: Duration) -> Result<Session> {
        let address = neighbour.into();
        self.wait_session(address, "to be established", timeout, Session::is_established).await
    }

    /// Waits until the session with that neighbour `fits`. `what` completes "waiting for the session with X ...".
    pub async fn wait_session(
        &self,
        neighbour: impl Into<IpAddr>,
        what: &str,
        timeout: Duration,
        fits: impl Fn(&Session) -> bool,
    ) -> Result<Session> {
        let address = neighbour.into();
        let what = format!("the session of {} with {address} {what}", self.namespace.name());
        wait::until(&what, timeout, async || {
            let session = self.session(address)?;
            ensure!(fits(&session), "{session:?}");
            Ok(session)
        })
        .await
    }

    /// Waits until the paths to that prefix have exactly these next hops, and returns the paths.
    pub async fn wait_next_hops(
        &self,
        prefix: IpNet,
        next_hops: impl IntoIterator<Item = IpAddr>,
        timeout: Duration,
    ) -> Result<Vec<Path>> {
        let expected: BTreeSet<IpAddr> = next_hops.into_iter().collect();
        let what = format!("{} to know {prefix} via {expected:?}", self.namespace.name());
        self.wait_paths(prefix, &what, timeout, |paths| {
            paths.iter().filter_map(|path| path.next_hop).collect::<BTreeSet<_>>() == expected
        })
        .await
    }

    /// Waits until the paths to that prefix `fit`. `what` completes "waiting for ...".
    pub async fn wait_paths(
        &self,
        prefix: IpNet,
        what: &str,
        timeout: Duration,
        fit: impl Fn(&[Path]) -> bool,
    ) -> Result<Vec<Path>> {
        wait::until(what, timeout, async || {
            let paths = self.paths(prefix)?;
            ensure!(fit(&paths), "{}", lines(&paths));
            Ok(paths)
        })
        .await
    }

    /// Waits until the kernel of the router sends packets for that prefix to exactly these gateways.
    pub async fn wait_gateways(
        &self,
        prefix: IpNet,
        gateways: impl IntoIterator<Item = IpAddr>,
        timeout: Duration,
    ) -> Result<()> {
        let expected: BTreeSet<IpAddr> = gateways.into_iter().collect();
        let what = format!("{} to route {prefix} to {expected:?}", self.namespace.name());
        wait::until(&what, timeout, async || {
            let found = self.namespace.gateways(prefix)?;
            ensure!(found == expected, "{found:?}");
            Ok(())
        })
        .await
    }
}

/// Paths for people, one per line.
fn lines(paths: &[Path]) -> String {
    paths.iter().map(|path| format!("{path}\n")).collect()
}
