//! TargetGroupBinding: targets for a target group that the user made and named. Pure.
//!
//! The kind is the peer's. The target group is the user's, so nothing of it is made, changed or deleted: only targets come and go, and the rules by which they
//! are reached. With `multiClusterTargetGroup` other clusters register targets too; only our own are ever taken away.

use std::collections::BTreeSet;

use causeway_api::{Backend, LoadBalancer, MemberSpec, ObjectRef, Problem, References, TargetPort};
use serde::Deserialize;
use serde_json::Value;

use super::json;
use super::parameters::LabelSelector;
use crate::annotations::value::one_of;
use crate::facts::Facts;
use crate::inventory::ExistingTargetGroup;
use crate::stack::{
    AwsStack, Binding, BindingMetadata, BindingSpec, BindingTemplate, ElbProtocol, GroupPair, IpPermission,
    IpRange, Ipv6Range, MemberPart, Networking, NetworkingPort, NetworkingRule, NodeSelector, Peer,
    PortOrName, ServiceRef, TargetFamily, TargetType, Token,
};
use crate::targets::{Instances, REDUCED, Room, alb_room, instance_targets, ip_targets};

/// The kind.
pub const KIND: &str = "TargetGroupBinding";
/// Reason of problems with a binding.
pub const INVALID: &str = "InvalidTargetGroupBinding";
/// Reason of a problem with a target group that is not there.
const NO_GROUP: &str = "TargetGroupNotFound";
/// Reason of a problem with a Service or port that is not there.
const NO_SERVICE: &str = "ServiceNotFound";
/// Reason of a problem with what is left out on purpose.
const UNSUPPORTED: &str = "Unsupported";
/// Description of the rules that a binding asks for.
const RULE: &str = "causeway.io: TargetGroupBinding";

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    name: String,
    #[serde(deserialize_with = "json::text")]
    port: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBlock {
    cidr: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(rename = "groupID")]
    group_id: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPeer {
    ip_block: Option<RawBlock>,
    security_group: Option<RawGroup>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    protocol: Option<String>,
    #[serde(default, deserialize_with = "json::maybe_text")]
    port: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    from: Vec<RawPeer>,
    #[serde(default)]
    ports: Vec<RawPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawNetworking {
    ingress: Vec<RawRule>,
}

/// `spec`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default, rename = "targetGroupARN")]
    target_group_arn: String,
    #[serde(default)]
    target_group_name: String,
    #[serde(default)]
    multi_cluster_target_group: bool,
    target_type: Option<String>,
    target_group_protocol: Option<String>,
    service_ref: RawService,
    networking: Option<RawNetworking>,
    node_selector: Option<LabelSelector>,
    ip_address_type: Option<String>,
    #[serde(default, rename = "vpcID")]
    vpc_id: String,
    #[serde(default)]
    iam_role_arn_to_assume: String,
    #[serde(default)]
    assume_role_external_id: String,
}

/// A binding as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroupBinding {
    object: ObjectRef,
    spec: Spec,
    networking: Option<Networking>,
}

fn wrong(object: &ObjectRef, field: &str, reason: &str, why: impl Into<String>) -> Problem {
    let field = if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") };
    Problem::error(object.clone(), field, reason, why)
}

