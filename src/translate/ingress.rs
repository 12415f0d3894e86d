//! An Ingress to a member of a load balancer: backends resolved to ports of Services. Pure.
//!
//! What cannot be resolved stays a route, without a port: the provider answers 503 there, as the host and path are the user's and must
//! not fall through to somebody else's backend.

use causeway_api::names::events;
use causeway_api::{
    ClassParameters, IngressBackend, IngressPath, IngressRule, IngressSpec, IngressTls, Member, MemberSpec,
    ObjectRef, PathMatch, Problem, Protocol,
};

use super::backend::{Lookup, Referenced, resolved, unresolved};
use super::reasons;
#[cfg(test)]
use crate::state::records::ServiceRecord;
use crate::state::records::{BackendRef, IngressRecord, Path, Strings};

/// Port name by which an Ingress says that an annotation holds the action instead of a Service (the convention of
/// aws-load-balancer-controller). Such a backend has an empty port; a provider without such annotations reports it.
pub const USE_ANNOTATION: &str = "use-annotation";

/// What the member of an Ingress depends on besides the Ingress.
pub struct IngressContext<'a> {
    /// Name of the IngressClass that applies.
    pub class: Option<String>,
    /// Services, and what else backends are resolved by.
    pub lookup: Lookup<'a>,
    /// What annotations refer to.
    pub referenced: Referenced,
    /// `spec.parameters` of its class.
    pub class_parameters: Option<ClassParameters>,
    /// The provider reaches backends through NodePorts.
    pub needs_node_ports: bool,
    /// Labels of the namespace, if the provider wants them; empty otherwise.
    pub namespace_labels: Strings,
}

/// The member, and what of it cannot be served. All problems are warnings: the rest of the Ingress is served.
#[must_use]
pub fn ingress_member(record: &IngressRecord, context: &IngressContext<'_>) -> (Member, Vec<Problem>) {
    let mut resolve = Resolve { record, context, object: record.object(), problems: Vec::new() };
    let mut rules = Vec::with_capacity(record.rules.len());
    for (r, rule) in record.rules.iter().enumerate() {
        if let Some(remedy) = invalid_host(&rule.host) {
            resolve.warn(
                format!("spec.rules[{r}].host"),
                reasons::INVALID_HOST,
                format!("{:?} can never match a request, the rule is not served: {remedy}", rule.host),
            );
            continue;
        }
        let mut paths = Vec::with_capacity(rule.paths.len());
        for (p, path) in rule.paths.iter().enumerate() {
            let field = format!("spec.rules[{r}].http.paths[{p}]");
            // No path is every path, whoever chooses how paths match.
            let (text, matching) = match path.path.as_str() {
                "" => ("/", PathMatch::Prefix),
                text => (text, path.matching),
            };
            if matching != PathMatch::ImplementationSpecific && !text.starts_with('/') {
                resolve.warn(
                    format!("{field}.path"),
                    reasons::INVALID_PATH,
                    format!("{text:?} is not served: let the path begin with a slash"),
                );
                continue;
            }
            let backend = resolve.backend(&path.backend, &format!("{field}.backend"));
            paths.push(IngressPath { path: text.to_owned(), matching, backend });
        }
        rules.push(IngressRule { host: rule.host.clone(), paths });
    }
    let default_backend =
        record.default_backend.as_ref().map(|backend| resolve.backend(backend, "spec.defaultBackend"));
    let tls =
        record.tls.iter().map(|t| IngressTls { hosts: t.hosts.clone(), secret: t.secret.clone() }).collect();
    let Resolve { object, problems, .. } = resolve;
    let member = Member {
        object,
        created: record.meta.created,
        class: context.class.clone(),
        class_parameters: context.class_parameters.clone(),
        annotations: record.meta.annotations.as_ref().clone(),
        labels: record.meta.labels.as_ref().clone(),
        namespace_labels: context.namespace_labels.as_ref().clone(),
        current: record.ingress.clone(),
        services: context.referenced.services.clone(),
        secrets: context.referenced.secrets.clone(),
        spec: MemberSpec::Ingress(IngressSpec { rules, default_backend, tls }),
    };
    (member, problems)
}

