//! Settings of Services that change while they are served, what somebody else changes, addresses that are kept, and load balancers that are the user's own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_bed::openstack::Service;
use causeway_bed::wait;
use serde_json::{Value, json};

use crate::lab::{LOOK, Lab, MADE, text};

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";

/// The only thing of a kind that a load balancer has.
async fn only(lab: &Lab, lb: &Value, kind: &str) -> Result<Value> {
    let all = lab.parts(lb, kind).await?;
    ensure!(all.len() == 1, "{all:?}");
    Ok(all[0].clone())
}

async fn monitor(lab: &Lab, lb: &Value) -> Result<Value> {
    let pool = only(lab, lb, "pools").await?;
    let id = pool["healthmonitor_id"].as_str().context("no monitor")?;
    let answer = lab.look(Service::LoadBalancer, &format!("/v2.0/lbaas/healthmonitors/{id}")).await?;
    Ok(answer["healthmonitor"].clone())
}

#[tokio::test]
async fn settings_reach_octavia_and_stay() {
    Lab::run("settings", async |lab| {
        lab.service("web", "", PORTS)?;
        let address = lab.address("service/web").await?;
        let url = format!("http://{address}/hostname");
        lab.all_pods_answer(&url).await?;
        let web = "service/web";
        let key = |name: &str, value: &str| format!("loadbalancer.openstack.org/{name}={value}");
        let changed = [
            key("timeout-client-data", "70000"),
            key("connection-limit", "900"),
            key("health-monitor-delay", "7"),
            key("lb-method", "LEAST_CONNECTIONS"),
        ];
        lab.annotate(web, &changed.each_ref().map(String::as_str))?;
        lab.settles("web", "the settings to reach Octavia", async |lb| {
            let (listener, pool) = (only(lab, lb, "listeners").await?, only(lab, lb, "pools").await?);
            Ok(listener["timeout_client_data"] == 70_000
                && listener["connection_limit"] == 900
                && pool["lb_algorithm"] == "LEAST_CONNECTIONS"
                && monitor(lab, lb).await?["delay"] == 7
                && text(lb, "provisioning_status") == "ACTIVE")
        })
        .await?;
        // Nobody but those who are let in.
        let patch = |ranges: &str| format!("{{\"spec\":{{\"loadBalancerSourceRanges\":{ranges}}}}}");
        lab.kubectl(&["patch", web, "--type=merge", "-p", &patch("[\"192.0.2.0/24\"]")])?;
        wait::until_every(LOOK, "strangers to be kept out", MADE, async || {
            match lab.curl(&["-m", "2", &url]) {
                Ok(answer) => anyhow::bail!("it got {answer}"),
                Err(_) => Ok(()),
            }
        })
        .await?;
        lab.kubectl(&["patch", web, "--type=merge", "-p", &patch("null")])?;
        lab.answers(&[&url], "200 hello-").await?;

        // Drift: by hand, a member is taken away and the listener is changed.
        lab.applied("web").await?;
        let lb = lab.load_balancer("web").await?;
        let pool = only(lab, &lb, "pools").await?;
        let listener = only(lab, &lb, "listeners").await?;
        let (pool, listener) = (text(&pool, "id").to_owned(), text(&listener, "id").to_owned());
        let members = format!("/v2.0/lbaas/pools/{pool}/members");
        let begun = Instant::now();
        let none = Some(json!({"members": []}));
        lab.by_hand(Service::LoadBalancer, "PUT", &members, none).await?;
        lab.settles("web", "the members to be gone", async |lb| {
            Ok(text(lb, "provisioning_status") == "ACTIVE")
        })
        .await?;
        let other = Some(json!({"listener": {"timeout_client_data": 1000}}));
        lab.by_hand(Service::LoadBalancer, "PUT", &format!("/v2.0/lbaas/listeners/{listener}"), other)
            .await?;
        lab.settles("web", "what was changed by hand to be put back", async |lb| {
            let listener = only(lab, lb, "listeners").await?;
            let pool = only(lab, lb, "pools").await?;
            let members = pool["members"].as_array().map_or(0, Vec::len);
            Ok(members == 2 && listener["timeout_client_data"] == 70_000)
        })
        .await?;
        let took = begun.elapsed();
        println!("put back after {took:?}");
        ensure!(took < Duration::from_secs(90), "it took {took:?}");
        lab.all_pods_answer(&url).await?;
        ensure!(lab.address(web).await? == address, "another address");
        lab.delete(web).await?;
        lab.nothing_is_left().await
    })
    .await;
}

