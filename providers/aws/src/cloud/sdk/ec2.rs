//! Security groups of EC2.

use std::collections::BTreeSet;

use aws_sdk_ec2::types as ec2;

use super::super::records::SecurityGroup;
use super::super::{Answer, Call, Failure, GroupsBy};
use super::{Sdk, failure, shapes};
use crate::plan::tokens::literal;
use crate::stack::{GroupPair, IpPermission, IpRange, Ipv6Range, PrefixList, SecurityGroupSpec, Tags, Token};

fn tags(tags: &Tags) -> Option<Vec<ec2::Tag>> {
    let all: Vec<ec2::Tag> = tags.iter().map(|(k, v)| ec2::Tag::builder().key(k).value(v).build()).collect();
    (!all.is_empty()).then_some(all)
}

pub(super) fn tag_map(tags: &[ec2::Tag]) -> Tags {
    tags.iter()
        .filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned())))
        .collect()
}

pub(super) fn filter(name: &str, value: &str) -> ec2::Filter {
    ec2::Filter::builder().name(name).values(value).build()
}

fn described(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn permission(rule: &IpPermission) -> ec2::IpPermission {
    let range = |r: &IpRange| {
        ec2::IpRange::builder().cidr_ip(&r.cidr).set_description(described(&r.description)).build()
    };
    let range6 = |r: &Ipv6Range| {
        ec2::Ipv6Range::builder().cidr_ipv6(&r.cidr).set_description(described(&r.description)).build()
    };
    let pair = |p: &GroupPair| {
        ec2::UserIdGroupPair::builder()
            .group_id(literal(&p.group_id))
            .set_description(described(&p.description))
            .build()
    };
    let list = |l: &PrefixList| ec2::PrefixListId::builder().prefix_list_id(&l.id).build();
    fn some<T>(all: Vec<T>) -> Option<Vec<T>> {
        (!all.is_empty()).then_some(all)
    }
    ec2::IpPermission::builder()
        .ip_protocol(&rule.ip_protocol)
        .set_from_port(rule.from_port.map(i32::from))
        .set_to_port(rule.to_port.map(i32::from))
        .set_ip_ranges(some(rule.ip_ranges.iter().map(range).collect()))
        .set_ipv6_ranges(some(rule.ipv6_ranges.iter().map(range6).collect()))
        .set_user_id_group_pairs(some(rule.group_pairs.iter().map(pair).collect()))
        .set_prefix_list_ids(some(rule.prefix_lists.iter().map(list).collect()))
        .build()
}

fn permissions(rules: &BTreeSet<IpPermission>) -> Option<Vec<ec2::IpPermission>> {
    Some(rules.iter().map(permission).collect())
}

/// AWS gathers the sources of one port range; here each rule has one.
fn rules(p: &ec2::IpPermission) -> Vec<IpPermission> {
    let port = |p: Option<i32>| p.and_then(|p| u16::try_from(p).ok());
    let base = IpPermission {
        ip_protocol: p.ip_protocol().unwrap_or_default().to_owned(),
        from_port: port(p.from_port()),
        to_port: port(p.to_port()),
        ..IpPermission::default()
    };
    let text = |t: Option<&str>| t.unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for r in p.ip_ranges() {
        let range = IpRange { cidr: text(r.cidr_ip()), description: text(r.description()) };
        all.push(IpPermission { ip_ranges: vec![range], ..base.clone() });
    }
    for r in p.ipv6_ranges() {
        let range = Ipv6Range { cidr: text(r.cidr_ipv6()), description: text(r.description()) };
        all.push(IpPermission { ipv6_ranges: vec![range], ..base.clone() });
    }
    for r in p.user_id_group_pairs() {
        let pair = GroupPair {
            group_id: Token::literal(r.group_id().unwrap_or_default()),
            description: text(r.description()),
        };
        all.push(IpPermission { group_pairs: vec![pair], ..base.clone() });
    }
    for r in p.prefix_list_ids() {
        let list = PrefixList { id: text(r.prefix_list_id()) };
        all.push(IpPermission { prefix_lists: vec![list], ..base.clone() });
    }
    all
}

fn security_group(group: &ec2::SecurityGroup) -> SecurityGroup {
    SecurityGroup {
        id: group.group_id().unwrap_or_default().to_owned(),
        vpc_id: group.vpc_id().unwrap_or_default().to_owned(),
        spec: SecurityGroupSpec {
            group_name: group.group_name().unwrap_or_default().to_owned(),
            description: group.description().unwrap_or_default().to_owned(),
            tags: tag_map(group.tags()),
            ingress: group.ip_permissions().iter().flat_map(rules).collect(),
        },
    }
}

impl Sdk {
    /// With `dry` a write is only tried, and always refused: see [`crate::errors::would_succeed`].
    pub(super) async fn security_group_call(&self, call: Call, dry: bool) -> Result<Answer, Failure> {
        let dry = dry.then_some(true);
        match call {
            Call::DescribeSecurityGroups { ids } => {
                let answer = self.ec2.describe_security_groups().set_group_ids(Some(ids)).send().await;
                let answer = answer.map_err(failure)?;
                Ok(Answer::SecurityGroups(answer.security_groups().iter().map(security_group).collect()))
            }
            Call::FindSecurityGroup { vpc, by } => {
                let request = self.ec2.describe_security_groups().filters(filter("vpc-id", &vpc));
                let by = match &by {
                    GroupsBy::Name(name) => filter("group-name", name),
                    GroupsBy::From(id) => filter("ip-permission.group-id", id),
                };
                let answer = request.filters(by).send().await.map_err(failure)?;
                Ok(Answer::SecurityGroups(answer.security_groups().iter().map(security_group).collect()))
            }
            Call::CreateSecurityGroup { vpc, spec } => {
                let marked = ec2::TagSpecification::builder()
                    .resource_type(ec2::ResourceType::SecurityGroup)
                    .set_tags(tags(&spec.tags))
                    .build();
                let answer = self
                    .ec2
                    .create_security_group()
                    .group_name(&spec.group_name)
                    .description(&spec.description)
                    .vpc_id(vpc)
                    .tag_specifications(marked)
                    .set_dry_run(dry)
                    .send()
                    .await
                    .map_err(failure)?;
                answer
                    .group_id()
                    .map(|id| Answer::Made(id.to_owned()))
                    .ok_or_else(|| Failure::NoAnswer("it names nothing".to_owned()))
            }
            Call::AuthorizeSecurityGroupIngress { group, rules } => {
                let request = self.ec2.authorize_security_group_ingress().group_id(group);
                let request = request.set_ip_permissions(permissions(&rules)).set_dry_run(dry);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::RevokeSecurityGroupIngress { group, rules } => {
                let request = self.ec2.revoke_security_group_ingress().group_id(group);
                let request = request.set_ip_permissions(permissions(&rules)).set_dry_run(dry);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::CreateTags { ids, tags: all } => {
                let request = self.ec2.create_tags().set_dry_run(dry).set_resources(shapes::strings(&ids));
                request.set_tags(tags(&all)).send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeleteTags { ids, keys } => {
                let all = keys.iter().map(|key| ec2::Tag::builder().key(key).build()).collect();
                let request = self.ec2.delete_tags().set_dry_run(dry).set_resources(shapes::strings(&ids));
                request.set_tags(Some(all)).send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeleteSecurityGroup { id } => {
                let request = self.ec2.delete_security_group().group_id(id).set_dry_run(dry);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            other => Err(Failure::NoAnswer(format!("{} is no call of EC2", other.action()))),
        }
    }
}
