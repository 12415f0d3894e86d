//! `causeway check` of a project that is as it should be, and with one fault of each kind; what the controller says of the same fault.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use causeway_bed::openstack::{PASSWORD, Service};
use serde_json::json;

use crate::lab::Lab;
use crate::support::check::Checked;

const PORTS: &str = "ports: [{name: http, port: 80, targetPort: 8080}]";

/// Checks with this cloud.conf.
fn check(lab: &Lab, conf: &str) -> Result<Checked> {
    let mut file = tempfile::Builder::new().suffix(".conf").tempfile()?;
    file.write_all(conf.as_bytes())?;
    let conf = format!("--cloud-config={}", file.path().display());
    Checked::run(lab.bed(), &["--cloud-provider=openstack", &conf])
}

/// Asks as the administrator for one by its name; its id.
async fn id(lab: &Lab, kinds: &str, name: &str) -> Result<String> {
    let path = format!("/v3/{kinds}?name={name}");
    let found = lab.cloud().client().look("admin", Service::Identity, &path).await?;
    found[kinds][0]["id"].as_str().map(str::to_owned).with_context(|| format!("no {name} among {kinds}"))
}

/// A user of the project who has the role `audit` only.
async fn auditor(lab: &Lab) -> Result<()> {
    let client = lab.cloud().client();
    let user = json!({"user": {"name": "auditor", "password": PASSWORD, "domain_id": "default"}});
    let made = client.set_up("admin", Service::Identity, "POST", "/v3/users", user).await?;
    let user = made["user"]["id"].as_str().context("no user")?;
    let (project, role) = (id(lab, "projects", "k8s").await?, id(lab, "roles", "audit").await?);
    let path = format!("/v3/projects/{project}/users/{user}/roles/{role}");
    client.set_up("admin", Service::Identity, "PUT", &path, json!({})).await.map(drop)
}

/// Sets the project's quota of load balancers.
async fn quota(lab: &Lab, load_balancers: i64) -> Result<()> {
    let project = id(lab, "projects", "k8s").await?;
    let body = json!({"quota": {"load_balancer": load_balancers}});
    let path = format!("/v2.0/lbaas/quotas/{project}");
    lab.cloud().client().set_up("admin", Service::LoadBalancer, "PUT", &path, body).await.map(drop)
}

#[tokio::test]
async fn a_sound_project_is_said_to_be_sound_and_each_fault_is_named() {
    Lab::alone("check", async |lab| {
        lab.service("web", "", PORTS)?;
        let address = lab.address("service/web").await?;
        lab.answers(&[&format!("http://{address}/hostname")], "200 hello-").await?;
        lab.applied("web").await?;
        let conf = lab.cloud().cloud_conf(false);
        let written = lab.cloud().mutations().len();
        let sound = check(lab, &conf)?;
        println!("{sound}");
        ensure!(sound.status == Some(0), "{sound}");
        ensure!(lab.cloud().mutations().len() == written, "a check changes nothing");
        sound.says("ok", "Deployment kube-system/causeway", "2 of 2")?;
        sound.says("ok", "ServiceAccount kube-system/causeway", "rights")?;
        sound.says("ok", "Keystone", "k8s in project k8s")?;
        sound.says("ok", "Roles", "load-balancer_member")?;
        sound.says("ok", "Permissions to read", "all 13 are there")?;
        sound.says("ok", "Provider for Services", "amphora behind API v2.")?;
        sound.says("ok", "[LoadBalancer]", "VIPs on subnet nodes-subnet")?;
        sound.says("ok", "Nodes", "2 can be members")?;
        sound.says("ok", "Quota of load balancers", "and no limit is set")?;
        sound.says("ok", "Services of type LoadBalancer", "are served")?;

        // What cloud.conf says wrong.
        let seed = lab.cloud().seed();
        let inner = check(lab, &conf.replace(&seed.public_network, &seed.nodes_network))?;
        inner.says(
            "error",
            "[LoadBalancer] floating-network-id",
            &format!("is not external, it has no floating IPs: write {}", seed.public_network),
        )?;
        ensure!(inner.status == Some(2), "{inner}");
        let named = check(
            lab,
            &(conf.replace(seed.subnet("nodes-subnet")?, "nodes-subnet") + "flavor-id = big\nfrob = 1\n"),
        )?;
        named.says(
            "error",
            "[LoadBalancer] subnet-id",
            &format!("that is a name, write its id {}", seed.subnet("nodes-subnet")?),
        )?;
        named.says("error", "[LoadBalancer] flavor-id", "flavor big is not there: write one of ")?;
        named.says("warning", "[LoadBalancer] frob", "is not known")?;
        let stranger = check(lab, &conf.replace(&format!("password = {PASSWORD}"), "password = guessed"))?;
        stranger.says("error", "Keystone", "check user, password")?;
        ensure!(stranger.status == Some(2), "{stranger}");

        // Who is of the project, and has no right to its load balancers.
        auditor(lab).await?;
        let kept_out = check(lab, &conf.replace("username = k8s", "username = auditor"))?;
        println!("{kept_out}");
        ensure!(kept_out.status == Some(2), "{kept_out}");
        kept_out.says("error", "Roles", "audit, with which one only reads")?;
        kept_out.says("error", "Permissions to read", "may not Octavia GET /v2.0/lbaas/loadbalancers")?;

        // No room for another: the check says it, and the controller of the Service that waits for it.
        let used = lab.look(Service::LoadBalancer, "/v2.0/lbaas/loadbalancers").await?;
        let used = i64::try_from(used["loadbalancers"].as_array().map_or(0, Vec::len))?;
        quota(lab, used).await?;
        lab.service("more", "", PORTS)?;
        let told = lab.says("service/more", "quota Octavia: Load Balancer is used up").await;
        let full = check(lab, &conf);
        lab.delete("service/more").await?;
        quota(lab, -1).await?;
        told?;
        let full = full?;
        full.says(
            "error",
            "Quota of load balancers",
            &format!("{used} of {used} are used, and 1 more are asked for"),
        )?;
        full.says("error", "Service check/more", "quota Octavia: Load Balancer")?;
        ensure!(full.status == Some(2), "{full}");

        lab.delete("service/web").await?;
        lab.nothing_is_left().await
    })
    .await;
}
