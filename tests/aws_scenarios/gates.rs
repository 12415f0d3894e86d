//! Readiness gates of Pods that are targets themselves: set by the policy of deploy/kustomize/readiness-gates, opened by what target groups say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::Value;

use crate::lab::{Lab, MADE, NODES};
use crate::support::{PODS, SOON};

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";
const PODS_AS_TARGETS: &str = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type: ip, \
    service.beta.kubernetes.io/aws-load-balancer-healthcheck-interval: '5', \
    service.beta.kubernetes.io/aws-load-balancer-healthcheck-healthy-threshold: '2'";
const CHECKED_PORT: &str = "service.beta.kubernetes.io/aws-load-balancer-healthcheck-port";
const OURS: &str = "target-health.elbv2.k8s.aws/causeway";
/// As aws-load-balancer-controller names those it injects.
const THEIRS: &str = "target-health.elbv2.k8s.aws/k8s-gates-web-0123456789";

/// Conditions of a Pod by type: status, reason, message.
async fn conditions(lab: &Lab, pod: &str) -> Result<Vec<(String, String, String, String)>> {
    let pod: Value = serde_json::from_str(&lab.kubectl(&["get", "pod", pod, "-o", "json"])?)?;
    let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
    Ok(all
        .iter()
        .map(|c| (text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message")))
        .collect())
}

/// Waits until a condition of a Pod has this status and a reason that begins so; its message.
async fn says(lab: &Lab, pod: &str, kind: &str, status: &str, reason: &str) -> Result<String> {
    wait::until(&format!("{kind} {status} of {pod}"), MADE, async || {
        let all = conditions(lab, pod).await?;
        let found = all.iter().find(|c| c.0 == kind).with_context(|| format!("{all:?}"))?;
        ensure!(found.1 == status && found.2.starts_with(reason), "{all:?}");
        Ok(found.3.clone())
    })
    .await
}

/// A Pod like those of the application, with more in its spec.
fn pod(lab: &Lab, name: &str, labels: &str, spec: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: NAMESPACE, labels: {{{labels}}}}}, spec: {{{spec} terminationGracePeriodSeconds: 1, \
         containers: [{{name: web, image: 'agnhost:2.53', args: [netexec, --http-port=8080]}}]}}}}"
    ))
}

#[tokio::test]
async fn pods_are_ready_when_their_target_groups_say_so() {
    Lab::run("gates", async |lab| {
        lab.bed().kubectl(&["label", "namespace", "gates", "elbv2.k8s.aws/pod-readiness-gate-inject=enabled"])?;
        lab.service("web", &format!("{PODS_AS_TARGETS}, {CHECKED_PORT}: '9'"), PORTS)?;
        lab.service("also", PODS_AS_TARGETS, PORTS)?;
        // The policy sees Services by a watch.
        wait::until("the policy to know the Services", SOON, async || {
            let gates = "jsonpath={.spec.readinessGates[*].conditionType}";
            let made = lab.kubectl(&[
                "run", "probe", "--dry-run=server", "--image=agnhost:2.53", "--labels=app=hello", "-o", gates,
            ])?;
            ensure!(made == OURS, "{made:?}");
            Ok(())
        })
        .await?;
        lab.deploy()?;
        let names = wait::until("the Pods", PODS, async || {
            let names = lab.kubectl(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[*].metadata.name}"])?;
            let names: Vec<String> = names.split(' ').filter(|n| !n.is_empty()).map(str::to_owned).collect();
            ensure!(names.len() == NODES, "{names:?}");
            Ok(names)
        })
        .await?;
        // One of the two target groups asks a port that is shut.
        for name in &names {
            says(lab, name, "ContainersReady", "True", "").await?;
            let why = says(lab, name, OURS, "False", "Target.").await?;
            ensure!(why.contains("web"), "{why}");
            let all = conditions(lab, name).await?;
            ensure!(all.iter().any(|c| c.0 == "Ready" && c.1 == "False"), "{all:?}");
        }
        lab.kubectl(&["annotate", "--overwrite", "service", "web", &format!("{CHECKED_PORT}=traffic-port")])?;
        let timeout = format!("--timeout={}s", MADE.as_secs());
        lab.kubectl(&["rollout", "status", "deployment/hello", &timeout])?;
        for name in &names {
            let both = says(lab, name, OURS, "True", "Healthy").await?;
            ensure!(both.contains("k8s-gates-also-") && both.contains("k8s-gates-web-"), "{both}");
        }
        // Nobody waits: nobody is asked about.
        let before = lab.calls();
        // One that a Service selects which has no load balancer waits for nobody.
        lab.apply("{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: NAMESPACE}, spec: {selector: {app: other}, ports: [{port: 80}]}}")?;
        pod(lab, "other", "app: other", &format!("readinessGates: [{{conditionType: {OURS}}}],"))?;
        says(lab, "other", OURS, "True", "NoTargetGroup").await?;
        says(lab, "other", "Ready", "True", "").await?;
        tokio::time::sleep(Duration::from_secs(11)).await;
        let asked = |c: &&causeway_bed::cloud::Record| {
            c.action == "DescribeTargetHealth" && c.resource.contains("k8s-gates-")
        };
        let asked: Vec<_> = lab.records(before).iter().filter(asked).cloned().collect();
        // The audit may have looked at each once.
        ensure!(asked.len() <= 2, "{asked:?}");

        // A gate that the peer's webhook set, on a Pod of a target group that is never healthy, and that goes.
        lab.kubectl(&["annotate", "--overwrite", "service", "web", &format!("{CHECKED_PORT}=9")])?;
        pod(lab, "late", "app: hello", &format!("readinessGates: [{{conditionType: {THEIRS}}}],"))?;
        let why = says(lab, "late", THEIRS, "False", "Target.").await?;
        ensure!(why.contains("web"), "{why}");
        lab.delete("service/web").await?;
        let which = says(lab, "late", THEIRS, "True", "Healthy").await?;
        ensure!(!which.contains("web"), "{which}");
        says(lab, "late", "Ready", "True", "").await?;
        lab.delete("service/also").await
    })
    .await;
}
