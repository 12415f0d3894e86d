//! Actions of listeners and rules: checked, and brought into the form in which AWS gives them back. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names::Arn;
use super::state::Kind;
use super::{Elb, Refusal, list, text};

/// The target groups that actions name.
pub fn target_groups(actions: &[Value]) -> BTreeSet<Arn> {
    let of = |action: &Value| -> Vec<Arn> {
        let tuples = list(&action["ForwardConfig"], "TargetGroups").iter();
        let named = tuples.filter_map(|tuple| text(tuple, "TargetGroupArn"));
        named.chain(text(action, "TargetGroupArn")).map(str::to_owned).collect()
    };
    actions.iter().flat_map(of).collect()
}

/// The last action, which says what is done with a request: those before it authenticate.
pub fn routing(actions: &[Value]) -> Option<&Value> {
    actions.iter().max_by_key(|action| action.get("Order").and_then(Value::as_u64).unwrap_or(0))
}

impl Elb {
    /// Checks the actions of a request for a load balancer of that type and returns them as AWS gives them back.
    pub(super) fn actions(&self, kind: Kind, given: &[Value]) -> Result<Vec<Value>, Refusal> {
        if given.is_empty() {
            return Err(Refusal::new("ValidationError", "At least one action is required"));
        }
        let invalid = |message: String| Refusal::new("InvalidLoadBalancerAction", message);
        let routes =
            |action: &&Value| matches!(text(action, "Type"), Some("forward" | "redirect" | "fixed-response"));
        if given.iter().filter(routes).count() != 1 {
            return Err(invalid(
                "Exactly one action of type forward, redirect or fixed-response is required".into(),
            ));
        }
        if !routing(given).as_ref().is_some_and(routes) {
            return Err(invalid(
                "The action of type forward, redirect or fixed-response must be the last".into(),
            ));
        }
        given.iter().map(|action| self.action(kind, action)).collect()
    }

    fn action(&self, kind: Kind, given: &Value) -> Result<Value, Refusal> {
        let action_type = text(given, "Type").unwrap_or_default();
        if kind == Kind::Network && action_type != "forward" {
            return Err(Refusal::new(
                "InvalidLoadBalancerAction",
                format!("Action type '{action_type}' is not supported by Network Load Balancers"),
            ));
        }
        let mut action = given.clone();
        match action_type {
            "forward" => self.forward(kind, &mut action)?,
            "redirect" => redirect(&mut action)?,
            "fixed-response" if !given["FixedResponseConfig"].is_object() => {
                return Err(Refusal::new("ValidationError", "FixedResponseConfig is missing"));
            }
            // AWS never gives the secret back.
            "authenticate-oidc" => {
                if let Some(config) = action["AuthenticateOidcConfig"].as_object_mut() {
                    config.remove("ClientSecret");
                }
            }
            _ => {}
        }
        Ok(action)
    }

    fn forward(&self, kind: Kind, action: &mut Value) -> Result<(), Refusal> {
        let single = text(action, "TargetGroupArn").map(str::to_owned);
        let tuples = list(&action["ForwardConfig"], "TargetGroups").to_vec();
        let tuples = match (&single, tuples.len()) {
            (None, 0) => return Err(Refusal::new("ValidationError", "A target group ARN must be specified")),
            (Some(arn), 0) => vec![json!({"TargetGroupArn": arn})],
            (Some(arn), 1) if text(&tuples[0], "TargetGroupArn") != Some(arn) => {
                return Err(Refusal::new(
                    "ValidationError",
                    "TargetGroupArn and ForwardConfig name different target groups",
                ));
            }
            (Some(_), 2..) => {
                return Err(Refusal::new(
                    "ValidationError",
                    "With several target groups only ForwardConfig can be specified",
                ));
            }
            _ => tuples,
        };
        let limit = self.quota_of(kind, "target-groups-per-action-on");
        if tuples.len() as u64 > limit {
            return Err(Refusal::new(
                "TooManyTargetGroups",
                format!("A forward action has at most {limit} target groups, not {}", tuples.len()),
            ));
        }
        let mut weighted = Vec::new();
        for tuple in &tuples {
            let weight = tuple.get("Weight").and_then(Value::as_u64).unwrap_or(1);
            if weight > 999 {
                return Err(Refusal::new(
                    "ValidationError",
                    format!("Weight '{weight}' must be between 0 and 999"),
                ));
            }
            weighted.push(json!({"TargetGroupArn": tuple["TargetGroupArn"], "Weight": weight}));
        }
        let unique: BTreeSet<&str> =
            weighted.iter().filter_map(|tuple| text(tuple, "TargetGroupArn")).collect();
        if unique.len() != weighted.len() {
            return Err(Refusal::new(
                "ValidationError",
                "A target group can be named only once in an action",
            ));
        }
        let given = &action["ForwardConfig"]["TargetGroupStickinessConfig"];
        let stickiness = if given.is_object() { given.clone() } else { json!({"Enabled": false}) };
        if stickiness["Enabled"] == true && !stickiness["DurationSeconds"].is_u64() {
            return Err(Refusal::new("ValidationError", "Target group stickiness needs a duration"));
        }
        match weighted.as_slice() {
            [only] => action["TargetGroupArn"] = only["TargetGroupArn"].clone(),
            _ => {
                if let Some(action) = action.as_object_mut() {
                    action.remove("TargetGroupArn");
                }
            }
        }
        action["ForwardConfig"] =
            json!({"TargetGroups": weighted, "TargetGroupStickinessConfig": stickiness});
        Ok(())
    }
}

/// Fills in what a redirect leaves as the client sent it; refuses one that leads to itself.
fn redirect(action: &mut Value) -> Result<(), Refusal> {
    let given = action["RedirectConfig"].clone();
    if !given.is_object() {
        return Err(Refusal::new("ValidationError", "RedirectConfig is missing"));
    }
    let mut config = given;
    for (member, default) in [
        ("Protocol", "#{protocol}"),
        ("Port", "#{port}"),
        ("Host", "#{host}"),
        ("Path", "/#{path}"),
        ("Query", "#{query}"),
    ] {
        if config.get(member).is_none() {
            config[member] = json!(default);
        }
    }
    let kept = |member: &str, default: &str| config[member] == default;
    if kept("Protocol", "#{protocol}")
        && kept("Port", "#{port}")
        && kept("Host", "#{host}")
        && kept("Path", "/#{path}")
    {
        return Err(Refusal::new(
            "InvalidLoadBalancerAction",
            "The redirect action must change the protocol, port, host or path: else it loops",
        ));
    }
    if text(&config, "Path").is_some_and(|path| !path.starts_with('/')) {
        return Err(Refusal::new("ValidationError", "The path of a redirect must start with '/'"));
    }
    action["RedirectConfig"] = config;
    Ok(())
}
