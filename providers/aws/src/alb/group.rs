//! The Ingresses of one load balancer with what their annotations and class say, and how several of them come to one value. Pure.
//!
//! Of settings that are the load balancer's the oldest Ingress that has one decides. Who disagrees is told; and if serving it all the same would let in more than it
//! asks for (another scheme, other client networks, no web ACL), it is not served. What is wrong with one Ingress never keeps another from being served.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use causeway_api::{IngressSpec, LbKey, LoadBalancer, Member, ObjectRef, Owner, Problem, names};

use super::parameters::{self, Parameters};
use crate::annotations::{Annotation, Scope, Settings, ingress as table, reasons};
use crate::facts::Facts;
use crate::options::Options;
use crate::stack::{IpAddressType, MutualAuthentication, Scheme, Tags};

/// Reason of problems with the class of an Ingress.
pub const INVALID_CLASS: &str = "InvalidIngressClass";
/// Reason of problems with tags that members disagree about.
const TAG: &str = "ConflictingTag";

/// What the parameters of a member's class say.
///
/// # Errors
/// Why the member cannot be served: the parameters are missing, wrong, or not for its namespace.
pub fn parameters_of(member: &Member) -> Result<Option<Parameters>, Vec<Problem>> {
    let Some(named) = &member.class_parameters else { return Ok(None) };
    let refused = |why: String| {
        let why = format!("{why}; until then, nothing of this object is made or changed");
        Problem::error(member.object.clone(), "spec.ingressClassName", INVALID_CLASS, why)
    };
    let class = member.class.as_deref().unwrap_or_default();
    if (named.group.as_str(), named.kind.as_str()) != (parameters::GROUP, parameters::KIND) {
        return Err(vec![refused(format!(
            "IngressClass {class} has parameters of kind {}.{}, which are not understood: name an {} of {}, or take spec.parameters away",
            named.kind,
            named.group,
            parameters::KIND,
            parameters::GROUP
        ))]);
    }
    let Some(spec) = &named.spec else {
        return Err(vec![refused(format!(
            "IngressClass {class} names {} {}, which does not exist: create it",
            parameters::KIND,
            named.name
        ))]);
    };
    let spec = serde_json::from_str(spec).unwrap_or_default();
    let read = Parameters::read(&named.name, &spec).map_err(|problem| {
        let about =
            refused(format!("{} {} of IngressClass {class} is wrong: mend it", parameters::KIND, named.name));
        vec![problem, about]
    })?;
    if read.namespace_selector.as_ref().is_some_and(|s| !s.selects(&member.namespace_labels)) {
        return Err(vec![refused(format!(
            "IngressClass {class} is not for namespace {}: label the namespace as {} {} asks, or take another class",
            member.object.namespace,
            parameters::KIND,
            named.name
        ))]);
    }
    Ok(Some(read))
}

/// The load balancer that an Ingress belongs to. One of its own, unless its class says a group, or an annotation does: then those of its namespace share
/// one, or, if the parameters of its class select namespaces, those of the same parameters. The peer's way is one group for all namespaces.
#[must_use]
pub fn key(member: &Member, like_lbc: bool) -> LbKey {
    use causeway_api::Layer::L7;
    let class = parameters_of(member).ok().flatten();
    if let Some(group) = class.as_ref().and_then(|p| p.group.as_ref()) {
        return LbKey::group(L7, group.clone());
    }
    let annotation = |key: &str| member.annotations.get(key).filter(|name| table::group_name(name).is_ok());
    let named = annotation(&table::GROUP_NAME.key()).or_else(|| annotation(names::ANNOTATION_GROUP));
    let Some(name) = named else { return LbKey::object(L7, member.object.clone()) };
    if like_lbc {
        return LbKey::group(L7, name.clone());
    }
    match class.filter(|p| p.namespace_selector.is_some()) {
        // No namespace has a colon in its name.
        Some(parameters) => LbKey::group(L7, format!("{}:{name}", parameters.object)),
        None => LbKey::group(L7, format!("{}/{name}", member.object.namespace)),
    }
}

/// A value as people write it.
pub trait Said {
    /// The text.
    fn said(&self) -> String;
}

macro_rules! said {
    ($($kind:ty: $value:ident => $text:expr;)*) => {
        $(impl Said for $kind {
            fn said(&self) -> String {
                let $value = self;
                $text
            }
        })*
    };
}

