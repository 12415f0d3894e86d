//! `causeway speaker`: watches for the world, hands it to [`causeway_speaker`], and says on the objects what happens.
//!
//! The API server is needed at the start only: what is known stays valid while it is away, and heartbeats never pass through it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use causeway_api::{ObjectRef, Problem};
use causeway_metal::announce::World;
use causeway_metal::bgp::Routing;
use causeway_metal::fleet::Rules;
use causeway_metal::kinds::configuration_state::{CONFIG_VALID, NODE_VALID};
use causeway_metal::kinds::{BGPSessionState, ServiceBGPStatus};
use causeway_metal::names::{events, reasons};
use causeway_speaker::inquiry::{self, Phase};
use causeway_speaker::interfaces::Exclude;
use causeway_speaker::l2::Probing;
use causeway_speaker::routers::{RouterChannels, Sessions};
use causeway_speaker::{Channels, Config, Heartbeats, Metrics, Snapshot, SpeakerEvent, View};
use kube::Client;
use kube::core::ApiResource;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{OUR_PREFIX, coexist_checks, connect, shutdown, watch_checks};
use crate::admin::auth::Guard;
use crate::admin::{self, Admin, Checks};
use crate::cli::config::{MembershipKey, SpeakerConfig};
use crate::engine::cluster::EventNote;
use crate::kube::configuration::{self, Component, ConfigMetrics, Found, problem_line};
use crate::kube::events::{EventSettings, Events};
use crate::kube::metallb::{self, Part};
use crate::kube::peer::{self, Presence};
use crate::kube::watch::{Interest, Watches, watch as start_watches};
use crate::speaker::conflicts::{self, ConflictMetrics, Met};
use crate::speaker::l2_status::{self, Told};
use crate::speaker::secrets::{self, Secrets};
use crate::speaker::world::{WorldBuilder, wants};
use crate::speaker::{bgp, findings, key, node, reports};
use crate::state::records::{Path, Update};
use crate::translate::ClassRules;

