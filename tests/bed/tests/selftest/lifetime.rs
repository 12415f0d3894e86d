//! Beds side by side; nothing is left of one that ended, however it ended; nothing gets out of one that runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::init::Init;
use causeway_bed::router::{Kind, RouterConfig};
use causeway_bed::{Bed, Router, addresses, process};
use serde_json::json;

use crate::common::{CONNECT, Echo, SOON, node_port};

/// What of a bed the machine can see: to be compared with what is there later.
struct Traces {
    pids: BTreeSet<i32>,
    /// Network and mount namespaces, such as `net:[4026532281]`.
    namespaces: BTreeSet<String>,
    /// When this was looked at, in clock ticks since boot. The kernel gives the numbers of namespaces that are gone to new ones: who
    /// was started later, in another bed, has nothing to do with this one.
    at: u64,
}

/// Clock ticks since boot, of which there are 100 in a second on every Linux.
fn ticks() -> Result<u64> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime.split_whitespace().next().context("an empty /proc/uptime")?.parse()?;
    Ok((seconds * 100.0) as u64)
}

/// When a process was started; proc_pid_stat(5), field 22.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn namespaces_of(pid: i32) -> Vec<String> {
    // Threads can be in other namespaces than their process.
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .filter_map(|task| Some(task.ok()?.path()));
    let links =
        tasks.flat_map(|task| ["net", "mnt", "pid"].map(|kind| fs::read_link(task.join("ns").join(kind))));
    links.filter_map(|link| Some(link.ok()?.to_string_lossy().into_owned())).collect()
}

/// Those of this process's first thread; others may be in a bed's.
fn own_namespaces() -> BTreeSet<String> {
    let links = ["net", "mnt", "pid"].map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")));
    links.into_iter().filter_map(|link| Some(link.ok()?.to_string_lossy().into_owned())).collect()
}

impl Traces {
    /// Everything in the bed's pid namespace, and the namespaces it uses.
    fn of(init: &Init) -> Result<Traces> {
        let all = process::all()?;
        let pids = process::descendants(&all, &BTreeSet::from([init.pid]));
        ensure!(pids.len() > 5, "only {} processes in a bed", pids.len());
        let mut used: BTreeSet<String> = pids.iter().flat_map(|pid| namespaces_of(*pid)).collect();
        used.retain(|namespace| !own_namespaces().contains(namespace));
        ensure!(used.len() > 5, "only {} namespaces in a bed", used.len());
        Ok(Traces { pids, namespaces: used, at: ticks()? })
    }

    /// What of it is there still.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for process in process::all()?.into_values().filter(|p| p.state != 'Z') {
            if self.pids.contains(&process.pid) {
                left.push(format!("{process:?}"));
            }
            if started(process.pid).is_none_or(|started| started > self.at) {
                continue;
            }
            let used = namespaces_of(process.pid);
            left.extend(
                used.iter()
                    .filter(|ns| self.namespaces.contains(*ns))
                    .map(|ns| format!("{ns} of {process:?}")),
            );
        }
        Ok(left)
    }
}

/// Links of the root namespace, and what lies where a careless bed would leave files.
fn host() -> Result<(String, Vec<String>)> {
    let links = Command::new("ip").args(["-o", "link"]).output().context("ip link")?;
    let names = ["/run/netns", "/run/bed", "/var/run/netns", "/run/causeway-bed"];
    let files = names.iter().filter_map(|path| fs::read_dir(path).ok()).flatten();
    Ok((
        String::from_utf8_lossy(&links.stdout).into_owned(),
        files.filter_map(|file| Some(file.ok()?.path().display().to_string())).collect(),
    ))
}

