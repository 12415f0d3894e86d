//! Neutron: networks, floating IPs, security groups, ports; and Barbican's secrets.

use anyhow::{Context, Result, ensure};
use causeway_openstack::api::barbican::{self, CONTAINERS, NewSecret, SECRETS};
use causeway_openstack::api::neutron::*;
use causeway_openstack::api::{Priority, Query};
use causeway_openstack::errors::State;

use crate::Real;

pub async fn all(real: &Real) -> Result<()> {
    what_is_there(real).await.context("what is there")?;
    floating_ips(real).await.context("floating IPs")?;
    security_groups(real).await.context("security groups")?;
    ports(real).await.context("ports")?;
    secrets(real).await.context("secrets")
}

async fn what_is_there(real: &Real) -> Result<()> {
    let (calls, seed) = (&real.calls, real.cloud.seed());
    let extensions = calls.list(&EXTENSIONS, Query::all(), Priority::Audit).await?;
    for alias in ["revision-if-match", "standard-attr-tag", "security-group"] {
        ensure!(extensions.iter().any(|e| e.alias == alias), "no {alias}");
    }
    let external =
        calls.list(&NETWORKS, Query::all().with("router:external", "true"), Priority::Audit).await?;
    ensure!(
        external.len() == 1 && external[0].id == seed.public_network && external[0].external,
        "{external:?}"
    );
    let tagged = Query::all().with("network_id", seed.public_network.as_str()).tags(&["dmz"]);
    let subnets = calls.list(&SUBNETS, tagged, Priority::Audit).await?;
    ensure!(
        subnets.len() == 1 && subnets[0].id == seed.subnet("public-subnet-2")? && subnets[0].ip_version == 4,
        "{subnets:?}"
    );
    let quota = calls.get(&QUOTAS, &calls.api.project().await?, Priority::Audit).await?.context("quotas")?;
    ensure!(quota.floatingip == Some(-1) && quota.security_group == Some(-1), "{quota:?}");
    Ok(())
}

/// Has what must get through as a step of a path, and in a query; but no slash, which Neutron refuses.
const TAG: &str = "causeway.io:cluster=a b&c";

async fn floating_ips(real: &Real) -> Result<()> {
    let (calls, fence, seed) = (&real.calls, &real.fence, real.cloud.seed());
    let instance = real.cloud.instances().first().context("a node")?;
    let body = NewFloatingIp {
        floating_network_id: seed.public_network.clone(),
        subnet_id: Some(seed.subnet("public-subnet-2")?.to_owned()),
        port_id: Some(instance.port.clone()),
        description: TAG.to_owned(),
        ..Default::default()
    };
    let made = calls.create(&FLOATING_IPS, &body, fence).await?;
    ensure!(
        made.port_id.as_deref() == Some(&instance.port) && made.floating_ip_address.starts_with("198.18."),
        "{made:?}"
    );
    for tag in [TAG, "of somebody else", TAG] {
        calls.write(&add_tag(Tagged::FloatingIp, &made.id, tag), fence).await?;
    }
    let slash = calls.write(&add_tag(Tagged::FloatingIp, &made.id, "causeway.io/cluster=c1"), fence).await;
    ensure!(slash.as_ref().is_err_and(|e| e.state() == Some(State::NotFound)), "{slash:?}");
    let found = calls.list(&FLOATING_IPS, Query::all().tags(&[TAG]), Priority::Audit).await?;
    ensure!(found.len() == 1 && found[0].id == made.id && found[0].tags.len() == 2, "{found:?}");
    let found = calls.list(&FLOATING_IPS, Query::all().with("description", TAG), Priority::Audit).await?;
    ensure!(found.len() == 1, "{found:?}");
    calls.gone(&remove_tag(Tagged::FloatingIp, &made.id, TAG), fence).await?;
    calls.gone(&remove_tag(Tagged::FloatingIp, &made.id, TAG), fence).await.context("a tag that is gone")?;
    let left = calls.get(&FLOATING_IPS, &made.id, Priority::Audit).await?.context("it is there")?;
    ensure!(left.tags == ["of somebody else"], "{left:?}");
    let body = FloatingIpChanges { port_id: Some(None), ..Default::default() };
    ensure!(calls.update(&FLOATING_IPS, &made.id, &body, fence).await?.port_id.is_none(), "detached");
    let body = FloatingIpChanges { port_id: Some(Some(instance.port.clone())), ..Default::default() };
    ensure!(calls.update(&FLOATING_IPS, &made.id, &body, fence).await?.port_id.is_some(), "attached");
    calls.delete(&FLOATING_IPS, &made.id, fence).await?;
    calls.delete(&FLOATING_IPS, &made.id, fence).await.context("one that is gone")?;
    ensure!(calls.get(&FLOATING_IPS, &made.id, Priority::Audit).await?.is_none());
    Ok(())
}

