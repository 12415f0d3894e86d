//! What the speaker counts. Pure but for the counters themselves.
//!
//! Names that begin with `metallb_` are MetalLB's, kept so that dashboards and alerts go on working.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;

use causeway_metal::fleet::Unfit;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::bfd_run::BfdMetrics;
use crate::l2::DropReason;
use crate::membership::{Ignored, Liveness};

/// A count that must not be called a counter: OpenMetrics would append `_total` to its name, which MetalLB's has not.
pub type NamedCount = Gauge<u64, AtomicU64>;

/// An address as label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressLabel(pub IpAddr);

impl EncodeLabelValue for AddressLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        write!(encoder, "{}", self.0)
    }
}

/// By address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByAddress {
    /// The address.
    pub ip: AddressLabel,
}

/// By reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    /// A word of a fixed set.
    pub reason: &'static str,
}

/// By state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByState {
    /// A word of a fixed set.
    pub state: &'static str,
}

/// An announcement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnnouncedLabels {
    /// `namespace/name`.
    pub service: String,
    /// `layer2`.
    pub protocol: &'static str,
    /// This node.
    pub node: String,
    /// The address.
    pub ip: AddressLabel,
}

/// All metrics of a speaker. Cloning gives the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Questions for addresses that are announced here.
    pub requests_received: Family<ByAddress, NamedCount>,
    /// Answers.
    pub responses_sent: Family<ByAddress, NamedCount>,
    /// Frames sent unasked.
    pub gratuitous_sent: Family<ByAddress, NamedCount>,
    /// 1 for everything that this node announces.
    pub announced: Family<AnnouncedLabels, NamedCount>,
    /// Frames that were not answered.
    pub frames_dropped: Family<ByReason, Counter>,
    /// Frames and datagrams that the kernel would not send.
    pub send_errors: Counter,
    /// Peers by what is thought of them.
    pub peers: Family<ByState, NamedCount>,
    /// 1 while there are peers and none of them is heard.
    pub isolated: NamedCount,
    /// Heartbeats sent.
    pub heartbeats_sent: Counter,
    /// Heartbeats that were valid.
    pub heartbeats_received: Counter,
    /// Datagrams that were not.
    pub heartbeats_ignored: Family<ByReason, Counter>,
    /// How often the speaker was not run in time to judge its peers.
    pub stalls: Counter,
    /// How often it was decided who announces a load balancer.
    pub elections: Counter,
    /// 1 for every reason for which this node would rather not announce.
    pub unfit: Family<ByReason, NamedCount>,
    /// Events that nobody took in time.
    pub events_dropped: Counter,
    /// BFD.
    pub bfd: BfdMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics at zero, with every reason that there is.
    pub fn new() -> Self {
        let metrics = Metrics {
            requests_received: Default::default(),
            responses_sent: Default::default(),
            gratuitous_sent: Default::default(),
            announced: Default::default(),
            frames_dropped: Default::default(),
            send_errors: Default::default(),
            peers: Default::default(),
            isolated: Default::default(),
            heartbeats_sent: Default::default(),
            heartbeats_received: Default::default(),
            heartbeats_ignored: Default::default(),
            stalls: Default::default(),
            elections: Default::default(),
            unfit: Default::default(),
            events_dropped: Default::default(),
            bfd: BfdMetrics::new(),
        };
        for reason in DropReason::ALL {
            drop(metrics.frames_dropped.get_or_create(&ByReason { reason: reason.name() }));
        }
        metrics.set_unfit(&BTreeSet::new());
        for reason in Ignored::ALL {
            drop(metrics.heartbeats_ignored.get_or_create(&ByReason { reason: reason.name() }));
        }
        metrics
    }

    /// Makes them part of what is scraped. The registry must have no prefix: these names are complete.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "metallb_layer2_requests_received",
            "Number of layer2 requests received for owned IPs",
            self.requests_received.clone(),
        );
        registry.register(
            "metallb_layer2_responses_sent",
            "Number of layer2 responses sent for owned IPs in response to requests",
            self.responses_sent.clone(),
        );
        registry.register(
            "metallb_layer2_gratuitous_sent",
            "Number of gratuitous layer2 packets sent for owned IPs as a result of failovers",
            self.gratuitous_sent.clone(),
        );
        registry.register(
            "metallb_speaker_announced",
            "Services being announced from this node. This is desired state, it does not guarantee that the routing protocols have converged",
            self.announced.clone(),
        );
        registry.register(
            "causeway_layer2_frames_dropped",
            "Received frames that were not answered",
            self.frames_dropped.clone(),
        );
        registry.register(
            "causeway_speaker_send_errors",
            "Frames and datagrams that could not be sent",
            self.send_errors.clone(),
        );
        registry.register("causeway_speaker_peers", "Other speakers, by liveness", self.peers.clone());
        registry.register(
            "causeway_speaker_isolated",
            "1 while there are peers and none of them is heard",
            self.isolated.clone(),
        );
        registry.register(
            "causeway_speaker_heartbeats_sent",
            "Heartbeats sent",
            self.heartbeats_sent.clone(),
        );
        registry.register(
            "causeway_speaker_heartbeats_received",
            "Valid heartbeats received",
            self.heartbeats_received.clone(),
        );
        registry.register(
            "causeway_speaker_heartbeats_ignored",
            "Datagrams on the heartbeat port that were ignored",
            self.heartbeats_ignored.clone(),
        );
        registry.register(
            "causeway_speaker_stalls",
            "Times that the speaker was not run for so long that it could not judge its peers",
            self.stalls.clone(),
        );
        registry.register(
            "causeway_speaker_elections",
            "Elections held: one each time that it is decided which node announces one load balancer",
            self.elections.clone(),
        );
        registry.register(
            "causeway_speaker_unfit",
            "1 for each reason for which this node hands over to others where it can",
            self.unfit.clone(),
        );
        registry.register(
            "causeway_speaker_events_dropped",
            "Events that were not taken in time",
            self.events_dropped.clone(),
        );
        self.bfd.register(registry);
    }

    /// An address is announced no more: its counters go, so that there are never more than there are announced addresses.
    pub(crate) fn forget(&self, address: IpAddr) {
        let labels = ByAddress { ip: AddressLabel(address) };
        self.requests_received.remove(&labels);
        self.responses_sent.remove(&labels);
        self.gratuitous_sent.remove(&labels);
    }

    pub(crate) fn set_unfit(&self, unfit: &BTreeSet<Unfit>) {
        for why in Unfit::ALL {
            let reason = match why {
                Unfit::KubeProxy => "kubeProxy",
                Unfit::Drained => "drained",
            };
            self.unfit.get_or_create(&ByReason { reason }).set(u64::from(unfit.contains(&why)));
        }
    }

    pub(crate) fn set_peers(&self, peers: impl Iterator<Item = Liveness>) {
        let mut counts = [
            (Liveness::Presumed, "presumed", 0),
            (Liveness::Alive, "alive", 0),
            (Liveness::Dead, "dead", 0),
            (Liveness::Left, "left", 0),
        ];
        for peer in peers {
            for (liveness, _, count) in &mut counts {
                *count += u64::from(*liveness == peer);
            }
        }
        for (_, state, count) in counts {
            self.peers.get_or_create(&ByState { state }).set(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scraped(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
        text
    }

    #[test]
    fn metallbs_names_and_labels_to_the_letter() {
        let metrics = Metrics::new();
        let ip = AddressLabel("192.0.2.1".parse().expect("an address"));
        metrics.requests_received.get_or_create(&ByAddress { ip }).inc();
        metrics.responses_sent.get_or_create(&ByAddress { ip }).inc();
        metrics.gratuitous_sent.get_or_create(&ByAddress { ip }).inc_by(2);
        let service = "default/web".to_owned();
        let labels = AnnouncedLabels { service, protocol: "layer2", node: "n1".into(), ip };
        metrics.announced.get_or_create(&labels).set(1);
        let text = scraped(&metrics);
        for line in [
            "metallb_layer2_requests_received{ip=\"192.0.2.1\"} 1\n",
            "metallb_layer2_responses_sent{ip=\"192.0.2.1\"} 1\n",
            "metallb_layer2_gratuitous_sent{ip=\"192.0.2.1\"} 2\n",
            "metallb_speaker_announced{service=\"default/web\",protocol=\"layer2\",node=\"n1\",ip=\"192.0.2.1\"} 1\n",
            "causeway_layer2_frames_dropped_total{reason=\"notAnnounced\"} 0\n",
            "causeway_speaker_heartbeats_ignored_total{reason=\"forged\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn an_address_that_went_leaves_no_series() {
        let metrics = Metrics::new();
        let address = "192.0.2.1".parse().expect("an address");
        metrics.requests_received.get_or_create(&ByAddress { ip: AddressLabel(address) }).inc();
        metrics.forget(address);
        assert!(!scraped(&metrics).contains("192.0.2.1"));
    }

    #[test]
    fn peers_are_counted_by_state() {
        let metrics = Metrics::new();
        metrics.set_peers([Liveness::Alive, Liveness::Dead, Liveness::Alive].into_iter());
        let text = scraped(&metrics);
        assert!(text.contains("causeway_speaker_peers{state=\"alive\"} 2\n"), "{text}");
        assert!(text.contains("causeway_speaker_peers{state=\"dead\"} 1\n"), "{text}");
        assert!(text.contains("causeway_speaker_peers{state=\"left\"} 0\n"), "{text}");
    }
}
