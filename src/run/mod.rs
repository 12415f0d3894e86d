//! From a validated configuration to a running process. I/O; nothing is decided here.

#[cfg(feature = "metal")]
pub(crate) mod allocator_metrics;
#[cfg(feature = "aws")]
pub(crate) mod aws;
pub mod controller;
#[cfg(feature = "openstack")]
pub(crate) mod openstack;
#[cfg(feature = "metal")]
pub mod speaker;

use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::admin::Checks;
use crate::cli::args::LogFormat;
use crate::cli::config::{KubeConfig, LogConfig};
use crate::kube::client::Connection;
use crate::kube::peer::Presence;
use crate::kube::watch::{self, Watches};

/// Starts logging to standard error.
///
/// # Errors
/// If the filter cannot be read.
pub fn start_logging(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Json => {
            registry
                .with(
                    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr),
                )
                .init();
        }
        LogFormat::Text => {
            // Colours are for a terminal: in a Pod's log they only hide the words.
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry
                .with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr))
                .init();
        }
    }
    Ok(())
}

/// Cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn shutdown() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("asked to stop");
        cancelled.cancel();
    });
    Ok(token)
}

/// Keeps `/readyz` in step with the watches: ready once every kind was listed, and whatever is the matter with one of them is said.
fn watch_checks(watches: &Watches, checks: Checks) {
    const NAME: &str = "watches";
    let mut states = watches.states();
    checks.fail(NAME, "not listed yet");
    tokio::spawn(async move {
        loop {
            let missing = watch::missing(&states.borrow_and_update());
            if missing.is_empty() {
                checks.pass(NAME);
            } else {
                checks.fail(NAME, format!("not listed yet: {}", missing.join(", ")));
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Keeps `/readyz` in step with what is known of the peer that is not to be disturbed: not knowing it is not being ready, for then nothing is done.
fn coexist_checks(mut peer: tokio::sync::watch::Receiver<Presence>, checks: Checks) {
    const NAME: &str = "peer";
    tokio::spawn(async move {
        loop {
            match &*peer.borrow_and_update() {
                Presence::Unknown(why) => {
                    checks.fail(NAME, why.as_deref().unwrap_or("whether the peer runs is not known yet"));
                }
                Presence::Runs(_) | Presence::Gone => checks.pass(NAME),
            }
            if peer.changed().await.is_err() {
                return;
            }
        }
    });
}

/// The way to the API server; nothing is sent yet.
async fn connect(config: &KubeConfig, registry: &mut Registry) -> anyhow::Result<Connection> {
    let connection = Connection::configure(&config.into(), registry).await?;
    tracing::info!(address = connection.address(), "API server");
    Ok(connection)
}

/// What our own metrics begin with.
const OUR_PREFIX: &str = "causeway";

/// How long writes in flight may take to end after SIGTERM; below Kubernetes' default grace period of 30 s.
const DRAIN: Duration = Duration::from_secs(20);

/// Waits for a future, but not for ever.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}
