//! Label selectors: their schema, their checked form, and whether they match. Pure.
//!
//! Our own type rather than that of `k8s-openapi`, since that has a JSON schema only with a feature that every crate of the build would
//! pay for. Semantics: `metav1.LabelSelector` and `labels.Selector` of apimachinery.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A query over labels; all its parts must hold. An empty one matches everything.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Requirements on labels by operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// One requirement on a label.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values for `In` and `NotIn`; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// Why a selector is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not one of the four operators.
    #[error("{operator:?} of label {key:?} is not an operator; use In, NotIn, Exists or DoesNotExist")]
    Operator {
        /// The label.
        key: String,
        /// What was given.
        operator: String,
    },
    /// `In` or `NotIn` without values.
    #[error("{operator} of label {key:?} needs at least one value")]
    NoValues {
        /// The label.
        key: String,
        /// The operator.
        operator: String,
    },
    /// `Exists` or `DoesNotExist` with values.
    #[error("{operator} of label {key:?} takes no values; remove them or use In or NotIn")]
    Values {
        /// The label.
        key: String,
        /// The operator.
        operator: String,
    },
    /// A requirement without a label.
    #[error("a requirement names no label; give it a key")]
    NoKey,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

/// A checked selector. Two selectors that say the same in another order are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    requirements: Vec<(String, Operator)>,
}

impl Selector {
    /// Checks a selector.
    ///
    /// # Errors
    /// An unknown operator, values where none may be, or none where some must be.
    pub fn new(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements: Vec<_> = selector
            .match_labels
            .iter()
            .map(|(key, value)| (key.clone(), Operator::In(vec![value.clone()])))
            .collect();
        for requirement in &selector.match_expressions {
            requirements.push((requirement.key.clone(), operator(requirement)?));
        }
        if requirements.iter().any(|(key, _)| key.is_empty()) {
            return Err(SelectorError::NoKey);
        }
        requirements.sort();
        requirements.dedup();
        Ok(Self { requirements })
    }

    /// Whether labels satisfy every requirement. `NotIn` also holds where the label is absent.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|(key, operator)| match (operator, labels.get(key)) {
            (Operator::In(values), Some(value)) => values.contains(value),
            (Operator::NotIn(values), Some(value)) => !values.contains(value),
            (Operator::In(_), None) | (Operator::DoesNotExist, Some(_)) => false,
            (Operator::NotIn(_) | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => true,
            (Operator::Exists, None) => false,
        })
    }
}

fn operator(requirement: &LabelSelectorRequirement) -> Result<Operator, SelectorError> {
    let (key, operator) = (requirement.key.clone(), requirement.operator.clone());
    let mut values = requirement.values.clone();
    values.sort();
    values.dedup();
    match (operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Operator::In(values)),
        ("NotIn", false) => Ok(Operator::NotIn(values)),
        ("In" | "NotIn", true) => Err(SelectorError::NoValues { key, operator }),
        ("Exists", true) => Ok(Operator::Exists),
        ("DoesNotExist", true) => Ok(Operator::DoesNotExist),
        ("Exists" | "DoesNotExist", false) => Err(SelectorError::Values { key, operator }),
        _ => Err(SelectorError::Operator { key, operator }),
    }
}

/// Whether one of the selectors matches; none at all matches everything.
#[must_use]
pub fn any(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}

/// Checks a list of selectors of which one match is enough.
///
/// # Errors
/// The index of the first bad selector and why it is bad. Two equal selectors are an error too, as in MetalLB: the second is then `None`.
pub fn all(selectors: &[LabelSelector]) -> Result<Vec<Selector>, (usize, Option<SelectorError>)> {
    let mut checked = Vec::with_capacity(selectors.len());
    for (index, selector) in selectors.iter().enumerate() {
        let selector = Selector::new(selector).map_err(|e| (index, Some(e)))?;
        if checked.contains(&selector) {
            return Err((index, None));
        }
        checked.push(selector);
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn labels(text: &str) -> Labels {
        text.split(',')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: vec![LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
            ..LabelSelector::default()
        }
    }

    #[rstest]
    #[case("In", &["a", "b"], "k=a", true)]
    #[case("In", &["a", "b"], "k=c", false)]
    #[case("In", &["a"], "", false)]
    #[case("NotIn", &["a"], "k=a", false)]
    #[case("NotIn", &["a"], "k=b", true)]
    #[case("NotIn", &["a"], "", true)]
    #[case("Exists", &[], "k=", true)]
    #[case("Exists", &[], "j=a", false)]
    #[case("DoesNotExist", &[], "k=a", false)]
    #[case("DoesNotExist", &[], "", true)]
    fn operators(#[case] op: &str, #[case] values: &[&str], #[case] on: &str, #[case] expected: bool) {
        let selector = Selector::new(&expression("k", op, values)).expect("valid");
        assert_eq!(selector.matches(&labels(on)), expected);
    }

    #[test]
    fn empty_matches_everything_and_parts_are_anded() {
        assert!(Selector::new(&LabelSelector::default()).expect("valid").matches(&labels("")));
        let mut both = expression("tier", "Exists", &[]);
        both.match_labels = labels("app=web");
        let both = Selector::new(&both).expect("valid");
        assert!(both.matches(&labels("app=web,tier=front")));
        assert!(!both.matches(&labels("app=web")));
        assert!(!both.matches(&labels("app=db,tier=front")));
    }

    #[rstest]
    #[case("Equals", &["a"], "use In, NotIn, Exists or DoesNotExist")]
    #[case("in", &["a"], "is not an operator")]
    #[case("In", &[], "needs at least one value")]
    #[case("NotIn", &[], "needs at least one value")]
    #[case("Exists", &["a"], "takes no values")]
    #[case("DoesNotExist", &["a"], "takes no values")]
    fn bad_requirements_are_errors(#[case] op: &str, #[case] values: &[&str], #[case] text: &str) {
        let error = Selector::new(&expression("k", op, values)).expect_err("invalid").to_string();
        assert!(error.contains(text), "{error}");
    }

    #[test]
    fn duplicates_are_found_whatever_their_spelling() {
        let by_label = LabelSelector { match_labels: labels("k=a"), ..LabelSelector::default() };
        let by_expression = expression("k", "In", &["a", "a"]);
        assert_eq!(all(&[by_label.clone(), by_expression]), Err((1, None)));
        assert_eq!(all(&[by_label, expression("k", "In", &["b"])]).map(|s| s.len()), Ok(2));
    }
}
