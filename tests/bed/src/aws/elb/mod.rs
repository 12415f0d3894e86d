//! AWS's load balancer API (Elastic Load Balancing v2) as a state machine of the bed's own. Pure: a request, what EC2 and ACM know, and the time
//! come in; an answer or a refusal goes out.
//!
//! moto has this API too, but differs from AWS in nearly every rule that a careful client depends on (`README.md` has the list), so its
//! answers would have to be rewritten one by one. It stays in charge of EC2, ACM and the other services. What AWS does is taken from the ELB
//! user guides and the API's own description; where those are silent, the item's comment says what was assumed.
//!
//! Requests and answers are the JSON form of the API's shapes, as [`super::model`] makes it from the wire format and checks it: types, ranges, required
//! members and enumerations are right when they arrive here.

mod actions;
mod attributes;
mod describe;
pub mod health;
mod listeners;
mod load_balancers;
mod names;
mod page;
mod quotas;
mod rules;
pub mod state;
mod tags;
mod target_groups;
mod targets;
pub mod traffic;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::facts::Facts;
pub use names::{Arn, zone_id};
pub use state::{Listener, LoadBalancer, Rule, TargetGroup};
pub use target_groups::ranges;

/// An error answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Error code on the wire, such as `DuplicateLoadBalancerName`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

type Answer = Result<Value, Refusal>;

/// How long AWS takes over things that take their time there, in the cloud's time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A new load balancer is `provisioning` for this long.
    pub provisioning: Duration,
    /// The network interfaces of a deleted load balancer stay for this long, and with them their security groups in use.
    pub interfaces_linger: Duration,
    /// A target is registered, `Elb.RegistrationInProgress`, for this long.
    pub registration: Duration,
    /// If nobody probes targets: how long `Elb.InitialHealthChecking` lasts. None: somebody does, and tells by [`Elb::observe`].
    pub simulated_health: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            provisioning: Duration::from_secs(2),
            interfaces_linger: Duration::from_secs(2),
            registration: Duration::from_millis(200),
            simulated_health: Some(Duration::from_secs(1)),
        }
    }
}

/// What a request is judged against besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What EC2 and ACM know.
    pub facts: &'a Facts,
    /// The cloud's time.
    pub now: Duration,
}

/// All load balancers of an account in one region.
#[derive(Clone, Debug)]
pub struct Elb {
    pub(crate) account: String,
    pub(crate) region: String,
    /// How long things take.
    pub settings: Settings,
    pub(crate) quotas: BTreeMap<String, u64>,
    pub(crate) load_balancers: BTreeMap<Arn, LoadBalancer>,
    pub(crate) target_groups: BTreeMap<Arn, TargetGroup>,
    pub(crate) listeners: BTreeMap<Arn, Listener>,
    pub(crate) rules: BTreeMap<Arn, Rule>,
    pub(crate) tags: BTreeMap<Arn, BTreeMap<String, String>>,
    /// Security groups of deleted load balancers, and until when their interfaces stay.
    pub(crate) lingering: Vec<(Duration, BTreeSet<String>)>,
    /// Numbers of addresses in use outside, one per load balancer.
    pub(crate) addresses: names::Addresses,
    created: u64,
}

impl Elb {
    /// An empty account.
    pub fn new(account: &str, region: &str, settings: Settings) -> Elb {
        Elb {
            account: account.to_owned(),
            region: region.to_owned(),
            settings,
            quotas: quotas::defaults(),
            load_balancers: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            listeners: BTreeMap::new(),
            rules: BTreeMap::new(),
            tags: BTreeMap::new(),
            lingering: Vec::new(),
            addresses: names::Addresses::default(),
            created: 0,
        }
    }

