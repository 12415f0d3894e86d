//! TargetGroupBinding: targets for a target group that the user made.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::json;

use crate::lab::{Lab, MADE, NODES, wait_deployed};
use crate::support::SOON;

/// A target group of the user's own; its ARN.
fn target_group(lab: &Lab, name: &str) -> Result<String> {
    let program = format!(
        "import boto3\nprint(boto3.client('elbv2').create_target_group(Name='{name}', Protocol='TCP', Port=80, VpcId='{}', TargetType='instance')\
         ['TargetGroups'][0]['TargetGroupArn'])",
        lab.world.account.vpc
    );
    Ok(lab.world.aws.python(&program)?.trim().to_owned())
}

/// Ids of what is registered in it and does not leave.
fn registered(lab: &Lab, arn: &str) -> Result<BTreeSet<String>> {
    let program = format!(
        "import boto3\nfor t in boto3.client('elbv2').describe_target_health(TargetGroupArn='{arn}')['TargetHealthDescriptions']:\n  \
         if t['TargetHealth']['State'] != 'draining': print(t['Target']['Id'], t['Target']['Port'])"
    );
    Ok(lab.world.aws.python(&program)?.lines().map(str::to_owned).collect())
}

async fn until_registered(lab: &Lab, arn: &str, count: usize) -> Result<BTreeSet<String>> {
    wait::until(&format!("{count} targets in {arn}"), MADE, async || {
        let found = registered(lab, arn)?;
        ensure!(found.len() == count, "{found:?}");
        Ok(found)
    })
    .await
}

fn bind(lab: &Lab, name: &str, arn: &str, service: &str) -> Result<()> {
    lab.apply(&format!(
        "{{apiVersion: elbv2.k8s.aws/v1beta1, kind: TargetGroupBinding, metadata: {{name: {name}, namespace: NAMESPACE}}, \
         spec: {{targetGroupARN: '{arn}', targetType: instance, serviceRef: {{name: {service}, port: 80}}}}}}"
    ))
}

#[tokio::test]
async fn nodes_are_registered_and_taken_back_when_the_binding_goes() {
    Lab::alone("binding", async |lab| {
        lab.application()?;
        lab.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: NAMESPACE}, spec: {type: NodePort, selector: {app: hello}, \
             ports: [{port: 80, targetPort: 8080}]}}",
        )?;
        let arn = target_group(lab, "bound")?;
        bind(lab, "web", &arn, "web")?;
        let targets = until_registered(lab, &arn, NODES).await?;
        let port = lab.field("service/web", ".spec.ports[0].nodePort")?;
        ensure!(targets.iter().all(|t| t.ends_with(&format!(" {port}"))), "{targets:?}, not port {port}");
        wait::until("the binding's status and finalizer", MADE, async || {
            let binding = lab.binding("web").await?;
            let generation = binding.metadata.generation.context("no generation")?;
            ensure!(binding.data["status"]["observedGeneration"] == json!(generation), "{}", binding.data);
            let finalizers = binding.metadata.finalizers.unwrap_or_default();
            ensure!(finalizers.contains(&"causeway.io/load-balancer-cleanup".to_owned()), "{finalizers:?}");
            Ok(())
        })
        .await?;
        // Only one of the nodes, then all again.
        let one = r#"{"spec":{"nodeSelector":{"matchLabels":{"kubernetes.io/hostname":"node1"}}}}"#;
        lab.kubectl(&["patch", "targetgroupbinding", "web", "--type=merge", "-p", one])?;
        until_registered(lab, &arn, 1).await?;
        // A controller that knows nothing of it takes back what was registered before.
        lab.bed().kubectl(&["-n", "kube-system", "rollout", "restart", "deployment/causeway"])?;
        wait_deployed(lab.bed())?;
        lab.kubectl(&["delete", "targetgroupbinding", "web", "--wait=false"])?;
        until_registered(lab, &arn, 0).await?;
        wait::until("the binding to be gone", SOON, async || {
            let left = lab.kubectl(&["get", "targetgroupbinding", "--ignore-not-found", "-o", "name"])?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn of_a_target_group_of_several_clusters_only_what_was_registered_here_is_taken_away() {
    Lab::alone("several", async |lab| {
        lab.application()?;
        lab.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: NAMESPACE}, spec: {type: NodePort, selector: {app: hello}, \
             ports: [{port: 80, targetPort: 8080}]}}",
        )?;
        let arn = target_group(lab, "several")?;
        // Another cluster's: the same instance, at a port of its own.
        let instance = lab.field("node/node1", ".spec.providerID")?;
        let instance = instance.rsplit('/').next().context("no instance")?;
        lab.world.aws.python(&format!(
            "import boto3\nboto3.client('elbv2').register_targets(TargetGroupArn='{arn}', Targets=[{{'Id': '{instance}', 'Port': 31999}}])"
        ))?;
        lab.apply(&format!(
            "{{apiVersion: elbv2.k8s.aws/v1beta1, kind: TargetGroupBinding, metadata: {{name: web, namespace: NAMESPACE}}, spec: {{targetGroupARN: '{arn}', \
             targetType: instance, multiClusterTargetGroup: true, serviceRef: {{name: web, port: 80}}}}}}"
        ))?;
        until_registered(lab, &arn, NODES + 1).await?;
        // Whoever takes over knows nothing but what AWS holds.
        lab.kill_leader().await?;
        let one = r#"{"spec":{"nodeSelector":{"matchLabels":{"kubernetes.io/hostname":"node1"}}}}"#;
        lab.kubectl(&["patch", "targetgroupbinding", "web", "--type=merge", "-p", one])?;
        let left = until_registered(lab, &arn, 2).await?;
        ensure!(left.contains(&format!("{instance} 31999")), "{left:?}");
        lab.kubectl(&["delete", "targetgroupbinding", "web", "--timeout=60s"])?;
        let left = until_registered(lab, &arn, 1).await?;
        ensure!(left.contains(&format!("{instance} 31999")), "{left:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_binding_names_wrongly_is_said_on_it() {
    Lab::run("badbinding", async |lab| {
        bind(
            lab,
            "lost",
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/none/0123456789abcdef",
            "web",
        )?;
        let said =
            lab.event(("TargetGroupBinding", "lost"), "TargetGroupNotFound", &["targetgroup/none"]).await?;
        println!("{said}");
        let arn = target_group(lab, "lonely")?;
        bind(lab, "lonely", &arn, "missing")?;
        let said =
            lab.event(("TargetGroupBinding", "lonely"), "ServiceNotFound", &["missing", "port 80"]).await?;
        println!("{said}");
        lab.kubectl(&["delete", "targetgroupbinding", "--all", "--timeout=60s"]).map(drop)
    })
    .await;
}
