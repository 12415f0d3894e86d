//! Ingresses to the stack of one ALB. Pure.
//!
//! ```text
//! members --group--> settings, class parameters --listeners--> ports, certificates --front--> the load balancer
//!                                                                                      |
//!              routes (conditions, actions, target groups) --rules--> order, quotas <--+--> targets, addons, an NLB in front
//! ```
//!
//! Invariants: one Ingress that is wrong is told so and changes no rule of another; every rule has at most five values, priorities are unique; each
//! listener has a default action; an Ingress alone that cannot be served as it asks leaves its load balancer as it is.

pub mod actions;
mod addons;
pub mod auth;
pub mod binding;
pub mod certificates;
pub mod conditions;
pub mod differences;
mod front;
mod frontend;
mod group;
mod health;
mod json;
mod limits;
pub mod listen;
mod listeners;
mod names;
pub mod parameters;
mod patterns;
mod routes;
mod rules;
mod split;
mod targets;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{LoadBalancer, PortStatus, Problem, Protocol, References, Severity};

pub use group::key;

use crate::annotations::ingress as table;
use crate::facts::Facts;
use crate::security::{self, Opening};
use crate::stack::{
    Action, AwsStack, ElbProtocol, LOAD_BALANCER, ListenerCertificate, ListenerSpec, MANAGED_SECURITY_GROUP,
    MemberPart, ResourceType, Token,
};
use crate::targets::{Instances, REDUCED, alb_room};
use actions::{Receiver, Wanted};
use group::Group;
use listeners::{Listener, Listeners};
use routes::{Builder, Routes};
use rules::{only_redirects, to_https};
use targets::{Around, TargetGroup};

/// What the annotations of an Ingress refer to.
#[must_use]
pub fn references(annotations: &BTreeMap<String, String>) -> References {
    let mut found = References::default();
    let prefix = format!("{}{}.", table::PREFIX, table::ACTIONS.suffix);
    for (_, text) in annotations.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        if let Ok(Wanted::Forward { shares, .. }) = actions::parse(text) {
            found.services.extend(shares.into_iter().filter_map(|share| match share.receiver {
                Receiver::Service { name, port } => Some((name, port)),
                Receiver::Arn(_) | Receiver::Name(_) => None,
            }));
        }
    }
    let oidc = annotations.get(&table::AUTH_OIDC.key()).and_then(|text| auth::oidc(text).ok());
    found.secrets.extend(oidc.map(|oidc| oidc.secret_name));
    // A Service or class may say that targets are pods, whatever the Ingress says.
    found.endpoints = true;
    found
}

/// The stack of the Ingresses of one key.
#[must_use]
pub fn desired(lb: &LoadBalancer, facts: &Facts, instances: &Instances) -> (AwsStack, Vec<Problem>) {
    let empty =
        || AwsStack { cluster: facts.cluster.id.clone(), owner: lb.key.owner_tag(), ..AwsStack::default() };
    let mut group = Group::read(lb, facts);
    if group.members.is_empty() {
        return (empty(), Vec::new());
    }
    let stack = build(lb, facts, instances, &mut group);
    let failed = facts.options.like_lbc() && group.problems.iter().any(|p| p.severity == Severity::Error);
    let problems = std::mem::take(&mut group.problems);
    match stack {
        // The peer changes nothing of a group of which one member is wrong.
        Some(stack) if !failed => (stack, problems),
        _ => (AwsStack { frozen: true, ..empty() }, problems),
    }
}

