//! Whether this node is fit to announce. Pure; [`crate::kube_proxy`] asks.

use causeway_metal::announce::World;

/// How many checks of kube-proxy in a row must fail.
pub const MISSES: u32 = 2;

/// kube-proxy, by its health check. It counts as healthy until that is known otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct KubeProxy {
    failed: u32,
}

impl KubeProxy {
    /// Takes the result of one check. Answers whether kube-proxy is unhealthy.
    pub fn checked(&mut self, healthy: bool) -> bool {
        self.failed = if healthy { 0 } else { self.failed.saturating_add(1) };
        self.failed >= MISSES
    }
}

/// Notices when this node is drained by hand: it is cordoned, and the last ready endpoint on it goes. Cordoning alone is no reason to go, and neither is
/// a cordoned node on which there never was an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Drain {
    had_endpoints: bool,
    drained: bool,
}

impl Drain {
    /// Looks at the world anew. Answers whether this node is drained.
    pub fn look(&mut self, world: &World, node: &str) -> bool {
        let cordoned = world.nodes.get(node).is_some_and(|facts| facts.cordoned);
        let mut endpoints = world.announcements.values().filter_map(|lb| lb.endpoints.by_node.get(node));
        let has_endpoints = endpoints.any(|endpoints| endpoints.ready > 0);
        self.drained = cordoned && !has_endpoints && (self.had_endpoints || self.drained);
        self.had_endpoints = has_endpoints;
        self.drained
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use causeway_api::{Endpoints, EndpointsPerNode, Layer, LbKey, ObjectRef};
    use causeway_metal::announce::{Announcement, When};
    use causeway_metal::candidates::NodeFacts;

    use super::*;

    #[test]
    fn one_failed_check_is_no_illness_and_one_success_heals() {
        let mut proxy = KubeProxy::default();
        let seen: Vec<bool> =
            [true, false, true, false, false, false, true].map(|healthy| proxy.checked(healthy)).into();
        assert_eq!(seen, [false, false, false, false, true, true, false]);
    }

    fn world(cordoned: bool, ready: u32) -> World {
        let object = ObjectRef::service("default", "web", "u");
        let key = LbKey::object(Layer::L4, object.clone());
        let lb = Announcement {
            key: key.clone(),
            object,
            addresses: Vec::new(),
            labels: BTreeMap::new(),
            shares_address: false,
            when: When::ClusterEndpoints,
            endpoints: Endpoints {
                by_node: [("n".to_owned(), EndpointsPerNode { ready, serving: 1 })].into(),
                ..Endpoints::default()
            },
            single_announcer: false,
        };
        World {
            nodes: Arc::new([("n".to_owned(), NodeFacts { cordoned, ..NodeFacts::default() })].into()),
            announcements: [(key, Arc::new(lb))].into(),
            ..World::default()
        }
    }

    #[test]
    fn drained_is_a_cordoned_node_whose_endpoints_went() {
        let mut drain = Drain::default();
        let look = |drain: &mut Drain, cordoned, ready| drain.look(&world(cordoned, ready), "n");
        assert!(!look(&mut drain, true, 0), "there never was one");
        assert!(!look(&mut drain, false, 1));
        assert!(!look(&mut drain, true, 1), "only cordoned");
        assert!(look(&mut drain, true, 0));
        assert!(look(&mut drain, true, 0), "it stays so");
        assert!(!look(&mut drain, true, 1), "one came after all");
        assert!(look(&mut drain, true, 0));
        assert!(!look(&mut drain, false, 0), "uncordoned");
        assert!(!look(&mut drain, true, 0));
    }
}
