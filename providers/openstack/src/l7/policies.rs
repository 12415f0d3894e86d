//! Routes to L7 policies in their order, and redirects to HTTPS. Pure.
//!
//! Octavia tries all redirects before the first policy that sends to a pool, whatever their positions. So a redirect must not take what a route that is not
//! redirected and comes before would have had: it holds the opposite of the rules of all these.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::{PathMatch, Problem, Route};

use super::rules::{self, Compared, MOST};
use crate::stack::{CompareType, L7PolicySpec, OctaviaStack, PolicyAction, ResourceType, RuleType, Token};

/// Status of redirects: the method stays.
const REDIRECT_CODE: u16 = 308;

/// A route that can be told apart by rules.
pub(super) struct Routed<'a> {
    pub route: &'a Route,
    pub host: Option<Compared>,
    pub path: Option<Compared>,
    /// Id of its pool.
    pub pool: String,
    /// Requests by HTTP are sent to HTTPS.
    pub redirected: bool,
}

impl<'a> Routed<'a> {
    /// A route; what cannot be told apart is said.
    pub fn of(route: &'a Route, pool: String, redirected: bool) -> Result<Self, String> {
        let (host, path) = (rules::host(&route.host)?, rules::path(&route.path, route.matching)?);
        Ok(Self { route, host, path, pool, redirected })
    }

    /// What of it stands in ids and names.
    fn text(&self) -> String {
        let host = if self.route.host.is_empty() { "*" } else { &self.route.host };
        let matching = match self.route.matching {
            PathMatch::Exact => "Exact",
            PathMatch::Prefix => "Prefix",
            PathMatch::ImplementationSpecific => "ImplementationSpecific",
        };
        format!("{host}{} {matching}", self.route.path)
    }
}

/// A policy without position.
struct Draft {
    id: String,
    action: PolicyAction,
    rules: Vec<Compared>,
}

/// Adds the policies of a listener: with HTTPS all routes, without it those that are not redirected, and the redirects.
pub(super) fn add(
    stack: &mut OctaviaStack,
    listener: &str,
    https: bool,
    routes: &[Routed<'_>],
    object_of: &dyn Fn(usize) -> causeway_api::ObjectRef,
    problems: &mut Vec<Problem>,
) {
    let mut drafts = Vec::new();
    if !https {
        redirects(listener, routes, object_of, problems, &mut drafts);
    }
    for routed in routes.iter().filter(|r| https || !r.redirected) {
        let mut all: Vec<Compared> = routed.host.iter().chain(&routed.path).cloned().collect();
        if all.is_empty() {
            all.push(rules::everything());
        }
        drafts.push(Draft {
            id: format!("{listener}/{}", routed.text()),
            action: PolicyAction::RedirectToPool {
                redirect_pool_id: Token::of(ResourceType::Pool, routed.pool.clone()),
            },
            rules: all,
        });
    }
    for (place, draft) in drafts.into_iter().enumerate() {
        let policy = Token::of(ResourceType::L7Policy, draft.id.clone());
        for (number, rule) in draft.rules.into_iter().enumerate() {
            stack.l7_rules.insert(format!("{}#{number}", draft.id), rule.of(policy.clone()));
        }
        let spec = L7PolicySpec {
            listener_id: Token::of(ResourceType::Listener, listener),
            name: crate::naming::shortened(&draft.id),
            action: draft.action,
            position: u32::try_from(place + 1).unwrap_or(u32::MAX),
        };
        stack.l7_policies.insert(draft.id, spec);
    }
}

/// Adds the policies of a listener that was taken over from octavia-ingress-controller, in its way: a path stands for all that begin so, whatever its type is, and
/// the host may be followed by this one port. Policies are tried in the order of the Ingress.
pub(super) fn add_kept(stack: &mut OctaviaStack, listener: &str, port: u16, routes: &[(&Route, String)]) {
    for (place, (route, pool)) in routes.iter().enumerate() {
        let id = format!("{listener}/{}{} {:?}", route.host, route.path, route.matching);
        let policy = Token::of(ResourceType::L7Policy, id.clone());
        let host = (!route.host.is_empty()).then(|| Compared {
            kind: RuleType::HostName,
            compare_type: CompareType::Regex,
            value: format!("^{}(:{port})?$", route.host.replace('.', "\\.")),
            invert: false,
        });
        let path = Compared {
            kind: RuleType::Path,
            compare_type: CompareType::StartsWith,
            value: route.path.clone(),
            invert: false,
        };
        for (number, rule) in host.into_iter().chain([path]).enumerate() {
            stack.l7_rules.insert(format!("{id}#{number}"), rule.of(policy.clone()));
        }
        let spec = L7PolicySpec {
            listener_id: Token::of(ResourceType::Listener, listener),
            name: crate::naming::shortened(&id),
            action: PolicyAction::RedirectToPool {
                redirect_pool_id: Token::of(ResourceType::Pool, pool.clone()),
            },
            position: u32::try_from(place + 1).unwrap_or(u32::MAX),
        };
        stack.l7_policies.insert(id, spec);
    }
}

/// One redirect for a host all of whose routes are redirected, else one for each such route.
fn redirects(
    listener: &str,
    routes: &[Routed<'_>],
    object_of: &dyn Fn(usize) -> causeway_api::ObjectRef,
    problems: &mut Vec<Problem>,
    drafts: &mut Vec<Draft>,
) {
    let mut by_host: BTreeMap<&str, Vec<&Routed<'_>>> = BTreeMap::new();
    for routed in routes {
        by_host.entry(&routed.route.host).or_default().push(routed);
    }
    for (host, routes) in by_host {
        if !routes.iter().any(|r| r.redirected) {
            continue;
        }
        let action = || PolicyAction::RedirectPrefix {
            redirect_prefix: format!("https://{host}"),
            redirect_http_code: REDIRECT_CODE,
        };
        if routes.iter().all(|r| r.redirected) {
            let rules = routes[0].host.iter().cloned().collect();
            drafts.push(Draft { id: format!("{listener}/redirect {host}"), action: action(), rules });
            continue;
        }
        for (place, routed) in routes.iter().enumerate().filter(|(_, r)| r.redirected) {
            let kept = || routes[..place].iter().filter(|r| !r.redirected);
            // One that takes every path leaves nothing to redirect.
            if kept().any(|r| r.path.is_none()) {
                continue;
            }
            let before: BTreeSet<Compared> =
                kept().filter_map(|r| r.path.clone()).map(Compared::inverted).collect();
            let all: Vec<Compared> = routed.host.iter().chain(&routed.path).cloned().chain(before).collect();
            if all.len() > MOST {
                problems.push(Problem::warning(
                    object_of(routed.route.member),
                    "spec.rules",
                    "TooManyRules",
                    format!(
                        "{} is neither served nor redirected by HTTP: with the {} more precise paths of its host that are not redirected, the redirect needs \
                         more than the {MOST} rules that Octavia takes; redirect these too",
                        routed.text(),
                        all.len()
                    ),
                ));
                continue;
            }
            drafts.push(Draft {
                id: format!("{listener}/redirect {}", routed.text()),
                action: action(),
                rules: all,
            });
        }
    }
}
