//! Security groups, and the bindings that say which targets belong into a target group and who may reach them. Pure data; the fields are those
//! that the peer controller prints.

use std::collections::BTreeMap;

use causeway_api::ObjectRef;
use serde::Serialize;

use super::Token;
use super::elb::{ElbProtocol, PortOrName, Tags, TargetFamily, TargetType};

/// An IPv4 network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct IpRange {
    /// CIDR.
    #[serde(rename = "cidrIP")]
    pub cidr: String,
    /// Description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// An IPv6 network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Ipv6Range {
    /// CIDR.
    #[serde(rename = "cidrIPv6")]
    pub cidr: String,
    /// Description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A managed prefix list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PrefixList {
    /// Id.
    #[serde(rename = "listID")]
    pub id: String,
}

/// Members of another security group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupPair {
    /// The other group.
    #[serde(rename = "groupID")]
    pub group_id: Token,
    /// Description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A rule of a security group; exactly one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpPermission {
    /// `tcp`, `udp`, `icmp` or `icmpv6`.
    pub ip_protocol: String,
    /// First port, or type of ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_port: Option<u16>,
    /// Last port, or code of ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_port: Option<u16>,
    /// IPv4 network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_ranges: Vec<IpRange>,
    /// IPv6 network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ipv6_ranges: Vec<Ipv6Range>,
    /// Another group.
    #[serde(rename = "userIDGroupPairs", skip_serializing_if = "Vec::is_empty")]
    pub group_pairs: Vec<GroupPair>,
    /// Prefix list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_lists: Vec<PrefixList>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupSpec {
    /// Name, see [`crate::naming`]; fixed at creation.
    pub group_name: String,
    /// Description; fixed at creation.
    pub description: String,
    /// The user's tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IpPermission>,
}

/// Who may reach targets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A network.
    IpBlock(String),
    /// A security group.
    SecurityGroup(Token),
}

impl Serialize for Peer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        #[derive(Serialize)]
        struct Group<'a> {
            #[serde(rename = "groupID")]
            group_id: &'a Token,
        }
        #[derive(Serialize)]
        struct Block<'a> {
            cidr: &'a str,
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::IpBlock(cidr) => map.serialize_entry("ipBlock", &Block { cidr })?,
            Self::SecurityGroup(group_id) => map.serialize_entry("securityGroup", &Group { group_id })?,
        }
        map.end()
    }
}

/// A port of targets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NetworkingPort {
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// Port; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortOrName>,
}

/// Who may reach which ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NetworkingRule {
    /// Who.
    pub from: Vec<Peer>,
    /// Ports.
    pub ports: Vec<NetworkingPort>,
}

/// Who may reach the targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Networking {
    /// Rules.
    pub ingress: Vec<NetworkingRule>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ServiceRef {
    /// Name of the Service.
    pub name: String,
    /// Its port.
    pub port: PortOrName,
}

/// Labels that nodes must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// All of these.
    pub match_labels: BTreeMap<String, String>,
}

/// Metadata of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BindingMetadata {
    /// Name, that of the target group.
    pub name: String,
    /// Namespace of the Service.
    pub namespace: String,
}

/// Which targets belong into a target group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// The target group.
    #[serde(rename = "targetGroupARN")]
    pub target_group_arn: Token,
    /// What its targets are.
    pub target_type: TargetType,
    /// Whose endpoints.
    pub service_ref: ServiceRef,
    /// Who may reach them; absent where the rules are not ours to make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking: Option<Networking>,
    /// Which nodes, of instance targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<NodeSelector>,
    /// Family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<TargetFamily>,
    /// VPC of the target group.
    #[serde(rename = "vpcID", skip_serializing_if = "String::is_empty")]
    pub vpc_id: String,
    /// Other clusters register targets too: theirs are left alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub multi_cluster_target_group: bool,
    /// Protocol of the target group.
    pub target_group_protocol: ElbProtocol,
}

/// A binding in the form of the object that the peer makes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BindingTemplate {
    /// Metadata.
    pub metadata: BindingMetadata,
    /// Spec.
    pub spec: Binding,
}

/// `spec` of a binding as printed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BindingSpec {
    /// The template.
    pub template: BindingTemplate,
}

/// `spec` of a web ACL's association.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WebAclSpec {
    /// The web ACL; empty to take one away, or where only the name is known.
    #[serde(rename = "webACLARN")]
    pub web_acl_arn: String,
    /// Its name, where it is looked for only when it is needed.
    #[serde(rename = "webACLName", skip_serializing_if = "String::is_empty")]
    pub web_acl_name: String,
    /// The ALB.
    #[serde(rename = "resourceARN")]
    pub resource_arn: Token,
    /// Who asks for it.
    #[serde(skip)]
    pub asked: Asked,
}

/// Who asks for something, and where: whom to tell if it cannot be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// The object.
    pub by: ObjectRef,
    /// Its field.
    pub field: String,
}

/// `spec` of Shield Advanced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ShieldSpec {
    /// On or off.
    pub enabled: bool,
    /// The ALB.
    #[serde(rename = "resourceARN")]
    pub resource_arn: Token,
    /// Who asks for it.
    #[serde(skip)]
    pub asked: Asked,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stack::ResourceType;

    #[test]
    fn a_binding_in_the_form_of_the_peer() {
        let spec = BindingSpec {
            template: BindingTemplate {
                metadata: BindingMetadata { name: "k8s-a-b-0".to_owned(), namespace: "a".to_owned() },
                spec: Binding {
                    target_group_arn: Token::of(ResourceType::TargetGroup, "a/b:80"),
                    target_type: TargetType::Instance,
                    service_ref: ServiceRef { name: "b".to_owned(), port: PortOrName::Number(80) },
                    networking: Some(Networking {
                        ingress: vec![NetworkingRule {
                            from: vec![
                                Peer::IpBlock("10.0.0.0/8".to_owned()),
                                Peer::SecurityGroup(Token::literal("sg-1")),
                            ],
                            ports: vec![NetworkingPort {
                                protocol: "TCP",
                                port: Some(PortOrName::Number(30080)),
                            }],
                        }],
                    }),
                    node_selector: None,
                    ip_address_type: Some(TargetFamily::Ipv4),
                    vpc_id: "vpc-1".to_owned(),
                    multi_cluster_target_group: false,
                    target_group_protocol: ElbProtocol::TcpUdp,
                },
            },
        };
        let binding = json!({
            "targetGroupARN": {"$ref": "#/resources/AWS::ElasticLoadBalancingV2::TargetGroup/a/b:80/status/targetGroupARN"},
            "targetType": "instance", "serviceRef": {"name": "b", "port": 80}, "ipAddressType": "ipv4", "vpcID": "vpc-1",
            "targetGroupProtocol": "TCP_UDP",
            "networking": {"ingress": [{
                "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"securityGroup": {"groupID": "sg-1"}}],
                "ports": [{"protocol": "TCP", "port": 30080}]}]},
        });
        assert_eq!(
            serde_json::to_value(&spec).expect("plain data"),
            json!({"template": {"metadata": {"name": "k8s-a-b-0", "namespace": "a"}, "spec": binding}})
        );
    }
}
