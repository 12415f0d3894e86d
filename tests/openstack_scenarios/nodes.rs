//! The node controllers: a Node that waits for its cloud, and one whose server stops and ends. Nova is a real one, without hypervisors.

use anyhow::Context;
use causeway_bed::openstack::{Instance, REGION, instance_id};

use crate::lab::Lab;
use crate::machines::{Fate, NAME, Told, follow_their_machines};

#[tokio::test]
async fn a_node_gets_what_its_server_says_and_goes_with_it() {
    Lab::run("nodes", async |lab| {
        let cloud = lab.cloud();
        let instance = Instance {
            node: NAME.to_owned(),
            id: instance_id(500),
            port: String::new(),
            addresses: vec!["10.77.100.1".parse().context("an address")?],
        };
        let servers = std::slice::from_ref(&instance);
        cloud.set_servers(servers, true)?;
        let told = Told {
            provider_id: instance.provider_id(),
            labels: vec![
                ("topology.kubernetes.io/zone", "az1".to_owned()),
                ("failure-domain.beta.kubernetes.io/zone", "az1".to_owned()),
                ("topology.kubernetes.io/region", REGION.to_owned()),
                ("node.kubernetes.io/instance-type", "m1.small".to_owned()),
            ],
            address: "10.77.100.1".to_owned(),
        };
        follow_their_machines(lab.bed(), told, true, async |fate| match fate {
            Fate::Stops => cloud.set_servers(servers, false),
            Fate::Ends => cloud.delete_server(&instance),
        })
        .await
    })
    .await;
}
