//! Paths of Ingresses as rules: conditions, what becomes of requests, and how specific each is. Pure.
//!
//! A path whose backend cannot be had answers 503: the host and path are the Ingress's, and must not fall through to somebody else's backend. That
//! holds too for all paths of an Ingress that is not served, behind whatever other Ingresses have for the same host and path.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use causeway_api::{Backend, IngressBackend, IngressPath, ObjectRef, PathMatch, Problem};

use super::actions::{self, Receiver, Share, Wanted};
use super::auth;
use super::conditions;
use super::group::{Group, Joined};
use super::patterns::{self, HostRank, PathRank, Pattern};
use super::targets::{self, Around, TargetGroup};
use crate::annotations::{Settings, ingress as table, reasons};
use crate::stack::{
    Action, ForwardConfig, ResourceType, RuleCondition, TargetGroupTuple, Token, Transform, Values,
};

/// Text of the answer where the Service is missing; the peer's.
const NO_SERVICE: &str = "Backend service does not exist";
/// Text of the answer where the action is missing; the peer's.
const NO_ACTION: &str = "Backend action does not exist";
/// Text of the answer where something else is the matter.
const UNAVAILABLE: &str = "Backend is not available";
/// Reason of problems with actions.
const ACTION: &str = "ActionNotFound";
/// Reason of problems with Services that annotations name.
const SERVICE: &str = "ServiceNotFound";
/// Reason of problems with target groups that annotations name.
const TARGET_GROUP: &str = "TargetGroupNotFound";
/// Reason of problems with paths that no rule can express.
const PATH: &str = "InvalidPath";

/// What becomes of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What is checked before, where there is TLS.
    pub first: Option<Action>,
    /// What ends the handling.
    pub last: Action,
}

impl Outcome {
    fn unavailable(body: &str) -> Self {
        Self { first: None, last: actions::plain_text("503", Some(body)) }
    }

    /// The actions of a listener.
    #[must_use]
    pub fn actions(&self, tls: bool) -> Vec<Action> {
        let first = self.first.clone().filter(|_| tls);
        first.into_iter().chain([self.last.clone()]).collect()
    }
}

/// Order among rules; smaller comes first. Host, path, number of further conditions, placeholders last, `group.order`.
pub type Rank = (HostRank, PathRank, Reverse<usize>, bool, i32);

/// One path.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Field of the path.
    pub field: String,
    /// Conditions, not split yet.
    pub conditions: Vec<RuleCondition>,
    /// Transforms.
    pub transforms: Vec<Transform>,
    /// What becomes of requests.
    pub outcome: Outcome,
    /// Order.
    pub rank: Rank,
}

/// Where a receiver stands.
struct Place {
    field: String,
    by_annotation: bool,
}

/// The paths of one member, in the peer's order within it: Exact first, then longer prefixes, then the rest as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// Paths.
    pub routes: Vec<Route>,
    /// Default backend.
    pub default: Option<Outcome>,
    /// Target groups by id.
    pub target_groups: BTreeMap<String, TargetGroup>,
}

/// Builds the routes of members one after another.
pub struct Builder<'a> {
    /// What target groups depend on.
    pub around: Around<'a>,
    /// What Services say, by namespace and name: read once.
    services: BTreeMap<(String, String), (ObjectRef, Settings)>,
}

