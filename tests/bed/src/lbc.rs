//! aws-load-balancer-controller as a counterparty: the real one, built from its Go module, against the bed's AWS. For tests of migration. I/O.
//!
//! It runs as a process of this machine, and reaches the API server and AWS on loopback. The cluster knows of its webhooks only if a test applies [`webhooks`], and
//! then nobody answers them: there is no Service in front of it.

use std::fs::{self, File};
use std::net::TcpListener;
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
/// `spec.controller` of the IngressClasses that are its own.
pub const INGRESS_CONTROLLER: &str = "ingress.k8s.aws/alb";
/// Its Lease, in namespace kube-system.
pub const LEASE: &str = "aws-load-balancer-controller-leader";

/// Its definitions of kinds, as its chart has them.
pub fn definitions() -> Result<String> {
    let path = Programs::ensure_lbc()?.path("lbc-crds.yaml")?;
    fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}

/// Name of the configurations of its webhooks.
pub const WEBHOOKS: &str = "aws-load-balancer-webhook";

/// Its webhooks, with the names that its chart gives them.
pub fn webhooks() -> Result<String> {
    let path = Programs::ensure_lbc()?.path("lbc-webhooks.yaml")?;
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    Ok(named(&text))
}

/// What kustomize makes of names and namespace of the generated manifest.
fn named(generated: &str) -> String {
    generated
        .replace("name: webhook-service\n", &format!("name: {WEBHOOKS}-service\n"))
        .replace("  name: webhook\n", &format!("  name: {WEBHOOKS}\n"))
        .replace("namespace: system\n", "namespace: kube-system\n")
}

/// A controller that runs; killed when dropped.
pub struct Lbc {
    child: Child,
    folder: TempDir,
}

impl Lbc {
    /// Starts it for the cluster of an account.
    pub fn start(bed: &Bed, aws: &Aws, account: &Account) -> Result<Lbc> {
        let program = Programs::ensure_lbc()?.path("lbc")?;
        let folder = tempfile::tempdir()?;
        let (key, certificate) = (folder.path().join("tls.key"), folder.path().join("tls.crt"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=webhook",
                "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .context("openssl is missing: apt-get install openssl")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Free a moment ago; nobody else on this machine takes ports meanwhile.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .arg(format!("--kubeconfig={}", bed.kubeconfig().display()))
            .arg(format!("--cluster-name={}", account.cluster))
            .arg(format!("--aws-region={}", account.region))
            .arg(format!("--aws-vpc-id={}", account.vpc))
            .arg(format!("--webhook-cert-dir={}", folder.path().display()))
            .arg(format!("--webhook-bind-port={port}"))
            .args(["--metrics-bind-addr=127.0.0.1:0", "--health-probe-bind-addr=127.0.0.1:0"])
            .args(["--leader-election-namespace=kube-system", "--log-level=info"])
            .args(["--enable-shield=false", "--enable-waf=false", "--enable-wafv2=false"])
            .envs([
                ("AWS_ENDPOINT_URL", aws.outside_endpoint().as_str()),
                ("AWS_ACCESS_KEY_ID", "bed"),
                ("AWS_SECRET_ACCESS_KEY", "bed"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Lbc { child, folder })
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
        wait::until("aws-load-balancer-controller to end", END, async || {
            self.child.try_wait()?.context("it runs")
        })
        .await
        .map(drop)
    }
}

impl Drop for Lbc {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_get_the_names_of_the_chart() {
        let generated = "kind: X\nmetadata:\n  name: webhook\nwebhooks:\n  - clientConfig:\n      service:\n        name: webhook-service\n        namespace: system\n";
        let text = named(generated);
        assert!(text.contains("\n  name: aws-load-balancer-webhook\n"), "{text}");
        assert!(
            text.contains("name: aws-load-balancer-webhook-service\n        namespace: kube-system\n"),
            "{text}"
        );
    }
}
