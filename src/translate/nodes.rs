//! Which nodes may take traffic at all. Pure.
//!
//! Readiness and cordon are no rules (KEP-3458): a node's health is the load balancer's to find out, so a Ready flap changes no set.

use causeway_api::names::LABEL_EXCLUDE_NODE;
use causeway_api::{Node, NodeSet};

use crate::state::records::NodeRecord;

/// Whether a node may take traffic: it is not being deleted, about to be taken away (taints of the cluster autoscaler and of
/// Karpenter), or kept out by label. The label counts unless its value is false in the sense of Go's `strconv.ParseBool`; what
/// cannot be read keeps the node out, as upstream.
#[must_use]
pub fn eligible(node: &NodeRecord) -> bool {
    let excluded = node
        .labels
        .get(LABEL_EXCLUDE_NODE)
        .is_some_and(|value| !matches!(value.as_str(), "0" | "f" | "F" | "false" | "False" | "FALSE"));
    !(node.deleting || node.leaving || excluded)
}

/// The eligible nodes, sorted by name. To be computed once per change of nodes and shared.
pub fn node_set<'a>(nodes: impl IntoIterator<Item = &'a NodeRecord>) -> NodeSet {
    let mut nodes: Vec<Node> = nodes
        .into_iter()
        .filter(|node| eligible(node))
        .map(|node| Node {
            name: node.name.clone(),
            provider_id: node.provider_id.clone(),
            addresses: node.addresses.clone(),
            labels: node.labels.clone(),
        })
        .collect();
    nodes.sort();
    NodeSet { nodes }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain(NodeRecord::test("n"), true)]
    #[case::deleting(NodeRecord::test("n").deleting(), false)]
    #[case::leaving(NodeRecord::test("n").leaving(), false)]
    #[case::other_label(NodeRecord::test("n").label("zone", "a"), true)]
    #[case::no_network_yet(NodeRecord::test("n").network_unavailable(), true)]
    fn rules(#[case] node: NodeRecord, #[case] want: bool) {
        assert_eq!(eligible(&node), want);
    }

    #[rstest]
    fn excluded_unless_false(
        #[values("", "true", "1", "t", "T", "TRUE", "True", "yes", "no", "off", "fALSE", " false")]
        value: &str,
    ) {
        assert!(!eligible(&NodeRecord::test("n").label(LABEL_EXCLUDE_NODE, value)));
    }

    #[rstest]
    fn included_if_false(#[values("false", "False", "FALSE", "0", "f", "F")] value: &str) {
        assert!(eligible(&NodeRecord::test("n").label(LABEL_EXCLUDE_NODE, value)));
    }

    #[test]
    fn the_set_is_sorted_and_holds_what_targets_need() {
        let nodes = [
            NodeRecord::test("c").leaving(),
            NodeRecord::test("b").provider_id("aws:///eu/i-2"),
            NodeRecord::test("a").address("10.0.0.1").address("fd00::1"),
        ];
        let set = node_set(&nodes);
        assert_eq!(set.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(set.nodes[0].addresses.len(), 2);
        assert_eq!(set.nodes[1].provider_id.as_deref(), Some("aws:///eu/i-2"));
    }
}
