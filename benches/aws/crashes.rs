//! Kills at every call of an NLB's life. I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::cloud::faults::Plan;
use causeway_bed::wait;
use serde_json::json;

use super::bench::Bench;
use super::controller::Controller;
use super::kills::{Step, Subject, at_every_call};
use super::site::{ONE, Site, annotations};

/// It leads at once.
const ALONE: &[&str] = &["--leader-elect=false"];
const NAME: &str = "web";

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let site = Site::start(false).await?;
    let outcome = crash(&site, bench).await;
    site.end(outcome, bench, true)
}

/// A load balancer, a target group and a security group that somebody else made: their ARNs and id.
async fn foreign(site: &Site) -> Result<[String; 3]> {
    let elb = "elasticloadbalancing";
    let vpc = site.account.vpc.as_str();
    let subnet = site.account.subnets.first().context("no subnet")?.id.as_str();
    let make =
        [("Name", "foreign"), ("Type", "network"), ("Scheme", "internal"), ("Subnets.member.1", subnet)];
    let balancer = site.by_hand(elb, "CreateLoadBalancer", &make).await?;
    let make = [("Name", "foreign"), ("Protocol", "TCP"), ("Port", "80"), ("VpcId", vpc)];
    let group = site.by_hand(elb, "CreateTargetGroup", &make).await?;
    let make = [("GroupName", "foreign"), ("GroupDescription", "foreign"), ("VpcId", vpc)];
    let security = site.by_hand("ec2", "CreateSecurityGroup", &make).await?;
    let only = |body: &str, element: &str| texts(body, element).pop_first().context("no id");
    Ok([only(&balancer, "LoadBalancerArn")?, only(&group, "TargetGroupArn")?, only(&security, "groupId")?])
}

/// The texts of all elements of a name.
fn texts(xml: &str, element: &str) -> BTreeSet<String> {
    let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once(&end)?.0.to_owned())).collect()
}

/// How things of others are, in AWS's words.
async fn picture(site: &Site, [balancer, group, security]: &[String; 3]) -> Result<Vec<String>> {
    let elb = "elasticloadbalancing";
    let mut all = Vec::new();
    for (service, action, parameter, id) in [
        (elb, "DescribeLoadBalancers", "LoadBalancerArns.member.1", balancer),
        (elb, "DescribeLoadBalancerAttributes", "LoadBalancerArn", balancer),
        (elb, "DescribeTags", "ResourceArns.member.1", balancer),
        (elb, "DescribeTargetGroups", "TargetGroupArns.member.1", group),
        (elb, "DescribeTags", "ResourceArns.member.1", group),
        ("ec2", "DescribeSecurityGroups", "GroupId.1", security),
    ] {
        let answer = site.by_hand(service, action, &[(parameter, id)]).await?;
        // Ids of requests differ.
        let kept =
            answer.split_inclusive('>').filter(|part| !part.to_ascii_lowercase().contains("requestid>"));
        all.push(kept.collect());
    }
    Ok(all)
}

/// Ids of everything in the account that a controller makes.
async fn everything(site: &Site) -> Result<BTreeSet<String>> {
    let elb = "elasticloadbalancing";
    let mut all = texts(&site.by_hand(elb, "DescribeLoadBalancers", &[]).await?, "LoadBalancerArn");
    all.extend(texts(&site.by_hand(elb, "DescribeTargetGroups", &[]).await?, "TargetGroupArn"));
    all.extend(texts(&site.by_hand("ec2", "DescribeSecurityGroups", &[]).await?, "groupId"));
    Ok(all)
}

impl Subject for Site {
    const CALLS: &str = "*";
    const PATIENCE: Duration = ONE;

    fn controller(&self) -> Result<Controller> {
        self.controller(ALONE)
    }

    fn faults<R>(&self, with: impl FnOnce(&mut Plan) -> R) -> R {
        with(&mut self.aws.gate().faults)
    }

    async fn perform(&self, step: Step) -> Result<()> {
        match step {
            Step::Create => self.create(NAME, &[]).await,
            // A port more, other attributes, other tags, other sources.
            Step::Change => {
                let annotations = annotations(&[
                    ("attributes", "load_balancing.cross_zone.enabled=true"),
                    ("target-group-attributes", "deregistration_delay.timeout_seconds=30"),
                    ("additional-resource-tags", "team=bench"),
                ]);
                let spec = json!({"loadBalancerSourceRanges": ["192.0.2.0/24"],
                    "ports": [{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 443, "protocol": "TCP"}]});
                self.change(NAME, json!({"metadata": {"annotations": annotations}, "spec": spec})).await
            }
            Step::Delete => self.delete(NAME).await,
        }
    }

    async fn done(&self, controller: &Controller, step: Step) -> Result<()> {
        let ports: &[&str] = match step {
            Step::Create => &["TCP 80"],
            Step::Change => &["TCP 443", "TCP 80"],
            Step::Delete => {
                ensure!(self.services.get_opt(NAME).await?.is_none(), "{NAME} is there");
                return Ok(());
            }
        };
        let host = self.hostname(NAME).await?.context("no host name")?;
        let all = self.active();
        let (_, listeners) = all.get(&host).with_context(|| format!("{host} does not take traffic"))?;
        ensure!(listeners.iter().eq(ports), "{listeners:?}");
        controller.content(1).await
    }
}

async fn crash(site: &Site, bench: &Bench) -> Result<()> {
    let foreign = foreign(site).await?;
    let before = wait::until("what is not ours to be at rest", ONE, async || {
        let picture = picture(site, &foreign).await?;
        ensure!(picture.iter().any(|part| part.contains("<Code>active</Code>")), "{picture:?}");
        Ok(picture)
    })
    .await?;
    let controller = site.controller(ALONE)?;
    // What all share is made once.
    site.create("first", &[]).await?;
    site.served("first").await?;
    site.delete("first").await?;
    site.gone("first").await?;
    let all = everything(site).await?;
    let killed = at_every_call(site, controller, bench).await?;
    let leaked: Vec<String> = everything(site).await?.difference(&all).cloned().collect();
    let after = picture(site, &foreign).await?;
    let touched = before.iter().zip(&after).filter(|(before, after)| before != after);
    let touched: Vec<String> = touched.map(|(before, after)| format!("{before} is now {after}")).collect();
    killed.row(bench, &leaked, &touched);
    Ok(())
}
