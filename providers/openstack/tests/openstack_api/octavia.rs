//! Octavia: what it can do, a load balancer made in one call, looked at, changed, and deleted.

use anyhow::{Context, Result, ensure};
use causeway_openstack::api::octavia::*;
use causeway_openstack::api::{Feature, Priority, Query};
use causeway_openstack::posted::{Kind, posted};
use serde_json::{Value, json};

use crate::Real;

pub async fn all(real: &Real) -> Result<()> {
    what_it_can_do(real).await?;
    one_load_balancer(real).await
}

async fn what_it_can_do(real: &Real) -> Result<()> {
    let calls = &real.calls;
    let version = calls.octavia_version().await?;
    ensure!(Feature::ALL.iter().all(|feature| version.has(*feature)), "{version}");
    let providers = calls.list(&PROVIDERS, Query::all(), Priority::Audit).await?;
    ensure!(providers.iter().any(|p| p.name == "amphora"), "{providers:?}");
    let flavors = calls.list(&FLAVORS, Query::all(), Priority::Audit).await?;
    ensure!(flavors.iter().any(|f| f.name == "single" && f.enabled == Some(true)), "{flavors:?}");
    let zones = calls.list(&AVAILABILITY_ZONES, Query::all(), Priority::Audit).await?;
    ensure!(zones.iter().any(|z| z.name == "az1"), "{zones:?}");
    let project = calls.api.project().await?;
    let quota = calls.get(&QUOTAS, &project, Priority::Audit).await?.context("quotas")?;
    ensure!(quota.loadbalancer == Some(6), "{quota:?}");
    Ok(())
}

const CLUSTER: &str = "causeway.io/cluster=c1";
const OWNER: &str = "causeway.io/owner=service/1-2";