said! {
    bool: on => on.to_string();
    u16: number => number.to_string();
    u32: number => number.to_string();
    String: text => format!("{text:?}");
    Vec<String>: list => format!("{:?}", list.join(", "));
    BTreeSet<String>: set => format!("{:?}", set.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    BTreeSet<IpNet>: set => format!("{:?}", set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    Scheme: scheme => scheme.as_str().to_owned();
    IpAddressType: kind => kind.as_str().to_owned();
    MutualAuthentication: config => serde_json::to_string(config).unwrap_or_default();
}

/// One Ingress.
pub struct Joined<'a> {
    /// The member.
    pub member: &'a Member,
    /// What it asks for.
    pub ingress: &'a IngressSpec,
    /// What its annotations say.
    pub settings: Settings,
    /// What its class says.
    pub parameters: Parameters,
    /// `group.order`.
    pub order: i32,
    /// It is not served: what is wrong would open or break something.
    pub refused: bool,
}

impl Joined<'_> {
    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        self.member.object.clone()
    }

    /// `namespace/name`.
    #[must_use]
    pub fn path(&self) -> String {
        self.member.object.path()
    }

    /// A warning about an annotation.
    pub fn warn(&self, annotation: &Annotation, message: impl Into<String>) -> Problem {
        Problem::warning(self.object(), self.settings.field(annotation), reasons::INVALID, message)
    }

    /// An error about an annotation.
    pub fn error(&self, annotation: &Annotation, message: impl Into<String>) -> Problem {
        Problem::error(self.object(), self.settings.field(annotation), reasons::INVALID, message)
    }

    /// Tags of what belongs to it alone: those of its class win over its own.
    #[must_use]
    pub fn tags(&self) -> Tags {
        let mut tags = self.settings.map(&table::TAGS).unwrap_or_default();
        tags.extend(self.parameters.tags.clone());
        tags
    }
}

/// All Ingresses of a load balancer, oldest first.
pub struct Group<'a> {
    /// The members.
    pub members: Vec<Joined<'a>>,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// What keeps the whole load balancer from being made or changed.
    pub blocked: bool,
}

impl<'a> Group<'a> {
    /// Reads what annotations and classes say.
    #[must_use]
    pub fn read(lb: &'a LoadBalancer, facts: &Facts) -> Self {
        let mut group = Self { members: Vec::new(), problems: Vec::new(), blocked: false };
        for member in &lb.members {
            let Some(ingress) = member.ingress() else { continue };
            let mut settings = Settings::read(Scope::Ingress, &member.object, &member.annotations);
            group.problems.append(&mut settings.problems);
            let mut refused = settings.refused;
            let parameters = parameters_of(member).unwrap_or_else(|problems| {
                group.problems.extend(problems);
                refused = true;
                None
            });
            let order = settings.text(&table::GROUP_ORDER).and_then(|t| t.trim().parse().ok()).unwrap_or(0);
            let parameters = parameters.unwrap_or_default();
            let mut joined = Joined { member, ingress, settings, parameters, order, refused };
            if facts.options.no_group_name_annotation
                && joined.parameters.group.is_none()
                && joined.settings.text(&table::GROUP_NAME).is_some()
            {
                let why = "option disable-ingress-group-name-annotation is set: let the parameters of the class name the group, or take it away";
                group.problems.push(joined.error(&table::GROUP_NAME, why));
                joined.refused = true;
            }
            group.members.push(joined);
        }
        group
    }

