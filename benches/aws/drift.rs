//! What a hand changed is found and put back. I/O.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::wait;

use super::bench::{Bench, by_action, note};
use super::report::Row;
use super::site::{Site, is_read};

/// Longest wait for the repair.
const PATIENCE: Duration = Duration::from_secs(2400);

/// Changes a thing of each kind by hand, each of another Service; waits until all are put back, and counts what was read meanwhile.
pub async fn row(site: &Site, bench: &Bench, many: usize) -> Result<()> {
    site.quiet(Duration::from_secs(2), PATIENCE).await?;
    let at = |part: usize| format!("web-{}", many * part / 5);
    let elb = "elasticloadbalancing";

    let balancer = one(site, &at(0), ":loadbalancer/").await?;
    let parameters = [
        ("LoadBalancerArn", balancer.as_str()),
        ("Attributes.member.1.Key", "deletion_protection.enabled"),
        ("Attributes.member.1.Value", "true"),
    ];
    site.by_hand(elb, "ModifyLoadBalancerAttributes", &parameters).await?;

    let listener = one(site, &at(1), ":listener/").await?;
    site.by_hand(elb, "DeleteListener", &[("ListenerArn", &listener)]).await?;

    let group = one(site, &at(2), ":targetgroup/").await?;
    let parameters = [("TargetGroupArn", group.as_str()), ("HealthCheckIntervalSeconds", "60")];
    site.by_hand(elb, "ModifyTargetGroup", &parameters).await?;

    let group = one(site, &at(3), ":targetgroup/").await?;
    let ports = site.services.get(&at(3)).await?.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port = ports.first().and_then(|port| port.node_port).context("no NodePort")?.to_string();
    let instance = site.account.instance("node1")?;
    let parameters = [
        ("TargetGroupArn", group.as_str()),
        ("Targets.member.1.Id", instance.id.as_str()),
        ("Targets.member.1.Port", port.as_str()),
    ];
    site.by_hand(elb, "DeregisterTargets", &parameters).await?;

    let security = one(site, &at(4), ":security-group/").await?;
    let security = security.rsplit('/').next().unwrap_or_default();
    let parameters = [
        ("GroupId", security),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "80"),
        ("IpPermissions.1.ToPort", "80"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    site.by_hand("ec2", "RevokeSecurityGroupIngress", &parameters).await?;

    let (before, begin) = (site.last(), Instant::now());
    let repairs = [
        "ModifyLoadBalancerAttributes",
        "CreateListener",
        "ModifyTargetGroup",
        "RegisterTargets",
        "AuthorizeSecurityGroupIngress",
    ];
    let every = Duration::from_secs(1);
    let mut at = [None; 5];
    wait::until_every(every, "the changes by hand to be taken back", PATIENCE, async || {
        let calls = site.calls(before);
        for (action, at) in repairs.iter().zip(&mut at) {
            if calls.iter().any(|call| call.action == *action && call.took_effect) {
                at.get_or_insert_with(|| begin.elapsed().as_secs_f64());
            }
        }
        ensure!(at.iter().all(Option::is_some), "{at:?} of {repairs:?}");
        Ok(())
    })
    .await?;
    let took = begin.elapsed().as_secs_f64();
    let reads: Vec<_> = site.calls(before).into_iter().filter(is_read).collect();
    note(&format!("put back after {:.0?} s; {}", at.map(Option::unwrap_or_default), by_action(&reads)));
    let rate = reads.len() as f64 / took;
    bench.row(
        Row {
            id: "drift",
            what: "100 Services: reads to find drift; the last of 5 repairs",
            values: vec![("calls/s", rate), ("seconds", took)],
            unit: "1/s, s",
            goal: "<= 0.5, <= 1800".to_owned(),
            pass: rate <= 0.5 && took <= 1800.0,
        },
        "10 h",
    );
    Ok(())
}

/// The ARN of a Service's resource of a kind.
async fn one(site: &Site, service: &str, kind: &str) -> Result<String> {
    let owner = site.owner(service).await?;
    let all = site.tagged(&[("causeway.io/owner", owner.as_str())]).await?;
    let mut found = all.into_iter().filter(|arn| arn.contains(kind));
    found.next().with_context(|| format!("{service} has no {kind}"))
}
