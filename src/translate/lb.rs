//! Members of one key to one load balancer: who gets a port that two want, and in which order routes are tried. Pure.
//!
//! The older member always wins (creationTimestamp, then namespace and name): what works today is never taken by what comes
//! tomorrow. Which members share a key is the provider's decision, and was made before.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{
    Backend, Body, Capabilities, Certificate, HttpBody, IngressBackend, Layer, LbKey, Listener, LoadBalancer,
    Member, MemberSpec, NodeSet, PathMatch, Problem, Route, Severity,
};

use super::reasons;
use crate::state::records::Path;

/// Version of a Secret, `None` if it does not exist.
pub type SecretVersion<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// What a load balancer depends on besides its members.
pub struct LbContext<'a> {
    /// What the provider can serve.
    pub capabilities: &'a Capabilities,
    /// Eligible nodes ([`super::node_set`]); empty if the provider wants none.
    pub nodes: Arc<NodeSet>,
    /// Secrets; `None` if the provider does not want them.
    pub secrets: Option<SecretVersion<'a>>,
}

/// The load balancer of a key, and the problems that its members have with each other. The order of `members` does not matter.
#[must_use]
pub fn load_balancer(
    key: LbKey,
    mut members: Vec<Member>,
    context: &LbContext<'_>,
) -> (LoadBalancer, Vec<Problem>) {
    members.sort_by(|a, b| a.age().cmp(&b.age()).then_with(|| a.object.cmp(&b.object)));
    let mut problems = Vec::new();
    let body = match key.layer {
        Layer::L4 => Body::L4(listeners(&members, context.capabilities, &mut problems)),
        Layer::L7 if context.capabilities.own_routes => Body::L7(HttpBody::default()),
        Layer::L7 => Body::L7(HttpBody {
            routes: routes(&members, &mut problems),
            default_backend: default_backend(&members, &mut problems),
            certificates: certificates(&members, context.secrets, &mut problems),
        }),
    };
    (LoadBalancer { key, members, body, nodes: context.nodes.clone() }, problems)
}

fn listeners(members: &[Member], can: &Capabilities, problems: &mut Vec<Problem>) -> Vec<Listener> {
    let mut taken = BTreeMap::new();
    let mut listeners = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let Some(service) = member.service() else { continue };
        let served_before = listeners.len();
        let mut conflicts = Vec::new();
        for (p, port) in service.ports.iter().enumerate() {
            // Reported with the member: see `service_member`.
            if !can.protocols.contains(&port.protocol) {
                continue;
            }
            let holder = *taken.entry((port.port, port.protocol)).or_insert(index);
            if holder == index && !listeners[served_before..].iter().any(|l: &Listener| same_slot(l, port)) {
                listeners.push(Listener { member: index, port: port.clone() });
                continue;
            }
            let who = if holder == index {
                "another port of this Service".to_owned()
            } else {
                format!("{}, which is older and shares this load balancer,", members[holder].object)
            };
            conflicts.push(Problem::error(
                member.object.clone(),
                format!("spec.ports[{p}].port"),
                reasons::PORT_CONFLICT,
                format!(
                    "port {}/{} is not served: {who} has it; take another port or another load balancer",
                    port.port,
                    port.protocol.as_str()
                ),
            ));
        }
        if listeners.len() > served_before {
            conflicts.iter_mut().for_each(|problem| problem.severity = Severity::Warning);
        }
        problems.append(&mut conflicts);
    }
    listeners
}

fn same_slot(listener: &Listener, port: &causeway_api::ServicePort) -> bool {
    (listener.port.port, listener.port.protocol) == (port.port, port.protocol)
}

/// A path as far as it matters for matching: the slash at the end of a prefix does not.
fn significant(path: &str, matching: PathMatch) -> &str {
    match matching {
        PathMatch::Prefix => path.trim_end_matches('/'),
        PathMatch::Exact | PathMatch::ImplementationSpecific => path,
    }
}

/// Whether two backends are the same thing to a client.
fn same_backend(a: &Backend, b: &Backend) -> bool {
    (&a.namespace, &a.service, &a.port) == (&b.namespace, &b.service, &b.port)
}

