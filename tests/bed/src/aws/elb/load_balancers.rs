//! Load balancers: made, changed, deleted. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::state::{Kind, LoadBalancer, Zone};
use super::{Answer, Context, Elb, Refusal, attributes, list, names, refuse, required, tags, text, texts};

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidConfigurationRequest", message)
}

impl Elb {
    /// A load balancer by ARN.
    pub(super) fn load_balancer(&self, arn: &str) -> Result<&LoadBalancer, Refusal> {
        let missing = || Refusal::new("LoadBalancerNotFound", format!("Load balancer '{arn}' not found"));
        self.load_balancers.get(arn).ok_or_else(missing)
    }

    pub(super) fn create_load_balancer(&mut self, input: &Value, context: Context) -> Answer {
        let name = required(input, "Name")?;
        names::check("Load balancer", name)?;
        refuse(input, &["CustomerOwnedIpv4Pool", "EnablePrefixForIpv6SourceNat", "IpamPools"])?;
        let kind = match text(input, "Type") {
            None | Some("application") => Kind::Application,
            Some("network") => Kind::Network,
            Some(other) => {
                return Err(Refusal::new(
                    "ValidationError",
                    format!("Load balancers of type '{other}' are not part of the bed"),
                ));
            }
        };
        let internal = text(input, "Scheme") == Some("internal");
        let new_tags = tags::of(input)?;
        let existing = self.load_balancers.values().find(|balancer| balancer.name == name).cloned();
        let (vpc, zones) = self.zones(input, kind, internal, existing.as_ref(), context)?;
        let ip_address_type = text(input, "IpAddressType").unwrap_or("ipv4").to_owned();
        check_families(&ip_address_type, &zones, context)?;
        let mut security_groups: BTreeSet<String> = texts(input, "SecurityGroups").into_iter().collect();
        check_security_groups(&security_groups, &vpc, context)?;
        if security_groups.is_empty() && kind == Kind::Application {
            security_groups.extend(default_group(&vpc, context));
        }
        if let Some(existing) = existing {
            let same_tags = self.tags.get(&existing.arn).cloned().unwrap_or_default() == new_tags;
            // The private address of a zone is AWS's choice if the user fixed none.
            let places = |zones: &[Zone]| -> BTreeSet<(String, Option<String>, Option<Ipv4Addr>)> {
                let place = |zone: &Zone| {
                    let elastic = zone.elastic.as_ref().map(|(id, _)| id.clone());
                    (zone.subnet.clone(), elastic, zone.private_fixed.then_some(zone.private))
                };
                zones.iter().map(place).collect()
            };
            let same = existing.kind == kind
                && existing.internal == internal
                && existing.ip_address_type == ip_address_type
                && existing.security_groups == security_groups
                && places(&existing.zones) == places(&zones)
                && same_tags;
            if !same {
                return Err(Refusal::new(
                    "DuplicateLoadBalancerName",
                    format!(
                        "A load balancer with the same name '{name}' exists, but with different settings"
                    ),
                ));
            }
            return Ok(json!({"LoadBalancers": [self.describe_load_balancer(&existing, context)]}));
        }
        let quota = match kind {
            Kind::Network => "network-load-balancers",
            Kind::Application => "application-load-balancers",
        };
        if self.load_balancers.values().filter(|balancer| balancer.kind == kind).count() as u64
            >= self.quota(quota)
        {
            return Err(Refusal::new(
                "TooManyLoadBalancers",
                format!(
                    "The maximum number of load balancers has been reached: {quota} {}",
                    self.quota(quota)
                ),
            ));
        }
        let number = self.next_id();
        let id = names::id(number);
        let arn = names::load_balancer_arn(&self.region, &self.account, kind, name, &id);
        let made_with_groups = !security_groups.is_empty();
        // An internal one is reached at its address in its subnet.
        let address = match (internal, zones.first()) {
            (true, Some(zone)) => zone.private,
            (false, Some(Zone { elastic: Some((_, address)), .. })) => *address,
            _ => self.addresses.take(),
        };
        let balancer = LoadBalancer {
            arn: arn.clone(),
            name: name.to_owned(),
            kind,
            internal,
            vpc,
            zones,
            enforce_private_link: (kind == Kind::Network && made_with_groups).then(|| "on".to_owned()),
            security_groups,
            made_with_groups,
            ip_address_type,
            attributes: BTreeMap::new(),
            dns_name: names::dns_name(&self.region, kind, internal, name, &id, number).to_ascii_lowercase(),
            created: context.now,
            capacity: None,
            address,
        };
        self.tags.insert(arn.clone(), new_tags);
        let answer = json!({"LoadBalancers": [self.describe_load_balancer(&balancer, context)]});
        self.load_balancers.insert(arn, balancer);
        Ok(answer)
    }

