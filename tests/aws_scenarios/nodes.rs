//! The node controllers: a Node that waits for its cloud, and one whose machine stops and ends.

use anyhow::ensure;

use crate::lab::Lab;
use crate::machines::{Fate, NAME, Told, follow_their_machines};

#[tokio::test]
async fn a_node_gets_what_its_machine_says_and_goes_with_it() {
    Lab::run("nodes", async |lab| {
        let (aws, account) = (&lab.world.aws, &lab.world.account);
        let instance = account.clone().add_node(aws, NAME, None).await?;
        let told = Told {
            provider_id: instance.provider_id(),
            labels: vec![
                ("topology.kubernetes.io/zone", instance.zone.clone()),
                ("failure-domain.beta.kubernetes.io/zone", instance.zone.clone()),
                ("topology.kubernetes.io/region", account.region.clone()),
                ("node.kubernetes.io/instance-type", "m5.large".to_owned()),
            ],
            address: instance.address.to_string(),
        };
        follow_their_machines(lab.bed(), told, false, async |fate| {
            let action = match fate {
                Fate::Stops => "StopInstances",
                Fate::Ends => "TerminateInstances",
            };
            let (status, body) =
                aws.ask("ec2", &[("Action", action), ("InstanceId.1", &instance.id)]).await?;
            ensure!(status == 200, "{action}: {status} {body}");
            Ok(())
        })
        .await
    })
    .await;
}
