//! The load balancer of Ingresses itself: VIP, floating IP, and what its listeners have in common. Pure.
//!
//! All of it is the load balancer's, not an Ingress's: of several the oldest that says something decides. Who asks for other clients than the oldest is not
//! served, as it would be open to others than it asks for.

use std::net::IpAddr;

use causeway_api::{Family, LbKey, Problem};
use ipnet::IpNet;

use crate::annotations::{Annotation, ingress, reasons, value};
use crate::capabilities::{Capable, Feature};
use crate::facts::Facts;
use crate::member::{Fault, Served, Wish, exclusive};
use crate::network::{self, FloatingWish, Vip};
use crate::nodes::Nodes;
use crate::options::Placement;
use crate::ownership::Mark;
use crate::stack::{FloatingIp, LoadBalancerSpec};
use crate::{naming, sized};

/// The load balancer, and what its listeners and pools depend on.
pub(super) struct Front {
    pub spec: LoadBalancerSpec,
    pub capable: Capable,
    /// Family of its address, by which nodes are reached too.
    pub family: Family,
    pub floating_ip: Option<FloatingIp>,
    pub former_address: Option<IpAddr>,
    pub allowed_cidrs: Vec<IpNet>,
    /// Timeouts: client, connecting to a member, member, inspection.
    pub timeouts: [Option<u32>; 4],
}

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
    let oldest = &members[0];
    let existing = facts.existing(mark);
    let capable = match existing {
        Some(lb) if !lb.provider.is_empty() && lb.provider != "ovn" => {
            Capable::new(&lb.provider, facts.cloud.octavia_minor())
        }
        _ => facts.ingresses.clone(),
    };
    if !capable.can(Feature::Http) {
        let why = format!(
            "of HTTP {}, and Ingresses need it: set option lb-provider to one that has it, as amphora has",
            capable.lacks(Feature::Http)
        );
        let problem = Problem::error(oldest.object(), "spec.ingressClassName", "ProviderCannot", why);
        return Err(Box::new(Fault { holder: oldest.object(), wish: Wish::Nobody, problem }));
    }
    let placement = &facts.options.placement;
    let of_kept = facts.kept.as_ref().and_then(|lb| lb.vip_address.parse().ok());
    let family = of_kept.map_or_else(|| family(facts, nodes, placement), |at: IpAddr| Family::of(&at));
    let former = existing.map(|lb| lb.vip_subnet_id.as_str()).filter(|s| !s.is_empty());
    let Vip { network, subnet, .. } = match &facts.kept {
        Some(kept) => network::kept_vip(kept),
        None => network::vip(facts, nodes, None, placement, former, family).map_err(|why| {
            let problem = Problem::error(oldest.object(), "spec", reasons::NOT_FOUND, why);
            Box::new(Fault { holder: oldest.object(), wish: Wish::Nobody, problem })
        })?,
    };

    let internal = exclusive(members, &ingress::INTERNAL, problems)
        .is_none_or(|(m, _)| m.settings.bool(&ingress::INTERNAL) != Some(false));
    let keep = exclusive(members, &ingress::KEEP_FLOATING_IP, problems)
        .is_some_and(|(m, _)| m.settings.bool(&ingress::KEEP_FLOATING_IP) == Some(true));
    let address = exclusive(members, &ingress::FLOATING_IP, problems)
        .and_then(|(holder, _)| Some((holder, holder.address?.0)));
    let floats = !internal && family == Family::V4;
    if let (Some((holder, _)), false) = (address, floats) {
        let why = "the load balancer is internal, and has none: set octavia.ingress.kubernetes.io/internal to \"false\", or take it away";
        problems.push(holder.warn(&ingress::FLOATING_IP, reasons::INVALID, why));
    }
    let floating_ip = if floats {
        let what =
            format!("Floating IP for Kubernetes ingress {} from cluster {}", key.id(), facts.cluster.name);
        let wish = FloatingWish {
            mark,
            description: &mark.description(&what),
            levels: &[placement],
            address: address.map(|(_, a)| a),
            keep,
        };
        Some(network::floating_ip(facts, wish).map_err(|why| match address {
            Some((holder, _)) => holder.fault(&ingress::FLOATING_IP, why),
            None => oldest.fault(&ingress::INTERNAL, why),
        })?)
    } else {
        None
    };
    let allowed_cidrs = clients(members, &capable, family, problems)?;
    let timeouts = [
        (&ingress::TIMEOUT_CLIENT_DATA, 50_000),
        (&ingress::TIMEOUT_MEMBER_CONNECT, 5_000),
        (&ingress::TIMEOUT_MEMBER_DATA, 50_000),
        (&ingress::TIMEOUT_TCP_INSPECT, 0),
    ]
    .map(|(annotation, default): (&Annotation, u32)| {
        let said = exclusive(members, annotation, problems).and_then(|(_, text)| text.parse().ok());
        let otherwise = facts.kept.is_none().then_some(default);
        if capable.can(Feature::Timeouts) { said.or(otherwise) } else { None }
    });
    let flavor_id = sized::flavor(facts, &capable, None, oldest, problems)?;
    let availability_zone = sized::zone(facts, &capable, None, oldest, problems)?;
    let described = format!("Kubernetes ingress {} from cluster {}", key.id(), facts.cluster.name);
    let former_address = if floating_ip.is_none() {
        let net = subnet.as_deref().and_then(|id| facts.cloud.subnet(id)?.net());
        let shown = members.iter().flat_map(|m| &m.member.current).filter_map(|point| point.ip);
        net.and_then(|net| shown.into_iter().find(|ip| net.contains(ip)))
    } else {
        None
    };
    let spec = LoadBalancerSpec {
        name: naming::load_balancer(&facts.cluster.name, key),
        description: mark.description(&described),
        provider: capable.provider.clone(),
        vip_subnet_id: subnet,
        vip_network_id: network,
        vip_port_id: None,
        vip_address: None,
        additional_vips: Vec::new(),
        flavor_id,
        availability_zone,
    };
    Ok(Front { spec, capable, family, floating_ip, former_address, allowed_cidrs, timeouts })
}

