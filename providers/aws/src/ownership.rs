//! Whose Services are ours, and whose defaults hold for them. Pure.
//!
//! A Service with a class is ours if the class is; of those without, `aws-load-balancer-type` decides: `external` and `nlb-ip` are the peer controller's
//! words for "not the built-in one", and hence ours; `nlb` and no type at all belong to the built-in cloud provider, which may be running out of sight, so
//! that they are ours only if the user says so (`--own-classless`), with that provider's defaults.

use std::collections::BTreeMap;

use causeway_api::{Claim, Member};

use crate::annotations::service::{ALTERNATIVE_PREFIX, PREFIX, TYPE, TYPE_EXTERNAL, TYPE_NLB_IP};

/// Class of Services that are ours by default: the peer controller's.
pub const LOAD_BALANCER_CLASS: &str = "service.k8s.aws/nlb";

/// Whose defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// aws-load-balancer-controller's.
    Lbc,
    /// cloud-provider-aws's.
    Cpa,
}

/// The type that annotations say.
#[must_use]
pub fn load_balancer_type(annotations: &BTreeMap<String, String>) -> Option<&str> {
    [PREFIX, ALTERNATIVE_PREFIX]
        .iter()
        .find_map(|prefix| annotations.get(&format!("{prefix}{}", TYPE.suffix)))
        .map(String::as_str)
}

/// The annotation, with the values, that makes a Service without class ours.
#[must_use]
pub fn claims() -> Vec<Claim> {
    let values = vec![TYPE_EXTERNAL.to_owned(), TYPE_NLB_IP.to_owned()];
    [PREFIX, ALTERNATIVE_PREFIX]
        .map(|prefix| Claim { annotation: format!("{prefix}{}", TYPE.suffix), values: values.clone() })
        .into()
}

/// Whose defaults hold for a Service that is ours.
#[must_use]
pub fn defaults(member: &Member) -> Defaults {
    let external = matches!(load_balancer_type(&member.annotations), Some(TYPE_EXTERNAL | TYPE_NLB_IP));
    if member.class.is_some() || external { Defaults::Lbc } else { Defaults::Cpa }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fixtures::service;

    #[rstest]
    #[case::class(Some("service.k8s.aws/nlb"), None, Defaults::Lbc)]
    #[case::class_and_type(Some("service.k8s.aws/nlb"), Some("nlb"), Defaults::Lbc)]
    #[case::external(None, Some("external"), Defaults::Lbc)]
    #[case::nlb_ip(None, Some("nlb-ip"), Defaults::Lbc)]
    #[case::nlb(None, Some("nlb"), Defaults::Cpa)]
    #[case::plain(None, None, Defaults::Cpa)]
    fn whose_defaults(#[case] class: Option<&str>, #[case] kind: Option<&str>, #[case] want: Defaults) {
        let mut service = service("web");
        service.0.class = class.map(str::to_owned);
        if let Some(kind) = kind {
            service = service.annotation(TYPE.suffix, kind);
        }
        assert_eq!(defaults(&service.0), want);
    }

    #[test]
    fn both_prefixes_claim() {
        let keys: Vec<String> = claims().into_iter().map(|c| c.annotation).collect();
        assert_eq!(
            keys,
            [
                "service.beta.kubernetes.io/aws-load-balancer-type",
                "service.kubernetes.io/aws-load-balancer-type"
            ]
        );
        assert!(claims().iter().all(|c| c.values == ["external", "nlb-ip"]));
    }
}
