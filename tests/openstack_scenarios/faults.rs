//! An OpenStack that throttles, fails and loses answers; a controller that is killed in the middle of its work.

use anyhow::ensure;
use causeway_bed::cloud::{Effect, Fault, Moment};
use causeway_bed::wait;

use crate::lab::{LOOK, Lab, MADE, text, wait_deployed};

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";

/// openstack-cloud-controller-manager's client retries nothing that is answered by 429.
#[tokio::test]
async fn services_converge_under_throttles_errors_and_lost_answers() {
    Lab::alone("faults", async |lab| {
        let throttled = Effect::Error {
            when: Moment::Before,
            code: "OverLimit".to_owned(),
            status: 429,
            retry_after: Some(1),
        };
        for fault in [
            Fault::random("*:*", 0.08, throttled),
            Fault::random("*:*", 0.05, Effect::error(Moment::Before, "Gateway", 503)),
            Fault::random("*:*", 0.05, Effect::error(Moment::After, "Gateway", 504)),
            Fault::random("*:*", 0.05, Effect::Cut { when: Moment::After }),
            // The answers that matter most are lost for certain.
            Fault::once(
                "load-balancer:POST /v2.0/lbaas/loadbalancers",
                1,
                Effect::Cut { when: Moment::After },
            ),
            Fault::once("network:POST /v2.0/floatingips", 1, Effect::Cut { when: Moment::After }),
        ] {
            lab.cloud().gate().faults.add(fault);
        }
        for n in 0..2 {
            lab.service(&format!("web{n}"), "", PORTS)?;
        }
        for n in 0..2 {
            let address = lab.address(&format!("service/web{n}")).await?;
            lab.answers(&[&format!("http://{address}/hostname")], "200 hello-").await?;
        }
        let (lbs, ips) = (lab.load_balancers().await?, lab.floating_ips().await?);
        ensure!(lbs.len() == 2 && ips.len() == 2, "{lbs:?} {ips:?}");
        lab.kubectl(&["delete", "service", "web0", "--wait=false"])?;
        lab.gone("service/web0").await?;
        // One is deleted in peace, so that the end of the test does not hang on luck.
        lab.cloud().gate().faults.clear(None);
        lab.delete("service/web1").await?;
        lab.nothing_is_left().await
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_is_killed_leaves_nothing_behind_that_its_successor_does_not_know() {
    Lab::alone("killed", async |lab| {
        let late = |calls: &str| Fault::once(calls, 1, Effect::Late { ms: 5000 });
        let calls = [
            "load-balancer:POST /v2.0/lbaas/loadbalancers",
            "network:POST /v2.0/floatingips",
            "load-balancer:DELETE /v2.0/lbaas/loadbalancers/{id}",
            "network:DELETE /v2.0/floatingips/{id}",
        ];
        let mut former = String::new();
        for (n, call) in calls.iter().enumerate() {
            // Its answer is held up, so that the process dies while it is on the way.
            lab.cloud().gate().faults.add(late(call));
            if n == 2 {
                lab.kubectl(&["delete", "service", "web", "--wait=false"])?;
            } else if n == 0 {
                lab.service("web", "", PORTS)?;
            }
            wait::until_every(LOOK, &format!("{call} to take effect"), MADE, async || {
                let (lbs, ips) = (lab.load_balancers().await?, lab.floating_ips().await?);
                let going = lbs.iter().all(|lb| text(lb, "provisioning_status") == "PENDING_DELETE");
                let done = [!lbs.is_empty(), !ips.is_empty(), going, ips.is_empty()][n];
                ensure!(done, "not yet: {lbs:?} {ips:?}");
                Ok(())
            })
            .await?;
            lab.kill_controllers()?;
            wait_deployed(lab.bed())?;
            if n == 1 {
                let address = lab.address("service/web").await?;
                lab.answers(&[&format!("http://{address}/hostname")], "200 hello-").await?;
                let (lb, ips) = (lab.load_balancer("web").await?, lab.floating_ips().await?);
                ensure!(ips.len() == 1 && text(&lb, "provisioning_status") == "ACTIVE", "{lb} {ips:?}");
                former = text(&lb, "id").to_owned();
            }
        }
        ensure!(!former.is_empty(), "nothing was made");
        lab.gone("service/web").await?;
        lab.nothing_is_left().await
    })
    .await;
}
