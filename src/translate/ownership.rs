//! What is ours: by class, never by chance. Pure. Nothing at all is written to an object that is not ours.

use std::cmp::Reverse;

use causeway_api::Claim;
use causeway_api::names::{ANNOTATION_INGRESS_CLASS, ANNOTATION_PAUSED, INGRESS_CONTROLLER};

use crate::state::records::{ClassRecord, IngressRecord, Meta, ServiceRecord};

/// Which Services are ours (KEP-1959).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRules {
    /// `--load-balancer-class`: exactly these classes.
    pub classes: Vec<String>,
    /// `--own-classless`: Services without a class too.
    pub own_classless: bool,
    /// Annotations that make a Service without class ours.
    pub claims: Vec<Claim>,
    /// `--ingress-controller`: controllers of IngressClasses that are ours besides [`INGRESS_CONTROLLER`].
    pub ingress_controllers: Vec<String>,
}

impl ClassRules {
    /// Whether a Service is ours: of type LoadBalancer, and of a class of ours or, if we own these or an annotation says so, of none.
    #[must_use]
    pub fn owns_service(&self, service: &ServiceRecord) -> bool {
        service.load_balancer && (self.owns_class(service.class.as_deref()) || self.claimed(service))
    }

    fn claimed(&self, service: &ServiceRecord) -> bool {
        let says = |claim: &Claim| {
            service.meta.annotations.get(&claim.annotation).is_some_and(|value| claim.values.contains(value))
        };
        service.class.is_none() && self.claims.iter().any(says)
    }

    /// Whether IngressClasses with this controller are ours.
    #[must_use]
    pub fn owns_controller(&self, controller: &str) -> bool {
        controller == INGRESS_CONTROLLER || self.ingress_controllers.iter().any(|ours| ours == controller)
    }

    /// The same by class alone.
    #[must_use]
    pub fn owns_class(&self, class: Option<&str>) -> bool {
        match class {
            Some(class) => self.classes.iter().any(|ours| ours == class),
            None => self.own_classless,
        }
    }
}

/// The name of the IngressClass that an Ingress is of, if any. The legacy annotation wins over the field (KEP-1453); without either
/// it is the default class: the newest, of equally new ones the lowest name, as admission chooses. An empty annotation says "none":
/// admission gives no default to an Ingress that carries it.
pub fn ingress_class<'a>(
    ingress: &'a IngressRecord,
    classes: impl IntoIterator<Item = &'a ClassRecord>,
) -> Option<&'a str> {
    if let Some(name) = ingress.meta.annotations.get(ANNOTATION_INGRESS_CLASS) {
        return Some(name.trim()).filter(|name| !name.is_empty());
    }
    if let Some(name) = &ingress.class {
        return Some(name);
    }
    classes
        .into_iter()
        .filter(|class| class.default)
        .min_by_key(|class| (Reverse(class.meta.created), class.meta.name.as_str()))
        .map(|class| class.meta.name.as_str())
}

/// The IngressClass of an Ingress if that class exists and its controller is ours; the Ingress is ours exactly then.
pub fn owned_ingress_class<'a, I>(
    rules: &ClassRules,
    ingress: &'a IngressRecord,
    classes: I,
) -> Option<&'a ClassRecord>
where
    I: IntoIterator<Item = &'a ClassRecord> + Clone,
{
    let name = ingress_class(ingress, classes.clone())?;
    classes.into_iter().find(|class| class.meta.name == name && rules.owns_controller(&class.controller))
}