async fn security_groups(real: &Real) -> Result<()> {
    let (calls, fence) = (&real.calls, &real.fence);
    let body = NewSecurityGroup { name: "lb-sg".to_owned(), description: TAG.to_owned() };
    let group = calls.create(&SECURITY_GROUPS, &body, fence).await?;
    ensure!(group.security_group_rules.iter().all(|rule| rule.direction == "egress"), "{group:?}");
    calls.write(&add_tag(Tagged::SecurityGroup, &group.id, TAG), fence).await?;
    let rule = NewSecurityGroupRule {
        security_group_id: group.id.clone(),
        direction: "ingress".to_owned(),
        ethertype: "IPv4".to_owned(),
        protocol: Some("tcp".to_owned()),
        port_range_min: Some(30080),
        port_range_max: Some(30080),
        remote_ip_prefix: Some("10.77.0.0/24".to_owned()),
        description: "port 80".to_owned(),
        ..Default::default()
    };
    let made = calls.create(&SECURITY_GROUP_RULES, &rule, fence).await?;
    let again = calls.create(&SECURITY_GROUP_RULES, &rule, fence).await;
    ensure!(again.as_ref().is_err_and(|e| e.state() == Some(State::Duplicate)), "{again:?}");
    let read = calls.list(&SECURITY_GROUPS, Query::all().tags(&[TAG]), Priority::Audit).await?;
    let rules: Vec<_> =
        read.iter().flat_map(|g| &g.security_group_rules).filter(|r| r.direction == "ingress").collect();
    ensure!(rules.len() == 1 && rules[0].id == made.id && rules[0].port_range_min == Some(30080), "{read:?}");
    // In use by a port: it cannot be deleted, and that passes.
    let port = &real.cloud.instances().first().context("a node")?.port;
    let before = calls.get(&PORTS, port, Priority::Audit).await?.context("a port")?;
    let mut both = before.security_groups.clone();
    both.push(group.id.clone());
    let change = |groups: Vec<String>| PortChanges { security_groups: Some(groups), description: None };
    calls.write(&update_port(port, &change(both), before.revision_number), fence).await?;
    let used = calls.delete(&SECURITY_GROUPS, &group.id, fence).await;
    ensure!(used.as_ref().is_err_and(|e| e.state() == Some(State::InUse)), "{used:?}");
    // At the revision at which it was read before. (One that changes nothing is not refused.)
    let back = change(before.security_groups.clone());
    let stale = calls.write(&update_port(port, &back, before.revision_number), fence).await;
    ensure!(stale.as_ref().is_err_and(|e| e.state() == Some(State::Changed)), "{stale:?}");
    let now = calls.get(&PORTS, port, Priority::Audit).await?.context("a port")?;
    calls.write(&update_port(port, &back, now.revision_number), fence).await?;
    calls.delete(&SECURITY_GROUP_RULES, &made.id, fence).await?;
    calls.delete(&SECURITY_GROUPS, &group.id, fence).await?;
    Ok(())
}

async fn ports(real: &Real) -> Result<()> {
    let instance = real.cloud.instances().first().context("a node")?;
    let query = Query::all().with("device_id", instance.id.as_str());
    let ports = real.calls.list(&PORTS, query, Priority::Audit).await?;
    ensure!(
        ports.len() == 1 && ports[0].fixed_ips.len() == 2 && ports[0].device_owner == "compute:nova",
        "{ports:?}"
    );
    // Several at once, in one call.
    let many = real.cloud.instances().iter().fold(Query::all(), |q, i| q.with("device_id", i.id.as_str()));
    let all = real.calls.list(&PORTS, many.page(2), Priority::Audit).await?;
    ensure!(all.len() == real.cloud.instances().len(), "{all:?}");
    Ok(())
}

async fn secrets(real: &Real) -> Result<()> {
    let (calls, fence) = (&real.calls, &real.fence);
    let answer = calls.write(&SECRETS.create(&NewSecret::pkcs12("web-tls", "MIIB")), fence).await?;
    let reference = barbican::read_ref(&answer)?;
    let (kind, id) = barbican::parse_ref(&reference).context("a reference")?;
    ensure!(kind == barbican::Kind::Secret, "{reference}");
    let read = calls.get(&SECRETS, id, Priority::Audit).await?.context("a secret")?;
    ensure!(read.name == "web-tls" && read.status == "ACTIVE", "{read:?}");
    calls.write(&barbican::allow_read(id, &[]), fence).await?;
    let named = calls.list(&SECRETS, Query::all().with("name", "web-tls"), Priority::Audit).await?;
    ensure!(named.len() == 1, "{named:?}");
    for _ in 0..3 {
        calls.write(&SECRETS.create(&NewSecret::pkcs12("more", "MIIB")), fence).await?;
    }
    let paged = calls.list(&SECRETS, Query::all().with("name", "more").page(1), Priority::Audit).await?;
    ensure!(paged.len() == 3, "{paged:?}");
    for secret in paged.iter().chain(&named) {
        let (_, id) = barbican::parse_ref(&secret.secret_ref).context("a reference")?;
        calls.delete(&SECRETS, id, fence).await?;
        calls.delete(&SECRETS, id, fence).await.context("one that is gone")?;
    }
    ensure!(calls.get(&SECRETS, id, Priority::Audit).await?.is_none());
    ensure!(calls.list(&CONTAINERS, Query::all(), Priority::Audit).await?.is_empty());
    Ok(())
}
