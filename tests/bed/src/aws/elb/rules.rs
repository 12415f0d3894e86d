//! Rules of ALB listeners: conditions, transforms, priorities. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::state::{Kind, Rule};
use super::{Answer, Context, Elb, Refusal, list, names, required, tags, text, texts};

/// Fields of conditions, each with the member that holds its values, and whether a rule may have several conditions on it.
const FIELDS: [(&str, &str, bool); 6] = [
    ("host-header", "HostHeaderConfig", false),
    ("path-pattern", "PathPatternConfig", false),
    ("http-request-method", "HttpRequestMethodConfig", false),
    ("source-ip", "SourceIpConfig", false),
    ("http-header", "HttpHeaderConfig", true),
    ("query-string", "QueryStringConfig", true),
];

fn validation(message: impl Into<String>) -> Refusal {
    Refusal::new("ValidationError", message)
}

impl Elb {
    /// The listener of a rule to be made or changed: one of an ALB.
    fn of_application(&self, listener: &str) -> Result<(), Refusal> {
        let listener = self.listener(listener)?;
        match self.load_balancer(&listener.load_balancer)?.kind {
            Kind::Application => Ok(()),
            Kind::Network => Err(Refusal::new(
                "UnsupportedProtocol",
                format!("Rules are unsupported for Network Load Balancer listeners: '{}'", listener.arn),
            )),
        }
    }

    fn rule(&self, arn: &str) -> Result<&Rule, Refusal> {
        if self.listeners.values().any(|listener| listener.default_rule == arn) {
            return Err(Refusal::new(
                "OperationNotPermitted",
                format!("Default rule '{arn}' cannot be changed or deleted"),
            ));
        }
        self.rules.get(arn).ok_or_else(|| Refusal::new("RuleNotFound", format!("Rule '{arn}' not found")))
    }

    /// Checks conditions against the account's limits, and fills in both forms in which AWS gives values back.
    fn conditions(&self, given: &[Value]) -> Result<Vec<Value>, Refusal> {
        if given.is_empty() {
            return Err(validation("A rule must have at least one condition"));
        }
        let (mut fields, mut values, mut wildcards) = (BTreeSet::new(), 0, 0);
        let mut conditions = Vec::new();
        for condition in given {
            let field = text(condition, "Field").unwrap_or_default();
            let Some((_, config, several)) = FIELDS.iter().find(|(name, ..)| *name == field) else {
                return Err(validation(format!(
                    "Condition field '{field}' must be one of '[path-pattern, host-header, http-header, http-request-method, query-string, source-ip]'"
                )));
            };
            if !fields.insert(field) && !several {
                return Err(validation(format!(
                    "A rule can have only one condition with the field '{field}'"
                )));
            }
            if field == "http-header" && text(&condition[*config], "HttpHeaderName").is_none_or(str::is_empty)
            {
                return Err(validation("A condition with the field 'http-header' needs a header name"));
            }
            if field == "query-string" {
                let pairs = list(&condition[*config], "Values");
                values += pairs.len();
                if pairs.is_empty() {
                    return Err(validation("A condition value must be specified"));
                }
                let each = pairs.iter().flat_map(|pair| [text(pair, "Key"), text(pair, "Value")]).flatten();
                wildcards += each.map(count_wildcards).sum::<usize>();
                conditions.push(condition.clone());
                continue;
            }
            let simple = texts(condition, "Values");
            let inner = texts(&condition[*config], "Values");
            if !simple.is_empty() && !inner.is_empty() && simple != inner {
                return Err(validation(format!("Values and {config} of a condition disagree")));
            }
            let plain = if inner.is_empty() { simple } else { inner };
            let regexes: Vec<String> = texts(&condition[*config], "RegexValues")
                .into_iter()
                .chain(texts(condition, "RegexValues"))
                .collect();
            if !regexes.is_empty() && !matches!(field, "host-header" | "path-pattern" | "http-header") {
                return Err(validation(format!("Condition field '{field}' takes no regular expressions")));
            }
            if !regexes.is_empty() && !plain.is_empty() {
                return Err(validation("A condition has either values or regular expressions"));
            }
            if regexes.is_empty() && plain.is_empty() {
                return Err(validation("A condition value must be specified"));
            }
            for value in plain.iter().chain(&regexes) {
                check_value(field, value, !regexes.is_empty())?;
            }
            values += plain.len() + regexes.len();
            if matches!(field, "host-header" | "path-pattern" | "http-header") {
                wildcards += plain.iter().map(|value| count_wildcards(value)).sum::<usize>();
            }
            conditions.push(filled(condition, field, config, plain, regexes));
        }
        let limit = self.quota("condition-values-per-alb-rule") as usize;
        if values > limit {
            return Err(validation(format!(
                "A rule can have at most {limit} condition values, not {values}"
            )));
        }
        let limit = self.quota("condition-wildcards-per-alb-rule") as usize;
        if wildcards > limit {
            return Err(validation(format!("A rule can have at most {limit} wildcards, not {wildcards}")));
        }
        Ok(conditions)
    }

