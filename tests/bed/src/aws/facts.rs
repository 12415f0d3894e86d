//! What EC2 and ACM know, as far as load balancers depend on it: read from moto, handed to the pure part. Plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// A snapshot of one region.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// VPCs by id, with their address blocks.
    pub vpcs: BTreeMap<String, Vec<IpNet>>,
    /// Subnets by id.
    pub subnets: BTreeMap<String, Subnet>,
    /// Security groups by id.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Elastic IP addresses by allocation id.
    pub elastic_addresses: BTreeMap<String, Ipv4Addr>,
    /// Instances by id.
    pub instances: BTreeMap<String, Instance>,
    /// Certificates by ARN.
    pub certificates: BTreeMap<String, Certificate>,
}

/// A subnet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subnet {
    /// VPC.
    pub vpc: String,
    /// Availability zone.
    pub zone: String,
    /// Addresses.
    pub cidr: Ipv4Net,
    /// Whether it has IPv6 addresses too.
    pub has_ipv6: bool,
    /// Addresses that are left.
    pub free: u64,
}

/// A security group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SecurityGroup {
    /// VPC.
    pub vpc: String,
    /// Name.
    pub name: String,
    /// What may come in.
    pub ingress: Vec<Permission>,
    /// Groups that its rules, in and out, name.
    pub names_groups: BTreeSet<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// One permission of a security group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Permission {
    /// `tcp`, `udp`, `icmp`, ..., `-1` for all.
    pub protocol: String,
    /// First and last port; none for all.
    pub ports: Option<(u16, u16)>,
    /// Addresses it may come from.
    pub ranges: Vec<IpNet>,
    /// Or groups.
    pub groups: BTreeSet<String>,
}

/// An instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// `running`, `stopped`, `terminated`, ...
    pub state: String,
    /// Availability zone.
    pub zone: String,
    /// VPC.
    pub vpc: String,
    /// Private address; none once it is terminated.
    pub address: Option<IpAddr>,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
}

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Domain name and alternative names.
    pub names: Vec<String>,
    /// `ISSUED`, `PENDING_VALIDATION`, ...
    pub status: String,
}
