//! cloud-provider-aws as a counterparty: the real one, built from its Go module, against the bed's AWS. For tests of migration. I/O.
//!
//! It runs as a process of this machine, and reaches the API server and AWS on loopback.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::aws::{Account, Aws};
use crate::bed::Bed;
use crate::programs::Programs;
use crate::wait;

/// Longest time until it has ended after SIGTERM.
const END: Duration = Duration::from_secs(30);
/// Longest wait for a line of its log: until a Lease that somebody else held has expired.
const SAYS: Duration = Duration::from_secs(60);
/// All its controllers.
pub const ALL: &str = "*";
/// Those of nodes, without that of Services.
pub const WITHOUT_SERVICES: &str = "*,-service-lb-controller";

/// A controller that runs; killed when dropped.
pub struct Cpa {
    child: Child,
    folder: TempDir,
}

impl Cpa {
    /// Starts it for the cluster of an account, with these controllers.
    pub fn start(bed: &Bed, aws: &Aws, account: &Account, controllers: &str) -> Result<Cpa> {
        let program = Programs::ensure_cpa()?.path("cpa")?;
        let folder = tempfile::tempdir()?;
        let subnet = account.subnets.first().context("the account has no subnet")?;
        // With a VPC and a subnet it does not ask for the instance that it runs on.
        let config = format!(
            "[Global]\nRegion = {}\nVPC = {}\nSubnetID = {}\nKubernetesClusterID = {}\n",
            account.region, account.vpc, subnet.id, account.cluster
        );
        let file = folder.path().join("cloud.conf");
        fs::write(&file, config)?;
        let log = File::create(folder.path().join("log"))?;
        let kubeconfig = bed.kubeconfig().display().to_string();
        let child = Command::new(program)
            .args(["--cloud-provider=aws", "--configure-cloud-routes=false", "--allocate-node-cidrs=false"])
            .args(["--secure-port=0", "--leader-elect=true", "--v=2"])
            .arg(format!("--cloud-config={}", file.display()))
            .arg(format!("--kubeconfig={kubeconfig}"))
            .arg(format!("--authentication-kubeconfig={kubeconfig}"))
            .arg(format!("--authorization-kubeconfig={kubeconfig}"))
            .arg(format!("--cluster-name={}", account.cluster))
            .arg(format!("--controllers={controllers}"))
            .envs([
                ("AWS_ENDPOINT_URL", aws.outside_endpoint().as_str()),
                ("AWS_REGION", account.region.as_str()),
                ("AWS_ACCESS_KEY_ID", "bed"),
                ("AWS_SECRET_ACCESS_KEY", "bed"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Cpa { child, folder })
    }

    /// What it said, for the message of a failed test.
    pub fn log(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has said this.
    pub async fn says(&self, part: &str) -> Result<()> {
        wait::until(&format!("{part:?} of cloud-provider-aws"), SAYS, async || {
            ensure!(self.text().contains(part), "{}", self.log());
            Ok(())
        })
        .await
    }

    /// Ends it as a Deployment would, and waits until it has ended.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "kill");
        wait::until("cloud-provider-aws to end", END, async || self.child.try_wait()?.context("it runs"))
            .await
            .map(drop)
    }
}

impl Drop for Cpa {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
