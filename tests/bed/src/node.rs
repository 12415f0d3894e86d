//! A node of the bed: its namespace, its daemons, its Pods' processes, its power. I/O.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::addresses::NodeAddresses;
use crate::daemon::Running;
use crate::init::Init;
use crate::namespace::Namespace;
use crate::process::{self, Process, Signal};
use crate::segment::Segment;
use crate::topology;

/// How long a killed process may take to be gone.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A node with a data plane.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) init: Init,
    pub(crate) all: Vec<NodeAddresses>,
    pub(crate) index: usize,
}

impl Node {
    /// Its addresses.
    pub fn addresses(&self) -> &NodeAddresses {
        &self.all[self.index]
    }

    /// Its name: that of the Node object, of the namespace and of the bridge port.
    pub fn name(&self) -> &str {
        &self.addresses().name
    }

    /// Its network namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace { init: self.init.clone(), name: self.name().to_owned() }
    }

    /// Runs a program in its network namespace.
    pub fn run(&self, program: &[&str]) -> Result<String> {
        self.namespace().run(program)
    }

    /// Its agent, which stands for the kubelet.
    pub fn agent(&self) -> Running {
        Running { init: self.init.clone(), name: format!("{}-agent", self.name()) }
    }

    /// Its kube-proxy.
    pub fn proxy(&self) -> Running {
        Running { init: self.init.clone(), name: format!("{}-kube-proxy", self.name()) }
    }

    fn segment(&self) -> Segment {
        Segment { lan: Namespace { init: self.init.clone(), name: "lan".to_owned() } }
    }

    /// All processes of the node: agent, kube-proxy, and whatever runs in its namespace or in one of its Pods'.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let all = process::all()?;
        let mut roots = BTreeSet::new();
        for daemon in [self.agent(), self.proxy()] {
            roots.extend(daemon.process()?.map(|process| process.pid));
        }
        let tree = process::descendants(&all, &roots);
        let nets: BTreeSet<&str> =
            tree.iter().filter_map(|pid| all.get(pid)).map(|p| p.net.as_str()).collect();
        let belongs =
            |p: &&Process| tree.contains(&p.pid) || !p.net.is_empty() && nets.contains(p.net.as_str());
        Ok(all.values().filter(belongs).cloned().collect())
    }

    fn pod_tree(&self) -> Result<Vec<Process>> {
        let agent = self.agent().pid()?;
        let mut all = process::all()?;
        let tree = process::descendants(&all, &BTreeSet::from([agent]));
        all.retain(|pid, _| *pid != agent && tree.contains(pid));
        Ok(all.into_values().collect())
    }

    /// The processes that the node's Pods run as programs of this file name, Pods in the node's own network included.
    pub fn program(&self, name: &str) -> Result<Vec<Process>> {
        // The kernel keeps 15 bytes of a process's name.
        let short = name.get(..15).unwrap_or(name);
        Ok(self.pod_tree()?.into_iter().filter(|process| process.name == short).collect())
    }

    /// The processes of the Pod with this address, which is not one in the node's own network.
    pub fn pod(&self, address: Ipv4Addr) -> Result<Vec<Process>> {
        let mut processes = self.pod_tree()?;
        let line = format!("|-- {address}\n");
        let nets: BTreeSet<String> = processes
            .iter()
            .filter(|process| {
                // The table of local addresses of the process's network namespace.
                let table = fs::read_to_string(format!("/proc/{}/net/fib_trie", process.pid));
                table.is_ok_and(|table| table.contains(&line))
            })
            .map(|process| process.net.clone())
            .collect();
        processes.retain(|process| nets.contains(&process.net));
        Ok(processes)
    }

    /// Cuts the power: nothing it sends leaves it, nothing reaches it, all its processes stand still; its link stays up for the others. Answers from
    /// when on it was cut off: stopping every process takes longer than others may need to take over.
    pub fn cut_power(&self) -> Result<Instant> {
        // The network first: no process may still send something while others are stopped already.
        self.segment().set_forwarding(self.name(), false)?;
        let cut = Instant::now();
        // A process may start another between our look and its stop.
        for _ in 0..20 {
            let running: Vec<Process> =
                self.processes()?.into_iter().filter(|p| !matches!(p.state, 'T' | 'Z' | 'X')).collect();
            if running.is_empty() {
                return Ok(cut);
            }
            for process in &running {
                process::send(process.pid, Signal::STOP)?;
            }
        }
        bail!("processes of {} go on after SIGSTOP: {:?}", self.name(), self.processes()?)
    }

    /// Gives the power back: everything goes on where it stood still, as after a long pause of a virtual machine.
    pub fn restore_power(&self) -> Result<()> {
        for process in self.processes()?.iter().filter(|p| p.state == 'T') {
            process::send(process.pid, Signal::CONT)?;
        }
        self.segment().set_forwarding(self.name(), true)
    }

    /// Pulls its cable or plugs it in again: its NIC loses the carrier, and so does the bridge's port.
    pub fn set_carrier(&self, carrier: bool) -> Result<()> {
        self.segment().set_carrier(self.name(), carrier)?;
        if carrier {
            self.configure_nic()?;
        }
        Ok(())
    }

    /// Takes its NIC out altogether.
    pub fn remove_nic(&self) -> Result<()> {
        self.segment().lan.run(&["ip", "link", "del", self.name()])?;
        Ok(())
    }

    /// Puts its NIC back, with the addresses and routes it had.
    pub fn insert_nic(&self) -> Result<()> {
        let (lan, _) = topology::node_nic(self.addresses(), &self.all);
        batch(&self.segment().lan, &lan)?;
        self.configure_nic()
    }

    /// Sets addresses and routes; losing the carrier loses IPv6 addresses and routes that nobody restores.
    fn configure_nic(&self) -> Result<()> {
        let (_, inside) = topology::node_nic(self.addresses(), &self.all);
        let again = inside.replace("addr add", "addr replace").replace("route add", "route replace");
        batch(&self.namespace(), &again)
    }

    /// Kills the node's agent, which ends its Pods, and starts it again.
    pub fn restart_agent(&self) -> Result<()> {
        let agent = self.agent();
        agent.stop(Signal::KILL, STOP_TIMEOUT)?;
        agent.start()
    }

    /// Starts the node anew, with or without power before: no process and no connection survives, addresses do. Its Pods are started again.
    pub fn reboot(&self) -> Result<()> {
        self.segment().set_forwarding(self.name(), false)?;
        // The agent's end takes the Pods with it, and their links.
        self.agent().stop(Signal::KILL, STOP_TIMEOUT)?;
        self.proxy().stop(Signal::KILL, STOP_TIMEOUT)?;
        for family in ["ip", "ip6"] {
            // `add` before `delete` makes deletion right whether the table exists or not.
            self.run(&["nft", &format!("add table {family} kube-proxy; delete table {family} kube-proxy")])?;
        }
        for family in ["ipv4", "ipv6"] {
            self.run(&["conntrack", "-F", "-f", family])?;
        }
        self.run(&["ip", "neigh", "flush", "dev", "eth0"])?;
        self.segment().set_forwarding(self.name(), true)?;
        self.agent().start()?;
        self.proxy().start()
    }
}

/// Runs lines of `ip` commands in a namespace.
fn batch(namespace: &Namespace, lines: &str) -> Result<()> {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = vec!["ip"];
        words.extend(line.split_whitespace());
        let output = namespace.output(&words, Duration::from_secs(5)).context("ip")?;
        ensure!(
            output.status.success(),
            "ip {line} in {}: {}",
            namespace.name(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