    /// VPC and zones of `Subnets` or `SubnetMappings`. Zones that the load balancer has already keep their addresses.
    fn zones(
        &self,
        input: &Value,
        kind: Kind,
        internal: bool,
        existing: Option<&LoadBalancer>,
        context: Context,
    ) -> Result<(String, Vec<Zone>), Refusal> {
        let mappings: Vec<Value> = match (list(input, "Subnets"), list(input, "SubnetMappings")) {
            ([], []) => {
                return Err(Refusal::new(
                    "ValidationError",
                    "Either subnets or subnet mappings must be specified",
                ));
            }
            (subnets, []) => subnets.iter().map(|subnet| json!({"SubnetId": subnet})).collect(),
            ([], mappings) => mappings.to_vec(),
            _ => {
                return Err(Refusal::new(
                    "ValidationError",
                    "Subnets and subnet mappings cannot both be specified",
                ));
            }
        };
        let mut taken: BTreeSet<Ipv4Addr> = self
            .load_balancers
            .values()
            .flat_map(|balancer| balancer.zones.iter().map(|zone| zone.private))
            .collect();
        taken.extend(context.facts.instances.values().filter_map(|instance| match instance.address {
            Some(std::net::IpAddr::V4(address)) => Some(address),
            _ => None,
        }));
        let creation = input.get("Name").is_some();
        let (mut vpcs, mut zones) = (BTreeSet::new(), Vec::<Zone>::new());
        for mapping in &mappings {
            refuse(mapping, &["IPv6Address", "SourceNatIpv6Prefix"])?;
            let id = required(mapping, "SubnetId")?;
            let Some(subnet) = context.facts.subnets.get(id) else {
                return Err(Refusal::new("SubnetNotFound", format!("The subnet ID '{id}' does not exist")));
            };
            if let Some(other) = zones.iter().find(|zone| zone.name == subnet.zone) {
                return Err(invalid(format!(
                    "A load balancer cannot be attached to multiple subnets in the same Availability Zone: {id} and {} are in {}",
                    other.subnet, subnet.zone
                )));
            }
            let elastic = match text(mapping, "AllocationId") {
                None => None,
                Some(_) if kind == Kind::Application || internal => {
                    return Err(invalid(
                        "Elastic IP addresses are for internet-facing Network Load Balancers only",
                    ));
                }
                Some(allocation) => {
                    let Some(address) = context.facts.elastic_addresses.get(allocation) else {
                        return Err(Refusal::new(
                            "AllocationIdNotFound",
                            format!("The allocation ID '{allocation}' does not exist"),
                        ));
                    };
                    let mut others = self
                        .load_balancers
                        .values()
                        .filter(|other| existing.is_none_or(|own| own.arn != other.arn));
                    if others.any(|other| {
                        other
                            .zones
                            .iter()
                            .any(|zone| zone.elastic.as_ref().is_some_and(|(id, _)| id == allocation))
                    }) {
                        return Err(Refusal::new(
                            "ResourceInUse",
                            format!("The allocation IDs '{allocation}' are not available for use"),
                        ));
                    }
                    Some((allocation.to_owned(), *address))
                }
            };
            let fixed = match text(mapping, "PrivateIPv4Address") {
                None => None,
                Some(_) if kind == Kind::Application || !internal => {
                    return Err(invalid("Private addresses are for internal Network Load Balancers only"));
                }
                Some(text) => {
                    let address: Ipv4Addr = text.parse().map_err(|_| {
                        Refusal::new("ValidationError", format!("'{text}' is not a valid IPv4 address"))
                    })?;
                    if !subnet.cidr.contains(&address) {
                        return Err(invalid(format!(
                            "The private address {address} is not in the subnet '{id}'"
                        )));
                    }
                    Some(address)
                }
            };
            let kept = existing.and_then(|own| own.zones.iter().find(|zone| zone.subnet == id));
            // The addresses of a zone are fixed once it is enabled. A second creation is judged by its caller.
            if let (Some(kept), false) = (kept, creation) {
                let same = elastic.as_ref().is_none_or(|new| kept.elastic.as_ref() == Some(new))
                    && fixed.is_none_or(|address| kept.private == address);
                if !same {
                    return Err(invalid(format!("The addresses of the subnet '{id}' cannot be changed")));
                }
            }
            let own_addresses: BTreeSet<Ipv4Addr> =
                existing.iter().flat_map(|own| own.zones.iter().map(|zone| zone.private)).collect();
            if let Some(address) =
                fixed.filter(|address| taken.contains(address) && !own_addresses.contains(address))
            {
                return Err(invalid(format!("The private address {address} is in use")));
            }
            if kept.is_none() && subnet.free < 8 {
                return Err(no_space(id));
            }
            // AWS keeps the first four addresses and the last of a subnet.
            let free = || subnet.cidr.hosts().skip(3).find(|address| !taken.contains(address));
            let private = fixed.or_else(|| kept.map(|zone| zone.private)).or_else(free);
            let Some(private) = private else { return Err(no_space(id)) };
            taken.insert(private);
            vpcs.insert(subnet.vpc.clone());
            zones.push(Zone {
                name: subnet.zone.clone(),
                subnet: id.to_owned(),
                elastic: elastic.or_else(|| kept.filter(|_| !creation).and_then(|zone| zone.elastic.clone())),
                private_fixed: fixed.is_some() || !creation && kept.is_some_and(|zone| zone.private_fixed),
                private,
            });
        }
        let mut vpcs = vpcs.into_iter();
        let (Some(vpc), None) = (vpcs.next(), vpcs.next()) else {
            return Err(invalid("All subnets must belong to the same VPC"));
        };
        if kind == Kind::Application && zones.len() < 2 {
            return Err(Refusal::new(
                "ValidationError",
                "At least two subnets in two different Availability Zones must be specified",
            ));
        }
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((vpc, zones))
    }

