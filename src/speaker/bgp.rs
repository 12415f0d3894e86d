//! What is reported of BGP, out of the decisions about routes and the states of sessions: status objects and Events. Pure; [`super::reports`] writes the objects.

use std::sync::Arc;

use causeway_api::{ObjectRef, digest};
use causeway_metal::bgp::{Peer, PeerTo, RouteDecision, Routing};
use causeway_metal::kinds::{BGPSessionStateStatus, ServiceBGPStatusStatus, peer_label};
use causeway_metal::names::{
    LABEL_NODE, LABEL_SERVICE_NAME, LABEL_SERVICE_NAMESPACE, LABEL_SESSION_NODE, LABEL_SESSION_PEER,
    LABEL_SESSION_VRF, events, reasons,
};
use causeway_speaker::bgp::State;
use causeway_speaker::routers::{RouterStatus, Sessions};
use serde_json::json;

use super::reports::{Report, Reports};
use crate::engine::cluster::EventNote;

/// The longest name of an object.
const NAME_LENGTH: usize = 253;

/// How a router is named in labels and statuses.
#[must_use]
pub fn router(peer: &Peer) -> String {
    match &peer.to {
        PeerTo::Address(address) => peer_label(*address),
        PeerTo::Interface(interface) => interface.clone(),
    }
}

/// One `ServiceBGPStatus` for each Service that a node announces.
#[must_use]
pub fn service_reports(node: &str, routing: &Routing) -> Reports {
    let announced = routing.decisions.values().filter(|decision| announces(decision));
    let report = |decision: &RouteDecision| {
        let ObjectRef { namespace, name, .. } = &decision.announcement.object;
        let status = ServiceBGPStatusStatus {
            node: Some(node.to_owned()),
            service_name: Some(name.clone()),
            service_namespace: Some(namespace.clone()),
            peers: decision.peers.iter().cloned().collect(),
        };
        let labels = [(LABEL_NODE, node), (LABEL_SERVICE_NAME, name), (LABEL_SERVICE_NAMESPACE, namespace)];
        let id = digest(&[node, namespace.as_str(), name.as_str()]);
        (format!("bgp-{id}"), Arc::new(Report::new(labels, &json!(status))))
    };
    announced.map(report).collect()
}

/// One `BGPSessionState` for each session of a node.
#[must_use]
pub fn session_reports(node: &str, sessions: &Sessions) -> Reports {
    let report = |session: &RouterStatus| {
        let router = router(&session.peer);
        let bfd = match session.bfd {
            Some(true) => "Up",
            Some(false) => "Down",
            None => "N/A",
        };
        let status = BGPSessionStateStatus {
            bfd_status: Some(bfd.to_owned()),
            bgp_status: Some(session.state.as_str().to_owned()),
            node: Some(node.to_owned()),
            peer: Some(router.clone()),
            vrf: Some(String::new()),
        };
        let labels =
            [(LABEL_SESSION_NODE, node), (LABEL_SESSION_PEER, router.as_str()), (LABEL_SESSION_VRF, "")];
        (session_name(node, &router), Arc::new(Report::new(labels, &json!(status))))
    };
    sessions.values().map(report).collect()
}

/// Names of interfaces may hold what names of objects may not.
fn session_name(node: &str, router: &str) -> String {
    let plain = format!("{node}-{router}");
    let is_plain = router.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        && router.ends_with(|c: char| c.is_ascii_alphanumeric());
    if is_plain && plain.len() <= NAME_LENGTH {
        plain
    } else {
        format!("session-{}", digest(&[node, router]))
    }
}

/// A decision's peers are none if and only if the node is silent.
fn announces(decision: &RouteDecision) -> bool {
    !decision.peers.is_empty()
}

