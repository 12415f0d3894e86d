//! What the cluster holds, judged. Pure: time is an argument.

use std::collections::BTreeMap;

use causeway_api::{OwnObject, OwnObjects, Severity, names};
use causeway_metal::advertisement::L2Advertisement;
use causeway_metal::bgp::{BgpConfig, Where};
use causeway_metal::kinds::configuration_state::ConfigurationResult;
use causeway_metal::kinds::{AddressConflictSpec, ConfigurationStateStatus, ConflictPhase};
use causeway_metal::pool::Pools;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::Finding;
use crate::kube::configuration::problem_line;
use crate::speaker::key;
use crate::state::records::ServiceRecord;
use crate::translate::{self, ClassRules};

/// kube-proxy's ConfigMap, as kubeadm makes it.
pub const KUBE_PROXY: &str = "ConfigMap kube-system/kube-proxy";
/// Its entry with the configuration.
pub const KUBE_PROXY_ENTRY: &str = "config.conf";
/// Oldest minor version of Kubernetes 1 that we work with.
const OLDEST: u32 = 33;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KubeProxy {
    mode: Option<String>,
    ipvs: Option<Ipvs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipvs {
    #[serde(rename = "strictARP")]
    strict_arp: Option<bool>,
}

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

/// kube-proxy's configuration, as its ConfigMap has it; `None`: there is no such ConfigMap.
#[must_use]
pub fn kube_proxy(config: Option<&str>) -> Finding {
    let Some(text) = config else {
        return Finding::warning(
            KUBE_PROXY,
            "is not there, so kube-proxy's mode is not known: if it is ipvs, see to it that strictARP is true",
        );
    };
    let config: KubeProxy = match serde_saphyr::from_str(text) {
        Ok(config) => config,
        Err(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            return Finding::warning(KUBE_PROXY, format!("{KUBE_PROXY_ENTRY} cannot be read: {first}"));
        }
    };
    let mode = config.mode.filter(|mode| !mode.is_empty()).unwrap_or_else(|| "iptables".to_owned());
    let strict = config.ipvs.and_then(|ipvs| ipvs.strict_arp).unwrap_or(false);
    if mode == "ipvs" && !strict {
        return Finding::error(
            KUBE_PROXY,
            "mode is ipvs and ipvs.strictARP is false: every node answers ARP for the address of every Service. Set ipvs.strictARP to true and \
             restart kube-proxy",
        );
    }
    Finding::ok(
        KUBE_PROXY,
        if mode == "ipvs" { "mode is ipvs, with strictARP".to_owned() } else { format!("mode is {mode}") },
    )
}

/// The controller's Lease; `None`: there is none.
#[must_use]
pub fn lease(about: &str, lease: Option<&Lease>, now: Timestamp) -> Finding {
    let nobody = "no controller leads, so that nobody gives addresses out: does the Deployment causeway run, and what do its logs say?";
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

/// The Secret with the key of the heartbeats; `None`: there is none.
#[must_use]
pub fn membership(about: &str, secret: Option<&Secret>) -> Finding {
    match secret.map(key::keys) {
        None => Finding::error(
            about,
            "is not there, and speakers announce nothing without it: the controller makes it; does it run?",
        ),
        Some(Err(message)) => Finding::error(about, message),
        Some(Ok(_)) => Finding::ok(about, "holds the key of the heartbeats"),
    }
}

/// The controller's Deployment; `None`: there is none.
#[must_use]
pub fn deployment(about: &str, deployment: Option<&Deployment>) -> Finding {
    let Some(deployment) = deployment else {
        return Finding::error(
            about,
            "is not there: apply deploy/kustomize/metal, or name its namespace with --namespace",
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

/// The speakers' DaemonSet; `None`: there is none.
#[must_use]
pub fn daemon_set(about: &str, daemon_set: Option<&DaemonSet>) -> Finding {
    let Some(status) = daemon_set.map(|d| d.status.clone().unwrap_or_default()) else {
        return Finding::error(
            about,
            "is not there, so nobody answers for addresses: apply deploy/kustomize/metal",
        );
    };
    let (want, ready) = (status.desired_number_scheduled, status.number_ready);
    let text = format!("{ready} of {want} speakers are ready");
    match (ready, want) {
        (0, _) => Finding::error(
            about,
            format!("{text}, so nobody answers for addresses: kubectl describe and logs of its Pods say why"),
        ),
        (r, w) if r < w => Finding::error(about, format!("{text}: the other nodes announce nothing")),
        _ => Finding::ok(about, text),
    }
}

/// Pools and advertisements.
#[must_use]
pub fn pools(namespace: &str, objects: &OwnObjects) -> Vec<Finding> {
    let (pools, mut problems) = Pools::new(objects);
    let (advertisements, more) = L2Advertisement::parse_all(objects);
    problems.extend(more);
    let (bgp, more) = BgpConfig::without_secrets(objects);
    problems.extend(more);
    problems.extend(bgp.clashes(&pools, Where::Anywhere));
    let mut findings: Vec<Finding> = problems
        .iter()
        .map(|problem| {
            let (about, line) = (problem.object.to_string(), problem_line(problem));
            match problem.severity {
                Severity::Error => Finding::error(about, line),
                Severity::Warning => Finding::warning(about, line),
            }
        })
        .map(|mut finding| {
            // The line begins with the object, which is said already.
            let start = format!("{}:", finding.about);
            finding.message =
                finding.message.strip_prefix(&start).unwrap_or(&finding.message).trim().to_owned();
            finding
        })
        .collect();
    if objects.of("IPAddressPool").next().is_none() {
        let about = format!("IPAddressPools in {namespace}");
        findings.push(Finding::error(about, "there is none, so that no Service gets an address: create one"));
    }
    for pool in pools.iter().filter(|pool| !pool.refused) {
        let about = pool.object.to_string();
        let by_bgp: Vec<_> = bgp.advertisements.iter().filter(|a| a.matches_pool(pool)).collect();
        let heard = by_bgp.iter().any(|a| bgp.peers.keys().any(|peer| a.names(peer)));
        if heard || advertisements.iter().any(|a| a.matches_pool(pool)) {
            findings.push(Finding::ok(about, "is announced"));
        } else if let Some(advertisement) = by_bgp.first() {
            let what = format!(
                "{} announces its addresses, but to no BGPPeer that there is: create one in the same namespace",
                advertisement.object
            );
            findings.push(Finding::error(about, what));
        } else {
            findings.push(Finding::error(
                about,
                "no L2Advertisement or BGPAdvertisement announces its addresses, so that nobody finds them: create one in the same namespace; an empty L2Advertisement announces all pools",
            ));
        }
    }
    let matching = advertisements.iter().map(|a| (&a.object, pools.iter().any(|pool| a.matches_pool(pool))));
    // One that is refused for a pool was meant for it.
    let meant = bgp
        .advertisements
        .iter()
        .map(|a| (&a.object, !a.refused_pools.is_empty() || pools.iter().any(|pool| a.matches_pool(pool))));
    for (object, _) in matching.chain(meant).filter(|(_, matches)| !pools.is_empty() && !matches) {
        findings.push(Finding::warning(
            object.to_string(),
            "matches no pool: look at its ipAddressPools and ipAddressPoolSelectors",
        ));
    }
    findings
}

/// Addresses that somebody else on the segment uses.
#[must_use]
pub fn conflicts(objects: &OwnObjects) -> Vec<Finding> {
    let of = |object: &OwnObject| {
        let about = object.object.to_string();
        let Ok(spec) = serde_json::from_value::<AddressConflictSpec>(object.spec.clone()) else {
            return Finding::warning(about, "cannot be read: delete it, and the address is tried again");
        };
        let station = format!(
            "{} is used by the station {}, met on {} of {}",
            spec.address, spec.mac, spec.interface, spec.node
        );
        match spec.phase {
            ConflictPhase::Announced => Finding::error(
                about,
                format!("{station}, while it is announced, and defended: take it away there"),
            ),
            ConflictPhase::Probe => Finding::warning(about, format!("{station}: it is announced by nobody")),
        }
    };
    objects.of("AddressConflict").map(of).collect()
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

/// What the components say of the configuration and of their nodes, by the name of their ConfigurationState.
#[must_use]
pub fn states(states: &BTreeMap<String, ConfigurationStateStatus>) -> Vec<Finding> {
    let invalid = |s: &&ConfigurationStateStatus| s.result == Some(ConfigurationResult::Invalid);
    let mut findings: Vec<Finding> = Vec::new();
    // What all of them say of the same objects is said once already, of these objects.
    for (name, state) in states.iter().filter(|(_, s)| invalid(s)) {
        use causeway_metal::kinds::configuration_state::{NODE_VALID, StateConditionStatus};
        let node =
            state.conditions.iter().find(|c| c.kind == NODE_VALID && c.status == StateConditionStatus::False);
        for line in node.into_iter().flat_map(|c| c.message.lines()) {
            findings.push(Finding::error(format!("ConfigurationState {name}"), line));
        }
    }
    if findings.is_empty() && !states.is_empty() {
        findings.push(Finding::ok(
            "Settings of the nodes",
            format!("{} components report nothing", states.len()),
        ));
    }
    findings
}

/// A webhook that is called for MetalLB's kinds: its configuration's name, the Service that it calls, and whether anybody answers there.
#[must_use]
pub fn webhook(name: &str, service: &str, answered: bool) -> Finding {
    let about = format!("ValidatingWebhookConfiguration {name}");
    if answered {
        Finding::ok(about, format!("Service {service} answers for MetalLB's kinds"))
    } else {
        Finding::error(
            about,
            format!(
                "is asked about every change of pools, and nobody answers at Service {service}, so that none can be made: MetalLB left it behind, delete it"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use causeway_api::Condition;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use rstest::rstest;
    use serde_json::json;

    use super::super::Level;
    use super::*;

    #[rstest]
    #[case::absent(None, Level::Warning, "not known")]
    #[case::default_mode(
        Some("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nmode: \"\"\n"),
        Level::Ok,
        "iptables"
    )]
    #[case::nftables(Some("mode: nftables\nipvs: {strictARP: false}\n"), Level::Ok, "nftables")]
    #[case::ipvs(Some("mode: ipvs\nipvs:\n  strictARP: false\n"), Level::Error, "strictARP")]
    #[case::ipvs_alone(Some("mode: ipvs\n"), Level::Error, "strictARP")]
    #[case::ipvs_null(Some("mode: ipvs\nipvs: null\n"), Level::Error, "strictARP")]
    #[case::ipvs_strict(Some("mode: ipvs\nipvs: {strictARP: true}\n"), Level::Ok, "with strictARP")]
    #[case::nonsense(Some("mode: [1\n"), Level::Warning, "cannot be read")]
    fn kube_proxys_mode(#[case] config: Option<&str>, #[case] level: Level, #[case] says: &str) {
        let finding = kube_proxy(config);
        assert!(finding.level == level && finding.message.contains(says), "{finding:?}");
    }

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

    fn own(kind: &str, name: &str, spec: serde_json::Value) -> OwnObject {
        let mut own = OwnObject::new(kind, "m", name, spec);
        own.object.uid = name.into();
        own
    }

    fn levels(findings: &[Finding]) -> Vec<(Level, &str)> {
        findings.iter().map(|f| (f.level, f.about.as_str())).collect()
    }

    #[test]
    fn a_pool_needs_an_advertisement() {
        let pool = |name: &str, range: &str| own("IPAddressPool", name, json!({"addresses": [range]}));
        let ad = |pools: &[&str]| own("L2Advertisement", "ad", json!({"ipAddressPools": pools}));
        let of = |objects: Vec<OwnObject>| pools("m", &OwnObjects { objects, ..OwnObjects::default() });
        assert_eq!(levels(&of(vec![])), [(Level::Error, "IPAddressPools in m")]);
        let both = of(vec![pool("a", "192.0.2.0/28"), pool("b", "198.51.100.0/28"), ad(&["a"])]);
        assert_eq!(levels(&both), [(Level::Ok, "IPAddressPool m/a"), (Level::Error, "IPAddressPool m/b")]);
        let stray = of(vec![pool("a", "192.0.2.0/28"), ad(&["z"])]);
        assert_eq!(
            levels(&stray),
            [(Level::Error, "IPAddressPool m/a"), (Level::Warning, "L2Advertisement m/ad")]
        );
        // By BGP as well, if there is somebody to hear it.
        let by_bgp = || own("BGPAdvertisement", "ad", json!({}));
        let tor = own("BGPPeer", "tor", json!({"myASN": 1, "peerASN": 2, "peerAddress": "10.0.0.1"}));
        let deaf = of(vec![pool("a", "192.0.2.0/28"), by_bgp()]);
        assert_eq!(levels(&deaf), [(Level::Error, "IPAddressPool m/a")]);
        assert!(deaf[0].message.contains("to no BGPPeer"), "{deaf:?}");
        assert_eq!(
            levels(&of(vec![pool("a", "192.0.2.0/28"), by_bgp(), tor.clone()])),
            [(Level::Ok, "IPAddressPool m/a")]
        );
        let stray = own("BGPAdvertisement", "b", json!({"ipAddressPools": ["z"], "peers": ["gone"]}));
        assert_eq!(
            levels(&of(vec![pool("a", "192.0.2.0/28"), by_bgp(), tor, stray])),
            [
                (Level::Warning, "BGPAdvertisement m/b"),
                (Level::Ok, "IPAddressPool m/a"),
                (Level::Warning, "BGPAdvertisement m/b")
            ]
        );
        let bad = of(vec![pool("a", "192.0.2.0/99"), ad(&[])]);
        assert_eq!(levels(&bad)[0], (Level::Error, "IPAddressPool m/a"));
        assert!(bad[0].message.contains("spec.addresses[0]"), "{bad:?}");
    }

    #[test]
    fn conflicts_name_the_station() {
        let of = |name: &str, phase: &str| {
            own(
                "AddressConflict",
                name,
                json!({"address": "192.0.2.1", "mac": "02:00:00:00:00:09", "phase": phase, "node": "n1", "interface": "eth0"}),
            )
        };
        let objects = OwnObjects {
            objects: vec![of("a", "Probe"), of("b", "Announced"), own("AddressConflict", "c", json!({}))],
            ..OwnObjects::default()
        };
        let found = conflicts(&objects);
        assert_eq!(
            found.iter().map(|f| f.level).collect::<Vec<_>>(),
            [Level::Warning, Level::Error, Level::Warning]
        );
        assert!(found[1].message.contains("02:00:00:00:00:09, met on eth0 of n1"), "{found:?}");
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

    #[test]
    fn nodes_report_what_stands_in_the_way() {
        use causeway_metal::kinds::configuration_state::{CONFIG_VALID, NODE_VALID};
        let of = |found: &[(&str, Vec<String>)]| {
            ConfigurationStateStatus::of(found, &ConfigurationStateStatus::default(), "2026-01-01T00:00:00Z")
        };
        let sound = of(&[(CONFIG_VALID, vec![]), (NODE_VALID, vec![])]);
        let broken =
            of(&[(CONFIG_VALID, vec!["pool".into()]), (NODE_VALID, vec!["one".into(), "two".into()])]);
        let all = BTreeMap::from([("speaker-a".to_owned(), sound.clone()), ("speaker-b".to_owned(), broken)]);
        let found = states(&all);
        assert_eq!(found.iter().map(|f| f.message.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(states(&BTreeMap::from([("speaker-a".to_owned(), sound)]))[0].level, Level::Ok);
    }
}
