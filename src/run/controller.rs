//! `causeway controller`: watches, leader election, engine, admin endpoints.
//!
//! A standby watches too, so that its index is warm; only the leader's engine works. A leader that loses its Lease ends with an error, as every
//! Kubernetes controller does: what it had in memory belongs to another leadership.

use std::sync::Arc;

#[cfg(feature = "model")]
use anyhow::Context;
use anyhow::bail;
#[cfg(feature = "metal")]
use causeway_api::Severity;
use causeway_api::{CloudProvider, Fence};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

#[cfg(feature = "metal")]
use super::allocator_metrics::AllocatorMetrics;
use super::{DRAIN, OUR_PREFIX, coexist_checks, connect, shutdown, watch_checks, within};
use crate::admin::auth::Guard;
use crate::admin::{self, Admin, Checks};
use crate::cli::Provider;
use crate::cli::config::ControllerConfig;
#[cfg(feature = "model")]
use crate::cli::config::ProviderConfig;
use crate::engine::Engine;
use crate::engine::metrics::Metrics;
use crate::kube::client::Connection;
use crate::kube::cluster::KubeCluster;
use crate::kube::events::{EventSettings, Events};
use crate::kube::lease::{Elector, Leadership, LeaseSettings, Timing, identity};
use crate::kube::metallb::{self, Part};
use crate::kube::peer::{self, Presence};
use crate::kube::watch::{Interest, watch};
use crate::kube::webhooks;
use crate::nodes::{self, run::Runner};
use crate::state::index::{Index, Rules};

/// Runs until SIGTERM.
///
/// # Errors
/// What makes it impossible to start, or to go on; naming flag or object.
pub async fn run(config: ControllerConfig) -> anyhow::Result<()> {
    // MetalLB's names are among these, so no prefix of ours.
    let mut registry = Registry::default();
    let connection = connect(&config.kube, registry.sub_registry_with_prefix(OUR_PREFIX)).await?;
    let stop = shutdown()?;
    match config.provider.provider {
        #[cfg(feature = "aws")]
        Provider::Aws => {
            let provider = Arc::new(super::aws::aws(&config.provider, &connection).await?);
            run_with(provider, config, connection, registry, stop).await
        }
        #[cfg(feature = "openstack")]
        Provider::OpenStack => {
            let provider = Arc::new(super::openstack::openstack(&config.provider, &connection).await?);
            run_with(provider, config, connection, registry, stop).await
        }
        #[cfg(feature = "metal")]
        Provider::Metal => {
            let provider = Arc::new(config.provider.metal());
            let counted = Arc::clone(&provider);
            AllocatorMetrics::new(move || counted.pool_use()).register(&mut registry);
            // A dry run writes nothing at all.
            let keeper = (!config.engine.dry_run).then(|| {
                tokio::spawn(keep_membership_key(connection.clone(), config.membership_secret.clone()))
            });
            let ended = run_with(provider, config, connection, registry, stop).await;
            if let Some(keeper) = keeper {
                keeper.abort();
            }
            ended
        }
        #[cfg(feature = "model")]
        Provider::Model => {
            let provider = Arc::new(model(&config.provider, &connection).await?);
            run_with(provider, config, connection, registry, stop).await
        }
    }
}

/// The model cloud; its configuration file holds nothing but its address.
#[cfg(feature = "model")]
pub(crate) async fn model(
    config: &ProviderConfig,
    connection: &Connection,
) -> anyhow::Result<causeway_model::Model<causeway_model::Http>> {
    let Some(path) = &config.cloud_config else {
        bail!("--cloud-config: the file that holds the model cloud's address is needed");
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("--cloud-config {}", path.display()))?;
    let id = match &config.cluster_id {
        Some(id) => id.clone(),
        None => connection.cluster_id(|_| ()).await,
    };
    let options = causeway_model::Options::new(id);
    let transport = causeway_model::Http::new(text.trim(), options.write_deadline)
        .map_err(|error| anyhow::anyhow!("--cloud-config {}: {error}", path.display()))?;
    Ok(causeway_model::Model::new(transport, options))
}