    pub(super) fn delete_load_balancer(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "LoadBalancerArn")?;
        // Gone already is success.
        let Some(balancer) = self.load_balancers.get(arn) else { return Ok(json!({})) };
        if attributes::load_balancer(balancer, "deletion_protection.enabled") == "true" {
            return Err(Refusal::new(
                "OperationNotPermitted",
                format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled"),
            ));
        }
        let linger = context.now + self.settings.interfaces_linger;
        self.lingering.push((linger, balancer.security_groups.clone()));
        self.addresses.free(balancer.address);
        let listeners: Vec<String> = self
            .listeners
            .values()
            .filter(|listener| listener.load_balancer == arn)
            .map(|listener| listener.arn.clone())
            .collect();
        for listener in listeners {
            self.remove_listener(&listener);
        }
        self.load_balancers.remove(arn);
        self.tags.remove(arn);
        self.settle_targets(context);
        Ok(json!({}))
    }

    pub(super) fn set_subnets(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "LoadBalancerArn")?;
        let balancer = self.load_balancer(arn)?.clone();
        refuse(input, &["EnablePrefixForIpv6SourceNat"])?;
        let (vpc, zones) = self.zones(input, balancer.kind, balancer.internal, Some(&balancer), context)?;
        if vpc != balancer.vpc {
            return Err(invalid("The subnets are not in the VPC of the load balancer"));
        }
        // The subnet of a zone is replaced in two calls.
        for zone in &zones {
            if let Some(own) =
                balancer.zones.iter().find(|own| own.name == zone.name && own.subnet != zone.subnet)
                && balancer.kind == Kind::Network
            {
                return Err(invalid(format!(
                    "The subnet '{}' of Availability Zone {} must be removed before '{}' can be added",
                    own.subnet, zone.name, zone.subnet
                )));
            }
        }
        let ip_address_type = text(input, "IpAddressType").unwrap_or(&balancer.ip_address_type).to_owned();
        check_families(&ip_address_type, &zones, context)?;
        let mut changed = balancer;
        changed.zones = zones;
        changed.ip_address_type = ip_address_type;
        let described = self.describe_load_balancer(&changed, context);
        self.load_balancers.insert(arn.to_owned(), changed);
        Ok(
            json!({"AvailabilityZones": described["AvailabilityZones"], "IpAddressType": described["IpAddressType"]}),
        )
    }

    pub(super) fn set_security_groups(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "LoadBalancerArn")?;
        let balancer = self.load_balancer(arn)?;
        let groups: BTreeSet<String> = texts(input, "SecurityGroups").into_iter().collect();
        check_security_groups(&groups, &balancer.vpc, context)?;
        if !balancer.made_with_groups {
            return Err(invalid(
                "Security groups cannot be set: the Network Load Balancer was created without any",
            ));
        }
        if groups.is_empty() {
            return Err(invalid("A load balancer with security groups must keep at least one"));
        }
        let enforce = text(input, "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic").map(str::to_owned);
        if enforce.is_some() && balancer.kind == Kind::Application {
            return Err(invalid(
                "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic is for Network Load Balancers",
            ));
        }
        let mut changed = balancer.clone();
        changed.security_groups = groups;
        changed.enforce_private_link = enforce.or(changed.enforce_private_link);
        let mut answer = json!({"SecurityGroupIds": changed.security_groups});
        if let Some(enforce) = &changed.enforce_private_link {
            answer["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] = json!(enforce);
        }
        self.load_balancers.insert(arn.to_owned(), changed);
        Ok(answer)
    }

    pub(super) fn set_ip_address_type(&mut self, input: &Value, context: Context) -> Answer {
        let (arn, kind) = (required(input, "LoadBalancerArn")?, required(input, "IpAddressType")?);
        let balancer = self.load_balancer(arn)?;
        check_families(kind, &balancer.zones, context)?;
        let udp = self
            .listeners
            .values()
            .any(|listener| listener.load_balancer == arn && listener.protocol.contains("UDP"));
        if kind != "ipv4" && udp && balancer.kind == Kind::Network {
            return Err(invalid(
                "Dualstack load balancers have no UDP listeners without prefixes for source NAT",
            ));
        }
        if let Some(balancer) = self.load_balancers.get_mut(arn) {
            kind.clone_into(&mut balancer.ip_address_type);
        }
        Ok(json!({"IpAddressType": kind}))
    }

    pub(super) fn describe_capacity_reservation(&self, input: &Value) -> Answer {
        let balancer = self.load_balancer(required(input, "LoadBalancerArn")?)?;
        let state = |zone: &Zone| {
            json!({"State": {"Code": "provisioned"}, "AvailabilityZone": zone.name,
                   "EffectiveCapacityUnits": balancer.capacity.unwrap_or(0) as f64 / balancer.zones.len() as f64})
        };
        Ok(match balancer.capacity {
            None => json!({"DecreaseRequestsRemaining": 2}),
            Some(units) => json!({
                "DecreaseRequestsRemaining": 2,
                "MinimumLoadBalancerCapacity": {"CapacityUnits": units},
                "CapacityReservationState": balancer.zones.iter().map(state).collect::<Vec<_>>(),
            }),
        })
    }

    pub(super) fn modify_capacity_reservation(&mut self, input: &Value) -> Answer {
        let arn = required(input, "LoadBalancerArn")?;
        self.load_balancer(arn)?;
        let units = input["MinimumLoadBalancerCapacity"]["CapacityUnits"].as_u64();
        let reset = input["ResetCapacityReservation"].as_bool() == Some(true);
        if let Some(balancer) = self.load_balancers.get_mut(arn) {
            balancer.capacity = if reset { None } else { units.or(balancer.capacity) };
        }
        self.describe_capacity_reservation(input)
    }
}

