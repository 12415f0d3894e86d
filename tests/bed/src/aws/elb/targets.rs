//! Targets and their life: registered, `initial`, `healthy` or `unhealthy`, `draining`, gone; `unused` while their group is. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::health::{Check, Health, State, Thresholds};
use super::names::Arn;
use super::state::{Kind, Target, TargetGroup};
use super::{Answer, Context, Elb, Refusal, attributes, list, refuse, required, text};

/// Id and port of a target.
type Key = (String, u16);

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidTarget", message)
}

impl Elb {
    /// Ids and ports of a request's targets; those without a port have the group's.
    fn named(group: &TargetGroup, input: &Value) -> Result<Vec<(String, u16, Option<String>)>, Refusal> {
        let one = |target: &Value| {
            refuse(target, &["QuicServerId"])?;
            let port = target.get("Port").and_then(Value::as_u64).map_or(group.port, |port| port as u16);
            Ok((
                required(target, "Id")?.to_owned(),
                port,
                text(target, "AvailabilityZone").map(str::to_owned),
            ))
        };
        list(input, "Targets").iter().map(one).collect()
    }

    pub(super) fn register_targets(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let group = self.target_group(arn)?;
        let named = Self::named(group, input)?;
        let mut changed = group.clone();
        for (id, port, zone) in named {
            check_target(group, &id, zone.as_deref(), context)?;
            let key = (id, port);
            // One that is registered already stays as it is; a draining one starts anew.
            if changed.targets.get(&key).is_none_or(|target| target.draining_until.is_some()) {
                let target =
                    Target { zone, registered: context.now, health: Health::unknown(), draining_until: None };
                changed.targets.insert(key, target);
            }
        }
        let live = |group: &TargetGroup| {
            group.targets.values().filter(|target| target.draining_until.is_none()).count() as u64
        };
        let limit = self.quota("targets-per-target-group");
        if live(&changed) > limit {
            return Err(Refusal::new(
                "TooManyTargets",
                format!("You've reached the maximum number of targets for target group '{arn}': {limit}"),
            ));
        }
        for balancer in self.balancers_of(arn) {
            let others = self.groups_of(&balancer).into_iter().filter(|other| other != arn);
            let others: u64 = others.filter_map(|other| self.target_groups.get(&other)).map(live).sum();
            self.check_target_number(self.load_balancer(&balancer)?, others + live(&changed))?;
        }
        self.target_groups.insert(arn.to_owned(), changed);
        self.settle_targets(context);
        Ok(json!({}))
    }

    pub(super) fn deregister_targets(&mut self, input: &Value, context: Context) -> Answer {
        let arn = required(input, "TargetGroupArn")?;
        let group = self.target_group(arn)?;
        let used = !self.balancers_of(arn).is_empty();
        let delay =
            attributes::target_group(group, "deregistration_delay.timeout_seconds").parse().unwrap_or(300);
        let named = Self::named(group, input)?;
        if let Some(group) = self.target_groups.get_mut(arn) {
            for (id, port, _) in named {
                // A target that is not there is gone already: success.
                let Some(target) = group.targets.get_mut(&(id.clone(), port)) else { continue };
                if !used || delay == 0 {
                    group.targets.remove(&(id, port));
                } else if target.draining_until.is_none() {
                    target.draining_until = Some(context.now + Duration::from_secs(delay));
                }
            }
        }
        Ok(json!({}))
    }

    pub(super) fn describe_target_health(&self, input: &Value, context: Context) -> Answer {
        let group = self.target_group(required(input, "TargetGroupArn")?)?;
        let users = self.balancers_of(&group.arn);
        let mut descriptions = Vec::new();
        if list(input, "Targets").is_empty() {
            for ((id, port), target) in &group.targets {
                descriptions.push(self.described(group, id, *port, Some(target), &users, context));
            }
        } else {
            for (id, port, _) in Self::named(group, input)? {
                let target = group.targets.get(&(id.clone(), port));
                descriptions.push(self.described(group, &id, port, target, &users, context));
            }
        }
        Ok(json!({"TargetHealthDescriptions": descriptions}))
    }

    fn described(
        &self,
        group: &TargetGroup,
        id: &str,
        port: u16,
        target: Option<&Target>,
        users: &BTreeSet<Arn>,
        context: Context,
    ) -> Value {
        let check_port = match group.check.port.as_str() {
            "traffic-port" => port.to_string(),
            fixed => fixed.to_owned(),
        };
        let (state, reason) = match target {
            None => (
                "unused",
                Some(("Target.NotRegistered", "Target is not registered to the target group".to_owned())),
            ),
            Some(target) => self.target_state(group, id, target, users, context),
        };
        let mut described = json!({
            "Target": {"Id": id, "Port": port},
            "HealthCheckPort": check_port,
            "TargetHealth": {"State": state},
        });
        if let Some(zone) = target.and_then(|target| target.zone.as_deref()) {
            described["Target"]["AvailabilityZone"] = json!(zone);
        }
        if let Some((code, words)) = reason {
            described["TargetHealth"]["Reason"] = json!(code);
            described["TargetHealth"]["Description"] = json!(words);
        }
        described
    }

