//! The controller that a bench measures, as a process of this machine, and what its admin port says. I/O.

#![allow(dead_code, reason = "shared by several benches, each of which uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, wait};

/// Longest wait for anything at a small size; generous, for the goals judge.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A process that ends with this value.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a request without a body; the answer's body, if its status says success.
pub async fn http(method: &str, url: String) -> Result<String> {
    use http_body_util::BodyExt;
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = http::Request::builder()
        .method(method)
        .uri(&url)
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())?;
    let response = client.request(request).await.with_context(|| url.clone())?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    ensure!(status.is_success(), "{method} {url}: {status}: {text}");
    Ok(text)
}

/// The controller under test, as a process of this machine.
pub struct Controller {
    process: Process,
    port: u16,
}

impl Controller {
    /// Starts it with these arguments and variables; its log is written to a file, after what is there.
    pub fn start(
        bed: &Bed,
        arguments: &[String],
        environment: &[(&str, String)],
        log: &Path,
    ) -> Result<Controller> {
        // Free a moment ago; nobody else on this machine takes ports meanwhile.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["controller", "--insecure-metrics", "--bind-address=127.0.0.1"])
            .arg(format!("--admin-port={port}"))
            .arg(format!("--kubeconfig={}", bed.kubeconfig().display()))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Controller { process: Process(child), port })
    }

    /// Samples of a metric, without the prefix: label text to value.
    pub async fn metric(&self, name: &str) -> Result<BTreeMap<String, f64>> {
        let text = http("GET", format!("http://127.0.0.1:{}/metrics", self.port)).await?;
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.rsplit_once(' ') else { continue };
            let (found, labels) = key.split_once('{').unwrap_or((key, ""));
            if found == name {
                samples.insert(labels.trim_end_matches('}').to_owned(), value.parse()?);
            }
        }
        Ok(samples)
    }

    /// The sum of a metric's samples.
    pub async fn gauge(&self, name: &str) -> Result<f64> {
        Ok(self.metric(name).await?.values().sum())
    }

    /// Writes to the API server, Leases apart: those are the only objects that are replaced.
    pub async fn writes(&self) -> Result<f64> {
        let all = self.metric("causeway_kube_requests_total").await?;
        let is_write = |labels: &str| {
            ["create", "patch", "delete", "deletecollection"]
                .iter()
                .any(|verb| labels.contains(&format!("verb=\"{verb}\"")))
        };
        Ok(all.iter().filter(|(labels, _)| is_write(labels)).map(|(_, n)| n).sum())
    }

    /// Whether it leads, has nothing to do and has `count` load balancers.
    ///
    /// # Errors
    /// Says what is missing.
    pub async fn content(&self, count: usize) -> Result<()> {
        let leads = self.gauge("causeway_leader").await?;
        let queued = self.gauge("causeway_queue_depth").await? + self.gauge("causeway_syncs_running").await?;
        let served = self.gauge("causeway_load_balancers").await?;
        ensure!(
            leads == 1.0 && queued == 0.0 && served == count as f64,
            "leads {leads}, to do {queued}, served {served}"
        );
        Ok(())
    }

    /// Waits until it is content.
    pub async fn settled(&self, count: usize) -> Result<()> {
        wait::until("the controller to have done everything", PATIENCE * 3, async || {
            self.content(count).await
        })
        .await
    }

    /// Ends it as a Deployment would, and waits until it has ended.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.process.0.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "kill");
        wait::until("the controller to end", PATIENCE, async || {
            self.process.0.try_wait()?.context("it runs")
        })
        .await?;
        Ok(())
    }

    /// A number of `/proc/PID/status`, kB where it is a size.
    pub fn status(&self, field: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix(field)).with_context(|| field.to_owned())?;
        line.trim_start_matches(':').split_whitespace().next().context("a value")?.parse().context("a number")
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let after = text.rsplit_once(')').context("stat")?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // USER_HZ is 100 on every architecture that we build for.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Kills it at once.
    pub fn kill(self) {
        drop(self);
    }
}