    pub(super) fn create_rule(&mut self, input: &Value, context: Context) -> Answer {
        let listener = required(input, "ListenerArn")?.to_owned();
        self.of_application(&listener)?;
        let conditions = self.conditions(list(input, "Conditions"))?;
        let actions = self.actions(Kind::Application, list(input, "Actions"))?;
        let transforms = check_transforms(list(input, "Transforms"))?;
        let new_tags = tags::of(input)?;
        let priority = input.get("Priority").and_then(Value::as_u64).unwrap_or(0) as u32;
        let mut of_listener = self.rules.values().filter(|rule| rule.listener == listener);
        if of_listener.any(|rule| rule.priority == priority) {
            return Err(Refusal::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
        }
        let balancer = self.load_balancer(&self.listener(&listener)?.load_balancer)?.clone();
        let on_balancer = |rule: &&Rule| {
            self.listeners.get(&rule.listener).is_some_and(|listener| listener.load_balancer == balancer.arn)
        };
        let limit = self.quota("rules-per-application-load-balancer");
        if self.rules.values().filter(on_balancer).count() as u64 >= limit {
            return Err(Refusal::new(
                "TooManyRules",
                format!(
                    "The maximum number of rules has been reached on load balancer '{}': {limit}",
                    balancer.arn
                ),
            ));
        }
        self.check_groups(&balancer, &self.groups_with(&balancer.arn, "", &actions))?;
        let arn = names::rule_arn(&listener, &names::id(self.next_id()));
        let rule = Rule { arn: arn.clone(), listener, priority, conditions, actions, transforms };
        let answer = json!({"Rules": [self.describe_rule(&rule)]});
        self.tags.insert(arn.clone(), new_tags);
        self.rules.insert(arn, rule);
        self.settle_targets(context);
        Ok(answer)
    }

    pub(super) fn modify_rule(&mut self, input: &Value, context: Context) -> Answer {
        let rule = self.rule(required(input, "RuleArn")?)?;
        let mut changed = rule.clone();
        if input.get("Conditions").is_some() {
            changed.conditions = self.conditions(list(input, "Conditions"))?;
        }
        if input.get("Actions").is_some() {
            changed.actions = self.actions(Kind::Application, list(input, "Actions"))?;
        }
        if input.get("Transforms").is_some() {
            changed.transforms = check_transforms(list(input, "Transforms"))?;
        }
        if input["ResetTransforms"] == true {
            if !list(input, "Transforms").is_empty() {
                return Err(validation("Transforms and ResetTransforms cannot both be specified"));
            }
            changed.transforms.clear();
        }
        let balancer = self.load_balancer(&self.listener(&rule.listener)?.load_balancer)?.clone();
        self.check_groups(&balancer, &self.groups_with(&balancer.arn, &changed.arn, &changed.actions))?;
        let answer = json!({"Rules": [self.describe_rule(&changed)]});
        self.rules.insert(changed.arn.clone(), changed);
        self.settle_targets(context);
        Ok(answer)
    }

    pub(super) fn delete_rule(&mut self, input: &Value) -> Answer {
        let arn = required(input, "RuleArn")?;
        // Gone already is success.
        if self.rules.contains_key(arn)
            || self.listeners.values().any(|listener| listener.default_rule == arn)
        {
            self.rule(arn)?;
        }
        self.rules.remove(arn);
        self.tags.remove(arn);
        Ok(json!({}))
    }

    /// Moves rules at once: what counts is that no two have one priority afterwards. Rules that are not named keep theirs.
    pub(super) fn set_rule_priorities(&mut self, input: &Value) -> Answer {
        let mut wanted = BTreeMap::new();
        for pair in list(input, "RulePriorities") {
            let arn = required(pair, "RuleArn")?;
            self.rule(arn)?;
            let priority = pair.get("Priority").and_then(Value::as_u64).unwrap_or(0) as u32;
            if wanted.insert(arn.to_owned(), priority).is_some() {
                return Err(validation(format!("The rule '{arn}' is there twice")));
            }
        }
        let mut taken = BTreeSet::new();
        for rule in self.rules.values() {
            let priority = wanted.get(&rule.arn).copied().unwrap_or(rule.priority);
            if !taken.insert((rule.listener.clone(), priority)) {
                return Err(Refusal::new(
                    "PriorityInUse",
                    format!("Priority '{priority}' is currently in use"),
                ));
            }
        }
        let mut changed = Vec::new();
        for (arn, priority) in wanted {
            if let Some(rule) = self.rules.get_mut(&arn) {
                rule.priority = priority;
                changed.push(rule.clone());
            }
        }
        let described: Vec<Value> = changed.iter().map(|rule| self.describe_rule(rule)).collect();
        Ok(json!({"Rules": described}))
    }
}

/// A condition with its values in both places where AWS has them.
fn filled(given: &Value, field: &str, config: &str, plain: Vec<String>, regexes: Vec<String>) -> Value {
    let mut inner = given[config].clone();
    if !inner.is_object() {
        inner = json!({});
    }
    let mut condition = json!({"Field": field});
    if regexes.is_empty() {
        inner["Values"] = json!(plain);
        if matches!(field, "host-header" | "path-pattern") {
            condition["Values"] = json!(plain);
        }
    } else {
        inner["RegexValues"] = json!(regexes);
        if matches!(field, "host-header" | "path-pattern") {
            condition["RegexValues"] = json!(regexes);
        }
    }
    condition[config] = inner;
    condition
}

fn count_wildcards(value: &str) -> usize {
    value.chars().filter(|c| matches!(c, '*' | '?')).count()
}

fn check_value(field: &str, value: &str, regex: bool) -> Result<(), Refusal> {
    if value.is_empty() || value.len() > 128 {
        return Err(validation(format!("Condition value '{value}' must have 1 to 128 characters")));
    }
    if regex {
        return regex_lite::Regex::new(value).map(drop).map_err(|error| {
            validation(format!("Condition value '{value}' is no regular expression: {error}"))
        });
    }
    let fits = match field {
        "host-header" => {
            value.chars().all(|c| c.is_ascii_alphanumeric() || "-.*?:".contains(c)) && value.contains('.')
        }
        "path-pattern" => {
            value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&()!,;=*?%[]".contains(c))
        }
        "http-request-method" => value.chars().all(|c| c.is_ascii_uppercase() || "-_".contains(c)),
        "source-ip" => value.parse::<ipnet::IpNet>().is_ok(),
        _ => true,
    };
    if fits { Ok(()) } else { Err(validation(format!("The {field} value '{value}' is not valid"))) }
}

fn check_transforms(given: &[Value]) -> Result<Vec<Value>, Refusal> {
    let mut types = BTreeSet::new();
    for transform in given {
        let transform_type = text(transform, "Type").unwrap_or_default();
        if !types.insert(transform_type) {
            return Err(validation(format!("A rule can have only one transform of type '{transform_type}'")));
        }
        let config = match transform_type {
            "url-rewrite" => "UrlRewriteConfig",
            _ => "HostHeaderRewriteConfig",
        };
        let rewrites = list(&transform[config], "Rewrites");
        let [rewrite] = rewrites else {
            return Err(validation(format!("A transform of type '{transform_type}' needs one rewrite")));
        };
        let regex = required(rewrite, "Regex")?;
        regex_lite::Regex::new(regex)
            .map_err(|error| validation(format!("'{regex}' is no regular expression: {error}")))?;
    }
    Ok(given.to_vec())
}
