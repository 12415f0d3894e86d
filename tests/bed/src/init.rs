//! The bed's process tree and how it ends. I/O.
//!
//! A bed hangs on one process, its *init*: pid 1 of a pid namespace and the first process of a mount namespace with a tmpfs on
//! `/run` and of an empty network namespace. It does nothing but read a pipe whose other end the owner holds. When the owner closes it, exits or is killed, however
//! hard, init reads the end of file and exits, and the kernel kills every process of the pid namespace, which ends the network
//! namespaces, the mounts and with the tmpfs all files. So nothing has to be cleaned up and nothing can be left.
//!
//! There is no registry of beds either: [`Init::list`] finds them in the process table, by an environment variable of init. Files are
//! read from outside through `/proc/PID/root`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{self, Signal};

/// Names the bed in its init's environment.
const NAME_VARIABLE: &str = "CAUSEWAY_BED_INIT";
/// Directory of the bed's files inside its mount namespace.
pub const STATE_DIR: &str = "/run/bed";

/// What init runs: set the mounts up, say its outer pid, wait for the end of file. Ignoring SIGCHLD makes the kernel collect orphans.
const SCRIPT: &str = r#"
read -r pid rest </proc/self/stat &&
mount -t tmpfs -o mode=755 bed /run && mount -t proc proc /proc &&
mkdir -p /run/bed/log /run/bed/daemons /run/netns && echo "$pid" || exit 1
trap '' CHLD
exec cat >/dev/null"#;

/// A running init, addressed by its outer pid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Init {
    /// Outer pid.
    pub pid: i32,
    /// Name of the bed.
    pub name: String,
}

/// What keeps a bed alive. Dropping it ends the bed and waits until all its processes are gone.
#[derive(Debug)]
pub struct Life {
    init: Init,
    child: Child,
    /// `None` once dropped.
    pipe: Option<ChildStdin>,
}

impl Init {
    /// Starts an init for a bed called `name`. Fails if there is one already.
    pub fn start(name: &str) -> Result<(Init, Life)> {
        ensure!(
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "a bed's name consists of letters, digits and '-': {name:?}"
        );
        if let Some(other) = Init::find(name)? {
            bail!(
                "a bed named {name} is running already (pid {}); end it by `bed down --name {name}`",
                other.pid
            );
        }
        let mut child = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--net",
                "--propagation",
                "private",
                "sh",
                "-c",
                SCRIPT,
            ])
            .env(NAME_VARIABLE, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C at the owner's terminal reaches the owner only; it decides what ends when.
            .process_group(0)
            .spawn()
            .context("starting unshare (package util-linux)")?;
        let pipe = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context("reading the bed's init")?;
        }
        let Ok(pid) = line.trim().parse() else {
            drop(pipe);
            let status = child.wait()?;
            bail!(
                "the bed's init did not start ({status}); a bed needs root: namespaces and mounts are made"
            );
        };
        let init = Init { pid, name: name.to_owned() };
        Ok((init.clone(), Life { init, child, pipe }))
    }

    /// All beds that run on this machine, by name.
    pub fn list() -> Result<Vec<Init>> {
        let mut found = Vec::new();
        for process in process::all()?.into_values().filter(|p| p.pids.last() == Some(&1) && p.state != 'Z') {
            // A process that just ended, or one that is not ours to read, is none of ours.
            let Ok(environment) = fs::read(format!("/proc/{}/environ", process.pid)) else { continue };
            let name = environment.split(|byte| *byte == 0).find_map(|variable| {
                std::str::from_utf8(variable)
                    .ok()?
                    .strip_prefix(NAME_VARIABLE)?
                    .strip_prefix('=')
                    .map(str::to_owned)
            });
            found.extend(name.map(|name| Init { pid: process.pid, name }));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The bed called `name`, if it runs.
    pub fn find(name: &str) -> Result<Option<Init>> {
        Ok(Init::list()?.into_iter().find(|init| init.name == name))
    }

    /// A path of the bed's mount namespace as the owner can open it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// A path below the bed's state directory as the owner can open it.
    pub fn state(&self, relative: &str) -> PathBuf {
        self.path(&format!("{STATE_DIR}/{relative}"))
    }

    /// Writes a file below the state directory and returns its path inside; directories are made.
    pub fn write(&self, relative: &str, contents: impl AsRef<[u8]>) -> Result<String> {
        let path = self.state(relative);
        let write = || -> io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // Readers never see half a file.
            let new = path.with_extension("new");
            fs::write(&new, contents)?;
            fs::rename(new, &path)
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(format!("{STATE_DIR}/{relative}"))
    }

    /// A command inside the bed's pid and mount namespaces, and in network namespace `net` (a name, or none for init's, which
    /// is empty).
    pub fn command(&self, net: Option<&str>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.pid.to_string()).args(["--pid", "--mount"]);
        match net {
            Some(net) => command.arg(format!("--net={}", self.path(&format!("/run/netns/{net}")).display())),
            None => command.arg("--net"),
        };
        command.arg("--");
        command
    }

    /// Kills this bed's init, and by that everything in the bed.
    pub fn kill(&self) -> Result<()> {
        process::send(self.pid, Signal::KILL)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Init exits only after the kernel has ended all its processes: from here on nothing of the bed is left. SIGKILL as well,
        // should somebody have stopped init.
        let _ = self.init.kill();
        let _ = self.child.wait();
    }
}
