//! What AWS holds, as far as decisions need it: answers as they came. Pure data; read from a file offline, from AWS by a running controller.
//!
//! ```yaml
//! apiVersion: causeway.io/v1
//! kind: Inventory
//! cluster: {id: 5f6c…, name: prod, region: eu-west-1, vpcId: vpc-1, accountId: "123456789012"}
//! options: {default-target-type: ip}
//! aws:
//!   DescribeSubnets: {Subnets: [{SubnetId: subnet-a, …}]}
//! ```
//!
//! Under `aws` stands, by the name of the API action, what the AWS CLI prints for it. An action that is missing is an error only for an object whose
//! decision needs it ([`Answers`] gives a [`Missing`]); an action or option that is not known is an error of the file.

mod ec2;
mod services;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use ec2::*;
pub use services::*;

use crate::options::Options;

/// The only `apiVersion` of the file.
pub const API_VERSION: &str = "causeway.io/v1";
/// The only `kind` of the file.
pub const KIND: &str = "Inventory";

/// The cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Id: in tags and names. The uid of namespace kube-system, unless given otherwise.
    #[serde(default)]
    pub id: String,
    /// Name, as in the tags `kubernetes.io/cluster/NAME` of subnets and security groups.
    #[serde(default)]
    pub name: String,
    /// Region.
    #[serde(default)]
    pub region: String,
    /// VPC of the nodes and load balancers.
    #[serde(default)]
    pub vpc_id: String,
    /// Account.
    #[serde(default)]
    pub account_id: String,
}

/// Answers by the name of the action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Answers {
    /// Subnets of the VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_subnets: Option<DescribeSubnets>,
    /// The VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_vpcs: Option<DescribeVpcs>,
    /// Its route tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_route_tables: Option<DescribeRouteTables>,
    /// Its security groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_security_groups: Option<DescribeSecurityGroups>,
    /// Zones of the region; without it, a subnet lies in a plain Availability Zone unless the zone's name says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_availability_zones: Option<DescribeAvailabilityZones>,
    /// Elastic IPs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_addresses: Option<DescribeAddresses>,
    /// The nodes' instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_instances: Option<DescribeInstances>,
    /// Load balancers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_load_balancers: Option<DescribeLoadBalancers>,
    /// Target groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_target_groups: Option<DescribeTargetGroups>,
    /// Tags of load balancers and target groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_tags: Option<DescribeTags>,
    /// Trust stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_trust_stores: Option<DescribeTrustStores>,
    /// Quotas of ELBv2; one that is missing has its documented default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_account_limits: Option<DescribeAccountLimits>,
    /// Certificates of ACM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_certificates: Option<ListCertificates>,
    /// Single certificates of ACM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_certificate: Option<Vec<DescribeCertificate>>,
    /// Regional web ACLs of WAFv2.
    #[serde(rename = "ListWebACLs", skip_serializing_if = "Option::is_none")]
    pub list_web_acls: Option<ListWebAcls>,
    /// Whether there is Shield Advanced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub get_subscription_state: Option<GetSubscriptionState>,
    /// They are of AWS itself: what few need is not in here, and asked for when it is needed.
    #[serde(skip)]
    pub live: bool,
}

/// An answer that a decision needs is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what AWS holds is not known: the inventory has no {0}; add what `aws {cli}` prints as `{0}` under `aws`", cli = cli(.0))]
pub struct Missing(pub &'static str);

/// The command that prints an answer.
fn cli(action: &str) -> String {
    let service = match action {
        a if a.ends_with("Certificate") || a.ends_with("Certificates") => "acm",
        "ListWebACLs" => return "wafv2 list-web-acls --scope REGIONAL".to_owned(),
        "GetSubscriptionState" => "shield",
        "DescribeLoadBalancers"
        | "DescribeTargetGroups"
        | "DescribeTags"
        | "DescribeTrustStores"
        | "DescribeAccountLimits" => "elbv2",
        _ => "ec2",
    };
    let mut command = String::from(service);
    for c in action.chars() {
        if c.is_ascii_uppercase() {
            command.push(if command.len() == service.len() { ' ' } else { '-' });
        }
        command.push(c.to_ascii_lowercase());
    }
    command
}

impl Answers {
    /// Subnets.
    ///
    /// # Errors
    /// They are not known; so for the other methods.
    pub fn subnets(&self) -> Result<&[Subnet], Missing> {
        let known = self.describe_subnets.as_ref().ok_or(Missing("DescribeSubnets"))?;
        Ok(&known.subnets)
    }

    /// Route tables.
    ///
    /// # Errors
    /// They are not known.
    pub fn route_tables(&self) -> Result<&[RouteTable], Missing> {
        let known = self.describe_route_tables.as_ref().ok_or(Missing("DescribeRouteTables"))?;
        Ok(&known.route_tables)
    }

    /// A VPC, if there is one of that id.
    ///
    /// # Errors
    /// They are not known.
    pub fn vpc(&self, id: &str) -> Result<Option<&Vpc>, Missing> {
        let known = self.describe_vpcs.as_ref().ok_or(Missing("DescribeVpcs"))?;
        Ok(known.vpcs.iter().find(|v| v.vpc_id == id))
    }

    /// Security groups.
    ///
    /// # Errors
    /// They are not known.
    pub fn security_groups(&self) -> Result<&[SecurityGroup], Missing> {
        let known = self.describe_security_groups.as_ref().ok_or(Missing("DescribeSecurityGroups"))?;
        Ok(&known.security_groups)
    }

    /// Certificates.
    ///
    /// # Errors
    /// They are not known.
    pub fn certificates(&self) -> Result<&[CertificateSummary], Missing> {
        let known = self.list_certificates.as_ref().ok_or(Missing("ListCertificates"))?;
        Ok(&known.certificate_summary_list)
    }

    /// Target groups.
    ///
    /// # Errors
    /// They are not known.
    pub fn target_groups(&self) -> Result<&[ExistingTargetGroup], Missing> {
        let known = self.describe_target_groups.as_ref().ok_or(Missing("DescribeTargetGroups"))?;
        Ok(&known.target_groups)
    }

    /// Trust stores.
    ///
    /// # Errors
    /// They are not known.
    pub fn trust_stores(&self) -> Result<&[TrustStore], Missing> {
        let known = self.describe_trust_stores.as_ref().ok_or(Missing("DescribeTrustStores"))?;
        Ok(&known.trust_stores)
    }

    /// Web ACLs.
    ///
    /// # Errors
    /// They are not known.
    pub fn web_acls(&self) -> Result<&[WebAclSummary], Missing> {
        let known = self.list_web_acls.as_ref().ok_or(Missing("ListWebACLs"))?;
        Ok(&known.web_acls)
    }

    /// Load balancers; none where they are not known, as that decides nothing but what existing ones keep.
    #[must_use]
    pub fn load_balancers(&self) -> &[ExistingLoadBalancer] {
        self.describe_load_balancers.as_ref().map_or(&[], |a| &a.load_balancers)
    }

    /// A tag of a load balancer or target group.
    #[must_use]
    pub fn tag_of(&self, arn: &str, key: &str) -> Option<&str> {
        let all = &self.describe_tags.as_ref()?.tag_descriptions;
        tag(&all.iter().find(|t| t.resource_arn == arn)?.tags, key)
    }

    /// A quota of ELBv2, or its documented default.
    #[must_use]
    pub fn limit(&self, name: &str, default: u64) -> u64 {
        let limits = self.describe_account_limits.iter().flat_map(|a| &a.limits);
        limits.filter(|l| l.name == name).find_map(|l| l.max.parse().ok()).unwrap_or(default)
    }
}

/// The whole file; also what a running controller reads from AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct Inventory {
    /// The cluster.
    pub cluster: Cluster,
    /// Options.
    pub options: Options,
    /// Answers.
    pub aws: Answers,
}