    /// Indices of the members that are served.
    pub fn served(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.members.len()).filter(|i| !self.members[*i].refused)
    }

    /// The oldest member that is served; of none, the oldest.
    #[must_use]
    pub fn first(&self) -> &Joined<'a> {
        let first = self.served().next().unwrap_or_default();
        &self.members[first]
    }

    /// Reports something of a member that is not served from now on.
    pub fn refuse(&mut self, member: usize, problem: Problem) {
        self.problems.push(problem);
        self.members[member].refused = true;
    }

    /// Reports what keeps the whole load balancer from being made or changed.
    pub fn block(&mut self, problem: Problem) {
        self.problems.push(problem);
        self.blocked = true;
    }

    /// Reports something, once.
    pub fn report(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The value of the oldest of some members that has one, and whose it is. Who disagrees is told and, if that `opens` it wider than it asks for, not served.
    pub fn exclusive<T: PartialEq + Said>(
        &mut self,
        annotation: &'static Annotation,
        among: &[usize],
        get: impl Fn(&Joined<'a>) -> Option<T>,
        opens: impl Fn(&T, &T) -> bool,
    ) -> Option<(usize, T)> {
        let mut chosen: Option<(usize, T)> = None;
        for &index in among {
            let joined = &self.members[index];
            if joined.refused {
                continue;
            }
            let Some(value) = get(joined) else { continue };
            let Some((holder, first)) = &chosen else {
                chosen = Some((index, value));
                continue;
            };
            if value == *first {
                continue;
            }
            let why = format!(
                "{} does not count: {} is older, shares this load balancer and has {}; write the same, take it away, or take another group",
                value.said(),
                self.members[*holder].member.object,
                first.said()
            );
            let field = joined.settings.field(annotation);
            if opens(first, &value) {
                let why = format!(
                    "{why}; until then, this object is not served, as it would be open wider than it asks for"
                );
                let problem = Problem::error(joined.object(), field, reasons::CONFLICT, why);
                self.refuse(index, problem);
            } else {
                let problem = Problem::warning(joined.object(), field, reasons::CONFLICT, why);
                self.report(problem);
            }
        }
        chosen
    }

    /// The same of all members, for a text that stands in the annotation only.
    pub fn exclusive_text(&mut self, annotation: &'static Annotation) -> Option<(usize, String)> {
        let all: Vec<usize> = self.served().collect();
        self.exclusive(annotation, &all, |m| m.settings.text(annotation).map(str::to_owned), |_, _| false)
    }

    /// A map whose keys are each one value of the load balancer: those of all members, where the class of one wins; of two values the older's counts.
    pub fn union(
        &mut self,
        annotation: &'static Annotation,
        among: &[usize],
        class: impl Fn(&Joined<'a>) -> BTreeMap<String, String>,
        own: impl Fn(&Joined<'a>) -> BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for &index in among {
            for (key, value) in class(&self.members[index]) {
                all.entry(key).or_insert((index, value));
            }
        }
        let of_classes: BTreeSet<String> = all.keys().cloned().collect();
        for &index in among {
            for (key, value) in own(&self.members[index]) {
                match all.get(&key) {
                    None => {
                        all.insert(key, (index, value));
                    }
                    Some((holder, first)) if *first != value && !of_classes.contains(&key) => {
                        let joined = &self.members[index];
                        let problem = Problem::warning(
                            joined.object(),
                            joined.settings.field(annotation),
                            reasons::CONFLICT,
                            format!(
                                "{key}={value} does not count: {} is older, shares this load balancer and has {key}={first}; write the same, or take it away",
                                self.members[*holder].member.object
                            ),
                        );
                        self.report(problem);
                    }
                    Some(_) => {}
                }
            }
        }
        all.into_iter().map(|(key, (_, value))| (key, value)).collect()
    }

    /// Tags of what several members share.
    pub fn shared_tags(&mut self, options: &Options, among: &[usize]) -> Tags {
        let mut tags: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for &index in among {
            for (key, value) in self.members[index].tags() {
                let (holder, first) = tags.entry(key.clone()).or_insert((index, value.clone()));
                if *first != value {
                    let (joined, holder) = (&self.members[index], *holder);
                    let problem = Problem::warning(
                        joined.object(),
                        joined.settings.field(&table::TAGS),
                        TAG,
                        format!(
                            "{key}={value} does not count on what is shared: {} is older and has {key}={first}; write the same, or take it away",
                            self.members[holder].member.object
                        ),
                    );
                    self.report(problem);
                }
            }
        }
        let tags = tags.into_iter().map(|(key, (_, value))| (key, value)).collect();
        let first = self.first();
        let (object, field) = (first.object(), first.settings.field(&table::TAGS));
        self.merged(options, &object, &field, tags)
    }

    /// Tags with the default ones.
    pub fn merged(&mut self, options: &Options, object: &ObjectRef, field: &str, tags: Tags) -> Tags {
        let mut found = Vec::new();
        let tags = crate::tags::merged(options, object, field, tags, &mut found);
        found.into_iter().for_each(|problem| self.report(problem));
        tags
    }
}

/// The group's name as names and hashes have it: the peer's, which has no namespace in front where the group is one of the cluster.
#[must_use]
pub fn id(key: &LbKey) -> String {
    match &key.owner {
        Owner::Object(object) => object.path(),
        Owner::Group(name) => name.clone(),
    }
}
