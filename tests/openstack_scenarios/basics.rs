//! Services and an Ingress from nothing to nothing, with a leader that is killed while they are made.

use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_bed::wait;

use crate::lab::{Lab, MADE};

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";

/// One host, one path.
const SHOP: &str = "rules: [{host: shop.example, http: {paths: [
   {path: /hostname, pathType: Prefix, backend: {service: {name: hello, port: {name: http}}}}]}}]";

#[tokio::test]
async fn services_and_ingresses_are_served() {
    Lab::alone("basics", scenario).await;
}

async fn scenario(lab: &Lab) -> Result<()> {
    let posted = lab.count("load-balancer:POST /v2.0/lbaas/loadbalancers");
    // All at once; the leader is killed while they are being made.
    lab.service("cluster", "", PORTS)?;
    lab.service("local", "", &format!("externalTrafficPolicy: Local, {PORTS}"))?;
    lab.ingress("shop", "", SHOP)?;
    wait::until("a load balancer that is being made", MADE, async || {
        ensure!(lab.count("load-balancer:POST /v2.0/lbaas/loadbalancers") > posted, "no POST");
        Ok(())
    })
    .await?;
    lab.kill_controllers()?;
    let (cluster, local) = (lab.address("service/cluster").await?, lab.address("service/local").await?);
    let ingress = lab.address("ingress/shop").await?;
    ensure!(cluster != local && cluster != ingress, "{cluster} {local} {ingress}");
    lab.all_pods_answer(&format!("http://{cluster}/hostname")).await?;
    lab.all_pods_answer(&format!("http://{local}/hostname")).await?;
    lab.answers(&["-H", "Host: shop.example", &format!("http://{ingress}/hostname")], "200 hello-").await?;
    let other = lab.curl(&["-H", "Host: other.example", &format!("http://{ingress}/hostname")])?;
    ensure!(other.starts_with("503"), "another host: {other}");
    let outside = lab.curl(&["-H", "Host: shop.example", &format!("http://{ingress}/hostnames")])?;
    ensure!(outside.starts_with("503"), "a path that only begins alike: {outside}");
    // In spite of the kill there is one of each.
    let (balancers, addresses) = (lab.load_balancers().await?, lab.floating_ips().await?);
    ensure!(balancers.len() == 3 && addresses.len() == 3, "{balancers:?} {addresses:?}");

    // Nothing changed means nothing done.
    lab.quiet(Duration::from_secs(6)).await?;
    let before = lab.count("*:*");
    lab.kubectl(&["label", "service", "cluster", "of=nobody"])?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // What looks for drift is two lists a minute.
    ensure!(lab.count("*:*") <= before + 2, "{} calls for nothing", lab.count("*:*") - before);

    // Another port, and the old one shut; the address stays.
    let ports = r#"{"spec":{"ports":[{"name":"http","port":8000,"targetPort":8080}]}}"#;
    lab.kubectl(&["patch", "service", "cluster", "--type=merge", "-p", ports])?;
    lab.answers(&[&format!("http://{cluster}:8000/hostname")], "200 hello-").await?;
    wait::until("the old port to be shut", MADE, async || {
        match lab.curl(&["-m", "2", &format!("http://{cluster}/hostname")]) {
            Ok(answer) => anyhow::bail!("it got {answer}"),
            Err(_) => Ok(()),
        }
    })
    .await?;
    ensure!(lab.address("service/cluster").await? == cluster, "another address");

    // What goes leaves nothing.
    for object in ["service/cluster", "service/local", "ingress/shop"] {
        lab.kubectl(&["delete", object, "--wait=false"])?;
    }
    wait::until("nothing to be left", MADE, async || {
        let left = lab.kubectl(&["get", "services,ingresses", "--ignore-not-found", "-o", "name"])?;
        ensure!(!left.contains("/cluster") && !left.contains("/local") && !left.contains("/shop"), "{left}");
        let (balancers, addresses) = (lab.load_balancers().await?, lab.floating_ips().await?);
        ensure!(balancers.is_empty() && addresses.is_empty(), "{balancers:?} {addresses:?}");
        Ok(())
    })
    .await
}
