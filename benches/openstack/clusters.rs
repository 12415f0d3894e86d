//! Two clusters of one name in one project. I/O.

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, wait};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::bench::{Bench, note};
use super::crashes::everything;
use super::site::{ONE, Site, service, shown, text};

const NAME: &str = "twin";

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let mut site = Site::start(false, 0).await?;
    site.options = "manage-security-groups = true\n";
    let outcome = two_clusters(&site, bench).await;
    site.end(outcome)
}

/// A second cluster makes, changes and deletes a Service of the same name: what that does to the first one's things.
async fn two_clusters(site: &Site, bench: &Bench) -> Result<()> {
    let controller = site.controller(&[])?;
    site.create(NAME, &[80], json!({})).await?;
    let address = site.served(NAME).await?;
    controller.settled(1).await?;
    // At rest: whatever is written from now on, the other one writes.
    controller.stop().await?;
    let before = everything(site).await?;
    ensure!(before.keys().any(|key| key.starts_with("loadbalancers ")), "{:?}", before.keys());

    let second = Bed::builder().nodes(1).start().await?;
    let client = second.client().await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let instance = site.cloud.instances().first().context("no instance")?;
    let provider = json!({"spec": {"providerID": instance.provider_id()}});
    nodes.patch("node1", &PatchParams::default(), &Patch::Merge(provider)).await?;
    let services: Api<Service> = Api::default_namespaced(client);
    services.create(&PostParams::default(), &service(NAME, &[80], json!({}))?).await?;
    let other = site.controller_of(&second, &[])?;
    let twin = wait::until("the address of the second cluster's Service", ONE, async || {
        shown(&services.get(NAME).await?).context("none yet")
    })
    .await?;
    ensure!(twin != address, "both have {address}");
    let names = site.octavia("loadbalancers").await?;
    let names: Vec<&str> = names.iter().map(|lb| text(lb, "name")).collect();
    ensure!(names.len() == 2 && names[0] == names[1], "the load balancers have other names: {names:?}");
    let patch = json!({"spec": {"ports": [{"name": "other", "port": 81}]}});
    services.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    wait::until("the second cluster's load balancer to change", ONE, async || {
        let listening = site.listening().await?;
        ensure!(listening.get(&twin).is_some_and(|ports| ports.iter().eq(&[81])), "{listening:?}");
        Ok(())
    })
    .await?;
    services.delete(NAME, &Default::default()).await?;
    wait::until("the second cluster's Service to be gone", ONE, async || {
        ensure!(services.get_opt(NAME).await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    other.stop().await?;
    second.down()?;

    let after = everything(site).await?;
    // Groups of the nodes' ports are both clusters' business: of those only what the first one needs counts.
    let kept = |key: &str| match (&before[key], after.get(key)) {
        (had, Some(has)) if key.starts_with("groups of ") => had
            .as_array()
            .into_iter()
            .flatten()
            .all(|group| has.as_array().is_some_and(|all| all.contains(group))),
        (had, has) => has == Some(had),
    };
    let crossed: Vec<&String> = before.keys().filter(|key| !kept(key)).collect();
    crossed.iter().for_each(|key| note(&format!("{key}: {} is now {:?}", before[*key], after.get(*key))));
    let what = "same names in one project: things of the other cluster changed";
    bench.count("two-clusters", what, crossed.len() as f64, 0.0, "seven issues");

    let controller = site.controller(&[])?;
    site.delete(NAME).await?;
    site.gone(NAME).await?;
    controller.stop().await
}
