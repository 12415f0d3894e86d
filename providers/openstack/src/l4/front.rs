//! The load balancer itself: provider, VIP and its families, floating IP, flavor and zone; or the one that a user names. Pure.
//!
//! All of it is the load balancer's, not a Service's: of several Services the oldest that says something decides.

use std::net::IpAddr;

use causeway_api::names::TAG_CLUSTER;
use causeway_api::{Family, FamilyPolicy, LbKey, Problem, Severity, names};

use crate::annotations::{Annotation, reasons, service};
use crate::capabilities::{Capable, Feature};
use crate::facts::Facts;
use crate::inventory::{ExistingLoadBalancer, Missing};
use crate::member::{Fault, LOAD_BALANCER_IP, Served, exclusive};
use crate::network::{self, FloatingWish, Vip};
use crate::nodes::{Nodes, family_name};
use crate::options::Placement;
use crate::ownership::{Mark, tag};
use crate::stack::{AdditionalVip, FloatingIp, LoadBalancerSpec};
use crate::{naming, sized};

/// The load balancer, and what its listeners and pools depend on.
pub(super) struct Front {
    /// Its spec; none where a user names one that is there.
    pub spec: Option<LoadBalancerSpec>,
    /// The one that a user names.
    pub attached: Option<String>,
    /// Its provider.
    pub capable: Capable,
    /// Families of its addresses, primary first.
    pub families: Vec<Family>,
    /// Subnets of its addresses.
    pub subnets: Vec<String>,
    /// Its floating IP.
    pub floating_ip: Option<FloatingIp>,
    /// Settings of the class.
    pub class: Placement,
    /// See [`crate::stack::OctaviaStack::former_address`].
    pub former_address: Option<IpAddr>,
}

/// Wishes that say nothing where the load balancer is another's.
const OF_OWN: &[&Annotation] = &[
    &service::FLOATING_NETWORK,
    &service::FLOATING_SUBNET_ID,
    &service::FLOATING_SUBNET,
    &service::FLOATING_SUBNET_TAGS,
    &service::SUBNET,
    &service::NETWORK,
    &service::PORT,
    &service::KEEP_FLOATING_IP,
    &service::FLAVOR,
    &service::AVAILABILITY_ZONE,
];