fn no_space(subnet: &str) -> Refusal {
    let message = format!(
        "Not enough IP space available in {subnet}. ELB requires at least 8 free IP addresses in each subnet."
    );
    Refusal::new("InvalidSubnet", message)
}

fn check_families(kind: &str, zones: &[Zone], context: Context) -> Result<(), Refusal> {
    let lacks = |zone: &&Zone| context.facts.subnets.get(&zone.subnet).is_none_or(|subnet| !subnet.has_ipv6);
    match zones.iter().find(lacks) {
        Some(zone) if kind != "ipv4" => Err(invalid(format!(
            "You must specify subnets with an associated IPv6 CIDR block: {} has none",
            zone.subnet
        ))),
        _ => Ok(()),
    }
}

fn check_security_groups(groups: &BTreeSet<String>, vpc: &str, context: Context) -> Result<(), Refusal> {
    for id in groups {
        match context.facts.security_groups.get(id) {
            None => {
                return Err(Refusal::new(
                    "InvalidSecurityGroup",
                    format!("Security group '{id}' does not exist"),
                ));
            }
            Some(group) if group.vpc != vpc => {
                return Err(invalid(format!(
                    "One or more security groups are invalid: '{id}' is not in {vpc}"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The default security group of a VPC, which an ALB has that was given none.
fn default_group(vpc: &str, context: Context) -> Option<String> {
    let mut groups = context.facts.security_groups.iter();
    groups.find(|(_, group)| group.vpc == vpc && group.name == "default").map(|(id, _)| id.clone())
}
