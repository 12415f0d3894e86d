//! The controller as a process of this machine, for tests that start it with arguments of their own. I/O.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;

use super::SOON;

/// The controller as a process of this machine, with its log in a file; ended when dropped.
pub struct Controller {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Controller {
    /// Starts it for bare metal, with these arguments more.
    pub fn start(arguments: &[&str]) -> Result<Controller> {
        let all: Vec<&str> = ["--cloud-provider=metal"].iter().chain(arguments).copied().collect();
        Controller::start_with(&all, &[])
    }

    /// Starts it with these arguments and variables.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Controller> {
        let log = tempfile::NamedTempFile::new()?;
        let child = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["controller", "--bind-address=127.0.0.1", "--admin-port=0"])
            .args(arguments)
            .envs(environment.iter().copied())
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(log.reopen()?)
            .stderr(log.reopen()?)
            .spawn()
            .context("starting the controller")?;
        Ok(Controller { child, log })
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Waits until its log holds all these parts on one line.
    pub async fn says(&self, parts: &[&str]) -> Result<()> {
        wait::until(&format!("a line with {parts:?}"), SOON, async || {
            let log = self.log();
            let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
            ensure!(found, "{log}");
            Ok(())
        })
        .await
    }

    /// Its exit status, once it has ended.
    pub async fn ends(&mut self) -> Result<std::process::ExitStatus> {
        wait::until("the controller to end", SOON, async || {
            self.child.try_wait()?.with_context(|| format!("it still runs: {}", self.log()))
        })
        .await
    }
}

impl Controller {
    /// Ends it as a Deployment would.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "kill");
        self.ends().await.map(drop)
    }

    /// Fails if it has ended.
    pub fn runs(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "it gave up: {}", self.log());
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
