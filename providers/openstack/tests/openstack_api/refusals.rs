//! What the real services refuse, in their own words, and what we make of it.

use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use causeway_bed::openstack::PASSWORD;
use causeway_openstack::api::neutron::{FLOATING_IPS, NewFloatingIp, SECURITY_GROUPS};
use causeway_openstack::api::octavia::*;
use causeway_openstack::api::{CallError, Calls, Failure, Priority};
use causeway_openstack::client::Client;
use causeway_openstack::errors::{Class, State, class};

use crate::{Real, conf, settings};

/// The class of what must have been refused.
fn refused<T: Debug>(result: Result<T, CallError>, what: &str) -> Result<Class> {
    match result {
        Err(CallError::Failed(Failure::Refused { service, status, fault, .. })) => {
            Ok(class(service, status, &fault))
        }
        other => bail!("{what}: {other:?}"),
    }
}

/// Makes a call that must be refused in this way; what is not is told at the end, with all the others.
macro_rules! refuses {
    ($wrong:ident, $call:expr, $class:pat) => {{
        let what = stringify!($call);
        match refused($call.await, what) {
            Ok($class) => {}
            Ok(other) => $wrong.push(format!("{what}: {other:?}")),
            Err(error) => $wrong.push(format!("{error:#}")),
        }
    }};
}

