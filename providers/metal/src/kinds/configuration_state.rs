//! `ConfigurationState`: what one component thinks of the configuration. Written by the controller (`controller`) and by each speaker
//! (`speaker-<node>`). Pure data, and the judgement that it holds.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// There is none: the kind only reports.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ConfigurationState",
    plural = "configurationstates",
    singular = "configurationstate",
    namespaced,
    status = "ConfigurationStateStatus",
    doc = "Whether a component finds the configuration valid. Labels: metallb.io/component-type (controller or speaker), metallb.io/node-name (of a speaker).",
    printcolumn = r#"{"name":"Result","type":"string","jsonPath":".status.result"}"#,
    printcolumn = r#"{"name":"ErrorSummary","type":"string","jsonPath":".status.errorSummary"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct ConfigurationStateSpec {}

/// The verdict, and what it is made of.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStateStatus {
    /// Valid, Invalid if any condition found an error in the configuration, Unknown before there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ConfigurationResult>,
    /// The errors, one on a line; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_summary: String,
    /// One for each part of the component that reads configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<StateCondition>,
}

/// What a component thinks of the configuration.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigurationResult {
    /// Nothing is wrong with it.
    Valid,
    /// Something is.
    Invalid,
    /// The component has not said yet.
    Unknown,
}

/// A condition as Kubernetes has them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateCondition {
    /// When the status changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// For people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// Generation of the object that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// One word.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// True, False or Unknown.
    pub status: StateConditionStatus,
    /// In CamelCase, or foo.example.com/CamelCase.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 316),
        regex(
            pattern = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub kind: String,
}

/// Status of a condition.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

/// Condition of the controller: pools and advertisements can be used.
pub const POOLS_VALID: &str = "poolReconcilerValid";
/// Condition of a speaker: the same.
pub const CONFIG_VALID: &str = "configReconcilerValid";
/// Condition of a speaker, which MetalLB has not: nothing on its node stands in the way.
pub const NODE_VALID: &str = "causeway.io/nodeSettingsValid";
/// Reason of a condition that holds.
pub const REASON_RECONCILED: &str = "Reconciled";
/// Reason of a condition that does not hold because of what a user wrote.
pub const REASON_CONFIGURATION: &str = "ConfigurationError";
/// Longest message of a condition, characters.
const MESSAGE: usize = 32768;

impl ConfigurationStateStatus {
    /// The verdict over what each part found wrong, by the type of its condition; parts without errors hold. `before` is the status that is there:
    /// the time of a condition moves only when its status does, and conditions of types that are not in `found` go. `now` is in whole seconds, RFC 3339.
    #[must_use]
    pub fn of(found: &[(&str, Vec<String>)], before: &Self, now: &str) -> Self {
        let mut errors = Vec::new();
        let mut conditions = Vec::new();
        for (kind, messages) in found {
            let text: String = messages.join("\n").chars().take(MESSAGE).collect();
            let holds = messages.is_empty();
            let status = if holds { StateConditionStatus::True } else { StateConditionStatus::False };
            let old = before.conditions.iter().find(|c| c.kind == *kind && c.status == status);
            conditions.push(StateCondition {
                last_transition_time: old
                    .map_or_else(|| now.to_owned(), |old| old.last_transition_time.clone()),
                message: text.clone(),
                observed_generation: None,
                reason: if holds { REASON_RECONCILED } else { REASON_CONFIGURATION }.to_owned(),
                status,
                kind: (*kind).to_owned(),
            });
            if !holds {
                errors.push(text);
            }
        }
        let result = match (found.is_empty(), errors.is_empty()) {
            (true, _) => ConfigurationResult::Unknown,
            (_, true) => ConfigurationResult::Valid,
            (_, false) => ConfigurationResult::Invalid,
        };
        Self { result: Some(result), error_summary: errors.join("\n"), conditions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATER: &str = "2026-01-01T00:01:40Z";

    #[test]
    fn a_verdict_of_each_kind() {
        let none = ConfigurationStateStatus::default();
        let of = |found: &[(&str, Vec<String>)]| ConfigurationStateStatus::of(found, &none, EARLY);
        assert_eq!(of(&[]).result, Some(ConfigurationResult::Unknown));
        let valid = of(&[(POOLS_VALID, vec![])]);
        assert_eq!((valid.result, valid.error_summary.as_str()), (Some(ConfigurationResult::Valid), ""));
        assert_eq!(valid.conditions[0].reason, REASON_RECONCILED);
        let invalid = of(&[(CONFIG_VALID, vec!["a".into(), "b".into()]), (NODE_VALID, vec!["c".into()])]);
        assert_eq!(invalid.result, Some(ConfigurationResult::Invalid));
        assert_eq!(invalid.error_summary, "a\nb\nc");
        assert_eq!(invalid.conditions[0].reason, REASON_CONFIGURATION);
    }

    #[test]
    fn times_move_with_the_status_only() {
        let first = ConfigurationStateStatus::of(
            &[(POOLS_VALID, vec!["a".into()])],
            &ConfigurationStateStatus::default(),
            EARLY,
        );
        let same = ConfigurationStateStatus::of(&[(POOLS_VALID, vec!["a".into()])], &first, LATER);
        assert_eq!(same, first);
        let other = ConfigurationStateStatus::of(&[(POOLS_VALID, vec!["b".into()])], &first, LATER);
        assert_eq!(other.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
        let mended = ConfigurationStateStatus::of(&[(POOLS_VALID, vec![])], &first, LATER);
        assert_eq!(mended.conditions[0].last_transition_time, LATER);
    }

    #[test]
    fn what_it_says_can_be_read_back() {
        let status = ConfigurationStateStatus::of(
            &[(POOLS_VALID, vec!["a".into()])],
            &ConfigurationStateStatus::default(),
            EARLY,
        );
        let value = serde_json::to_value(&status).expect("plain data");
        assert_eq!(value["conditions"][0]["type"], POOLS_VALID);
        assert_eq!(value["conditions"][0]["status"], "False");
        assert_eq!(serde_json::from_value::<ConfigurationStateStatus>(value).expect("itself"), status);
    }
}
