//! What becomes of a Node whose machine stops or ends. Pure.
//!
//! As k8s.io/cloud-provider's cloud-node-lifecycle controller (`node_lifecycle_controller.go`), with one precaution more: a Node is deleted only
//! when the cloud says twice, a period apart, that its machine is gone. A cloud that has just made a machine may deny it for a moment, and a Node
//! that is deleted wrongly takes its Pods with it.

use causeway_api::{Found, names};
use serde_json::{Value, json};

use super::view::NodeView;
use crate::kube::types::Taint;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Leave,
    /// Its machine is said to be gone for the first time.
    Suspect,
    /// Delete the Node.
    Delete,
    /// Set the taint of shut-down machines, so that Pods go elsewhere and volumes are let go of.
    Taint,
}

/// Whether the cloud must be asked: only for Nodes that are not Ready, and that a node controller of this cloud has seen.
#[must_use]
pub fn in_question(node: &NodeView) -> bool {
    !node.ready && !node.deleting && !node.provider_id.is_empty() && !node.is_uninitialized()
}

/// Whether the taint of shut-down machines must go: its kubelet says it is Ready.
#[must_use]
pub fn is_back(node: &NodeView) -> bool {
    node.ready && !node.deleting && node.has_taint(names::TAINT_SHUTDOWN)
}

/// What to do with a Node [`in_question`]. `suspected`: the last answer was that its machine is gone.
#[must_use]
pub fn step(node: &NodeView, found: &Found, suspected: bool) -> Step {
    match found {
        Found::Gone if suspected => Step::Delete,
        Found::Gone => Step::Suspect,
        Found::Instance(instance) if instance.stopped && !node.has_taint(names::TAINT_SHUTDOWN) => {
            Step::Taint
        }
        Found::Instance(_) | Found::Unknown(_) => Step::Leave,
    }
}

/// The merge patch that sets the taint, or takes it away.
#[must_use]
pub fn taints(node: &NodeView, shut_down: bool) -> Value {
    let mut taints: Vec<Taint> = node.taints.clone();
    taints.retain(|taint| taint.key.as_deref() != Some(names::TAINT_SHUTDOWN));
    if shut_down {
        taints.push(Taint {
            key: Some(names::TAINT_SHUTDOWN.into()),
            effect: Some("NoSchedule".into()),
            ..Taint::default()
        });
    }
    json!({
        "metadata": {"uid": node.uid, "resourceVersion": node.resource_version},
        "spec": {"taints": taints},
    })
}

#[cfg(test)]
mod tests {
    use causeway_api::Instance;
    use rstest::rstest;

    use super::*;

    fn node() -> NodeView {
        NodeView {
            name: "n1".into(),
            uid: "u1".into(),
            provider_id: "aws:///a/i-1".into(),
            ..NodeView::default()
        }
    }

    fn with_taint(key: &str) -> NodeView {
        let taint = Taint { key: Some(key.into()), ..Taint::default() };
        NodeView { taints: vec![taint], ..node() }
    }

    fn found(stopped: bool) -> Found {
        Found::Instance(Box::new(Instance { stopped, ..Instance::default() }))
    }

    #[rstest]
    #[case::gone_once(Found::Gone, false, Step::Suspect)]
    #[case::gone_twice(Found::Gone, true, Step::Delete)]
    #[case::runs(found(false), false, Step::Leave)]
    #[case::runs_after_all(found(false), true, Step::Leave)]
    #[case::stopped(found(true), false, Step::Taint)]
    #[case::foreign(Found::Unknown("of another cloud".into()), true, Step::Leave)]
    fn steps(#[case] found: Found, #[case] suspected: bool, #[case] want: Step) {
        assert_eq!(step(&node(), &found, suspected), want);
    }

    #[test]
    fn a_taint_that_is_there_is_not_set_again() {
        assert_eq!(step(&with_taint(names::TAINT_SHUTDOWN), &found(true), false), Step::Leave);
    }

    #[rstest]
    #[case::not_ready(node(), true)]
    #[case::ready(NodeView { ready: true, ..node() }, false)]
    #[case::deleting(NodeView { deleting: true, ..node() }, false)]
    #[case::of_no_cloud(NodeView { provider_id: String::new(), ..node() }, false)]
    #[case::new(with_taint(names::TAINT_UNINITIALIZED), false)]
    #[case::shut_down(with_taint(names::TAINT_SHUTDOWN), true)]
    fn only_nodes_that_are_not_ready_are_asked_for(#[case] node: NodeView, #[case] want: bool) {
        assert_eq!(in_question(&node), want);
    }

    #[test]
    fn a_node_that_is_back_loses_only_this_taint() {
        let mut node = with_taint("other");
        node.ready = true;
        assert!(!is_back(&node));
        node.taints.push(Taint { key: Some(names::TAINT_SHUTDOWN.into()), ..Taint::default() });
        assert!(is_back(&node));
        assert_eq!(taints(&node, false)["spec"]["taints"], json!([{"key": "other"}]));
        let set = taints(&with_taint("other"), true);
        assert_eq!(set["spec"]["taints"][1], json!({"key": names::TAINT_SHUTDOWN, "effect": "NoSchedule"}));
    }
}
