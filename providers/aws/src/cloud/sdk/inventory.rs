//! The answers that the inventory is made of, page by page.

use aws_sdk_ec2::types as ec2;

use super::super::records::{Interface, Machine};
use super::super::{Answer, Failure, MachinesBy, Page, Query};
use super::ec2::filter;
use super::{Sdk, failure, more};
use crate::inventory::{
    AccountLimit, Address, Answers, Attachment, AvailabilityZone, BlockState, CertificateDetail,
    CertificateSummary, DescribeAccountLimits, DescribeAddresses, DescribeAvailabilityZones,
    DescribeCertificate, DescribeInstances, DescribeRouteTables, DescribeSecurityGroups, DescribeSubnets,
    DescribeVpcs, GroupIdentifier, Instance, Ipv4Block, Ipv6Block, ListCertificates, NetworkInterface,
    Reservation, Route, RouteTable, RouteTableAssociation, SecurityGroup, Subnet, Tag, Vpc,
};

/// Items of one page of EC2.
const PAGE: i32 = 1000;

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn tags(tags: &[ec2::Tag]) -> Vec<Tag> {
    tags.iter().map(|t| Tag { key: text(t.key()), value: text(t.value()) }).collect()
}

fn block6(cidr: Option<&str>, state: Option<&str>) -> Ipv6Block {
    Ipv6Block { ipv6_cidr_block: text(cidr), ipv6_cidr_block_state: BlockState { state: text(state) } }
}

fn subnet(s: &ec2::Subnet) -> Subnet {
    let blocks = s.ipv6_cidr_block_association_set().iter().map(|b| {
        let state = b.ipv6_cidr_block_state().and_then(|s| s.state());
        block6(b.ipv6_cidr_block(), state.map(ec2::SubnetCidrBlockStateCode::as_str))
    });
    Subnet {
        subnet_id: text(s.subnet_id()),
        vpc_id: text(s.vpc_id()),
        availability_zone: text(s.availability_zone()),
        availability_zone_id: text(s.availability_zone_id()),
        cidr_block: text(s.cidr_block()),
        ipv6_cidr_block_association_set: blocks.collect(),
        available_ip_address_count: s
            .available_ip_address_count()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_default(),
        outpost_arn: s.outpost_arn().map(str::to_owned),
        tags: tags(s.tags()),
    }
}

fn vpc(v: &ec2::Vpc) -> Vpc {
    let blocks = v.cidr_block_association_set().iter().map(|b| {
        let state = b.cidr_block_state().and_then(|s| s.state()).map(ec2::VpcCidrBlockStateCode::as_str);
        Ipv4Block { cidr_block: text(b.cidr_block()), cidr_block_state: BlockState { state: text(state) } }
    });
    let blocks6 = v.ipv6_cidr_block_association_set().iter().map(|b| {
        let state = b.ipv6_cidr_block_state().and_then(|s| s.state()).map(ec2::VpcCidrBlockStateCode::as_str);
        block6(b.ipv6_cidr_block(), state)
    });
    Vpc {
        vpc_id: text(v.vpc_id()),
        cidr_block_association_set: blocks.collect(),
        ipv6_cidr_block_association_set: blocks6.collect(),
    }
}

fn route_table(t: &ec2::RouteTable) -> RouteTable {
    let association = |a: &ec2::RouteTableAssociation| RouteTableAssociation {
        main: a.main().unwrap_or_default(),
        subnet_id: a.subnet_id().map(str::to_owned),
    };
    RouteTable {
        route_table_id: text(t.route_table_id()),
        vpc_id: text(t.vpc_id()),
        associations: t.associations().iter().map(association).collect(),
        routes: t.routes().iter().map(|r| Route { gateway_id: r.gateway_id().map(str::to_owned) }).collect(),
    }
}

fn device_index(interface: &ec2::InstanceNetworkInterface) -> u32 {
    let index = interface.attachment().and_then(|a| a.device_index());
    index.and_then(|index| u32::try_from(index).ok()).unwrap_or_default()
}

fn instance(i: &ec2::Instance) -> Instance {
    let interface = |n: &ec2::InstanceNetworkInterface| NetworkInterface {
        attachment: Attachment { device_index: device_index(n) },
        groups: n.groups().iter().map(|g| GroupIdentifier { group_id: text(g.group_id()) }).collect(),
    };
    Instance {
        instance_id: text(i.instance_id()),
        network_interfaces: i.network_interfaces().iter().map(interface).collect(),
    }
}