impl TargetGroupBinding {
    /// Reads `spec` of an object.
    ///
    /// # Errors
    /// What is wrong with which field.
    pub fn read(object: &ObjectRef, spec: &Value) -> Result<Self, Problem> {
        let invalid = |field: &str, why: String| wrong(object, field, INVALID, why);
        let spec: Spec = serde_json::from_value(spec.clone()).map_err(|e| invalid("", e.to_string()))?;
        if spec.target_group_arn.is_empty() == spec.target_group_name.is_empty() {
            let why = "of targetGroupARN and targetGroupName exactly one must be there";
            return Err(invalid("targetGroupARN", why.to_owned()));
        }
        if !spec.target_group_arn.is_empty() && !spec.target_group_arn.starts_with("arn:") {
            return Err(invalid("targetGroupARN", format!("{:?} is not an ARN", spec.target_group_arn)));
        }
        let words: [(&str, &Option<String>, &[&str]); 3] = [
            ("targetType", &spec.target_type, &["instance", "ip"]),
            ("ipAddressType", &spec.ip_address_type, &["ipv4", "ipv6"]),
            (
                "targetGroupProtocol",
                &spec.target_group_protocol,
                &["HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC"],
            ),
        ];
        for (field, text, known) in words {
            if let Some(text) = text.as_ref().filter(|t| !known.contains(&t.as_str())) {
                return Err(invalid(field, format!("{text:?} is not known: write {}", one_of(known))));
            }
        }
        if !spec.iam_role_arn_to_assume.is_empty() || !spec.assume_role_external_id.is_empty() {
            let why = "target groups of other accounts are not served, as a controller that may assume roles of a user's choice is a risk: \
                       run Causeway there too, or take it away";
            return Err(wrong(object, "iamRoleArnToAssume", UNSUPPORTED, why));
        }
        let networking = match &spec.networking {
            None => None,
            Some(raw) => {
                Some(networking(raw).map_err(|(i, why)| invalid(&format!("networking.ingress[{i}]"), why))?)
            }
        };
        Ok(Self { object: object.clone(), spec, networking })
    }
}

/// What a binding refers to, by its `spec` as JSON.
#[must_use]
pub fn references(spec: Option<&String>) -> References {
    let spec = spec.and_then(|text| serde_json::from_str::<Spec>(text).ok());
    let Some(spec) = spec else { return References::default() };
    let service = spec.service_ref;
    References {
        services: [(service.name, service.port)].into(),
        secrets: BTreeSet::new(),
        endpoints: spec.target_type.as_deref() != Some("instance"),
    }
}

/// Whether a load balancer is a binding in truth.
#[must_use]
pub fn is_one(lb: &LoadBalancer) -> bool {
    matches!(&lb.members[..], [member] if matches!(member.spec, MemberSpec::Own(_)))
}

/// The stack of the binding that is the one member.
#[must_use]
pub fn of_load_balancer(lb: &LoadBalancer, facts: &Facts, instances: &Instances) -> (AwsStack, Vec<Problem>) {
    let owner = lb.key.owner_tag();
    let empty =
        || AwsStack { cluster: facts.cluster.id.clone(), owner: owner.clone(), ..AwsStack::default() };
    let Some(member) = lb.members.first() else { return (empty(), Vec::new()) };
    let MemberSpec::Own(own) = &member.spec else { return (empty(), Vec::new()) };
    let spec = serde_json::from_str(&own.spec).unwrap_or_default();
    match TargetGroupBinding::read(&member.object, &spec) {
        Ok(binding) => {
            let service = &binding.spec.service_ref;
            let backend = member.services.get(&(service.name.clone(), service.port.clone()));
            if own.leaving {
                return (withdrawn(&binding, &owner, backend, facts, instances), Vec::new());
            }
            desired(&binding, &owner, backend, facts, instances)
        }
        // It registered nothing that is known.
        Err(_) if own.leaving => (empty(), Vec::new()),
        Err(problem) => (AwsStack { frozen: true, ..empty() }, vec![problem]),
    }
}