fn routes(members: &[Member], problems: &mut Vec<Problem>) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut taken: BTreeMap<(String, PathMatch, String), usize> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        let Some(ingress) = member.ingress() else { continue };
        for rule in &ingress.rules {
            for path in &rule.paths {
                let IngressBackend::Service(backend) = &path.backend else { continue };
                let slot =
                    (rule.host.clone(), path.matching, significant(&path.path, path.matching).to_owned());
                if let Some(&first) = taken.get(&slot) {
                    let holder = &routes[first];
                    if !same_backend(&holder.backend, backend) {
                        problems.push(duplicate_route(members, index, holder, &path.path));
                    }
                    continue;
                }
                taken.insert(slot, routes.len());
                routes.push(Route {
                    member: index,
                    host: rule.host.clone(),
                    path: path.path.clone(),
                    matching: path.matching,
                    backend: backend.clone(),
                });
            }
        }
    }
    // Stable, so what is equal keeps its order by age, and within a member that of the object.
    routes.sort_by(|a, b| precedence(a).cmp(&precedence(b)));
    routes
}

fn duplicate_route(members: &[Member], index: usize, holder: &Route, path: &str) -> Problem {
    let member = &members[index];
    let host = if holder.host.is_empty() { "every host" } else { &holder.host };
    let who = if holder.member == index {
        "an earlier rule of this Ingress".to_owned()
    } else {
        format!("{}, which is older and shares this load balancer,", members[holder.member].object)
    };
    Problem::warning(
        member.object.clone(),
        rule_field(member, holder, path),
        reasons::ROUTE_CONFLICT,
        format!(
            "path {path} of {host} is not served from here: {who} sends it to Service {}; remove one of the two",
            holder.backend.service
        ),
    )
}

/// The field of the last rule and path of a member that want what `holder` has.
fn rule_field(member: &Member, holder: &Route, path: &str) -> String {
    let rules = member.ingress().map_or(&[][..], |i| &i.rules);
    for (r, rule) in rules.iter().enumerate().rev().filter(|(_, rule)| rule.host == holder.host) {
        let found = rule.paths.iter().rposition(|p| p.path == path && p.matching == holder.matching);
        if let Some(p) = found {
            return format!("spec.rules[{r}].http.paths[{p}]");
        }
    }
    "spec.rules".to_owned()
}

/// Sort key of a route: precise hosts first, then wildcards (longer first), then none; in a host Exact before the rest, longest first.
fn precedence(route: &Route) -> impl Ord + '_ {
    let host = match route.host.as_str() {
        "" => 2u8,
        host if host.starts_with("*.") => 1,
        _ => 0,
    };
    let path = significant(&route.path, route.matching);
    (
        host,
        // Precise hosts exclude each other; of wildcards a longer one is never covered by a shorter.
        Reverse(if host == 1 { route.host.len() } else { 0 }),
        route.host.as_str(),
        route.matching != PathMatch::Exact,
        Reverse(path.len()),
        route.member,
    )
}

fn default_backend(members: &[Member], problems: &mut Vec<Problem>) -> Option<(usize, Backend)> {
    let mut chosen: Option<(usize, Backend)> = None;
    for (index, member) in members.iter().enumerate() {
        let Some(IngressBackend::Service(backend)) =
            member.ingress().and_then(|i| i.default_backend.as_ref())
        else {
            continue;
        };
        match &chosen {
            None => chosen = Some((index, backend.clone())),
            Some((_, first)) if same_backend(first, backend) => {}
            Some((holder, _)) => problems.push(Problem::warning(
                member.object.clone(),
                "spec.defaultBackend",
                reasons::DEFAULT_BACKEND_CONFLICT,
                format!(
                    "not used: {}, which is older, has the default backend of the load balancer they share; remove one of the two",
                    members[*holder].object
                ),
            )),
        }
    }
    chosen
}

fn certificates(
    members: &[Member],
    secrets: Option<SecretVersion<'_>>,
    problems: &mut Vec<Problem>,
) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let MemberSpec::Ingress(ingress) = &member.spec else { continue };
        for (t, tls) in ingress.tls.iter().enumerate() {
            let secret = tls
                .secret
                .as_ref()
                .map(|name| Path { namespace: member.object.namespace.clone(), name: name.clone() });
            let mut secret_version = None;
            if let (Some(path), Some(lookup)) = (&secret, secrets) {
                secret_version = lookup(path);
                if secret_version.is_none() {
                    problems.push(Problem::warning(
                        member.object.clone(),
                        format!("spec.tls[{t}].secretName"),
                        reasons::SECRET_NOT_FOUND,
                        format!(
                            "there is no Secret {} in namespace {}, so its hosts have no certificate: create it with type kubernetes.io/tls",
                            path.name, path.namespace
                        ),
                    ));
                }
            }
            certificates.push(Certificate {
                member: index,
                hosts: tls.hosts.clone(),
                secret: secret.map(|path| format!("{}/{}", path.namespace, path.name)),
                secret_version,
            });
        }
    }
    certificates
}

#[cfg(test)]
#[path = "lb_tests.rs"]
mod tests;
