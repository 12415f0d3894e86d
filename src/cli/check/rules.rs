//! What the cluster holds, judged. Pure: time is an argument.

use causeway_api::names;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;

use super::Finding;
use crate::kube::webhooks::Found;
use crate::state::records::ServiceRecord;
use crate::translate::{self, ClassRules};

/// Oldest minor version of Kubernetes 1 that we work with.
const OLDEST: u32 = 33;

/// The API server's version, by its number within 1, such as `36` or `36+`.
#[must_use]
pub fn version(git_version: &str, major: &str, minor: &str) -> Finding {
    let number: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let about = "Kubernetes";
    match (major, number.parse::<u32>()) {
        ("1", Ok(minor)) if minor < OLDEST => {
            Finding::error(about, format!("{git_version} is too old: 1.{OLDEST} or newer is needed"))
        }
        _ => Finding::ok(about, git_version),
    }
}

/// The controller's Lease; `None`: there is none.
#[must_use]
pub fn lease(about: &str, lease: Option<&Lease>, now: Timestamp) -> Finding {
    let nobody = "no controller leads, so that no Service is served: does the Deployment causeway run, and what do its logs say?";
    let spec = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let Some(holder) = spec.holder_identity.filter(|holder| !holder.is_empty()) else {
        return Finding::error(about, nobody);
    };
    let duration = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(15)));
    let Some(renewed) = spec.renew_time else { return Finding::error(about, nobody) };
    let age = now.duration_since(renewed.0);
    if age > duration {
        return Finding::error(
            about,
            format!(
                "{holder} has not renewed it for {} s (if this machine's clock is right): {nobody}",
                age.as_secs()
            ),
        );
    }
    Finding::ok(about, format!("{holder} leads"))
}

/// The controller's Deployment; `None`: there is none. `overlay` is the part of deploy/kustomize that makes it.
#[must_use]
pub fn deployment(about: &str, overlay: &str, deployment: Option<&Deployment>) -> Finding {
    let Some(deployment) = deployment else {
        return Finding::error(
            about,
            format!("is not there: apply deploy/kustomize/{overlay}, or name its namespace with --namespace"),
        );
    };
    let want = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
    let text = format!("{ready} of {want} replicas are ready");
    match (ready, want) {
        (0, _) => Finding::error(about, format!("{text}: kubectl describe and logs of its Pods say why")),
        (r, w) if r < w => Finding::warning(about, format!("{text}: each needs a node of its own")),
        (1, 1) => Finding::warning(about, format!("{text}: with two, one takes over when the other ends")),
        _ => Finding::ok(about, text),
    }
}

/// Services that are ours: those that wait, and why.
#[must_use]
pub fn services(classes: &ClassRules, services: &[ServiceRecord]) -> Vec<Finding> {
    let ours: Vec<&ServiceRecord> =
        services.iter().filter(|s| classes.owns_service(s) && !s.meta.deleting).collect();
    let mut findings = Vec::new();
    for service in &ours {
        let about = service.object().to_string();
        let ready = service.conditions.iter().find(|c| c.kind == names::CONDITION_READY);
        let without = if service.ingress.is_empty() { "has no address: " } else { "" };
        match ready {
            _ if translate::paused(&service.meta) => {
                findings.push(Finding::warning(
                    about,
                    format!("{without}it carries the annotation {}", names::ANNOTATION_PAUSED),
                ));
            }
            Some(c) if !c.status => findings.push(Finding::error(about, format!("{without}{}", c.message))),
            None if service.ingress.is_empty() => findings.push(Finding::error(
                about,
                "has no address, and no controller has looked at it: does one lead, and are its class flags the ones given here?",
            )),
            _ => {}
        }
    }
    let waiting = findings.len();
    let others = services.iter().filter(|s| s.load_balancer && !classes.owns_service(s)).count();
    let mut text = format!("{} of {} are served", ours.len() - waiting, ours.len());
    if others > 0 {
        text.push_str(&format!("; {others} of another class are not ours"));
    }
    findings.push(Finding::ok("Services of type LoadBalancer", text));
    findings
}

/// Webhooks of a peer's.
#[must_use]
pub fn webhook(found: &Found) -> Finding {
    let about = format!("{} {}", found.object.kind.as_str(), found.object.name);
    if found.in_the_way(false) {
        return Finding::error(about, found.message());
    }
    let what = if found.answered { "answers" } else { "does not answer, which hurts nobody," };
    Finding::ok(about, format!("Service {} {what} for {}", found.service, found.peer))
}

#[cfg(test)]
mod tests {
    use causeway_api::Condition;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use rstest::rstest;

    use super::super::Level;
    use super::*;

    #[rstest]
    #[case("1", "36", Level::Ok)]
    #[case("1", "33+", Level::Ok)]
    #[case("1", "32", Level::Error)]
    fn versions(#[case] major: &str, #[case] minor: &str, #[case] level: Level) {
        assert_eq!(version("v", major, minor).level, level);
    }

    fn held(holder: &str, ago: i64) -> Lease {
        let now = Timestamp::from_second(1_000).expect("a time");
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(now - SignedDuration::from_secs(ago))),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[rstest]
    #[case::absent(None, Level::Error)]
    #[case::released(Some(held("", 1)), Level::Error)]
    #[case::held(Some(held("a", 2)), Level::Ok)]
    #[case::run_out(Some(held("a", 16)), Level::Error)]
    #[case::our_clock_is_late(Some(held("a", -30)), Level::Ok)]
    fn leases(#[case] object: Option<Lease>, #[case] level: Level) {
        let now = Timestamp::from_second(1_000).expect("a time");
        assert_eq!(lease("l", object.as_ref(), now).level, level);
    }

    fn levels(findings: &[Finding]) -> Vec<(Level, &str)> {
        findings.iter().map(|f| (f.level, f.about.as_str())).collect()
    }

    #[test]
    fn services_that_wait_say_why() {
        let classes = ClassRules { own_classless: true, ..ClassRules::default() };
        let mut refused = ServiceRecord::test().named("d", "a").port(80);
        refused.conditions = vec![Condition {
            kind: names::CONDITION_READY.into(),
            status: false,
            reason: "AllocationFailed".into(),
            message: "no available IPs".into(),
        }];
        let unseen = ServiceRecord::test().named("d", "b").port(80);
        let served = ServiceRecord::test().named("d", "c").port(80).status_ip("192.0.2.1");
        let foreign = ServiceRecord::test().named("d", "e").class("x/y").port(80);
        let found = services(&classes, &[refused, unseen, served, foreign]);
        assert_eq!(
            levels(&found),
            [
                (Level::Error, "Service d/a"),
                (Level::Error, "Service d/b"),
                (Level::Ok, "Services of type LoadBalancer")
            ]
        );
        assert_eq!(found[0].message, "has no address: no available IPs");
        assert_eq!(found[2].message, "1 of 3 are served; 1 of another class are not ours");
    }
}
