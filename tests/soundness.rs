//! `causeway check`, the ConfigurationStates of controller and speakers, and what a speaker finds wrong with its node.

mod support;

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use causeway_bed::{Bed, wait};
use serde_json::Value;
use support::check::Checked;
use support::{Lab, PODS, SOON};

/// The status of a ConfigurationState, once it is as `holds` says.
async fn state(bed: &Bed, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    wait::until(&format!("ConfigurationState {name} to be {what}"), SOON, async || {
        let text = bed.kubectl(&["-n", "metallb-system", "get", "configurationstate", name, "-o", "json"])?;
        let object: Value = serde_json::from_str(&text)?;
        ensure!(holds(&object["status"]), "{}", object["status"]);
        Ok(object)
    })
    .await
}

fn valid(status: &Value) -> bool {
    status["result"] == "Valid" && status["errorSummary"].as_str().unwrap_or_default().is_empty()
}

#[tokio::test]
async fn a_sound_set_up_is_said_to_be_sound_and_each_fault_is_named() {
    Lab::run("soundness", async |lab| {
        let bed = lab.bed;
        let sound = wait::until("a sound set-up", PODS, async || {
            let checked = Checked::run(bed, &[])?;
            ensure!(checked.status == Some(0), "{:?}", checked.findings);
            Ok(checked)
        })
        .await?;
        sound.says("ok", "Kubernetes", "v1.")?;
        sound.says("ok", "Deployment kube-system/causeway", "2 of 2")?;
        sound.says("ok", "DaemonSet kube-system/causeway-speaker", "3 of 3")?;
        sound.says("ok", "Lease kube-system/causeway-metal", &lab.leader().await?)?;
        sound.says("ok", "Secret kube-system/causeway-membership", "key")?;
        sound.says("ok", "ServiceAccount kube-system/causeway", "rights")?;
        sound.says("ok", "ServiceAccount kube-system/causeway-speaker", "rights")?;
        sound.says("ok", "IPAddressPool metallb-system/segment", "announced")?;
        sound.says("warning", "ConfigMap kube-system/kube-proxy", "not known")?;

        // One fault of each kind.
        bed.apply(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-proxy, namespace: kube-system}, data: {config.conf: \"mode: ipvs\\nipvs: {strictARP: false}\\n\"}}",
        )?;
        bed.apply(
            "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: lonely, namespace: metallb-system}, spec: {addresses: [10.77.100.200/32], autoAssign: false}}",
        )?;
        bed.apply(
            "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: left-behind}, webhooks: [{name: a.example.com, \
              admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Fail, clientConfig: {service: {namespace: metallb-system, name: gone}}, \
              rules: [{apiGroups: [metallb.io], apiVersions: [v1beta1], operations: [DELETE], resources: [bfdprofiles]}]}]}",
        )?;
        lab.create_service("greedy", "annotations: {metallb.io/address-pool: nowhere}", "")?;
        lab.event((&lab.namespace, "Service", "greedy"), "AllocationFailed", &["nowhere"]).await?;
        bed.kubectl(&["-n", "metallb-system", "delete", "rolebinding", "causeway-speaker-config"])?;
        let broken = Checked::run(bed, &[]);
        let elsewhere = Checked::run(bed, &["--namespace=default", "--config-namespace=default"]);
        // Mended before it is judged: other tests use this cluster too.
        support::deploy(bed)?;
        bed.kubectl(&["-n", "kube-system", "delete", "configmap", "kube-proxy"])?;
        bed.kubectl(&["-n", "metallb-system", "delete", "ipaddresspool", "lonely"])?;
        bed.kubectl(&["delete", "validatingwebhookconfiguration", "left-behind"])?;
        let broken = broken?;
        ensure!(broken.status == Some(2), "{:?}", broken.findings);
        broken.says("error", "ConfigMap kube-system/kube-proxy", "strictARP")?;
        broken.says("error", "IPAddressPool metallb-system/lonely", "no L2Advertisement")?;
        broken.says("error", "ValidatingWebhookConfiguration left-behind", "metallb-system/gone")?;
        broken.says("error", &format!("Service {}/greedy", lab.namespace), "nowhere")?;
        broken.says(
            "error",
            "ServiceAccount kube-system/causeway-speaker",
            "may not get, list, watch ipaddresspools.metallb.io in metallb-system",
        )?;
        broken.says("ok", "IPAddressPool metallb-system/segment", "announced")?;
        let elsewhere = elsewhere?;
        ensure!(elsewhere.status == Some(2), "{:?}", elsewhere.findings);
        elsewhere.says("error", "Deployment default/causeway", "not there")?;
        elsewhere.says("error", "Lease default/causeway-metal", "no controller leads")?;
        elsewhere.says("error", "IPAddressPools in default", "none")?;

        let unreachable = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["check", "--master=http://127.0.0.1:9"])
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()?;
        ensure!(unreachable.status.code() == Some(1), "{unreachable:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn each_component_says_what_it_thinks_of_the_configuration() {
    Lab::run("states", async |lab| {
        let bed = lab.bed;
        let controller = state(bed, "controller", "valid", valid).await?;
        ensure!(controller["metadata"]["labels"]["metallb.io/component-type"] == "controller", "{controller}");
        ensure!(controller["status"]["conditions"][0]["type"] == "poolReconcilerValid", "{controller}");
        let speaker = state(bed, "speaker-node1", "valid", valid).await?;
        ensure!(speaker["metadata"]["labels"]["metallb.io/component-type"] == "speaker", "{speaker}");
        ensure!(speaker["metadata"]["labels"]["metallb.io/node-name"] == "node1", "{speaker}");
        ensure!(speaker["metadata"]["ownerReferences"][0]["kind"] == "Node", "{speaker}");

        // The younger of two pools that overlap is refused, and everybody says so.
        bed.apply(
            "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: twin, namespace: metallb-system}, spec: {addresses: [10.77.100.5/32]}}",
        )?;
        let invalid = |status: &Value| {
            let condition = &status["conditions"].as_array().and_then(|c| c.iter().find(|c| c["status"] == "False"));
            status["result"] == "Invalid"
                && status["errorSummary"].as_str().is_some_and(|s| s.contains("twin") && s.contains("segment"))
                && condition.is_some_and(|c| c["reason"] == "ConfigurationError")
        };
        let seen = async {
            state(bed, "controller", "invalid", invalid).await?;
            state(bed, "speaker-node1", "invalid", invalid).await?;
            state(bed, "speaker-node3", "invalid", invalid).await
        }
        .await;
        bed.kubectl(&["-n", "metallb-system", "delete", "ipaddresspool", "twin"])?;
        let before = seen?;
        let after = state(bed, "speaker-node3", "valid again", valid).await?;
        state(bed, "controller", "valid again", valid).await?;
        // One write for what one change led to.
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        ensure!(version(&before) != version(&after), "{after}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_cannot_announce_rightly_says_so() {
    Lab::run("nodesettings", async |lab| {
        let bed = lab.bed;
        let node = bed.namespace("node2")?;
        // As kube-proxy in IPVS mode leaves it; the kernel here has no IPVS, and it is the name that tells.
        node.run(&["ip", "link", "add", "kube-ipvs0", "type", "bridge"])?;
        let restart = || {
            bed.kubectl(&[
                "-n",
                "kube-system",
                "delete",
                "pod",
                "-l",
                "app.kubernetes.io/component=speaker",
                "--field-selector=spec.nodeName=node2",
            ])
        };
        restart()?;
        let seen = async {
            let invalid = |status: &Value| {
                status["result"] == "Invalid"
                    && status["errorSummary"].as_str().is_some_and(|s| s.contains("strictARP"))
            };
            let state = state(bed, "speaker-node2", "invalid", invalid).await?;
            lab.event(("default", "Node", "node2"), "NodeSettings", &["strictARP", "IPVS"]).await?;
            Checked::run(bed, &[])?.says("error", "ConfigurationState speaker-node2", "strictARP")?;
            anyhow::Ok(state)
        }
        .await;
        node.run(&["ip", "link", "delete", "kube-ipvs0"])?;
        restart()?;
        let state_then = seen?;
        let conditions = state_then["status"]["conditions"].as_array().cloned().unwrap_or_default();
        ensure!(
            conditions.iter().any(|c| c["type"] == "configReconcilerValid" && c["status"] == "True"),
            "the configuration itself is valid: {state_then}"
        );
        state(bed, "speaker-node2", "valid again", valid).await?;
        support::wait_deployed(bed)
    })
    .await;
}
