//! The processes of a bed, read from `/proc`, and signals to them. I/O.
//!
//! A bed's processes live in its own pid namespace and those of Pods in further ones below. Seen from the owner they have ordinary
//! pids too: those are what this module speaks of ("outer pid"), except where it says "inner".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
pub use rustix::process::Signal;

/// One process as `/proc` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// Outer pid.
    pub pid: i32,
    /// Outer pid of its parent; 0 when that one is outside of what we see.
    pub parent: i32,
    /// Its pids from the owner's pid namespace inwards (`NSpid` of proc_pid_status(5)).
    pub pids: Vec<i32>,
    /// First 15 bytes of the program's name.
    pub name: String,
    /// `T` when stopped, `Z` when dead and not yet collected, and so on (proc_pid_status(5)).
    pub state: char,
    /// Which network namespace it is in, such as `net:[4026532281]`; empty if that cannot be read any more.
    pub net: String,
}

/// Parses the lines of `/proc/PID/status` that matter here; pure.
fn parse_status(text: &str) -> Option<Process> {
    let fields: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k, v.trim())).collect();
    let pids: Vec<i32> = fields.get("NSpid")?.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    Some(Process {
        pid: fields.get("Pid")?.parse().ok()?,
        parent: fields.get("PPid")?.parse().ok()?,
        pids,
        name: (*fields.get("Name")?).to_owned(),
        state: fields.get("State")?.chars().next()?,
        net: String::new(),
    })
}

/// All processes the owner sees, by pid. One that ends while we read is left out.
pub fn all() -> Result<BTreeMap<i32, Process>> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let Some(mut process) = parse_status(&status) else { continue };
        if let Ok(net) = fs::read_link(format!("/proc/{pid}/ns/net")) {
            process.net = net.to_string_lossy().into_owned();
        }
        processes.insert(pid, process);
    }
    Ok(processes)
}

/// `roots` and everything that descends from them; pure.
pub fn descendants(processes: &BTreeMap<i32, Process>, roots: &BTreeSet<i32>) -> BTreeSet<i32> {
    let mut found = roots.clone();
    loop {
        let before = found.len();
        found.extend(
            processes.values().filter(|p| found.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

/// Sends `signal` to an outer pid; a process that is gone already is not an error.
pub fn send(pid: i32, signal: Signal) -> Result<()> {
    let target = rustix::process::Pid::from_raw(pid).with_context(|| format!("{pid} is not a pid"))?;
    match rustix::process::kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("sending {signal:?} to {pid}")),
    }
}

/// Kills `pid` and all that descends from it.
pub fn kill_tree(pid: i32) -> Result<()> {
    for pid in descendants(&all()?, &BTreeSet::from([pid])) {
        send(pid, Signal::KILL)?;
    }
    Ok(())
}

/// Resident memory, in bytes (proc_pid_status(5)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// All of it: `VmRSS`.
    pub resident: u64,
    /// What belongs to the process alone and is no file: `RssAnon`.
    pub anonymous: u64,
}

/// The memory of a process.
pub fn memory(pid: i32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    parse_memory(&fs::read_to_string(&path).with_context(|| format!("reading {path}"))?)
        .with_context(|| format!("{path} does not say how much memory is resident"))
}

fn parse_memory(text: &str) -> Option<Memory> {
    let bytes = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_parsed() {
        let text = "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t  24 kB\nRssAnon:\t   8 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { resident: 24 * 1024, anonymous: 8 * 1024 }));
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, pids: vec![pid], name: "x".into(), state: 'S', net: String::new() }
    }

    #[test]
    fn status_is_parsed() {
        let text = "Name:\tkube-proxy x\nState:\tT (stopped)\nPid:\t812\nPPid:\t1\nNSpid:\t812\t14\n";
        let parsed = parse_status(text).unwrap();
        assert_eq!((parsed.pid, parsed.parent, parsed.state), (812, 1, 'T'));
        assert_eq!(parsed.pids, [812, 14]);
        assert_eq!(parsed.name, "kube-proxy x");
        assert_eq!(parse_status("Name: half of a file"), None);
    }

    #[test]
    fn descendants_are_found_whatever_the_order_of_pids() {
        let all: BTreeMap<i32, Process> = [process(5, 9), process(9, 20), process(20, 1), process(7, 1)]
            .into_iter()
            .map(|p| (p.pid, p))
            .collect();
        assert_eq!(descendants(&all, &BTreeSet::from([20])), BTreeSet::from([5, 9, 20]));
    }
}
