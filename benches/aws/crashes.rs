//! Kills at every call. I/O.
//!
//! A call is held after it took effect, and the process dies before it has the answer. Dying before a call is dying after the one before it, so that
//! these are all the moments at which anything differs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use causeway_bed::cloud::{Effect, Fault};
use causeway_bed::wait;
use serde_json::json;

use super::Bench;
use super::controller::Controller;
use super::report::Row;
use super::site::{ONE, Site, annotations, note};

/// How long a call is held up, to be killed meanwhile: longer than anything.
const HELD: u64 = 600_000;
/// It leads at once: whose Lease a dead process leaves is not what is measured.
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

/// What is done to a Service between two states in which nothing is to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Step {
    Create,
    Change,
    Delete,
}

async fn perform(site: &Site, step: Step) -> Result<()> {
    match step {
        Step::Create => site.create(NAME, &[]).await,
        // A port more, other attributes, other tags, other sources.
        Step::Change => {
            let annotations = annotations(&[
                ("attributes", "load_balancing.cross_zone.enabled=true"),
                ("target-group-attributes", "deregistration_delay.timeout_seconds=30"),
                ("additional-resource-tags", "team=bench"),
            ]);
            let spec = json!({"loadBalancerSourceRanges": ["192.0.2.0/24"],
                "ports": [{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 443, "protocol": "TCP"}]});
            site.change(NAME, json!({"metadata": {"annotations": annotations}, "spec": spec})).await
        }
        Step::Delete => site.delete(NAME).await,
    }
}

/// Whether a step has come about, and nothing is left to do.
async fn done(site: &Site, controller: &Controller, step: Step) -> Result<()> {
    let ports: &[&str] = match step {
        Step::Create => &["TCP 80"],
        Step::Change => &["TCP 443", "TCP 80"],
        Step::Delete => {
            ensure!(site.services.get_opt(NAME).await?.is_none(), "{NAME} is there");
            return Ok(());
        }
    };
    let host = site.hostname(NAME).await?.context("no host name")?;
    let all = site.active();
    let (_, listeners) = all.get(&host).with_context(|| format!("{host} does not take traffic"))?;
    ensure!(listeners.iter().eq(ports), "{listeners:?}");
    controller.content(1).await
}

async fn converged(site: &Site, controller: &Controller, step: Step) -> Result<()> {
    let what = format!("{step:?} to be done");
    wait::until(&what, ONE, async || done(site, controller, step).await).await
}

/// Number of calls that have arrived since one was to be held.
fn arrived(site: &Site) -> u64 {
    site.aws.gate().faults.planned().first().map_or(0, |(_, seen)| *seen)
}

/// Waits until the `n`th call is held, or the step is done without it: whether it is held.
async fn held_or_done(site: &Site, controller: &Controller, step: Step, n: u64) -> Result<bool> {
    wait::until("a call that is held, or an end", ONE, async || {
        if arrived(site) >= n {
            return Ok(true);
        }
        done(site, controller, step).await?;
        // The last call may have come between the two looks.
        anyhow::Ok(arrived(site) >= n)
    })
    .await
}

async fn crash(site: &Site, bench: &Bench) -> Result<()> {
    let foreign = foreign(site).await?;
    let before = wait::until("what is not ours to be at rest", ONE, async || {
        let picture = picture(site, &foreign).await?;
        ensure!(picture.iter().any(|part| part.contains("<Code>active</Code>")), "{picture:?}");
        Ok(picture)
    })
    .await?;
    let mut controller = site.controller(ALONE)?;
    // What all share is made once.
    site.create("first", &[]).await?;
    site.served("first").await?;
    site.delete("first").await?;
    site.gone("first").await?;
    let all = everything(site).await?;
    let (mut deaths, mut unconverged) = (Vec::new(), 0_u32);
    let mut whole = BTreeSet::new();
    let most = if bench.scale < 1.0 { bench.sized(20) as u64 } else { u64::MAX };
    for n in 1..=most {
        for step in [Step::Create, Step::Change, Step::Delete] {
            let to_be_killed = !whole.contains(&step);
            if to_be_killed {
                let mut gate = site.aws.gate();
                gate.faults.clear(None);
                gate.faults.add(Fault::once("*", n, Effect::Late { ms: HELD }));
            }
            perform(site, step).await?;
            if to_be_killed {
                if held_or_done(site, &controller, step, n).await? {
                    controller.kill();
                    controller = site.controller(ALONE)?;
                    deaths.push(step);
                } else {
                    whole.insert(step);
                }
                site.aws.gate().faults.clear(None);
            }
            if let Err(error) = converged(site, &controller, step).await {
                note(&format!("killed at call {n} of {step:?}: {error:#}"));
                unconverged += 1;
            }
        }
        if whole.len() == 3 {
            break;
        }
    }
    controller.stop().await?;
    let left = everything(site).await?;
    let leaked: Vec<&String> = left.difference(&all).collect();
    let after = picture(site, &foreign).await?;
    let touched: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    touched.iter().for_each(|(before, after)| note(&format!("before: {before}; after: {after}")));
    let of = |step: Step| deaths.iter().filter(|died| **died == step).count();
    let (create, change, delete) = (of(Step::Create), of(Step::Change), of(Step::Delete));
    note(&format!("{create} deaths during creation, {change} during changes, {delete} during deletion"));
    if !leaked.is_empty() {
        note(&format!("left: {leaked:?}"));
    }
    bench.row(
        Row {
            id: "crash",
            what: "kill -9 at every call: leaked, foreign touched, not converged",
            values: vec![
                ("leaked", leaked.len() as f64),
                ("touched", touched.len() as f64),
                ("unconverged", f64::from(unconverged)),
            ],
            unit: "counts",
            goal: "0, 0, 0".to_owned(),
            pass: leaked.is_empty() && touched.is_empty() && unconverged == 0 && create * change * delete > 0,
        },
        "leaks",
    );
    Ok(())
}
