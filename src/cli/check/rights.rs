//! The rights that Causeway needs, as questions to the API server. Pure. They are read out of the very manifests of deploy/, which are part of this
//! binary: what these grant is what is asked for, so that nothing is said twice.

use std::collections::BTreeMap;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;

use super::Finding;
use crate::cli::provider::Provider;

const BASE: &str = include_str!("../../../deploy/kustomize/base/rbac.yaml");

/// Those of a provider.
fn manifests(provider: Provider) -> &'static [&'static str] {
    match provider {
        #[cfg(feature = "aws")]
        Provider::Aws => &[BASE, include_str!("../../../deploy/kustomize/aws/rbac-controller.yaml")],
        #[cfg(feature = "openstack")]
        Provider::OpenStack => {
            &[BASE, include_str!("../../../deploy/kustomize/openstack/rbac-controller.yaml")]
        }
        #[cfg(feature = "metal")]
        Provider::Metal => &[
            BASE,
            include_str!("../../../deploy/kustomize/metal/rbac-controller.yaml"),
            include_str!("../../../deploy/kustomize/metal/rbac-speaker.yaml"),
        ],
        #[allow(unreachable_patterns, reason = "only with some features there are others")]
        _ => &[BASE],
    }
}

/// What the manifests call the namespace of Pods and accounts.
const RUNS_IN: &str = "kube-system";
/// The same of pools.
const CONFIG: &str = "metallb-system";

/// Where Causeway runs and reads.
#[derive(Clone, Debug)]
pub struct Place {
    /// Namespace of its Pods and accounts.
    pub namespace: String,
    /// Namespace of pools.
    pub config_namespace: String,
}

/// One right of one ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Name of the ServiceAccount.
    pub account: String,
    /// Empty: everywhere.
    pub namespace: String,
    /// API group.
    pub group: String,
    /// Resource, with its subresource behind a slash.
    pub resource: String,
    /// Name of the object; empty: any.
    pub name: String,
    /// Verb.
    pub verb: String,
}

#[derive(Deserialize)]
struct Manifest {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    rules: Vec<PolicyRule>,
    #[serde(rename = "roleRef")]
    role: Option<RoleRef>,
    #[serde(default)]
    subjects: Vec<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

/// All rights that the manifests give to accounts.
///
/// # Errors
/// A manifest that cannot be read; a test shows that there is none.
pub fn needed(provider: Provider, place: &Place) -> Result<Vec<Right>, serde_saphyr::Error> {
    let mut roles: BTreeMap<(String, String, String), Vec<PolicyRule>> = BTreeMap::new();
    let mut bindings = Vec::new();
    for text in manifests(provider) {
        for manifest in serde_saphyr::from_multiple::<Manifest>(text)? {
            if manifest.role.is_some() {
                bindings.push(manifest);
            } else {
                let key = (manifest.kind, manifest.metadata.namespace, manifest.metadata.name);
                roles.insert(key, manifest.rules);
            }
        }
    }
    let mut rights = Vec::new();
    for binding in bindings {
        let Some(role) = binding.role else { continue };
        let home =
            if role.kind == "ClusterRole" { String::new() } else { binding.metadata.namespace.clone() };
        let rules = roles.get(&(role.kind, home, role.name)).map(Vec::as_slice).unwrap_or_default();
        let namespace = match binding.metadata.namespace.as_str() {
            RUNS_IN => place.namespace.clone(),
            CONFIG => place.config_namespace.clone(),
            other => other.to_owned(),
        };
        for account in &binding.subjects {
            for rule in rules {
                rights.extend(of_rule(&account.name, &namespace, rule));
            }
        }
    }
    rights.sort();
    rights.dedup();
    Ok(rights)
}

fn of_rule(account: &str, namespace: &str, rule: &PolicyRule) -> Vec<Right> {
    let list = |l: &Option<Vec<String>>| l.clone().unwrap_or_default();
    let names =
        Some(list(&rule.resource_names)).filter(|n| !n.is_empty()).unwrap_or_else(|| vec![String::new()]);
    let mut rights = Vec::new();
    for group in &list(&rule.api_groups) {
        for resource in &list(&rule.resources) {
            for name in &names {
                rights.extend(rule.verbs.iter().map(|verb| Right {
                    account: account.to_owned(),
                    namespace: namespace.to_owned(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    verb: verb.clone(),
                }));
            }
        }
    }
    rights
}

impl Right {
    /// The question whether an account has it.
    #[must_use]
    pub fn review(&self, place: &Place) -> SubjectAccessReview {
        let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{}:{}", place.namespace, self.account)),
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{}", place.namespace),
                    "system:authenticated".to_owned(),
                ]),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(self.group.clone()),
                    resource: some(resource),
                    subresource: some(subresource),
                    verb: some(&self.verb),
                    namespace: some(&self.namespace),
                    name: some(&self.name),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

/// What the answers come to: one finding for each account, or one for each resource that it may not use as it must.
#[must_use]
pub fn judge(place: &Place, answers: &[(Right, SubjectAccessReviewStatus)]) -> Vec<Finding> {
    let mut by_account: BTreeMap<&str, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for (right, status) in answers {
        let missing = by_account.entry(&right.account).or_default();
        if status.allowed {
            continue;
        }
        let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        let name = if right.name.is_empty() { String::new() } else { format!(" {}", right.name) };
        let place =
            if right.namespace.is_empty() { String::new() } else { format!(" in {}", right.namespace) };
        missing.entry(format!("{}{group}{name}{place}", right.resource)).or_default().push(&right.verb);
    }
    let mut findings = Vec::new();
    for (account, missing) in by_account {
        let about = format!("ServiceAccount {}/{account}", place.namespace);
        if missing.is_empty() {
            findings.push(Finding::ok(&about, "has the rights it needs"));
        }
        findings.extend(missing.into_iter().map(|(what, verbs)| {
            Finding::error(&about, format!("may not {} {what}: apply deploy/ again", verbs.join(", ")))
        }));
    }
    findings
}

#[cfg(all(test, feature = "metal"))]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { namespace: "lb".into(), config_namespace: "pools".into() }
    }

