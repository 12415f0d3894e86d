//! The node controllers: a Node that waits for its cloud, and one whose machine stops and ends.

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::lab::{Lab, MADE};
use crate::support::SOON;

const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

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

#[tokio::test]
async fn a_node_gets_what_its_machine_says_and_goes_with_it() {
    Lab::run("nodes", async |lab| {
        let (aws, nodes) = (&lab.world.aws, Api::<Node>::all(lab.client.clone()));
        let instance = lab.world.account.clone().add_node(aws, "machine", None).await?;
        register(&nodes, "machine", Some(&instance.provider_id())).await?;
        // One of another cloud stays as it is, and is told why.
        register(&nodes, "stranger", Some("gce://project/zone/stranger")).await?;
        let known = wait::until("the Node to be initialized", SOON, async || {
            let node = nodes.get("machine").await?;
            ensure!(!taints(&node).contains(&UNINITIALIZED), "{:?}", taints(&node));
            Ok(node)
        })
        .await?;
        ensure!(taints(&known).contains(&"example.com/mine"), "{:?}", taints(&known));
        let labels = known.metadata.labels.clone().unwrap_or_default();
        for (label, value) in [
            ("topology.kubernetes.io/zone", instance.zone.as_str()),
            ("failure-domain.beta.kubernetes.io/zone", instance.zone.as_str()),
            ("topology.kubernetes.io/region", lab.world.account.region.as_str()),
            ("node.kubernetes.io/instance-type", "m5.large"),
        ] {
            ensure!(labels.get(label).is_some_and(|found| found == value), "{label} is not {value}: {labels:?}");
        }
        let addresses = known.status.and_then(|status| status.addresses).unwrap_or_default();
        let internal = addresses.iter().find(|address| address.type_ == "InternalIP").context("no InternalIP")?;
        ensure!(internal.address == instance.address.to_string(), "{addresses:?}");
        said(lab, "machine", "Synced", "").await?;
        said(lab, "stranger", "InstanceUnknown", "gce://project/zone/stranger").await?;
        ensure!(taints(&nodes.get("stranger").await?).contains(&UNINITIALIZED));

        // Stopped: no Pod is to start there. Ready again: they may.
        let state = async |action: &str| {
            let (status, body) = aws.ask("ec2", &[("Action", action), ("InstanceId.1", &instance.id)]).await?;
            ensure!(status == 200, "{action}: {status} {body}");
            anyhow::Ok(())
        };
        state("StopInstances").await?;
        until_tainted(&nodes, true).await?;
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "a kubelet"}]}});
        nodes.patch_status("machine", &PatchParams::default(), &Patch::Merge(ready)).await?;
        until_tainted(&nodes, false).await?;

        // Ended for good: the Node goes, but only once its kubelet is silent.
        state("TerminateInstances").await?;
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Test", "message": "silence"}]}});
        nodes.patch_status("machine", &PatchParams::default(), &Patch::Merge(ready)).await?;
        wait::until("the Node to be deleted", MADE, async || {
            ensure!(nodes.get_opt("machine").await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        said(lab, "machine", "DeletingNode", "does not exist in the cloud provider").await?;
        // Nobody knows a machine of this one's: it is nobody's to delete.
        nodes.get("stranger").await.context("the stranger is gone")?;
        nodes.delete("stranger", &Default::default()).await?;
        Ok(())
    })
    .await;
}

async fn until_tainted(nodes: &Api<Node>, tainted: bool) -> Result<()> {
    wait::until(&format!("the taint of a stopped machine: {tainted}"), MADE, async || {
        let node = nodes.get("machine").await?;
        ensure!(taints(&node).contains(&SHUTDOWN) == tainted, "{:?}", taints(&node));
        Ok(())
    })
    .await
}

/// Waits for an Event on a Node; those are in the namespace `default`.
async fn said(lab: &Lab, node: &str, reason: &str, part: &str) -> Result<()> {
    wait::until(&format!("Event {reason} on Node {node}"), MADE, async || {
        let selector = format!("--field-selector=involvedObject.kind=Node,involvedObject.name={node}");
        let path = "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
        let all = lab.bed().kubectl(&["-n", "default", "get", "events", &selector, "-o", path])?;
        ensure!(all.lines().any(|line| line.starts_with(reason) && line.contains(part)), "{all}");
        Ok(())
    })
    .await
}