/// The file as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    options: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    aws: Answers,
}

impl TryFrom<File> for Inventory {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        if (file.api_version.as_str(), file.kind.as_str()) != (API_VERSION, KIND) {
            return Err(format!(
                "it is {} of {}: write apiVersion: {API_VERSION} and kind: {KIND}",
                file.kind, file.api_version
            ));
        }
        let options = Options::read(&file.options)?;
        Ok(Self { cluster: file.cluster, options, aws: file.aws })
    }
}

impl From<Inventory> for File {
    fn from(inventory: Inventory) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            cluster: inventory.cluster,
            options: inventory.options.written(),
            aws: inventory.aws,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_can_be_written_and_read_again() {
        let inventory = crate::fixtures::inventory();
        let text = serde_json::to_string(&inventory).expect("plain data");
        assert_eq!(serde_json::from_str::<Inventory>(&text).expect("our own writing"), inventory);
        let empty = serde_json::to_string(&Inventory::default()).expect("plain data");
        assert_eq!(serde_json::from_str::<Inventory>(&empty).expect("our own writing"), Inventory::default());
    }

    #[test]
    fn fields_that_nobody_needs_are_skipped_but_actions_are_known() {
        let read = |aws: &str| {
            let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\naws: {aws}\n");
            serde_saphyr::from_str::<Inventory>(&text).map_err(|e| e.to_string())
        };
        let subnets = "{DescribeSubnets: {Subnets: [{SubnetId: s, AvailabilityZone: z, MapPublicIpOnLaunch: true}], NextToken: null}}";
        assert_eq!(read(subnets).expect("a right file").aws.subnets().map(<[_]>::len), Ok(1));
        assert!(read("{DescribeSubnet: {}}").expect_err("no such action").contains("DescribeSubnet"));
        assert!(read("{DescribeSubnets: {Subnets: [{}]}}").is_err(), "a subnet without id");
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_prints_it() {
        let commands = [
            ("DescribeSubnets", "ec2 describe-subnets"),
            ("DescribeRouteTables", "ec2 describe-route-tables"),
            ("DescribeTargetGroups", "elbv2 describe-target-groups"),
            ("DescribeTrustStores", "elbv2 describe-trust-stores"),
            ("ListCertificates", "acm list-certificates"),
            ("ListWebACLs", "wafv2 list-web-acls --scope REGIONAL"),
        ];
        for (action, command) in commands {
            let text = Missing(action).to_string();
            assert!(text.contains(action) && text.contains(&format!("`aws {command}`")), "{text}");
        }
        let nothing = Answers::default();
        assert_eq!(nothing.subnets(), Err(Missing("DescribeSubnets")));
        assert!(nothing.load_balancers().is_empty());
        assert_eq!(nothing.limit("targets-per-target-group", 1000), 1000);
    }

    #[test]
    fn quotas_of_the_account_win() {
        let limits = r#"{"Limits": [{"Name": "targets-per-target-group", "Max": "2000"}, {"Name": "x", "Max": "many"}]}"#;
        let aws = Answers {
            describe_account_limits: Some(serde_json::from_str(limits).expect("an answer")),
            ..Answers::default()
        };
        assert_eq!((aws.limit("targets-per-target-group", 1000), aws.limit("x", 5)), (2000, 5));
    }
}
