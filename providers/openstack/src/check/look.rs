//! Reads a project for `causeway check`: each read that the controller makes, once. I/O; nothing is changed.

use causeway_api::check::{Outcome, note};
use serde_json::{Value, json};

use super::{Known, Seen};
use crate::api::barbican::SECRETS;
use crate::api::nova::SERVERS;
use crate::api::octavia::{self, l7_rules, members};
use crate::api::{CallError, Calls, Collection, Failure, Priority, Query, Request, Service, neutron};
use crate::client::Who;
use crate::observe::read::PAGE;

/// Where there is nothing yet to ask about, what nobody has is asked about: "not found" means that one may ask.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

struct Look<A> {
    calls: Calls<A>,
    who: Who,
    seen: Seen,
}

/// How much depends on a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing works without it.
    Always,
    /// Decisions do without it.
    Sometimes,
}

/// How a call ended, as far as the right to it goes; `None`: this cloud does not offer that.
fn outcome<T>(answer: &Result<T, CallError>, need: Need) -> Option<Outcome> {
    match answer {
        Ok(_) => Some(Outcome::Allowed),
        Err(CallError::Failed(failure @ Failure::Refused { status, .. })) => match status {
            401 | 403 => Some(Outcome::Denied(failure.to_string())),
            400 | 404 | 405 | 501 if need == Need::Sometimes => None,
            404 => Some(Outcome::Allowed),
            _ => Some(Outcome::Unknown(failure.to_string())),
        },
        Err(error) => Some(Outcome::Unknown(error.to_string())),
    }
}

impl<A: Known> Look<A> {
    /// Whether the catalog has a service for us.
    fn has(&self, service: Service) -> bool {
        matches!(self.who.places.get(&service), Some(Ok(_)))
    }

    fn tried<T>(&mut self, request: &Request, need: Need, answer: Result<T, CallError>) -> Option<T> {
        let name = format!("{} GET {}", request.service.product(), request.path);
        let tried = if need == Need::Always { &mut self.seen.reads } else { &mut self.seen.optional };
        match outcome(&answer, need) {
            Some(outcome) => note(tried, name, outcome),
            None => self.seen.absent.push(name),
        }
        answer.ok()
    }

    async fn one(&mut self, request: Request, need: Need) -> Option<Value> {
        let answer = self.calls.read(&request, Priority::Change).await;
        self.tried(&request, need, answer)
    }

    /// A whole list, kept as an answer where decisions use it.
    async fn list<R>(&mut self, of: &Collection<R>, query: Query, need: Need, kept: bool) -> Vec<Value> {
        let answer = self.calls.answer(of, query, Priority::Change).await;
        let Some((key, answer)) = self.tried(&of.list(Query::all()), need, answer) else { return Vec::new() };
        let all = answer.get(of.many()).and_then(Value::as_array).cloned().unwrap_or_default();
        if kept {
            self.keep(&key, answer);
        }
        all
    }

    fn keep(&mut self, key: &str, answer: Value) {
        if let Err(why) = self.seen.answers.put(key, answer) {
            note(&mut self.seen.reads, key.to_owned(), Outcome::Unknown(why));
        }
    }

