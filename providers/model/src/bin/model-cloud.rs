//! The model cloud as a process of its own: see `causeway_model::server` for what it answers.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use causeway_model::cloud::{Bucket, Cloud, Faults, Settings, Style};
use causeway_model::server::Server;
use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StyleArg {
    /// As ELBv2: a new load balancer can be changed at once.
    Open,
    /// As Octavia: every change locks the load balancer.
    Locking,
}

/// A model of a cloud's load-balancer API, over HTTP.
#[derive(Debug, Parser)]
struct Args {
    /// Address to listen on; port 0 takes any, the line on stdout tells which.
    #[arg(long, default_value = "127.0.0.1:9650")]
    listen: SocketAddr,
    /// Milliseconds that every call takes.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// Part of the calls that go wrong, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    fault_rate: f64,
    /// Seed of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Milliseconds until a new load balancer is active.
    #[arg(long, default_value_t = 0)]
    pending: u64,
    /// Milliseconds that a change locks a load balancer, with `--style locking`.
    #[arg(long, default_value_t = 0)]
    pending_change: u64,
    /// Manners of the cloud.
    #[arg(long, value_enum, default_value = "open")]
    style: StyleArg,
    /// Items per page of a list.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    /// A quota, such as `load-balancers=50`; may be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = named)]
    quota: Vec<(String, u64)>,
    /// Calls per second that are taken; without it any number.
    #[arg(long)]
    rate: Option<u32>,
    /// Calls at once, with `--rate`.
    #[arg(long, default_value_t = 40, requires = "rate")]
    burst: u32,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("not a number from 0 to 1".to_owned()),
    }
}

fn named(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=N")?;
    if !causeway_model::cloud::quota::DEFAULTS.iter().any(|(n, _)| *n == name) {
        let all: Vec<_> = causeway_model::cloud::quota::DEFAULTS.iter().map(|(n, _)| *n).collect();
        return Err(format!("unknown quota; there are {}", all.join(", ")));
    }
    Ok((name.to_owned(), value.parse().map_err(|e| format!("{value}: {e}"))?))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let settings = Settings {
        style: match args.style {
            StyleArg::Open => Style::Open,
            StyleArg::Locking => Style::Locking,
        },
        latency: args.latency,
        create_pending: args.pending,
        change_pending: args.pending_change,
        page: args.page as usize,
        quotas: args.quota.into_iter().collect::<BTreeMap<_, _>>(),
        bucket: args.rate.map(|per_second| Bucket { per_second, burst: args.burst }),
    };
    let mut cloud = Cloud::new(settings);
    // The share is between 0 and 1, see above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let per_mille = (args.fault_rate * 1000.0).round() as u32;
    cloud.faults = Faults { per_mille, seed: args.seed, ..Faults::default() };
    let server = Server::bind(args.listen, cloud)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", server.address()?)?;
    out.flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        never = server.run() => match never {},
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => Ok(result?),
    }
}
