//! What a Node shall say of its machine: provider id, labels, addresses; and that it waits no longer. Pure.
//!
//! As k8s.io/cloud-provider's cloud-node controller has it (reference: `node_controller.go`, KEP-2395), so that clusters can move over:
//! - a Node with the taint `uninitialized` gets everything at once, in one write that takes the taint away;
//! - afterwards only addresses follow the machine, labels that are missing come back, and the beta twins follow their label. What somebody
//!   else set stays, and a provider id is never changed.
//! - The kubelet's own Hostname stays if the cloud names none; `--node-ip` decides which address of its type is shown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_api::{AddressKind, Instance, NodeAddress, Problem, names};
use serde_json::{Map, Value, json};

use super::view::NodeView;

/// A label, its beta twin, and where its value is from.
type Label = (&'static str, &'static str, fn(&Instance) -> &str);

/// Labels out of a machine.
const LABELS: [Label; 3] = [
    ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type", |i| &i.instance_type),
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone", |i| &i.zone),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region", |i| &i.region),
];

/// Writes that bring a Node to what its machine is; merge patches (RFC 7386).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Of the status; to be written first, so that who waits for the taint to go finds addresses.
    pub status: Option<Value>,
    /// Of the object, conditional on its resourceVersion.
    pub object: Option<Value>,
}

/// What to write, if anything.
///
/// # Errors
/// The kubelet insists on an address that the machine does not have: nothing is written, as the Node would be of no use.
pub fn changes(node: &NodeView, instance: &Instance) -> Result<Changes, Box<Problem>> {
    let addresses = addresses(node, instance)?;
    let status = (!addresses.is_empty() && addresses != node.addresses)
        .then(|| json!({"metadata": {"uid": node.uid}, "status": {"addresses": addresses}}));

    let mut labels = labels(node, instance);
    labels.retain(|key, value| node.labels.get(key) != Some(value));
    let mut spec = Map::new();
    if node.provider_id.is_empty() && !instance.provider_id.is_empty() {
        spec.insert("providerID".into(), instance.provider_id.as_str().into());
    }
    if node.is_uninitialized() {
        let others = node.taints.iter().filter(|t| t.key.as_deref() != Some(names::TAINT_UNINITIALIZED));
        spec.insert("taints".into(), json!(others.collect::<Vec<_>>()));
    }
    let mut object = json!({"metadata": {"uid": node.uid, "resourceVersion": node.resource_version}});
    let nothing = labels.is_empty() && spec.is_empty();
    if !labels.is_empty() {
        object["metadata"]["labels"] = json!(labels);
    }
    if !spec.is_empty() {
        object["spec"] = spec.into();
    }
    Ok(Changes { status, object: (!nothing).then_some(object) })
}

/// Labels as they shall be, of those that are ours to set now.
fn labels(node: &NodeView, instance: &Instance) -> BTreeMap<String, String> {
    let initial = node.is_uninitialized();
    let mut out = BTreeMap::new();
    for (label, twin, value) in LABELS {
        let said = value(instance);
        let there = node.labels.get(label).filter(|_| !initial).map_or(said, String::as_str);
        if !there.is_empty() {
            out.insert(label.to_owned(), there.to_owned());
            out.insert(twin.to_owned(), there.to_owned());
        }
    }
    for (label, value) in &instance.labels {
        if !reserved(label) && (initial || !node.labels.contains_key(label)) {
            out.insert(label.clone(), value.clone());
        }
    }
    out
}

