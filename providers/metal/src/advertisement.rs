//! L2 advertisements: `L2Advertisement` objects checked. Pure.
//!
//! One bad object never hides another; a bad one announces nothing.

use std::collections::BTreeSet;

use causeway_api::{ObjectRef, OwnObject, OwnObjects, Problem};

use crate::kinds::L2AdvertisementSpec;
use crate::names::reasons;
use crate::pool::Pool;
use crate::selector::{self, LabelSelector, Labels, Selector, any};

/// One checked `L2Advertisement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L2Advertisement {
    /// The object, for messages.
    pub object: ObjectRef,
    /// Names of pools.
    pub pools: BTreeSet<String>,
    /// Selectors of pools; ORed with the names. Both empty: all pools.
    pub pool_selectors: Vec<Selector>,
    /// Selectors of nodes; empty: all.
    pub node_selectors: Vec<Selector>,
    /// Preferred nodes and their weights; only for nodes that `node_selectors` match.
    pub preferred: Vec<(Selector, i32)>,
    /// Exact names of interfaces; empty: all.
    pub interfaces: BTreeSet<String>,
    /// Selectors of Services; empty: all.
    pub service_selectors: Vec<Selector>,
}

impl L2Advertisement {
    /// Whether addresses of this pool are announced.
    #[must_use]
    pub fn matches_pool(&self, pool: &Pool) -> bool {
        (self.pools.is_empty() && self.pool_selectors.is_empty())
            || self.pools.contains(&pool.name)
            || self.pool_selectors.iter().any(|s| s.matches(&pool.labels))
    }

    /// Whether a Service with these labels is announced.
    #[must_use]
    pub fn matches_service(&self, labels: &Labels) -> bool {
        any(&self.service_selectors, labels)
    }

    /// Whether a node with these labels may announce.
    #[must_use]
    pub fn matches_node(&self, labels: &Labels) -> bool {
        any(&self.node_selectors, labels)
    }

    /// Sum of the weights that a node with these labels has.
    #[must_use]
    pub fn weight(&self, labels: &Labels) -> i64 {
        self.preferred.iter().filter(|(s, _)| s.matches(labels)).map(|(_, w)| i64::from(*w)).sum()
    }

    /// Checks all `L2Advertisement` objects; bad ones are left out and reported.
    #[must_use]
    pub fn parse_all(objects: &OwnObjects) -> (Vec<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut advertisements = Vec::new();
        for object in objects.of("L2Advertisement") {
            let before = problems.len();
            let advertisement = parse(object, &mut problems);
            if problems.len() == before {
                advertisements.extend(advertisement);
            }
        }
        (advertisements, problems)
    }
}

fn parse(object: &OwnObject, problems: &mut Vec<Problem>) -> Option<L2Advertisement> {
    let mut refuse = |field: String, message: String| {
        problems.push(Problem::error(object.object.clone(), field, reasons::INVALID_ADVERTISEMENT, message));
    };
    // An advertisement without a spec is one with an empty spec.
    let spec = if object.spec.is_null() {
        L2AdvertisementSpec::default()
    } else {
        match serde_json::from_value::<L2AdvertisementSpec>(object.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                refuse("spec".into(), format!("cannot be read: {error}; see the schema of L2Advertisement"));
                return None;
            }
        }
    };
    let mut pools = BTreeSet::new();
    for (index, name) in spec.ip_address_pools.iter().enumerate() {
        if !pools.insert(name.clone()) {
            refuse(
                format!("spec.ipAddressPools[{index}]"),
                format!("{name:?} is listed twice; remove one of them"),
            );
        }
    }
    let mut preferred = Vec::new();
    for (index, entry) in spec.preferred_node_selectors.iter().enumerate() {
        let field = format!("spec.preferredNodeSelectors[{index}]");
        if !(1..=100).contains(&entry.weight) {
            refuse(format!("{field}.weight"), format!("{} is not within 1 to 100", entry.weight));
        }
        match Selector::new(&entry.preference) {
            Ok(selector) => preferred.push((selector, entry.weight)),
            Err(error) => refuse(format!("{field}.preference"), error.to_string()),
        }
    }
    let mut checked = |name: &str, selectors: &[LabelSelector]| {
        selector::all(selectors).unwrap_or_else(|(index, error)| {
            let message =
                error.map_or_else(|| "is listed twice; remove one of them".into(), |e| e.to_string());
            refuse(format!("spec.{name}[{index}]"), message);
            Vec::new()
        })
    };
    Some(L2Advertisement {
        object: object.object.clone(),
        pools,
        pool_selectors: checked("ipAddressPoolSelectors", &spec.ip_address_pool_selectors),
        node_selectors: checked("nodeSelectors", &spec.node_selectors),
        preferred,
        interfaces: spec.interfaces.into_iter().collect(),
        service_selectors: checked("serviceSelectors", &spec.service_selectors),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn parse_one(spec: Value) -> (Option<L2Advertisement>, Vec<Problem>) {
        let object = OwnObject::new("L2Advertisement", "metallb-system", "ad", spec);
        let (mut ads, problems) =
            L2Advertisement::parse_all(&OwnObjects { objects: vec![object], ..OwnObjects::default() });
        (ads.pop(), problems)
    }

    fn pool(name: &str, label: &str) -> Pool {
        Pool {
            name: name.into(),
            object: ObjectRef::service("", "", ""),
            labels: Labels::from([("l".to_owned(), label.to_owned())]),
            ranges: Vec::new(),
            auto_assign: true,
            avoid_buggy_ips: false,
            set_aside: None,
            refused: false,
        }
    }

    #[rstest]
    #[case(json!(null), true, true)]
    #[case(json!({}), true, true)]
    #[case(json!({"ipAddressPools": ["a"]}), true, false)]
    #[case(json!({"ipAddressPools": ["gone"]}), false, false)]
    #[case(json!({"ipAddressPoolSelectors": [{"matchLabels": {"l": "two"}}]}), false, true)]
    #[case(json!({"ipAddressPools": ["a"], "ipAddressPoolSelectors": [{"matchLabels": {"l": "two"}}]}), true, true)]
    fn pools_by_name_or_label(#[case] spec: Value, #[case] a: bool, #[case] b: bool) {
        let (ad, problems) = parse_one(spec);
        assert_eq!(problems, Vec::new());
        let ad = ad.expect("valid");
        assert_eq!((ad.matches_pool(&pool("a", "one")), ad.matches_pool(&pool("b", "two"))), (a, b));
    }

    #[rstest]
    #[case(json!({"ipAddressPools": ["a", "b", "a"]}), "spec.ipAddressPools[2]")]
    #[case(json!({"nodeSelectors": [{}, {}]}), "spec.nodeSelectors[1]")]
    #[case(json!({"serviceSelectors": [{"matchExpressions": [{"key": "k", "operator": "Gt"}]}]}),
        "spec.serviceSelectors[0]")]
    #[case(json!({"preferredNodeSelectors": [{"weight": 0, "preference": {}}]}),
        "spec.preferredNodeSelectors[0].weight")]
    #[case(json!({"interfaces": "eth0"}), "spec")]
    fn faults_name_their_field(#[case] spec: Value, #[case] field: &str) {
        let (ad, problems) = parse_one(spec);
        assert_eq!(ad, None);
        assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}
