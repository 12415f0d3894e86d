//! Ingresses to the stack of one load balancer. Pure.
//!
//! One Ingress, or several of one namespace that name one group. A listener with HTTP on port 80, one with HTTPS on 443 where there is a certificate; every
//! route is a policy, in the order of precedence, that sends to the pool of its backend. Octavia answers 503 where nothing serves: a backend that is
//! missing, and an Ingress that is not served in a group, have a pool without members, so that nobody else gets their requests.

mod front;
mod policies;
pub mod rules;

use std::collections::BTreeSet;

use causeway_api::{
    Backend, Certificate, HttpBody, LoadBalancer, ObjectRef, Problem, Protocol, Route, names,
};

use self::front::Front;
use self::policies::Routed;
use crate::annotations::{Scope, ingress, reasons};
use crate::certificates;
use crate::facts::Facts;
use crate::health::{self, Checked};
use crate::l4::once;
use crate::member::Served;
use crate::members::{MemberSubnet, Target, targets};
use crate::naming::{self, shortened};
use crate::nodes::Nodes;
use crate::ownership::Mark;
use crate::quotas;
use crate::security::{self, Opened, secure};
use crate::stack::{
    Algorithm, ListenerSpec, MemberPart, OctaviaProtocol, OctaviaStack, PoolSpec, ResourceType, SecretSpec,
    Shown, Token,
};

/// Id of the listener with HTTP.
pub const HTTP: &str = "TCP-80";
/// Id of the listener with HTTPS.
pub const HTTPS: &str = "TCP-443";
/// Id of the pool without members.
pub const UNAVAILABLE: &str = "Unavailable";

