//! Addresses that are given to nobody, because somebody has them already: a node of the cluster, or a stranger on the segment. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use causeway_api::{ObjectRef, OwnObject, OwnObjects, Problem};

use crate::kinds::{AddressConflictSpec, ConflictPhase};
use crate::names::reasons;
use crate::pool::Pools;

/// Nodes that a problem of a pool names.
const NODES_NAMED: usize = 3;

/// Somebody else on the segment who uses an address: a checked `AddressConflict`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The object that says so.
    pub object: ObjectRef,
    /// His hardware address.
    pub mac: String,
    /// When he was met.
    pub phase: ConflictPhase,
    /// The node that met him.
    pub node: String,
    /// On this interface of it.
    pub interface: String,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The node of this name.
    Node(String),
    /// Somebody else.
    Stranger(Stranger),
}

impl Taken {
    /// A stranger who was met before the address was announced: nobody here begins to announce it.
    #[must_use]
    pub fn before_use(&self) -> bool {
        matches!(self, Self::Stranger(stranger) if stranger.phase == ConflictPhase::Probe)
    }

    /// The stranger, if it is one.
    #[must_use]
    pub fn stranger(&self) -> Option<&Stranger> {
        match self {
            Self::Stranger(stranger) => Some(stranger),
            Self::Node(_) => None,
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "is an address of node {node}"),
            Self::Stranger(stranger) => write!(
                f,
                "is used by {} on the network of node {} ({})",
                stranger.mac, stranger.node, stranger.interface
            ),
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    by_address: BTreeMap<IpAddr, Taken>,
}

impl Closed {
    /// Reads the conflicts, and of the nodes' addresses those that lie in a pool: that is a problem of the pool.
    #[must_use]
    pub fn new(objects: &OwnObjects, pools: &Pools) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut closed = Self::default();
        for object in objects.of("AddressConflict") {
            match conflict(object) {
                Ok((address, stranger)) => {
                    closed.by_address.entry(address).or_insert(Taken::Stranger(stranger));
                }
                Err((field, message)) => problems.push(Problem::warning(
                    object.object.clone(),
                    field,
                    reasons::INVALID_CONFLICT,
                    format!("{message}; delete this AddressConflict"),
                )),
            }
        }
        let mut overlapped: BTreeMap<&str, (&ObjectRef, Vec<String>)> = BTreeMap::new();
        for (address, node) in &objects.node_addresses {
            let address = address.to_canonical();
            let Some(pool) = pools.serving_at(address) else { continue };
            closed.by_address.insert(address, Taken::Node(node.clone()));
            let (_, found) = overlapped.entry(&pool.name).or_insert_with(|| (&pool.object, Vec::new()));
            found.push(format!("{address} of {node}"));
        }
        problems.extend(overlapped.into_values().map(|(pool, found)| overlap(pool, &found)));
        (closed, problems)
    }

    /// Who has an address, if it is closed.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&Taken> {
        self.by_address.get(&address)
    }

    /// All closed addresses.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Taken)> {
        self.by_address.iter().map(|(address, taken)| (*address, taken))
    }
}

/// Address and stranger, or field and fault.
fn conflict(object: &OwnObject) -> Result<(IpAddr, Stranger), (&'static str, String)> {
    let spec: AddressConflictSpec = serde_json::from_value(object.spec.clone())
        .map_err(|error| ("spec", format!("cannot be read: {error}")))?;
    let address: IpAddr = spec
        .address
        .parse()
        .map_err(|_| ("spec.address", format!("{:?} is not an IP address", spec.address)))?;
    let stranger = Stranger {
        object: object.object.clone(),
        mac: spec.mac,
        phase: spec.phase,
        node: spec.node,
        interface: spec.interface,
    };
    Ok((address.to_canonical(), stranger))
}