/// Builds it.
///
/// # Errors
/// Why it stays as it is.
pub(super) fn build(
    key: &LbKey,
    members: &[Served<'_>],
    facts: &Facts,
    nodes: &Nodes,
    mark: &Mark,
    problems: &mut Vec<Problem>,
) -> Result<Front, Box<Fault>> {
    let Some(oldest) = members.first() else { return Err(nobody(key, "it has no members")) };
    let class = class_of(members, facts, problems)?;
    if let Some(found) = named(members, facts, mark, problems)? {
        return Ok(attached(found, members, facts, class, problems));
    }
    let existing = facts.existing(mark);
    let capable = match existing {
        // The provider of a load balancer cannot be changed; who did not choose one keeps it.
        Some(lb) if (facts.options.provider.is_none() || facts.kept.is_some()) && !lb.provider.is_empty() => {
            Capable::new(&lb.provider, facts.cloud.octavia_minor())
        }
        _ => facts.services.clone(),
    };
    let said = Said::read(members, problems);
    let internal = facts.options.internal
        || exclusive(members, &service::INTERNAL, problems)
            .is_some_and(|(m, _)| m.settings.bool(&service::INTERNAL) == Some(true));

    let wanted = families(members);
    let primary = wanted[0];
    let (vip, mut families) =
        place(&said, members, facts, nodes, &class, existing, &capable, &wanted, problems)?;
    let mut vip = vip;
    families.retain(|f| wanted.contains(f));

    let requested = requested(members, problems);
    let floats = !internal && families.contains(&Family::V4);
    let mut vip_address = None;
    let mut floating_address = None;
    if let Some((holder, address)) = requested {
        let family = Family::of(&address);
        if !families.contains(&family) {
            return Err(holder.address_fault(format!(
                "{address} has {}, and the load balancer has only {}: ask for another, or change spec.ipFamilies",
                family_name(family),
                families.iter().map(|f| family_name(*f)).collect::<Vec<_>>().join(" and ")
            )));
        }
        if floats && family == Family::V4 {
            floating_address = Some(address);
        } else if family == primary {
            inside(facts, vip.subnet.as_deref(), address).map_err(|why| holder.address_fault(why))?;
            vip_address = Some(address);
        } else if let Some(further) =
            vip.additional.iter_mut().find(|v| network::family(facts, &v.subnet_id) == Some(family))
        {
            inside(facts, Some(&further.subnet_id), address).map_err(|why| holder.address_fault(why))?;
            further.ip_address = Some(address);
        }
    }
    let keep = exclusive(members, &service::KEEP_FLOATING_IP, problems)
        .is_some_and(|(m, _)| m.settings.bool(&service::KEEP_FLOATING_IP) == Some(true));
    let floating_ip = if floats {
        let described = mark.description(&format!(
            "Floating IP for Kubernetes external service {} from cluster {}",
            key.id(),
            facts.cluster.name
        ));
        let wish = FloatingWish {
            mark,
            description: &described,
            levels: &[&class, &said.placement, &facts.options.placement],
            address: floating_address,
            keep,
        };
        Some(network::floating_ip(facts, wish).map_err(|why| match requested {
            Some((holder, _)) if floating_address.is_some() => holder.address_fault(why),
            _ => said.blame(members, FLOATING, &service::FLOATING_NETWORK, why),
        })?)
    } else {
        None
    };
    let flavor_id =
        sized::flavor(facts, &capable, exclusive(members, &service::FLAVOR, problems), oldest, problems)?;
    let availability_zone = sized::zone(
        facts,
        &capable,
        exclusive(members, &service::AVAILABILITY_ZONE, problems),
        oldest,
        problems,
    )?;
    let former_address = if vip_address.is_none() && vip.port.is_none() && floating_ip.is_none() {
        former_address(members, facts, vip.subnet.as_deref(), primary)
    } else {
        None
    };
    let description = mark.description(&format!(
        "Kubernetes external service {} from cluster {}",
        key.id(),
        facts.cluster.name
    ));
    let subnets =
        vip.subnet.iter().cloned().chain(vip.additional.iter().map(|v| v.subnet_id.clone())).collect();
    let spec = LoadBalancerSpec {
        name: naming::load_balancer(&facts.cluster.name, key),
        description,
        provider: capable.provider.clone(),
        vip_subnet_id: vip.subnet,
        vip_network_id: vip.network,
        vip_port_id: vip.port,
        vip_address,
        additional_vips: vip.additional,
        flavor_id,
        availability_zone,
    };
    Ok(Front {
        spec: Some(spec),
        attached: None,
        capable,
        families,
        subnets,
        floating_ip,
        class,
        former_address,
    })
}

fn nobody(key: &LbKey, why: &str) -> Box<Fault> {
    let object = match &key.owner {
        causeway_api::Owner::Object(o) => o.clone(),
        causeway_api::Owner::Group(name) => causeway_api::ObjectRef::service("", name.as_str(), ""),
    };
    let problem = Problem::error(object.clone(), "metadata", reasons::INVALID, why);
    Box::new(Fault { holder: object, wish: crate::member::Wish::Nobody, problem })
}

/// Families that the Services ask for, in the order of the oldest.
fn families(members: &[Served<'_>]) -> Vec<Family> {
    let mut all: Vec<Family> = Vec::new();
    let served = members.iter().filter(|m| !m.settings.refused).filter_map(Served::service);
    for family in served.flat_map(|s| &s.families) {
        if !all.contains(family) {
            all.push(*family);
        }
    }
    if all.is_empty() { vec![Family::V4] } else { all }
}

/// What annotations say of where things lie, each by the oldest that says it.
struct Said {
    placement: Placement,
    port: Option<String>,
}

const FLOATING: &[&Annotation] = &[
    &service::FLOATING_SUBNET_ID,
    &service::FLOATING_SUBNET,
    &service::FLOATING_SUBNET_TAGS,
    &service::FLOATING_NETWORK,
    &service::CLASS,
];
const VIP: &[&Annotation] = &[&service::PORT, &service::SUBNET, &service::NETWORK, &service::CLASS];

impl Said {
    fn read(members: &[Served<'_>], problems: &mut Vec<Problem>) -> Self {
        let mut text = |annotation| exclusive(members, annotation, problems).map(|(_, text)| text.to_owned());
        Self {
            port: text(&service::PORT),
            placement: Placement {
                floating_network: text(&service::FLOATING_NETWORK),
                floating_subnet_id: text(&service::FLOATING_SUBNET_ID),
                floating_subnet: text(&service::FLOATING_SUBNET),
                floating_subnet_tags: text(&service::FLOATING_SUBNET_TAGS),
                network: text(&service::NETWORK),
                subnet: text(&service::SUBNET),
                // Each Service's own.
                member_subnet: None,
            },
        }
    }

    /// Whose wish it is that cannot be: the first of these annotations that somebody has.
    fn blame(
        &self,
        members: &[Served<'_>],
        annotations: &[&'static Annotation],
        otherwise: &'static Annotation,
        why: String,
    ) -> Box<Fault> {
        let holder = annotations
            .iter()
            .find_map(|a| members.iter().find(|m| m.settings.text(a).is_some()).map(|m| (m, *a)));
        let (holder, annotation) = holder.unwrap_or((&members[0], otherwise));
        holder.fault(annotation, why)
    }
}

/// The class that the oldest names.
fn class_of(
    members: &[Served<'_>],
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Result<Placement, Box<Fault>> {
    let Some((holder, name)) = exclusive(members, &service::CLASS, problems) else {
        return Ok(Placement::default());
    };
    facts.options.classes.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = facts.options.classes.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        holder.fault(
            &service::CLASS,
            format!("the configuration has no section [LoadBalancerClass {name:?}], it has {known}: add it, or name another"),
        )
    })
}

/// The load balancer that a user names by id, if it is there and not the own one.
fn named<'f>(
    members: &[Served<'_>],
    facts: &'f Facts,
    mark: &Mark,
    problems: &mut Vec<Problem>,
) -> Result<Option<&'f ExistingLoadBalancer>, Box<Fault>> {
    let Some((holder, id)) = exclusive(members, &service::LOAD_BALANCER_ID, problems) else {
        return Ok(None);
    };
    let Some(known) = &facts.cloud.load_balancers else {
        let missing = Missing("GET /v2.0/lbaas/loadbalancers");
        return Err(holder.fault(&service::LOAD_BALANCER_ID, missing.to_string()));
    };
    let found =
        known.loadbalancers.iter().find(|lb| lb.id == id && lb.provisioning_status != "PENDING_DELETE");
    let Some(found) = found else {
        if holder.member.current.is_empty() {
            // The list is some minutes old; who has been served before has outlived it.
            return Err(holder.fault(
                &service::LOAD_BALANCER_ID,
                format!("load balancer {id} is not known: one that was made just now is found within two minutes; else name another, or take the annotation away to have one made"),
            ));
        }
        problems.push(holder.warn(
            &service::LOAD_BALANCER_ID,
            reasons::NOT_FOUND,
            format!("load balancer {id} is gone, or was never there: the Service has one of its own; take the annotation away, or name another"),
        ));
        return Ok(None);
    };
    if mark.owns(found) || facts.kept.as_ref().is_some_and(|kept| kept.id == found.id) {
        return Ok(None);
    }
    let cluster = found.tags.iter().find(|t| t.starts_with(&format!("{TAG_CLUSTER}=")));
    if cluster.is_some_and(|c| *c != tag(TAG_CLUSTER, &mark.cluster)) {
        return Err(holder.fault(
            &service::LOAD_BALANCER_ID,
            format!("load balancer {id} is another cluster's, it is not touched: name another, or take the annotation away"),
        ));
    }
    let object = &holder.member.object;
    let peers = format!("kube_service_{}_{}_{}", facts.cluster.name, object.namespace, object.name);
    if found.name == peers || found.tags.contains(&peers) {
        return Err(holder.fault(
            &service::LOAD_BALANCER_ID,
            format!(
                "load balancer {id} is the one that openstack-cloud-controller-manager made for this Service, it is not touched: take it over with \
                 --adopt, or take the annotation away to have another one made"
            ),
        ));
    }
    Ok(Some(found))
}

/// The front of a load balancer that is another's.
fn attached(
    found: &ExistingLoadBalancer,
    members: &[Served<'_>],
    facts: &Facts,
    class: Placement,
    problems: &mut Vec<Problem>,
) -> Front {
    for served in members {
        for annotation in OF_OWN {
            if served.settings.text(annotation).is_some() {
                let what = format!(
                    "it does not count: load balancer {} is named by its id, and stays as it is",
                    found.id
                );
                problems.push(served.warn(annotation, reasons::INVALID, what));
            }
        }
        if served.address.is_some() {
            let what = format!(
                "it does not count: load balancer {} is named by its id, and has its address",
                found.id
            );
            problems.push(Problem::warning(served.object(), LOAD_BALANCER_IP, reasons::INVALID, what));
        }
    }
    let provider = if found.provider.is_empty() { &facts.services.provider } else { &found.provider };
    let family = found.vip_address.parse().map_or(Family::V4, |a: IpAddr| Family::of(&a));
    Front {
        spec: None,
        attached: Some(found.id.clone()),
        capable: Capable::new(provider, facts.cloud.octavia_minor()),
        families: vec![family],
        subnets: Some(found.vip_subnet_id.clone()).filter(|s| !s.is_empty()).into_iter().collect(),
        floating_ip: None,
        class,
        former_address: None,
    }
}

/// The VIP, and the families that it serves.
#[allow(clippy::too_many_arguments, reason = "one place of one load balancer")]
fn place(
    said: &Said,
    members: &[Served<'_>],
    facts: &Facts,
    nodes: &Nodes,
    class: &Placement,
    existing: Option<&ExistingLoadBalancer>,
    capable: &Capable,
    wanted: &[Family],
    problems: &mut Vec<Problem>,
) -> Result<(Vip, Vec<Family>), Box<Fault>> {
    let levels = [&said.placement, class, &facts.options.placement];
    let none = Placement::default();
    let level = levels.into_iter().find(|l| l.subnet.is_some() || l.network.is_some()).unwrap_or(&none);
    let former = existing.map(|lb| lb.vip_subnet_id.as_str()).filter(|s| !s.is_empty());
    let mut vip = match &facts.kept {
        Some(kept) => network::kept_vip(kept),
        None => network::vip(facts, nodes, said.port.as_deref(), level, former, wanted[0])
            .map_err(|why| said.blame(members, VIP, &service::SUBNET, why))?,
    };
    let mut served = vec![wanted[0]];
    for &family in &wanted[1..] {
        let found = if facts.kept.is_some() {
            Err("it was taken over with one, and cannot get another: delete the Service and make it anew to have both".to_owned())
        } else if capable.can(Feature::AdditionalVips) {
            network::additional(facts, nodes, &vip, family)
        } else {
            Err(capable.lacks(Feature::AdditionalVips))
        };
        match found {
            Ok(subnet_id) => {
                vip.additional.push(AdditionalVip { subnet_id, ip_address: None });
                served.push(family);
            }
            Err(why) => {
                for member in members {
                    let Some(service) = member.service().filter(|s| s.families.contains(&family)) else {
                        continue;
                    };
                    let required = service.family_policy == FamilyPolicy::RequireDualStack
                        || service.families.len() == 1;
                    problems.push(Problem {
                        severity: if required { Severity::Error } else { Severity::Warning },
                        ..Problem::warning(
                            member.object(),
                            "spec.ipFamilies",
                            names::events::UNSUPPORTED,
                            format!("the load balancer has no address of {}: {why}", family_name(family)),
                        )
                    });
                }
            }
        }
    }
    Ok((vip, served))
}

/// The address that the oldest asks for. Who asks for another is told.
fn requested<'m, 'a>(
    members: &'m [Served<'a>],
    problems: &mut Vec<Problem>,
) -> Option<(&'m Served<'a>, IpAddr)> {
    let mut having = members.iter().filter_map(|m| Some((m, m.address?.0)));
    let (holder, address) = having.next()?;
    for (other, _) in having.filter(|(_, a)| *a != address) {
        problems.push(Problem::warning(
            other.object(),
            LOAD_BALANCER_IP,
            reasons::CONFLICT,
            format!(
                "it does not count: {} is older, shares this load balancer and asks for {address}",
                holder.member.object
            ),
        ));
    }
    Some((holder, address))
}

/// Whether an address lies in a subnet, as far as that is known.
fn inside(facts: &Facts, subnet: Option<&str>, address: IpAddr) -> Result<(), String> {
    let Some(subnet) = subnet.and_then(|id| facts.cloud.subnet(id)) else { return Ok(()) };
    match subnet.net() {
        Some(net) if !net.contains(&address) => Err(format!(
            "{address} is not in subnet {} of the load balancer, which has {net}: ask for another, or name another subnet",
            subnet.id
        )),
        _ => Ok(()),
    }
}

/// The address that members show now and that lies where the VIP lies: whoever uses it goes on using it.
fn former_address(
    members: &[Served<'_>],
    facts: &Facts,
    subnet: Option<&str>,
    primary: Family,
) -> Option<IpAddr> {
    let net = facts.cloud.subnet(subnet?)?.net()?;
    members
        .iter()
        .flat_map(|m| &m.member.current)
        .filter_map(|point| point.ip)
        .find(|ip| Family::of(ip) == primary && net.contains(ip))
}
