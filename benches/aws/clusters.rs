//! Two clusters with equal names in one account. I/O.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use causeway_bed::{Bed, wait};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::bench::Bench;
use super::site::{ONE, Site, annotations, service, shown};

const NAME: &str = "twin";

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let site = Site::start(false).await?;
    let outcome = two_clusters(&site, bench).await;
    site.end(outcome, bench, true)
}

/// A second cluster makes, changes and deletes a Service of the same name: what that does to the first one's things.
async fn two_clusters(site: &Site, bench: &Bench) -> Result<()> {
    let controller = site.controller(&[])?;
    site.create(NAME, &[]).await?;
    let host = site.served(NAME).await?;
    controller.settled(1).await?;
    // At rest: whatever is written from now on, the other one writes.
    controller.stop().await?;
    let cluster = site.cluster_id().await?;
    let before = described(site, &cluster).await?;
    ensure!(before.keys().any(|arn| arn.contains(":loadbalancer/")), "{:?}", before.keys());

    let second = Bed::builder().nodes(1).start().await?;
    let client = second.client().await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let provider = json!({"spec": {"providerID": site.account.instance("node1")?.provider_id()}});
    nodes.patch("node1", &PatchParams::default(), &Patch::Merge(provider)).await?;
    let services: Api<Service> = Api::default_namespaced(client);
    services.create(&PostParams::default(), &service(NAME, &[])?).await?;
    let other = site.controller_of(&second, &[])?;
    let of_second = async || shown(services.get(NAME).await?).context("none yet");
    let twin =
        wait::until("the host name of the second cluster's Service", ONE, async || of_second().await).await?;
    ensure!(twin != host, "both have {host}");
    let patch = json!({"metadata": {"annotations": annotations(&[("scheme", "internet-facing")])}});
    services.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    wait::until("another host name of the second cluster's Service", ONE, async || {
        let now = of_second().await?;
        ensure!(now != twin, "{now}");
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

    let after = described(site, &cluster).await?;
    let crossed = before.iter().filter(|(id, before)| after.get(*id) != Some(before)).count();
    let what = "equal names in one account: things of the other cluster changed";
    bench.count("two-clusters", what, crossed as f64, 0.0, "?");

    let controller = site.controller(&[])?;
    site.delete(NAME).await?;
    site.gone(NAME).await?;
    controller.stop().await
}

/// Everything with the mark of a cluster, with all its tags; what load balancers listen to and target groups send to.
async fn described(site: &Site, cluster: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    let request = json!({"TagFilters": [{"Key": "causeway.io/cluster", "Values": [cluster]}]});
    let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
    let answer = site.aws.ask_json("tagging", target, request).await?;
    for item in answer["ResourceTagMappingList"].as_array().context("no list")? {
        let arn = item["ResourceARN"].as_str().context("no ARN")?.to_owned();
        if let Some((_, id)) = arn.split_once(":security-group/") {
            let rules = site.by_hand("ec2", "DescribeSecurityGroups", &[("GroupId.1", id)]).await?;
            let rules = rules.split_once("<securityGroupInfo>").map(|(_, rest)| rest.to_owned());
            all.insert(format!("{arn} rules"), rules.into());
        }
        all.insert(arn, item["Tags"].clone());
    }
    let overview = site.aws.cloud().overview();
    for region in overview.as_array().into_iter().flatten() {
        for one in ["loadBalancers", "targetGroups"].iter().flat_map(|kind| region[kind].as_array()).flatten()
        {
            let arn = one["arn"].as_str().unwrap_or_default();
            if all.contains_key(arn) {
                all.insert(format!("{arn} state"), one.clone());
            }
        }
    }
    Ok(all)
}