    /// Those of our project: who sees more than one (an administrator) has the quota of one all the same.
    fn own<'v>(&self, all: &'v [Value]) -> impl Iterator<Item = &'v Value> + use<'v, A> {
        let project = self.who.project.clone();
        all.iter().filter(move |one| one["project_id"].as_str().is_none_or(|of| of == project))
    }

    fn count(&mut self, name: &'static str, all: &[Value]) {
        let count = self.own(all).count();
        self.seen.used.insert(name, count);
    }

    /// Counts what each of ours has in a list of its own.
    fn count_in(&mut self, name: &'static str, all: &[Value], field: &str) {
        let count = self.own(all).map(|one| one[field].as_array().map_or(0, Vec::len)).sum();
        self.seen.used.insert(name, count);
    }

    async fn octavia(&mut self) {
        let versions = self.one(Request::versions(Service::LoadBalancer), Need::Always).await;
        if let Some(versions) = versions {
            self.keep("GET /", versions);
        }
        let page = || Query::all().page(PAGE);
        self.list(&octavia::PROVIDERS, Query::all(), Need::Sometimes, true).await;
        self.list(&octavia::FLAVORS, Query::all(), Need::Sometimes, true).await;
        self.list(&octavia::AVAILABILITY_ZONES, Query::all(), Need::Sometimes, true).await;
        let lbs = self.list(&octavia::LOAD_BALANCERS, page(), Need::Always, true).await;
        self.count("load_balancer", &lbs);
        let listeners = self.list(&octavia::LISTENERS, page(), Need::Always, false).await;
        self.count("listener", &listeners);
        let pools = self.list(&octavia::POOLS, page(), Need::Always, false).await;
        self.count("pool", &pools);
        self.count_in("member", &pools, "members");
        let monitors = self.list(&octavia::HEALTH_MONITORS, page(), Need::Always, false).await;
        self.count("health_monitor", &monitors);
        let policies = self.list(&octavia::L7_POLICIES, page(), Need::Always, false).await;
        self.count("l7policy", &policies);
        self.count_in("l7rule", &policies, "rules");
        // Of each kind one is asked about.
        let id = |all: &[Value]| all.first().and_then(|one| one["id"].as_str()).unwrap_or(NOBODY).to_owned();
        let pool = members(&id(&pools)).list(Query::all());
        let answer = self.calls.read(&pool, Priority::Change).await;
        self.tried(
            &Request { path: "/v2.0/lbaas/pools/POOL/members".to_owned(), ..pool },
            Need::Always,
            answer,
        );
        let policy = l7_rules(&id(&policies)).list(Query::all());
        let answer = self.calls.read(&policy, Priority::Change).await;
        let named = Request { path: "/v2.0/lbaas/l7policies/POLICY/rules".to_owned(), ..policy };
        self.tried(&named, Need::Always, answer);
        self.quota(&octavia::QUOTAS.untyped(), "GET /v2.0/lbaas/quotas/PROJECT").await;
    }

    async fn neutron(&mut self) {
        let page = || Query::all().page(PAGE);
        self.list(&neutron::NETWORKS, page(), Need::Always, true).await;
        self.list(&neutron::SUBNETS, page(), Need::Always, true).await;
        let fields = ["id", "project_id", "device_id", "fixed_ips"];
        let ports = self.list(&neutron::PORTS, page().fields(&fields), Need::Always, true).await;
        self.count("port", &ports);
        self.list(&neutron::EXTENSIONS, Query::all(), Need::Sometimes, true).await;
        let addresses = self.list(&neutron::FLOATING_IPS, page(), Need::Always, true).await;
        self.count("floatingip", &addresses);
        let groups = self.list(&neutron::SECURITY_GROUPS, page(), Need::Always, false).await;
        self.count("security_group", &groups);
        self.count_in("security_group_rule", &groups, "security_group_rules");
        self.quota(&neutron::QUOTAS.untyped(), "GET /v2.0/quotas/PROJECT").await;
    }

    async fn quota(&mut self, of: &Collection<Value>, key: &str) {
        let request = of.get(&self.who.project);
        let answer = self.calls.read(&request, Priority::Change).await;
        let path = key.trim_start_matches("GET ").to_owned();
        let answer = self.tried(&Request { path, ..request }, Need::Sometimes, answer);
        let Some(Ok(quota)) = answer.map(|answer| of.read_one(answer)) else { return };
        // Some releases say whose they are among them.
        let numbers = quota.as_object().into_iter().flatten().filter(|(_, v)| v.is_number() || v.is_null());
        let numbers: serde_json::Map<_, _> = numbers.map(|(k, v)| (k.clone(), v.clone())).collect();
        self.keep(key, json!({ "quota": numbers }));
    }
}

/// Looks at a project.
pub async fn look<A: Known>(api: A) -> Seen {
    let who = match api.who().await {
        Ok(who) => who,
        Err(error) => return Seen::nothing(Err(error)),
    };
    let mut look = Look { calls: Calls::new(api), who: who.clone(), seen: Seen::nothing(Ok(who)) };
    let kinds: Vec<Value> = look.who.kinds.iter().map(|kind| json!({ "type": kind })).collect();
    look.keep("GET /v3/auth/catalog", json!({ "catalog": kinds }));
    if look.has(Service::LoadBalancer) {
        look.octavia().await;
    }
    if look.has(Service::Network) {
        look.neutron().await;
    }
    if look.has(Service::KeyManager) {
        look.one(SECRETS.list(Query::all().page(1)), Need::Sometimes).await;
    }
    if look.has(Service::Compute) {
        look.one(SERVERS.list(Query::all().page(1)), Need::Sometimes).await;
    }
    look.seen
}
