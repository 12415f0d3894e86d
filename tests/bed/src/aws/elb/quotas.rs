//! The account's limits: AWS's defaults (ELB user guides, "Quotas"), `DescribeAccountLimits`, and how each is counted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::actions::target_groups;
use super::names::Arn;
use super::state::{Kind, LoadBalancer};
use super::{Answer, Elb, Refusal, page};

/// AWS's defaults by the names of `DescribeAccountLimits`.
pub fn defaults() -> BTreeMap<String, u64> {
    [
        ("target-groups", 3000),
        ("targets-per-application-load-balancer", 1000),
        ("listeners-per-application-load-balancer", 50),
        ("rules-per-application-load-balancer", 100),
        ("network-load-balancers", 50),
        ("targets-per-network-load-balancer", 3000),
        ("targets-per-availability-zone-per-network-load-balancer", 500),
        ("listeners-per-network-load-balancer", 50),
        ("application-load-balancers", 50),
        ("condition-values-per-alb-rule", 5),
        ("condition-wildcards-per-alb-rule", 5),
        ("target-groups-per-application-load-balancer", 100),
        ("target-groups-per-action-on-application-load-balancer", 5),
        ("target-groups-per-action-on-network-load-balancer", 5),
        ("certificates-per-application-load-balancer", 25),
        ("certificates-per-network-load-balancer", 25),
        ("targets-per-target-group", 1000),
    ]
    .into_iter()
    .map(|(name, limit)| (name.to_owned(), limit))
    .collect()
}

impl Elb {
    pub(super) fn describe_account_limits(&self, input: &Value) -> Answer {
        let limit = |(name, max): (&String, &u64)| json!({"Name": name, "Max": max.to_string()});
        page::page(input, "Limits", self.quotas.iter().map(limit).collect())
    }

    /// The limit of a name with the type of the load balancer in it.
    pub(super) fn quota_of(&self, kind: Kind, start: &str) -> u64 {
        self.quota(&format!("{start}-{}-load-balancer", kind.as_str()))
    }

    /// Every use of target groups: the listener or rule with its actions, and the load balancer.
    fn uses(&self) -> impl Iterator<Item = (&Arn, &[Value], &Arn)> {
        let of_listeners = self
            .listeners
            .values()
            .map(|listener| (&listener.arn, listener.actions.as_slice(), &listener.load_balancer));
        let of_rules = self.rules.values().filter_map(|rule| {
            let listener = self.listeners.get(&rule.listener)?;
            Some((&rule.arn, rule.actions.as_slice(), &listener.load_balancer))
        });
        of_listeners.chain(of_rules)
    }

    /// The target groups that the listeners and rules of a load balancer name.
    pub(super) fn groups_of(&self, balancer: &str) -> BTreeSet<Arn> {
        let own = self.uses().filter(|(.., user)| *user == balancer);
        own.flat_map(|(_, actions, _)| target_groups(actions)).collect()
    }

    /// As [`Elb::groups_of`], once the listener or rule of that ARN has these actions.
    pub(super) fn groups_with(&self, balancer: &str, changed: &str, actions: &[Value]) -> BTreeSet<Arn> {
        let others = self.uses().filter(|(arn, _, user)| *user == balancer && *arn != changed);
        let mut groups: BTreeSet<Arn> = others.flat_map(|(_, actions, _)| target_groups(actions)).collect();
        groups.extend(target_groups(actions));
        groups
    }

    /// The load balancers that use a target group.
    pub(super) fn balancers_of(&self, group: &str) -> BTreeSet<Arn> {
        let users = self.uses().filter(|(_, actions, _)| target_groups(actions).contains(group));
        users.map(|(.., user)| user.clone()).collect()
    }

    /// The load balancers that use each target group.
    pub(super) fn users(&self) -> BTreeMap<Arn, BTreeSet<Arn>> {
        let mut users: BTreeMap<Arn, BTreeSet<Arn>> = BTreeMap::new();
        for (_, actions, user) in self.uses() {
            for group in target_groups(actions) {
                users.entry(group).or_default().insert(user.clone());
            }
        }
        users
    }

    /// Whether a load balancer may have these target groups, all that it will use after a change: not too many, not too many targets in
    /// them, each used by this one alone.
    pub(super) fn check_groups(
        &self,
        balancer: &LoadBalancer,
        groups: &BTreeSet<Arn>,
    ) -> Result<(), Refusal> {
        for arn in groups {
            let Some(group) = self.target_groups.get(arn) else {
                return Err(Refusal::new("TargetGroupNotFound", format!("Target groups '{arn}' not found")));
            };
            if !group.fits(balancer.kind) {
                return Err(Refusal::new(
                    "IncompatibleProtocols",
                    format!(
                        "Target group '{arn}' of protocol {} does not fit a load balancer of type '{}'",
                        group.protocol,
                        balancer.kind.as_str()
                    ),
                ));
            }
            if group.vpc != balancer.vpc {
                return Err(Refusal::new(
                    "InvalidConfigurationRequest",
                    format!(
                        "The target group '{arn}' is not in the same VPC as the load balancer '{}'",
                        balancer.arn
                    ),
                ));
            }
            if let Some(other) = self.balancers_of(arn).into_iter().find(|other| *other != balancer.arn) {
                return Err(Refusal::new(
                    "TargetGroupAssociationLimit",
                    format!(
                        "The following target groups cannot be associated with more than one load balancer: {arn} (is with {other})"
                    ),
                ));
            }
        }
        let limit = match balancer.kind {
            Kind::Application => self.quota("target-groups-per-application-load-balancer"),
            Kind::Network => u64::MAX,
        };
        if groups.len() as u64 > limit {
            return Err(Refusal::new(
                "TooManyUniqueTargetGroupsPerLoadBalancer",
                format!(
                    "The maximum number of unique target groups per load balancer has been reached: {limit}"
                ),
            ));
        }
        let targets = |arn: &Arn| self.target_groups.get(arn).map_or(0, |group| group.targets.len());
        self.check_target_number(balancer, groups.iter().map(targets).sum::<usize>() as u64)
    }

    /// Whether a load balancer may have so many targets, each counted once per target group and port.
    pub(super) fn check_target_number(&self, balancer: &LoadBalancer, targets: u64) -> Result<(), Refusal> {
        // With cross-zone balancing every target counts in each zone, so the limit per zone is that of the whole.
        let cross_zone = super::attributes::load_balancer(balancer, "load_balancing.cross_zone.enabled");
        let limit = match (balancer.kind, cross_zone.as_str()) {
            (Kind::Application, _) => self.quota("targets-per-application-load-balancer"),
            (Kind::Network, "true") => self.quota("targets-per-availability-zone-per-network-load-balancer"),
            (Kind::Network, _) => self.quota("targets-per-network-load-balancer"),
        };
        if targets > limit {
            return Err(Refusal::new(
                "TooManyTargets",
                format!(
                    "You've reached the maximum number of targets for load balancer '{}': {limit}",
                    balancer.arn
                ),
            ));
        }
        Ok(())
    }
}