struct Resolve<'a, 'c> {
    record: &'a IngressRecord,
    context: &'a IngressContext<'c>,
    object: ObjectRef,
    problems: Vec<Problem>,
}

impl Resolve<'_, '_> {
    fn warn(&mut self, field: String, reason: &str, message: String) {
        self.problems.push(Problem::warning(self.object.clone(), field, reason, message));
    }

    fn backend(&mut self, backend: &BackendRef, field: &str) -> IngressBackend {
        let (name, port) = match backend {
            BackendRef::Resource(resource) => {
                self.warn(
                    format!("{field}.resource"),
                    events::UNSUPPORTED,
                    format!("a backend of kind and name {resource} is not served: name a Service instead"),
                );
                return IngressBackend::Unsupported(resource.clone());
            }
            BackendRef::Service { name, port } => (name, port),
        };
        let namespace = self.record.meta.namespace.clone();
        if port == USE_ANNOTATION {
            return IngressBackend::Service(unresolved(&namespace, name, ""));
        }
        let path = Path { namespace, name: name.clone() };
        let Some(service) = (self.context.lookup.services)(&path) else {
            self.warn(
                format!("{field}.service.name"),
                reasons::SERVICE_NOT_FOUND,
                format!(
                    "there is no Service {name} in namespace {}, requests get an error: create it, or name another",
                    path.namespace
                ),
            );
            return IngressBackend::Service(unresolved(&path.namespace, name, port));
        };
        let backend = resolved(&path, service, port, true, &self.context.lookup);
        match backend.service_port {
            None => {
                let have: Vec<String> = service
                    .ports
                    .iter()
                    .filter(|p| p.protocol == Protocol::Tcp)
                    .map(|p| {
                        if p.name.is_empty() {
                            p.port.to_string()
                        } else {
                            format!("{} ({})", p.port, p.name)
                        }
                    })
                    .collect();
                let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
                self.warn(
                    format!("{field}.service.port"),
                    reasons::SERVICE_PORT_NOT_FOUND,
                    format!("Service {name} has no TCP port {port:?}, requests get an error: its TCP ports are {have}"),
                );
            }
            Some(number) => {
                if backend.node_port.is_none() && self.context.needs_node_ports {
                    self.warn(
                        format!("{field}.service.name"),
                        reasons::NODE_PORT_MISSING,
                        format!(
                            "port {} of Service {name} has no NodePort, through which this provider reaches the nodes; requests get an \
                             error: give the Service the type NodePort",
                            number
                        ),
                    );
                }
            }
        }
        IngressBackend::Service(backend)
    }
}

/// What the API server refuses too, for files that it has not seen.
fn invalid_host(host: &str) -> Option<&'static str> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Some("a host is a DNS name; leave it away to match every host");
    }
    if host == "*" {
        return Some("leave the host away to match every host");
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.contains('*') || (name.is_empty() && !host.is_empty()) {
        return Some("a wildcard stands for exactly the first label, as in *.example.com");
    }
    name.contains([':', '/', ' ']).then_some("a host is a DNS name without scheme, port and path")
}