fn networking(raw: &RawNetworking) -> Result<Networking, (usize, String)> {
    let mut ingress = Vec::with_capacity(raw.ingress.len());
    for (i, rule) in raw.ingress.iter().enumerate() {
        let mut from = Vec::new();
        for peer in &rule.from {
            from.push(match (&peer.ip_block, &peer.security_group) {
                (Some(block), None) if block.cidr.parse::<ipnet::IpNet>().is_ok() => {
                    Peer::IpBlock(block.cidr.clone())
                }
                (Some(block), None) => {
                    return Err((i, format!("{:?} is not a network, such as 10.0.0.0/8", block.cidr)));
                }
                (None, Some(group)) => Peer::SecurityGroup(Token::literal(group.group_id.as_str())),
                _ => return Err((i, "of ipBlock and securityGroup exactly one must be there".to_owned())),
            });
        }
        if from.is_empty() {
            return Err((i, "from is empty: write who may come in".to_owned()));
        }
        let mut ports = Vec::new();
        for port in &rule.ports {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => "TCP",
                Some("UDP") => "UDP",
                Some(other) => return Err((i, format!("protocol {other:?} is not TCP or UDP"))),
            };
            let number = |text: &String| {
                text.parse().map_or_else(|_| PortOrName::Name(text.clone()), PortOrName::Number)
            };
            ports.push(NetworkingPort { protocol, port: port.port.as_ref().map(number) });
        }
        if ports.is_empty() {
            ports.push(NetworkingPort { protocol: "TCP", port: None });
        }
        ingress.push(NetworkingRule { from, ports });
    }
    Ok(Networking { ingress })
}

fn protocol(text: &str) -> ElbProtocol {
    match text {
        "HTTP" => ElbProtocol::Http,
        "HTTPS" => ElbProtocol::Https,
        "TLS" => ElbProtocol::Tls,
        "UDP" => ElbProtocol::Udp,
        "TCP_UDP" => ElbProtocol::TcpUdp,
        "QUIC" => ElbProtocol::Quic,
        "TCP_QUIC" => ElbProtocol::TcpQuic,
        _ => ElbProtocol::Tcp,
    }
}

/// The stack of a binding: targets, and the rules by which they are reached. `backend` is the port of the Service that it names, as far as it was found.
#[must_use]
pub fn desired(
    binding: &TargetGroupBinding,
    owner: &str,
    backend: Option<&Backend>,
    facts: &Facts,
    instances: &Instances,
) -> (AwsStack, Vec<Problem>) {
    let empty =
        || AwsStack { cluster: facts.cluster.id.clone(), owner: owner.to_owned(), ..AwsStack::default() };
    match build(binding, owner, backend, facts, instances, empty()) {
        Ok(done) => done,
        // What is registered stays.
        Err(problem) => (AwsStack { frozen: true, ..empty() }, vec![problem]),
    }
}

/// What is to be taken back of a binding that is being deleted: all targets of its target group or, where other clusters register theirs too, those that it would
/// have now. Nothing where the target group is gone.
fn withdrawn(
    binding: &TargetGroupBinding,
    owner: &str,
    backend: Option<&Backend>,
    facts: &Facts,
    instances: &Instances,
) -> AwsStack {
    let empty =
        || AwsStack { cluster: facts.cluster.id.clone(), owner: owner.to_owned(), ..AwsStack::default() };
    let mut stack = match build(binding, owner, backend, facts, instances, empty()) {
        Ok((stack, _)) => stack,
        // Without its Service nothing tells its own targets from others'.
        Err(_) if binding.spec.multi_cluster_target_group => return empty(),
        Err(_) => {
            let Ok(group) = find(binding, facts) else { return empty() };
            let arn = group.map_or(binding.spec.target_group_arn.as_str(), |g| &g.target_group_arn);
            let mut stack = empty();
            let id = binding.object.path();
            stack.bindings.insert(id.clone(), BindingSpec { template: template(binding, arn, facts) });
            stack.targets.insert(id, BTreeSet::new());
            stack
        }
    };
    if !binding.spec.multi_cluster_target_group {
        stack.targets.values_mut().for_each(BTreeSet::clear);
    }
    stack.shared = Default::default();
    stack.members.clear();
    stack.leaving = true;
    stack
}

