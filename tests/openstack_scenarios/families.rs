//! Services with two families: a VIP and an additional VIP on one load balancer, with traffic by both.

use anyhow::ensure;
use causeway_bed::wait;
use serde_json::Value;

use crate::lab::{LOOK, Lab, MADE, text};

const BOTH: &str = "ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6], ports: [{name: http, port: 80, targetPort: 8080}]";

#[tokio::test]
async fn a_service_of_two_families_is_reached_by_both() {
    Lab::run("families", async |lab| {
        lab.service("both", "", BOTH)?;
        let v4 = lab.address("service/both").await?;
        let path = "jsonpath={.status.loadBalancer.ingress[*].ip}";
        let all = lab.kubectl(&["get", "service/both", "-o", path])?;
        let all: Vec<&str> = all.split_whitespace().collect();
        ensure!(all.len() == 2 && all[0] == v4 && all[1].contains(':'), "{all:?}");
        let v6 = all[1];
        lab.all_pods_answer(&format!("http://{v4}/hostname")).await?;
        lab.all_pods_answer(&format!("http://[{v6}]/hostname")).await?;

        let lb = lab.load_balancer("both").await?;
        let additional = lb["additional_vips"].as_array().map(Vec::as_slice).unwrap_or_default();
        ensure!(additional.len() == 1 && text(&additional[0], "ip_address") == v6, "{lb}");
        ensure!(text(&additional[0], "subnet_id") == lab.cloud().seed().subnet("nodes-subnet-v6")?, "{lb}");
        ensure!(
            lab.floating_ips().await?.len() == 1,
            "a floating IP leads to the IPv4 address, and to no other"
        );

        // Nobody but those who are let in, by either.
        let ranges = r#"{"spec":{"loadBalancerSourceRanges":["192.0.2.0/24","2001:db8:ffff::/64"]}}"#;
        lab.kubectl(&["patch", "service/both", "--type=merge", "-p", ranges])?;
        for url in [format!("http://{v4}/hostname"), format!("http://[{v6}]/hostname")] {
            wait::until_every(LOOK, "strangers to be kept out", MADE, async || {
                match lab.curl(&["-m", "2", &url]) {
                    Ok(answer) => anyhow::bail!("it got {answer}"),
                    Err(_) => Ok(()),
                }
            })
            .await?;
        }
        let listeners: Vec<Value> = lab.parts(&lb, "listeners").await?;
        let allowed: Vec<usize> =
            listeners.iter().map(|l| l["allowed_cidrs"].as_array().map_or(0, Vec::len)).collect();
        ensure!(allowed == [2], "{listeners:?}");
        lab.delete("service/both").await?;
        lab.nothing_is_left().await
    })
    .await;
}