impl<'a> Builder<'a> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(around: Around<'a>) -> Self {
        Self { around, services: BTreeMap::new() }
    }

    /// The routes of a member.
    pub fn build(&mut self, group: &mut Group<'_>, index: usize) -> Routes {
        let mut out = Routes::default();
        let ingress = group.members[index].ingress;
        for (r, rule) in ingress.rules.iter().enumerate() {
            let mut order: Vec<(usize, &IngressPath)> = rule.paths.iter().enumerate().collect();
            order.sort_by_key(|(_, path)| match path.matching {
                PathMatch::Exact => (0, Reverse(0)),
                PathMatch::Prefix => (1, Reverse(path.path.len())),
                PathMatch::ImplementationSpecific => (2, Reverse(0)),
            });
            for (p, path) in order {
                let field = format!("spec.rules[{r}].http.paths[{p}]");
                if let Some(route) = self.route(group, index, &rule.host, path, field, &mut out.target_groups)
                {
                    out.routes.push(route);
                }
            }
        }
        if let Some(backend) = ingress.default_backend.as_ref().filter(|_| !group.members[index].refused) {
            out.default = self.outcome(group, index, backend, "spec.defaultBackend", &mut out.target_groups);
        }
        out
    }

    fn route(
        &mut self,
        group: &mut Group<'_>,
        index: usize,
        host: &str,
        path: &IngressPath,
        field: String,
        target_groups: &mut BTreeMap<String, TargetGroup>,
    ) -> Option<Route> {
        let joined = &group.members[index];
        let refused = joined.refused;
        // Without a host nothing is its own: whatever others have for every host stays as it is.
        if refused && host.is_empty() {
            return None;
        }
        let name = match &path.backend {
            IngressBackend::Service(backend) => backend.service.as_str(),
            IngressBackend::Unsupported(_) => "",
        };
        let parsed = |annotation| joined.settings.text_of(annotation, name);
        let extra = parsed(&table::CONDITIONS).and_then(|t| conditions::parse(t).ok()).unwrap_or_default();
        let transforms =
            parsed(&table::TRANSFORMS).and_then(|t| conditions::parse_transforms(t).ok()).unwrap_or_default();
        let like_lbc = self.around.facts.options.like_lbc();
        let (conditions, rank) = match self::conditions(joined, host, path, extra, like_lbc, refused) {
            Ok(made) => made,
            Err(why) => {
                let problem = Problem::error(
                    joined.object(),
                    format!("{field}.path"),
                    PATH,
                    format!("{why}; the path is not served"),
                );
                group.report(problem);
                return None;
            }
        };
        let outcome = if refused {
            Outcome::unavailable(UNAVAILABLE)
        } else {
            self.outcome(group, index, &path.backend, &format!("{field}.backend"), target_groups)?
        };
        Some(Route { field, conditions, transforms, outcome, rank })
    }

    /// What becomes of requests of a backend; `None` where no rule shall be made.
    fn outcome(
        &mut self,
        group: &mut Group<'_>,
        index: usize,
        backend: &IngressBackend,
        field: &str,
        target_groups: &mut BTreeMap<String, TargetGroup>,
    ) -> Option<Outcome> {
        let IngressBackend::Service(backend) = backend else {
            return Some(Outcome::unavailable(UNAVAILABLE));
        };
        let options = &self.around.facts.options;
        let joined = &group.members[index];
        let by_annotation = backend.port.is_empty() && backend.uid.is_empty();
        let wanted = if by_annotation {
            match joined
                .settings
                .text_of(&table::ACTIONS, &backend.service)
                .and_then(|t| actions::parse(t).ok())
            {
                Some(wanted) => wanted,
                None => {
                    // One that is there and wrong is told already.
                    let key = format!("{}{}.{}", table::PREFIX, table::ACTIONS.suffix, backend.service);
                    if !joined.member.annotations.contains_key(&key) {
                        let why = format!(
                            "there is no annotation {key}, requests get an error: write it, or name a port of a Service"
                        );
                        let problem =
                            Problem::warning(joined.object(), format!("{field}.service.name"), ACTION, why);
                        group.report(problem);
                    }
                    if !options.tolerate_missing_action {
                        return None;
                    }
                    Wanted::fixed("503", Some(NO_ACTION))
                }
            }
        } else if backend.service_port.is_none() {
            // Translation has told of it.
            if !options.tolerate_missing_service {
                return None;
            }
            Wanted::fixed("503", Some(NO_SERVICE))
        } else {
            Wanted::service(&backend.service, &backend.port)
        };
        let sole = match &wanted {
            Wanted::Forward { shares, .. } => match &shares[..] {
                [Share { receiver: Receiver::Service { name, port }, .. }] => {
                    self.find(group, index, backend, name, port).map(|b| self.read(group, &b))
                }
                _ => None,
            },
            Wanted::Ready(_) => None,
        };
        let service = sole.as_ref().and_then(|key| self.services.get(key)).map(|(_, settings)| settings);
        let joined = &group.members[index];
        let secrets = &joined.member.secrets;
        let secret = |name: &str| secrets.get(name).cloned().flatten();
        let first = auth::first(&joined.member.object.namespace, &joined.settings, service, secret);
        let first = match first {
            Ok(first) => first,
            Err((annotation, why)) => {
                let why = format!("{why}; until then, requests get an error");
                let problem =
                    Problem::error(joined.object(), joined.settings.field(annotation), reasons::INVALID, why);
                group.report(problem);
                return Some(Outcome::unavailable(UNAVAILABLE));
            }
        };
        let place = Place {
            field: if by_annotation {
                joined.settings.field_of(&table::ACTIONS, &backend.service)
            } else {
                format!("{field}.service.name")
            },
            by_annotation,
        };
        let last = match wanted {
            Wanted::Ready(action) => action,
            Wanted::Forward { shares, stickiness } => {
                let mut tuples = Vec::new();
                let mut missing = NO_SERVICE;
                for share in shares {
                    match self.receiver(group, index, backend, &share.receiver, &place, target_groups) {
                        Ok(target_group_arn) => {
                            tuples.push(TargetGroupTuple { target_group_arn, weight: share.weight })
                        }
                        Err(body) => missing = body,
                    }
                }
                if tuples.is_empty() {
                    if missing == NO_SERVICE && !options.tolerate_missing_service {
                        return None;
                    }
                    return Some(Outcome { first, ..Outcome::unavailable(missing) });
                }
                Action::Forward(ForwardConfig { target_groups: tuples, stickiness })
            }
        };
        Some(Outcome { first, last })
    }

    /// The backend of a port of a Service: the path's own, or one that the action names.
    fn find(
        &self,
        group: &Group<'_>,
        index: usize,
        own: &Backend,
        name: &str,
        port: &str,
    ) -> Option<Backend> {
        if (own.service.as_str(), own.port.as_str()) == (name, port) {
            return Some(own.clone());
        }
        group.members[index].member.services.get(&(name.to_owned(), port.to_owned())).cloned()
    }

    /// Reads what a Service says, once.
    fn read(&mut self, group: &mut Group<'_>, backend: &Backend) -> (String, String) {
        let key = (backend.namespace.clone(), backend.service.clone());
        if !self.services.contains_key(&key) {
            let (object, mut settings) = targets::of_service(backend);
            std::mem::take(&mut settings.problems).into_iter().for_each(|p| group.report(p));
            self.services.insert(key.clone(), (object, settings));
        }
        key
    }

    /// The target group of a receiver, or the text of the answer in its place.
    fn receiver(
        &mut self,
        group: &mut Group<'_>,
        index: usize,
        own: &Backend,
        receiver: &Receiver,
        place: &Place,
        target_groups: &mut BTreeMap<String, TargetGroup>,
    ) -> Result<Token, &'static str> {
        let joined = &group.members[index];
        let field = joined.settings.field_of(&table::ACTIONS, &own.service);
        let missing =
            |reason: &str, why: String| Problem::warning(joined.object(), field.clone(), reason, why);
        let (name, port) = match receiver {
            Receiver::Arn(arn) => return Ok(Token::literal(arn.as_str())),
            Receiver::Name(name) => {
                let problem = match self.around.facts.aws.target_groups() {
                    Ok(all) => match all.iter().find(|g| g.target_group_name == *name) {
                        Some(found) => return Ok(Token::literal(found.target_group_arn.as_str())),
                        None => missing(
                            TARGET_GROUP,
                            format!("there is no target group {name}: make it, or name another"),
                        ),
                    },
                    Err(unknown) => missing(TARGET_GROUP, unknown.to_string()),
                };
                group.report(problem);
                return Err(UNAVAILABLE);
            }
            Receiver::Service { name, port } => (name, port),
        };
        let found = self.find(group, index, own, name, port).filter(|b| b.service_port.is_some());
        let Some(backend) = found else {
            if place.by_annotation {
                let why = format!(
                    "there is no Service {name} with port {port} in namespace {}: create it, or name another",
                    joined.member.object.namespace
                );
                let problem = missing(SERVICE, why);
                group.report(problem);
            }
            return Err(NO_SERVICE);
        };
        let key = self.read(group, &backend);
        let Some(service) = self.services.get(&key) else { return Err(NO_SERVICE) };
        if service.1.refused {
            return Err(UNAVAILABLE);
        }
        let id = targets::id(&group.members[index], &backend);
        if let Some(known) = target_groups.get_mut(&id) {
            known.members.insert(index);
            return Ok(Token::of(ResourceType::TargetGroup, id));
        }
        match targets::build(group, index, &backend, service, self.around) {
            Ok(built) => {
                target_groups.insert(id.clone(), built);
                Ok(Token::of(ResourceType::TargetGroup, id))
            }
            Err(problem) => {
                // What is wrong with the Service is found at the path that sends there.
                let field =
                    if problem.field.is_empty() { place.field.clone() } else { problem.field.clone() };
                group.report(Problem { field, ..problem });
                Err(UNAVAILABLE)
            }
        }
    }
}