/// The stack, or nothing where the load balancer must stay as it is.
fn build(lb: &LoadBalancer, facts: &Facts, instances: &Instances, group: &mut Group<'_>) -> Option<AwsStack> {
    addons::check(group, facts);
    let mut listeners = listeners::build(group, facts);
    if group.blocked || listeners.by_port.is_empty() {
        return None;
    }
    let front = front::build(group, &lb.key, facts, &listeners)?;
    let web_acl = addons::web_acl(group, facts);
    let shield = addons::shield(group, facts);
    let all: Vec<usize> = group.served().collect();
    let downtime = |m: &group::Joined<'_>| m.settings.bool(&table::ALLOW_DOWNTIME);
    let downtime = group.exclusive(&table::ALLOW_DOWNTIME, &all, downtime, |_, _| false);
    let around = Around {
        key: &lb.key,
        facts,
        ip_address_type: front.spec.ip_address_type,
        from: front.backend.as_ref(),
    };
    let mut builder = Builder::new(around);
    let all: Vec<usize> = (0..group.members.len()).collect();
    let routes: BTreeMap<usize, Routes> = all.iter().map(|i| (*i, builder.build(group, *i))).collect();
    let fitted = rules::fit(group, facts, &listeners, &routes);
    for listener in listeners.by_port.values_mut() {
        listener.members.retain(|i| !group.members[*i].refused);
    }
    listeners.by_port.retain(|_, listener| !listener.members.is_empty());
    group.served().next()?;
    let frontend = frontend::build(group, &lb.key, facts, &listeners, &front.spec)?;
    if group.blocked {
        return None;
    }

    let mut stack = AwsStack {
        cluster: facts.cluster.id.clone(),
        owner: lb.key.owner_tag(),
        members: members(group, &listeners),
        allow_downtime: downtime.is_some_and(|(_, allowed)| allowed),
        ..AwsStack::default()
    };
    let used = fitted.members.clone();
    stack.listener_rules = rules::build(group, facts, &listeners, fitted);
    for (port, listener) in &listeners.by_port {
        let spec = listener_spec(group, facts, *port, listener, &listeners, &routes);
        stack.listeners.insert(port.to_string(), spec);
    }
    let groups = used.iter().filter_map(|i| routes.get(i)).flat_map(|r| &r.target_groups);
    let sent_to = receivers(&stack);
    let groups = groups.filter(|(id, _)| sent_to.contains(*id)).collect();
    put_target_groups(&mut stack, group, lb, facts, instances, groups, front.backend.as_ref());
    stack.shared.backend_group = front.shared;
    stack.security_groups.extend(front.managed.map(|spec| (MANAGED_SECURITY_GROUP.to_owned(), spec)));
    stack.load_balancers.insert(LOAD_BALANCER.to_owned(), front.spec);
    stack.web_acls.extend(web_acl.map(|spec| (LOAD_BALANCER.to_owned(), spec)));
    stack.shields.extend(shield.map(|spec| (LOAD_BALANCER.to_owned(), spec)));
    stack.load_balancers.extend(frontend.load_balancer.map(|spec| (frontend::FRONTEND.to_owned(), spec)));
    stack.listeners.extend(frontend.listeners);
    stack.target_groups.extend(frontend.target_groups);
    stack.targets.extend(frontend.targets.into_iter().map(|(id, target)| (id, [target].into())));
    Some(stack)
}

/// Ids of the target groups that something is sent to: what only hidden rules send to is not made.
fn receivers(stack: &AwsStack) -> BTreeSet<String> {
    let rules = stack.listener_rules.values().flat_map(|r| &r.actions);
    let defaults = stack.listeners.values().flat_map(|l| &l.default_actions);
    rules
        .chain(defaults)
        .flat_map(|action| match action {
            Action::Forward(config) => config.target_groups.as_slice(),
            _ => &[],
        })
        .filter_map(|tuple| match &tuple.target_group_arn {
            Token::Ref { id, .. } => Some(id.clone()),
            Token::Literal(_) => None,
        })
        .collect()
}

fn members(group: &Group<'_>, listeners: &Listeners) -> Vec<MemberPart> {
    let part = |index: usize| {
        let joined = &group.members[index];
        let served =
            listeners.by_port.iter().filter(|(_, l)| l.members.contains(&index)).map(|(port, _)| *port);
        let served: BTreeSet<u16> = served.collect();
        let port = |port, error: Option<&str>| PortStatus {
            port,
            protocol: Protocol::Tcp,
            error: error.map(str::to_owned),
        };
        let failed = listeners.failed.iter().filter(|((i, _), _)| *i == index);
        let failed = failed.map(|((_, number), why)| port(*number, Some(*why)));
        MemberPart {
            object: joined.object(),
            ports: served.iter().map(|p| port(*p, None)).chain(failed).collect(),
            addresses: Vec::new(),
            listeners: served.iter().map(u16::to_string).collect(),
            current: joined.member.current.clone(),
        }
    };
    group.served().map(part).collect()
}

