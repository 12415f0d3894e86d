//! An AWS that throttles, fails and does not answer; a controller that is killed in the middle of its work.

use std::time::Duration;

use anyhow::ensure;
use causeway_bed::cloud::{Effect, Fault, Moment};
use causeway_bed::wait;

use crate::lab::{Lab, MADE, wait_deployed};

const PUBLIC: &str = "service.beta.kubernetes.io/aws-load-balancer-scheme: internet-facing";
const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";

#[tokio::test]
async fn services_converge_under_throttles_errors_and_lost_answers() {
    Lab::alone("faults", async |lab| {
        lab.application()?;
        for fault in [
            Fault::random("*", 0.1, Effect::error(Moment::Before, "Throttling", 400)),
            Fault::random("*", 0.05, Effect::error(Moment::Before, "InternalFailure", 500)),
            Fault::random("*", 0.05, Effect::error(Moment::After, "ServiceUnavailable", 503)),
            Fault::random("*", 0.05, Effect::Cut { when: Moment::After }),
        ] {
            lab.world.aws.gate().faults.add(fault);
        }
        for n in 0..3 {
            lab.service(&format!("web{n}"), PUBLIC, PORTS)?;
        }
        for n in 0..3 {
            let name = lab.hostname(&format!("service/web{n}")).await?;
            lab.answers(&[&format!("http://{name}/hostname")], "200 hello-").await?;
        }
        for n in 0..3 {
            let owner = lab.owner(&format!("service/web{n}"))?;
            lab.kubectl(&["delete", "service", &format!("web{n}"), "--wait=false"])?;
            if n == 2 {
                // One is deleted in peace, so that the end of the test does not hang on luck.
                lab.world.aws.gate().faults.clear(None);
            }
            lab.nothing_is_left(&owner).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_is_killed_leaves_nothing_behind_that_its_successor_does_not_know() {
    Lab::alone("killed", async |lab| {
        lab.application()?;
        for action in ["CreateTargetGroup", "CreateLoadBalancer", "CreateListener", "RegisterTargets"] {
            let name = action.to_lowercase();
            let begin = lab.calls();
            // It is held up, so that the process dies while its answer is on the way.
            lab.world.aws.gate().faults.add(Fault::once(action, 1, Effect::Late { ms: 3000 }));
            lab.service(&name, PUBLIC, PORTS)?;
            wait::until(&format!("a call of {action}"), MADE, async || {
                let there = !lab.owned(&lab.owner(&format!("service/{name}"))?).await?.is_empty();
                ensure!(there, "nothing is made");
                Ok(())
            })
            .await?;
            lab.kill_leader().await?;
            let host = lab.hostname(&format!("service/{name}")).await?;
            lab.answers(&[&format!("http://{host}/hostname")], "200 hello-").await?;
            println!("killed at {action}: {} calls until it was served", lab.records(begin).len());
            // One load balancer, one target group: no second ones beside them.
            let owned = lab.owned(&lab.owner(&format!("service/{name}"))?).await?;
            for kind in [":loadbalancer/", ":targetgroup/", ":listener/"] {
                let count = owned.keys().filter(|arn| arn.contains(kind)).count();
                ensure!(count == 1, "{count} of {kind}: {:?}", owned.keys());
            }
            wait_deployed(lab.bed())?;
        }
        // Killed while it takes apart.
        lab.world.aws.gate().faults.add(Fault::once("DeleteLoadBalancer", 1, Effect::Late { ms: 3000 }));
        let owner = lab.owner("service/createlistener")?;
        let begin = lab.calls();
        lab.kubectl(&["delete", "service", "createlistener", "--wait=false"])?;
        wait::until("the deletion to begin", MADE, async || {
            ensure!(lab.records(begin).iter().any(|c| c.action.starts_with("Delete")), "not yet");
            Ok(())
        })
        .await?;
        lab.kill_leader().await?;
        lab.nothing_is_left(&owner).await?;
        wait_deployed(lab.bed())?;
        for name in ["createtargetgroup", "createloadbalancer", "registertargets"] {
            lab.delete(&format!("service/{name}")).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_hand_changed_is_put_back() {
    Lab::alone("drift", async |lab| {
        lab.application()?;
        lab.service("web", PUBLIC, PORTS)?;
        let name = lab.hostname("service/web").await?;
        let url = format!("http://{name}/hostname");
        lab.answers(&[&url], "200 hello-").await?;
        lab.quiet(Duration::from_secs(5)).await?;
        // Somebody takes the listener away; the next leader sees that the load balancer is not as it says.
        let owned = lab.owned(&lab.owner("service/web")?).await?;
        let listener = owned.keys().find(|arn| arn.contains(":listener/")).cloned().unwrap_or_default();
        lab.world.aws.python(&format!("import boto3\nboto3.client('elbv2').delete_listener(ListenerArn='{listener}')"))?;
        wait::until("the listener to be gone", MADE, async || {
            ensure!(lab.curl(&["-m", "2", &url]).is_err(), "it still answers");
            Ok(())
        })
        .await?;
        // Something of the Service changes: the stack is looked at whole.
        let balancer = owned.keys().find(|arn| arn.contains(":loadbalancer/")).cloned().unwrap_or_default();
        lab.world.aws.python(&format!(
            "import boto3\nboto3.client('elbv2').remove_tags(ResourceArns=['{balancer}'], TagKeys=['causeway.io/applied'])"
        ))?;
        lab.bed().kubectl(&["-n", "kube-system", "rollout", "restart", "deployment/causeway"])?;
        wait_deployed(lab.bed())?;
        lab.answers(&[&url], "200 hello-").await?;
        lab.delete("service/web").await
    })
    .await;
}
