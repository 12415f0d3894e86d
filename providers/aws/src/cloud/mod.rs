//! The way to AWS: what a provider needs of it, the calls it makes, and the one for offline use.

mod answer;
mod call;
pub mod records;
#[cfg(feature = "sdk")]
pub mod sdk;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use causeway_api::{CloudError, Fence, Found, LbKey, NodeRef, Outcome, Owned, Refresh, Result, TargetState};

pub use answer::{Answer, Api, Failure, Page};
pub use call::{Attributed, Call, GroupsBy, MachinesBy, Query, Which};

use crate::inventory::{
    Answers, DescribeLoadBalancers, DescribeTags, DescribeTargetGroups, ExistingLoadBalancer,
    ExistingTargetGroup, Inventory, LoadBalancerAddress, LoadBalancerState, LoadBalancerZone, Tag,
    TagDescription,
};
use crate::observe::Observed;
use crate::plan::Change;
use crate::plan::tokens::literal;
use crate::stack::{AwsStack, IpAddressType, LoadBalancerType, Scheme, TargetFamily};

/// A cloud that is, or stands for, AWS.
pub trait Cloud: Send + Sync + 'static {
    /// See [`causeway_api::CloudProvider::start`]; `node_groups` are the nodes' security groups that stacks need rules of.
    fn start(&self, node_groups: &BTreeSet<String>) -> impl Future<Output = Result<()>> + Send;
    /// See [`causeway_api::CloudProvider::refresh`].
    fn refresh(&self) -> Option<Refresh> {
        None
    }
    /// See [`causeway_api::CloudProvider::inventory`].
    fn inventory(&self) -> impl Future<Output = Result<Inventory>> + Send;
    /// See [`causeway_api::CloudProvider::observe`].
    fn observe(&self, key: &LbKey) -> impl Future<Output = Result<Observed>> + Send;
    /// See [`causeway_api::CloudProvider::apply`].
    fn apply(&self, change: &Change, fence: &Fence) -> impl Future<Output = Result<Outcome>> + Send;
    /// See [`causeway_api::CloudProvider::target_states`].
    fn target_states(
        &self,
        want: &AwsStack,
        pods: &BTreeSet<IpAddr>,
    ) -> impl Future<Output = Result<BTreeMap<IpAddr, Vec<TargetState>>>> + Send {
        let _ = (want, pods);
        std::future::ready(Ok(BTreeMap::new()))
    }
    /// See [`causeway_api::CloudProvider::owned`].
    fn owned(&self) -> impl Future<Output = Result<Vec<Owned>>> + Send;
    /// See [`causeway_api::CloudProvider::instances`].
    fn instances(&self, nodes: &[NodeRef]) -> impl Future<Output = Result<Vec<Found>>> + Send;
    /// See [`causeway_api::CloudProvider::audit_period`].
    fn audit_period(&self) -> Option<Duration> {
        None
    }
    /// See [`causeway_api::CloudProvider::audit`].
    fn audit(&self) -> impl Future<Output = Result<Vec<LbKey>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}

/// No cloud: it holds nothing, and nothing can be written to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Cloud for Offline {
    async fn start(&self, _node_groups: &BTreeSet<String>) -> Result<()> {
        Ok(())
    }

    async fn inventory(&self) -> Result<Inventory> {
        Ok(Inventory::default())
    }

    async fn observe(&self, _key: &LbKey) -> Result<Observed> {
        Ok(Observed { whole: true, ..Observed::default() })
    }

    async fn apply(&self, _change: &Change, _fence: &Fence) -> Result<Outcome> {
        Err(CloudError::Fenced)
    }

    async fn owned(&self) -> Result<Vec<Owned>> {
        Ok(Vec::new())
    }

    async fn instances(&self, nodes: &[NodeRef]) -> Result<Vec<Found>> {
        Ok(nodes.iter().map(|_| Found::Unknown("AWS is out of reach".to_owned())).collect())
    }
}

/// Adds what lists showed to the answers of an inventory: the load balancers with our mark, and all target groups, which users name.
pub(crate) fn existing(
    answers: &mut Answers,
    tagged: &[records::Tagged],
    load_balancers: &[records::LoadBalancer],
    target_groups: &[records::TargetGroup],
) {
    let tags = |arn: &str| tagged.iter().find(|t| t.arn == arn);
    let ours = load_balancers.iter().filter(|lb| tags(&lb.arn).is_some());
    answers.describe_load_balancers =
        Some(DescribeLoadBalancers { load_balancers: ours.map(known_load_balancer).collect() });
    answers.describe_target_groups =
        Some(DescribeTargetGroups { target_groups: target_groups.iter().map(known_target_group).collect() });
    let tag_descriptions = tagged
        .iter()
        .filter(|t| t.arn.contains(":elasticloadbalancing:"))
        .map(|t| TagDescription {
            resource_arn: t.arn.clone(),
            tags: t.tags.iter().map(|(k, v)| Tag { key: k.clone(), value: v.clone() }).collect(),
        })
        .collect();
    answers.describe_tags = Some(DescribeTags { tag_descriptions });
}

fn known_load_balancer(lb: &records::LoadBalancer) -> ExistingLoadBalancer {
    let zone = |m: &crate::stack::SubnetMapping| LoadBalancerZone {
        zone_name: String::new(),
        subnet_id: m.subnet_id.clone(),
        load_balancer_addresses: vec![LoadBalancerAddress {
            ip_address: None,
            allocation_id: m.allocation_id.clone(),
            private_ipv4_address: m.private_ipv4_address.clone(),
        }],
    };
    ExistingLoadBalancer {
        load_balancer_arn: lb.arn.clone(),
        load_balancer_name: lb.spec.name.clone(),
        dns_name: lb.dns_name.clone(),
        canonical_hosted_zone_id: lb.zone_id.clone(),
        scheme: match lb.spec.scheme {
            Scheme::Internal => "internal".to_owned(),
            Scheme::InternetFacing => "internet-facing".to_owned(),
        },
        kind: match lb.spec.kind {
            LoadBalancerType::Application => "application".to_owned(),
            LoadBalancerType::Network => "network".to_owned(),
        },
        vpc_id: lb.vpc_id.clone(),
        state: LoadBalancerState { code: format!("{:?}", lb.state).to_ascii_lowercase() },
        availability_zones: lb.spec.subnet_mappings.iter().map(zone).collect(),
        security_groups: lb.spec.security_groups.iter().map(|t| literal(t).to_owned()).collect(),
        ip_address_type: IpAddressType::as_str(lb.spec.ip_address_type).to_owned(),
    }
}

fn known_target_group(group: &records::TargetGroup) -> ExistingTargetGroup {
    ExistingTargetGroup {
        target_group_arn: group.arn.clone(),
        target_group_name: group.spec.name.clone(),
        protocol: group.spec.protocol.as_str().to_owned(),
        port: group.spec.port,
        vpc_id: group.vpc_id.clone(),
        target_type: group.spec.target_type.as_str().to_owned(),
        ip_address_type: match group.spec.ip_address_type {
            Some(TargetFamily::Ipv6) => "ipv6".to_owned(),
            _ => "ipv4".to_owned(),
        },
        load_balancer_arns: group.load_balancers.iter().cloned().collect(),
    }
}