/// Headers that backends are told the client by.
const HEADERS: [&str; 3] = ["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];

/// The stack of the Ingresses of one key.
#[must_use]
pub fn desired(
    lb: &LoadBalancer,
    http: &HttpBody,
    facts: &Facts,
    nodes: &Nodes,
) -> (OctaviaStack, Vec<Problem>) {
    let mut problems = Vec::new();
    let mark = Mark { cluster: facts.cluster.id.clone(), owner: lb.key.owner_tag() };
    let mut stack = OctaviaStack {
        mark: mark.clone(),
        serial_calls: facts.options.serial_calls,
        cascade_delete: facts.options.cascade_delete,
        ..OctaviaStack::default()
    };
    let mut members: Vec<Served<'_>> =
        lb.members.iter().map(|member| Served::read(Scope::Ingress, member, &mut problems)).collect();
    for served in &members {
        if let Some(Err(why)) = served.member.group() {
            problems.push(Problem::error(
                served.object(),
                format!("metadata.annotations[{}]", names::ANNOTATION_GROUP),
                reasons::INVALID,
                format!("{why}; it has a load balancer of its own"),
            ));
        }
    }
    let can = !facts.cluster.id.is_empty();
    let Some(front) = can.then(|| agreed(lb, &mut members, facts, nodes, &mark, &mut problems)).flatten()
    else {
        stack.frozen = !lb.members.is_empty();
        stack.told = members.iter().map(|m| told(m, true, BTreeSet::new())).collect();
        return (stack, once(problems));
    };
    problems.extend(nodes.problems.iter().cloned());
    let mut builder = Builder {
        facts,
        front: &front,
        nodes,
        members: &members,
        stack: &mut stack,
        problems: &mut problems,
        opened: Opened::default(),
    };
    let certificates = builder.certificates(&http.certificates);
    let kept = facts.kept.is_some();
    let kept_routes = if kept { builder.kept_routes(http) } else { Vec::new() };
    let routes = if kept { Vec::new() } else { builder.routes(http, &certificates) };
    let default = http
        .default_backend
        .as_ref()
        .filter(|(member, _)| members.get(*member).is_some_and(|m| !m.settings.refused))
        .map(|(member, backend)| builder.pool(*member, backend));
    let object_of =
        |index: usize| members.get(index).map_or_else(|| lb_object(lb), |m: &Served<'_>| m.object());
    let mut listeners = BTreeSet::new();
    for (id, port, https) in [(HTTP, 80, false), (HTTPS, 443, true)] {
        // The peer serves by HTTPS alone where there is a certificate.
        let unwanted =
            if https { certificates.secrets.is_empty() } else { kept && !certificates.secrets.is_empty() };
        if unwanted {
            continue;
        }
        listeners.insert(id.to_owned());
        let listener = builder.listener(id, port, https.then_some(&certificates), default.as_deref());
        builder.stack.listeners.insert(id.to_owned(), listener);
        if kept {
            policies::add_kept(builder.stack, id, port, &kept_routes);
        } else {
            policies::add(builder.stack, id, https, &routes, &object_of, builder.problems);
        }
    }
    let opened = builder.opened;
    if facts.options.manage_security_groups {
        secure(&mut stack, &lb.key, facts, opened);
    }
    stack.load_balancer = Some(front.spec);
    stack.floating_ip = front.floating_ip;
    stack.former_address = front.former_address;
    stack.told = members.iter().map(|m| told(m, m.settings.refused, listeners.clone())).collect();
    if let Some(oldest) = lb.members.first() {
        problems.extend(quotas::exceeded(&stack, facts, &oldest.object));
    }
    (stack, once(problems))
}

fn lb_object(lb: &LoadBalancer) -> ObjectRef {
    lb.members.first().map_or_else(|| ObjectRef::ingress("", lb.key.id(), ""), |m| m.object.clone())
}

fn told(served: &Served<'_>, refused: bool, listeners: BTreeSet<String>) -> MemberPart {
    MemberPart { object: served.object(), ports: Vec::new(), shown: Shown::Addresses, listeners, refused }
}

/// The load balancer on which the members agree; see the same of Services.
fn agreed(
    lb: &LoadBalancer,
    members: &mut [Served<'_>],
    facts: &Facts,
    nodes: &Nodes,
    mark: &Mark,
    problems: &mut Vec<Problem>,
) -> Option<Front> {
    loop {
        if members.iter().all(|m| m.settings.refused) {
            return None;
        }
        let mut found = Vec::new();
        match front::build(&lb.key, members, facts, nodes, mark, &mut found) {
            Ok(front) => {
                problems.append(&mut found);
                return Some(front);
            }
            Err(fault) => {
                problems.push(fault.problem);
                let holder = members.iter_mut().find(|m| m.member.object == fault.holder)?;
                holder.settings.refused = true;
                if !holder.forget(fault.wish) {
                    return None;
                }
            }
        }
    }
}

/// Certificates that there are.
#[derive(Default)]
struct Certificates {
    /// Ids of secrets, those of the oldest Ingress first.
    secrets: Vec<String>,
    /// Hosts that have one.
    hosts: BTreeSet<String>,
}

impl Certificates {
    fn serve(&self, host: &str) -> bool {
        let wildcard = || host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        self.hosts.contains(host) || wildcard().is_some_and(|w| self.hosts.contains(&w))
    }
}

struct Builder<'x, 'a> {
    facts: &'x Facts,
    front: &'x Front,
    nodes: &'x Nodes,
    members: &'x [Served<'a>],
    stack: &'x mut OctaviaStack,
    problems: &'x mut Vec<Problem>,
    opened: Opened,
}

impl Builder<'_, '_> {
    /// The secrets of certificates; what is missing was said where Secrets were looked up.
    fn certificates(&mut self, all: &[Certificate]) -> Certificates {
        let mut found = Certificates::default();
        let no_barbican = self.facts.cloud.lacks_service("key-manager");
        for certificate in all {
            let Some(served) = self.members.get(certificate.member).filter(|m| !m.settings.refused) else {
                continue;
            };
            let Some(secret) = &certificate.secret else {
                let what = format!(
                    "hosts {} have no certificate, as no Secret is named: write secretName",
                    certificate.hosts.join(", ")
                );
                self.problems.push(Problem::warning(served.object(), "spec.tls", reasons::NOT_FOUND, what));
                continue;
            };
            if no_barbican {
                let what = "its hosts are served by HTTP only: this cloud has no Barbican (key-manager is not in its catalog), from which Octavia takes \
                            certificates; have it installed, or take tls away";
                self.problems.push(Problem::error(
                    served.object(),
                    "spec.tls",
                    names::events::UNSUPPORTED,
                    what,
                ));
                continue;
            }
            if let Some(why) = self.facts.useless.get(secret) {
                let what =
                    format!("Secret {secret} cannot be used, its hosts are served by HTTP only: {why}");
                self.problems.push(Problem::error(served.object(), "spec.tls", certificates::USELESS, what));
                continue;
            }
            let Some(version) = &certificate.secret_version else { continue };
            if !self.stack.secrets.contains_key(secret) {
                let name = naming::secret(&self.stack.mark, secret, version);
                self.stack.secrets.insert(secret.clone(), SecretSpec::of(name, secret, version));
                found.secrets.push(secret.clone());
            }
            if certificate.hosts.is_empty() {
                // Without hosts it is for all that the Ingress names.
                let rules = served.member.ingress().map_or(&[][..], |i| &i.rules);
                found.hosts.extend(rules.iter().map(|r| r.host.clone()));
            }
            found.hosts.extend(certificate.hosts.iter().cloned());
        }
        found
    }

    fn routes<'r>(&mut self, http: &'r HttpBody, certificates: &Certificates) -> Vec<Routed<'r>> {
        let mut routes = Vec::new();
        for route in &http.routes {
            let Some(served) = self.members.get(route.member) else { continue };
            let pool = if served.settings.refused {
                self.unavailable()
            } else {
                self.pool(route.member, &route.backend)
            };
            let wishes = certificates.serve(&route.host)
                && served.settings.bool(&ingress::SSL_REDIRECT) != Some(false);
            // A redirect of Octavia names one host.
            let one_host = !route.host.is_empty() && !route.host.starts_with("*.");
            if wishes && !one_host && served.settings.bool(&ingress::SSL_REDIRECT) == Some(true) {
                let what = format!(
                    "requests for {:?} are served by HTTP too: a redirect of Octavia cannot name it; write hosts one by one, or take it away",
                    route.host
                );
                self.problems.push(served.warn(&ingress::SSL_REDIRECT, names::events::UNSUPPORTED, what));
            }
            match Routed::of(route, pool, wishes && one_host) {
                Ok(routed) => routes.push(routed),
                Err(why) => self.problems.push(Problem::warning(
                    served.object(),
                    "spec.rules",
                    names::events::UNSUPPORTED,
                    format!("path {} of host {:?} is not served: {why}", route.path, route.host),
                )),
            }
        }
        routes
    }

    /// Routes in the order of the Ingress, with their pools.
    fn kept_routes<'r>(&mut self, http: &'r HttpBody) -> Vec<(&'r Route, String)> {
        let place = |route: &Route| {
            let rules = self.members.get(route.member)?.member.ingress().map(|i| &i.rules)?;
            let mut paths = rules.iter().flat_map(|rule| rule.paths.iter().map(|path| (&rule.host, path)));
            paths.position(|(host, path)| {
                (host, &path.path, path.matching) == (&route.host, &route.path, route.matching)
            })
        };
        let mut routes: Vec<&Route> = http.routes.iter().collect();
        routes.sort_by_key(|route| place(route));
        routes.into_iter().map(|route| (route, self.pool(route.member, &route.backend))).collect()
    }

    fn listener(
        &self,
        id: &str,
        port: u16,
        certificates: Option<&Certificates>,
        default_pool: Option<&str>,
    ) -> ListenerSpec {
        let [client, connect, member, inspect] = self.front.timeouts;
        let secrets = certificates.map_or(&[][..], |c| &c.secrets);
        let headers = if self.facts.kept.is_some() { &[][..] } else { &HEADERS[..] };
        ListenerSpec {
            loadbalancer_id: OctaviaStack::load_balancer_token(None),
            name: shortened(&format!("listener_{id}_{}", self.front.spec.name)),
            protocol: if certificates.is_some() {
                OctaviaProtocol::TerminatedHttps
            } else {
                OctaviaProtocol::Http
            },
            protocol_port: port,
            default_pool_id: default_pool.map(|pool| Token::of(ResourceType::Pool, pool)),
            connection_limit: Some(-1),
            allowed_cidrs: self.front.allowed_cidrs.clone(),
            insert_headers: headers.iter().map(|h| ((*h).to_owned(), "true".to_owned())).collect(),
            timeout_client_data: client,
            timeout_member_connect: connect,
            timeout_member_data: member,
            timeout_tcp_inspect: inspect,
            default_tls_container_ref: secrets.first().map(Token::secret),
            sni_container_refs: secrets.iter().map(Token::secret).collect(),
        }
    }

    /// Id of the pool without members, which is made on first use.
    fn unavailable(&mut self) -> String {
        let name = shortened(&format!("pool_unavailable_{}", self.front.spec.name));
        let spec = pool_spec(name);
        self.stack.pools.entry(UNAVAILABLE.to_owned()).or_insert(spec);
        UNAVAILABLE.to_owned()
    }

    /// Id of the pool of a backend, which is made on first use.
    fn pool(&mut self, member: usize, backend: &Backend) -> String {
        let (facts, front) = (self.facts, self.front);
        let object = self.members.get(member).map(Served::object);
        // What is missing was said where backends were resolved, but for actions, which no annotation here holds.
        let (Some(node_port), Some(port), Some(object)) = (backend.node_port, backend.service_port, object)
        else {
            if backend.port.is_empty()
                && let Some(served) = self.members.get(member)
            {
                self.problems.push(Problem::warning(
                    served.object(),
                    "spec.rules",
                    names::events::UNSUPPORTED,
                    format!("backend {} names an annotation in place of a port, and there is none for that here: name a port", backend.service),
                ));
            }
            return self.unavailable();
        };
        let id = format!("{}/{}:{port}", backend.namespace, backend.service);
        if self.stack.pools.contains_key(&id) {
            return id;
        }
        let text = format!("{}_{}_{port}", backend.namespace, backend.service);
        let checked = Checked {
            object: &object,
            settings: None,
            options: &facts.options,
            capable: &front.capable,
            transport: Protocol::Tcp,
            neutral: &backend.health,
            policy: backend.traffic_policy,
            kept: facts.kept.is_some(),
        };
        let name = |what: &str| shortened(&format!("{what}_{text}_{}", front.spec.name));
        let monitor = health::monitor(&id, name("monitor"), checked, self.problems);
        let monitor_port = monitor.as_ref().and_then(|m| m.port);
        let placement = &facts.options.placement;
        let subnet =
            MemberSubnet::of(facts, [placement.member_subnet.as_deref(), placement.subnet.as_deref()]);
        let families = [front.family];
        let selected = self.nodes.selected(facts.options.node_selector.as_deref());
        let target = Target {
            port: node_port,
            monitor_port,
            name: &format!("member_{}_{port}", backend.service),
            families: &families,
        };
        let found = targets(&selected, &target, &subnet, self.problems);
        if facts.options.manage_security_groups {
            let pool = security::Pool {
                object: &object,
                protocol: Protocol::Tcp,
                node_port,
                monitor_port,
                families: &families,
                clients: &[],
            };
            let subnets = front.spec.vip_subnet_id.iter().chain(&found.subnets);
            self.opened.pool(facts, pool, subnets, self.problems);
            self.opened.ports.extend(found.ports);
        }
        self.stack.members.insert(id.clone(), found.members);
        if let Some(monitor) = monitor {
            self.stack.health_monitors.insert(id.clone(), monitor.spec);
        }
        self.stack.pools.insert(id.clone(), pool_spec(name("pool")));
        id
    }
}

fn pool_spec(name: String) -> PoolSpec {
    PoolSpec {
        loadbalancer_id: OctaviaStack::load_balancer_token(None),
        name,
        protocol: OctaviaProtocol::Http,
        lb_algorithm: Algorithm::RoundRobin,
        session_persistence: None,
    }
}

#[cfg(test)]
mod tests;
