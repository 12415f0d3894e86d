//! Long-running programs of a bed: started inside its namespaces, with a log and a record from which they can be started again. I/O.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::init::{Init, STATE_DIR};
use crate::process::{self, Process, Signal};

/// How a daemon is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Daemon {
    /// Its name; its log is `log/<name>.log` of the state directory.
    pub name: String,
    /// The network namespace it runs in.
    pub namespace: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to its environment.
    pub environment: BTreeMap<String, String>,
    /// Shell commands run before it in a mount namespace of its own; none means the bed's mounts.
    pub mounts: Option<String>,
}

/// The record of a started daemon.
#[derive(Serialize, Deserialize)]
struct Record {
    daemon: Daemon,
    /// Pid inside the bed.
    pid: i32,
}

/// Starts a program in the background and prints its pid. It becomes a child of the bed's init.
const SCRIPT: &str = r#"log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!"#;

impl Daemon {
    /// A daemon of that name in that network namespace.
    pub fn new(name: &str, namespace: &str, command: Vec<String>) -> Daemon {
        Daemon {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            command,
            environment: BTreeMap::new(),
            mounts: None,
        }
    }

    /// Starts it in the bed of `init`.
    pub fn start(self, init: &Init) -> Result<()> {
        let mut command = init.command(Some(&self.namespace));
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(format!("{STATE_DIR}/log/{}.log", self.name)).arg("env");
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        if let Some(mounts) = &self.mounts {
            let script = format!("{mounts}\nexec \"$@\"");
            command.args(["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", &script, "sh"]);
        }
        let output = command
            .args(&self.command)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.name))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let pid = text.trim().parse().with_context(|| {
            format!("starting {}: no pid but {text:?} {}", self.name, String::from_utf8_lossy(&output.stderr))
        })?;
        let file = format!("daemons/{}.json", self.name);
        init.write(&file, serde_json::to_vec(&Record { daemon: self, pid })?)?;
        Ok(())
    }
}

/// A daemon that was started, alive or not.
#[derive(Clone, Debug)]
pub struct Running {
    pub(crate) init: Init,
    pub(crate) name: String,
}

impl Running {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn record(&self) -> Result<Record> {
        let path = self.init.state(&format!("daemons/{}.json", self.name));
        let text = fs::read(&path).with_context(|| format!("the bed has no daemon {}", self.name))?;
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// Its process, or `None` if it is dead.
    pub fn process(&self) -> Result<Option<Process>> {
        let pid = self.record()?.pid;
        let all = process::all()?;
        let Some(init) = all.get(&self.init.pid) else { bail!("the bed {} is gone", self.init.name) };
        let depth = init.pids.len();
        // Pids are those of the bed's pid namespace: the position of init's own in the chain. Deeper ones belong to Pods.
        let below =
            |p: &&Process| p.pids.get(depth - 1) == Some(&pid) && p.pids.len() == depth && p.state != 'Z';
        let tree = process::descendants(&all, &[self.init.pid].into());
        Ok(all.values().filter(|p| tree.contains(&p.pid)).find(below).cloned())
    }

    /// Its outer pid; an error with the end of its log if it is dead.
    pub fn pid(&self) -> Result<i32> {
        match self.process()? {
            Some(process) => Ok(process.pid),
            None => bail!("{} is not running; its log ends:\n{}", self.name, self.log_tail(20)),
        }
    }

    /// Sends it a signal. It must be alive.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        process::send(self.pid()?, signal)
    }

    /// Sends `signal` and waits until it is gone.
    pub fn stop(&self, signal: Signal, timeout: Duration) -> Result<()> {
        let Some(process) = self.process()? else { return Ok(()) };
        process::send(process.pid, signal)?;
        let deadline = Instant::now() + timeout;
        while self.process()?.is_some() {
            ensure!(Instant::now() < deadline, "{} did not end within {timeout:?} of {signal:?}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts it again as it was started before. It must be dead.
    pub fn start(&self) -> Result<()> {
        ensure!(self.process()?.is_none(), "{} is running already", self.name);
        self.record()?.daemon.start(&self.init)
    }

    /// What it wrote to its standard output and error, over all its lives.
    pub fn log(&self) -> String {
        fs::read(self.init.state(&format!("log/{}.log", self.name)))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// The daemons of a bed, by name.
pub fn list(init: &Init) -> Result<Vec<Running>> {
    let directory = init.state("daemons");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names.into_iter().map(|name| Running { init: init.clone(), name }).collect())
}