/// Conditions of a path with those of its annotation, and its rank. Hosts and paths of the annotation count beside the path's own.
fn conditions(
    joined: &Joined<'_>,
    host: &str,
    path: &IngressPath,
    extra: Vec<RuleCondition>,
    like_lbc: bool,
    placeholder: bool,
) -> Result<(Vec<RuleCondition>, Rank), String> {
    let regex = joined.settings.bool(&table::REGEX_PATHS) == Some(true);
    let mut hosts: Vec<Pattern> = patterns::host(host, like_lbc).into_iter().collect();
    let mut paths = patterns::path(&path.path, path.matching, regex, like_lbc)?;
    let (mut more_paths, mut others) = (Vec::new(), Vec::new());
    let all = |values: Values| {
        let globs = values.values.into_iter().map(Pattern::Glob);
        globs.chain(values.regex_values.into_iter().map(Pattern::Regex)).collect::<Vec<_>>()
    };
    for condition in extra {
        match condition {
            RuleCondition::HostHeader(values) => hosts.extend(all(values)),
            RuleCondition::PathPattern(values) => more_paths.extend(all(values)),
            other => others.push(other),
        }
    }
    let rank = (
        patterns::host_rank(&hosts),
        patterns::path_rank(&path.path, path.matching, regex, &more_paths),
        Reverse(others.len()),
        placeholder,
        joined.order,
    );
    paths.extend(more_paths);
    let mut conditions = others;
    if !hosts.is_empty() {
        conditions.push(RuleCondition::HostHeader(patterns::values(hosts)?));
    }
    conditions.push(RuleCondition::PathPattern(patterns::values(paths)?));
    Ok((conditions, rank))
}
