//! The page of metrics, read off what is registered: each metric is touched once, so that it shows, and the text that a scrape
//! would give is made a table. A metric that is not touched here would be missing, so a test counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::{GENERATED, cell};
use crate::engine::metrics::{ByCause, ByResult, ByVerb, Metrics};
#[cfg(feature = "metal")]
use crate::run::allocator_metrics::AllocatorMetrics;
#[cfg(feature = "metal")]
use causeway_metal::limits::PoolUse;

/// The page.
pub(super) fn page() -> String {
    let mut out = format!("{GENERATED}# Metrics\n\n");
    out.push_str(
        "Served at `/metrics` of the admin port. The caller needs a token that may `get` the non-resource URL `/metrics`, unless \
         `--insecure-metrics` is set.\n",
    );
    section(&mut out, "Controller", &controller());
    #[cfg(feature = "metal")]
    section(&mut out, "Speaker", &speaker());
    out
}

/// Everything that a controller registers.
fn controller() -> Registry {
    let mut registry = Registry::default();
    let metrics = Metrics::default();
    let word = String::new;
    drop(metrics.syncs.get_or_create(&ByCause { cause: word() }));
    drop(metrics.results.get_or_create(&ByResult { result: word() }));
    drop(metrics.changes.get_or_create(&ByVerb { verb: word() }));
    #[cfg(feature = "metal")]
    drop(crate::kube::configuration::ConfigMetrics::register(&mut registry));
    let ours = registry.sub_registry_with_prefix("causeway");
    metrics.register(ours);
    kubernetes(ours);
    drop(crate::nodes::run::Metrics::register(ours));
    drop(crate::kube::webhooks::Metrics::register(ours));
    #[cfg(feature = "metal")]
    AllocatorMetrics::new(|| vec![PoolUse::default()]).register(&mut registry);
    registry
}

/// What both register for their way to the API server. The registry's prefix is `causeway`.
fn kubernetes(registry: &mut Registry) {
    crate::kube::client::show_metrics(registry);
    drop(crate::kube::events::counters(registry));
}

/// Everything that a speaker registers.
#[cfg(feature = "metal")]
fn speaker() -> Registry {
    use causeway_speaker::metrics::{AddressLabel, AnnouncedLabels, ByAddress, ByState, Metrics};

    let mut registry = Registry::default();
    let metrics = Metrics::new();
    metrics.bgp.show();
    metrics.bfd.show();
    let ip = AddressLabel(std::net::Ipv4Addr::UNSPECIFIED.into());
    for family in [&metrics.requests_received, &metrics.responses_sent, &metrics.gratuitous_sent] {
        drop(family.get_or_create(&ByAddress { ip }));
    }
    drop(metrics.announced.get_or_create(&AnnouncedLabels {
        service: String::new(),
        protocol: "",
        node: String::new(),
        ip,
    }));
    drop(metrics.peers.get_or_create(&ByState { state: "" }));
    metrics.register(&mut registry);
    drop(crate::kube::configuration::ConfigMetrics::register(&mut registry));
    let ours = registry.sub_registry_with_prefix("causeway");
    kubernetes(ours);
    drop(crate::speaker::node::register(ours));
    drop(crate::speaker::conflicts::ConflictMetrics::register(ours));
    registry
}

fn section(out: &mut String, title: &str, registry: &Registry) {
    let _ = write!(out, "\n## {title}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for (name, metric) in read(registry) {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        // A counter's samples end in _total, and that is the name to ask for.
        let suffix = if metric.kind == "counter" { "_total" } else { "" };
        let _ = writeln!(
            out,
            "| `{name}{suffix}` | {} | {} | {} |",
            metric.kind,
            labels.join(" "),
            cell(&metric.help)
        );
    }
}

#[derive(Default)]
struct Described {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

/// The metrics of a registry by name, out of the text that a scrape gives.
fn read(registry: &Registry) -> BTreeMap<String, Described> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, registry);
    let mut metrics: BTreeMap<String, Described> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), help) => {
                current = name.to_owned();
                // The library ends each help with a full stop of its own.
                help.unwrap_or_default().clone_into(&mut metrics.entry(current.clone()).or_default().help);
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
            }
            (Some("#"), ..) => {}
            _ => {
                let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map(|(l, _)| l);
                if let (Some(metric), Some(labels)) = (metrics.get_mut(&current), labels) {
                    let names = labels.split("\",").filter_map(|l| l.split_once('=')).map(|(name, _)| name);
                    metric.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
                }
            }
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registered metrics, shown or not: the registry tells of those that have no value yet only in its debug output.
    fn registered(registry: &Registry) -> usize {
        format!("{registry:?}").matches("Descriptor {").count()
    }

    #[test]
    fn no_metric_is_missing() {
        // Those of the allocator are made at each scrape.
        #[cfg(feature = "metal")]
        let made = crate::run::allocator_metrics::TABLE.len();
        #[cfg(not(feature = "metal"))]
        let made = 0;
        assert_eq!(read(&controller()).len(), registered(&controller()) + made);
        #[cfg(feature = "metal")]
        assert_eq!(read(&speaker()).len(), registered(&speaker()));
    }

    #[test]
    fn labels_and_types_are_read() {
        let metrics = read(&controller());
        let syncs = &metrics["causeway_syncs"];
        assert_eq!(
            (syncs.kind.as_str(), syncs.labels.iter().next().map(String::as_str)),
            ("counter", Some("cause"))
        );
        assert!(metrics["causeway_sync_seconds"].labels.is_empty());
    }
}
