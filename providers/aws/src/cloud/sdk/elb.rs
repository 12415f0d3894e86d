//! Calls of ELBv2.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types as elb;

use super::super::records::Tagged;
use super::super::{Answer, Attributed, Call, Failure, Page, Which};
use super::{Sdk, actions, failure, more, shapes};
use crate::plan::tokens::literal;
use crate::stack::{Attribute, ListenerSpec, MinimumCapacity, TargetFamily};

/// Items of one page, as many as there may be.
const PAGE: i32 = 400;

type Reply = Result<Answer, Failure>;

fn attributes<T>(all: &[Attribute], of: impl Fn(&Attribute) -> T) -> Option<Vec<T>> {
    Some(all.iter().map(of).collect())
}

fn map<'a>(all: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Answer {
    let map: BTreeMap<String, String> =
        all.filter_map(|(k, v)| Some((k?.to_owned(), v.unwrap_or_default().to_owned()))).collect();
    Answer::Attributes(map)
}

fn made<T>(first: Option<T>, arn: impl Fn(T) -> Option<String>) -> Reply {
    first.and_then(arn).map(Answer::Made).ok_or_else(|| Failure::NoAnswer("it names nothing".to_owned()))
}

fn certificates(spec: &ListenerSpec) -> Option<Vec<elb::Certificate>> {
    let first = spec.certificates.first()?;
    Some(vec![elb::Certificate::builder().certificate_arn(&first.certificate_arn).build()])
}

fn certificate_list(arns: impl IntoIterator<Item = String>) -> Option<Vec<elb::Certificate>> {
    Some(arns.into_iter().map(|arn| elb::Certificate::builder().certificate_arn(arn).build()).collect())
}

impl Sdk {
    pub(super) async fn elb_read(&self, call: Call) -> Reply {
        match call {
            Call::DescribeLoadBalancers { which, marker } => {
                let request = self.elb.describe_load_balancers().set_marker(marker);
                let request = match which {
                    Which::All | Which::Of(_) => request.page_size(PAGE),
                    Which::Ids(arns) => request.set_load_balancer_arns(Some(arns)),
                    Which::Names(names) => request.set_names(Some(names)),
                };
                let page = request.send().await.map_err(failure)?;
                let items =
                    page.load_balancers().iter().map(shapes::load_balancer).collect::<Result<_, _>>()?;
                Ok(Answer::LoadBalancers(Page { items, next: more(page.next_marker()) }))
            }
            Call::DescribeTargetGroups { which, marker } => {
                let request = self.elb.describe_target_groups().set_marker(marker);
                let request = match which {
                    Which::All => request.page_size(PAGE),
                    Which::Of(lb) => request.load_balancer_arn(lb),
                    Which::Ids(arns) => request.set_target_group_arns(Some(arns)),
                    Which::Names(names) => request.set_names(Some(names)),
                };
                let page = request.send().await.map_err(failure)?;
                let mut items = Vec::new();
                for group in page.target_groups() {
                    items.extend(shapes::target_group(group)?);
                }
                Ok(Answer::TargetGroups(Page { items, next: more(page.next_marker()) }))
            }
            Call::DescribeListeners { load_balancer, marker } => {
                let request = self.elb.describe_listeners().load_balancer_arn(load_balancer);
                let page = request.page_size(PAGE).set_marker(marker).send().await.map_err(failure)?;
                let items = page.listeners().iter().map(shapes::listener).collect::<Result<_, _>>()?;
                Ok(Answer::Listeners(Page { items, next: more(page.next_marker()) }))
            }
            Call::DescribeListenerCertificates { listener, marker } => {
                let request = self.elb.describe_listener_certificates().listener_arn(listener);
                let page = request.page_size(PAGE).set_marker(marker).send().await.map_err(failure)?;
                let one = |c: &elb::Certificate| {
                    Some((c.certificate_arn()?.to_owned(), c.is_default().unwrap_or_default()))
                };
                let items = page.certificates().iter().filter_map(one).collect();
                Ok(Answer::Certificates(Page { items, next: more(page.next_marker()) }))
            }
            Call::DescribeRules { listener, marker } => {
                let request = self.elb.describe_rules().listener_arn(&listener);
                let page = request.page_size(PAGE).set_marker(marker).send().await.map_err(failure)?;
                let items = page.rules().iter().filter_map(|r| shapes::rule(r, &listener)).collect();
                Ok(Answer::Rules(Page { items, next: more(page.next_marker()) }))
            }
            Call::DescribeTags { arns } => {
                let answer = self.elb.describe_tags().set_resource_arns(Some(arns)).send().await;
                let answer = answer.map_err(failure)?;
                let one = |t: &elb::TagDescription| {
                    Some(Tagged { arn: t.resource_arn()?.to_owned(), tags: shapes::tag_map(t.tags()) })
                };
                let items = answer.tag_descriptions().iter().filter_map(one).collect();
                Ok(Answer::Tagged(Page { items, next: None }))
            }
            Call::DescribeTargetHealth { group } => {
                let answer = self.elb.describe_target_health().target_group_arn(group).send().await;
                let answer = answer.map_err(failure)?;
                let all = answer.target_health_descriptions();
                let one = |d: &elb::TargetHealthDescription| {
                    let state = d.target_health().and_then(|h| h.state());
                    Some((shapes::target(d.target()?)?, shapes::health(state)))
                };
                let why = |d: &elb::TargetHealthDescription| {
                    let health = d.target_health()?;
                    let text = health.description().unwrap_or_default().to_owned();
                    Some((shapes::target(d.target()?)?, (health.reason()?.as_str().to_owned(), text)))
                };
                Ok(Answer::Healths(
                    all.iter().filter_map(one).collect(),
                    all.iter().filter_map(why).collect(),
                ))
            }
            Call::DescribeAttributes { of, arn } => match of {
                Attributed::LoadBalancer => {
                    let request = self.elb.describe_load_balancer_attributes().load_balancer_arn(arn);
                    let answer = request.send().await.map_err(failure)?;
                    Ok(map(answer.attributes().iter().map(|a| (a.key(), a.value()))))
                }
                Attributed::TargetGroup => {
                    let request = self.elb.describe_target_group_attributes().target_group_arn(arn);
                    let answer = request.send().await.map_err(failure)?;
                    Ok(map(answer.attributes().iter().map(|a| (a.key(), a.value()))))
                }
                Attributed::Listener => {
                    let request = self.elb.describe_listener_attributes().listener_arn(arn);
                    let answer = request.send().await.map_err(failure)?;
                    Ok(map(answer.attributes().iter().map(|a| (a.key(), a.value()))))
                }
            },
            other => Err(Failure::NoAnswer(format!("{} is no reading call of ELBv2", other.action()))),
        }
    }