/// Longest time for handing over on SIGTERM.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs until SIGTERM.
///
/// # Errors
/// What makes it impossible to start, naming flag or object.
pub async fn run(config: SpeakerConfig) -> anyhow::Result<()> {
    let stop = shutdown()?;
    // MetalLB's names are among these, so no prefix of ours.
    let mut registry = Registry::default();
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    let config_metrics = ConfigMetrics::register(&mut registry);
    let ours = registry.sub_registry_with_prefix(OUR_PREFIX);
    let connection = connect(&config.kube, ours).await?;
    let settings = EventSettings {
        component: "metallb-speaker".to_owned(),
        host: Some(config.node_name.clone()),
        ..EventSettings::controller(Vec::new())
    };
    let events = Events::start(connection.client(), settings, ours);
    let node_problems = node::register(ours);
    let conflict_metrics = ConflictMetrics::register(ours);

    let checks = Checks::default();
    let (ask, snapshots) = mpsc::channel(4);
    let admin = Admin {
        checks: checks.clone(),
        registry: Arc::new(registry),
        debug: Arc::new(move || {
            let ask = ask.clone();
            Box::pin(async move { debug_state(&ask).await })
        }),
        guard: (!config.admin.insecure_metrics).then(|| Guard::new(connection.client())),
    };
    let admin_stop = CancellationToken::new();
    let _ends_with_us = admin_stop.clone().drop_guard();
    checks.fail("cluster", "the API server was not reached yet");
    admin::serve(admin, config.admin.listen, admin_stop).await?;

    let cluster = match &config.cluster_id {
        Some(id) => id.clone(),
        None => tokio::select! {
            id = connection.cluster_id(|_| ()) => id,
            () = stop.cancelled() => return Ok(()),
        },
    };
    checks.pass("cluster");
    info!(node = config.node_name, cluster, version = env!("CARGO_PKG_VERSION"), "starting");

    let kinds = causeway_metal::provider::own_kinds();
    let classes = ClassRules {
        classes: config.load_balancer_classes.clone(),
        own_classless: config.own_classless,
        ..ClassRules::default()
    };
    let builder =
        WorldBuilder::new(config.node_name.clone(), classes, kinds.clone(), config.ignore_exclude_lb);
    let (tx, rx) = mpsc::channel(1024);
    let interest = Interest {
        wants: wants(kinds),
        config_namespace: config.config_namespace.clone(),
        all_services: false,
    };
    let watches = start_watches(&connection.client(), &interest, &tx);
    drop(tx);
    watch_checks(&watches, checks.clone());

    let peer = match config.coexist {
        Some(_) => {
            let peer = metallb::follow(connection.client(), config.config_namespace.clone(), Part::Speaker);
            coexist_checks(peer.clone(), checks.clone());
            peer
        }
        None => watch::channel(Presence::Gone).1,
    };
    let (found_tx, found) = watch::channel(None);
    let component =
        Component { namespace: config.config_namespace.clone(), node: Some(config.node_name.clone()) };
    tokio::spawn(peer::while_gone(peer.clone(), {
        let client = connection.client();
        // MetalLB's objects have the same names.
        move || configuration::keep(client.clone(), component.clone(), found.clone())
    }));
    let (view_tx, view) = watch::channel(None);
    let (secrets_tx, secrets) = watch::channel(None);
    tokio::spawn(secrets::follow(connection.client(), config.config_namespace.clone(), secrets_tx));
    let inputs = Inputs { updates: rx, watches, secrets, peer };
    let outputs = Outputs {
        view: view_tx,
        found: found_tx.clone(),
        events: events.clone(),
        node: config.node_name.clone(),
        config_metrics,
        conflict_metrics,
    };
    tokio::spawn(build_worlds(builder, inputs, outputs));
    let (key_tx, keys) = watch::channel(None);
    match config.membership_key.clone() {
        MembershipKey::Secret(name) => {
            tokio::spawn(key::follow_secret(connection.client(), name, key_tx));
        }
        MembershipKey::File(path) => {
            tokio::spawn(async move { key::follow_file(&path, key_tx).await });
        }
    }
    // Room for every announcement of a node that takes all over at once: what is dropped here is missing in status objects too.
    let (event_tx, event_rx) = mpsc::channel(1 << 16);
    let (told_tx, told) = mpsc::unbounded_channel();
    tokio::spawn(l2_status::keep(
        connection.client(),
        config.config_namespace.clone(),
        config.node_name.clone(),
        told,
    ));
    let (met_tx, met) = mpsc::unbounded_channel();
    let (namespace, me) = (config.config_namespace.clone(), config.node_name.clone());
    tokio::spawn(conflicts::keep(connection.client(), namespace, me, met));
    let mut exclude = Exclude::default_patterns();
    exclude.extend(config.exclude_interfaces.iter().map(|pattern| glob(pattern)));
    let this_node = ObjectRef {
        kind: causeway_api::Kind::Node,
        namespace: String::new(),
        name: config.node_name.clone(),
        // As the kubelet's own Events refer to it.
        uid: config.node_name.as_str().into(),
    };
    let told = events.clone();
    tokio::spawn(node::watch(Exclude::new(&exclude)?, node_problems, move |problems| {
        for problem in problems {
            warn!(node = this_node.name, "{problem}");
            told.send(EventNote {
                object: this_node.clone(),
                warning: true,
                reason: reasons::NODE_SETTINGS.to_owned(),
                message: problem.clone(),
            });
        }
        note(&found_tx, NODE_VALID, problems.to_vec());
    }));
    tokio::spawn(say(event_rx, events.clone(), met_tx, told_tx, config.node_name.clone()));
    let (routing_tx, routing) = watch::channel(Arc::default());
    let (sessions_tx, sessions) = watch::channel(Arc::default());
    report_bgp(&connection.client(), &config, routing, sessions, &events);

    let speaker = Config {
        node: config.node_name.clone(),
        cluster,
        heartbeats: Some(Heartbeats {
            port: config.membership_port,
            bind: None,
            interval: config.membership_interval,
            slow: config.membership_slow_interval,
            misses: config.membership_misses,
        }),
        exclude,
        timing: causeway_speaker::l2::Timing::default(),
        inquiry: inquiry::Settings {
            probing: Probing { number: config.address_probes, interval: config.address_probe_interval },
            ahead: config.probe_ahead,
            ..inquiry::Settings::default()
        },
        rules: Rules { failback: config.failback, any_network: config.any_network },
        kube_proxy: config.kube_proxy_health,
    };
    let routers = RouterChannels { routing: routing_tx, sessions: sessions_tx };
    let channels = Channels { view, keys, events: event_tx, snapshots, routers };
    let asked = stop.clone();
    let running = causeway_speaker::run(speaker, channels, metrics, async move { asked.cancelled().await });
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => ended.context("the speaker ended")?,
        () = stop.cancelled() => match tokio::time::timeout(FAREWELL, running).await {
            Ok(ended) => ended.context("the speaker ended")?,
            Err(_) => warn!("handing over took longer than {FAREWELL:?}"),
        },
    }
    info!("stopped");
    Ok(())
}

