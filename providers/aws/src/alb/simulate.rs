//! What an ALB does with a request, by its documentation: rules in the order of priorities, patterns and regular expressions. For tests.

use std::collections::BTreeMap;

use crate::stack::{Action, AwsStack, RuleCondition, Values};

/// A request as far as rules look at it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub headers: BTreeMap<&'a str, &'a str>,
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => glob(&pattern[1..], &text[1..]),
        (Some(p), Some(t)) => p == t && glob(&pattern[1..], &text[1..]),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn matches(values: &Values, text: &str) -> bool {
    let regex = |r: &String| regex_lite::Regex::new(r).expect("a regular expression").is_match(text);
    values.values.iter().any(|v| glob(v.as_bytes(), text.as_bytes())) || values.regex_values.iter().any(regex)
}

fn holds(condition: &RuleCondition, request: &Request<'_>) -> bool {
    match condition {
        RuleCondition::HostHeader(values) => matches(values, request.host),
        RuleCondition::PathPattern(values) => matches(values, request.path),
        RuleCondition::HttpHeader(header) => {
            request.headers.get(header.name.as_str()).is_some_and(|value| matches(&header.values, value))
        }
        other => panic!("not simulated: {other:?}"),
    }
}

/// The actions that a request meets on a listener.
pub fn actions<'s>(stack: &'s AwsStack, port: u16, request: &Request<'_>) -> &'s [Action] {
    let prefix = format!("{port}:");
    let mut rules: Vec<_> =
        stack.listener_rules.iter().filter(|(id, _)| id.starts_with(&prefix)).map(|(_, r)| r).collect();
    rules.sort_by_key(|r| r.priority);
    match rules.iter().find(|r| r.conditions.iter().all(|c| holds(c, request))) {
        Some(rule) => &rule.actions,
        None => &stack.listeners[&port.to_string()].default_actions,
    }
}

/// Where a request ends: the Service's name, or `status` of an answer, or `redirect`.
pub fn answer(stack: &AwsStack, port: u16, request: &Request<'_>) -> String {
    match actions(stack, port, request).last() {
        Some(Action::Forward(config)) => {
            let id = config.target_groups[0].target_group_arn.path().expect("a reference");
            let id = id.trim_start_matches("#/resources/AWS::ElasticLoadBalancingV2::TargetGroup/");
            let id = id.trim_end_matches("/status/targetGroupARN");
            stack.bindings[id].template.spec.service_ref.name.clone()
        }
        Some(Action::FixedResponse(config)) => config.status_code.clone(),
        Some(Action::Redirect(_)) => "redirect".to_owned(),
        other => panic!("{other:?} ends nothing"),
    }
}
