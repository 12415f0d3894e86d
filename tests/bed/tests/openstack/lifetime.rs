//! A cloud with OVN, started and disturbed by the command; it dies with its bed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::openstack::{Service, password_login};
use causeway_bed::{Bed, process, wait};
use serde_json::{Value, json};

use crate::common::{PATIENCE, id};

/// The bed's processes.
fn processes(bed: &Bed) -> Result<BTreeSet<i32>> {
    Ok(process::descendants(&process::all()?, &BTreeSet::from([bed.init().pid])))
}

/// The process that owns the bed; a test that fails takes it along.
struct Owner(Child);

impl Owner {
    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.kill();
    }
}

/// The command's words on a bed of that name, and what it printed.
fn bed(name: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_bed")).args(["--name", name]).args(words).output()?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A client as anybody has it who knows the address alone.
struct Outside {
    bed: Bed,
    token: String,
}

impl Outside {
    async fn login(name: &str) -> Result<Outside> {
        let bed = Bed::attach(name)?;
        let mut outside = Outside { bed, token: String::new() };
        let body = Some(password_login("k8s"));
        let (head, answer) = outside.send(Service::Identity, "POST", "/v3/auth/tokens", body).await?;
        let token = head.get("x-subject-token").with_context(|| format!("no token: {answer}"))?;
        outside.token = token.to_str()?.to_owned();
        Ok(outside)
    }

    /// From within the bed, as a controller in the cluster would.
    async fn send(
        &self,
        service: Service,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(http::HeaderMap, Value)> {
        let url: http::Uri = service.inside().parse()?;
        let to = std::net::SocketAddr::new(url.host().context("a host")?.parse()?, service.port());
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", to.to_string())
            .header("content-type", "application/json")
            .header("x-auth-token", &self.token)
            .body(causeway_bed::cloud::http::Whole::from(
                body.map(|body| body.to_string()).unwrap_or_default(),
            ))?;
        let asked = move || async move { causeway_bed::cloud::http::send(to, request).await };
        let answer = self.bed.client_ns().inside_async(Duration::from_secs(120), asked).await?;
        let (head, bytes) = answer.into_parts();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        ensure!(head.status.is_success(), "{method} {path}: {} {text}", head.status);
        Ok((head.headers, serde_json::from_str(&text).unwrap_or_default()))
    }
}

#[tokio::test]
async fn the_command_starts_shows_and_disturbs_one_and_it_dies_with_its_bed() -> Result<()> {
    let name = format!("openstack-{}", std::process::id());
    let owner = Command::new(env!("CARGO_BIN_EXE_bed"))
        .args(["--name", &name, "up", "--bare", "--foreground", "--nodes", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut owner = Owner(owner);
    let mut line = String::new();
    BufReader::new(owner.0.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line.trim() == "up", "the owner said {line:?}");
    let refused = bed(&name, &["openstack", "show"]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("`bed openstack up` starts one"), "{refused}");
    let said = bed(&name, &["openstack", "up", "--provider", "ovn"])?;
    ensure!(said.contains("export OS_AUTH_URL=http://127.0.0.1:"), "{said}");
    let inside = bed(&name, &["openstack", "env", "--inside", "--user", "admin"])?;
    ensure!(
        inside.contains("OS_AUTH_URL=http://10.77.0.241:5000/v3") && inside.contains("OS_USERNAME=admin "),
        "{inside}"
    );
    let conf = bed(&name, &["openstack", "print", "conf", "--inside"])?;
    ensure!(conf.contains("lb-provider = ovn"), "{conf}");
    ensure!(bed(&name, &["openstack", "print", "clouds"])?.contains("auth_url: http://127.0.0.1:"));
    ensure!(bed(&name, &["openstack", "counts"])?.trim() == "{}", "setting it up is counted");
    bed(
        &name,
        &["openstack", "fault", r#"[{"calls": "load-balancer:POST *", "first": 99, "effect": {"cut": {}}}]"#],
    )?;
    ensure!(bed(&name, &["openstack", "fault"])?.contains("load-balancer:POST *"));
    ensure!(!bed(&name, &["openstack", "heal"])?.contains("POST"));
    ovn_makes_rows(&name).await?;
    ensure!(bed(&name, &["openstack", "expire-tokens"])?.contains("expired"));
    let running = Bed::attach(&name)?;
    let description = std::fs::read(running.init().state("openstack.json"))?;
    let description: Value = serde_json::from_slice(&description)?;
    let server = description["pid"].as_i64().context("no pid")? as i32;
    let pids = processes(&running)?;
    ensure!(pids.len() > 8, "a cloud of {} processes", pids.len());
    owner.kill()?;
    wait::until("everything to vanish", PATIENCE, async || {
        let left: Vec<_> = process::all()?
            .into_values()
            .filter(|p| p.state != 'Z' && (p.pid == server || pids.contains(&p.pid)))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

/// The real provider says what OVN cannot, and what it can becomes rows of the northbound database.
async fn ovn_makes_rows(name: &str) -> Result<()> {
    let outside = Outside::login(name).await?;
    let seed: Value = serde_json::from_str(&bed(name, &["openstack", "print", "seed"])?)?;
    let balancers = "/v2.0/lbaas/loadbalancers";
    let body = json!({"loadbalancer": {
        "name": "rows", "vip_subnet_id": seed["subnets"]["nodes-subnet"],
        "listeners": [{"name": "tcp", "protocol": "TCP", "protocol_port": 80, "default_pool": {
            "name": "tcp", "protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT",
            "members": [{"address": "10.77.0.11", "protocol_port": 30080, "subnet_id": seed["subnets"]["nodes-subnet"]}],
        }}],
    }});
    let (_, made) = outside.send(Service::LoadBalancer, "POST", balancers, Some(body)).await?;
    let own = format!("{balancers}/{}", id(&made)?);
    wait::until("the load balancer to be ACTIVE", PATIENCE, async || {
        let (_, answer) = outside.send(Service::LoadBalancer, "GET", &own, None).await?;
        let status = answer["loadbalancer"]["provisioning_status"].clone();
        if status == "PENDING_CREATE" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            bail!("{answer}");
        }
        Ok(if status == "ACTIVE" { Ok(()) } else { Err(anyhow::anyhow!("{answer}")) })
    })
    .await??;
    // The provider says ACTIVE before it has written everything.
    let nbctl = causeway_bed::programs::ensure_openstack()?.join("debian/usr/bin/ovn-nbctl");
    let (nbctl, cloud) = (nbctl.display().to_string(), outside.bed.namespace("openstack")?);
    wait::until("rows of the load balancer", PATIENCE, async || {
        let rows = cloud.run(&[&nbctl, "--db=unix:/run/bed/openstack/ovn/nb.sock", "lb-list"])?;
        ensure!(rows.contains(":80") && rows.contains("10.77.0.11:30080"), "OVN has {rows:?}");
        Ok(())
    })
    .await?;
    let l7 = json!({"listener": {"name": "http", "protocol": "HTTP", "protocol_port": 81, "loadbalancer_id": id(&made)?}});
    let refused = outside.send(Service::LoadBalancer, "POST", "/v2.0/lbaas/listeners", Some(l7)).await;
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("501"), "OVN knows no HTTP: {refused}");
    Ok(())
}