/// What worlds are made of.
struct Inputs {
    updates: mpsc::Receiver<Update>,
    watches: Watches,
    secrets: watch::Receiver<Option<Secrets>>,
    /// MetalLB, with `--coexist`.
    peer: watch::Receiver<Presence>,
}

/// Where they go, and what is told of them.
struct Outputs {
    view: watch::Sender<Option<View>>,
    found: watch::Sender<Option<Found>>,
    events: Events,
    node: String,
    config_metrics: ConfigMetrics,
    conflict_metrics: ConflictMetrics,
}

/// Worlds out of updates; the first one when every kind was listed.
async fn build_worlds(mut builder: WorldBuilder, inputs: Inputs, out: Outputs) {
    let Inputs { mut updates, watches, mut secrets, mut peer } = inputs;
    let mut states = watches.states();
    // The controller says these on the objects, as far as it can see them; here they explain a silence.
    let log = |(changed, problems): (bool, Vec<Problem>)| {
        for problem in problems {
            warn!(object = %problem.object, field = problem.field, reason = problem.reason, "{}", problem.message);
        }
        changed
    };
    let (mut judged, mut said) = (None, Vec::new());
    let (mut complete, mut stale, mut secrets_known) = (false, true, false);
    loop {
        tokio::select! {
            update = updates.recv() => {
                let Some(update) = update else { return };
                stale |= log(builder.update(update));
                // What has come already is taken in one go, so that a burst makes one world.
                for _ in 0..4096 {
                    let Ok(update) = updates.try_recv() else { break };
                    stale |= log(builder.update(update));
                }
            }
            changed = states.changed(), if !complete => if changed.is_err() { return },
            Ok(()) = secrets.changed() => {
                if let Some(known) = secrets.borrow_and_update().clone() {
                    secrets_known = true;
                    stale |= log(builder.set_secrets(known));
                }
            }
            // Whether it is left to us to announce. Without the flag nobody tells.
            Ok(()) = peer.changed() => stale = true,
        }
        // The states say "synced" after the list was sent: by then it is in the channel or taken.
        complete = complete
            || (crate::kube::watch::missing(&states.borrow_and_update()).is_empty()
                && updates.is_empty()
                && secrets_known);
        if complete && stale {
            let (times, problems) = builder.problems();
            if judged.replace(times) != Some(times) {
                out.config_metrics.read(problems);
                out.conflict_metrics.set(&builder.conflicts());
                note(&out.found, CONFIG_VALID, problems.iter().map(problem_line).collect());
            }
            let standby = !peer.borrow_and_update().gone();
            if !standby && said != builder.only_here() {
                let notes = findings::news(&out.node, &said, builder.only_here());
                notes.into_iter().for_each(|note| out.events.send(note));
                said = builder.only_here().to_vec();
            }
            let world = World { standby, ..builder.world() };
            out.view.send_replace(Some(View {
                world: Arc::new(world),
                peers: Arc::new(builder.peers()),
                conflicts: builder.conflicts(),
            }));
            stale = false;
        }
    }
}

/// Says on the objects what is announced to routers, and how the sessions with them are.
fn report_bgp(
    client: &Client,
    config: &SpeakerConfig,
    mut routing: watch::Receiver<Arc<Routing>>,
    mut sessions: watch::Receiver<Arc<Sessions>>,
    events: &Events,
) {
    let keep = |resource| {
        let (reports_tx, reports) = watch::channel(None);
        let (client, namespace) = (client.clone(), config.config_namespace.clone());
        tokio::spawn(reports::keep(client, resource, namespace, config.node_name.clone(), reports));
        reports_tx
    };
    let (node, say) = (config.node_name.clone(), events.clone());
    let services = keep(ApiResource::erase::<ServiceBGPStatus>(&()));
    tokio::spawn(async move {
        let mut before = Arc::default();
        while routing.changed().await.is_ok() {
            let now = Arc::clone(&routing.borrow_and_update());
            bgp::news(&node, &before, &now).into_iter().for_each(|note| say.send(note));
            services.send_replace(Some(Arc::new(bgp::service_reports(&node, &now))));
            before = now;
        }
    });
    let (node, say) = (config.node_name.clone(), events.clone());
    let states = keep(ApiResource::erase::<BGPSessionState>(&()));
    tokio::spawn(async move {
        let mut before = Arc::default();
        while sessions.changed().await.is_ok() {
            let now = Arc::clone(&sessions.borrow_and_update());
            for note in bgp::session_news(&node, &before, &now) {
                if note.warning {
                    warn!(object = %note.object, "{}", note.message);
                } else {
                    info!(object = %note.object, "{}", note.message);
                }
                say.send(note);
            }
            states.send_replace(Some(Arc::new(bgp::session_reports(&node, &now))));
            before = now;
        }
    });
}

