//! Faults, limits, lag, time: each seen by a client of the API.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use causeway_bed::cloud::{Effect, Fault, Moment, Outcome};
use causeway_bed::wait;
use serde_json::{Value, json};

use crate::common::{Region, all, ask, code, elb, first};

/// How many load balancers there are.
async fn number(region: &Region) -> Result<usize> {
    Ok(all(&elb(&region.aws, "DescribeLoadBalancers", json!({})).await?, "LoadBalancerArn")?.len())
}

#[tokio::test]
async fn a_call_fails_before_or_after_it_took_effect() -> Result<()> {
    let region = Region::start().await?;
    let aws = &region.aws;
    aws.gate().faults.add(Fault::nth("CreateLoadBalancer", 1, "Throttling", 400));
    aws.gate().faults.add(Fault::once(
        "CreateLoadBalancer",
        2,
        Effect::error(Moment::After, "InternalFailure", 500),
    ));
    aws.gate().faults.add(Fault::once("CreateLoadBalancer", 3, Effect::Cut { when: Moment::Before }));
    aws.gate().faults.add(Fault::once("CreateLoadBalancer", 4, Effect::Cut { when: Moment::After }));
    let subnet = region.account.subnets[0].id.as_str();
    let create = |name: &str| {
        ask(aws, "CreateLoadBalancer", json!({"Name": name, "Type": "network", "Subnets": [subnet]}))
    };
    let (status, body) = create("one").await?;
    ensure!(
        status == 400 && first(&body, "Code")? == "Throttling" && first(&body, "Message")? == "Rate exceeded",
        "{status} {body}"
    );
    ensure!(number(&region).await? == 0);
    let (status, body) = create("two").await?;
    ensure!(status == 500 && first(&body, "Code")? == "InternalFailure", "{status} {body}");
    ensure!(number(&region).await? == 1, "the error came after the effect");
    ensure!(create("three").await.is_err(), "an answer over a cut connection");
    ensure!(number(&region).await? == 1);
    ensure!(create("four").await.is_err(), "an answer over a cut connection");
    ensure!(number(&region).await? == 2, "the answer was lost after the effect");
    let (status, _) = create("four").await?;
    ensure!(status == 200, "the same again is no error");
    let log: Vec<_> = aws
        .mutations()
        .into_iter()
        .map(|record| (record.outcome, record.took_effect, record.resource))
        .collect();
    let expected = [
        (Outcome::Throttled, false, "one"),
        (Outcome::Failed, true, "two"),
        (Outcome::Lost, false, "three"),
        (Outcome::Lost, true, "four"),
        (Outcome::Ok, true, "four"),
    ];
    let expected: Vec<_> = expected.map(|(outcome, effect, name)| (outcome, effect, name.to_owned())).into();
    ensure!(log == expected, "{log:?}");
    let counts = aws.count("CreateLoadBalancer");
    ensure!((counts.calls, counts.throttled, counts.failed) == (5, 1, 3), "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn awss_limits_are_enforced_on_the_clouds_own_clock() -> Result<()> {
    let region = Region::start().await?;
    let aws = &region.aws;
    let clock = aws.gate().clock.clone();
    clock.set_speed(0.0);
    aws.gate().enforce(true);
    let subnet = region.account.subnets[0].id.as_str();
    for number in 0..10 {
        elb(
            aws,
            "CreateLoadBalancer",
            json!({"Name": format!("n{number}"), "Type": "network", "Subnets": [subnet]}),
        )
        .await?;
    }
    let next =
        || code(aws, "CreateLoadBalancer", json!({"Name": "next", "Type": "network", "Subnets": [subnet]}));
    ensure!(next().await? == "Throttling");
    clock.advance(Duration::from_millis(4900));
    ensure!(next().await? == "Throttling");
    clock.advance(Duration::from_millis(100));
    elb(aws, "CreateLoadBalancer", json!({"Name": "next", "Type": "network", "Subnets": [subnet]})).await?;
    // EC2 says it in its own way.
    let mut refused = None;
    for _ in 0..60 {
        let (status, body) = aws.ask("ec2", &[("Action", "DescribeVpcs")]).await?;
        if status != 200 {
            refused = Some((status, first(&body, "Code")?));
            break;
        }
    }
    ensure!(refused == Some((503, "RequestLimitExceeded".to_owned())), "{refused:?}");
    // boto3 knows a throttled call when it sees one, and tries again.
    let program = format!(
        r#"
import boto3
from botocore.config import Config
elb = boto3.client("elbv2", config=Config(retries={{"mode": "standard", "total_max_attempts": 3}}))
try:
    elb.create_load_balancer(Name="more", Type="network", Subnets=["{subnet}"])
except elb.exceptions.ClientError as error:
    print(error.response["Error"]["Code"], error.response["ResponseMetadata"]["RetryAttempts"])"#
    );
    let said = aws.python(&program)?;
    ensure!(said.trim() == "Throttling 2", "{said}");
    Ok(())
}

#[tokio::test]
async fn reads_lag_behind_for_a_while() -> Result<()> {
    let region = Region::start().await?;
    let clock = region.aws.gate().clock.clone();
    clock.set_speed(0.0);
    ensure!(number(&region).await? == 0);
    region.aws.gate().stale.set("Describe*".into(), Duration::from_secs(3));
    region.nlb("one").await?;
    ensure!(number(&region).await? == 0, "the read is not stale");
    clock.advance(Duration::from_secs(3));
    ensure!(number(&region).await? == 1, "the read is stale for ever");
    region.nlb("two").await?;
    region.aws.gate().stale.clear();
    ensure!(number(&region).await? == 2);
    Ok(())
}

#[tokio::test]
async fn random_faults_hit_a_part_of_the_calls_the_same_each_time() -> Result<()> {
    let region = Region::start().await?;
    let mut runs = Vec::new();
    for _ in 0..2 {
        {
            let mut gate = region.aws.gate();
            gate.faults.clear(Some(42));
            gate.faults.add(Fault::random(
                "Describe*",
                0.2,
                Effect::error(Moment::Before, "ServiceUnavailable", 503),
            ));
        }
        let mut run = Vec::new();
        for _ in 0..50 {
            run.push(ask(&region.aws, "DescribeLoadBalancers", json!({})).await?.0 == 503);
        }
        runs.push(run);
    }
    let failed = runs[0].iter().filter(|failed| **failed).count();
    ensure!((3..20).contains(&failed), "{failed} of 50");
    ensure!(runs[0] == runs[1], "another run has other faults");
    Ok(())
}

#[tokio::test]
async fn answers_come_late() -> Result<()> {
    let region = Region::start().await?;
    region.aws.gate().faults.add(Fault::once("CreateLoadBalancer", 1, Effect::Late { ms: 700 }));
    let begin = Instant::now();
    let create = region.nlb("late");
    let see = wait::until("the load balancer before the answer", Duration::from_secs(5), async || {
        ensure!(number(&region).await? == 1);
        Ok(begin.elapsed())
    });
    let (made, seen) = tokio::join!(create, see);
    made?;
    ensure!(
        seen? < Duration::from_millis(700) && begin.elapsed() >= Duration::from_millis(700),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn pages_are_smaller_than_asked_for() -> Result<()> {
    let region = Region::start().await?;
    for name in ["one", "two"] {
        region.nlb(name).await?;
    }
    let small = Effect::Own { name: "small-page".to_owned() };
    region.aws.gate().faults.add(Fault::always("DescribeLoadBalancers", small));
    let page = elb(&region.aws, "DescribeLoadBalancers", json!({"PageSize": 400})).await?;
    ensure!(all(&page, "LoadBalancerArn")?.len() == 1, "{page}");
    let marker = first(&page, "NextMarker")?;
    let page = elb(&region.aws, "DescribeLoadBalancers", json!({"Marker": marker})).await?;
    ensure!(all(&page, "LoadBalancerArn")?.len() == 1 && all(&page, "NextMarker")?.is_empty(), "{page}");
    region.aws.gate().faults.add(Fault::always("DescribeTags", Effect::Own { name: "rain".to_owned() }));
    let (status, body) = ask(&region.aws, "DescribeTags", json!({"ResourceArns": ["x"]})).await?;
    ensure!(status == 500 && body.contains("no fault &quot;rain&quot;"), "{status} {body}");
    Ok(())
}

#[tokio::test]
async fn everything_is_set_over_http_too() -> Result<()> {
    let region = Region::start().await?;
    let control = async |method: &str, path: &str, body: &str| -> Result<(u16, Value)> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/_bed/{path}"))
            .header("host", "aws.bed")
            .body(causeway_bed::cloud::http::Whole::from(body.to_owned()))?;
        let answer = causeway_bed::cloud::http::send(region.aws.outside_address(), request).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    };
    control(
        "POST",
        "faults",
        r#"[{"calls": "Describe*", "effect": {"error": {"code": "InternalFailure", "status": 500}}}]"#,
    )
    .await?;
    ensure!(ask(&region.aws, "DescribeTargetGroups", json!({})).await?.0 == 500);
    ensure!(ask(&region.aws, "DescribeTargetGroups", json!({})).await?.0 == 200);
    let (_, counts) = control("GET", "counts", "").await?;
    ensure!(counts["elasticloadbalancing:DescribeTargetGroups"]["failed"] == 1, "{counts}");
    let (_, log) = control("GET", "log?since=0", "").await?;
    ensure!(log.as_array().is_some_and(|log| log.len() == 2), "{log}");
    control("POST", "quotas", r#"{"network-load-balancers": 0}"#).await?;
    let refused = region.nlb("web").await.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("TooManyLoadBalancers"), "{refused}");
    ensure!(control("POST", "quotas", r#"{"no-such-thing": 0}"#).await?.0 == 400);
    control("POST", "quotas", r#"{"network-load-balancers": 50}"#).await?;
    region.nlb("web").await?;
    let (_, hosts) = control("GET", "hosts", "").await?;
    ensure!(hosts.as_str().is_some_and(|text| text.contains("198.51.100.32 web-")), "{hosts}");
    ensure!(control("GET", "nothing", "").await?.0 == 404);
    Ok(())
}
