//! Real BGP routers as peers of what is tested: FRR, BIRD 2, GoBGP, exabgp, as plain processes in a namespace of the bed. I/O; each daemon's own
//! module renders its configuration and reads its answers, and is pure.
//!
//! FRR (zebra, bgpd, bfdd) and BIRD put what they learn into the kernel's table of their namespace, so traffic flows as they say, over several next
//! hops at once; GoBGP only keeps tables, and exabgp only writes down what it hears. The daemons come from a folder of
//! unpacked packages ([`programs::ensure_routers`]) that is laid over `/usr` and `/etc` in a mount namespace of each process; the machine has none
//! of them. They end with the bed like everything in it.

mod bird;
mod config;
mod exabgp;
#[cfg(test)]
mod example;
mod frr;
mod gobgp;
mod look;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use config::{
    Advertised, At, Bfd, Families, GracefulRestart, Neighbour, RemoteAsn, RouterConfig, Timers,
};
pub use table::{BfdSession, Family, Notification, Offers, Path, Restart, Session, State, Table};

use crate::daemon::{Daemon, Running};
use crate::init::{Init, STATE_DIR};
use crate::namespace::Namespace;
use crate::process::Signal;
use crate::{programs, wait};

/// How long a daemon may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which daemon a router is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// FRR: zebra, bgpd, bfdd.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP: no routes in the kernel, no BFD.
    Gobgp,
    /// exabgp: no table, no BFD; every message as it came.
    Exabgp,
}

impl Kind {
    /// Its daemons, the first to start first.
    fn daemons(self) -> &'static [&'static str] {
        match self {
            Kind::Frr => &["zebra", "bfdd", "bgpd"],
            Kind::Bird => &["bird"],
            Kind::Gobgp => &["gobgpd"],
            Kind::Exabgp => &["exabgp"],
        }
    }

    fn forwards(self) -> bool {
        matches!(self, Kind::Frr | Kind::Bird)
    }
}

/// A router: the daemons of one kind in one namespace, and what they were told. There is one per namespace.
#[derive(Clone, Debug)]
pub struct Router {
    namespace: Namespace,
    record: Record,
}

/// What is kept of a router in the bed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    kind: Kind,
    config: RouterConfig,
    programs: PathBuf,
}

impl Router {
    /// Starts a router in a namespace; returns when it has taken its configuration. A bare bed's nodes can be routers too.
    pub async fn start(namespace: &Namespace, kind: Kind, config: RouterConfig) -> Result<Router> {
        let programs =
            tokio::task::spawn_blocking(programs::ensure_routers).await.context("unpacking routers")??;
        let router = Router { namespace: namespace.clone(), record: Record { kind, config, programs } };
        for daemon in router.daemons() {
            // One that never was started has no record.
            let running = daemon.process().ok().flatten();
            ensure!(running.is_none(), "{} runs in namespace {} already", daemon.name(), namespace.name());
        }
        if kind.forwards() {
            router.prepare_forwarding()?;
        }
        for folder in ["run", "tmp"] {
            fs::create_dir_all(router.init().state(&router.file(folder)))
                .context("making a router's folder")?;
        }
        router.launch().await?;
        Ok(router)
    }

    /// The router in a namespace that somebody has started.
    pub fn attach(namespace: &Namespace) -> Result<Router> {
        let path = namespace.init.state(&format!("routers/{}/router.json", namespace.name()));
        let text =
            fs::read(&path).with_context(|| format!("no router runs in namespace {}", namespace.name()))?;
        let record = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
        Ok(Router { namespace: namespace.clone(), record })
    }

    /// The routers of a bed.
    pub fn list(bed: &crate::Bed) -> Result<Vec<Router>> {
        let Ok(entries) = fs::read_dir(bed.init().state("routers")) else { return Ok(Vec::new()) };
        // One whose configuration was refused has a folder, but was never started.
        let started = |entry: &fs::DirEntry| entry.path().join("router.json").exists();
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(started)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names.iter().map(|name| Router::attach(&bed.namespace(name)?)).collect()
    }

    fn init(&self) -> &Init {
        &self.namespace.init
    }

    /// Path of a file of the router's, below the bed's state directory.
    fn file(&self, name: &str) -> String {
        format!("routers/{}/{name}", self.namespace.name())
    }

    /// The same as processes in the bed see it.
    fn path(&self, name: &str) -> String {
        format!("{STATE_DIR}/{}", self.file(name))
    }

    /// Flows are spread by ports too, not by addresses alone: tests have few clients. And nobody is told of a shorter way past the router.
    fn prepare_forwarding(&self) -> Result<()> {
        let settings = "cd /proc/sys/net && echo 1 >ipv4/fib_multipath_hash_policy && echo 1 >ipv6/fib_multipath_hash_policy && \
            for file in ipv4/conf/*/send_redirects; do echo 0 >$file; done && \
            for family in ipv4 ipv6; do echo 1 >$family/conf/all/forwarding; done";
        self.namespace.run(&["sh", "-c", settings])?;
        Ok(())
    }