    /// Answers a request. `None` if the action is none that the bed's AWS has.
    pub fn call(&mut self, action: &str, input: &Value, context: Context) -> Option<Answer> {
        // Most reads show nothing that time changes, and there may be thousands of targets.
        if !Self::is_read(action) || action == "DescribeTargetHealth" {
            self.settle(context);
        }
        Some(match action {
            "CreateLoadBalancer" => self.create_load_balancer(input, context),
            "DeleteLoadBalancer" => self.delete_load_balancer(input, context),
            "DescribeLoadBalancers" => self.describe_load_balancers(input, context),
            "SetSubnets" => self.set_subnets(input, context),
            "SetSecurityGroups" => self.set_security_groups(input, context),
            "SetIpAddressType" => self.set_ip_address_type(input, context),
            "DescribeLoadBalancerAttributes" => self.describe_load_balancer_attributes(input),
            "ModifyLoadBalancerAttributes" => self.modify_load_balancer_attributes(input),
            "DescribeCapacityReservation" => self.describe_capacity_reservation(input),
            "ModifyCapacityReservation" => self.modify_capacity_reservation(input),
            "CreateTargetGroup" => self.create_target_group(input, context),
            "DeleteTargetGroup" => self.delete_target_group(input),
            "ModifyTargetGroup" => self.modify_target_group(input),
            "DescribeTargetGroups" => self.describe_target_groups(input),
            "DescribeTargetGroupAttributes" => self.describe_target_group_attributes(input),
            "ModifyTargetGroupAttributes" => self.modify_target_group_attributes(input),
            "RegisterTargets" => self.register_targets(input, context),
            "DeregisterTargets" => self.deregister_targets(input, context),
            "DescribeTargetHealth" => self.describe_target_health(input, context),
            "CreateListener" => self.create_listener(input, context),
            "DeleteListener" => self.delete_listener(input),
            "ModifyListener" => self.modify_listener(input, context),
            "DescribeListeners" => self.describe_listeners(input),
            "DescribeListenerAttributes" => self.describe_listener_attributes(input),
            "ModifyListenerAttributes" => self.modify_listener_attributes(input),
            "AddListenerCertificates" => self.add_listener_certificates(input, context),
            "RemoveListenerCertificates" => self.remove_listener_certificates(input),
            "DescribeListenerCertificates" => self.describe_listener_certificates(input),
            "CreateRule" => self.create_rule(input, context),
            "DeleteRule" => self.delete_rule(input),
            "ModifyRule" => self.modify_rule(input, context),
            "DescribeRules" => self.describe_rules(input),
            "SetRulePriorities" => self.set_rule_priorities(input),
            "AddTags" => self.add_tags(input),
            "RemoveTags" => self.remove_tags(input),
            "DescribeTags" => self.describe_tags(input),
            "DescribeAccountLimits" => self.describe_account_limits(input),
            "DescribeSSLPolicies" => self.describe_ssl_policies(input),
            "DescribeTrustStores" => Ok(json!({"TrustStores": []})),
            _ => return None,
        })
    }

    /// Lets what time brings about happen: drained targets go, interfaces of deleted load balancers go.
    pub fn settle(&mut self, context: Context) {
        let now = context.now;
        self.lingering.retain(|(until, _)| *until > now);
        self.settle_targets(context);
    }

    /// Whether a call of that action may change anything.
    pub fn is_read(action: &str) -> bool {
        action.starts_with("Describe") || action.starts_with("Get")
    }

    /// The security groups that network interfaces of load balancers use.
    pub fn security_groups_in_use(&self, now: Duration) -> BTreeSet<String> {
        let of_live = self.load_balancers.values().flat_map(|balancer| balancer.security_groups.iter());
        let lingering = self.lingering.iter().filter(|(until, _)| *until > now);
        of_live.chain(lingering.flat_map(|(_, groups)| groups)).cloned().collect()
    }

    /// Certificates that listeners use.
    pub fn certificates_in_use(&self) -> BTreeSet<String> {
        let of = |listener: &Listener| {
            listener.certificates.iter().chain(&listener.more_certificates).cloned().collect::<Vec<_>>()
        };
        self.listeners.values().flat_map(of).collect()
    }

    /// A number that no other resource has: it makes ids.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.created += 1;
        self.created
    }

    /// The limit of that name; see `DescribeAccountLimits`.
    pub fn quota(&self, name: &str) -> u64 {
        self.quotas.get(name).copied().unwrap_or(u64::MAX)
    }

    /// Sets a limit, as AWS's support does on request; fails if it is none of AWS's.
    pub fn set_quota(&mut self, name: &str, limit: u64) -> Result<(), String> {
        match self.quotas.get_mut(name) {
            Some(quota) => {
                *quota = limit;
                Ok(())
            }
            None => Err(format!("no quota {name:?}; DescribeAccountLimits names them")),
        }
    }
}

/// Refuses members that the bed's load balancers do nothing with: what they ask for would silently not happen.
pub(crate) fn refuse(input: &Value, members: &[&str]) -> Result<(), Refusal> {
    let asked = |member: &&&str| input.get(**member).is_some_and(|value| value != "off");
    match members.iter().find(asked) {
        None => Ok(()),
        Some(member) => {
            Err(Refusal::new("InvalidConfigurationRequest", format!("{member} is not part of the bed")))
        }
    }
}

/// A member of the request that is a string.
pub(crate) fn text<'a>(input: &'a Value, member: &str) -> Option<&'a str> {
    input.get(member).and_then(Value::as_str)
}

/// A member of the request that the API requires: the model has checked that it is there.
pub(crate) fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, Refusal> {
    text(input, member).ok_or_else(|| Refusal::new("ValidationError", format!("{member} is missing")))
}

/// A member of the request that is a list.
pub(crate) fn list<'a>(input: &'a Value, member: &str) -> &'a [Value] {
    input.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A member of the request that is a list of strings.
pub(crate) fn texts(input: &Value, member: &str) -> Vec<String> {
    list(input, member).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