/// How many neighbours the machine's table takes.
fn limit() -> Result<u32> {
    Ok(fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3")?.trim().parse()?)
}

#[tokio::test]
async fn two_beds_run_side_by_side_and_one_ends_without_a_trace() -> Result<()> {
    let first = crate::common::shared().await?;
    let before = host()?;
    let second = Bed::builder().nodes(1).start().await?;
    ensure!(first.name() != second.name(), "both are called {}", second.name());
    for bed in [first, &second] {
        let health = (bed.node(1)?.addresses().v4, 10256);
        bed.client_ns().http_get(health, "/livez", None, CONNECT).await?;
        ensure!(
            bed.kubectl(&["get", "nodes", "-o", "name"])?.lines().count() == bed.nodes().len(),
            "nodes are mixed up"
        );
    }
    ensure!(Init::find(second.name())?.is_some(), "the second bed is not found by its name");
    ensure!(host()? == before, "a running bed shows on the host: {before:?} became {:?}", host()?);
    let init = second.init().clone();
    let traces = Traces::of(&init)?;
    second.down()?;
    let left = traces.left()?;
    ensure!(left.is_empty(), "left after down: {left:?}");
    ensure!(Init::find(&init.name)?.is_none(), "its name is still taken");
    ensure!(host()? == before, "the host changed: {before:?} became {:?}", host()?);
    ensure!(first.kubectl(&["get", "nodes"]).is_ok(), "the first bed suffered");
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_when_the_owner_is_killed() -> Result<()> {
    let before = host()?;
    let limit_before = limit()?;
    let name = format!("killed-{}", std::process::id());
    let mut owner = Command::new(env!("CARGO_BIN_EXE_bed"))
        .args(["--name", &name, "up", "--foreground", "--nodes", "1", "--addresses", "600"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(owner.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line.starts_with("export KUBECONFIG="), "the owner said {line:?}");
    let bed = Bed::attach(&name)?;
    bed.kubectl(&["get", "nodes"])?;
    let traces = Traces::of(bed.init())?;
    let room = limit()?;
    ensure!(room >= 4800, "the neighbour table has room for {room}");
    owner.kill()?;
    owner.wait()?;
    bed.wait("the bed to vanish", SOON, async || {
        let left = traces.left()?;
        ensure!(left.is_empty(), "{left:?}");
        ensure!(limit()? == limit_before, "the neighbour table has room for {}", limit()?);
        Ok(())
    })
    .await?;
    ensure!(Init::find(&name)?.is_none(), "its name is still taken");
    ensure!(host()? == before, "the host changed: {before:?} became {:?}", host()?);
    Ok(())
}

#[tokio::test]
async fn routers_end_with_their_bed_and_leave_nothing_on_the_machine() -> Result<()> {
    // FRR's and others' own places, should they not be ours alone.
    let places = ["/run/frr", "/var/tmp/frr", "/run/bird", "/run/exabgp", "/etc/frr"];
    let there = || places.map(|place| Path::new(place).exists());
    let before = (host()?, there());
    let bed = Bed::builder().bare(true).start().await?;
    let config = RouterConfig::top_of_rack(64512);
    let routers = [
        Router::start(&bed.router_ns(), Kind::Frr, config.clone()).await?,
        Router::start(&bed.second_router_ns()?, Kind::Bird, config.clone()).await?,
        Router::start(&bed.far_router_ns()?, Kind::Gobgp, RouterConfig::new(64513, addresses::FAR)).await?,
        Router::start(&bed.node(1)?.namespace(), Kind::Exabgp, RouterConfig::new(64514, addresses::FAR))
            .await?,
    ];
    ensure!((host()?, there()) == before, "a running router shows on the host");
    let traces = Traces::of(bed.init())?;
    for router in &routers {
        for daemon in router.daemons() {
            ensure!(traces.pids.contains(&daemon.pid()?), "{} is not the bed's", daemon.name());
        }
    }
    bed.down()?;
    let left = traces.left()?;
    ensure!(left.is_empty(), "left after down: {left:?}");
    ensure!((host()?, there()) == before, "the host changed: {before:?}");
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() -> Result<()> {
    let bed = crate::common::shared().await?;
    let refused = Bed::builder().name(bed.name()).nodes(0).start().await;
    let error = format!("{:#}", refused.err().context("a second bed of the same name started")?);
    ensure!(error.contains("is running already"), "{error}");
    let none = Bed::attach("no-such-bed").err().context("attached to nothing")?;
    ensure!(none.to_string().contains("bed up --name no-such-bed"), "{none}");
    Ok(())
}

#[tokio::test]
async fn no_packet_leaves_the_bed() -> Result<()> {
    let echo = Echo::on("leaks", &[1]).await?;
    let service = echo.service("echo", json!({})).await?;
    let prefixes = ["10.77.0.0/16", "10.78.0.0/16", "10.96.0.0/16", "10.244.0.0/16", "198.51.100.0/24"];
    let filter = prefixes.map(|prefix| format!("net {prefix}")).join(" or ")
        + " or net fd77::/16 or net fd00:10::/32 or net 2001:db8:51::/48";
    let mut watch = Command::new("tcpdump")
        .args(["-l", "-n", "-i", "any", "--immediate-mode", &filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting tcpdump")?;
    let mut complaints = BufReader::new(watch.stderr.take().context("no output")?);
    let mut line = String::new();
    while !line.starts_with("listening on") {
        line.clear();
        ensure!(complaints.read_line(&mut line)? > 0, "tcpdump ended");
    }
    let inside = echo.bed.client_ns().capture("eth0", "tcp")?;
    echo.answer(echo.address(3)?, node_port(&service, "http")?, "/hostname").await?;
    // An address that nobody has: packets for it must not look for a way out either.
    let stray =
        echo.bed.remote_ns().http_get(([203, 0, 113, 1], 80), "/", None, Duration::from_millis(500)).await;
    ensure!(stray.is_err(), "somebody answered for a documentation address");
    echo.bed
        .wait("the capture inside to see the traffic", SOON, async || {
            ensure!(!inside.lines().is_empty(), "nothing");
            Ok(())
        })
        .await?;
    // tcpdump is our own child: it ends by a signal, and what it saw is read to the end.
    process::send(watch.id() as i32, process::Signal::INT)?;
    let seen = watch.wait_with_output()?;
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    ensure!(seen.trim().is_empty(), "packets of the bed in the root namespace:\n{seen}");
    Ok(())
}