#[cfg(test)]
impl<'a> IngressContext<'a> {
    /// Of class `causeway`, where no Endpoints and Secrets are known.
    pub(super) fn test(
        services: &'a dyn Fn(&Path) -> Option<&'a ServiceRecord>,
        needs_node_ports: bool,
    ) -> Self {
        Self {
            class: Some("causeway".to_owned()),
            class_parameters: None,
            lookup: Lookup {
                services,
                endpoints: &|_| Default::default(),
                secrets: &|_| None,
                cluster_health: super::ClusterHealth::KubeProxy,
            },
            referenced: Referenced::default(),
            needs_node_ports,
            namespace_labels: Strings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::PathMatch::{Exact, ImplementationSpecific, Prefix};
    use causeway_api::{Backend, TrafficPolicy};
    use rstest::rstest;

    use super::*;

    fn translate(record: &IngressRecord, services: &[ServiceRecord]) -> (IngressSpec, Vec<Problem>) {
        let lookup = |path: &Path| services.iter().find(|s| s.meta.path() == *path);
        let context = IngressContext::test(&lookup, true);
        let (member, problems) = ingress_member(record, &context);
        assert_eq!(member.class.as_deref(), Some("causeway"));
        (member.ingress().expect("an Ingress").clone(), problems)
    }

    fn backend(spec: &IngressSpec, rule: usize) -> &Backend {
        match &spec.rules[rule].paths[0].backend {
            IngressBackend::Service(backend) => backend,
            other => panic!("{other:?}"),
        }
    }

    fn web() -> ServiceRecord {
        ServiceRecord::test().node_port(443, 30443).udp(53)
    }

    #[rstest]
    #[case::by_number("443", Some(443), Some(30443))]
    #[case::by_name("tcp-443", Some(443), Some(30443))]
    #[case::unknown_number("444", None, None)]
    #[case::unknown_name("https", None, None)]
    #[case::udp_is_no_backend("53", None, None)]
    #[case::udp_by_name_neither("udp-53", None, None)]
    #[case::neither_number_nor_name("", None, None)]
    fn ports(#[case] port: &str, #[case] service_port: Option<u16>, #[case] node_port: Option<u16>) {
        let (spec, problems) =
            translate(&IngressRecord::test().route("", "/", Prefix, "web", port), &[web()]);
        let found = backend(&spec, 0);
        assert_eq!((found.service_port, found.node_port), (service_port, node_port));
        assert_eq!(problems.len(), usize::from(service_port.is_none()));
        if let [problem] = problems.as_slice() {
            assert_eq!(problem.reason, reasons::SERVICE_PORT_NOT_FOUND);
            assert!(problem.message.contains("443 (tcp-443)"), "{}", problem.message);
        }
    }

    #[test]
    fn an_unnamed_port_is_not_found_by_an_empty_name() {
        let mut service = web();
        service.ports[0].name = String::new();
        let (spec, problems) =
            translate(&IngressRecord::test().route("", "/", Prefix, "web", ""), &[service]);
        assert_eq!((backend(&spec, 0).service_port, problems.len()), (None, 1));
    }

    #[test]
    fn one_missing_service_leaves_the_rest_served() {
        let ingress = IngressRecord::test().route("a.example", "/", Prefix, "gone", "80").route(
            "b.example",
            "/",
            Prefix,
            "web",
            "80",
        );
        let (spec, problems) = translate(&ingress, &[web()]);
        assert_eq!(
            backend(&spec, 0).node_port,
            None,
            "the route stays, so that nobody else gets its requests"
        );
        assert_eq!(backend(&spec, 1).node_port, Some(30080));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field, "spec.rules[0].http.paths[0].backend.service.name");
        assert_eq!(problems[0].reason, reasons::SERVICE_NOT_FOUND);
    }

    #[test]
    fn services_of_another_namespace_are_out_of_reach() {
        let (spec, problems) = translate(
            &IngressRecord::test().route("", "/", Prefix, "web", "80"),
            &[web().named("other", "web")],
        );
        assert_eq!((backend(&spec, 0).node_port, problems.len()), (None, 1));
    }

    #[test]
    fn backends_carry_the_health_check_and_annotations_of_their_service() {
        let service = web().local_with(32000).annotation("x", "y");
        let (spec, _) = translate(&IngressRecord::test().route("", "/", Prefix, "web", "80"), &[service]);
        let found = backend(&spec, 0);
        assert_eq!((found.traffic_policy, found.health.port), (TrafficPolicy::Local, Some(32000)));
        assert_eq!(found.annotations["x"], "y");
    }

    #[test]
    fn a_resource_is_unsupported_and_said_so() {
        let ingress =
            IngressRecord::test().route_to("", "/", Prefix, BackendRef::Resource("Bucket/b".to_owned()));
        let (spec, problems) = translate(&ingress, &[]);
        assert_eq!(spec.rules[0].paths[0].backend, IngressBackend::Unsupported("Bucket/b".to_owned()));
        assert_eq!(problems[0].reason, events::UNSUPPORTED);
        assert_eq!(problems[0].field, "spec.rules[0].http.paths[0].backend.resource");
    }

    #[test]
    fn an_action_by_annotation_needs_no_service() {
        let (spec, problems) =
            translate(&IngressRecord::test().route("", "/", Prefix, "redirect", USE_ANNOTATION), &[]);
        assert_eq!((backend(&spec, 0).port.as_str(), problems), ("", vec![]));
    }

    #[test]
    fn a_cluster_ip_service_is_reported_only_where_node_ports_are_needed() {
        let service = ServiceRecord::test().not_load_balancer().no_ports().port_without_node_port(80);
        let ingress = IngressRecord::test().default_backend("web", "80");
        let (spec, problems) = translate(&ingress, std::slice::from_ref(&service));
        assert_eq!(problems[0].reason, reasons::NODE_PORT_MISSING);
        assert!(
            matches!(&spec.default_backend, Some(IngressBackend::Service(b)) if b.service_port == Some(80))
        );

        let lookup = |_: &Path| Some(&service);
        let context = IngressContext::test(&lookup, false);
        assert_eq!(ingress_member(&ingress, &context).1, []);
    }

    #[rstest]
    #[case("*")]
    #[case("192.0.2.1")]
    #[case("2001:db8::1")]
    #[case("*.")]
    #[case("a.*.example.com")]
    #[case("*.*.example.com")]
    #[case("example.com:8080")]
    #[case("http://example.com")]
    fn hosts_that_never_match_are_left_out(#[case] host: &str) {
        let ingress = IngressRecord::test().route(host, "/", Prefix, "web", "80").route(
            "ok.example",
            "/",
            Prefix,
            "web",
            "80",
        );
        let (spec, problems) = translate(&ingress, &[web()]);
        assert_eq!(spec.rules.iter().map(|r| r.host.as_str()).collect::<Vec<_>>(), ["ok.example"]);
        assert_eq!(
            (problems[0].reason.as_str(), problems[0].field.as_str()),
            ("InvalidHost", "spec.rules[0].host")
        );
    }

    #[rstest]
    #[case("")]
    #[case("example.com")]
    #[case("*.example.com")]
    fn good_hosts(#[case] host: &str) {
        let (spec, problems) =
            translate(&IngressRecord::test().route(host, "/", Prefix, "web", "80"), &[web()]);
        assert_eq!((spec.rules[0].host.as_str(), problems), (host, vec![]));
    }

    #[rstest]
    #[case::empty_is_all("", Prefix, Some("/"))]
    #[case::empty_is_all_for_whoever_chooses("", ImplementationSpecific, Some("/"))]
    #[case::relative("foo", Prefix, None)]
    #[case::relative_exact("foo", Exact, None)]
    #[case::anything_goes("foo*", ImplementationSpecific, Some("foo*"))]
    fn paths(#[case] path: &str, #[case] matching: PathMatch, #[case] want: Option<&str>) {
        let (spec, problems) =
            translate(&IngressRecord::test().route("", path, matching, "web", "80"), &[web()]);
        assert_eq!(spec.rules[0].paths.first().map(|p| p.path.as_str()), want);
        assert_eq!(problems.len(), usize::from(want.is_none()));
    }
}