    async fn launch(&self) -> Result<()> {
        let (kind, config) = (self.record.kind, &self.record.config);
        // Rendered before anything is started: what the daemon cannot do is refused.
        match kind {
            Kind::Frr => self.write("frr.conf", frr::render(config)?)?,
            Kind::Bird => self.write("bird.conf", bird::render(config)?)?,
            Kind::Gobgp => self.write("gobgpd.toml", gobgp::render(config)?)?,
            Kind::Exabgp => {
                self.write("exabgp.conf", exabgp::render(config, &self.path("helper"))?)?;
                // exabgp takes a helper whose output ends for dead, so the shell stays and holds it.
                self.write("helper", format!("#!/bin/sh\ncat >>{}\n", self.path("messages")))?;
                self.namespace.run(&["chmod", "755", &self.path("helper")])?;
                // What an earlier life heard is no longer so; there may be nothing.
                let _ = fs::remove_file(self.init().state(&self.file("messages")));
            }
        }
        for announcement in config.advertise.iter().filter(|_| kind == Kind::Gobgp) {
            gobgp::announcement(announcement, config.asn, true)?;
        }
        self.save()?;
        for (name, running) in kind.daemons().iter().zip(self.daemons()) {
            let mut daemon = Daemon::new(running.name(), self.namespace.name(), self.daemon_command(name));
            daemon.mounts = Some(self.mounts());
            if kind == Kind::Exabgp {
                let settings = [
                    ("exabgp_daemon_user", "root"),
                    ("exabgp_log_destination", "stdout"),
                    ("exabgp_api_cli", "false"),
                    ("exabgp_api_ack", "false"),
                ];
                daemon.environment = settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            }
            self.forget_socket(name)?;
            daemon.start(self.init())?;
            // FRR's daemons look for zebra when they start, and then only every 10 s.
            self.wait_started(name).await?;
        }
        match kind {
            Kind::Frr => drop(self.tool(&["vtysh", "-f", &self.path("frr.conf")])?),
            Kind::Gobgp => {
                for route in &config.advertise {
                    self.announce(route, true)?;
                }
            }
            Kind::Bird | Kind::Exabgp => {}
        }
        Ok(())
    }

