//! Listeners of an ALB: ports, certificates, policies, and who may come in on them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::Problem;
use ipnet::IpNet;

use super::certificates::discover;
use super::group::{Group, Joined};
use super::{limits, listen};
use crate::annotations::{ingress as table, reasons};
use crate::facts::Facts;
use crate::security::Sources;
use crate::stack::{Attribute, ElbProtocol, MutualAuthentication, attributes};

/// Reason of a problem with hosts that have no certificate.
pub const NO_CERTIFICATE: &str = "CertificateNotFound";
/// Reason of a problem with a port that two want with different protocols.
pub const PORT_CONFLICT: &str = "PortConflict";

/// A listener without its actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Protocol.
    pub protocol: ElbProtocol,
    /// Members that listen on it, oldest first.
    pub members: Vec<usize>,
    /// Who may come in.
    pub sources: Sources,
    /// Certificates, the default one first.
    pub certificates: Vec<String>,
    /// Policy of TLS.
    pub ssl_policy: Option<String>,
    /// Mutual TLS.
    pub mutual: Option<MutualAuthentication>,
    /// Attributes.
    pub attributes: Vec<Attribute>,
}

/// All listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// By port.
    pub by_port: BTreeMap<u16, Listener>,
    /// Where listeners with HTTP redirect to.
    pub redirect: Option<u16>,
    /// Ports that a member asks for and does not get, and why.
    pub failed: BTreeMap<(usize, u16), &'static str>,
}

/// Certificates that a member names.
fn named_certificates(joined: &Joined<'_>) -> Vec<String> {
    if joined.parameters.certificates.is_empty() {
        let list = joined.settings.list(&table::CERTIFICATE_ARN).unwrap_or_default();
        list.into_iter().map(str::to_owned).collect()
    } else {
        joined.parameters.certificates.clone()
    }
}

/// Ports that a member asks for.
fn ports(joined: &Joined<'_>) -> BTreeMap<u16, ElbProtocol> {
    let written = joined.settings.text(&table::LISTEN_PORTS).and_then(|t| listen::ports(t).ok());
    written.unwrap_or_else(|| {
        if named_certificates(joined).is_empty() {
            [(80, ElbProtocol::Http)].into()
        } else {
            [(443, ElbProtocol::Https)].into()
        }
    })
}

/// Hosts for which certificates are looked for.
fn hosts(joined: &Joined<'_>) -> BTreeSet<String> {
    let rules = joined.ingress.rules.iter().map(|r| &r.host);
    let tls = joined.ingress.tls.iter().flat_map(|t| &t.hosts);
    rules.chain(tls).filter(|h| !h.is_empty()).map(|h| h.to_ascii_lowercase()).collect()
}

/// Mutual TLS that a member asks for, with the ARNs of trust stores.
fn mutual(joined: &Joined<'_>, facts: &Facts) -> Result<BTreeMap<u16, MutualAuthentication>, Problem> {
    let Some(text) = joined.settings.text(&table::MUTUAL_AUTHENTICATION) else { return Ok(BTreeMap::new()) };
    let mut all = listen::mutual(text).unwrap_or_default();
    for config in all.values_mut() {
        let Some(store) = config.trust_store_arn.as_mut().filter(|s| !s.starts_with("arn:")) else {
            continue;
        };
        let error = |why: String| joined.error(&table::MUTUAL_AUTHENTICATION, why);
        let stores = facts.aws.trust_stores().map_err(|missing| error(missing.to_string()))?;
        let found = stores.iter().find(|s| s.name == *store);
        let found = found
            .ok_or_else(|| error(format!("there is no trust store {store:?}: create it, or name another")))?;
        store.clone_from(&found.trust_store_arn);
    }
    Ok(all)
}