    /// State, reason code and description of a target.
    fn target_state(
        &self,
        group: &TargetGroup,
        id: &str,
        target: &Target,
        users: &BTreeSet<Arn>,
        context: Context,
    ) -> (&'static str, Option<(&'static str, String)>) {
        if target.draining_until.is_some() {
            return (
                "draining",
                Some(("Target.DeregistrationInProgress", "Target deregistration is in progress".to_owned())),
            );
        }
        if let Err(why) = self.usable(users, group, id, target, context) {
            return ("unused", Some(why));
        }
        if context.now < target.registered + self.settings.registration {
            return (
                "initial",
                Some(("Elb.RegistrationInProgress", "Target registration is in progress".to_owned())),
            );
        }
        match target.health.state {
            State::Initial => (
                "initial",
                Some(("Elb.InitialHealthChecking", "Initial health checks in progress".to_owned())),
            ),
            State::Healthy => ("healthy", None),
            State::Unhealthy(reason) => ("unhealthy", Some(reason.words())),
        }
    }

    /// Whether a target can get traffic at all, or why it is `unused`.
    pub(super) fn usable(
        &self,
        users: &BTreeSet<Arn>,
        group: &TargetGroup,
        id: &str,
        target: &Target,
        context: Context,
    ) -> Result<(), (&'static str, String)> {
        if users.is_empty() {
            return Err((
                "Target.NotInUse",
                "Target group is not configured to receive traffic from the load balancer".to_owned(),
            ));
        }
        let instance = context.facts.instances.get(id);
        if group.target_type == "instance" {
            match instance {
                Some(instance) if instance.state == "running" => {}
                Some(instance) => {
                    return Err((
                        "Target.InvalidState",
                        format!("Target is in the {} state", instance.state),
                    ));
                }
                None => return Err(("Target.InvalidState", "Target is in the terminated state".to_owned())),
            }
        }
        let zone = instance.map(|instance| instance.zone.as_str()).or(target.zone.as_deref());
        if let Some(zone) = zone.filter(|zone| *zone != "all") {
            let mut balancers = users.iter().filter_map(|arn| self.load_balancers.get(arn));
            if !balancers.any(|balancer| balancer.zones.iter().any(|own| own.name == zone)) {
                return Err((
                    "Target.NotInUse",
                    "Target is in an Availability Zone that is not enabled for the load balancer".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Drained targets go; targets start and stop being checked; simulated checks succeed in time.
    pub(super) fn settle_targets(&mut self, context: Context) {
        let now = context.now;
        let simulated = self.settings.simulated_health.map(|after| self.settings.registration + after);
        let (users, nobody) = (self.users(), BTreeSet::new());
        let in_use: Vec<(Arn, Vec<(Key, bool)>)> = self
            .target_groups
            .values()
            .filter(|group| !group.targets.is_empty())
            .map(|group| {
                let users = users.get(&group.arn).unwrap_or(&nobody);
                let each = |(key, target): (&Key, &Target)| {
                    (key.clone(), self.usable(users, group, &key.0, target, context).is_ok())
                };
                (group.arn.clone(), group.targets.iter().map(each).collect())
            })
            .collect();
        for (arn, targets) in in_use {
            let Some(group) = self.target_groups.get_mut(&arn) else { continue };
            for (key, usable) in targets {
                let Some(target) = group.targets.get_mut(&key) else { continue };
                if target.draining_until.is_some_and(|until| until <= now) {
                    group.targets.remove(&key);
                    continue;
                }
                target.health.set_in_use(usable, now);
                let since = target.health.in_use_since;
                if let (Some(after), Some(since)) = (simulated, since)
                    && now >= since + after
                    && target.health.state == State::Initial
                {
                    target.health.state = State::Healthy;
                }
            }
        }
    }

    /// A check of a target was made. Returns whether its state changed.
    pub fn observe(&mut self, group: &str, id: &str, port: u16, check: Check) -> bool {
        let Some(group) = self.target_groups.get_mut(group) else { return false };
        let first = if group.fits(Kind::Application) { 1 } else { group.check.healthy };
        let thresholds = Thresholds { first, healthy: group.check.healthy, unhealthy: group.check.unhealthy };
        let Some(target) = group.targets.get_mut(&(id.to_owned(), port)) else { return false };
        target.health.in_use_since.is_some() && target.health.observe(check, thresholds)
    }

    /// Sets the health of a target of every group, whatever checks say: for tests without a data plane.
    pub fn set_health(&mut self, id: &str, state: State) {
        let groups = self.target_groups.values_mut();
        for target in groups.flat_map(|group| group.targets.iter_mut()).filter(|((own, _), _)| own == id) {
            target.1.health.state = state;
        }
    }
}

fn check_target(group: &TargetGroup, id: &str, zone: Option<&str>, context: Context) -> Result<(), Refusal> {
    if group.target_type == "instance" {
        return match context.facts.instances.get(id) {
            None => Err(invalid(format!("The following targets are not valid instances: '{id}'"))),
            Some(instance) if instance.state == "terminated" || instance.state == "shutting-down" => {
                Err(invalid(format!(
                    "The following targets are not in a running state and cannot be registered: '{id}'"
                )))
            }
            Some(instance) if instance.vpc != group.vpc => {
                Err(invalid(format!("The instance '{id}' is not in the target group VPC '{}'", group.vpc)))
            }
            Some(_) => Ok(()),
        };
    }
    let address: std::net::IpAddr = id.parse().map_err(|_| {
        Refusal::new("ValidationError", format!("The IP address '{id}' is not a valid address"))
    })?;
    let private = match address {
        std::net::IpAddr::V4(v4) => v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        std::net::IpAddr::V6(_) => true,
    };
    if !private {
        return Err(invalid(format!("The IP address '{id}' is not within a VPC or private range")));
    }
    let vpc = context.facts.vpcs.get(&group.vpc);
    let inside = vpc.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&address)));
    if !inside && zone != Some("all") {
        return Err(invalid(format!(
            "You must specify an Availability Zone for the IP address '{id}', which is outside of the VPC: 'all'"
        )));
    }
    Ok(())
}
