//! `bed router`: routers for people.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use causeway_bed::router::{Kind, RouterConfig};
use causeway_bed::{Bed, Namespace, Router, Signal, addresses};
use clap::{Subcommand, ValueEnum};

#[derive(Subcommand)]
pub enum Action {
    /// Start a router in a namespace: router, router2, far, node1, ...; router2 and far are made for it.
    Start {
        /// The namespace.
        place: String,
        /// Which daemon.
        kind: Daemon,
        /// Its configuration, JSON; by default it takes sessions from every node, from any other AS.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Its AS number, without a configuration.
        #[arg(long, default_value_t = 64512, conflicts_with = "config")]
        asn: u32,
    },
    /// Give a router another configuration (JSON); sessions that it does not concern go on.
    Configure { place: String, config: PathBuf },
    /// Print a router's configuration as JSON, to be changed and given to `configure`.
    Config { place: String },
    /// Show the sessions, the routes, and what the kernel was told; of all routers if none is named.
    Show { place: Option<String> },
    /// Talk to a router in its own words (vtysh, birdc, gobgp); interactively if none are given.
    Cli {
        place: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// End a router's daemons, as an administrator does; `bed restart` and `bed freeze` do worse.
    Stop { place: String },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Daemon {
    Frr,
    Bird,
    Gobgp,
    Exabgp,
}

impl From<Daemon> for Kind {
    fn from(daemon: Daemon) -> Kind {
        match daemon {
            Daemon::Frr => Kind::Frr,
            Daemon::Bird => Kind::Bird,
            Daemon::Gobgp => Kind::Gobgp,
            Daemon::Exabgp => Kind::Exabgp,
        }
    }
}

pub fn run(bed: &Bed, action: Action) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match action {
        Action::Start { place, kind, config, asn } => {
            let config = match config {
                Some(path) => read(&path)?,
                None => default_config(bed, &place, asn),
            };
            runtime.block_on(Router::start(&namespace(bed, &place)?, kind.into(), config))?;
        }
        Action::Configure { place, config } => {
            let mut router = Router::attach(&bed.namespace(&place)?)?;
            runtime.block_on(router.reconfigure(read(&config)?))?;
        }
        Action::Config { place } => {
            let router = Router::attach(&bed.namespace(&place)?)?;
            println!("{}", serde_json::to_string_pretty(router.config())?);
        }
        Action::Show { place: Some(place) } => show(&Router::attach(&bed.namespace(&place)?)?)?,
        Action::Show { place: None } => {
            let routers = Router::list(bed)?;
            ensure!(!routers.is_empty(), "no router was started; `bed router start router frr` does that");
            routers.iter().try_for_each(show)?;
        }
        Action::Cli { place, words } => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut command = Router::attach(&bed.namespace(&place)?)?.command(&words)?;
            return Err(command.exec()).context("running nsenter");
        }
        Action::Stop { place } => Router::attach(&bed.namespace(&place)?)?.stop(Signal::TERM)?,
    }
    Ok(())
}

/// Those that are made on demand are made.
fn namespace(bed: &Bed, name: &str) -> Result<Namespace> {
    match name {
        "router2" => bed.second_router_ns(),
        "far" => bed.far_router_ns(),
        name => bed.namespace(name),
    }
}

/// Takes sessions from every node; each namespace's router has an identifier of its own.
fn default_config(bed: &Bed, place: &str, asn: u32) -> RouterConfig {
    let config = RouterConfig::top_of_rack(asn);
    match place {
        "router2" => RouterConfig { router_id: addresses::ROUTER_2, ..config },
        "far" => {
            RouterConfig { router_id: addresses::FAR, ..config.every(|neighbour| neighbour.multihop(2)) }
        }
        place => match bed.node_named(place) {
            Ok(node) => RouterConfig { router_id: node.addresses().v4, ..config },
            Err(_) => config,
        },
    }
}

fn read(path: &PathBuf) -> Result<RouterConfig> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
}

fn show(router: &Router) -> Result<()> {
    let config = router.config();
    println!("{}: {:?}, AS {}, {}", router.namespace().name(), router.kind(), config.asn, config.router_id);
    if router.speaker().process()?.is_none() {
        println!("  {} is not running", router.speaker().name());
        return Ok(());
    }
    for session in router.sessions()? {
        print!("  {:<28} AS {:<10} {:?}", session.peer, session.remote_asn, session.state);
        if let Some(up) = session.up_for {
            print!(" for {} s", up.as_secs());
        }
        if let Some(hold) = session.hold {
            print!(", hold time {hold} s");
        }
        if let Some(up) = session.bfd {
            print!(", BFD {}", if up { "up" } else { "down" });
        }
        if let Some(end) = session.end {
            let way = if end.received { "received" } else { "sent" };
            print!("; last {way}: NOTIFICATION {}/{} {}", end.code, end.subcode, end.text);
        }
        println!();
    }
    for (prefix, paths) in router.routes()? {
        println!("  {prefix}");
        for path in paths {
            println!("    {path}");
        }
    }
    let learnt = BTreeSet::from(["bgp", "bird"]);
    for route in router.namespace().routes()?.iter().filter(|route| learnt.contains(route.protocol.as_str()))
    {
        let hops = route.hops.iter().map(|hop| {
            let via = hop.via.map(|via| format!("via {via} ")).unwrap_or_default();
            format!("{via}dev {} weight {}", hop.device, hop.weight)
        });
        println!("  kernel: {} {}", route.prefix, hops.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
