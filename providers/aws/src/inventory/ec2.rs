//! Answers of EC2, as the AWS CLI prints them; only the fields that decisions need. Pure data.

use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

/// The value of a tag, if there is one.
#[must_use]
pub fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|t| t.key == key).map(|t| t.value.as_str())
}

/// State of an address block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockState {
    /// `associated`, or on the way there or away.
    #[serde(default)]
    pub state: String,
}

/// An IPv6 block of a VPC or subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipv6Block {
    /// CIDR.
    #[serde(default)]
    pub ipv6_cidr_block: String,
    /// State.
    #[serde(default)]
    pub ipv6_cidr_block_state: BlockState,
}

/// The blocks that are in use.
fn associated(blocks: &[Ipv6Block]) -> impl Iterator<Item = &str> {
    blocks
        .iter()
        .filter(|b| b.ipv6_cidr_block_state.state == "associated")
        .map(|b| b.ipv6_cidr_block.as_str())
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    /// Id.
    pub subnet_id: String,
    /// Its VPC.
    #[serde(default)]
    pub vpc_id: String,
    /// Name of the zone.
    pub availability_zone: String,
    /// Id of the zone, the same in all accounts.
    #[serde(default)]
    pub availability_zone_id: String,
    /// IPv4 block.
    #[serde(default)]
    pub cidr_block: String,
    /// IPv6 blocks.
    #[serde(default)]
    pub ipv6_cidr_block_association_set: Vec<Ipv6Block>,
    /// Free IPv4 addresses.
    #[serde(default)]
    pub available_ip_address_count: u32,
    /// Outpost, if it lies on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outpost_arn: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl Subnet {
    /// IPv6 blocks in use.
    pub fn ipv6_blocks(&self) -> impl Iterator<Item = &str> {
        associated(&self.ipv6_cidr_block_association_set)
    }
}

/// Answer of DescribeSubnets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeSubnets {
    /// Subnets.
    pub subnets: Vec<Subnet>,
}

/// An IPv4 block of a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipv4Block {
    /// CIDR.
    #[serde(default)]
    pub cidr_block: String,
    /// State.
    #[serde(default)]
    pub cidr_block_state: BlockState,
}

/// A VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vpc {
    /// Id.
    pub vpc_id: String,
    /// IPv4 blocks.
    #[serde(default)]
    pub cidr_block_association_set: Vec<Ipv4Block>,
    /// IPv6 blocks.
    #[serde(default)]
    pub ipv6_cidr_block_association_set: Vec<Ipv6Block>,
}

impl Vpc {
    /// IPv4 blocks in use.
    pub fn ipv4_blocks(&self) -> impl Iterator<Item = &str> {
        let used = |b: &&Ipv4Block| b.cidr_block_state.state == "associated";
        self.cidr_block_association_set.iter().filter(used).map(|b| b.cidr_block.as_str())
    }

    /// IPv6 blocks in use.
    pub fn ipv6_blocks(&self) -> impl Iterator<Item = &str> {
        associated(&self.ipv6_cidr_block_association_set)
    }
}

/// Answer of DescribeVpcs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeVpcs {
    /// VPCs.
    pub vpcs: Vec<Vpc>,
}

/// What a route table belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteTableAssociation {
    /// The VPC's main table.
    #[serde(default)]
    pub main: bool,
    /// Subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Route {
    /// Gateway, such as `igw-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<String>,
}

/// A route table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteTable {
    /// Id.
    pub route_table_id: String,
    /// Its VPC.
    #[serde(default)]
    pub vpc_id: String,
    /// What it belongs to.
    #[serde(default)]
    pub associations: Vec<RouteTableAssociation>,
    /// Routes.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// Answer of DescribeRouteTables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeRouteTables {
    /// Route tables.
    pub route_tables: Vec<RouteTable>,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroup {
    /// Id.
    pub group_id: String,
    /// Name.
    #[serde(default)]
    pub group_name: String,
    /// Its VPC.
    #[serde(default)]
    pub vpc_id: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// Answer of DescribeSecurityGroups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeSecurityGroups {
    /// Security groups.
    pub security_groups: Vec<SecurityGroup>,
}

/// A zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AvailabilityZone {
    /// Name.
    pub zone_name: String,
    /// Id.
    #[serde(default)]
    pub zone_id: String,
    /// `availability-zone`, `local-zone` or `wavelength-zone`.
    #[serde(default)]
    pub zone_type: String,
}

/// Answer of DescribeAvailabilityZones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAvailabilityZones {
    /// Zones.
    pub availability_zones: Vec<AvailabilityZone>,
}

/// An elastic IP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Address {
    /// Id.
    pub allocation_id: String,
    /// The address.
    #[serde(default)]
    pub public_ip: String,
}

/// Answer of DescribeAddresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAddresses {
    /// Elastic IPs.
    pub addresses: Vec<Address>,
}

/// A security group by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupIdentifier {
    /// Id.
    pub group_id: String,
}

/// How a network interface hangs on its instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attachment {
    /// 0 for the primary interface.
    #[serde(default)]
    pub device_index: u32,
}

/// A network interface of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInterface {
    /// How it hangs on the instance.
    #[serde(default)]
    pub attachment: Attachment,
    /// Security groups.
    #[serde(default)]
    pub groups: Vec<GroupIdentifier>,
}

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instance {
    /// Id.
    pub instance_id: String,
    /// Interfaces.
    #[serde(default)]
    pub network_interfaces: Vec<NetworkInterface>,
}

/// Instances that were started together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reservation {
    /// Instances.
    #[serde(default)]
    pub instances: Vec<Instance>,
}

/// Answer of DescribeInstances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeInstances {
    /// Instances by reservation.
    pub reservations: Vec<Reservation>,
}

impl DescribeInstances {
    /// All instances.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.reservations.iter().flat_map(|r| &r.instances)
    }
}