fn certificate(c: &aws_sdk_acm::types::CertificateSummary) -> CertificateSummary {
    CertificateSummary {
        certificate_arn: text(c.certificate_arn()),
        domain_name: text(c.domain_name()),
        subject_alternative_name_summaries: c.subject_alternative_name_summaries().to_vec(),
        has_additional_subject_alternative_names: c
            .has_additional_subject_alternative_names()
            .unwrap_or_default(),
        status: text(c.status().map(aws_sdk_acm::types::CertificateStatus::as_str)),
        kind: text(c.r#type().map(aws_sdk_acm::types::CertificateType::as_str)),
        key_algorithm: text(c.key_algorithm().map(aws_sdk_acm::types::KeyAlgorithm::as_str)),
        not_after: c.not_after().map(|at| at.secs().into()).unwrap_or_default(),
    }
}

fn machine(i: &ec2::Instance) -> Machine {
    let interface = |n: &ec2::InstanceNetworkInterface| {
        let mut addresses: Vec<_> = n.private_ip_addresses().iter().collect();
        addresses.sort_by_key(|address| !address.primary().unwrap_or_default());
        let public = |a: &&ec2::InstancePrivateIpAddress| Some(a.association()?.public_ip()?.to_owned());
        Interface {
            device_index: device_index(n),
            private_addresses: addresses
                .iter()
                .filter_map(|a| Some(a.private_ip_address()?.to_owned()))
                .collect(),
            ipv6_addresses: n
                .ipv6_addresses()
                .iter()
                .filter_map(|a| Some(a.ipv6_address()?.to_owned()))
                .collect(),
            public_addresses: addresses.iter().filter_map(public).collect(),
        }
    };
    let placement = i.placement();
    Machine {
        id: text(i.instance_id()),
        state: text(i.state().and_then(|s| s.name()).map(ec2::InstanceStateName::as_str)),
        instance_type: text(i.instance_type().map(ec2::InstanceType::as_str)),
        zone: text(placement.and_then(|p| p.availability_zone())),
        zone_id: text(placement.and_then(|p| p.availability_zone_id())),
        private_dns_name: text(i.private_dns_name()),
        public_dns_name: text(i.public_dns_name()),
        interfaces: i.network_interfaces().iter().map(interface).collect(),
    }
}

impl Sdk {
    pub(super) async fn machines(&self, by: &MachinesBy, marker: Option<String>) -> Result<Answer, Failure> {
        let many = |name: &str, values: &[String]| {
            ec2::Filter::builder().name(name).set_values(Some(values.to_vec())).build()
        };
        let request = self.ec2.describe_instances();
        let request = match by {
            MachinesBy::Ids(ids) => request.filters(many("instance-id", ids)),
            MachinesBy::PrivateDnsNames { vpc, names } => {
                request.filters(filter("vpc-id", vpc)).filters(many("private-dns-name", names))
            }
        };
        let page = request.max_results(PAGE).set_next_token(marker).send().await.map_err(failure)?;
        let items = page.reservations().iter().flat_map(|r| r.instances()).map(machine).collect();
        Ok(Answer::Machines(Page { items, next: more(page.next_token()) }))
    }

    pub(super) async fn query(&self, query: &Query, marker: Option<String>) -> Result<Answer, Failure> {
        let mut all = Answers::default();
        let next = match query {
            Query::AccountLimits => {
                let request = self.elb.describe_account_limits().page_size(400).set_marker(marker);
                let page = request.send().await.map_err(failure)?;
                let limit = |l: &aws_sdk_elasticloadbalancingv2::types::Limit| AccountLimit {
                    name: text(l.name()),
                    max: text(l.max()),
                };
                let limits = page.limits().iter().map(limit).collect();
                all.describe_account_limits = Some(DescribeAccountLimits { limits });
                more(page.next_marker())
            }
            Query::Subnets(id) => {
                let request = self.ec2.describe_subnets().filters(filter("vpc-id", id)).max_results(PAGE);
                let page = request.set_next_token(marker).send().await.map_err(failure)?;
                let subnets = page.subnets().iter().map(subnet).collect();
                all.describe_subnets = Some(DescribeSubnets { subnets });
                more(page.next_token())
            }
            Query::Vpc(id) => {
                let page = self.ec2.describe_vpcs().vpc_ids(id).send().await.map_err(failure)?;
                all.describe_vpcs = Some(DescribeVpcs { vpcs: page.vpcs().iter().map(vpc).collect() });
                None
            }
            Query::RouteTables(id) => {
                let request = self.ec2.describe_route_tables().filters(filter("vpc-id", id)).max_results(100);
                let page = request.set_next_token(marker).send().await.map_err(failure)?;
                let route_tables = page.route_tables().iter().map(route_table).collect();
                all.describe_route_tables = Some(DescribeRouteTables { route_tables });
                more(page.next_token())
            }
            Query::SecurityGroups(id) => {
                let request = self.ec2.describe_security_groups().filters(filter("vpc-id", id));
                let page = request.max_results(PAGE).set_next_token(marker).send().await.map_err(failure)?;
                let group = |g: &ec2::SecurityGroup| SecurityGroup {
                    group_id: text(g.group_id()),
                    group_name: text(g.group_name()),
                    vpc_id: text(g.vpc_id()),
                    tags: tags(g.tags()),
                };
                let security_groups = page.security_groups().iter().map(group).collect();
                all.describe_security_groups = Some(DescribeSecurityGroups { security_groups });
                more(page.next_token())
            }
            Query::Zones => {
                let page = self.ec2.describe_availability_zones().send().await.map_err(failure)?;
                let zone = |z: &ec2::AvailabilityZone| AvailabilityZone {
                    zone_name: text(z.zone_name()),
                    zone_id: text(z.zone_id()),
                    zone_type: text(z.zone_type()),
                };
                let availability_zones = page.availability_zones().iter().map(zone).collect();
                all.describe_availability_zones = Some(DescribeAvailabilityZones { availability_zones });
                None
            }
            Query::Addresses => {
                let page = self.ec2.describe_addresses().send().await.map_err(failure)?;
                let address = |a: &ec2::Address| {
                    Some(Address {
                        allocation_id: a.allocation_id()?.to_owned(),
                        public_ip: text(a.public_ip()),
                    })
                };
                let addresses = page.addresses().iter().filter_map(address).collect();
                all.describe_addresses = Some(DescribeAddresses { addresses });
                None
            }
            Query::Instances(id) => {
                let request = self.ec2.describe_instances().filters(filter("vpc-id", id));
                let request = request.filters(filter("instance-state-name", "running"));
                let page = request.max_results(PAGE).set_next_token(marker).send().await.map_err(failure)?;
                let some = |r: &ec2::Reservation| Reservation {
                    instances: r.instances().iter().map(instance).collect(),
                };
                let reservations = page.reservations().iter().map(some).collect();
                all.describe_instances = Some(DescribeInstances { reservations });
                more(page.next_token())
            }
            Query::Certificates => {
                let request = self.acm.list_certificates().max_items(1000).set_next_token(marker);
                // By default the list shows RSA of 2048 bits alone.
                let keys = aws_sdk_acm::types::Filters::builder()
                    .set_key_types(Some(
                        ["RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1", "EC_secp384r1", "EC_secp521r1"]
                            .map(Into::into)
                            .into(),
                    ))
                    .build();
                let page = request.includes(keys).send().await.map_err(failure)?;
                let certificate_summary_list =
                    page.certificate_summary_list().iter().map(certificate).collect();
                all.list_certificates = Some(ListCertificates { certificate_summary_list });
                more(page.next_token())
            }
            Query::Certificate(arn) => {
                let answer = self.acm.describe_certificate().certificate_arn(arn).send().await;
                let answer = answer.map_err(failure)?;
                let detail = answer.certificate().map(|c| CertificateDetail {
                    certificate_arn: text(c.certificate_arn()),
                    domain_name: text(c.domain_name()),
                    subject_alternative_names: c.subject_alternative_names().to_vec(),
                    status: text(c.status().map(aws_sdk_acm::types::CertificateStatus::as_str)),
                    kind: text(c.r#type().map(aws_sdk_acm::types::CertificateType::as_str)),
                    key_algorithm: text(c.key_algorithm().map(aws_sdk_acm::types::KeyAlgorithm::as_str)),
                    certificate_authority_arn: c.certificate_authority_arn().map(str::to_owned),
                });
                all.describe_certificate =
                    Some(detail.map(|certificate| DescribeCertificate { certificate }).into_iter().collect());
                None
            }
        };
        Ok(Answer::Inventory(Box::new(all), next))
    }
}
