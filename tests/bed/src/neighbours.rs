//! Room in the machine's neighbour table: the one host setting a bed may touch. I/O.
//!
//! ARP and NDP entries of all network namespaces are in one table per family whose limits only the root namespace has. A *guardian*
//! process outside the bed raises them and holds a pipe of the owner's, as the bed's init does: when the owner ends, however it does, the
//! guardian puts the old limits back. Of several guardians the last one to end does that; the limits to put back are in their environment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process;

/// Up to here the kernel's default limits do.
const DEFAULT_ROOM: usize = 500;
/// Holds the limits to put back: the values of [`FILES`], in order.
const VARIABLE: &str = "CAUSEWAY_BED_NEIGHBOURS";
/// The limits, the highest of a family first: the kernel does not mind a lower one above a higher one, but it would be of no use.
const FILES: [&str; 6] = [
    "/proc/sys/net/ipv4/neigh/default/gc_thresh3",
    "/proc/sys/net/ipv4/neigh/default/gc_thresh2",
    "/proc/sys/net/ipv4/neigh/default/gc_thresh1",
    "/proc/sys/net/ipv6/neigh/default/gc_thresh3",
    "/proc/sys/net/ipv6/neigh/default/gc_thresh2",
    "/proc/sys/net/ipv6/neigh/default/gc_thresh1",
];

/// `sh -c SCRIPT sh ROOM FILE...`. Children must not look like guardians: they do not inherit the variable, and the search is one process that
/// runs alone, for a child between fork and exec still shows its parent's environment. Guardians that end at once take turns, and keep theirs until
/// they are gone.
const SCRIPT: &str = r#"
old=$CAUSEWAY_BED_NEIGHBOURS; unset CAUSEWAY_BED_NEIGHBOURS
room=$1; shift
for file; do
    read -r now <"$file"
    [ "$now" -ge "$room" ] || echo "$room" >"$file" || exit 1
done
echo ready
cat >/dev/null
exec 9<"$1"
flock 9
guardians=$(grep -slz '^CAUSEWAY_BED_NEIGHBOURS=' /proc/[0-9]*/environ)
if [ "$guardians" = "/proc/$$/environ" ]; then
    for value in $old; do echo "$value" >"$1"; shift; done
fi"#;

/// Larger limits, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Neighbours {
    guardian: Child,
    /// `None` once dropped.
    pipe: Option<ChildStdin>,
}

impl Neighbours {
    /// Makes room for that many addresses; nothing has to be done for few.
    pub fn make_room(addresses: usize) -> Result<Option<Neighbours>> {
        if addresses <= DEFAULT_ROOM {
            return Ok(None);
        }
        let old = match inherited()? {
            Some(old) => old,
            None => current()?,
        };
        // An address is a neighbour of several hosts of the bed: client, router and nodes.
        let room = addresses.saturating_mul(8).max(8192);
        let mut guardian = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &room.to_string()])
            .args(FILES)
            .env(VARIABLE, old)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting the guardian of the neighbour table")?;
        let pipe = guardian.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = guardian.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let neighbours = Neighbours { guardian, pipe };
        ensure!(line.trim() == "ready", "the limits of the neighbour table ({}) cannot be raised", FILES[0]);
        Ok(Some(neighbours))
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.guardian.wait();
    }
}

/// The limits that a guardian which runs already will put back.
fn inherited() -> Result<Option<String>> {
    for pid in process::all()?.into_keys() {
        // A process that just ended is none.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        let found = environment.split(|byte| *byte == 0).find_map(|variable| {
            std::str::from_utf8(variable).ok()?.strip_prefix(VARIABLE)?.strip_prefix('=').map(str::to_owned)
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn current() -> Result<String> {
    let read = |file: &str| fs::read_to_string(file).with_context(|| format!("reading {file}"));
    let values: Vec<String> = FILES.iter().map(|file| read(file)).collect::<Result<_>>()?;
    Ok(values.iter().map(|value| value.trim()).collect::<Vec<_>>().join(" "))
}