/// The Events that follow from new decisions: what is announced now, and what contradicts itself now.
#[must_use]
pub fn news(node: &str, before: &Routing, after: &Routing) -> Vec<EventNote> {
    let mut notes = Vec::new();
    for (key, decision) in &after.decisions {
        let old = before.decisions.get(key);
        let object = &decision.announcement.object;
        let same = old.is_some_and(|old| {
            announces(old)
                && old.announcement.addresses == decision.announcement.addresses
                && old.announcement.object == *object
        });
        if announces(decision) && !same {
            notes.push(EventNote {
                object: object.clone(),
                warning: false,
                reason: events::NODE_ASSIGNED.to_owned(),
                message: format!("announcing from node {node:?} with protocol \"bgp\""),
            });
        }
        if old.is_none_or(|old| old.conflicts != decision.conflicts) {
            notes.extend(decision.problems().into_iter().map(|problem| EventNote {
                object: problem.object,
                warning: true,
                reason: reasons::CONFLICTING_ADVERTISEMENTS.to_owned(),
                message: problem.message,
            }));
        }
    }
    notes
}

/// The Events of sessions that came up, went down, or cannot come up for a reason that is new.
#[must_use]
pub fn session_news(node: &str, before: &Sessions, after: &Sessions) -> Vec<EventNote> {
    let up = |session: &RouterStatus| session.state == State::Established;
    let note = |(name, session): (&String, &RouterStatus)| {
        let old = before.get(name);
        let of = format!("BGP session of node {node} with {}", router(&session.peer));
        let (warning, reason, message) = match (old.is_some_and(up), up(session)) {
            (true, true) => return None,
            (false, true) => (false, events::SESSION_UP, format!("{of} is established")),
            (was_up, false) => {
                let known = old.and_then(|old| old.why.as_ref());
                match session.why.as_ref().filter(|why| was_up || Some(*why) != known) {
                    Some(why) => (true, events::SESSION_DOWN, format!("{of} is down: {why}")),
                    None if was_up => (true, events::SESSION_DOWN, format!("{of} is down")),
                    None => return None,
                }
            }
        };
        Some(EventNote { object: session.peer.object.clone(), warning, reason: reason.to_owned(), message })
    };
    after.iter().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use causeway_api::{Endpoints, Layer, LbKey, OwnObject, OwnObjects};
    use causeway_metal::announce::{Announcement, When};
    use causeway_metal::bgp::{BgpConfig, RouteSilence};

    use super::*;

    fn decision(name: &str, address: &str, peers: &[&str]) -> (LbKey, RouteDecision) {
        let object = ObjectRef::service("shop", name, "u");
        let key = LbKey::object(Layer::L4, object.clone());
        let announcement = Announcement {
            key: key.clone(),
            object,
            addresses: vec![address.parse().expect("an address")],
            labels: BTreeMap::new(),
            shares_address: false,
            when: When::ClusterEndpoints,
            endpoints: Endpoints::default(),
            single_announcer: false,
        };
        let peers: BTreeSet<String> = peers.iter().map(|&peer| peer.to_owned()).collect();
        let decision = RouteDecision {
            announcement: Arc::new(announcement),
            pool: Some("pool".to_owned()),
            silent: peers.is_empty().then_some(RouteSilence::NoEndpoint),
            peers: Arc::new(peers),
            conflicts: Vec::new(),
            withheld: Arc::default(),
        };
        (key, decision)
    }

    fn routing(decisions: &[(LbKey, RouteDecision)]) -> Routing {
        Routing { decisions: decisions.iter().cloned().collect(), ..Routing::default() }
    }

    #[test]
    fn a_status_for_what_is_announced_and_for_nothing_else() {
        let all =
            routing(&[decision("web", "192.0.2.1", &["tor-b", "tor-a"]), decision("idle", "192.0.2.2", &[])]);
        let reports = service_reports("node1", &all);
        assert_eq!(reports.len(), 1);
        let other = service_reports("node2", &all);
        assert!(reports.keys().all(|name| !other.contains_key(name)), "each node has its own");
        let status = json!({"node": "node1", "serviceName": "web", "serviceNamespace": "shop", "peers": ["tor-a", "tor-b"]});
        let labels = [(LABEL_NODE, "node1"), (LABEL_SERVICE_NAME, "web"), (LABEL_SERVICE_NAMESPACE, "shop")];
        assert_eq!(reports.into_values().next(), Some(Arc::new(Report::new(labels, &status))));
    }

    fn session(
        name: &str,
        spec: serde_json::Value,
        state: State,
        why: Option<&str>,
    ) -> (String, RouterStatus) {
        let objects = OwnObjects {
            objects: vec![OwnObject::new("BGPPeer", "metallb-system", name, spec)],
            ..OwnObjects::default()
        };
        let (config, problems) = BgpConfig::without_secrets(&objects);
        let peer = config.peers.values().next().unwrap_or_else(|| panic!("{problems:?}"));
        let status = RouterStatus { peer: Arc::clone(peer), state, why: why.map(str::to_owned), bfd: None };
        (name.to_owned(), status)
    }

    fn tor(state: State, why: Option<&str>) -> (String, RouterStatus) {
        session("tor", json!({"myASN": 64501, "peerASN": 64500, "peerAddress": "192.0.2.1"}), state, why)
    }

    #[test]
    fn sessions_are_named_after_their_ends_where_a_name_can_hold_that() {
        let (name, mut with_bfd) = tor(State::Established, None);
        with_bfd.bfd = Some(true);
        let odd = json!({"myASN": 64501, "dynamicASN": "external", "interface": "eth0_1"});
        let sessions = Sessions::from([(name, with_bfd), session("odd", odd, State::Active, None)]);
        let reports = session_reports("node1", &sessions);
        let names: Vec<&str> = reports.keys().map(String::as_str).collect();
        assert_eq!(names[0], "node1-192.0.2.1");
        assert!(names[1].starts_with("session-") && !names[1].contains('_'), "{names:?}");
        let status = json!({"bfdStatus": "Up", "bgpStatus": "Established", "node": "node1", "peer": "192.0.2.1", "vrf": ""});
        let labels =
            [(LABEL_SESSION_NODE, "node1"), (LABEL_SESSION_PEER, "192.0.2.1"), (LABEL_SESSION_VRF, "")];
        assert_eq!(*reports["node1-192.0.2.1"], Report::new(labels, &status));
    }

    #[test]
    fn a_session_is_news_when_it_comes_up_goes_down_or_fails_for_a_new_reason() {
        let of = |before: (State, Option<&str>), after: (State, Option<&str>)| -> Vec<String> {
            let (before, after) =
                (Sessions::from([tor(before.0, before.1)]), Sessions::from([tor(after.0, after.1)]));
            session_news("node1", &before, &after).into_iter().map(|note| note.message).collect()
        };
        let up = (State::Established, None);
        assert_eq!(
            of((State::Active, None), up),
            ["BGP session of node node1 with 192.0.2.1 is established"]
        );
        assert_eq!(of(up, up), Vec::<String>::new());
        assert_eq!(
            of(up, (State::Idle, Some("gone")))[0],
            "BGP session of node node1 with 192.0.2.1 is down: gone"
        );
        assert_eq!(of(up, (State::Idle, None)).len(), 1);
        assert_eq!(of((State::Idle, Some("gone")), (State::Connect, Some("gone"))), Vec::<String>::new());
        assert_eq!(of((State::Idle, Some("gone")), (State::Active, Some("no answer"))).len(), 1);
        assert_eq!(of((State::Idle, None), (State::Connect, None)), Vec::<String>::new());
    }

    #[test]
    fn an_event_when_it_begins_and_when_its_address_changes() {
        let said = |before: &Routing, after: &Routing| -> Vec<String> {
            news("node1", before, after)
                .into_iter()
                .map(|note| format!("{} {}", note.object.name, note.reason))
                .collect()
        };
        let (none, one) = (routing(&[]), routing(&[decision("web", "192.0.2.1", &["tor"])]));
        assert_eq!(said(&none, &one), ["web nodeAssigned"]);
        assert_eq!(said(&one, &one), Vec::<String>::new());
        let more = routing(&[decision("web", "192.0.2.1", &["tor", "tor-b"])]);
        assert_eq!(said(&one, &more), Vec::<String>::new(), "to another peer as well");
        assert_eq!(said(&one, &routing(&[decision("web", "192.0.2.9", &["tor"])])), ["web nodeAssigned"]);
        let silent = routing(&[decision("web", "192.0.2.1", &[])]);
        assert_eq!((said(&one, &silent), said(&silent, &one)), (vec![], vec!["web nodeAssigned".to_owned()]));
    }
}
