//! Tags of resources. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Elb, Refusal, list, page, required, text, texts};

/// Most tags of a resource.
const MOST: usize = 50;

/// The tags of a request by key; refuses a key twice, too many, and reserved ones.
pub fn of(input: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for tag in list(input, "Tags") {
        let key = required(tag, "Key")?;
        if key.starts_with("aws:") {
            return Err(Refusal::new("ValidationError", format!("The tag key '{key}' is reserved: aws:")));
        }
        let value = text(tag, "Value").unwrap_or_default();
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::new("DuplicateTagKeys", format!("The tag key '{key}' is there twice")));
        }
    }
    check_number(tags.len())?;
    Ok(tags)
}

fn check_number(number: usize) -> Result<(), Refusal> {
    if number > MOST {
        return Err(Refusal::new("TooManyTags", format!("A resource has at most {MOST} tags, not {number}")));
    }
    Ok(())
}

impl Elb {
    /// An error in the words of the resource's type if there is no such resource.
    fn check_exists(&self, arn: &str) -> Result<(), Refusal> {
        let kind = arn.split(':').nth(5).and_then(|resource| resource.split('/').next()).unwrap_or_default();
        let (there, code) = match kind {
            "loadbalancer" => (self.load_balancers.contains_key(arn), "LoadBalancerNotFound"),
            "targetgroup" => (self.target_groups.contains_key(arn), "TargetGroupNotFound"),
            "listener" => (self.listeners.contains_key(arn), "ListenerNotFound"),
            "listener-rule" => (
                self.rules.contains_key(arn)
                    || self.listeners.values().any(|listener| listener.default_rule == arn),
                "RuleNotFound",
            ),
            _ => return Err(Refusal::new("ValidationError", format!("'{arn}' is not a valid resource ARN"))),
        };
        if there { Ok(()) } else { Err(Refusal::new(code, format!("'{arn}' not found"))) }
    }

    pub(super) fn add_tags(&mut self, input: &Value) -> Answer {
        let (arns, new) = (texts(input, "ResourceArns"), of(input)?);
        for arn in &arns {
            self.check_exists(arn)?;
            let mut all = self.tags.get(arn).cloned().unwrap_or_default();
            all.extend(new.clone());
            check_number(all.len())?;
        }
        for arn in arns {
            self.tags.entry(arn).or_default().extend(new.clone());
        }
        Ok(json!({}))
    }

    pub(super) fn remove_tags(&mut self, input: &Value) -> Answer {
        let (arns, keys) = (texts(input, "ResourceArns"), texts(input, "TagKeys"));
        for arn in &arns {
            self.check_exists(arn)?;
        }
        for arn in arns {
            if let Some(tags) = self.tags.get_mut(&arn) {
                tags.retain(|key, _| !keys.contains(key));
            }
        }
        Ok(json!({}))
    }

    pub(super) fn describe_tags(&self, input: &Value) -> Answer {
        let arns = texts(input, "ResourceArns");
        page::check_number("resources", arns.len())?;
        let mut descriptions = Vec::new();
        for arn in arns {
            self.check_exists(&arn)?;
            let tags: Vec<Value> = self
                .tags
                .get(&arn)
                .into_iter()
                .flatten()
                .map(|(key, value)| json!({"Key": key, "Value": value}))
                .collect();
            descriptions.push(json!({"ResourceArn": arn, "Tags": tags}));
        }
        Ok(json!({"TagDescriptions": descriptions}))
    }
}
