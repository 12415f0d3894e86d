//! A bed with its AWS and a cluster in it. I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::aws::{Account, Aws};
use causeway_bed::cloud::Record;
use causeway_bed::{Bed, wait};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::bench::{Bench, by_action};
use super::controller::Controller;

/// Longest wait for one load balancer.
pub const ONE: Duration = Duration::from_secs(240);
/// Longest time without a call while something is being waited for: twice the interval at which what is under way is asked about.
pub const QUIET: Duration = Duration::from_secs(12);
/// Prefix of annotations.
pub const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";
/// The class of Services that are ours.
const CLASS: &str = "service.k8s.aws/nlb";

/// Everything that rows share. The AWS ends before its bed.
pub struct Site {
    pub aws: Aws,
    pub account: Account,
    pub files: TempDir,
    pub bed: Bed,
    pub services: Api<Service>,
    pub nodes: Api<Node>,
}

/// Whether a call changes nothing.
pub fn is_read(record: &Record) -> bool {
    ["Describe", "Get", "List"].iter().any(|start| record.action.starts_with(start))
}

impl Site {
    /// One with AWS's default rates, room for many load balancers, and no Service. With a data plane load balancers serve, and targets are checked as often
    /// as they say; without, targets become healthy by themselves.
    pub async fn start(data_plane: bool) -> Result<Site> {
        let bed = Bed::builder().nodes(3).start().await?;
        let builder = Aws::builder().data_plane(data_plane).health_speed(1.0);
        let aws = builder.start(&bed).await?;
        let account = Account::builder().create(&aws, &bed).await?;
        account.label_nodes(&bed).await?;
        for quota in ["network-load-balancers", "target-groups"] {
            aws.cloud().set_quota(quota, 1000).map_err(anyhow::Error::msg)?;
        }
        aws.gate().enforce(true);
        let client = bed.client().await?;
        let (services, nodes) = (Api::default_namespaced(client.clone()), Api::all(client));
        Ok(Site { aws, account, files: tempfile::tempdir()?, bed, services, nodes })
    }

    /// Starts the controller.
    pub fn controller(&self, more: &[&str]) -> Result<Controller> {
        self.controller_of(&self.bed, more)
    }

