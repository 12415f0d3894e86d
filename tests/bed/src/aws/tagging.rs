//! The tagging API (`GetResources`) over all that the bed's AWS has: moto's knows no security groups, listeners or rules. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::elb::{Elb, Refusal};
use super::facts::Facts;

type Tags = BTreeMap<String, String>;

/// Every tagged resource of load balancing and every tagged security group, by ARN.
pub fn own(elb: &Elb, facts: &Facts) -> BTreeMap<String, Tags> {
    let mut all = elb.tags.clone();
    for (id, group) in &facts.security_groups {
        let arn = format!("arn:aws:ec2:{}:{}:security-group/{id}", elb.region, elb.account);
        all.insert(arn, group.tags.clone());
    }
    all.retain(|_, tags| !tags.is_empty());
    all
}

/// What moto's answer says of resources that are not ours to tell.
pub fn of_moto(answer: &Value) -> BTreeMap<String, Tags> {
    let mut all = BTreeMap::new();
    for mapping in answer["ResourceTagMappingList"].as_array().into_iter().flatten() {
        let arn = mapping["ResourceARN"].as_str().unwrap_or_default();
        if arn.contains(":elasticloadbalancing:") || arn.contains(":security-group/") {
            continue;
        }
        let tag = |tag: &Value| {
            (
                tag["Key"].as_str().unwrap_or_default().to_owned(),
                tag["Value"].as_str().unwrap_or_default().to_owned(),
            )
        };
        all.insert(arn.to_owned(), mapping["Tags"].as_array().into_iter().flatten().map(tag).collect());
    }
    all
}

/// Whether an ARN is of a type as `ResourceTypeFilters` say it: `ec2`, `ec2:security-group`, `elasticloadbalancing:loadbalancer/app`.
fn is_of_type(arn: &str, filter: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let (service, resource) = (parts.nth(2).unwrap_or_default(), parts.nth(2).unwrap_or_default());
    match filter.split_once(':') {
        None => service == filter,
        Some((of_service, kind)) => {
            let rest = resource.strip_prefix(kind);
            service == of_service && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        }
    }
}

/// The answer to `GetResources`: each filter must hold, one of a filter's values is enough, no values means any.
pub fn get_resources(request: &Value, all: &BTreeMap<String, Tags>) -> Result<Value, Refusal> {
    let invalid = |message: &str| Refusal::new("InvalidParameterException", message);
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let filters: Vec<(String, Vec<String>)> = request["TagFilters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|filter| (filter["Key"].as_str().unwrap_or_default().to_owned(), texts(&filter["Values"])))
        .collect();
    let (types, arns) = (texts(&request["ResourceTypeFilters"]), texts(&request["ResourceARNList"]));
    let by_filters = !filters.is_empty() || !types.is_empty();
    if !arns.is_empty() && by_filters {
        return Err(invalid("ResourceARNList cannot be combined with filters"));
    }
    if filters.len() > 50
        || types.len() > 100
        || arns.len() > 100
        || filters.iter().any(|(_, values)| values.len() > 20)
    {
        return Err(invalid("Too many filters, values or ARNs"));
    }
    let size = request["ResourcesPerPage"].as_u64().unwrap_or(50);
    if !(1..=100).contains(&size) {
        return Err(invalid("ResourcesPerPage must be between 1 and 100"));
    }
    let chosen = |(arn, tags): &(&String, &Tags)| {
        let by_tags = filters.iter().all(|(key, values)| {
            tags.get(key).is_some_and(|value| values.is_empty() || values.contains(value))
        });
        let by_type = types.is_empty() || types.iter().any(|filter| is_of_type(arn, filter));
        by_tags && by_type && (arns.is_empty() || arns.contains(arn))
    };
    // The token is the last ARN of the page before: pages stay right when resources come and go.
    let token = request["PaginationToken"].as_str().unwrap_or_default();
    let mut rest =
        all.iter().filter(chosen).filter(|(arn, _)| token.is_empty() || arn.as_str() > token).peekable();
    let mut mappings = Vec::new();
    let mut last = String::new();
    for (arn, tags) in rest.by_ref().take(size as usize) {
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        mappings.push(json!({"ResourceARN": arn, "Tags": tags}));
        last.clone_from(arn);
    }
    let more = rest.peek().is_some();
    Ok(json!({"ResourceTagMappingList": mappings, "PaginationToken": if more { last.as_str() } else { "" }}))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCER: &str = "arn:aws:elasticloadbalancing:r:1:loadbalancer/net/a/1";
    const LISTENER: &str = "arn:aws:elasticloadbalancing:r:1:listener/net/a/1/2";
    const RULE: &str = "arn:aws:elasticloadbalancing:r:1:listener-rule/app/a/1/2/3";
    const GROUP: &str = "arn:aws:ec2:r:1:security-group/sg-1";

    fn found(request: Value) -> Vec<String> {
        let tags =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Tags>();
        let all = BTreeMap::from([
            (BALANCER.to_owned(), tags(&[("cluster", "a"), ("x", "")])),
            (LISTENER.to_owned(), tags(&[("cluster", "a")])),
            (RULE.to_owned(), tags(&[("cluster", "b")])),
            (GROUP.to_owned(), tags(&[("cluster", "a"), ("name", "g")])),
        ]);
        let (mut request, mut arns) = (request, Vec::new());
        loop {
            let answer = get_resources(&request, &all).unwrap();
            let page = answer["ResourceTagMappingList"].as_array().unwrap();
            arns.extend(page.iter().map(|mapping| mapping["ResourceARN"].as_str().unwrap().to_owned()));
            match answer["PaginationToken"].as_str() {
                Some("") | None => return arns,
                Some(token) => request["PaginationToken"] = json!(token),
            }
        }
    }

    #[test]
    fn filters_choose() {
        let by = |key: &str, values: &[&str]| json!({"TagFilters": [{"Key": key, "Values": values}]});
        assert_eq!(found(by("cluster", &["a"])), [GROUP, LISTENER, BALANCER]);
        assert_eq!(found(by("cluster", &["b", "c"])), [RULE]);
        assert_eq!(found(by("x", &[])), [BALANCER]);
        assert_eq!(found(json!({"ResourceTypeFilters": ["elasticloadbalancing:listener"]})), [LISTENER]);
        assert_eq!(found(json!({"ResourceTypeFilters": ["elasticloadbalancing:listener-rule"]})), [RULE]);
        assert_eq!(
            found(
                json!({"ResourceTypeFilters": ["ec2:security-group", "elasticloadbalancing:loadbalancer"]})
            ),
            [GROUP, BALANCER]
        );
        assert_eq!(found(json!({"ResourceTypeFilters": ["ec2"]})), [GROUP]);
        assert_eq!(found(json!({"ResourceARNList": [RULE]})), [RULE]);
        assert_eq!(found(json!({"ResourcesPerPage": 1})), [GROUP, RULE, LISTENER, BALANCER]);
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for request in [
            json!({"ResourcesPerPage": 101}),
            json!({"ResourceARNList": [RULE], "ResourceTypeFilters": ["ec2"]}),
        ] {
            assert_eq!(
                get_resources(&request, &BTreeMap::new()).unwrap_err().code,
                "InvalidParameterException"
            );
        }
    }
}
