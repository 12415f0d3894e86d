//! Answers of ELBv2, ACM and WAFv2, as the AWS CLI prints them; only the fields that decisions need. Pure data.

use serde::{Deserialize, Serialize};

use super::ec2::Tag;

/// State of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancerState {
    /// `provisioning`, `active`, `active_impaired` or `failed`.
    #[serde(default)]
    pub code: String,
}

/// A fixed address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancerAddress {
    /// Public address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Elastic IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_id: Option<String>,
    /// Private address.
    #[serde(default, rename = "PrivateIPv4Address", skip_serializing_if = "Option::is_none")]
    pub private_ipv4_address: Option<String>,
}

/// A zone of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancerZone {
    /// Zone.
    #[serde(default)]
    pub zone_name: String,
    /// Subnet.
    #[serde(default)]
    pub subnet_id: String,
    /// Fixed addresses.
    #[serde(default)]
    pub load_balancer_addresses: Vec<LoadBalancerAddress>,
}

/// A load balancer that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExistingLoadBalancer {
    /// ARN.
    pub load_balancer_arn: String,
    /// Name.
    #[serde(default)]
    pub load_balancer_name: String,
    /// DNS name.
    #[serde(default, rename = "DNSName")]
    pub dns_name: String,
    /// Hosted zone of the DNS name.
    #[serde(default)]
    pub canonical_hosted_zone_id: String,
    /// `internal` or `internet-facing`.
    #[serde(default)]
    pub scheme: String,
    /// `network` or `application`.
    #[serde(default, rename = "Type")]
    pub kind: String,
    /// VPC.
    #[serde(default)]
    pub vpc_id: String,
    /// State.
    #[serde(default)]
    pub state: LoadBalancerState,
    /// Zones and their subnets.
    #[serde(default)]
    pub availability_zones: Vec<LoadBalancerZone>,
    /// Security groups; empty for an NLB without.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Families.
    #[serde(default)]
    pub ip_address_type: String,
}

/// Answer of DescribeLoadBalancers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeLoadBalancers {
    /// Load balancers.
    pub load_balancers: Vec<ExistingLoadBalancer>,
}

/// A target group that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExistingTargetGroup {
    /// ARN.
    pub target_group_arn: String,
    /// Name.
    #[serde(default)]
    pub target_group_name: String,
    /// Protocol.
    #[serde(default)]
    pub protocol: String,
    /// Port.
    #[serde(default)]
    pub port: u16,
    /// VPC.
    #[serde(default)]
    pub vpc_id: String,
    /// `instance`, `ip`, `lambda` or `alb`.
    #[serde(default)]
    pub target_type: String,
    /// `ipv4` or `ipv6`.
    #[serde(default)]
    pub ip_address_type: String,
    /// Load balancers that send to it.
    #[serde(default)]
    pub load_balancer_arns: Vec<String>,
}

/// Answer of DescribeTargetGroups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTargetGroups {
    /// Target groups.
    pub target_groups: Vec<ExistingTargetGroup>,
}

/// Tags of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagDescription {
    /// ARN.
    pub resource_arn: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// Answer of DescribeTags (of ELBv2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTags {
    /// Tags by resource.
    pub tag_descriptions: Vec<TagDescription>,
}

/// A trust store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrustStore {
    /// ARN.
    pub trust_store_arn: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// `ACTIVE` or `CREATING`.
    #[serde(default)]
    pub status: String,
}

/// Answer of DescribeTrustStores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTrustStores {
    /// Trust stores.
    pub trust_stores: Vec<TrustStore>,
}

/// A quota of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountLimit {
    /// Name, such as `targets-per-network-load-balancer`.
    pub name: String,
    /// Value, a number.
    #[serde(default)]
    pub max: String,
}

/// Answer of DescribeAccountLimits (of ELBv2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAccountLimits {
    /// Quotas.
    pub limits: Vec<AccountLimit>,
}

/// A certificate as lists show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateSummary {
    /// ARN.
    pub certificate_arn: String,
    /// First name.
    #[serde(default)]
    pub domain_name: String,
    /// Names, as far as the list holds them.
    #[serde(default)]
    pub subject_alternative_name_summaries: Vec<String>,
    /// There are more names than the list holds: see DescribeCertificate.
    #[serde(default)]
    pub has_additional_subject_alternative_names: bool,
    /// `ISSUED` and others.
    #[serde(default)]
    pub status: String,
    /// `AMAZON_ISSUED`, `IMPORTED` or `PRIVATE`.
    #[serde(default, rename = "Type")]
    pub kind: String,
    /// Such as `RSA-2048`.
    #[serde(default)]
    pub key_algorithm: String,
    /// Expiry.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub not_after: serde_json::Value,
}

/// Answer of ListCertificates (of ACM).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListCertificates {
    /// Certificates.
    pub certificate_summary_list: Vec<CertificateSummary>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateDetail {
    /// ARN.
    pub certificate_arn: String,
    /// First name.
    #[serde(default)]
    pub domain_name: String,
    /// All names.
    #[serde(default)]
    pub subject_alternative_names: Vec<String>,
    /// `ISSUED` and others.
    #[serde(default)]
    pub status: String,
    /// `AMAZON_ISSUED`, `IMPORTED` or `PRIVATE`.
    #[serde(default, rename = "Type")]
    pub kind: String,
    /// Such as `RSA_2048`.
    #[serde(default)]
    pub key_algorithm: String,
    /// Authority that issued it, if private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority_arn: Option<String>,
}

/// Answer of DescribeCertificate (of ACM).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeCertificate {
    /// The certificate.
    pub certificate: CertificateDetail,
}

/// A web ACL as lists show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebAclSummary {
    /// Name.
    #[serde(default, rename = "Name")]
    pub name: String,
    /// ARN.
    #[serde(rename = "ARN")]
    pub arn: String,
}

/// Answer of ListWebACLs (of WAFv2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListWebAcls {
    /// Web ACLs.
    #[serde(rename = "WebACLs")]
    pub web_acls: Vec<WebAclSummary>,
}

/// Answer of GetSubscriptionState (of Shield).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetSubscriptionState {
    /// `ACTIVE` or `INACTIVE`.
    pub subscription_state: String,
}
