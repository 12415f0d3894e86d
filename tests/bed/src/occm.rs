//! openstack-cloud-controller-manager and octavia-ingress-controller as counterparties: the real ones, built from their Go module, against the bed's OpenStack.
//! For tests of migration. I/O.
//!
//! They run as processes of this machine, and reach the API server and OpenStack on loopback. Of the controllers of the first only the one for Services runs. The second
//! does not start without a Nova that answers.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::bed::Bed;
use crate::openstack::{Cloud, PASSWORD, REGION, Service};
use crate::programs::Programs;
use crate::wait;

/// Longest time until one has ended after SIGTERM.
const END: Duration = Duration::from_secs(30);
/// The Lease of openstack-cloud-controller-manager, in namespace kube-system.
pub const LEASE: &str = "cloud-controller-manager";
/// The annotation `kubernetes.io/ingress.class` of the Ingresses that octavia-ingress-controller serves.
pub const INGRESS_CLASS: &str = "openstack";

/// A controller that runs; killed when dropped.
pub struct Peer {
    name: &'static str,
    child: Child,
    folder: TempDir,
}

impl Peer {
    /// Starts openstack-cloud-controller-manager for a cluster of this name; `options` are further lines of `[LoadBalancer]`.
    pub fn start_occm(bed: &Bed, cloud: &Cloud, cluster: &str, options: &str) -> Result<Peer> {
        let folder = tempfile::tempdir()?;
        let conf = folder.path().join("cloud.conf");
        fs::write(&conf, format!("{}{options}\n", cloud.cloud_conf(false)))?;
        let mut command = Command::new(Programs::ensure_occm()?.path("occm")?);
        command
            .arg(format!("--kubeconfig={}", bed.kubeconfig().display()))
            .arg(format!("--cloud-config={}", conf.display()))
            .arg(format!("--cluster-name={cluster}"))
            .args(["--cloud-provider=openstack", "--controllers=service", "--configure-cloud-routes=false"])
            .args(["--secure-port=0", "--webhook-secure-port=0", "--authentication-skip-lookup", "-v=2"]);
        Peer::spawn("openstack-cloud-controller-manager", folder, command)
    }

    /// Starts octavia-ingress-controller for a cluster of this name.
    pub fn start_oic(bed: &Bed, cloud: &Cloud, cluster: &str) -> Result<Peer> {
        let folder = tempfile::tempdir()?;
        let conf = folder.path().join("config.yaml");
        fs::write(&conf, oic_conf(&bed.kubeconfig(), cloud, cluster)?)?;
        let mut command = Command::new(Programs::ensure_occm()?.path("oic")?);
        command.arg(format!("--config={}", conf.display())).arg("--debug");
        Peer::spawn("octavia-ingress-controller", folder, command)
    }

    fn spawn(name: &'static str, folder: TempDir, mut command: Command) -> Result<Peer> {
        let log = File::create(folder.path().join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Peer { name, child, folder })
    }

    /// What it said, for the message of a failed test.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Ends it as a Deployment would, and waits until it has ended.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "kill");
        let name = self.name;
        wait::until(&format!("{name} to end"), END, async || self.child.try_wait()?.context("it runs"))
            .await
            .map(drop)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn oic_conf(kubeconfig: &Path, cloud: &Cloud, cluster: &str) -> Result<String> {
    let subnet = cloud.seed().subnet("nodes-subnet")?;
    Ok(format!(
        "cluster-name: {cluster}
kubernetes: {{kubeconfig: {}}}
openstack:
  auth-url: {}/v3
  username: k8s
  password: {PASSWORD}
  project-name: k8s
  user-domain-id: default
  project-domain-id: default
  region: {REGION}
octavia:
  provider: {}
  subnet-id: {subnet}
  floating-network-id: {}
",
        kubeconfig.display(),
        cloud.outside_endpoint(Service::Identity),
        cloud.provider().name(),
        cloud.seed().public_network
    ))
}
