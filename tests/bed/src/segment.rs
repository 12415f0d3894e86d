//! Faults of the nodes' segment: ports switched off, links lost, partitions, packet loss. I/O.
//!
//! The partition and loss rules are in nft tables of family `bridge` in namespace `lan`: frames between two ports of the bridge pass its
//! forward hook, broadcast ones once per port they leave by.

use anyhow::{Result, ensure};

use crate::namespace::Namespace;

const PARTITION: &str = "partition";

/// The bridge that joins control plane, nodes, client and router. A port is named after the namespace behind it.
#[derive(Clone, Debug)]
pub struct Segment {
    pub(crate) lan: Namespace,
}

impl Segment {
    /// Lets a port forward frames, or not. Its peer notices nothing: the carrier stays.
    pub fn set_forwarding(&self, port: &str, forwards: bool) -> Result<()> {
        // BR_STATE_DISABLED is 0, BR_STATE_FORWARDING 3 (linux/if_bridge.h).
        self.lan.run(&["bridge", "link", "set", "dev", port, "state", if forwards { "3" } else { "0" }])?;
        Ok(())
    }

    /// Takes the carrier of the NIC behind a port away, or gives it back.
    pub fn set_carrier(&self, port: &str, carrier: bool) -> Result<()> {
        self.lan.run(&["ip", "link", "set", port, if carrier { "up" } else { "down" }])?;
        Ok(())
    }

    /// Drops all frames between any two ports of `left` and `right`; other ports still reach both. Replaces an earlier partition.
    pub fn partition(&self, left: &[&str], right: &[&str]) -> Result<()> {
        for port in left.iter().chain(right) {
            self.check(port)?;
        }
        let (left, right) = (set(left), set(right));
        self.heal()?;
        self.lan.run(&[
            "nft",
            &format!(
                "table bridge {PARTITION} {{ chain forward {{ type filter hook forward priority 0;
                   iifname {left} oifname {right} drop; iifname {right} oifname {left} drop; }}; }}"
            ),
        ])?;
        Ok(())
    }

    /// Ends a partition; without one it does nothing.
    pub fn heal(&self) -> Result<()> {
        // `add` before `delete` makes deletion right whether the table exists or not.
        self.lan.run(&["nft", &format!("add table bridge {PARTITION}; delete table bridge {PARTITION}")])?;
        Ok(())
    }

    /// Loses `percent` of the frames to and from a port, at random; 0 ends it.
    pub fn set_loss(&self, port: &str, percent: u8) -> Result<()> {
        self.check(port)?;
        ensure!(percent <= 100, "a loss of {percent} % is impossible");
        let table = format!("loss_{port}");
        let mut rules = format!("add table bridge {table}; delete table bridge {table}");
        if percent > 0 {
            // A comparison that is always true is refused by nft.
            let chance =
                if percent < 100 { format!("numgen random mod 100 < {percent}") } else { String::new() };
            rules = format!(
                "{rules}; table bridge {table} {{ chain forward {{ type filter hook forward priority 1;
                   iifname {port} {chance} drop; oifname {port} {chance} drop; }}; }}"
            );
        }
        self.lan.run(&["nft", &rules])?;
        Ok(())
    }

    fn check(&self, port: &str) -> Result<()> {
        self.lan.run(&["ip", "link", "show", "dev", port])?;
        Ok(())
    }
}

fn set(ports: &[&str]) -> String {
    format!("{{ {} }}", ports.join(", "))
}