fn listener_spec(
    group: &mut Group<'_>,
    facts: &Facts,
    port: u16,
    listener: &Listener,
    listeners: &Listeners,
    routes: &BTreeMap<usize, Routes>,
) -> ListenerSpec {
    let tls = listener.protocol == ElbProtocol::Https;
    let redirect = listeners.redirect.filter(|_| only_redirects(listener, listeners.redirect));
    let default_actions = match redirect {
        Some(port) => vec![to_https(port)],
        None => default_actions(group, listener, routes, tls),
    };
    ListenerSpec {
        load_balancer_arn: Token::of(ResourceType::LoadBalancer, LOAD_BALANCER),
        port,
        protocol: listener.protocol,
        default_actions,
        certificates: listener
            .certificates
            .iter()
            .map(|arn| ListenerCertificate { certificate_arn: arn.clone() })
            .collect(),
        ssl_policy: listener.ssl_policy.clone(),
        alpn_policy: Vec::new(),
        mutual_authentication: listener.mutual.clone(),
        tags: group.shared_tags(&facts.options, &listener.members),
        listener_attributes: listener.attributes.clone(),
    }
}

/// The default backend of the oldest member that has one; without any, 404.
fn default_actions(
    group: &mut Group<'_>,
    listener: &Listener,
    routes: &BTreeMap<usize, Routes>,
    tls: bool,
) -> Vec<Action> {
    let mut chosen: Option<(usize, &routes::Outcome)> = None;
    for &index in &listener.members {
        let Some(outcome) = routes.get(&index).and_then(|r| r.default.as_ref()) else { continue };
        match chosen {
            None => chosen = Some((index, outcome)),
            Some((_, first)) if first == outcome => {}
            Some((holder, _)) => {
                let problem = Problem::warning(
                    group.members[index].object(),
                    "spec.defaultBackend",
                    "DefaultBackendConflict",
                    format!(
                        "it is not used: {}, which is older, has the default backend of the load balancer they share; remove one of the two",
                        group.members[holder].member.object
                    ),
                );
                group.report(problem);
            }
        }
    }
    match chosen {
        Some((_, outcome)) => outcome.actions(tls),
        None => vec![actions::plain_text("404", None)],
    }
}

fn put_target_groups(
    stack: &mut AwsStack,
    group: &mut Group<'_>,
    lb: &LoadBalancer,
    facts: &Facts,
    instances: &Instances,
    groups: Vec<(&String, &TargetGroup)>,
    from: Option<&Token>,
) {
    for problem in &instances.problems {
        group.report(problem.clone());
    }
    let room = alb_room(facts, groups.len());
    for (id, target_group) in groups {
        let owner = format!("{}/{id}", lb.key.owner_tag());
        let (found, count) = targets::targets(&owner, facts, instances, target_group, room);
        if count > found.len() {
            for &index in &target_group.members {
                let problem = Problem::warning(
                    group.members[index].object(),
                    "",
                    REDUCED,
                    format!(
                        "{} of {count} targets of {id} are used, as {} allows no more: have the quota raised, or choose nodes with target-node-labels",
                        found.len(),
                        room.by
                    ),
                );
                group.report(problem);
            }
        }
        if let Some(from) = from {
            let opening = Opening {
                target_type: target_group.spec.target_type,
                tcp: true,
                udp: false,
                health: &target_group.spec.health_check_config.port,
            };
            security::open(facts, from, opening, &mut stack.shared);
        }
        stack.target_groups.insert(id.clone(), target_group.spec.clone());
        stack.bindings.insert(id.clone(), target_group.binding.clone());
        stack.targets.insert(id.clone(), found);
    }
}