/// Whether a label is in one of Kubernetes' own domains, which a cloud is not to use for its own purposes.
fn reserved(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return false };
    ["kubernetes.io", "k8s.io"]
        .iter()
        .any(|own| domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn addresses(node: &NodeView, instance: &Instance) -> Result<Vec<NodeAddress>, Box<Problem>> {
    let mut all = instance.addresses.clone();
    if all.is_empty() {
        return Ok(all);
    }
    if !all.iter().any(|address| address.kind == AddressKind::Hostname) {
        all.extend(node.addresses.iter().find(|address| address.kind == AddressKind::Hostname).cloned());
    }
    let Some(provided) = &node.provided_ips else { return Ok(all) };
    // Those that were asked for come first, and are the only ones of their types.
    let (mut chosen, mut kinds) = (Vec::new(), Vec::new());
    for text in provided.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let wanted = text.parse::<IpAddr>();
        let same = |address: &&NodeAddress| wanted.is_ok() && address.address.parse::<IpAddr>() == wanted;
        let found: Vec<&NodeAddress> = all.iter().filter(same).collect();
        if found.is_empty() {
            let has: Vec<&str> = all.iter().map(|address| address.address.as_str()).collect();
            return Err(Box::new(Problem::error(
                node.object(),
                format!("metadata.annotations[{}]", names::ANNOTATION_PROVIDED_NODE_IP),
                "ProvidedNodeIPNotFound",
                format!(
                    "the kubelet was started with --node-ip {text}, but the machine has only {}: the Node stays uninitialized; start the kubelet \
                     with one of these, or without --node-ip",
                    has.join(", ")
                ),
            )));
        }
        kinds.extend(found.iter().map(|address| address.kind));
        chosen.extend(found.into_iter().cloned());
    }
    chosen.extend(all.into_iter().filter(|address| !kinds.contains(&address.kind)));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use causeway_api::AddressKind::{ExternalIP, Hostname, InternalDNS, InternalIP};
    use rstest::rstest;

    use super::*;
    use crate::kube::types::Taint;

    fn address(kind: AddressKind, address: &str) -> NodeAddress {
        NodeAddress::new(kind, address)
    }

    fn taint(key: &str) -> Taint {
        Taint { key: Some(key.into()), effect: Some("NoSchedule".into()), ..Taint::default() }
    }

    fn node() -> NodeView {
        NodeView {
            name: "n1".into(),
            uid: "u1".into(),
            resource_version: "7".into(),
            taints: vec![taint("other"), taint(names::TAINT_UNINITIALIZED)],
            addresses: vec![address(Hostname, "n1"), address(InternalIP, "10.0.0.9")],
            ..NodeView::default()
        }
    }

    fn instance() -> Instance {
        Instance {
            provider_id: "aws:///eu-west-1a/i-1".into(),
            instance_type: "m5.large".into(),
            zone: "eu-west-1a".into(),
            region: "eu-west-1".into(),
            labels: [
                ("topology.k8s.aws/zone-id", "euw1-az1"),
                ("node.kubernetes.io/mine", "x"),
                ("plain", "y"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
            addresses: vec![
                address(InternalIP, "10.0.0.1"),
                address(InternalIP, "fd00::1"),
                address(ExternalIP, "192.0.2.1"),
            ],
            stopped: false,
        }
    }

    /// The Node after these writes.
    fn after(node: &NodeView, changes: &Changes) -> NodeView {
        let mut node = node.clone();
        if let Some(status) = &changes.status {
            let list = status["status"]["addresses"].as_array().expect("a list");
            let text = |value: &Value, field: &str| value[field].as_str().expect("text").to_owned();
            node.addresses = list
                .iter()
                .map(|a| {
                    NodeAddress::new(AddressKind::parse(&text(a, "type")).expect("known"), text(a, "address"))
                })
                .collect();
        }
        if let Some(object) = &changes.object {
            assert_eq!(object["metadata"]["resourceVersion"], "7");
            for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
                node.labels.insert(key.clone(), value.as_str().expect("text").to_owned());
            }
            if let Some(id) = object["spec"]["providerID"].as_str() {
                node.provider_id = id.to_owned();
            }
            if let Some(taints) = object["spec"]["taints"].as_array() {
                node.taints =
                    taints.iter().map(|t| serde_json::from_value(t.clone()).expect("a taint")).collect();
            }
        }
        node
    }

    #[test]
    fn a_new_node_gets_everything_at_once_and_then_nothing_more() {
        let done = after(&node(), &changes(&node(), &instance()).expect("fine"));
        assert_eq!(done.provider_id, "aws:///eu-west-1a/i-1");
        assert_eq!(done.taints, [taint("other")]);
        let labels: Vec<(&str, &str)> = done.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            labels,
            [
                ("beta.kubernetes.io/instance-type", "m5.large"),
                ("failure-domain.beta.kubernetes.io/region", "eu-west-1"),
                ("failure-domain.beta.kubernetes.io/zone", "eu-west-1a"),
                ("node.kubernetes.io/instance-type", "m5.large"),
                ("plain", "y"),
                ("topology.k8s.aws/zone-id", "euw1-az1"),
                ("topology.kubernetes.io/region", "eu-west-1"),
                ("topology.kubernetes.io/zone", "eu-west-1a"),
            ]
        );
        // The kubelet's own host name stays, its address gives way to the machine's.
        let shown: Vec<&str> = done.addresses.iter().map(|a| a.address.as_str()).collect();
        assert_eq!(shown, ["10.0.0.1", "fd00::1", "192.0.2.1", "n1"]);
        assert_eq!(changes(&done, &instance()), Ok(Changes::default()));
    }

    #[test]
    fn later_only_what_is_missing_comes_back() {
        let mut there = after(&node(), &changes(&node(), &instance()).expect("fine"));
        there.labels.insert("topology.kubernetes.io/zone".into(), "mine".into());
        there.labels.remove("plain");
        let mut moved = instance();
        moved.provider_id = "aws:///eu-west-1a/i-2".into();
        moved.addresses.truncate(1);
        let done = after(&there, &changes(&there, &moved).expect("fine"));
        assert_eq!(done.provider_id, there.provider_id, "never changed");
        assert_eq!(done.labels["topology.kubernetes.io/zone"], "mine");
        assert_eq!(done.labels["failure-domain.beta.kubernetes.io/zone"], "mine", "the twin follows");
        assert_eq!(done.labels["plain"], "y");
        assert_eq!(done.addresses, [address(InternalIP, "10.0.0.1"), address(Hostname, "n1")]);
    }

    #[test]
    fn a_cloud_that_says_nothing_takes_nothing_away() {
        let empty = Instance { provider_id: "x://1".into(), ..Instance::default() };
        let done = after(&node(), &changes(&node(), &empty).expect("fine"));
        assert_eq!(done.addresses, node().addresses);
        assert_eq!((done.labels.len(), done.provider_id.as_str()), (0, "x://1"));
        assert!(!done.is_uninitialized());
    }

    #[rstest]
    #[case::none("", &["10.0.0.1", "fd00::1", "192.0.2.1", "n1"])]
    #[case::first("10.0.0.1", &["10.0.0.1", "192.0.2.1", "n1"])]
    #[case::second("fd00::1", &["fd00::1", "192.0.2.1", "n1"])]
    #[case::other_spelling("fd00:0::1", &["fd00::1", "192.0.2.1", "n1"])]
    #[case::both("fd00::1, 10.0.0.1", &["fd00::1", "10.0.0.1", "192.0.2.1", "n1"])]
    #[case::outside("192.0.2.1", &["192.0.2.1", "10.0.0.1", "fd00::1", "n1"])]
    fn the_address_that_the_kubelet_was_told_is_the_one_of_its_type(
        #[case] provided: &str,
        #[case] want: &[&str],
    ) {
        let node = NodeView { provided_ips: Some(provided.into()), ..node() };
        let done = after(&node, &changes(&node, &instance()).expect("fine"));
        let shown: Vec<&str> = done.addresses.iter().map(|a| a.address.as_str()).collect();
        assert_eq!(shown, want);
    }

    #[rstest]
    fn an_address_that_the_machine_has_not_is_a_problem(
        #[values("10.9.9.9", "nonsense", "10.0.0.1,10.9.9.9")] ip: &str,
    ) {
        let node = NodeView { provided_ips: Some(ip.into()), ..node() };
        let problem = changes(&node, &instance()).expect_err("refused");
        assert_eq!(problem.reason, "ProvidedNodeIPNotFound");
        assert!(
            problem.field.contains("provided-node-ip") && problem.message.contains("10.0.0.1"),
            "{problem}"
        );
    }

    #[test]
    fn the_clouds_host_name_is_taken() {
        let mut named = instance();
        named.addresses.push(address(Hostname, "ip-10-0-0-1"));
        named.addresses.push(address(InternalDNS, "ip-10-0-0-1"));
        let done = after(&node(), &changes(&node(), &named).expect("fine"));
        assert_eq!(done.addresses.iter().filter(|a| a.kind == Hostname).count(), 1);
        assert_eq!(done.addresses[3].address, "ip-10-0-0-1");
    }

    #[rstest]
    #[case("kubernetes.io/x", true)]
    #[case("node.kubernetes.io/x", true)]
    #[case("a.b.k8s.io/x", true)]
    #[case("notk8s.io/x", false)]
    #[case("topology.k8s.aws/zone-id", false)]
    #[case("plain", false)]
    fn kubernetes_own_labels_are_not_a_clouds(#[case] label: &str, #[case] want: bool) {
        assert_eq!(reserved(label), want);
    }
}