    fn right(resource: &str, verb: &str) -> Right {
        let all = needed(Provider::Metal, &place()).expect("manifests");
        let found =
            all.into_iter().find(|r| r.account == "causeway" && r.resource == resource && r.verb == verb);
        found.unwrap_or_else(|| panic!("no right to {verb} {resource}"))
    }

    #[test]
    fn the_manifests_are_what_is_asked_for() {
        let services = right("services/status", "patch");
        assert_eq!(services.namespace, "");
        assert_eq!(right("ipaddresspools", "watch").namespace, "pools");
        let secret = right("secrets", "get");
        assert_eq!((secret.namespace.as_str(), secret.name.as_str()), ("lb", "causeway-membership"));
        let all = needed(Provider::Metal, &place()).expect("manifests");
        assert!(all.iter().any(|r| r.account == "causeway-speaker" && r.resource == "endpointslices"));
        assert!(all.iter().all(|r| !r.verb.is_empty() && !r.resource.is_empty()));
    }

    #[test]
    fn a_review_asks_for_the_account() {
        let spec = right("services/status", "patch").review(&place()).spec;
        assert_eq!(spec.user.as_deref(), Some("system:serviceaccount:lb:causeway"));
        let attributes = spec.resource_attributes.expect("a resource");
        assert_eq!(
            (attributes.resource.as_deref(), attributes.subresource.as_deref(), attributes.namespace),
            (Some("services"), Some("status"), None)
        );
    }

    #[test]
    fn missing_verbs_are_one_line() {
        let answer = |verb: &str, allowed| {
            (right("services", verb), SubjectAccessReviewStatus { allowed, ..Default::default() })
        };
        let none = judge(&place(), &[answer("get", true), answer("list", true)]);
        assert_eq!(none, [Finding::ok("ServiceAccount lb/causeway", "has the rights it needs")]);
        let some = judge(&place(), &[answer("get", false), answer("list", true), answer("watch", false)]);
        assert_eq!(some.len(), 1);
        assert!(some[0].message.contains("may not get, watch services:"), "{some:?}");
    }
}
