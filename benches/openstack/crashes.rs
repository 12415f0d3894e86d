//! Kills at every call of a load balancer's life, with floating IP, security group and a certificate in Barbican. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::cloud::faults::Plan;
use causeway_bed::pki::Authority;
use causeway_bed::wait;
use serde_json::{Value, json};

use super::bench::Bench;
use super::controller::Controller;
use super::kills::{Step, Subject, at_every_call};
use super::site::{FOREIGN, ONE, Of, Site, shown, text};

/// It leads at once.
const ALONE: &[&str] = &["--leader-elect=false"];
const NAME: &str = "web";

/// Runs the row.
pub async fn row(bench: &Bench) -> Result<()> {
    let mut site = Site::start(false, 0).await?;
    site.options = "manage-security-groups = true\n";
    let outcome = crash(&site, bench).await;
    site.end(outcome)
}

/// Things of somebody else, with the names that ours have.
async fn foreign(site: &Site) -> Result<()> {
    let name = format!("kube_service_kubernetes_default_{NAME}");
    let subnet = site.cloud.seed().subnet("nodes-subnet")?;
    let public = site.cloud.seed().public_network.as_str();
    let lb = json!({"loadbalancer": {"name": name, "vip_subnet_id": subnet, "description": FOREIGN}});
    site.by_hand(Of::LoadBalancer, "POST", "/v2.0/lbaas/loadbalancers", lb).await?;
    let address = json!({"floatingip": {"floating_network_id": public, "description": FOREIGN}});
    site.by_hand(Of::Network, "POST", "/v2.0/floatingips", address).await?;
    let group = json!({"security_group": {"name": format!("lb-sg-{name}"), "description": FOREIGN}});
    site.by_hand(Of::Network, "POST", "/v2.0/security-groups", group).await?;
    let secret = json!({"name": FOREIGN, "payload": "theirs", "payload_content_type": "text/plain"});
    site.by_hand(Of::KeyManager, "POST", "/v1/secrets", secret).await?;
    Ok(())
}

/// Everything in the project that a controller makes, and how it is.
pub async fn everything(site: &Site) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for kind in ["loadbalancers", "listeners", "pools", "healthmonitors", "l7policies"] {
        for one in site.octavia(kind).await? {
            if kind == "pools" {
                let path = format!("/v2.0/lbaas/pools/{}/members", text(&one, "id"));
                let members = site.list(Of::LoadBalancer, &path, "members").await?;
                all.insert(format!("members of {}", text(&one, "id")), json!(members));
            }
            all.insert(format!("{kind} {}", text(&one, "id")), one);
        }
    }
    for one in site.floating_ips().await? {
        all.insert(format!("floating IP {}", text(&one, "id")), one);
    }
    for mut one in site.list(Of::Network, "/v2.0/security-groups", "security_groups").await? {
        // They come in any order.
        if let Some(rules) = one["security_group_rules"].as_array_mut() {
            rules.sort_by_key(|rule| text(rule, "id").to_owned());
        }
        all.insert(format!("security group {}", text(&one, "id")), one);
    }
    for one in site.list(Of::Network, "/v2.0/ports", "ports").await? {
        // Whoever deletes a load balancer leaves Octavia some time for its ports.
        if text(&one, "device_owner") == "compute:nova" {
            all.insert(format!("groups of port {}", text(&one, "id")), one["security_groups"].clone());
        }
    }
    for one in site.list(Of::KeyManager, "/v1/secrets?limit=100", "secrets").await? {
        all.insert(format!("secret {}", text(&one, "secret_ref")), one);
    }
    Ok(all)
}

impl Subject for Site {
    const CALLS: &str = "*:*";
    const PATIENCE: Duration = ONE;

    fn controller(&self) -> Result<Controller> {
        Site::controller(self, ALONE)
    }

    fn faults<R>(&self, with: impl FnOnce(&mut Plan) -> R) -> R {
        with(&mut self.cloud.gate().faults)
    }

    async fn perform(&self, step: Step) -> Result<()> {
        match step {
            Step::Create => self.create(NAME, &[443], json!({"causeway.io/tls-secret": "pair"})).await,
            // A port more, other settings, other sources.
            Step::Change => {
                let annotations = json!({"loadbalancer.openstack.org/timeout-client-data": "70000",
                    "loadbalancer.openstack.org/health-monitor-delay": "7", "loadbalancer.openstack.org/lb-method": "LEAST_CONNECTIONS"});
                let spec = json!({"loadBalancerSourceRanges": ["192.0.2.0/24"],
                    "ports": [{"name": "a", "port": 443}, {"name": "b", "port": 8443}]});
                self.change(NAME, json!({"metadata": {"annotations": annotations}, "spec": spec})).await
            }
            Step::Delete => self.delete(NAME).await,
        }
    }

    async fn done(&self, controller: &Controller, step: Step) -> Result<()> {
        let ports: &[u64] = match step {
            Step::Create => &[443],
            Step::Change => &[443, 8443],
            Step::Delete => {
                ensure!(self.services.get_opt(NAME).await?.is_none(), "{NAME} is there");
                return Ok(());
            }
        };
        controller.content(1).await?;
        let address = shown(&self.services.get(NAME).await?).context("no address")?;
        let all = self.listening().await?;
        let listening = all.get(&address).with_context(|| format!("{address} is not served"))?;
        ensure!(listening.iter().eq(ports), "{listening:?}");
        Ok(())
    }
}

async fn crash(site: &Site, bench: &Bench) -> Result<()> {
    let pair = Authority::new()?.server("web.example", vec!["web.example".to_owned()])?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "pair", "namespace": "default"},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key}});
    site.bed.apply(&secret.to_string())?;
    foreign(site).await?;
    let before = wait::until("what is not ours to be at rest", ONE, async || {
        let all = everything(site).await?;
        let rest = all.values().any(|one| text(one, "provisioning_status") == "ACTIVE");
        ensure!(rest, "{all:?}");
        Ok(all)
    })
    .await?;
    let controller = Subject::controller(site)?;
    let killed = at_every_call(site, controller, bench).await?;
    // What Octavia still deletes is gone soon.
    let deleting = |one: &Value| text(one, "provisioning_status") == "PENDING_DELETE";
    let after = wait::until("what is deleted to be gone", ONE, async || {
        let all = everything(site).await?;
        ensure!(!all.values().any(deleting), "{all:?}");
        Ok(all)
    })
    .await?;
    let leaked: Vec<String> = after.keys().filter(|key| !before.contains_key(*key)).cloned().collect();
    let touched = before.iter().filter(|(key, one)| after.get(*key) != Some(one));
    let touched: Vec<String> =
        touched.map(|(key, one)| format!("{key}: {one} is now {:?}", after.get(key))).collect();
    killed.row(bench, &leaked, &touched);
    Ok(())
}
