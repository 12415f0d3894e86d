//! What BFD counts. Pure but for the counters themselves.
//!
//! Names that begin with `metallb_` are MetalLB's, with its labels; there is no VRF but the default one, whose name MetalLB leaves empty.

use std::net::IpAddr;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::bfd::Discarded;
use crate::metrics::{ByReason, NamedCount};

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NeighborLabels {
    /// Its address; of a link-local one `address%interface`, since others may have the same.
    pub peer: String,
    /// Empty.
    pub vrf: &'static str,
}

impl NeighborLabels {
    pub(crate) fn new(address: IpAddr, interface: Option<&str>) -> Self {
        let zone = interface.filter(|_| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()));
        let peer = zone.map_or_else(|| address.to_string(), |zone| format!("{address}%{zone}"));
        NeighborLabels { peer, vrf: "" }
    }
}

type ByNeighbor = Family<NeighborLabels, NamedCount>;

/// All metrics of BFD. Cloning gives the same counters.
#[derive(Debug, Clone)]
pub struct BfdMetrics {
    /// 1 while the session is Up.
    pub session_up: ByNeighbor,
    /// Control packets that were received for the session.
    pub control_input: ByNeighbor,
    /// Control packets that were sent.
    pub control_output: ByNeighbor,
    /// Echo packets that came back.
    pub echo_input: ByNeighbor,
    /// Echo packets that were sent.
    pub echo_output: ByNeighbor,
    /// How often it came up.
    pub ups: ByNeighbor,
    /// How often it went down.
    pub downs: ByNeighbor,
    /// Datagrams and packets that were discarded.
    pub discarded: Family<ByReason, Counter>,
    /// Packets that the kernel would not send.
    pub send_errors: Counter,
    /// How often this process was not run in time to judge a neighbour.
    pub stalls: Counter,
}

impl Default for BfdMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl BfdMetrics {
    /// Metrics at zero, with every reason that there is.
    pub fn new() -> Self {
        let metrics = BfdMetrics {
            session_up: Default::default(),
            control_input: Default::default(),
            control_output: Default::default(),
            echo_input: Default::default(),
            echo_output: Default::default(),
            ups: Default::default(),
            downs: Default::default(),
            discarded: Default::default(),
            send_errors: Default::default(),
            stalls: Default::default(),
        };
        for reason in Discarded::ALL {
            drop(metrics.discarded.get_or_create(&ByReason { reason: reason.name() }));
        }
        metrics
    }

    /// Makes them part of what is scraped. The registry must have no prefix: these names are complete.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, family) in [
            ("session_up", "BFD session state (1 is up, 0 is down)", &self.session_up),
            ("control_packet_input", "Number of received BFD packets", &self.control_input),
            ("control_packet_output", "Number of sent BFD packets", &self.control_output),
            ("echo_packet_input", "Number of received BFD echo packets", &self.echo_input),
            ("echo_packet_output", "Number of sent BFD echo packets", &self.echo_output),
            ("session_up_events", "Number of BFD session up events", &self.ups),
            ("session_down_events", "Number of BFD session down events", &self.downs),
        ] {
            registry.register(format!("metallb_bfd_{name}"), help, family.clone());
        }
        registry.register(
            "causeway_bfd_discarded",
            "Packets on the ports of BFD that were discarded",
            self.discarded.clone(),
        );
        registry.register(
            "causeway_bfd_send_errors",
            "Packets of BFD that could not be sent",
            self.send_errors.clone(),
        );
        registry.register(
            "causeway_bfd_stalls",
            "Times that a neighbor's silence was forgiven because the speaker was not run",
            self.stalls.clone(),
        );
    }

    /// Lets each show although there is no neighbour: for the page about metrics.
    pub fn show(&self) {
        drop(self.of(&NeighborLabels { peer: String::new(), vrf: "" }));
    }

    /// The counters of one neighbour, at zero if they are new.
    pub(crate) fn of(&self, labels: &NeighborLabels) -> Counters {
        let counter = |family: &ByNeighbor| family.get_or_create_owned(labels);
        Counters {
            session_up: counter(&self.session_up),
            control_input: counter(&self.control_input),
            control_output: counter(&self.control_output),
            echo_input: counter(&self.echo_input),
            echo_output: counter(&self.echo_output),
            ups: counter(&self.ups),
            downs: counter(&self.downs),
        }
    }

    /// The neighbour is none any more.
    pub(crate) fn forget(&self, labels: &NeighborLabels) {
        for family in [
            &self.session_up,
            &self.control_input,
            &self.control_output,
            &self.echo_input,
            &self.echo_output,
            &self.ups,
            &self.downs,
        ] {
            family.remove(labels);
        }
    }

    pub(crate) fn discard(&self, reason: Discarded) {
        self.discarded.get_or_create(&ByReason { reason: reason.name() }).inc();
    }
}

/// Counters at hand, so that counting takes no lock.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    pub(crate) session_up: NamedCount,
    pub(crate) control_input: NamedCount,
    pub(crate) control_output: NamedCount,
    pub(crate) echo_input: NamedCount,
    pub(crate) echo_output: NamedCount,
    pub(crate) ups: NamedCount,
    pub(crate) downs: NamedCount,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scraped(metrics: &BfdMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
        text
    }

    #[test]
    fn metallbs_names_and_labels_to_the_letter() {
        let metrics = BfdMetrics::new();
        let labels = NeighborLabels::new("192.0.2.1".parse().expect("an address"), Some("eth0"));
        let counters = metrics.of(&labels);
        counters.session_up.set(1);
        counters.control_input.inc_by(7);
        let text = scraped(&metrics);
        for (name, value) in [
            ("session_up", 1),
            ("control_packet_input", 7),
            ("control_packet_output", 0),
            ("echo_packet_input", 0),
            ("echo_packet_output", 0),
            ("session_up_events", 0),
            ("session_down_events", 0),
        ] {
            let line = format!("metallb_bfd_{name}{{peer=\"192.0.2.1\",vrf=\"\"}} {value}\n");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.contains("causeway_bfd_discarded_total{reason=\"ttl\"} 0\n"), "{text}");
        metrics.forget(&labels);
        assert!(!scraped(&metrics).contains("192.0.2.1"));
    }

    #[test]
    fn link_local_neighbors_are_told_apart() {
        let labels = |text: &str| NeighborLabels::new(text.parse().expect("an address"), Some("eth1"));
        assert_eq!(labels("fe80::1").peer, "fe80::1%eth1");
        assert_eq!(labels("2001:db8::1").peer, "2001:db8::1");
    }
}