    pub(super) async fn elb_write(&self, call: Call) -> Reply {
        match call {
            Call::CreateLoadBalancer { spec } => {
                let mappings = spec.subnet_mappings.iter().map(shapes::subnet_mapping).collect();
                let pool = spec.ipv4_ipam_pool.as_ref();
                let answer = self
                    .elb
                    .create_load_balancer()
                    .name(&spec.name)
                    .r#type(
                        match spec.kind {
                            crate::stack::LoadBalancerType::Network => "network",
                            crate::stack::LoadBalancerType::Application => "application",
                        }
                        .into(),
                    )
                    .scheme(spec.scheme.as_str().into())
                    .ip_address_type(shapes::family(spec.ip_address_type))
                    .set_subnet_mappings(Some(mappings))
                    .set_security_groups(shapes::literals(&spec.security_groups))
                    .set_enable_prefix_for_ipv6_source_nat(
                        spec.enable_prefix_for_ipv6_source_nat.map(|v| shapes::on_off(v).into()),
                    )
                    .set_customer_owned_ipv4_pool(spec.customer_owned_ipv4_pool.clone())
                    .set_ipam_pools(pool.map(|id| elb::IpamPools::builder().ipv4_ipam_pool_id(id).build()))
                    .set_tags(shapes::tags(&spec.tags))
                    .send()
                    .await
                    .map_err(failure)?;
                match answer.load_balancers().first() {
                    Some(lb) => Ok(Answer::LoadBalancer(Box::new(shapes::load_balancer(lb)?))),
                    None => Err(Failure::NoAnswer("it names nothing".to_owned())),
                }
            }
            Call::ModifyAttributes { of, arn, attributes: all } => self.set_attributes(of, arn, &all).await,
            Call::ModifyCapacityReservation { arn, capacity: MinimumCapacity { capacity_units } } => {
                let request = self.elb.modify_capacity_reservation().load_balancer_arn(arn);
                let request = if capacity_units == 0 {
                    request.reset_capacity_reservation(true)
                } else {
                    let units = i32::try_from(capacity_units).unwrap_or(i32::MAX);
                    let capacity = elb::MinimumLoadBalancerCapacity::builder().capacity_units(units).build();
                    request.minimum_load_balancer_capacity(capacity)
                };
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::SetSubnets { arn, mappings, family, source_nat } => {
                let mappings = mappings.iter().map(shapes::subnet_mapping).collect();
                let request = self.elb.set_subnets().load_balancer_arn(arn);
                let request = request
                    .set_subnet_mappings(Some(mappings))
                    .ip_address_type(shapes::family(family))
                    .set_enable_prefix_for_ipv6_source_nat(source_nat.map(|v| shapes::on_off(v).into()));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::SetSecurityGroups { arn, groups, private_link } => {
                let request = self.elb.set_security_groups().load_balancer_arn(arn);
                let request = request
                    .set_security_groups(shapes::strings(&groups))
                    .set_enforce_security_group_inbound_rules_on_private_link_traffic(
                        private_link.map(|v| shapes::on_off(v).into()),
                    );
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::SetIpAddressType { arn, family } => {
                let request = self.elb.set_ip_address_type().load_balancer_arn(arn);
                let request = request.ip_address_type(shapes::family(family));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeleteLoadBalancer { arn } => {
                let request = self.elb.delete_load_balancer().load_balancer_arn(arn);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::CreateTargetGroup { vpc, spec } => {
                let check = &spec.health_check_config;
                let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
                let answer = self
                    .elb
                    .create_target_group()
                    .name(&spec.name)
                    .protocol(spec.protocol.as_str().into())
                    .set_protocol_version(spec.protocol_version.map(|version| {
                        match version {
                            crate::stack::ProtocolVersion::Http1 => "HTTP1",
                            crate::stack::ProtocolVersion::Http2 => "HTTP2",
                            crate::stack::ProtocolVersion::Grpc => "GRPC",
                        }
                        .to_owned()
                    }))
                    .port(i32::from(spec.port))
                    .vpc_id(vpc)
                    .target_type(spec.target_type.as_str().into())
                    .set_ip_address_type(spec.ip_address_type.map(|family| {
                        match family {
                            TargetFamily::Ipv4 => "ipv4",
                            TargetFamily::Ipv6 => "ipv6",
                        }
                        .into()
                    }))
                    .health_check_protocol(check.protocol.as_str().into())
                    .health_check_port(shapes::check_port(&check.port))
                    .set_health_check_path(check.path.clone())
                    .set_matcher(check.matcher.as_ref().map(shapes::matcher))
                    .health_check_interval_seconds(number(check.interval_seconds))
                    .health_check_timeout_seconds(number(check.timeout_seconds))
                    .healthy_threshold_count(number(check.healthy_threshold_count))
                    .unhealthy_threshold_count(number(check.unhealthy_threshold_count))
                    .set_target_control_port(spec.target_control_port.map(i32::from))
                    .set_tags(shapes::tags(&spec.tags))
                    .send()
                    .await
                    .map_err(failure)?;
                made(answer.target_groups().first(), |g| g.target_group_arn().map(str::to_owned))
            }
            Call::ModifyTargetGroup { arn, health: check } => {
                let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
                let request = self
                    .elb
                    .modify_target_group()
                    .target_group_arn(arn)
                    .health_check_protocol(check.protocol.as_str().into())
                    .health_check_port(shapes::check_port(&check.port))
                    .set_health_check_path(check.path.clone())
                    .set_matcher(check.matcher.as_ref().map(shapes::matcher))
                    .health_check_interval_seconds(number(check.interval_seconds))
                    .health_check_timeout_seconds(number(check.timeout_seconds))
                    .healthy_threshold_count(number(check.healthy_threshold_count))
                    .unhealthy_threshold_count(number(check.unhealthy_threshold_count));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeleteTargetGroup { arn } => {
                let request = self.elb.delete_target_group().target_group_arn(arn);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            other => self.listener_write(other).await,
        }
    }

    async fn set_attributes(&self, of: Attributed, arn: String, all: &[Attribute]) -> Reply {
        match of {
            Attributed::LoadBalancer => {
                let one =
                    |a: &Attribute| elb::LoadBalancerAttribute::builder().key(&a.key).value(&a.value).build();
                let request = self.elb.modify_load_balancer_attributes().load_balancer_arn(arn);
                let answer = request.set_attributes(attributes(all, one)).send().await;
                answer.map(|_| Answer::Done).map_err(failure)
            }
            Attributed::TargetGroup => {
                let one =
                    |a: &Attribute| elb::TargetGroupAttribute::builder().key(&a.key).value(&a.value).build();
                let request = self.elb.modify_target_group_attributes().target_group_arn(arn);
                let answer = request.set_attributes(attributes(all, one)).send().await;
                answer.map(|_| Answer::Done).map_err(failure)
            }
            Attributed::Listener => {
                let one =
                    |a: &Attribute| elb::ListenerAttribute::builder().key(&a.key).value(&a.value).build();
                let request = self.elb.modify_listener_attributes().listener_arn(arn);
                let answer = request.set_attributes(attributes(all, one)).send().await;
                answer.map(|_| Answer::Done).map_err(failure)
            }
        }
    }

    async fn listener_write(&self, call: Call) -> Reply {
        match call {
            Call::CreateListener { spec } => {
                let answer = self
                    .elb
                    .create_listener()
                    .load_balancer_arn(literal(&spec.load_balancer_arn))
                    .port(i32::from(spec.port))
                    .protocol(spec.protocol.as_str().into())
                    .set_default_actions(Some(actions::write(&spec.default_actions)?))
                    .set_certificates(certificates(&spec))
                    .set_ssl_policy(spec.ssl_policy.clone())
                    .set_alpn_policy((!spec.alpn_policy.is_empty()).then(|| spec.alpn_policy.clone()))
                    .set_mutual_authentication(
                        spec.mutual_authentication.as_ref().map(shapes::mutual_authentication),
                    )
                    .set_tags(shapes::tags(&spec.tags))
                    .send()
                    .await
                    .map_err(failure)?;
                made(answer.listeners().first(), |l| l.listener_arn().map(str::to_owned))
            }
            Call::ModifyListener { arn, spec } => {
                let request = self
                    .elb
                    .modify_listener()
                    .listener_arn(arn)
                    .port(i32::from(spec.port))
                    .protocol(spec.protocol.as_str().into())
                    .set_default_actions(Some(actions::write(&spec.default_actions)?))
                    .set_certificates(certificates(&spec))
                    .set_ssl_policy(spec.ssl_policy.clone())
                    .set_alpn_policy((!spec.alpn_policy.is_empty()).then(|| spec.alpn_policy.clone()))
                    .set_mutual_authentication(
                        spec.mutual_authentication.as_ref().map(shapes::mutual_authentication),
                    );
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::AddListenerCertificates { listener, certificates } => {
                let request = self.elb.add_listener_certificates().listener_arn(listener);
                let request = request.set_certificates(certificate_list(certificates));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::RemoveListenerCertificates { listener, certificates } => {
                let request = self.elb.remove_listener_certificates().listener_arn(listener);
                let request = request.set_certificates(certificate_list(certificates));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeleteListener { arn } => {
                let request = self.elb.delete_listener().listener_arn(arn);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::CreateRule { spec } => {
                let transforms: Vec<_> = spec.transforms.iter().map(shapes::to_transform).collect();
                let answer = self
                    .elb
                    .create_rule()
                    .listener_arn(literal(&spec.listener_arn))
                    .priority(i32::try_from(spec.priority).unwrap_or(i32::MAX))
                    .set_actions(Some(actions::write(&spec.actions)?))
                    .set_conditions(Some(spec.conditions.iter().map(shapes::to_condition).collect()))
                    .set_transforms((!transforms.is_empty()).then_some(transforms))
                    .set_tags(shapes::tags(&spec.tags))
                    .send()
                    .await
                    .map_err(failure)?;
                made(answer.rules().first(), |r| r.rule_arn().map(str::to_owned))
            }
            Call::ModifyRule { arn, spec } => {
                let transforms: Vec<_> = spec.transforms.iter().map(shapes::to_transform).collect();
                let request = self
                    .elb
                    .modify_rule()
                    .rule_arn(arn)
                    .set_actions(Some(actions::write(&spec.actions)?))
                    .set_conditions(Some(spec.conditions.iter().map(shapes::to_condition).collect()));
                let request =
                    if transforms.is_empty() { request } else { request.set_transforms(Some(transforms)) };
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::SetRulePriorities { priorities } => {
                let one = |(arn, priority): (&String, &u32)| {
                    let priority = i32::try_from(*priority).unwrap_or(i32::MAX);
                    elb::RulePriorityPair::builder().rule_arn(arn).priority(priority).build()
                };
                let all = priorities.iter().map(one).collect();
                let request = self.elb.set_rule_priorities().set_rule_priorities(Some(all));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeleteRule { arn } => {
                let request = self.elb.delete_rule().rule_arn(arn);
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::RegisterTargets { group, targets } => {
                let targets = targets.iter().map(shapes::to_target).collect();
                let request = self.elb.register_targets().target_group_arn(group);
                let request = request.set_targets(Some(targets));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::DeregisterTargets { group, targets } => {
                let targets = targets.iter().map(shapes::to_target).collect();
                let request = self.elb.deregister_targets().target_group_arn(group);
                let request = request.set_targets(Some(targets));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::AddTags { arns, tags } => {
                let request = self.elb.add_tags().set_resource_arns(shapes::strings(&arns));
                let request = request.set_tags(shapes::tags(&tags));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            Call::RemoveTags { arns, keys } => {
                let request = self.elb.remove_tags().set_resource_arns(shapes::strings(&arns));
                let request = request.set_tag_keys(shapes::strings(&keys));
                request.send().await.map(|_| Answer::Done).map_err(failure)
            }
            other => Err(Failure::NoAnswer(format!("{} is no writing call of ELBv2", other.action()))),
        }
    }
}
