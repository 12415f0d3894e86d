//! Load balancers that somebody deletes, or that break: made anew, with the address that they had.

use anyhow::{Result, ensure};
use causeway_bed::openstack::Service;

use crate::lab::{Lab, text};

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";

/// Sets the state of a load balancer, as a worker of Octavia does that has failed.
fn fail(lab: &Lab, id: &str) -> Result<()> {
    let program = format!(
        "
import configparser, os, sqlalchemy
conf = configparser.ConfigParser(interpolation=None, strict=False)
conf.read('/run/bed/openstack/etc/octavia.conf')
engine = sqlalchemy.create_engine(conf['database']['connection'])
with engine.begin() as connection:
    done = connection.execute(sqlalchemy.text(\"update load_balancer set provisioning_status = 'ERROR' where id = '{id}'\"))
    assert done.rowcount == 1, done.rowcount
"
    );
    lab.cloud().python(&program).map(drop)
}

/// cloud-provider-openstack#2751: one that was deleted by hand is looked for for ever, and its floating IP is left. #2036, #2037, #2341, #2541: one in ERROR stays so.
#[tokio::test]
async fn a_load_balancer_that_is_gone_or_broken_comes_back_with_its_address() {
    Lab::run("again", async |lab| {
        lab.service("deleted", "", PORTS)?;
        lab.service("broken", "", PORTS)?;
        // Without floating IP the VIP is what the status shows.
        lab.service("inner", "service.beta.kubernetes.io/openstack-internal-load-balancer: 'true'", PORTS)?;
        let mut former = Vec::new();
        for name in ["deleted", "broken", "inner"] {
            let address = lab.address(&format!("service/{name}")).await?;
            lab.answers(&[&format!("http://{address}/hostname")], "200 hello-").await?;
            former.push((name, address, text(&lab.load_balancer(name).await?, "id").to_owned()));
        }
        for (name, _, id) in &former {
            if *name == "broken" {
                fail(lab, id)?;
            } else {
                let path = format!("/v2.0/lbaas/loadbalancers/{id}?cascade=true");
                lab.by_hand(Service::LoadBalancer, "DELETE", &path, None).await?;
            }
        }
        let begun = std::time::Instant::now();
        for (name, address, id) in &former {
            lab.settles(name, &format!("another load balancer of {name}"), async |lb| {
                Ok(text(lb, "id") != id && text(lb, "provisioning_status") == "ACTIVE")
            })
            .await?;
            lab.answers(&[&format!("http://{address}/hostname")], "200 hello-").await?;
            ensure!(lab.address(&format!("service/{name}")).await? == *address, "{name} has another address");
            println!("{name}: served again at {address} after {:?}", begun.elapsed());
        }
        for (name, ..) in &former {
            lab.kubectl(&["delete", "service", name, "--wait=false"])?;
        }
        lab.nothing_is_left().await
    })
    .await;
}
