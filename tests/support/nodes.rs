//! What the node controllers do to a Node whose machine is made, stops and ends, whatever the cloud. I/O.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, wait};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

/// Longest wait for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";
/// The Node, and its machine.
pub const NAME: &str = "machine";

/// What becomes of a machine.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It is stopped.
    Stops,
    /// It is gone for good.
    Ends,
}

/// What its Node shall say of a running machine.
pub struct Told {
    /// Its provider id.
    pub provider_id: String,
    /// Labels.
    pub labels: Vec<(&'static str, String)>,
    /// One of its internal addresses.
    pub address: String,
}

/// A Node without a machine in the bed: nobody's kubelet says anything of it.
async fn register(nodes: &Api<Node>, name: &str, provider_id: Option<&str>) -> Result<()> {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"providerID": provider_id, "taints": [
            {"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"},
            {"key": "example.com/mine", "effect": "NoSchedule"}]},
    }))?;
    nodes.create(&PostParams::default(), &node).await?;
    // What a kubelet would have said.
    let status = json!({"status": {"addresses": [{"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "False", "reason": "Test", "message": "no kubelet"}]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

fn taints(node: &Node) -> Vec<&str> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).map(|taint| taint.key.as_str()).collect()
}

/// A Node gets what its machine says, and goes with it; one of another cloud stays as it is, and is told why. `by_name`: the Node begins without provider id.
pub async fn follow_their_machines(
    bed: &Bed,
    told: Told,
    by_name: bool,
    mut happens: impl AsyncFnMut(Fate) -> Result<()>,
) -> Result<()> {
    let nodes = Api::<Node>::all(bed.client().await?);
    register(&nodes, NAME, (!by_name).then_some(told.provider_id.as_str())).await?;
    register(&nodes, "stranger", Some("gce://project/zone/stranger")).await?;
    let known = wait::until("the Node to be initialized", PATIENCE, async || {
        let node = nodes.get(NAME).await?;
        ensure!(!taints(&node).contains(&UNINITIALIZED), "{:?}", taints(&node));
        Ok(node)
    })
    .await?;
    ensure!(taints(&known).contains(&"example.com/mine"), "{:?}", taints(&known));
    let provider_id = known.spec.as_ref().and_then(|spec| spec.provider_id.clone());
    ensure!(provider_id.as_ref() == Some(&told.provider_id), "{provider_id:?}");
    let labels = known.metadata.labels.clone().unwrap_or_default();
    for (label, value) in &told.labels {
        ensure!(labels.get(*label) == Some(value), "{label} is not {value}: {labels:?}");
    }
    let addresses = known.status.and_then(|status| status.addresses).unwrap_or_default();
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP").context("no InternalIP")?;
    ensure!(internal.address == told.address, "{addresses:?}");
    said(bed, NAME, "Synced", "").await?;
    said(bed, "stranger", "InstanceUnknown", "gce://project/zone/stranger").await?;
    ensure!(taints(&nodes.get("stranger").await?).contains(&UNINITIALIZED));

    // Stopped: no Pod is to start there. Ready again: they may.
    happens(Fate::Stops).await?;
    until_tainted(&nodes, true).await?;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "a kubelet"}]}});
    nodes.patch_status(NAME, &PatchParams::default(), &Patch::Merge(ready)).await?;
    until_tainted(&nodes, false).await?;

    // Ended for good: the Node goes, but only once its kubelet is silent.
    happens(Fate::Ends).await?;
    let silent = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Test", "message": "silence"}]}});
    nodes.patch_status(NAME, &PatchParams::default(), &Patch::Merge(silent)).await?;
    wait::until("the Node to be deleted", PATIENCE, async || {
        ensure!(nodes.get_opt(NAME).await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    said(bed, NAME, "DeletingNode", "does not exist in the cloud provider").await?;
    // Nobody knows a machine of this one's: it is nobody's to delete.
    nodes.get("stranger").await.context("the stranger is gone")?;
    nodes.delete("stranger", &Default::default()).await?;
    Ok(())
}

async fn until_tainted(nodes: &Api<Node>, tainted: bool) -> Result<()> {
    wait::until(&format!("the taint of a stopped machine: {tainted}"), PATIENCE, async || {
        let node = nodes.get(NAME).await?;
        ensure!(taints(&node).contains(&SHUTDOWN) == tainted, "{:?}", taints(&node));
        Ok(())
    })
    .await
}

/// Waits for an Event on a Node; those are in the namespace `default`.
async fn said(bed: &Bed, node: &str, reason: &str, part: &str) -> Result<()> {
    wait::until(&format!("Event {reason} on Node {node}"), PATIENCE, async || {
        let selector = format!("--field-selector=involvedObject.kind=Node,involvedObject.name={node}");
        let path = "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
        let all = bed.kubectl(&["-n", "default", "get", "events", &selector, "-o", path])?;
        ensure!(all.lines().any(|line| line.starts_with(reason) && line.contains(part)), "{all}");
        Ok(())
    })
    .await
}