fn build(
    binding: &TargetGroupBinding,
    owner: &str,
    backend: Option<&Backend>,
    facts: &Facts,
    instances: &Instances,
    mut stack: AwsStack,
) -> Result<(AwsStack, Vec<Problem>), Problem> {
    let (object, spec) = (&binding.object, &binding.spec);
    let group = find(binding, facts)?;
    let service = &spec.service_ref;
    let backend = backend.filter(|b| b.service_port.is_some()).ok_or_else(|| {
        let why = format!(
            "there is no Service {} with port {} in namespace {}: create it, or name another",
            service.name, service.port, object.namespace
        );
        wrong(object, "serviceRef", NO_SERVICE, why)
    })?;
    let text =
        |given: &Option<String>, known: Option<&str>| given.clone().or_else(|| known.map(str::to_owned));
    let kind = text(&spec.target_type, group.map(|g| g.target_type.as_str()).filter(|t| !t.is_empty()));
    let target_type = match kind.as_deref() {
        Some("instance") => TargetType::Instance,
        Some("ip") => TargetType::Ip,
        Some(other) => {
            return Err(wrong(
                object,
                "targetType",
                UNSUPPORTED,
                format!("target groups of type {other} hold no pods or nodes: name another"),
            ));
        }
        None => {
            let why = "it is not known which type the target group has: write instance or ip, or give the inventory DescribeTargetGroups";
            return Err(wrong(object, "targetType", INVALID, why));
        }
    };
    let family = match text(&spec.ip_address_type, group.map(|g| g.ip_address_type.as_str())).as_deref() {
        Some("ipv6") => TargetFamily::Ipv6,
        _ => TargetFamily::Ipv4,
    };
    let protocol_text = text(&spec.target_group_protocol, group.map(|g| g.protocol.as_str()));
    let room = alb_room(facts, 1);
    let (targets, count) = targets(binding, owner, backend, (target_type, family), facts, instances, room)?;
    let mut problems = Vec::new();
    if count > targets.len() {
        let why = format!(
            "{} of {count} targets are used, as {} allows no more: have the quota raised, or choose nodes with nodeSelector",
            targets.len(),
            room.by
        );
        problems.push(Problem::warning(object.clone(), "spec", REDUCED, why));
    }
    if let Some(networking) = &binding.networking {
        open(networking, backend, target_type, &mut stack);
        stack.shared.node_groups.extend(crate::security::node_groups(facts));
    }
    let arn = group.map_or(spec.target_group_arn.as_str(), |g| g.target_group_arn.as_str());
    let mut template = template(binding, arn, facts);
    template.spec.target_type = target_type;
    template.spec.ip_address_type = Some(family);
    template.spec.target_group_protocol = protocol(protocol_text.as_deref().unwrap_or_default());
    let id = object.path();
    stack.bindings.insert(id.clone(), BindingSpec { template });
    stack.targets.insert(id, targets);
    stack.members.push(MemberPart {
        object: object.clone(),
        ports: Vec::new(),
        addresses: Vec::new(),
        listeners: Default::default(),
        current: Vec::new(),
    });
    Ok((stack, problems))
}

/// The binding as it is printed, as far as its own words say.
fn template(binding: &TargetGroupBinding, arn: &str, facts: &Facts) -> BindingTemplate {
    let (object, spec) = (&binding.object, &binding.spec);
    let service = &spec.service_ref;
    let labels = spec.node_selector.as_ref().map(|s| s.match_labels.clone());
    BindingTemplate {
        metadata: BindingMetadata { name: object.name.clone(), namespace: object.namespace.clone() },
        spec: Binding {
            target_group_arn: Token::literal(arn),
            target_type: TargetType::Instance,
            service_ref: ServiceRef {
                name: service.name.clone(),
                port: service
                    .port
                    .parse()
                    .map_or_else(|_| PortOrName::Name(service.port.clone()), PortOrName::Number),
            },
            networking: binding.networking.clone(),
            node_selector: labels.map(|match_labels| NodeSelector { match_labels }),
            ip_address_type: None,
            vpc_id: if spec.vpc_id.is_empty() { facts.cluster.vpc_id.clone() } else { spec.vpc_id.clone() },
            multi_cluster_target_group: spec.multi_cluster_target_group,
            target_group_protocol: ElbProtocol::Tcp,
        },
    }
}