/// The text does not change with each node that joins, or it would be a new Event each time.
fn overlap(pool: &ObjectRef, found: &[String]) -> Problem {
    let named = found.iter().take(NODES_NAMED).cloned().collect::<Vec<_>>().join(", ");
    let others = if found.len() > NODES_NAMED { " and others" } else { "" };
    Problem::warning(
        pool.clone(),
        "spec.addresses",
        reasons::NODE_ADDRESSES,
        format!(
            "holds addresses of nodes: {named}{others}; these are never given to a Service; take them out of the pool"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_api::Severity;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn own(kind: &str, name: &str, spec: Value) -> OwnObject {
        OwnObject::new(kind, "metallb-system", name, spec)
    }

    fn stranger(name: &str, address: &str, phase: &str) -> OwnObject {
        let spec = json!({"address": address, "mac": "02:00:00:00:00:99", "phase": phase, "node": "n1", "interface": "eth0"});
        own("AddressConflict", name, spec)
    }

    fn closed(objects: Vec<OwnObject>, nodes: &[(&str, &str)]) -> (Closed, Vec<Problem>) {
        let node_addresses = nodes.iter().map(|(a, n)| (ip(a), (*n).to_owned())).collect();
        let mut objects = OwnObjects { objects, node_addresses };
        objects.objects.push(own(
            "IPAddressPool",
            "p",
            json!({"addresses": ["192.0.2.0/24", "2001:db8::/64"]}),
        ));
        let (pools, none) = Pools::new(&objects);
        assert_eq!(none, []);
        Closed::new(&objects, &pools)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn strangers_are_known_by_their_mac_and_phase() {
        let (closed, problems) =
            closed(vec![stranger("a", "192.0.2.7", "Probe"), stranger("b", "2001:db8::7", "Announced")], &[]);
        assert_eq!(problems, []);
        let (four, six) = (closed.get(ip("192.0.2.7")).expect("closed"), closed.get(ip("2001:db8::7")));
        assert!(four.before_use() && six.is_some_and(|taken| !taken.before_use()));
        assert_eq!(four.to_string(), "is used by 02:00:00:00:00:99 on the network of node n1 (eth0)");
        assert_eq!(closed.get(ip("192.0.2.8")), None);
    }

    #[rstest]
    #[case(json!({"address": "web", "mac": "", "phase": "Probe", "node": "", "interface": ""}), "spec.address")]
    #[case(json!({"address": "192.0.2.7", "mac": "", "phase": "Perhaps", "node": "", "interface": ""}), "spec")]
    #[case(Value::Null, "spec")]
    fn one_bad_conflict_hides_no_other(#[case] spec: Value, #[case] field: &str) {
        let (closed, problems) =
            closed(vec![own("AddressConflict", "bad", spec), stranger("good", "192.0.2.7", "Probe")], &[]);
        assert!(closed.get(ip("192.0.2.7")).is_some());
        assert_eq!((problems.len(), problems[0].field.as_str()), (1, field));
        assert!(problems[0].message.contains("delete this AddressConflict"), "{}", problems[0]);
    }

    #[test]
    fn addresses_of_nodes_in_a_pool_are_closed_and_a_problem_of_the_pool() {
        let nodes = [
            ("192.0.2.1", "n1"),
            ("192.0.2.2", "n2"),
            ("192.0.2.3", "n3"),
            ("2001:db8::4", "n4"),
            ("203.0.113.5", "n5"),
        ];
        let (all, problems) = closed(Vec::new(), &nodes);
        assert_eq!(all.iter().count(), 4, "one of them lies in no pool");
        assert_eq!(
            all.get(ip("192.0.2.2")).map(ToString::to_string).as_deref(),
            Some("is an address of node n2")
        );
        assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warning));
        let text = problems[0].to_string();
        for part in [
            "IPAddressPool metallb-system/p",
            "spec.addresses",
            "192.0.2.1 of n1",
            "take them out of the pool",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // One more node makes no other text.
        let mut more = nodes.to_vec();
        more.push(("192.0.2.9", "n9"));
        assert_eq!(closed(Vec::new(), &more).1, problems);
        // None, no problem.
        assert_eq!(closed(Vec::new(), &nodes[4..]), (Closed::default(), vec![]));
    }

    #[test]
    fn a_node_that_answers_for_its_own_address_is_no_stranger() {
        let (closed, _) = closed(vec![stranger("a", "192.0.2.1", "Probe")], &[("192.0.2.1", "n1")]);
        assert_eq!(closed.get(ip("192.0.2.1")), Some(&Taken::Node("n1".into())));
    }
}
