//! What the commands of all clouds have in common: a cloud is owned by a process that `up` leaves running, which is described in the bed's state directory and asked over its control
//! endpoint.

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::cloud::http::{Whole, send};
use causeway_bed::{Bed, process};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What the owner says when the cloud is up; anything else is an error's text.
const UP: &str = "up";

/// A kind of cloud.
pub struct Kind {
    /// The command's word for it.
    pub word: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Where its control endpoint begins.
    pub control: &'static str,
}

/// Commands that every cloud has, about the calls of its API.
#[derive(Subcommand)]
pub enum Calls {
    /// Print how often each action was called, and how that ended.
    Counts,
    /// Print the calls, or those after a number.
    Log {
        #[arg(long, default_value_t = 0)]
        since: u64,
    },
    /// Forget counts and log.
    Forget,
    /// Plan faults: a JSON list such as [{"calls": "Create*", "first": 2, "effect": {"cut": {"when": "after"}}}]; without one print what is planned.
    Fault { faults: Option<String> },
    /// Forget all planned faults; random ones start anew from the seed.
    Heal {
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Enforce rate limits, or not.
    Limits { state: OnOff },
    /// Move the cloud's time on, or let it run faster.
    Clock {
        /// Seconds.
        #[arg(long)]
        advance: Option<f64>,
        /// Seconds per real second; 0 stops it.
        #[arg(long)]
        speed: Option<f64>,
    },
    /// Let reads lag behind, those that a pattern covers; 0 seconds end it.
    Stale { calls: String, seconds: f64 },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

impl Kind {
    fn file(&self) -> String {
        format!("{}.json", self.word)
    }

    /// What the running cloud's owner has written down.
    pub fn description<T: DeserializeOwned>(&self, bed: &Bed) -> Result<T> {
        let path = bed.init().state(&self.file());
        let Kind { word, name, .. } = self;
        let text = std::fs::read(&path)
            .with_context(|| format!("the bed {} has no {name}; `bed {word} up` starts one", bed.name()))?;
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// Starts this program again as the owner, with these arguments, and returns when the cloud is up.
    pub fn up(&self, bed: &Bed, arguments: &[String]) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["--name", bed.name(), self.word, "serve"]).args(arguments);
        // A terminal's hang-up and Ctrl-C are not for it; its messages come here until it is up.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting it")?;
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().context("it has no output")?);
        output.read_line(&mut line)?;
        if line.trim() != UP {
            output.read_to_string(&mut line)?;
            let status = child.wait()?;
            bail!("the {} did not start ({status}){line}", self.name);
        }
        Ok(())
    }

    /// Starts the cloud and owns it until told to end or until the bed has ended. `start` returns the cloud and what is to be written down of it.
    pub fn serve<C, D, F>(&self, bed: &Bed, start: impl FnOnce() -> F) -> Result<()>
    where
        D: Serialize,
        F: Future<Output = Result<(C, D)>>,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut terminate, mut interrupt) =
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let _hang_up = signal(SignalKind::hangup())?;
            let (cloud, description) = start().await?;
            bed.init().write(&self.file(), serde_json::to_vec_pretty(&description)?)?;
            println!("{UP}");
            std::io::stdout().flush()?;
            super::leave_terminal()?;
            let path = format!("/proc/{}", bed.init().pid);
            let gone = async {
                let mut tick = tokio::time::interval(Duration::from_millis(200));
                while std::path::Path::new(&path).exists() {
                    tick.tick().await;
                }
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = gone => {}
            }
            // If the bed is there still, it has no such cloud any more.
            let _ = std::fs::remove_file(bed.init().state(&self.file()));
            drop(cloud);
            Ok(())
        })
    }

    /// Tells the owner to end, and waits until it has.
    pub fn down(&self, bed: &Bed, owner: i32) -> Result<()> {
        process::send(owner, process::Signal::TERM)?;
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let path = format!("/proc/{owner}");
        while std::path::Path::new(&path).exists() {
            ensure!(
                std::time::Instant::now() < deadline,
                "the {} of the bed {} does not end",
                self.name,
                bed.name()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Carries out one of the commands about calls.
    pub fn calls(&self, control: SocketAddr, action: Calls) -> Result<()> {
        match action {
            Calls::Counts => self.print(control, "GET", "counts", None),
            Calls::Log { since } => self.print(control, "GET", &format!("log?since={since}"), None),
            Calls::Forget => self.print(control, "POST", "forget", None),
            Calls::Fault { faults: None } => self.print(control, "GET", "faults", None),
            Calls::Fault { faults: Some(faults) } => {
                let faults = serde_json::from_str(&faults).context("the faults")?;
                self.print(control, "POST", "faults", Some(faults))
            }
            Calls::Heal { seed } => self.print(control, "DELETE", "faults", Some(json!({"seed": seed}))),
            Calls::Limits { state } => {
                let enforced = json!({"enforced": matches!(state, OnOff::On)});
                self.print(control, "POST", "limits", Some(enforced))
            }
            Calls::Clock { advance, speed } => {
                let mut change = json!({});
                if let Some(seconds) = advance {
                    ensure!(seconds >= 0.0 && seconds.is_finite(), "time only moves on: {seconds}");
                    change["advance_ms"] = json!((seconds * 1000.0) as u64);
                }
                if let Some(speed) = speed {
                    change["speed"] = json!(speed);
                }
                self.print(control, "POST", "clock", Some(change))
            }
            Calls::Stale { calls, seconds } => {
                ensure!(seconds >= 0.0 && seconds.is_finite(), "a lag of {seconds} s is impossible");
                let lag = json!({"calls": calls, "ms": (seconds * 1000.0) as u64});
                self.print(control, "POST", "stale", Some(lag))
            }
        }
    }

    /// Sends a control request and prints the answer.
    pub fn print(&self, control: SocketAddr, method: &str, path: &str, body: Option<Value>) -> Result<()> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.control))
            .header("host", "bed")
            .body(Whole::from(body))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(send(control, request))?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(answer.status().is_success(), "{text}");
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => println!("{}", serde_json::to_string_pretty(&value)?),
            Err(_) => print!("{text}"),
        }
        Ok(())
    }
}
