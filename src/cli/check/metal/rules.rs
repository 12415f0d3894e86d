//! What the cluster holds for bare metal, judged. Pure.

use std::collections::BTreeMap;

use causeway_api::{OwnObject, OwnObjects, Severity};
use causeway_metal::advertisement::L2Advertisement;
use causeway_metal::bgp::{BgpConfig, Where};
use causeway_metal::kinds::configuration_state::ConfigurationResult;
use causeway_metal::kinds::{AddressConflictSpec, ConfigurationStateStatus, ConflictPhase};
use causeway_metal::pool::Pools;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::super::Finding;
use crate::kube::configuration::problem_line;
use crate::speaker::key;

/// kube-proxy's ConfigMap, as kubeadm makes it.
pub const KUBE_PROXY: &str = "ConfigMap kube-system/kube-proxy";
/// Its entry with the configuration.
pub const KUBE_PROXY_ENTRY: &str = "config.conf";

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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::super::super::Level;
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
