//! Services: an NLB each, from creation to deletion.

use std::time::Duration;

use anyhow::{Context, ensure};
use causeway_bed::cloud::Outcome;
use causeway_bed::{addresses, wait};

use crate::lab::{Lab, MADE, wait_deployed};
use crate::support::SOON;

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";
const PUBLIC: &str = "service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing";

#[tokio::test]
async fn traffic_arrives_until_the_service_is_deleted_and_then_nothing_is_left() {
    Lab::run("nlb", async |lab| {
        lab.application()?;
        lab.service("cluster", PUBLIC, PORTS)?;
        lab.service("local", PUBLIC, &format!("externalTrafficPolicy: Local, {PORTS}"))?;
        let (cluster, local) = (lab.hostname("service/cluster").await?, lab.hostname("service/local").await?);
        ensure!(cluster != local && cluster == cluster.to_lowercase(), "{cluster} {local}");
        lab.all_pods_answer(&format!("http://{cluster}/hostname")).await?;
        lab.all_pods_answer(&format!("http://{local}/hostname")).await?;
        // An NLB keeps the client's address; kube-proxy does so with the policy Local only.
        let client = addresses::REMOTE.to_string();
        let seen = lab.curl(&[&format!("http://{local}/clientip")])?;
        ensure!(seen.starts_with(&format!("200 {client}:")), "Local: the application saw {seen}");
        lab.event(("Service", "local"), "EnsuredLoadBalancer", &[]).await?;
        let finalizers = lab.field("service/local", ".metadata.finalizers")?;
        ensure!(finalizers.contains("service.kubernetes.io/load-balancer-cleanup"), "{finalizers}");
        let owned = lab.owned(&lab.owner("service/local")?).await?;
        let has = |part: &str| owned.keys().any(|arn| arn.contains(part));
        ensure!(has("loadbalancer/net/") && has("targetgroup/") && has("security-group/"), "{owned:?}");
        lab.delete("service/cluster").await?;
        lab.all_pods_answer(&format!("http://{local}/hostname")).await?;
        lab.delete("service/local").await
    })
    .await;
}