/// The target group, if the inventory has it; one named by ARN alone need not be in it.
fn find<'f>(
    binding: &TargetGroupBinding,
    facts: &'f Facts,
) -> Result<Option<&'f ExistingTargetGroup>, Problem> {
    let spec = &binding.spec;
    let known = facts.aws.target_groups();
    if !spec.target_group_arn.is_empty() {
        return match known {
            Err(_) => Ok(None),
            Ok(all) => {
                let found = all.iter().find(|g| g.target_group_arn == spec.target_group_arn);
                let why = || format!("there is no target group {}: name another", spec.target_group_arn);
                found.map(Some).ok_or_else(|| wrong(&binding.object, "targetGroupARN", NO_GROUP, why()))
            }
        };
    }
    let all =
        known.map_err(|missing| wrong(&binding.object, "targetGroupName", NO_GROUP, missing.to_string()))?;
    let found = all.iter().find(|g| g.target_group_name == spec.target_group_name);
    let why = || format!("there is no target group {:?}: make it, or name another", spec.target_group_name);
    found.map(Some).ok_or_else(|| wrong(&binding.object, "targetGroupName", NO_GROUP, why()))
}

fn targets(
    binding: &TargetGroupBinding,
    owner: &str,
    backend: &Backend,
    (target_type, family): (TargetType, TargetFamily),
    facts: &Facts,
    instances: &Instances,
    room: Room,
) -> Result<(BTreeSet<crate::stack::Target>, usize), Problem> {
    if target_type != TargetType::Instance {
        return Ok(ip_targets(owner, facts, &backend.endpoints.ready, &backend.port_name, family, room));
    }
    let port = backend.node_port.ok_or_else(|| {
        let why = format!(
            "port {} of Service {} has no NodePort, through which nodes are reached: give the Service the type NodePort, or set targetType to ip",
            backend.port, backend.service
        );
        wrong(&binding.object, "serviceRef", "NodePortMissing", why)
    })?;
    let selected = match &binding.spec.node_selector {
        None => instances.clone(),
        Some(selector) => instances.selected(|labels| selector.selects(labels)),
    };
    Ok(instance_targets(owner, &selected, None, port, room))
}

