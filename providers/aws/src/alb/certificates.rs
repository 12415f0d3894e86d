//! Certificates of ACM for hosts. Pure.
//!
//! A certificate fits a host if one of its names is the host, or is a wildcard that stands for the host's first label. Only issued certificates count.
//! All that fit are taken, in the order of their ARNs: a listener chooses among them by what the client can do.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::{Answers, CertificateSummary, Missing};
use crate::options::Options;

/// Whether a certificate's name fits a host.
#[must_use]
pub fn fits(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((label, rest))) => !label.is_empty() && parent.eq_ignore_ascii_case(rest),
        _ => false,
    }
}

/// Certificates by host; a host without any is in the second part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// ARNs, sorted.
    pub arns: BTreeSet<String>,
    /// Hosts that no certificate fits.
    pub without: BTreeSet<String>,
}

/// Finds certificates for hosts.
///
/// # Errors
/// What AWS has is not known.
pub fn discover(hosts: &BTreeSet<String>, aws: &Answers, options: &Options) -> Result<Found, Missing> {
    let mut found = Found::default();
    if hosts.is_empty() {
        return Ok(found);
    }
    let issued = aws.certificates()?.iter().filter(|c| c.status.is_empty() || c.status == "ISSUED");
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for certificate in issued {
        names.insert(&certificate.certificate_arn, names_of(certificate, aws, options)?);
    }
    for host in hosts {
        let fitting = names.iter().filter(|(_, names)| names.iter().any(|name| fits(name, host)));
        let fitting: Vec<String> = fitting.map(|(arn, _)| (*arn).to_owned()).collect();
        if fitting.is_empty() {
            found.without.insert(host.clone());
        }
        found.arns.extend(fitting);
    }
    Ok(found)
}

/// The names of a certificate; none if its authority is not allowed.
fn names_of<'a>(
    certificate: &'a CertificateSummary,
    aws: &'a Answers,
    options: &Options,
) -> Result<Vec<&'a str>, Missing> {
    let detail = aws
        .describe_certificate
        .iter()
        .flatten()
        .map(|d| &d.certificate)
        .find(|d| d.certificate_arn == certificate.certificate_arn);
    let restricted = !options.allowed_authorities.is_empty();
    let private = certificate.kind == "PRIVATE";
    if restricted && (private || options.like_lbc()) {
        // Who issued it stands in the detail only.
        let detail = detail.ok_or(Missing("DescribeCertificate"))?;
        let authority = detail.certificate_authority_arn.as_deref().unwrap_or_default();
        if !options.allowed_authorities.contains(authority) {
            return Ok(Vec::new());
        }
    }
    if let Some(detail) = detail {
        let names = detail.subject_alternative_names.iter().chain([&detail.domain_name]);
        return Ok(names.map(String::as_str).filter(|n| !n.is_empty()).collect());
    }
    if certificate.has_additional_subject_alternative_names {
        return Err(Missing("DescribeCertificate"));
    }
    let names = certificate.subject_alternative_name_summaries.iter().chain([&certificate.domain_name]);
    Ok(names.map(String::as_str).filter(|n| !n.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("a.example", "a.example", true)]
    #[case("A.Example", "a.example", true)]
    #[case("*.example", "a.example", true)]
    #[case("*.example", "*.example", true)]
    #[case("*.example", "example", false)]
    #[case("*.example", "a.b.example", false)]
    #[case("*.b.example", "a.b.example", true)]
    #[case("a.example", "b.example", false)]
    #[case("*.example", ".example", false)]
    #[case("*", "example", false)]
    fn names_and_hosts(#[case] name: &str, #[case] host: &str, #[case] want: bool) {
        assert_eq!(fits(name, host), want);
    }

    fn answers(certificates: serde_json::Value, details: serde_json::Value) -> Answers {
        serde_json::from_value(json!({
            "ListCertificates": {"CertificateSummaryList": certificates}, "DescribeCertificate": details,
        }))
        .expect("answers")
    }

    fn hosts(hosts: &[&str]) -> BTreeSet<String> {
        hosts.iter().map(|&h| h.to_owned()).collect()
    }

    #[test]
    fn all_that_fit_sorted_and_hosts_without_any() {
        let aws = answers(
            json!([
                {"CertificateArn": "arn:c", "DomainName": "a.example", "Status": "ISSUED"},
                {"CertificateArn": "arn:b", "DomainName": "x", "SubjectAlternativeNameSummaries": ["x", "*.example"], "Status": "ISSUED"},
                {"CertificateArn": "arn:a", "DomainName": "a.example", "Status": "PENDING_VALIDATION"},
                {"CertificateArn": "arn:d", "DomainName": "other", "Status": "ISSUED"},
            ]),
            json!([]),
        );
        let found =
            discover(&hosts(&["a.example", "b.c.example"]), &aws, &Options::default()).expect("known");
        assert_eq!(found.arns, hosts(&["arn:b", "arn:c"]));
        assert_eq!(found.without, hosts(&["b.c.example"]));
    }

    #[test]
    fn what_is_needed_and_not_known() {
        let aws = Answers::default();
        assert_eq!(discover(&hosts(&["a"]), &aws, &Options::default()), Err(Missing("ListCertificates")));
        assert_eq!(discover(&hosts(&[]), &aws, &Options::default()), Ok(Found::default()));
        let list = json!([{"CertificateArn": "arn:a", "DomainName": "b", "HasAdditionalSubjectAlternativeNames": true}]);
        let more = answers(list.clone(), json!([]));
        assert_eq!(discover(&hosts(&["a"]), &more, &Options::default()), Err(Missing("DescribeCertificate")));
        let detail =
            json!([{"Certificate": {"CertificateArn": "arn:a", "SubjectAlternativeNames": ["b", "a"]}}]);
        let known = answers(list, detail);
        assert_eq!(
            discover(&hosts(&["a"]), &known, &Options::default()).map(|f| f.arns),
            Ok(hosts(&["arn:a"]))
        );
    }

    #[rstest]
    #[case::public("AMAZON_ISSUED", None, false, true)]
    #[case::public_as_the_peer("AMAZON_ISSUED", None, true, false)]
    #[case::allowed("PRIVATE", Some("arn:ca"), false, true)]
    #[case::not_allowed("PRIVATE", Some("arn:other"), false, false)]
    fn authorities(
        #[case] kind: &str,
        #[case] authority: Option<&str>,
        #[case] lbc: bool,
        #[case] want: bool,
    ) {
        let aws = answers(
            json!([{"CertificateArn": "arn:a", "DomainName": "a", "Status": "ISSUED", "Type": kind}]),
            json!([{"Certificate": {"CertificateArn": "arn:a", "DomainName": "a", "CertificateAuthorityArn": authority}}]),
        );
        let mut options = Options::default();
        options.set("allowed-certificate-authority-arns", "arn:ca").expect("known");
        if lbc {
            options.set("compat", "lbc").expect("known");
        }
        let found = discover(&hosts(&["a"]), &aws, &options).expect("known");
        assert_eq!(found.arns.is_empty(), !want);
    }
}