/// Sees to it that the key of the speakers' heartbeats exists. Any replica may do it: of two that try at once one wins.
#[cfg(feature = "metal")]
async fn keep_membership_key(connection: Connection, secret: crate::cli::config::ObjectName) {
    use crate::speaker::key::ensure_secret;
    let mut said = String::new();
    loop {
        let wait = match ensure_secret(&connection.client(), &secret).await {
            Ok(()) => std::time::Duration::from_secs(60),
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    warn!(
                        "Secret {}/{} with the key of the speakers' heartbeats cannot be read or made: {text}. Speakers announce nothing before it is there",
                        secret.namespace, secret.name
                    );
                }
                said = text;
                std::time::Duration::from_secs(5)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Says what is wrong with pools and advertisements: in the metrics, and while this replica works in the ConfigurationState `controller`; without a
/// client in the metrics only.
#[cfg(feature = "metal")]
async fn report_configuration(
    client: Option<kube::Client>,
    namespace: String,
    mut judged: tokio::sync::watch::Receiver<Option<crate::engine::Judged>>,
    metrics: crate::kube::configuration::ConfigMetrics,
) {
    use crate::kube::configuration::{Component, Found, keep, problem_line};
    use causeway_metal::kinds::configuration_state::POOLS_VALID;
    let (tx, found) = tokio::sync::watch::channel(None);
    if let Some(client) = client {
        tokio::spawn(keep(client, Component { namespace, node: None }, found));
    }
    loop {
        let now = judged.borrow_and_update().clone();
        if let Some(now) = now {
            metrics.read(&now.problems);
            if now.working {
                // A warning leaves the object in use.
                let refused = now.problems.iter().filter(|problem| problem.severity == Severity::Error);
                let lines = refused.map(problem_line).collect();
                tx.send_replace(Some(Found::from([(POOLS_VALID, lines)])));
            }
        }
        if judged.changed().await.is_err() {
            return;
        }
    }
}

async fn run_with<P: CloudProvider>(
    provider: Arc<P>,
    config: ControllerConfig,
    connection: Connection,
    mut registry: Registry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (capabilities, wants) = (provider.capabilities(), provider.wants());
    let write_deadline = capabilities.write_deadline;
    let classes = config.provider.class_rules(&capabilities);
    info!(
        provider = provider.name(),
        version = env!("CARGO_PKG_VERSION"),
        classes = ?classes.classes,
        without_class = classes.own_classless,
        dry_run = config.engine.dry_run,
        "starting"
    );
    let all_services = wants.ingresses && capabilities.l7;
    let rules =
        Rules { classes, capabilities, wants: wants.clone(), cluster_health: config.provider.cluster_health };
    let (keys, referring) = (Arc::clone(&provider), Arc::clone(&provider));
    let index = Index::new(rules, Arc::new(move |member| keys.key(member)))
        .with_references(Arc::new(move |kind, annotations| referring.references(kind, annotations)));

    let metrics = Metrics::default();
    let ours = registry.sub_registry_with_prefix(OUR_PREFIX);
    metrics.register(ours);
    let events = Events::start(connection.client(), event_settings(wants.kinds.clone()), ours);
    // Nothing of it is planned as data, so a dry run has nothing to show.
    let nodes = config.controllers.nodes.filter(|_| !config.engine.dry_run);
    let nodes = nodes.map(|settings| Runner {
        provider: Arc::clone(&provider),
        client: connection.client(),
        events: events.clone(),
        settings,
        metrics: nodes::run::Metrics::register(ours),
    });
    // A dry run writes nothing, no Event either.
    let webhooks = config.provider.provider.webhooks_of().filter(|_| !config.engine.dry_run);
    let webhooks = webhooks.map(|traits| webhooks::Watch {
        client: connection.client(),
        traits,
        taken_over: config.provider.adopt.iter().any(|peer| peer.name == traits.peer),
        events: events.clone(),
        metrics: webhooks::Metrics::register(ours),
    });
    let cluster = KubeCluster::new(connection.client(), wants.kinds.clone(), events);
    let kinds = kinds(&wants);
    let engine = Arc::new(Engine::new(Arc::clone(&provider), cluster, index, kinds, config.engine, metrics));
    #[cfg(feature = "metal")]
    if config.provider.provider == Provider::Metal {
        let namespace = config.provider.config_namespace.clone();
        let silent = config.engine.dry_run || config.engine.paused;
        let metrics = crate::kube::configuration::ConfigMetrics::register(&mut registry);
        let client = (!silent).then(|| connection.client());
        tokio::spawn(report_configuration(client, namespace, engine.judged(), metrics));
    }

    let (tx, rx) = mpsc::channel(1024);
    let interest =
        Interest { wants, config_namespace: config.provider.config_namespace.clone(), all_services };
    let watches = watch(&connection.client(), &interest, &tx);
    drop(tx);
    let feeding = Arc::clone(&engine);
    tokio::spawn(async move { feeding.feed(rx).await });

    let checks = Checks::default();
    watch_checks(&watches, checks.clone());
    let peer = match (config.coexist, &config.provider.adopt[..]) {
        _ if config.engine.dry_run => None,
        (Some(_), _) => {
            let namespace = config.provider.config_namespace.clone();
            Some(metallb::follow(connection.client(), namespace, Part::Controller))
        }
        (None, []) => None,
        // That they are stopped is the user's word: a Lease may be held for other work, or there is none.
        _ if config.adopt_peer_stopped => None,
        (None, peers) => {
            let namespace = config.adopt_lease_namespace.clone();
            Some(peer::follow(connection.client(), namespace, peers.to_vec()))
        }
    };
    if let Some(peer) = &peer {
        coexist_checks(peer.clone(), checks.clone());
    }
    let debugged = Arc::clone(&engine);
    let admin = Admin {
        checks,
        registry: Arc::new(registry),
        debug: Arc::new(move || {
            let state = debugged.debug_state();
            Box::pin(async move { state })
        }),
        guard: (!config.admin.insecure_metrics).then(|| Guard::new(connection.client())),
    };
    let admin_stop = CancellationToken::new();
    let _ends_with_us = admin_stop.clone().drop_guard();
    admin::serve(admin, config.admin.listen, admin_stop).await?;

    if let Some(peer) = &peer {
        let mut peer = peer.clone();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = peer.wait_for(Presence::gone) => {}
        }
    }
    // Ends with us, or when the peer is back.
    let working = stop.child_token();
    let yielded = yield_to(peer, working.clone());
    let lead = async |fence: Fence, working: CancellationToken| {
        let run_nodes = async {
            if let Some(nodes) = nodes {
                nodes.run(fence.clone(), working.clone()).await;
            }
        };
        let run_engine = async {
            if config.controllers.load_balancers {
                engine.lead(fence.clone(), working.clone()).await;
            } else {
                working.cancelled().await;
            }
        };
        let watch_webhooks = async {
            if let Some(webhooks) = &webhooks {
                tokio::select! {
                    () = webhooks.run() => {}
                    () = working.cancelled() => {}
                }
            }
        };
        tokio::join!(run_nodes, run_engine, watch_webhooks);
    };

    // A dry run must not take the Lease from the controller that works.
    if !config.leader.elect || config.engine.dry_run {
        let leadership = Leadership::unelected();
        lead(leadership.fence, working).await;
        return ended_by(&yielded);
    }
    let timing = Timing {
        lease_duration: config.leader.lease_duration,
        renew_deadline: config.leader.renew_deadline,
        retry_period: config.leader.retry_period,
        write_deadline,
    };
    let settings = LeaseSettings {
        namespace: config.leader.lease.namespace.clone(),
        name: config.leader.lease.name.clone(),
        identity: identity(),
        timing,
    };
    info!(lease = %format!("{}/{}", settings.namespace, settings.name), identity = settings.identity, "standing for election");
    let elector = Elector::start(connection.lease_client(), settings).map_err(anyhow::Error::msg)?;
    let mut leadership = elector.leadership();
    let won = tokio::select! {
        () = working.cancelled() => None,
        won = leadership.wait_for(Option::is_some) => won.ok().and_then(|l| l.clone()),
    };
    let Some(won) = won else {
        elector.release().await;
        return ended_by(&yielded);
    };
    info!(epoch = won.epoch, released = won.released, "leading");
    let lost = won.lost.clone();
    let ending = working.clone();
    let watching_lease = tokio::spawn(async move {
        lost.cancelled().await;
        ending.cancel();
    });
    let lead = lead(won.fence.clone(), working.clone());
    tokio::pin!(lead);
    tokio::select! {
        () = &mut lead => {}
        () = working.cancelled() => {
            // Writes in flight end; no new one begins.
            if within(DRAIN, &mut lead).await.is_none() {
                warn!("some writes did not end within {DRAIN:?}");
            }
        }
    }
    watching_lease.abort();
    if won.lost.is_cancelled() && !stop.is_cancelled() {
        bail!(
            "the Lease was lost: another replica leads, or the API server could not be reached for too long; ending, to start afresh"
        );
    }
    elector.release().await;
    info!("stopped");
    ended_by(&yielded)
}

/// Ends the work when the peer runs again; the token is cancelled then.
fn yield_to(peer: Option<channel::Receiver<Presence>>, working: CancellationToken) -> CancellationToken {
    let yielded = CancellationToken::new();
    if let Some(mut peer) = peer {
        let told = yielded.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = working.cancelled() => {}
                _ = peer.wait_for(|presence| !presence.gone()) => {
                    told.cancel();
                    working.cancel();
                }
            }
        });
    }
    yielded
}