/// One with everything in it.
fn wanted(real: &Real) -> Result<NewLoadBalancer> {
    let named = |name: &str| NewPool { name: name.to_owned(), ..NewPool::default() };
    let member = |address: &str| NewMember {
        name: "node".to_owned(),
        address: address.to_owned(),
        protocol_port: 30080,
        ..NewMember::default()
    };
    Ok(NewLoadBalancer {
        name: "web".to_owned(),
        description: OWNER.to_owned(),
        vip_subnet_id: Some(real.cloud.seed().subnet("nodes-subnet")?.to_owned()),
        provider: Some("amphora".to_owned()),
        tags: vec![CLUSTER.to_owned(), OWNER.to_owned()],
        additional_vips: vec![AdditionalVip {
            subnet_id: real.cloud.seed().subnet("nodes-subnet-v6")?.to_owned(),
            ip_address: None,
        }],
        listeners: vec![NewListener {
            name: "http".to_owned(),
            protocol: "HTTP".to_owned(),
            protocol_port: 80,
            default_pool: Some(named("p")),
            allowed_cidrs: Some(vec!["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()]),
            insert_headers: [("X-Forwarded-For".to_owned(), "true".to_owned())].into(),
            timeout_client_data: Some(60_000),
            l7policies: vec![NewL7Policy {
                name: "path".to_owned(),
                action: "REDIRECT_TO_POOL".to_owned(),
                redirect_pool: Some(named("p")),
                rules: vec![NewL7Rule {
                    kind: "PATH".to_owned(),
                    compare_type: "REGEX".to_owned(),
                    value: "^/foo(/.*)?$".to_owned(),
                    ..NewL7Rule::default()
                }],
                ..NewL7Policy::default()
            }],
            ..NewListener::default()
        }],
        pools: vec![NewPool {
            name: "p".to_owned(),
            protocol: "HTTP".to_owned(),
            lb_algorithm: "ROUND_ROBIN".to_owned(),
            session_persistence: Some(SessionPersistence {
                kind: "SOURCE_IP".to_owned(),
                ..SessionPersistence::default()
            }),
            healthmonitor: Some(NewHealthMonitor {
                kind: "HTTP".to_owned(),
                delay: Some(5),
                timeout: Some(3),
                max_retries: Some(1),
                url_path: Some("/healthz".to_owned()),
                ..NewHealthMonitor::default()
            }),
            members: vec![member("10.77.0.11"), member("10.77.0.12")],
            ..NewPool::default()
        }],
        ..NewLoadBalancer::default()
    })
}

async fn one_load_balancer(real: &Real) -> Result<()> {
    let (calls, fence) = (&real.calls, &real.fence);
    real.afresh();
    let made = calls.create(&LOAD_BALANCERS, &wanted(real)?, fence).await?;
    ensure!(made.provisioning_status == Provisioning::PendingCreate, "{made:?}");
    ensure!(real.count("load-balancer:POST *") == 1, "one call");
    let pending = calls.gone(&delete_cascade(&made.id), fence).await;
    ensure!(
        pending.as_ref().is_err_and(|e| e.state() == Some(causeway_openstack::errors::State::Immutable)),
        "{pending:?}"
    );
    let lb = real.settled(&made.id).await?;
    ensure!(lb.vip_address.is_some() && lb.vip_port_id.is_some() && lb.additional_vips.len() == 1, "{lb:?}");
    ensure!(lb.additional_vips[0].ip_address.as_deref().is_some_and(|a| a.starts_with("fd77")), "{lb:?}");

    // By tags, with few fields: what finds drift.
    let brief = Query::all().tags(&[CLUSTER, OWNER]).fields(&["id", "updated_at", "provisioning_status"]);
    let found = calls.list(&LOAD_BALANCERS, brief.clone(), Priority::Audit).await?;
    ensure!(found.len() == 1 && found[0].id == lb.id && found[0].name.is_empty(), "{found:?}");
    let none =
        calls.list(&LOAD_BALANCERS, Query::all().tags(&["causeway.io/cluster=c2"]), Priority::Audit).await?;
    ensure!(none.is_empty(), "{none:?}");

    // Everything of it reads as it was written.
    let of = Query::all().with("load_balancer_id", lb.id.as_str());
    let listener = only(calls.list(&LISTENERS, of.clone(), Priority::Audit).await?)?;
    ensure!(listener.protocol == "HTTP" && listener.timeout_client_data == Some(60_000), "{listener:?}");
    ensure!(listener.allowed_cidrs.as_ref().is_some_and(|cidrs| cidrs.len() == 2), "{listener:?}");
    ensure!(
        listener.insert_headers.get("X-Forwarded-For").map(String::as_str) == Some("true"),
        "{listener:?}"
    );
    let pool = only(
        calls.list(&POOLS, Query::all().with("loadbalancer_id", lb.id.as_str()), Priority::Audit).await?,
    )?;
    ensure!(listener.default_pool_id.as_deref() == Some(&pool.id), "{pool:?}");
    ensure!(pool.session_persistence.as_ref().is_some_and(|s| s.kind == "SOURCE_IP"), "{pool:?}");
    let monitor = pool.healthmonitor_id.clone().context("a health monitor")?;
    let monitor =
        calls.get(&HEALTH_MONITORS, &monitor, Priority::Audit).await?.context("a health monitor")?;
    ensure!(
        monitor.kind == "HTTP" && monitor.url_path.as_deref() == Some("/healthz") && monitor.delay == Some(5),
        "{monitor:?}"
    );
    let policy = only(
        calls
            .list(&L7_POLICIES, Query::all().with("listener_id", listener.id.as_str()), Priority::Audit)
            .await?,
    )?;
    ensure!(policy.redirect_pool_id.as_deref() == Some(&pool.id) && policy.position == Some(1), "{policy:?}");
    let rule = only(calls.list(&l7_rules(&policy.id), Query::all(), Priority::Audit).await?)?;
    ensure!(rule.value == "^/foo(/.*)?$" && rule.compare_type == "REGEX", "{rule:?}");
    let members_of = async || calls.list(&members(&pool.id), Query::all(), Priority::Audit).await;
    ensure!(members_of().await?.len() == 2);
    let tree = read_status(calls.read(&status(&lb.id), Priority::Audit).await?)?;
    ensure!(tree.listeners.first().is_some_and(|l| l.pools.iter().any(|p| p.members.len() == 2)), "{tree:?}");

    as_it_was_posted(real, &lb, &pool, &policy).await?;

    // Members in one call: one goes, one comes, one gets another weight.
    let member = |address: &str, weight| NewMember {
        address: address.to_owned(),
        protocol_port: 30080,
        weight,
        ..NewMember::default()
    };
    let set = [member("10.77.0.12", Some(3)), member("10.77.0.13", None)];
    calls.write(&replace_members(&pool.id, &set, false), fence).await?;
    let after = real.settled(&lb.id).await?;
    ensure!(after.updated_at != lb.updated_at, "drift would not be seen: {after:?}");
    let mut now: Vec<_> = members_of().await?.into_iter().map(|m| (m.address, m.weight)).collect();
    now.sort();
    ensure!(now == [("10.77.0.12".to_owned(), Some(3)), ("10.77.0.13".to_owned(), Some(1))], "{now:?}");
    calls.write(&replace_members(&pool.id, &[member("10.77.0.14", None)], true), fence).await?;
    real.settled(&lb.id).await?;
    ensure!(members_of().await?.len() == 3, "the others stay");

    changes(real, &lb, &listener, &pool, &policy).await?;
    real.delete(&lb.id).await?;
    ensure!(
        calls
            .list(&LOAD_BALANCERS, brief, Priority::Audit)
            .await?
            .iter()
            .all(|lb| lb.provisioning_status == Provisioning::Deleted)
    );
    calls.gone(&delete_cascade(&lb.id), fence).await.context("what is gone already")
}

/// In the form of POST, what is read is what was written: nothing would be changed.
async fn as_it_was_posted(real: &Real, lb: &LoadBalancer, pool: &Pool, policy: &L7Policy) -> Result<()> {
    let calls = &real.calls;
    let body = json!(wanted(real)?);
    let of = Query::all().with("load_balancer_id", lb.id.as_str());
    let of_pool = Query::all().with("loadbalancer_id", lb.id.as_str());
    let mut listener = body["listeners"][0].clone();
    listener["loadbalancer_id"] = json!(lb.id);
    listener["default_pool_id"] = json!(pool.id);
    let mut in_pool = body["pools"][0].clone();
    in_pool["loadbalancer_id"] = json!(lb.id);
    let mut monitor = in_pool["healthmonitor"].clone();
    monitor["pool_id"] = json!(pool.id);
    // What holds for health checks by HTTP if nothing is said.
    for (field, value) in
        [("max_retries_down", json!(3)), ("http_method", json!("GET")), ("expected_codes", json!("200"))]
    {
        monitor[field] = value;
    }
    let mut redirect = listener["l7policies"][0].clone();
    let rule = redirect["rules"][0].clone();
    for (field, value) in [
        ("listener_id", json!(policy.listener_id)),
        ("redirect_pool_id", json!(pool.id)),
        ("position", json!(1)),
    ] {
        redirect[field] = value;
    }
    let the_policy = Some(policy.id.as_str());
    let cases = [
        (Kind::Listener, listener, calls.list(&LISTENERS.untyped(), of, Priority::Audit).await?),
        (Kind::Pool, in_pool.clone(), calls.list(&POOLS.untyped(), of_pool, Priority::Audit).await?),
        (
            Kind::HealthMonitor,
            monitor,
            calls
                .list(
                    &HEALTH_MONITORS.untyped(),
                    Query::all().with("pool_id", pool.id.as_str()),
                    Priority::Audit,
                )
                .await?,
        ),
        (
            Kind::L7Policy,
            redirect,
            calls
                .list(
                    &L7_POLICIES.untyped(),
                    Query::all().with("listener_id", policy.listener_id.as_str()),
                    Priority::Audit,
                )
                .await?,
        ),
        (
            Kind::L7Rule,
            rule,
            calls.list(&l7_rules(&policy.id).untyped(), Query::all(), Priority::Audit).await?,
        ),
    ];
    for (kind, written, read) in cases {
        let (want, have) = (posted(kind, &written, the_policy), posted(kind, &only(read)?, the_policy));
        ensure!(want == have, "{kind:?}\n written {want}\n read    {have}");
    }
    let read = calls.list(&members(&pool.id).untyped(), Query::all(), Priority::Audit).await?;
    let sorted = |all: &[Value]| {
        let mut all: Vec<String> = all.iter().map(|m| posted(Kind::Member, m, None).to_string()).collect();
        all.sort();
        all
    };
    let written = in_pool["members"].as_array().context("members")?;
    ensure!(sorted(&read) == sorted(written), "{read:?}");
    Ok(())
}

/// Each kind of change, and what is cleared.
async fn changes(
    real: &Real,
    lb: &LoadBalancer,
    listener: &Listener,
    pool: &Pool,
    policy: &L7Policy,
) -> Result<()> {
    let (calls, fence) = (&real.calls, &real.fence);
    let body = LoadBalancerChanges {
        tags: Some(vec![CLUSTER.to_owned(), OWNER.to_owned(), "causeway.io/applied=dirty".to_owned()]),
        ..Default::default()
    };
    let tagged = calls.update(&LOAD_BALANCERS, &lb.id, &body, fence).await?;
    ensure!(tagged.tags.len() == 3, "{tagged:?}");
    real.settled(&lb.id).await?;
    let body = ListenerChanges {
        default_pool_id: Some(None),
        allowed_cidrs: Some(None),
        connection_limit: Some(100),
        ..Default::default()
    };
    calls.update(&LISTENERS, &listener.id, &body, fence).await?;
    real.settled(&lb.id).await?;
    let now = calls.get(&LISTENERS, &listener.id, Priority::Audit).await?.context("a listener")?;
    ensure!(now.default_pool_id.is_none() && now.connection_limit == Some(100), "{now:?}");
    ensure!(now.allowed_cidrs.unwrap_or_default().is_empty(), "cleared");
    let body = PoolChanges {
        session_persistence: Some(None),
        lb_algorithm: Some("SOURCE_IP".to_owned()),
        ..Default::default()
    };
    calls.update(&POOLS, &pool.id, &body, fence).await?;
    real.settled(&lb.id).await?;
    let now = calls.get(&POOLS, &pool.id, Priority::Audit).await?.context("a pool")?;
    ensure!(now.session_persistence.is_none() && now.lb_algorithm == "SOURCE_IP", "{now:?}");
    let body =
        HealthMonitorChanges { delay: Some(9), url_path: Some("/ready".to_owned()), ..Default::default() };
    let monitor = pool.healthmonitor_id.clone().context("a health monitor")?;
    calls.update(&HEALTH_MONITORS, &monitor, &body, fence).await?;
    real.settled(&lb.id).await?;
    // A policy that comes later: off, its rules, then on.
    let body = NewL7Policy {
        name: "later".to_owned(),
        listener_id: Some(listener.id.clone()),
        action: "REDIRECT_TO_POOL".to_owned(),
        redirect_pool_id: Some(pool.id.clone()),
        position: Some(1),
        admin_state_up: Some(false),
        ..Default::default()
    };
    let later = calls.create(&L7_POLICIES, &body, fence).await?;
    real.settled(&lb.id).await?;
    let body = NewL7Rule {
        kind: "HOST_NAME".to_owned(),
        compare_type: "EQUAL_TO".to_owned(),
        value: "a.example".to_owned(),
        ..Default::default()
    };
    let rule = calls.create(&l7_rules(&later.id), &body, fence).await?;
    real.settled(&lb.id).await?;
    calls
        .update(&l7_rules(&later.id), &rule.id, &NewL7Rule { value: "b.example".to_owned(), ..body }, fence)
        .await?;
    real.settled(&lb.id).await?;
    let body = L7PolicyChanges { admin_state_up: Some(true), ..Default::default() };
    calls.update(&L7_POLICIES, &later.id, &body, fence).await?;
    real.settled(&lb.id).await?;
    let moved = calls.get(&L7_POLICIES, &policy.id, Priority::Audit).await?.context("a policy")?;
    ensure!(moved.position == Some(2), "the new one is before it: {moved:?}");
    for (request, what) in [
        (l7_rules(&later.id).delete(&rule.id), "rule"),
        (L7_POLICIES.delete(&later.id), "policy"),
        (HEALTH_MONITORS.delete(&monitor), "health monitor"),
        (LISTENERS.delete(&listener.id), "listener"),
    ] {
        calls.gone(&request, fence).await.context(what)?;
        real.settled(&lb.id).await?;
        calls.gone(&request, fence).await.with_context(|| format!("{what} that is gone"))?;
    }
    Ok(())
}

fn only<T: std::fmt::Debug>(list: Vec<T>) -> Result<T> {
    ensure!(list.len() == 1, "not one: {list:?}");
    list.into_iter().next().context("one")
}