    fn daemon_command(&self, daemon: &str) -> Vec<String> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match daemon {
            // -P 0: no VTY on a TCP port. The configuration comes by vtysh, as every later change of it.
            "zebra" | "bfdd" => words(&format!(
                "/usr/lib/frr/{daemon} -u root -g root -f /dev/null -P 0 --log stdout --log-level informational"
            )),
            "bgpd" => words(&format!(
                "/usr/lib/frr/bgpd -u root -g root -f /dev/null -P 0 -p {} --log stdout --log-level informational",
                self.record.config.port
            )),
            "bird" => words(&format!("bird -f -c {} -s {}", self.path("bird.conf"), self.path("bird.ctl"))),
            "gobgpd" => words(&format!(
                "gobgpd -f {} --pprof-disable --api-hosts 127.0.0.1:50051",
                self.path("gobgpd.toml")
            )),
            _ => words(&format!("python3-exabgp {}", self.path("exabgp.conf"))),
        }
    }

    /// What a daemon sees instead of the machine: the unpacked packages, and own folders for FRR's sockets and crash logs.
    fn mounts(&self) -> String {
        let programs = self.record.programs.display();
        format!(
            "mount -t overlay -o 'lowerdir={programs}/usr:/usr' overlay /usr\n\
             mount -t overlay -o 'lowerdir={programs}/etc:/etc' overlay /etc\n\
             mkdir -p /run/frr && mount --bind {} /run/frr\n\
             mount --bind {} /var/tmp",
            self.path("run"),
            self.path("tmp")
        )
    }

    /// Takes away what a daemon that has ended left behind: the next one would be taken for started before it listens.
    fn forget_socket(&self, daemon: &str) -> Result<()> {
        let socket = self.init().state(&self.file(&format!("run/{daemon}.vty")));
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| socket.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// Waits until that daemon of the router answers, or is dead.
    async fn wait_started(&self, daemon: &str) -> Result<()> {
        let running = self.daemon(daemon);
        wait::until(&format!("{} to start", running.name()), PATIENCE, async || {
            if let Err(dead) = running.pid() {
                return Ok(Err(dead));
            }
            match self.record.kind {
                Kind::Frr => {
                    let socket = self.init().state(&self.file(&format!("run/{daemon}.vty")));
                    ensure!(socket.exists(), "no socket yet");
                }
                Kind::Bird => drop(self.ask(&["show", "status"])?),
                Kind::Gobgp => drop(self.ask(&["global"])?),
                Kind::Exabgp => {
                    ensure!(running.log().contains("loaded new configuration"), "no configuration yet");
                }
            }
            Ok(Ok(()))
        })
        .await?
    }

    fn write(&self, name: &str, text: String) -> Result<()> {
        self.init().write(&self.file(name), text).map(drop)
    }

    fn save(&self) -> Result<()> {
        self.write("router.json", serde_json::to_string_pretty(&self.record)?)
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Which daemon it is.
    pub fn kind(&self) -> Kind {
        self.record.kind
    }

    /// What it was told.
    pub fn config(&self) -> &RouterConfig {
        &self.record.config
    }

    /// Its daemons: named after the namespace and the program, such as `router-bgpd`.
    pub fn daemons(&self) -> Vec<Running> {
        self.record.kind.daemons().iter().map(|daemon| self.daemon(daemon)).collect()
    }

    fn daemon(&self, program: &str) -> Running {
        Running { init: self.init().clone(), name: format!("{}-{program}", self.namespace.name()) }
    }

    /// The daemon that speaks BGP.
    pub fn speaker(&self) -> Running {
        self.daemons().pop().expect("every kind has a daemon")
    }

    /// Makes it do what `config` says. Sessions of neighbours that stay as they are go on. What one of them needs a new session for, such as another
    /// password, resets that one.
    pub async fn reconfigure(&mut self, config: RouterConfig) -> Result<()> {
        let (old, new) = (&self.record.config, &config);
        match self.record.kind {
            Kind::Frr => {
                let commands = frr::change(old, new)?;
                self.write("frr.conf", frr::render(new)?)?;
                self.write("change.conf", commands)?;
                self.tool(&["vtysh", "-f", &self.path("change.conf")])?;
            }
            Kind::Bird => {
                self.write("bird.conf", bird::render(new)?)?;
                let answer = self.ask(&["configure"])?;
                ensure!(answer.contains("Reconfig"), "BIRD refuses its configuration: {answer}");
            }
            Kind::Gobgp => {
                self.write("gobgpd.toml", gobgp::render(new)?)?;
                self.speaker().signal(Signal::HUP)?;
                for route in old.advertise.iter().filter(|route| !new.advertise.contains(route)) {
                    self.announce(route, false)?;
                }
                for route in new.advertise.iter().filter(|route| !old.advertise.contains(route)) {
                    self.announce(route, true)?;
                }
            }
            Kind::Exabgp => {
                exabgp::check_change(old, new)?;
                self.write("exabgp.conf", exabgp::render(new, &self.path("helper"))?)?;
                self.speaker().signal(Signal::USR1)?;
            }
        }
        self.record.config = config;
        self.save()
    }

    fn announce(&self, route: &Advertised, announce: bool) -> Result<()> {
        let words = gobgp::announcement(route, self.record.config.asn, announce)?;
        self.ask(&words.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }

    /// Ends all its daemons: `KILL` is a crash, `TERM` an orderly end. What a killed FRR or BIRD has put into the kernel stays there.
    pub fn stop(&self, signal: Signal) -> Result<()> {
        self.daemons().iter().rev().try_for_each(|daemon| daemon.stop(signal, PATIENCE))
    }

    /// Starts its daemons again after [`Router::stop`].
    pub async fn start_again(&self) -> Result<()> {
        self.launch().await
    }

    /// The command that asks the daemons: `vtysh -c`, `birdc` or `gobgp`; without words, an interactive one.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut program: Vec<String> = match self.record.kind {
            Kind::Frr if words.is_empty() => vec!["vtysh".to_owned()],
            Kind::Frr => vec!["vtysh".to_owned(), "-c".to_owned(), words.join(" ")],
            Kind::Bird => ["birdc", "-s", &self.path("bird.ctl")].map(str::to_owned).to_vec(),
            Kind::Gobgp => vec!["gobgp".to_owned()],
            Kind::Exabgp => bail!("exabgp cannot be asked; what it heard is in {}", self.path("messages")),
        };
        if self.record.kind != Kind::Frr {
            program.extend(words.iter().map(|word| (*word).to_owned()));
        }
        let mut command = self.wrapped();
        command.args(program);
        Ok(command)
    }

    /// Asks the daemons in their own words and returns the answer.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        checked(self.command(words)?, words)
    }

    /// Commands of FRR's configuration mode, one after another.
    pub fn configure_frr(&self, commands: &[&str]) -> Result<String> {
        ensure!(self.record.kind == Kind::Frr, "the router in {} is not FRR", self.namespace.name());
        let mut words = vec!["vtysh", "-c", "configure terminal"];
        words.extend(commands.iter().flat_map(|command| ["-c", command]));
        self.tool(&words)
    }

    fn tool(&self, words: &[&str]) -> Result<String> {
        let mut command = self.wrapped();
        command.args(words);
        checked(command, words)
    }

    /// A command that runs among what the daemons see.
    fn wrapped(&self) -> Command {
        let mut command = self.namespace.command();
        let script = format!("{}\nexec \"$@\"", self.mounts());
        command.args(["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", &script, "sh"]);
        command
    }
}

fn checked(mut command: Command, words: &[&str]) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {words:?}"))?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {}: {complained}{said}", words.join(" "), output.status);
    Ok(said.into_owned())
}