fn ended_by(yielded: &CancellationToken) -> anyhow::Result<()> {
    if yielded.is_cancelled() {
        bail!(
            "the peer whose work this is works again, and nothing is written while it does: ending, to wait for its end"
        );
    }
    Ok(())
}

/// On metal, MetalLB's Events come from MetalLB's component, which tools look for.
fn event_settings(kinds: Vec<causeway_api::OwnKind>) -> EventSettings {
    #[allow(unused_mut, reason = "only metal adds to it")]
    let mut settings = EventSettings::controller(kinds);
    #[cfg(feature = "metal")]
    for reason in [
        causeway_metal::names::events::ALLOCATED,
        causeway_metal::names::events::CLEARED,
        causeway_metal::names::events::ADDITIONAL_FAILED,
        causeway_metal::names::events::ALLOCATION_FAILED,
    ] {
        settings.component_of.insert(reason, "metallb-controller");
    }
    settings
}

/// Names of the kinds whose complete lists decisions wait for.
fn kinds(wants: &causeway_api::Wants) -> Vec<String> {
    use causeway_api::EndpointDetail;
    let mut kinds = vec!["Service".to_owned()];
    let mut add = |wanted: bool, names: &[&str]| {
        if wanted {
            kinds.extend(names.iter().map(|n| (*n).to_owned()));
        }
    };
    add(wants.ingresses, &["Ingress", "IngressClass"]);
    add(wants.nodes || wants.node_addresses, &["Node"]);
    add(wants.endpoints != EndpointDetail::None, &["EndpointSlice"]);
    add(wants.secrets, &["Secret"]);
    add(wants.namespace_labels, &["Namespace"]);
    add(wants.pod_gates.is_some(), &["Pod"]);
    kinds.extend(wants.kinds.iter().map(|k| k.kind.to_owned()));
    kinds
}
