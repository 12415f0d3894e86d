//! Beds with an AWS, and its API as tests call it.

use anyhow::{Context, Result, ensure};
use causeway_bed::Bed;
use causeway_bed::aws::{Account, Aws};
use roxmltree::Document;
use serde_json::Value;

/// A bare bed with an account for its three nodes; no data plane. In the order in which they have to end.
pub struct Region {
    pub aws: Aws,
    pub account: Account,
    pub bed: Bed,
}

impl Region {
    pub async fn start() -> Result<Region> {
        let bed = Bed::builder().bare(true).start().await?;
        let aws = Aws::builder().data_plane(false).start(&bed).await?;
        let account = Account::builder().create(&aws, &bed).await?;
        aws.gate().calls.forget();
        Ok(Region { aws, account, bed })
    }

    /// A load balancer's ARN.
    pub async fn nlb(&self, name: &str) -> Result<String> {
        let subnets: Vec<&str> = self.account.subnets.iter().map(|subnet| subnet.id.as_str()).collect();
        let input = serde_json::json!({"Name": name, "Type": "network", "Subnets": subnets});
        first(&elb(&self.aws, "CreateLoadBalancer", input).await?, "LoadBalancerArn")
    }
}

/// Parameters of the query protocol for a JSON input.
fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                flatten(&format!("{prefix}{}{name}", if prefix.is_empty() { "" } else { "." }), inner, out);
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                flatten(&format!("{prefix}.member.{}", index + 1), entry, out);
            }
        }
        Value::String(text) => out.push((prefix.to_owned(), text.clone())),
        other => out.push((prefix.to_owned(), other.to_string())),
    }
}

/// Calls the load balancer API; returns status and body.
pub async fn ask(aws: &Aws, action: &str, input: Value) -> Result<(u16, String)> {
    let mut parameters = vec![("Action".to_owned(), action.to_owned())];
    flatten("", &input, &mut parameters);
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    aws.ask("elasticloadbalancing", &parameters).await
}

/// As [`ask`], for a call that succeeds.
pub async fn elb(aws: &Aws, action: &str, input: Value) -> Result<String> {
    let (status, body) = ask(aws, action, input).await?;
    ensure!(status == 200, "{action}: {status} {body}");
    Ok(body)
}

/// As [`ask`], for a call that is refused: its error's code.
pub async fn code(aws: &Aws, action: &str, input: Value) -> Result<String> {
    let (status, body) = ask(aws, action, input).await?;
    ensure!(status >= 400, "{action} was not refused: {status} {body}");
    first(&body, "Code")
}

/// Calls EC2; the call succeeds.
pub async fn ec2(aws: &Aws, parameters: &[(&str, &str)]) -> Result<String> {
    let (status, body) = aws.ask("ec2", parameters).await?;
    ensure!(status == 200, "{parameters:?}: {status} {body}");
    Ok(body)
}

/// The texts of all elements of that name.
pub fn all(xml: &str, name: &str) -> Result<Vec<String>> {
    let document = Document::parse(xml).with_context(|| xml.to_owned())?;
    let found = document.descendants().filter(|node| node.tag_name().name() == name);
    Ok(found.filter_map(|node| node.text()).map(str::to_owned).collect())
}

/// The text of the first element of that name.
pub fn first(xml: &str, name: &str) -> Result<String> {
    all(xml, name)?.into_iter().next().with_context(|| format!("no {name} in {xml}"))
}