/// Builds the listeners. Members whose demands cannot be met are refused on the way.
pub fn build(group: &mut Group<'_>, facts: &Facts) -> Listeners {
    let mut out = Listeners::default();
    let mutuals = mutuals(group, facts);
    let most = limits::listeners(facts);
    for index in group.served().collect::<Vec<_>>() {
        for (port, protocol) in ports(&group.members[index]) {
            let joined = &group.members[index];
            let known = out.by_port.len();
            let field = joined.settings.field(&table::LISTEN_PORTS);
            let problem =
                |reason: &str, why: String| Problem::error(joined.object(), field.clone(), reason, why);
            match out.by_port.get_mut(&port) {
                Some(listener) if listener.protocol == protocol => listener.members.push(index),
                Some(listener) => {
                    let holder = &group.members[listener.members[0]].member.object;
                    let why = format!(
                        "port {port} is not served with {}: {holder}, which is older and shares this load balancer, has it with {}; take another port",
                        protocol.as_str(),
                        listener.protocol.as_str()
                    );
                    out.failed.insert((index, port), PORT_CONFLICT);
                    group.report(problem(PORT_CONFLICT, why));
                }
                None if known as u64 >= most => {
                    out.failed.insert((index, port), limits::TOO_MANY);
                    group.report(problem(
                        limits::TOO_MANY,
                        limits::explain(limits::LISTENERS, most, "this port is not served"),
                    ));
                }
                None => {
                    out.by_port.insert(
                        port,
                        Listener {
                            protocol,
                            members: vec![index],
                            sources: Sources::default(),
                            certificates: Vec::new(),
                            ssl_policy: None,
                            mutual: None,
                            attributes: Vec::new(),
                        },
                    );
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    for (port, listener) in &mut out.by_port {
        secure(group, facts, *port, listener, &mutuals, &mut found);
        listener.members.retain(|i| !group.members[*i].refused);
        listener.attributes = listener_attributes(group, *port, listener);
    }
    leave_out(group, &mut out);
    out.redirect = redirect(group, &out);
    out
}

fn mutuals(group: &mut Group<'_>, facts: &Facts) -> BTreeMap<usize, BTreeMap<u16, MutualAuthentication>> {
    let mut all = BTreeMap::new();
    for index in group.served().collect::<Vec<_>>() {
        match mutual(&group.members[index], facts) {
            Ok(config) => {
                all.insert(index, config);
            }
            Err(problem) => group.refuse(index, problem),
        }
    }
    all
}

/// Sources, and with TLS certificates, policy and client certificates.
fn secure(
    group: &mut Group<'_>,
    facts: &Facts,
    port: u16,
    listener: &mut Listener,
    mutuals: &BTreeMap<usize, BTreeMap<u16, MutualAuthentication>>,
    found: &mut BTreeMap<usize, BTreeSet<String>>,
) {
    let networks = |m: &Joined<'_>| {
        let own = m.settings.list(&table::INBOUND_CIDRS).unwrap_or_default();
        let class: Vec<&str> = m.parameters.inbound_cidrs.iter().map(String::as_str).collect();
        let list = if class.is_empty() { own } else { class };
        let parsed: BTreeSet<IpNet> = list.iter().filter_map(|c| c.parse().ok()).collect();
        Some(parsed).filter(|networks| !networks.is_empty())
    };
    let lists = |m: &Joined<'_>| {
        let own = m.settings.list(&table::PREFIX_LISTS).unwrap_or_default();
        let own: BTreeSet<String> = own.into_iter().map(str::to_owned).collect();
        let class: BTreeSet<String> = m.parameters.prefix_lists.iter().cloned().collect();
        Some(if class.is_empty() { own } else { class }).filter(|lists| !lists.is_empty())
    };
    let among = listener.members.clone();
    let networks = group.exclusive(&table::INBOUND_CIDRS, &among, networks, |_, _| true);
    let lists = group.exclusive(&table::PREFIX_LISTS, &among, lists, |_, _| true);
    listener.sources.networks = networks.map(|(_, n)| n.into_iter().collect()).unwrap_or_default();
    listener.sources.prefix_lists = lists.map(|(_, l)| l.into_iter().collect()).unwrap_or_default();
    if listener.sources.networks.is_empty() && listener.sources.prefix_lists.is_empty() {
        listener.sources.networks = [IpNet::default(), IpNet::V6(ipnet::Ipv6Net::default())].into();
    }
    if listener.protocol != ElbProtocol::Https {
        return;
    }
    let policy = |m: &Joined<'_>| {
        m.parameters.ssl_policy.clone().or_else(|| m.settings.text(&table::SSL_POLICY).map(str::to_owned))
    };
    let policy = group.exclusive(&table::SSL_POLICY, &among, policy, |_, _| false);
    listener.ssl_policy = Some(policy.map_or_else(|| facts.options.default_ssl_policy.clone(), |(_, p)| p));
    let paths: BTreeMap<String, usize> = among.iter().map(|i| (group.members[*i].path(), *i)).collect();
    let asked = |m: &Joined<'_>| mutuals.get(paths.get(&m.path())?)?.get(&port).cloned();
    let mutual =
        group.exclusive(&table::MUTUAL_AUTHENTICATION, &among, asked, |_, asked| asked.mode != "off");
    listener.mutual = mutual.map(|(_, config)| config);
    for index in among {
        if group.members[index].refused {
            continue;
        }
        let mut arns = named_certificates(&group.members[index]);
        if arns.is_empty() {
            let discovered = found.entry(index).or_insert_with(|| look_for(group, index, facts));
            arns = discovered.iter().cloned().collect();
        }
        for arn in arns {
            if listener.certificates.contains(&arn) {
                continue;
            }
            let most = limits::certificates(facts);
            // The default one does not count.
            if listener.certificates.len() as u64 > most {
                let joined = &group.members[index];
                let why =
                    limits::explain(limits::CERTIFICATES, most, &format!("{arn} is left out of port {port}"));
                let field = joined.settings.field(&table::CERTIFICATE_ARN);
                let problem = Problem::error(joined.object(), field, limits::TOO_MANY, why);
                group.report(problem);
                continue;
            }
            listener.certificates.push(arn);
        }
    }
}

/// Looks for certificates by host, and tells which hosts have none.
fn look_for(group: &mut Group<'_>, index: usize, facts: &Facts) -> BTreeSet<String> {
    let joined = &group.members[index];
    let warning = |field: String, why: String| Problem::warning(joined.object(), field, NO_CERTIFICATE, why);
    let hosts = hosts(joined);
    let mut problems = Vec::new();
    let mut arns = BTreeSet::new();
    if hosts.is_empty() {
        let why = "no host says which certificate is meant: name hosts, or certificates with certificate-arn";
        problems.push(warning("spec.rules".to_owned(), why.to_owned()));
    }
    match discover(&hosts, &facts.aws, &facts.options) {
        Ok(found) => {
            for host in found.without {
                let same = |h: &String| h.eq_ignore_ascii_case(&host);
                let in_rules = joined.ingress.rules.iter().position(|r| same(&r.host));
                let in_tls = joined.ingress.tls.iter().position(|t| t.hosts.iter().any(same));
                let field = match (in_rules, in_tls) {
                    (Some(r), _) => format!("spec.rules[{r}].host"),
                    (None, t) => format!("spec.tls[{}].hosts", t.unwrap_or_default()),
                };
                let why = format!(
                    "ACM has no issued certificate for {host}, clients that ask for it with TLS get another one: request one, or name one with certificate-arn"
                );
                problems.push(warning(field, why));
            }
            arns = found.arns;
        }
        Err(missing) => problems.push(warning("spec.tls".to_owned(), missing.to_string())),
    }
    problems.into_iter().for_each(|p| group.report(p));
    arns
}

fn listener_attributes(group: &mut Group<'_>, port: u16, listener: &Listener) -> Vec<Attribute> {
    let protocol = listener.protocol.as_str();
    let parameter = format!("{protocol}-{port}");
    let class = |m: &Joined<'_>| m.parameters.listener_attributes(protocol, port);
    let own = |m: &Joined<'_>| m.settings.map_of(&table::LISTENER_ATTRIBUTES, &parameter).unwrap_or_default();
    attributes(group.union(&table::LISTENER_ATTRIBUTES, &listener.members, class, own))
}

/// Leaves out listeners that nobody has any more, and those with TLS and no certificate.
fn leave_out(group: &mut Group<'_>, listeners: &mut Listeners) {
    let mut gone = Vec::new();
    for (port, listener) in &listeners.by_port {
        let bare = listener.protocol == ElbProtocol::Https && listener.certificates.is_empty();
        if !bare && !listener.members.is_empty() {
            continue;
        }
        gone.push(*port);
        for &index in listener.members.iter().filter(|_| bare) {
            let joined = &group.members[index];
            let why = format!(
                "port {port} is not served: no certificate was found for it; request one in ACM, or name one with certificate-arn"
            );
            let field = joined.settings.field(&table::CERTIFICATE_ARN);
            let problem = Problem::error(joined.object(), field, NO_CERTIFICATE, why);
            listeners.failed.insert((index, *port), NO_CERTIFICATE);
            group.report(problem);
        }
    }
    listeners.by_port.retain(|port, _| !gone.contains(port));
}

/// Where listeners with HTTP redirect to. A port without TLS behind it stays the target: to serve without TLS what was asked to be redirected would be worse.
fn redirect(group: &mut Group<'_>, listeners: &Listeners) -> Option<u16> {
    let all: Vec<usize> = group.served().collect();
    let get = |m: &Joined<'_>| {
        let own = m.settings.number(&table::SSL_REDIRECT).and_then(|n| u16::try_from(n).ok());
        m.parameters.ssl_redirect.or(own)
    };
    let (holder, port) = group.exclusive(&table::SSL_REDIRECT, &all, get, |_, _| false)?;
    let why = match listeners.by_port.get(&port) {
        Some(listener) if listener.protocol == ElbProtocol::Https => None,
        Some(_) => Some("has no TLS"),
        None => Some("has no listener"),
    };
    if let Some(why) = why {
        let joined = &group.members[holder];
        let problem = Problem::error(
            joined.object(),
            joined.settings.field(&table::SSL_REDIRECT),
            reasons::INVALID,
            format!(
                "port {port} {why}, redirected clients reach nobody: add {{\"HTTPS\": {port}}} to listen-ports, or name another port"
            ),
        );
        group.report(problem);
    }
    Some(port)
}