/// Whether the user stopped all writes for this object.
#[must_use]
pub fn paused(meta: &Meta) -> bool {
    meta.annotations.get(ANNOTATION_PAUSED).is_some_and(|value| value.trim() == "true")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rules(classes: &[&str], own_classless: bool) -> ClassRules {
        let classes = classes.iter().map(|&c| c.to_owned()).collect();
        ClassRules { classes, own_classless, ..ClassRules::default() }
    }

    #[rstest]
    #[case::classless_owned(ServiceRecord::test(), &[], true, true)]
    #[case::classless_not_owned(ServiceRecord::test(), &[], false, false)]
    #[case::classless_with_classes(ServiceRecord::test(), &["a/b"], false, false)]
    #[case::classless_and_classes(ServiceRecord::test(), &["a/b"], true, true)]
    #[case::our_class(ServiceRecord::test().class("a/b"), &["a/b"], false, true)]
    #[case::second_class(ServiceRecord::test().class("a/c"), &["a/b", "a/c"], false, true)]
    #[case::foreign_class(ServiceRecord::test().class("x/y"), &["a/b"], true, false)]
    #[case::class_is_not_a_prefix(ServiceRecord::test().class("a/bc"), &["a/b"], true, false)]
    #[case::any_class_without_ours(ServiceRecord::test().class("x/y"), &[], true, false)]
    #[case::not_a_load_balancer(ServiceRecord::test().not_load_balancer(), &[], true, false)]
    fn services(
        #[case] service: ServiceRecord,
        #[case] classes: &[&str],
        #[case] own_classless: bool,
        #[case] want: bool,
    ) {
        assert_eq!(rules(classes, own_classless).owns_service(&service), want);
    }

    fn ours(name: &str) -> ClassRecord {
        ClassRecord::test(name)
    }

    fn theirs(name: &str) -> ClassRecord {
        ClassRecord::test(name).controller("example.com/other")
    }

    #[rstest]
    #[case::by_field(IngressRecord::test().class("ours"), vec![ours("ours")], true)]
    #[case::by_annotation(IngressRecord::test().annotation(ANNOTATION_INGRESS_CLASS, "ours"), vec![ours("ours")], true)]
    #[case::annotation_wins(
        IngressRecord::test().class("ours").annotation(ANNOTATION_INGRESS_CLASS, "theirs"), vec![ours("ours"), theirs("theirs")], false)]
    #[case::annotation_wins_for_us(
        IngressRecord::test().class("theirs").annotation(ANNOTATION_INGRESS_CLASS, "ours"), vec![ours("ours"), theirs("theirs")], true)]
    #[case::foreign_controller(IngressRecord::test().class("theirs"), vec![theirs("theirs")], false)]
    #[case::class_does_not_exist(IngressRecord::test().class("ours"), vec![], false)]
    #[case::no_class_no_default(IngressRecord::test(), vec![ours("ours")], false)]
    #[case::no_class_default(IngressRecord::test(), vec![ours("ours").default_class()], true)]
    #[case::empty_annotation_takes_no_default(
        IngressRecord::test().annotation(ANNOTATION_INGRESS_CLASS, ""), vec![ours("ours").default_class()], false)]
    #[case::newest_default(
        IngressRecord::test(), vec![theirs("a").default_class().created(1), ours("b").default_class().created(2)], true)]
    #[case::newest_default_is_theirs(
        IngressRecord::test(), vec![theirs("b").default_class().created(2), ours("a").default_class().created(1)], false)]
    #[case::lowest_name_of_equal_age(
        IngressRecord::test(), vec![theirs("b").default_class().created(1), ours("a").default_class().created(1)], true)]
    #[case::unknown_age_is_oldest(
        IngressRecord::test(), vec![theirs("a").default_class(), ours("b").default_class().created(1)], true)]
    fn ingresses(#[case] ingress: IngressRecord, #[case] classes: Vec<ClassRecord>, #[case] want: bool) {
        let rules = ClassRules::default();
        assert_eq!(owned_ingress_class(&rules, &ingress, &classes).is_some(), want);
        let reversed: Vec<&ClassRecord> = classes.iter().rev().collect();
        assert_eq!(
            owned_ingress_class(&rules, &ingress, reversed).is_some(),
            want,
            "the order of classes matters"
        );
    }

    #[test]
    fn further_controllers_only_if_told() {
        let classes = vec![ClassRecord::test("alb").controller("ingress.k8s.aws/alb"), ours("ours")];
        let told = ClassRules {
            ingress_controllers: vec!["ingress.k8s.aws/alb".to_owned()],
            ..ClassRules::default()
        };
        for (rules, class, want) in
            [(&ClassRules::default(), "alb", false), (&told, "alb", true), (&told, "ours", true)]
        {
            let ingress = IngressRecord::test().class(class);
            assert_eq!(owned_ingress_class(rules, &ingress, &classes).is_some(), want, "{class}");
        }
    }

    #[rstest]
    #[case::claimed(ServiceRecord::test().annotation("type", "external"), true)]
    #[case::another_value(ServiceRecord::test().annotation("type", "nlb"), false)]
    #[case::nothing_said(ServiceRecord::test(), false)]
    #[case::a_class_wins(ServiceRecord::test().class("x/y").annotation("type", "external"), false)]
    #[case::not_a_load_balancer(ServiceRecord::test().not_load_balancer().annotation("type", "external"), false)]
    fn claims(#[case] service: ServiceRecord, #[case] want: bool) {
        let claim = Claim { annotation: "type".to_owned(), values: vec!["external".to_owned()] };
        let rules = ClassRules { claims: vec![claim], ..ClassRules::default() };
        assert_eq!(rules.owns_service(&service), want);
    }

    #[rstest]
    #[case("true", true)]
    #[case("false", false)]
    #[case("", false)]
    #[case("yes", false)]
    fn pausing(#[case] value: &str, #[case] want: bool) {
        assert_eq!(paused(&ServiceRecord::test().annotation(ANNOTATION_PAUSED, value).meta), want);
        assert!(!paused(&ServiceRecord::test().meta));
    }
}