    /// The same for another cluster with this AWS.
    pub fn controller_of(&self, bed: &Bed, more: &[&str]) -> Result<Controller> {
        let mut arguments = vec![
            "--cloud-provider=aws".to_owned(),
            format!("--cluster-name={}", self.account.cluster),
            format!("--aws-vpc-id={}", self.account.vpc),
            // A machine that is too busy for a moment is not what is measured: it must not end the leader.
            "--leader-elect-lease-duration=90s".to_owned(),
            "--leader-elect-renew-deadline=80s".to_owned(),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let environment = [
            ("AWS_ENDPOINT_URL", self.aws.outside_endpoint()),
            ("AWS_REGION", self.aws.region().to_owned()),
            ("AWS_ACCESS_KEY_ID", "bed".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bed".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        Controller::start(bed, &arguments, &environment, &self.files.path().join("controller.log"))
    }

    /// Makes a Service of one port; `annotations` are without their prefix.
    pub async fn create(&self, name: &str, annotations: &[(&str, &str)]) -> Result<()> {
        self.services.create(&PostParams::default(), &service(name, annotations)?).await?;
        Ok(())
    }

    /// Makes many, at once.
    pub async fn create_many(&self, prefix: &str, count: usize) -> Result<()> {
        stream::iter(0..count)
            .map(|i| async move { self.create(&format!("{prefix}-{i}"), &[]).await })
            .buffer_unordered(16)
            .try_collect()
            .await
    }

    /// Changes a Service by a merge patch.
    pub async fn change(&self, name: &str, patch: Value) -> Result<()> {
        self.services.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Deletes a Service; our finalizer holds it until its load balancer is gone.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.services.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until a Service is gone.
    pub async fn gone(&self, name: &str) -> Result<()> {
        wait::until(&format!("{name} to be gone"), ONE, async || {
            ensure!(self.services.get_opt(name).await?.is_none(), "{name} is there");
            Ok(())
        })
        .await
    }

    /// The host name in a Service's status.
    pub async fn hostname(&self, name: &str) -> Result<Option<String>> {
        Ok(shown(self.services.get(name).await?))
    }

    /// Waits until a Service has a host name.
    pub async fn served(&self, name: &str) -> Result<String> {
        wait::until(&format!("the host name of {name}"), ONE, async || {
            self.hostname(name).await?.context("none yet")
        })
        .await
    }

    /// Value of the owner tag of a Service's load balancer.
    pub async fn owner(&self, name: &str) -> Result<String> {
        let uid = self.services.get(name).await?.metadata.uid.context("no uid")?;
        Ok(format!("service/{uid}"))
    }

    /// Number of the last call.
    pub fn last(&self) -> u64 {
        self.aws.gate().calls.last()
    }

    /// The calls after that number.
    pub fn calls(&self, after: u64) -> Vec<Record> {
        self.aws.gate().calls.since(after)
    }

    /// Waits until no call was made for that long.
    pub async fn quiet(&self, quiet: Duration, within: Duration) -> Result<()> {
        let mut last = (self.last(), Instant::now());
        wait::until("a controller with nothing to do", within, async || {
            let now = self.last();
            if now != last.0 {
                last = (now, Instant::now());
            }
            ensure!(last.1.elapsed() >= quiet, "call {now} was {:?} ago", last.1.elapsed());
            Ok(())
        })
        .await
    }

    /// The calls, and what `work` counted, while `work` was done and for that long: between two times at which the controller reads on its own account, to
    /// find drift. If one falls into the window the work is done again.
    pub async fn between_audits(
        &self,
        window: Duration,
        mut work: impl AsyncFnMut() -> Result<()>,
    ) -> Result<Vec<Record>> {
        wait::until("a time between two looks for drift", ONE * 2, async || {
            self.quiet(Duration::from_secs(2), ONE).await?;
            let before = self.last();
            let begin = tokio::time::Instant::now();
            work().await?;
            tokio::time::sleep_until(begin + window).await;
            let calls = self.calls(before);
            // It reads everything there is of a stack, or of the account, and writes nothing.
            let audit = !calls.is_empty() && calls.iter().all(is_read);
            ensure!(!audit, "{}", by_action(&calls));
            Ok(calls)
        })
        .await
    }

    /// ARNs of everything that has these tags.
    pub async fn tagged(&self, tags: &[(&str, &str)]) -> Result<BTreeSet<String>> {
        let filters: Vec<Value> = tags.iter().map(|(k, v)| json!({"Key": k, "Values": [v]})).collect();
        let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
        let mut arns = BTreeSet::new();
        let mut token = String::new();
        loop {
            let request = json!({"TagFilters": filters, "PaginationToken": token});
            let answer = self.aws.ask_json("tagging", target, request).await?;
            let list = answer["ResourceTagMappingList"].as_array().context("no list")?;
            arns.extend(list.iter().filter_map(|item| Some(item["ResourceARN"].as_str()?.to_owned())));
            token = answer["PaginationToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                return Ok(arns);
            }
        }
    }

    /// The cluster's id in tags.
    pub async fn cluster_id(&self) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.bed.client().await?);
        namespaces.get("kube-system").await?.metadata.uid.context("no uid")
    }

    /// Asks for the account's owner, as a person would by hand; the answer's XML.
    pub async fn by_hand(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let mut all = vec![("Action", action)];
        all.extend_from_slice(parameters);
        let (status, body) = self.aws.ask(service, &all).await?;
        ensure!(status == 200, "{action}: {status} {body}");
        Ok(body)
    }

    /// Sets a tag by hand on resources of ELBv2.
    pub async fn tag_by_hand(&self, arns: &[String], key: &str, value: &str) -> Result<()> {
        for chunk in arns.chunks(20) {
            let names: Vec<String> = (1..=chunk.len()).map(|n| format!("ResourceArns.member.{n}")).collect();
            let mut parameters: Vec<(&str, &str)> =
                names.iter().map(String::as_str).zip(chunk.iter().map(String::as_str)).collect();
            parameters.extend([("Tags.member.1.Key", key), ("Tags.member.1.Value", value)]);
            self.by_hand("elasticloadbalancing", "AddTags", &parameters).await?;
        }
        Ok(())
    }

    /// Load balancers that take traffic, by host name, and their listeners, such as `TCP 80`; read without a call.
    pub fn active(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let overview = self.aws.cloud().overview();
        let regions = overview.as_array().into_iter().flatten();
        let all = regions.flat_map(|region| region["loadBalancers"].as_array().into_iter().flatten());
        all.filter_map(|one| {
            let listeners = one["listeners"].as_array().into_iter().flatten();
            let listeners = listeners.filter_map(|l| Some(l.as_str()?.to_owned())).collect();
            Some((
                one["dnsName"].as_str()?.to_ascii_lowercase(),
                (one["arn"].as_str()?.to_owned(), listeners),
            ))
        })
        .collect()
    }

    /// Adds a Node object for an instance of the account.
    pub async fn add_node(&self, name: &str) -> Result<()> {
        let instance = self.account.instance(name)?;
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": instance.zone}},
            "spec": {"providerID": instance.provider_id()},
        }))?;
        self.nodes.create(&PostParams::default(), &node).await?;
        Ok(())
    }

    /// Ends everything, and hands over what a rate limit refused, if `strict`; the controller's log is shown if something went wrong.
    pub fn end(self, outcome: Result<()>, bench: &Bench, strict: bool) -> Result<()> {
        if strict {
            bench.throttled(self.aws.total().throttled);
        }
        let log = std::fs::read_to_string(self.files.path().join("controller.log")).unwrap_or_default();
        let Site { aws, bed, .. } = self;
        drop(aws);
        bed.down()?;
        if let Err(error) = outcome {
            let lines: Vec<&str> = log.lines().collect();
            bail!("{error:#}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        Ok(())
    }
}

/// The host name that a Service shows.
pub fn shown(service: Service) -> Option<String> {
    let points = service.status.and_then(|s| s.load_balancer).and_then(|l| l.ingress);
    points.and_then(|points| points.into_iter().find_map(|p| p.hostname))
}

/// Annotations by their names without prefix.
pub fn annotations(all: &[(&str, &str)]) -> Value {
    all.iter()
        .map(|(key, value)| (format!("{PREFIX}{key}"), Value::from(*value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A Service of one port; `annotations` are without their prefix.
pub fn service(name: &str, settings: &[(&str, &str)]) -> Result<Service> {
    let service = json!({"metadata": {"name": name, "annotations": annotations(settings)}, "spec": {
        "type": "LoadBalancer", "loadBalancerClass": CLASS, "selector": {"app": "none"}, "ports": [{"port": 80, "protocol": "TCP"}]}});
    Ok(serde_json::from_value(service)?)
}