/// What one part finds wrong, beside what the others do.
fn note(found: &watch::Sender<Option<Found>>, condition: &'static str, problems: Vec<String>) {
    found.send_if_modified(|found| {
        let all = found.get_or_insert_default();
        all.insert(condition, problems.clone()).as_ref() != Some(&problems)
    });
}

/// What happens here, as Events, log lines, and status objects.
async fn say(
    mut happened: mpsc::Receiver<SpeakerEvent>,
    events: Events,
    conflicts: mpsc::UnboundedSender<(IpAddr, Met)>,
    statuses: mpsc::UnboundedSender<Told>,
    node: String,
) {
    // These tasks live as long as this one.
    let met = |address, met| {
        let _ended = conflicts.send((address, met));
    };
    let told = |object: &ObjectRef, announced| {
        let service = Path { namespace: object.namespace.clone(), name: object.name.clone() };
        let _ended = statuses.send(Told::Service { service, announced });
    };
    let event = |object: &ObjectRef, warning: bool, reason: &str, message: String| {
        events.send(EventNote { object: object.clone(), warning, reason: reason.to_owned(), message });
    };
    while let Some(happening) = happened.recv().await {
        match happening {
            SpeakerEvent::AnnouncementStarted { object, addresses, interfaces, asked, .. } => {
                info!(%object, ?addresses, ?interfaces, "announcing");
                told(&object, Some(asked));
                let message = format!("announcing from node {node:?} with protocol \"layer2\"");
                event(&object, false, events::NODE_ASSIGNED, message);
            }
            SpeakerEvent::AnnouncementStopped { object, addresses, .. } => {
                info!(%object, ?addresses, "no longer announcing");
                told(&object, None);
            }
            SpeakerEvent::AnnouncementFailed { object, failure, .. } => {
                warn!(%object, "{failure}");
                event(&object, true, events::ANNOUNCE_FAILED, failure.to_string());
            }
            SpeakerEvent::Conflict { address, mac, interface, phase } => {
                match phase {
                    Phase::Probe => {
                        warn!(%address, %mac, interface, "another station uses this address: it is not announced")
                    }
                    Phase::Announced => {
                        warn!(%address, %mac, interface, "another station claims this address: it is defended")
                    }
                }
                met(address, Met::Other { mac: mac.to_string(), interface, phase });
            }
            SpeakerEvent::ConflictResolved { address } => {
                info!(%address, "no other station uses this address any more");
                met(address, Met::Nobody);
            }
            SpeakerEvent::Contested => drop(statuses.send(Told::Contested)),
            SpeakerEvent::Isolated { isolated: true, peers } => {
                warn!(
                    peers,
                    "no other speaker is heard: is the UDP port of heartbeats open between the nodes?"
                );
            }
            SpeakerEvent::Isolated { isolated: false, peers } => {
                info!(peers, "other speakers are heard again")
            }
        }
    }
}

async fn debug_state(ask: &mpsc::Sender<oneshot::Sender<Snapshot>>) -> serde_json::Value {
    let (answer, answered) = oneshot::channel();
    let none = || serde_json::json!({"state": "starting: the API server was not reached yet"});
    if ask.try_send(answer).is_err() {
        return none();
    }
    match tokio::time::timeout(Duration::from_secs(2), answered).await {
        Ok(Ok(snapshot)) => serde_json::to_value(snapshot).unwrap_or_default(),
        _ => none(),
    }
}

/// A pattern with `*` as a regular expression of the whole name.
fn glob(pattern: &str) -> String {
    let mut out = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => out.push_str(".*"),
            c if c.is_ascii_alphanumeric() => out.push(c),
            c => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let exclude = Exclude::new(&[glob("wg*"), glob("eth1.5")]).expect("patterns");
        assert!(exclude.matches("wg0"));
        assert!(!exclude.matches("mywg0"));
        assert!(exclude.matches("eth1.5"));
        assert!(!exclude.matches("eth1x5"));
    }
}