#[tokio::test]
async fn what_is_the_users_stays() {
    Lab::run("users", async |lab| {
        // A load balancer that the user made, and has two Services on one after the other.
        let subnet = lab.cloud().seed().subnet("nodes-subnet")?;
        let body = json!({"loadbalancer": {"name": "theirs", "vip_subnet_id": subnet}});
        let made =
            lab.by_hand(Service::LoadBalancer, "POST", "/v2.0/lbaas/loadbalancers", Some(body)).await?;
        let id = text(&made["loadbalancer"], "id").to_owned();
        let path = format!("/v2.0/lbaas/loadbalancers/{id}");
        let theirs = async || {
            Ok::<Value, anyhow::Error>(lab.look(Service::LoadBalancer, &path).await?["loadbalancer"].clone())
        };
        lab.service("kept", "loadbalancer.openstack.org/keep-floatingip: 'true'", PORTS)?;
        lab.service("proxied", "loadbalancer.openstack.org/proxy-protocol: 'true'", PORTS)?;
        wait::until_every(LOOK, "the user's load balancer", MADE, async || {
            let lb = theirs().await?;
            ensure!(text(&lb, "provisioning_status") == "ACTIVE", "{lb}");
            Ok(())
        })
        .await?;
        lab.service(
            "on-theirs",
            &format!("loadbalancer.openstack.org/load-balancer-id: {id}"),
            "ports: [{name: http, port: 8080, targetPort: 8080}]",
        )?;
        let address = lab.address("service/on-theirs").await?;
        lab.answers(&[&format!("http://{address}:8080/hostname")], "200 hello-").await?;
        ensure!(
            lab.load_balancers().await?.iter().all(|lb| !text(lb, "name").contains("on-theirs")),
            "it has one of its own"
        );

        // Pods that do not know the PROXY protocol cannot make sense of it.
        let proxied = lab.load_balancer("proxied").await?;
        ensure!(text(&only(lab, &proxied, "pools").await?, "protocol") == "PROXY", "no PROXY protocol");
        lab.annotate("service/proxied", &["loadbalancer.openstack.org/proxy-protocol-"])?;
        let address = lab.address("service/proxied").await?;
        lab.answers(&[&format!("http://{address}/hostname")], "200 hello-").await?;
        lab.settles("proxied", "the pool with the PROXY protocol to be gone", async |lb| {
            Ok(text(&only(lab, lb, "pools").await?, "protocol") == "TCP")
        })
        .await?;

        let kept = lab.address("service/kept").await?;
        lab.answers(&[&format!("http://{kept}/hostname")], "200 hello-").await?;
        for object in ["service/kept", "service/proxied", "service/on-theirs"] {
            lab.kubectl(&["delete", object, "--wait=false"])?;
        }
        for object in ["service/kept", "service/proxied", "service/on-theirs"] {
            lab.gone(object).await?;
        }
        lab.nothing_is_left().await?;
        let lb = theirs().await?;
        ensure!(
            text(&lb, "provisioning_status") == "ACTIVE"
                && lb["listeners"] == json!([])
                && lb["pools"] == json!([]),
            "{lb}"
        );
        let left =
            lab.look(Service::Network, &format!("/v2.0/floatingips?floating_ip_address={kept}")).await?;
        let left = left["floatingips"][0].clone();
        ensure!(
            left["port_id"].is_null() && text(&left, "description").is_empty() && left["tags"] == json!([]),
            "{left}"
        );
        // It is theirs, and may be asked for again.
        lab.service("again", "", &format!("loadBalancerIP: {kept}, {PORTS}"))?;
        ensure!(lab.address("service/again").await? == kept, "another address");
        lab.answers(&[&format!("http://{kept}/hostname")], "200 hello-").await?;
        lab.delete("service/again").await?;
        lab.by_hand(Service::LoadBalancer, "DELETE", &path, None).await?;
        let id = text(&left, "id");
        let left = lab.look(Service::Network, &format!("/v2.0/floatingips/{id}")).await?;
        ensure!(left["floatingip"]["port_id"].is_null(), "{left}");
        lab.by_hand(Service::Network, "DELETE", &format!("/v2.0/floatingips/{id}"), None).await.map(drop)
    })
    .await;
}