#[tokio::test]
async fn changes_of_a_service_reach_its_load_balancer() {
    Lab::run("change", async |lab| {
        lab.application()?;
        lab.service("web", PUBLIC, PORTS)?;
        let name = lab.hostname("service/web").await?;
        let url = format!("http://{name}/hostname");
        lab.all_pods_answer(&url).await?;

        // Only some clients.
        let ranges = |to: &str| format!(r#"{{"spec":{{"loadBalancerSourceRanges":["{to}"]}}}}"#);
        lab.kubectl(&["patch", "service", "web", "--type=merge", "-p", &ranges("192.0.2.0/24")])?;
        wait::until("the client to be kept out", MADE, async || match lab.curl(&["-m", "2", &url]) {
            Ok(answer) => Err(format!("it got {answer}")),
            Err(_) => Ok(()),
        })
        .await?;
        lab.kubectl(&["patch", "service", "web", "--type=merge", "-p", &ranges(&format!("{}/32", addresses::REMOTE))])?;
        lab.answers(&[&url], "200 hello-").await?;

        // Another port, and one more.
        let ports = r#"{"spec":{"ports":[{"name":"http","port":8000,"targetPort":8080},{"name":"more","port":81,"targetPort":8080}]}}"#;
        lab.kubectl(&["patch", "service", "web", "--type=merge", "-p", ports])?;
        lab.answers(&[&format!("http://{name}:8000/hostname")], "200 hello-").await?;
        lab.answers(&[&format!("http://{name}:81/hostname")], "200 hello-").await?;
        wait::until("the old port to be shut", MADE, async || match lab.curl(&["-m", "2", &url]) {
            Ok(answer) => Err(format!("it got {answer}")),
            Err(_) => Ok(()),
        })
        .await?;
        ensure!(lab.hostname("service/web").await? == name, "another name for a change in place");

        // A status that somebody wiped is put back.
        let wiped = r#"{"status":{"loadBalancer":null}}"#;
        lab.kubectl(&["patch", "service", "web", "--subresource=status", "--type=merge", "-p", wiped])?;
        ensure!(lab.hostname("service/web").await? == name, "another name after the status was wiped");

        // One that is no load balancer any more has none.
        let owner = lab.owner("service/web")?;
        lab.kubectl(&["patch", "service", "web", "--type=merge", "-p", r#"{"spec":{"type":"ClusterIP","loadBalancerClass":null,"loadBalancerSourceRanges":null}}"#])?;
        lab.nothing_is_left(&owner).await?;
        wait::until("our finalizer to go", SOON, async || {
            let finalizers = lab.field("service/web", ".metadata.finalizers")?;
            ensure!(finalizers.is_empty(), "{finalizers}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn another_scheme_is_another_load_balancer_and_there_is_one_all_the_time() {
    Lab::run("scheme", async |lab| {
        lab.application()?;
        lab.service("web", PUBLIC, PORTS)?;
        let name = lab.hostname("service/web").await?;
        let url = format!("http://{name}/hostname");
        lab.all_pods_answer(&url).await?;
        let internal = "service.beta.kubernetes.io/aws-load-balancer-scheme=internal";
        lab.kubectl(&["annotate", "--overwrite", "service", "web", internal])?;
        wait::until("another name", MADE, async || {
            // The one that the status shows serves.
            let now = lab.field("service/web", ".status.loadBalancer.ingress[0].hostname")?;
            let answer = lab.curl(&[&url])?;
            ensure!(answer.starts_with("200 "), "the old one gave {answer}");
            ensure!(now != name && !now.is_empty(), "{now}");
            Ok(())
        })
        .await?;
        lab.delete("service/web").await
    })
    .await;
}

#[tokio::test]
async fn what_has_a_fixed_name_is_replaced_with_a_gap_once_that_is_allowed() {
    Lab::run("gap", async |lab| {
        lab.application()?;
        let fixed = format!("{PUBLIC}, service.beta.kubernetes.io/aws-load-balancer-name: fixed-name");
        lab.service("web", &fixed, PORTS)?;
        let name = lab.hostname("service/web").await?;
        let internal = "service.beta.kubernetes.io/aws-load-balancer-scheme=internal";
        lab.kubectl(&["annotate", "--overwrite", "service", "web", internal])?;
        let about = ("Service", "web");
        let said =
            lab.event(about, "ReplacementRefused", &["fixed-name", "allow-replacement-downtime"]).await?;
        println!("{said}");
        lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
        lab.kubectl(&["annotate", "service", "web", "causeway.io/allow-replacement-downtime=true"])?;
        let other = wait::until("another host name", MADE, async || {
            let now = lab.field("service/web", ".status.loadBalancer.ingress[0].hostname")?;
            ensure!(now != name && now.contains("fixed-name"), "{now}");
            Ok(now)
        })
        .await?;
        lab.answers(&[&format!("http://{other}/hostname")], "200 hello-").await?;
        let owned = lab.owned(&lab.owner("service/web")?).await?;
        let load_balancers = owned.keys().filter(|arn| arn.contains(":loadbalancer/")).count();
        ensure!(load_balancers == 1, "{:?}", owned.keys());
        lab.delete("service/web").await
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_said_on_the_object_and_the_rest_is_served() {
    Lab::run("wrong", async |lab| {
        lab.application()?;
        lab.service("good", PUBLIC, PORTS)?;
        let wrong = "service.beta.kubernetes.io/aws-load-balancer-scheme: sideways";
        lab.service("bad", wrong, PORTS)?;
        let subnets = "service.beta.kubernetes.io/aws-load-balancer-subnets: subnet-0123456789abcdef0";
        lab.service("lost", subnets, PORTS)?;
        let said = lab
            .event(("Service", "bad"), "InvalidAnnotation", &["aws-load-balancer-scheme", "internet-facing"])
            .await?;
        println!("bad: {said}");
        let said = lab.event(("Service", "lost"), "SubnetsNotFound", &["subnet-0123456789abcdef0"]).await?;
        println!("lost: {said}");
        let name = lab.hostname("service/good").await?;
        lab.all_pods_answer(&format!("http://{name}/hostname")).await?;
        for service in ["bad", "lost"] {
            let owned = lab.owned(&lab.owner(&format!("service/{service}"))?).await?;
            ensure!(owned.is_empty(), "{service}: {owned:?}");
            let shown = lab.field(&format!("service/{service}"), ".status.loadBalancer.ingress")?;
            ensure!(shown.is_empty(), "{service}: {shown}");
        }
        // Mended, it is served.
        lab.kubectl(&["annotate", "--overwrite", "service", "bad", PUBLIC.replace(": ", "=").as_str()])?;
        let name = lab.hostname("service/bad").await?;
        lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
        for service in ["good", "bad", "lost"] {
            lab.delete(&format!("service/{service}")).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_changed_means_nothing_done_and_a_restart_is_cheap() {
    Lab::alone("quiet", async |lab| {
        lab.application()?;
        const SERVICES: usize = 5;
        for n in 0..SERVICES {
            lab.service(&format!("web{n}"), PUBLIC, PORTS)?;
        }
        for n in 0..SERVICES {
            let name = lab.hostname(&format!("service/web{n}")).await?;
            lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
        }
        let settled = lab.quiet(Duration::from_secs(25)).await?;
        // Labels, annotations of others and heartbeats concern nobody.
        for n in 0..SERVICES {
            lab.kubectl(&["label", "--overwrite", "service", &format!("web{n}"), "example.com/seen=yes"])?;
        }
        lab.quiet(Duration::from_secs(12)).await?;
        let made = lab.records(settled);
        // Every 15 s the audit may look at one of them, and every five minutes the inventory is read.
        let writes: Vec<_> = made.iter().filter(|c| !reads(&c.action)).collect();
        ensure!(writes.is_empty(), "{writes:?}");
        ensure!(made.len() <= 24, "{} calls although nothing changed: {made:?}", made.len());

        let before = lab.calls();
        let versions =
            lab.kubectl(&["get", "services", "-o", "jsonpath={.items[*].metadata.resourceVersion}"])?;
        lab.bed().kubectl(&["-n", "kube-system", "rollout", "restart", "deployment/causeway"])?;
        wait_deployed(lab.bed())?;
        lab.leading_node().await?;
        wait::until("the new leader's first calls", MADE, async || {
            ensure!(lab.calls() > before, "none");
            Ok(())
        })
        .await?;
        lab.quiet(Duration::from_secs(12)).await?;
        let made = lab.records(before);
        println!("restart with {SERVICES} Services: {} calls", made.len());
        let writes: Vec<_> = made.iter().filter(|c| !reads(&c.action)).collect();
        ensure!(writes.is_empty(), "{writes:?}");
        ensure!(made.len() <= 40, "{} calls: {made:?}", made.len());
        ensure!(made.iter().all(|c| c.outcome == Outcome::Ok), "{made:?}");
        let now = lab.kubectl(&["get", "services", "-o", "jsonpath={.items[*].metadata.resourceVersion}"])?;
        ensure!(now == versions, "written although nothing changed: {versions} {now}");

        // A hand takes away what lets load balancers reach the nodes. The inventory in which that shows is read soon where something else is wrong.
        let nodes = &lab.world.account.security_group;
        let cluster =
            lab.bed().kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"])?;
        let shared = async || {
            let all = lab.owned("shared").await?;
            let ours = all.into_iter().filter(|(_, tags)| tags.to_string().contains(&cluster));
            anyhow::Ok(ours.map(|(arn, _)| arn).collect::<Vec<_>>())
        };
        let arn = shared().await?.pop().context("no shared security group")?;
        let from = arn.rsplit('/').next().unwrap_or_default();
        let rules = format!(
            "import boto3\nec2 = boto3.client('ec2')\n\
             rules = [dict(p, UserIdGroupPairs=[g]) for p in ec2.describe_security_groups(GroupIds=['{nodes}'])['SecurityGroups'][0]['IpPermissions']\n  \
             for g in p['UserIdGroupPairs'] if g['GroupId'] == '{from}']\n"
        );
        let count = || lab.world.aws.python(&format!("{rules}print(len(rules))"));
        let before = count()?;
        ensure!(before.trim() != "0", "no rule lets load balancers in");
        let revoke = format!("{rules}ec2.revoke_security_group_ingress(GroupId='{nodes}', IpPermissions=rules)");
        lab.world.aws.python(&revoke)?;
        lab.service("lost", "service.beta.kubernetes.io/aws-load-balancer-subnets: subnet-0123456789abcdef0", PORTS)?;
        wait::until("the rules of the nodes' group", MADE, async || {
            let now = count()?;
            ensure!(now == before, "{now} instead of {before}");
            Ok(())
        })
        .await?;
        for n in 0..SERVICES {
            lab.kubectl(&["delete", "service", &format!("web{n}"), "--wait=false"])?;
        }
        // With the last load balancer goes what all share.
        wait::until("the shared security group to go", MADE, async || {
            let ours = shared().await?;
            ensure!(ours.is_empty(), "{ours:?}");
            Ok(())
        })
        .await?;
        // AWS does not delete a group that a rule still names.
        Ok(())
    })
    .await;
}

fn reads(action: &str) -> bool {
    ["Describe", "Get", "List"].iter().any(|start| action.starts_with(start))
}
