//! What a speaker must be told before it starts, and the bounds of that. Pure.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use causeway_metal::fleet::Rules;

use crate::inquiry;
use crate::interfaces::{BadPattern, Exclude};
use crate::l2::Timing;

/// How a speaker is to work. `validate` names what is wrong with it.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name, as Kubernetes has it.
    pub node: String,
    /// The cluster's id, 1 to 255 octets.
    pub cluster: String,
    /// How peers are watched; `None` counts every Node as alive, so that nothing fails over.
    pub heartbeats: Option<Heartbeats>,
    /// Regular expressions of interfaces that never announce; [`Exclude::default_patterns`] if the user gives none.
    pub exclude: Vec<String>,
    /// When addresses are said unasked.
    pub timing: Timing,
    /// How the segment is asked whether somebody else has an address.
    pub inquiry: inquiry::Settings,
    /// How nodes are elected.
    pub rules: Rules,
    /// Where kube-proxy on this node answers its health check; `None` if it is not to be asked.
    pub kube_proxy: Option<SocketAddr>,
}

/// Settings of the heartbeats. What they cost and give is told in [`crate::membership`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeats {
    /// UDP port, the same on all nodes; [`crate::membership::DEFAULT_PORT`].
    pub port: u16,
    /// The local address to bind to; `None` for all, of both families.
    pub bind: Option<IpAddr>,
    /// Time between heartbeats of nodes that stand for the same address, 10 ms to 10 s.
    pub interval: Duration,
    /// Time between those of others, from `interval` to 10 s.
    pub slow: Duration,
    /// How many may be missed, 2 to 100.
    pub misses: u32,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Heartbeats {
            port: crate::membership::DEFAULT_PORT,
            bind: None,
            interval: Duration::from_millis(100),
            slow: Duration::from_secs(1),
            misses: 3,
        }
    }
}

/// Why a speaker does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum SpeakerError {
    /// A setting is out of its bounds.
    #[error("{field} is {value}: it must be {bounds}")]
    Setting {
        /// Name of the field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        bounds: &'static str,
    },
    /// An exclude pattern is none.
    #[error(transparent)]
    Exclude(#[from] BadPattern),
    /// The heartbeat socket cannot be opened.
    #[error(
        "cannot listen on UDP {address} for heartbeats: {source}. If the port is taken, give all speakers another one"
    )]
    Listen {
        /// What was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), SpeakerError> {
        let check = |holds: bool, field, value: String, bounds| {
            if holds { Ok(()) } else { Err(SpeakerError::Setting { field, value, bounds }) }
        };
        let (node, cluster) = (self.node.len(), self.cluster.len());
        check((1..=253).contains(&node), "node name", format!("{:?}", self.node), "1 to 253 octets long")?;
        check(
            (1..=255).contains(&cluster),
            "cluster id",
            format!("{:?}", self.cluster),
            "1 to 255 octets long",
        )?;
        if let Some(Heartbeats { port, interval, slow, misses, .. }) = self.heartbeats {
            let bounds = Duration::from_millis(10)..=Duration::from_secs(10);
            check(port != 0, "heartbeat port", port.to_string(), "1 to 65535")?;
            check(bounds.contains(&interval), "heartbeat interval", format!("{interval:?}"), "10ms to 10s")?;
            let slow_bounds = interval..=Duration::from_secs(10);
            let bounds = "between the other interval and 10s";
            check(slow_bounds.contains(&slow), "slow heartbeat interval", format!("{slow:?}"), bounds)?;
            check((2..=100).contains(&misses), "missed heartbeats", misses.to_string(), "2 to 100")?;
        }
        let inquiry::Settings { probing, ahead, .. } = self.inquiry;
        let bounds = Duration::from_millis(10)..=Duration::from_secs(10);
        check(probing.number <= 10, "address probes", probing.number.to_string(), "0 to 10")?;
        check(
            bounds.contains(&probing.interval),
            "address probe interval",
            format!("{:?}", probing.interval),
            "10ms to 10s",
        )?;
        check(ahead <= 256, "addresses probed ahead", ahead.to_string(), "0 to 256")?;
        Exclude::new(&self.exclude)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn sound() -> Config {
        Config {
            node: "n1".into(),
            cluster: "c".into(),
            heartbeats: Some(Heartbeats::default()),
            exclude: Exclude::default_patterns(),
            timing: Timing::default(),
            inquiry: inquiry::Settings::default(),
            rules: Rules::default(),
            kube_proxy: None,
        }
    }

    fn inquiry(change: impl FnOnce(&mut inquiry::Settings)) -> Config {
        let mut inquiry = inquiry::Settings::default();
        change(&mut inquiry);
        Config { inquiry, ..sound() }
    }

    fn heartbeats(change: impl FnOnce(&mut Heartbeats)) -> Config {
        let mut heartbeats = Heartbeats::default();
        change(&mut heartbeats);
        Config { heartbeats: Some(heartbeats), ..sound() }
    }

    #[test]
    fn defaults_are_sound() {
        assert!(sound().validate().is_ok());
        assert!(Config { heartbeats: None, ..sound() }.validate().is_ok());
    }

    #[rstest]
    #[case(Config { node: String::new(), ..sound() }, "node name is \"\"")]
    #[case(Config { cluster: "x".repeat(256), ..sound() }, "cluster id")]
    #[case(Config { exclude: vec!["(".into()], ..sound() }, "interface exclude pattern \"(\"")]
    #[case(heartbeats(|h| h.port = 0), "heartbeat port is 0")]
    #[case(heartbeats(|h| h.misses = 1), "missed heartbeats is 1: it must be 2 to 100")]
    #[case(heartbeats(|h| h.interval = Duration::from_millis(9)), "heartbeat interval is 9ms")]
    #[case(heartbeats(|h| h.interval = Duration::from_secs(11)), "heartbeat interval is 11s")]
    #[case(inquiry(|i| i.probing.number = 11), "address probes is 11: it must be 0 to 10")]
    #[case(inquiry(|i| i.probing.interval = Duration::from_secs(11)), "address probe interval is 11s")]
    #[case(inquiry(|i| i.ahead = 257), "addresses probed ahead is 257")]
    #[case(heartbeats(|h| h.slow = Duration::from_millis(99)), "slow heartbeat interval is 99ms")]
    #[case(heartbeats(|h| h.slow = Duration::from_secs(11)), "slow heartbeat interval is 11s")]
    fn what_is_out_of_bounds_is_named(#[case] config: Config, #[case] text: &str) {
        let error = config.validate().expect_err("out of bounds").to_string();
        assert!(error.starts_with(text), "{error}");
    }
}
