//! MetalLB as a counterparty: the real one, built from its Go module, run from its own manifests. For tests of coexistence and migration, and
//! for benches that measure both in one run. I/O; what is done to the manifests is pure.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bed::Bed;
use crate::image::Image;
use crate::node::Node;
use crate::process::{self, Memory};
use crate::programs::Programs;

/// The namespace that its manifests put it and its objects in.
pub const NAMESPACE: &str = "metallb-system";
/// The release that is built.
pub const VERSION: &str = "0.16.1";
/// Longest wait for its Pods.
const PODS: Duration = Duration::from_secs(120);

/// Lets Pods of this bed run MetalLB's images, and builds them first if need be: about three minutes once per machine.
pub fn add_images(bed: &Bed) -> Result<()> {
    let programs = Programs::ensure_metallb()?;
    for part in ["controller", "speaker"] {
        let program = programs.path(&format!("metallb-{part}"))?;
        bed.add_image(Image::host(&format!("/metallb/{part}:"), &program))?;
    }
    Ok(())
}

/// Its manifests as the release has them, but for what a bed cannot serve; see [`adapted`].
pub fn manifests() -> Result<String> {
    let path = Programs::ensure_metallb()?.path("metallb-native.yaml")?;
    adapted(&fs::read_to_string(&path).with_context(|| format!("reading {path}"))?)
}

/// Deploys it: controller, speakers, its nine kinds. Layer 2 with memberlist, BGP in its native mode without any peer.
pub fn deploy(bed: &Bed) -> Result<()> {
    add_images(bed)?;
    bed.apply(&manifests()?).map(drop)
}

/// Waits until its controller and all its speakers are ready.
pub fn wait_ready(bed: &Bed) -> Result<()> {
    let timeout = format!("--timeout={}s", PODS.as_secs());
    for workload in ["deployment/controller", "daemonset/speaker"] {
        bed.kubectl(&["-n", NAMESPACE, "rollout", "status", workload, &timeout])
            .with_context(|| logs(bed))?;
    }
    Ok(())
}

/// What its Pods said last, for the message of a failed test.
pub fn logs(bed: &Bed) -> String {
    let arguments = ["-n", NAMESPACE, "logs", "-l", "app=metallb", "--prefix", "--tail=40"];
    bed.kubectl(&arguments).unwrap_or_else(|error| format!("no logs: {error:#}"))
}

/// The memory of a node's speaker.
pub fn speaker_memory(node: &Node) -> Result<Memory> {
    let found = node.program("metallb-speaker")?;
    let speaker = found.first().with_context(|| format!("no speaker of MetalLB runs on {}", node.name()))?;
    process::memory(speaker.pid)
}

/// Its manifests without the webhook, since no route leads from the bed's API server to the cluster's Services, and with readiness probes that
/// begin at once: the ten seconds that they wait otherwise are no part of what is tested.
fn adapted(manifests: &str) -> Result<String> {
    let kept: Vec<&str> = manifests
        .split("\n---\n")
        .filter(|document| !document.contains("\nkind: ValidatingWebhookConfiguration\n"))
        .collect();
    let mut text = kept.join("\n---\n");
    let changes = [
        (
            "        - --log-level=info\n",
            "        - --log-level=info\n        - --webhook-mode=disabled\n",
            1,
        ),
        ("initialDelaySeconds: 10\n", "initialDelaySeconds: 1\n", usize::MAX),
        ("periodSeconds: 10\n", "periodSeconds: 1\n", usize::MAX),
    ];
    for (from, to, times) in changes {
        ensure!(text.contains(from), "MetalLB's manifests have changed: there is no {from:?}");
        text = text.replacen(from, to, times);
    }
    let deployment = text.find("\nkind: Deployment\n").context("MetalLB's manifests have no Deployment")?;
    let daemons = text.find("\nkind: DaemonSet\n").context("MetalLB's manifests have no DaemonSet")?;
    let flag = text.find("--webhook-mode").unwrap_or_default();
    ensure!((deployment..daemons).contains(&flag), "MetalLB's manifests have changed their order");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFESTS: &str = "apiVersion: v1\nkind: Namespace\n---\napiVersion: apps/v1\nkind: Deployment\nspec:\n      - args:\n        - --log-level=info\n\
        initialDelaySeconds: 10\nperiodSeconds: 10\n---\napiVersion: apps/v1\nkind: DaemonSet\nspec:\n      - args:\n        - --log-level=info\n---\n\
        apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {}\n";

    #[test]
    fn only_the_controller_loses_its_webhook() {
        let text = adapted(MANIFESTS).expect("adapted");
        assert_eq!(text.matches("--webhook-mode=disabled").count(), 1);
        assert!(!text.contains("ValidatingWebhookConfiguration"));
        assert!(text.contains("kind: DaemonSet") && !text.contains("Seconds: 10"));
    }

    #[test]
    fn manifests_of_another_shape_are_refused() {
        assert!(adapted("apiVersion: v1\nkind: Namespace\n").is_err());
    }
}
