//! What of the inventory that few decisions need a stack needs. Pure.

use std::collections::BTreeSet;

use crate::facts::Facts;
use crate::inventory::Rare;
use crate::stack::OctaviaStack;

/// What must be asked for before a stack can be relied on. One that is there as it was costs nothing: it was made with what was known then.
#[must_use]
pub fn asks(stack: &OctaviaStack, facts: &Facts) -> BTreeSet<Rare> {
    let existing = facts.existing(&stack.mark);
    let spec = stack.load_balancer.as_ref();
    let mut asks = BTreeSet::new();
    if spec.is_some() && existing.is_none() {
        asks.extend([Rare::Providers, Rare::Quotas]);
    }
    // What was not asked for is taken as it was written, so that it may be a name.
    let differs = |wish: Option<&String>, there: Option<&String>| wish.is_some() && wish != there;
    if differs(spec.and_then(|s| s.flavor_id.as_ref()), existing.map(|lb| &lb.flavor_id)) {
        asks.insert(Rare::Flavors);
    }
    if differs(spec.and_then(|s| s.availability_zone.as_ref()), existing.map(|lb| &lb.availability_zone)) {
        asks.insert(Rare::AvailabilityZones);
    }
    asks.retain(|rare| facts.cloud.unasked.contains(rare));
    asks
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;

    use super::*;
    use crate::fixtures::{facts_with, nodes, of_services, service};
    use crate::inventory::{Answers, ExistingLoadBalancer, LoadBalancers};
    use crate::l4;
    use crate::nodes::Nodes;
    use crate::stack::ResourceType;

    /// Facts of a cloud of which nothing rare was asked yet, with these load balancers.
    fn facts(options: &[(&str, &str)], there: Vec<ExistingLoadBalancer>) -> Facts {
        let known = facts_with(options);
        let cloud = Answers {
            unasked: Rare::ALL.into(),
            providers: None,
            flavors: None,
            availability_zones: None,
            octavia_quotas: None,
            neutron_quotas: None,
            load_balancers: Some(LoadBalancers { loadbalancers: there }),
            ..(*known.cloud).clone()
        };
        Facts { cloud: Arc::new(cloud), ..known }
    }

    fn stack(facts: &Facts) -> OctaviaStack {
        let lb = of_services(&[service("web").port(80, 30080)], nodes(1));
        let causeway_api::Body::L4(listeners) = &lb.body else { unreachable!("it is of Services") };
        let (stack, problems) = l4::desired(&lb, listeners, facts, &Nodes::of(&lb.nodes, &facts.cloud));
        assert_eq!(problems, []);
        stack
    }

    fn existing(stack: &OctaviaStack, flavor: &str) -> ExistingLoadBalancer {
        ExistingLoadBalancer {
            id: "lb".to_owned(),
            provider: "amphora".to_owned(),
            flavor_id: flavor.to_owned(),
            tags: stack.mark.octavia_tags(ResourceType::LoadBalancer, "LoadBalancer"),
            ..ExistingLoadBalancer::default()
        }
    }

    #[rstest]
    #[case::made(&[], false, "", &[Rare::Providers, Rare::Quotas])]
    #[case::there(&[], true, "", &[])]
    #[case::made_with_a_flavor(&[("flavor-id", "small")], false, "", &[Rare::Providers, Rare::Flavors, Rare::Quotas])]
    #[case::there_with_it(&[("flavor-id", "small")], true, "small", &[])]
    #[case::there_with_another(&[("flavor-id", "small")], true, "large", &[Rare::Flavors])]
    #[case::zone(&[("availability-zone", "az1")], true, "", &[Rare::AvailabilityZones])]
    fn only_what_is_made_or_wished_needs_more(
        #[case] options: &[(&str, &str)],
        #[case] there: bool,
        #[case] flavor: &str,
        #[case] needs: &[Rare],
    ) {
        let first = stack(&facts(options, Vec::new()));
        let there = if there { vec![existing(&first, flavor)] } else { Vec::new() };
        let mut facts = facts(options, there);
        let wanted = stack(&facts);
        assert_eq!(asks(&wanted, &facts), needs.iter().copied().collect());
        let asked = Answers { unasked: BTreeSet::new(), ..(*facts.cloud).clone() };
        facts.cloud = Arc::new(asked);
        assert_eq!(
            asks(&wanted, &facts),
            BTreeSet::new(),
            "what the service does not give is not asked for again"
        );
    }
}
