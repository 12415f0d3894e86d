//! What only a speaker can find wrong with the configuration: what depends on a Secret, which the controller does not read, or on which objects meet on this node. Pure.
//!
//! Everything else the controller says on the objects, once and not from every node.

use causeway_api::{OwnObjects, Problem};
use causeway_metal::bgp::{BgpConfig, Where};
use causeway_metal::pool::Pools;
use causeway_metal::selector::Labels;

use crate::engine::cluster::EventNote;

/// Of what was `found` wrong with BGP's objects, seen from a node with these labels, that which the controller does not see. A peer that this node does not speak with is
/// left to those that do.
pub fn only_here(objects: &OwnObjects, pools: &Pools, labels: &Labels, found: &[Problem]) -> Vec<Problem> {
    if found.is_empty() {
        return Vec::new();
    }
    let (config, mut known) = BgpConfig::without_secrets(objects);
    known.extend(config.clashes(pools, Where::Anywhere));
    let concerns = |problem: &&Problem| {
        problem.object.kind.as_str() != "BGPPeer"
            || config.peers.get(&problem.object.name).is_none_or(|peer| peer.matches_node(labels))
    };
    found.iter().filter(|problem| !known.contains(problem)).filter(concerns).cloned().collect()
}

/// The Events of what is wrong now and was not before.
pub fn news(node: &str, before: &[Problem], now: &[Problem]) -> Vec<EventNote> {
    let note = |problem: &Problem| EventNote {
        object: problem.object.clone(),
        warning: true,
        reason: problem.reason.clone(),
        message: match problem.field.as_str() {
            "" => format!("on node {node}: {}", problem.message),
            field => format!("on node {node}: {field}: {}", problem.message),
        },
    };
    now.iter().filter(|problem| !before.contains(problem)).map(note).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use causeway_api::OwnObject;
    use serde_json::{Value, json};

    use super::*;

    fn peer(name: &str, spec: Value) -> OwnObject {
        let mut all = json!({"myASN": 64501, "peerASN": 64500, "peerAddress": "192.0.2.1"});
        for (key, value) in spec.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        OwnObject::new("BGPPeer", "metallb-system", name, all)
    }

    /// What a speaker says, on a node in rack `a`.
    fn said(peers: Vec<OwnObject>) -> Vec<(String, String)> {
        let objects = OwnObjects { objects: peers, ..OwnObjects::default() };
        let labels: Labels = [("rack".to_owned(), "a".to_owned())].into();
        let (pools, _) = Pools::new(&objects);
        let (bgp, mut found) = BgpConfig::new(&objects, &BTreeMap::new());
        found.extend(bgp.clashes(&pools, Where::Node(&labels)));
        let here = only_here(&objects, &pools, &labels, &found);
        let notes = news("node1", &[], &here);
        assert!(news("node1", &here, &here).is_empty(), "once");
        notes.into_iter().map(|note| (note.object.name, note.message)).collect()
    }

    #[test]
    fn a_missing_secret_is_said_and_what_the_controller_says_is_not() {
        let secret = json!({"passwordSecret": {"name": "tor"}});
        let notes = said(vec![
            peer("closed", secret),
            peer("odd", json!({"vrf": "red", "peerAddress": "192.0.2.2"})),
            peer("again", json!({"peerAddress": "192.0.2.3"})),
            peer("twice", json!({"peerAddress": "192.0.2.3"})),
        ]);
        let [(name, message)] = &notes[..] else { panic!("{notes:?}") };
        assert_eq!(name, "closed");
        assert!(
            message.starts_with("on node node1: spec.passwordSecret: there is no Secret tor"),
            "{message}"
        );
    }

    #[test]
    fn a_peer_of_another_rack_is_left_to_that_rack() {
        let of = |rack: &str| json!([{"matchLabels": {"rack": rack}}]);
        let secret =
            |rack| peer("closed", json!({"passwordSecret": {"name": "tor"}, "nodeSelectors": of(rack)}));
        assert_eq!(said(vec![secret("a")]).len(), 1);
        assert!(said(vec![secret("b")]).is_empty());
    }

    #[test]
    fn peers_that_meet_on_this_node_by_different_selectors_are_said() {
        let by = |key: &str| json!({"nodeSelectors": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]});
        let here = json!({"nodeSelectors": [{"matchLabels": {"rack": "a"}}]});
        let notes = said(vec![peer("one", by("rack")), peer("two", here)]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(said(vec![peer("one", by("rack")), peer("two", by("row"))]).is_empty());
    }
}