/// Rules of the nodes' security groups, exactly as the binding asks for them.
fn open(networking: &Networking, backend: &Backend, target_type: TargetType, stack: &mut AwsStack) {
    for rule in &networking.ingress {
        for NetworkingPort { protocol, port } in &rule.ports {
            let number = match (port, target_type, &backend.target_port) {
                (None, ..) => None,
                (Some(PortOrName::Number(number)), ..) => Some(*number),
                (Some(PortOrName::Name(_)), TargetType::Instance, _) => backend.node_port,
                (Some(PortOrName::Name(_)), _, Some(TargetPort::Number(number))) => Some(*number),
                // Pods may listen on different numbers.
                (Some(PortOrName::Name(_)), ..) => None,
            };
            let (from_port, to_port) = number.map_or((0, u16::MAX), |n| (n, n));
            for peer in &rule.from {
                let mut permission = IpPermission {
                    ip_protocol: protocol.to_ascii_lowercase(),
                    from_port: Some(from_port),
                    to_port: Some(to_port),
                    ..IpPermission::default()
                };
                let description = RULE.to_owned();
                match peer {
                    Peer::IpBlock(cidr) if cidr.contains(':') => {
                        permission.ipv6_ranges.push(Ipv6Range { cidr: cidr.clone(), description });
                    }
                    Peer::IpBlock(cidr) => {
                        permission.ip_ranges.push(IpRange { cidr: cidr.clone(), description })
                    }
                    Peer::SecurityGroup(id) => {
                        permission.group_pairs.push(GroupPair { group_id: id.clone(), description });
                    }
                }
                stack.shared.node_rules.insert(permission);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::Kind;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::alb::fixtures::backend;
    use crate::fixtures::{facts, nodes};

    fn object() -> ObjectRef {
        ObjectRef {
            kind: Kind::Own(KIND.to_owned()),
            namespace: "shop".to_owned(),
            name: "mine".to_owned(),
            uid: "u".into(),
        }
    }

    fn with(more: Value) -> Value {
        let mut spec = json!({"targetGroupARN": "arn:tg", "targetType": "instance", "serviceRef": {"name": "s1", "port": 80}});
        for (key, value) in more.as_object().expect("a map") {
            spec[key] = value.clone();
        }
        spec
    }

    fn known() -> Facts {
        let mut facts = facts();
        let mut aws = (*facts.aws).clone();
        let groups = json!({"TargetGroups": [
            {"TargetGroupArn": "arn:tg", "TargetGroupName": "mine", "TargetType": "instance", "Protocol": "TLS"},
            {"TargetGroupArn": "arn:ip", "TargetGroupName": "pods", "TargetType": "ip", "IpAddressType": "ipv4"},
            {"TargetGroupArn": "arn:alb", "TargetGroupName": "alb", "TargetType": "alb"}]});
        aws.describe_target_groups = Some(serde_json::from_value(groups).expect("an answer"));
        facts.aws = aws.into();
        facts
    }

    fn stack(spec: Value, backend: Option<&Backend>) -> (AwsStack, Vec<Problem>) {
        let binding = TargetGroupBinding::read(&object(), &spec).expect("right");
        desired(&binding, "targetgroupbinding/u", backend, &known(), &Instances::of(&nodes(3)))
    }

    #[test]
    fn nodes_as_targets_and_nothing_else() {
        let rule = json!({"from": [{"securityGroup": {"groupID": "sg-1"}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 30001}]});
        let spec = with(json!({"networking": {"ingress": [rule]}, "multiClusterTargetGroup": true}));
        let (stack, problems) = stack(spec, Some(&backend("s1")));
        assert_eq!(problems, []);
        assert_eq!(stack.targets["shop/mine"].len(), 3);
        assert!(stack.targets["shop/mine"].iter().all(|t| t.port == 30001));
        let binding = &stack.bindings["shop/mine"].template.spec;
        assert_eq!(
            (&binding.target_group_arn, binding.target_group_protocol),
            (&Token::literal("arn:tg"), ElbProtocol::Tls)
        );
        assert!(binding.multi_cluster_target_group);
        assert!(stack.target_groups.is_empty() && stack.load_balancers.is_empty());
        assert_eq!(stack.shared.node_rules.len(), 2);
        assert!(!stack.is_empty() && !stack.frozen && !stack.leaving);
        assert_eq!(stack.members[0].object, object(), "it is told that it is served");
    }

    #[test]
    fn what_leaves_takes_back_what_may_be_its_own() {
        let leaving = |spec: Value, backend: Option<&Backend>| {
            let binding = TargetGroupBinding::read(&object(), &spec).expect("right");
            withdrawn(&binding, "targetgroupbinding/u", backend, &known(), &Instances::of(&nodes(3)))
        };
        let with_service = backend("s1");
        let alone = leaving(with(json!({})), Some(&with_service));
        assert!(alone.leaving && !alone.is_empty() && alone.targets["shop/mine"].is_empty());
        let gone = leaving(with(json!({})), None);
        assert_eq!(gone.bindings["shop/mine"].template.spec.target_group_arn, Token::literal("arn:tg"));
        let shared = json!({"multiClusterTargetGroup": true});
        assert_eq!(leaving(with(shared.clone()), Some(&with_service)).targets["shop/mine"].len(), 3);
        assert!(leaving(with(shared), None).is_empty(), "nothing tells its own from others'");
        assert!(leaving(with(json!({"targetGroupARN": "arn:other"})), Some(&with_service)).is_empty());
    }

    #[test]
    fn a_target_group_by_name_says_what_targets_are() {
        let mut pods = backend("s1");
        pods.endpoints.ready = vec![causeway_api::Endpoint {
            port_name: String::new(),
            address: "10.0.1.7".parse().expect("an address"),
            port: 8080,
            node: None,
        }];
        let (found, problems) = stack(
            json!({"targetGroupName": "pods", "serviceRef": {"name": "s1", "port": "http"}}),
            Some(&pods),
        );
        assert_eq!(problems, []);
        let targets: Vec<_> = found.targets["shop/mine"].iter().map(|t| (t.id.clone(), t.port)).collect();
        assert_eq!(targets, [(Token::literal("10.0.1.7"), 8080)]);
    }

    #[test]
    fn nodes_are_selected_by_labels_and_expressions() {
        for (selector, want) in [
            (json!({"matchLabels": {"topology.kubernetes.io/zone": "eu-west-1a"}}), 1),
            (
                json!({"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "NotIn", "values": ["eu-west-1a"]}]}),
                2,
            ),
            (json!({}), 3),
        ] {
            let (found, _) = stack(with(json!({"nodeSelector": selector})), Some(&backend("s1")));
            assert_eq!(found.targets["shop/mine"].len(), want, "{selector}");
        }
    }

    #[rstest]
    #[case::unknown_name(json!({"targetGroupName": "unknown", "serviceRef": {"name": "s1", "port": 80}}), Some("s1"), "TargetGroupNotFound")]
    #[case::unknown_arn(with(json!({"targetGroupARN": "arn:other"})), Some("s1"), "TargetGroupNotFound")]
    #[case::no_service(with(json!({})), Some("gone"), "ServiceNotFound")]
    #[case::nothing_found(with(json!({})), None, "ServiceNotFound")]
    #[case::of_albs(json!({"targetGroupName": "alb", "serviceRef": {"name": "s1", "port": 80}}), Some("s1"), "Unsupported")]
    fn what_cannot_be_had_leaves_targets_as_they_are(
        #[case] spec: Value,
        #[case] service: Option<&str>,
        #[case] reason: &str,
    ) {
        let (found, problems) = stack(spec, service.map(backend).as_ref());
        assert!(found.frozen);
        assert_eq!(problems.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>(), [reason]);
    }

    #[rstest]
    #[case(json!({}), "spec", "serviceRef")]
    #[case(json!({"serviceRef": {"name": "a", "port": 80}}), "spec.targetGroupARN", "exactly one")]
    #[case(with(json!({"targetGroupName": "x"})), "spec.targetGroupARN", "exactly one")]
    #[case(with(json!({"targetGroupARN": "tg"})), "spec.targetGroupARN", "not an ARN")]
    #[case(with(json!({"targetType": "lambda"})), "spec.targetType", "instance or ip")]
    #[case(with(json!({"ipAddressType": "both"})), "spec.ipAddressType", "ipv4 or ipv6")]
    #[case(with(json!({"targetGroupProtocol": "SCTP"})), "spec.targetGroupProtocol", "TCP_UDP")]
    #[case(with(json!({"iamRoleArnToAssume": "arn:role"})), "spec.iamRoleArnToAssume", "other accounts")]
    #[case(with(json!({"targetgrouparn": "x"})), "spec", "targetgrouparn")]
    #[case(with(json!({"networking": {"ingress": [{"from": []}]}})), "spec.networking.ingress[0]", "from is empty")]
    #[case(with(json!({"networking": {"ingress": [{"from": [{}]}]}})), "spec.networking.ingress[0]", "exactly one")]
    #[case(with(json!({"networking": {"ingress": [{"from": [{"ipBlock": {"cidr": "x"}}]}]}})), "spec.networking.ingress[0]", "network")]
    #[case(with(json!({"networking": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "ICMP"}]}]}})), "spec.networking.ingress[0]", "TCP or UDP")]
    fn wrong_specs(#[case] spec: Value, #[case] field: &str, #[case] says: &str) {
        let problem = TargetGroupBinding::read(&object(), &spec).expect_err("wrong");
        assert_eq!(problem.field, field);
        assert!(problem.message.contains(says), "{}", problem.message);
    }

    #[test]
    fn what_it_refers_to() {
        let found = references(Some(&with(json!({"targetType": "ip"})).to_string()));
        assert_eq!(found.services, [("s1".to_owned(), "80".to_owned())].into());
        assert!(found.endpoints);
        assert!(!references(Some(&with(json!({})).to_string())).endpoints);
        assert_eq!(references(Some(&"{}".to_owned())), References::default());
    }
}