/// Family of the address: that of the subnet that options name, else IPv4 where nodes have it.
fn family(facts: &Facts, nodes: &Nodes, placement: &Placement) -> Family {
    let of_subnet = placement.subnet.as_deref().and_then(|id| network::family(facts, id));
    let v4 = nodes.all.is_empty() || nodes.all.iter().any(|n| n.addresses.contains_key(&Family::V4));
    of_subnet.unwrap_or(if v4 { Family::V4 } else { Family::V6 })
}

/// Who may connect; empty: everybody.
fn clients(
    members: &[Served<'_>],
    capable: &Capable,
    family: Family,
    problems: &mut Vec<Problem>,
) -> Result<Vec<IpNet>, Box<Fault>> {
    let annotation = &ingress::SOURCE_RANGES;
    let nets = |text: &str| {
        let mut nets: Vec<IpNet> = value::list(text).into_iter().filter_map(|n| n.parse().ok()).collect();
        nets.sort();
        nets.dedup();
        nets
    };
    let mut having = members.iter().filter_map(|m| Some((m, m.settings.text(annotation)?)));
    let Some((holder, text)) = having.next() else { return Ok(Vec::new()) };
    let own = nets(text);
    if let Some((other, _)) = having.find(|(_, text)| nets(text) != own) {
        return Err(other.fault(
            annotation,
            format!(
                "{} is older, shares this load balancer and lets other clients in: write the same as it, or take another load balancer; until then requests \
                 for this Ingress are answered 503",
                holder.member.object
            ),
        ));
    }
    // Who says nothing is restricted with the others, and told.
    let silent = |m: &&Served<'_>| m.settings.text(annotation).is_none() && !m.settings.refused;
    for other in members.iter().filter(silent) {
        problems.push(other.warn(
            annotation,
            reasons::CONFLICT,
            format!(
                "the clients that {} lets in hold for this Ingress too, as both share a load balancer",
                holder.member.object
            ),
        ));
    }
    if own.iter().any(|net| net.prefix_len() == 0 && Family::of(&net.addr()) == family) {
        return Ok(Vec::new());
    }
    if !capable.can(Feature::AllowedCidrs) {
        return Err(holder.fault(
            annotation,
            format!("{}, everybody could connect", capable.lacks(Feature::AllowedCidrs)),
        ));
    }
    let of_family: Vec<IpNet> = own.into_iter().filter(|n| Family::of(&n.addr()) == family).collect();
    if of_family.is_empty() {
        let why = "the networks are of another family than the load balancer's address, nobody could connect: add some of its family";
        return Err(holder.fault(annotation, why));
    }
    Ok(of_family)
}