pub async fn all(real: &Real) -> Result<()> {
    let (calls, fence, seed) = (&real.calls, &real.fence, real.cloud.seed());
    let mut wrong: Vec<String> = Vec::new();
    let subnet = seed.subnet("nodes-subnet")?.to_owned();
    let load_balancer = |name: &str| NewLoadBalancer {
        name: name.to_owned(),
        vip_subnet_id: Some(subnet.clone()),
        ..NewLoadBalancer::default()
    };
    let made = calls.create(&LOAD_BALANCERS, &load_balancer("one"), fence).await?;
    let listener = |port| NewListener {
        name: "l".to_owned(),
        loadbalancer_id: Some(made.id.clone()),
        protocol: "HTTP".to_owned(),
        protocol_port: port,
        ..NewListener::default()
    };
    // While it is made: of the load balancer itself, and of what belongs to it.
    refuses!(wrong, calls.create(&LISTENERS, &listener(80), fence), Class::State(State::Immutable));
    let tags = LoadBalancerChanges { tags: Some(vec![]), ..Default::default() };
    refuses!(wrong, calls.update(&LOAD_BALANCERS, &made.id, &tags, fence), Class::State(State::Immutable));
    let lb = real.settled(&made.id).await?;

    let first = calls.create(&LISTENERS, &listener(80), fence).await?;
    real.settled(&lb.id).await?;
    refuses!(wrong, calls.create(&LISTENERS, &listener(80), fence), Class::State(State::Duplicate));
    let pool = |algorithm: &str| NewPool {
        name: "p".to_owned(),
        loadbalancer_id: Some(lb.id.clone()),
        protocol: "HTTP".to_owned(),
        lb_algorithm: algorithm.to_owned(),
        ..NewPool::default()
    };
    refuses!(wrong, calls.create(&POOLS, &pool("SOURCE_IP_PORT"), fence), Class::Unsupported);
    refuses!(wrong, calls.create(&POOLS, &pool("NONSENSE"), fence), Class::Invalid);
    let p = calls.create(&POOLS, &pool("ROUND_ROBIN"), fence).await?;
    real.settled(&lb.id).await?;
    let monitor = NewHealthMonitor {
        pool_id: Some(p.id.clone()),
        kind: "TCP".to_owned(),
        delay: Some(5),
        timeout: Some(3),
        max_retries: Some(1),
        ..Default::default()
    };
    calls.create(&HEALTH_MONITORS, &monitor, fence).await?;
    real.settled(&lb.id).await?;
    refuses!(wrong, calls.create(&HEALTH_MONITORS, &monitor, fence), Class::State(State::Duplicate));
    let policy = NewL7Policy {
        listener_id: Some(first.id.clone()),
        action: "REDIRECT_TO_POOL".to_owned(),
        redirect_pool_id: Some(p.id.clone()),
        ..Default::default()
    };
    let policy = calls.create(&L7_POLICIES, &policy, fence).await?;
    real.settled(&lb.id).await?;
    refuses!(wrong, calls.delete(&POOLS, &p.id, fence), Class::State(State::Referenced));
    let bad = NewL7Rule {
        kind: "HOST_NAME".to_owned(),
        compare_type: "REGEX".to_owned(),
        value: "*.example.com".to_owned(),
        ..Default::default()
    };
    refuses!(wrong, calls.create(&l7_rules(&policy.id), &bad, fence), Class::Invalid);
    refuses!(wrong, calls.delete(&LOAD_BALANCERS, &lb.id, fence), Class::Invalid);
    let twice = NewMember { address: "10.77.0.11".to_owned(), protocol_port: 80, ..Default::default() };
    refuses!(
        wrong,
        calls.write(&replace_members(&p.id, &[twice.clone(), twice], false), fence),
        Class::Invalid | Class::State(State::Duplicate)
    );

    // Of load balancers as a whole.
    let taken = NewLoadBalancer { vip_address: lb.vip_address.clone(), ..load_balancer("taken") };
    refuses!(wrong, calls.create(&LOAD_BALANCERS, &taken, fence), Class::State(State::AddressTaken));
    let flavor = NewLoadBalancer {
        flavor_id: Some("0a0a0a0a-0000-4000-8000-000000000000".to_owned()),
        ..load_balancer("f")
    };
    refuses!(
        wrong,
        calls.create(&LOAD_BALANCERS, &flavor, fence),
        Class::Invalid | Class::State(State::NotFound)
    );
    let provider = NewLoadBalancer { provider: Some("nonsense".to_owned()), ..load_balancer("p") };
    refuses!(wrong, calls.create(&LOAD_BALANCERS, &provider, fence), Class::Invalid);
    let long = NewLoadBalancer { name: "x".repeat(256), ..load_balancer("") };
    refuses!(wrong, calls.create(&LOAD_BALANCERS, &long, fence), Class::Invalid);
    let mut others = Vec::new();
    for name in ["2", "3", "4", "5", "6"] {
        others.push(calls.create(&LOAD_BALANCERS, &load_balancer(name), fence).await?.id);
    }
    let quota = refused(calls.create(&LOAD_BALANCERS, &load_balancer("7"), fence).await, "quota")?;
    ensure!(quota == Class::Quota("Octavia: Load Balancer".to_owned()), "{quota:?}");

    // Pages of a real service.
    let paged = causeway_openstack::api::Query::all().page(2);
    let all = calls.list(&LOAD_BALANCERS, paged, Priority::Audit).await?;
    ensure!(all.len() == 6, "{}", all.len());
    for id in &others {
        real.settled(id).await?;
        real.delete(id).await?;
    }

    // Whose it is not.
    let text = format!(
        "[Global]\nauth-url = {}\nusername = other\npassword = {PASSWORD}\ndomain-id = default\ntenant-name = other\n",
        real.keystone()
    );
    let foreign = Client::new(conf(&text)?.credentials, settings()).map_err(anyhow::Error::msg)?;
    let foreign = Calls::new(foreign);
    refuses!(wrong, foreign.get(&LOAD_BALANCERS, &lb.id, Priority::Audit), Class::Forbidden);
    refuses!(wrong, foreign.gone(&delete_cascade(&lb.id), fence), Class::Forbidden);
    real.delete(&lb.id).await?;

    // Neutron's.
    let floating = NewFloatingIp { floating_network_id: seed.public_network.clone(), ..Default::default() };
    let named = NewFloatingIp { floating_ip_address: Some("203.0.113.77".to_owned()), ..floating.clone() };
    refuses!(wrong, calls.create(&FLOATING_IPS, &named, fence), Class::Forbidden);
    let nowhere = NewFloatingIp {
        floating_network_id: "0a0a0a0a-0000-4000-8000-000000000000".to_owned(),
        ..Default::default()
    };
    refuses!(wrong, calls.create(&FLOATING_IPS, &nowhere, fence), Class::State(State::NotFound));
    let inner = NewFloatingIp { floating_network_id: seed.nodes_network.clone(), ..Default::default() };
    refuses!(wrong, calls.create(&FLOATING_IPS, &inner, fence), Class::Invalid);
    ensure!(calls.get(&SECURITY_GROUPS, "nonsense", Priority::Audit).await?.is_none());
    calls.list(&FLOATING_IPS, Default::default(), Priority::Audit).await.context("the client goes on")?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
