//! Two clusters with the same names in one account.

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;
use serde_json::{Value, json};

use crate::lab::{Lab, MADE, apply_all, arguments, manifests};

const PUBLIC: &str = "service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing";

/// A second controller beside the first, which takes itself for the one of another cluster: its Services have a class of their own. It stands for that
/// cluster's own controller, for all that tells clusters apart in the account is the id in tags and names.
fn other_cluster(lab: &Lab) -> Result<Vec<Value>> {
    let mut more = arguments(lab.world);
    for argument in [
        "--cluster-id=00000000-0000-0000-0000-0000000other",
        "--load-balancer-class=example.com/other",
        "--leader-elect-resource-name=other",
        "--admin-port=10999",
    ] {
        more.push(argument.to_owned());
    }
    let objects = manifests(lab.world, "aws-self-managed", &more)?;
    let mut deployment =
        objects.into_iter().find(|o| o["kind"] == "Deployment").context("no Deployment in the overlay")?;
    deployment["metadata"]["name"] = json!("other");
    deployment["spec"]["replicas"] = json!(1);
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels", "/metadata/labels"] {
        deployment.pointer_mut(labels).context("labels")?["app.kubernetes.io/name"] = json!("other");
    }
    let pod = &mut deployment["spec"]["template"]["spec"];
    pod["affinity"] = Value::Null;
    let port = &mut pod["containers"][0]["ports"][0];
    port["containerPort"] = json!(10999);
    port["hostPort"] = json!(10999);
    let rights = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "other", "namespace": "kube-system"},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"], "resourceNames": ["other"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "other", "namespace": "kube-system"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "other"},
        "subjects": [{"kind": "ServiceAccount", "name": "causeway", "namespace": "kube-system"}]});
    Ok(vec![rights, binding, deployment])
}

#[tokio::test]
async fn two_clusters_with_equal_names_do_not_touch_each_other() {
    Lab::alone("clusters", async |lab| {
        lab.application()?;
        lab.bed().kubectl(&["label", "node", "node3", "node-role.kubernetes.io/control-plane="])?;
        apply_all(lab.bed(), &other_cluster(lab)?)?;
        let outcome = both(lab).await;
        let log = lab.bed().kubectl(&["-n", "kube-system", "logs", "deployment/other", "--tail=40"]);
        lab.bed().kubectl(&["-n", "kube-system", "delete", "deployment,role,rolebinding", "other"])?;
        lab.bed().kubectl(&["label", "node", "node3", "node-role.kubernetes.io/control-plane-"])?;
        outcome.with_context(|| log.unwrap_or_default())
    })
    .await;
}

async fn both(lab: &Lab) -> Result<()> {
    lab.service("web", PUBLIC, "ports: [{port: 80, targetPort: 8080}]")?;
    let ours = lab.hostname("service/web").await?;
    lab.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: theirs, namespace: NAMESPACE, annotations: {{{PUBLIC}}}}}, spec: {{type: LoadBalancer, \
         loadBalancerClass: example.com/other, selector: {{app: hello}}, ports: [{{port: 80, targetPort: 8080}}]}}}}"
    ))?;
    let theirs = lab.hostname("service/theirs").await?;
    for name in [&ours, &theirs] {
        lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
    }
    let cluster = async |service: &str| -> Result<Vec<String>> {
        let owned = lab.owned(&lab.owner(&format!("service/{service}"))?).await?;
        let of = |tags: &Value| {
            let tags = tags.as_array().into_iter().flatten();
            let mark = tags.filter(|t| t["Key"] == "causeway.io/cluster").find_map(|t| t["Value"].as_str());
            mark.unwrap_or_default().to_owned()
        };
        Ok(owned.values().map(of).collect())
    };
    let (mine, others) = (cluster("web").await?, cluster("theirs").await?);
    ensure!(!mine.is_empty() && mine.iter().all(|id| id == &mine[0]), "{mine:?}");
    ensure!(!others.is_empty() && others.iter().all(|id| id.ends_with("other")), "{others:?}");
    // Each deletes its own only, and its restart finds nothing of the other's to clean up.
    lab.delete("service/web").await?;
    lab.bed().kubectl(&["-n", "kube-system", "rollout", "restart", "deployment/causeway"])?;
    crate::lab::wait_deployed(lab.bed())?;
    lab.quiet(std::time::Duration::from_secs(12)).await?;
    lab.answers(&[&format!("http://{theirs}/hostname")], "200 hello-").await?;
    ensure!(cluster("theirs").await? == others, "something of the other cluster changed");
    lab.delete("service/theirs").await?;
    wait::until("the Service of the other cluster to be gone", MADE, async || {
        let left = lab.kubectl(&["get", "service", "theirs", "--ignore-not-found", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await
}
