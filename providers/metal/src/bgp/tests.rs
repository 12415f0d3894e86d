use causeway_api::{OwnObject, OwnObjects};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::fixtures::{ad, aged, config, objects, own, peer_with, with};
use super::*;

/// Objects of all kinds, good and bad.
fn any_object() -> impl Strategy<Value = OwnObject> {
    let name = select(vec!["a", "b", "c", "d"]);
    let value = select(vec!["64500:1", "large:1:2:3", "vpn", "no-export", "x:y", ""]);
    let peer =
        (name.clone(), select(vec!["192.0.2.1", "192.0.2.2", "2001:db8::1", "x"]), any::<bool>(), 0..3_i64)
            .prop_map(|(name, address, bfd, age)| {
                let more = if bfd {
                    json!({"bfdProfile": "fast", "enableGracefulRestart": true})
                } else {
                    json!({})
                };
                aged(peer_with(name, address, more), age)
            });
    let advertisement = (name.clone(), value.clone(), 20..34_i64, 0..2_i64, select(vec!["1", "2", "x"]))
        .prop_map(|(name, community, length, preference, med)| {
            let spec =
                json!({"communities": [community], "aggregationLength": length, "localPref": preference});
            with(ad(name, spec), "med", med)
        });
    let community = (name.clone(), value, 0..3_i64).prop_map(|(name, value, age)| {
        aged(own("Community", name, json!({"communities": [{"name": "vpn", "value": value}]})), age)
    });
    let profile =
        (1..60_i64).prop_map(|interval| own("BFDProfile", "fast", json!({"receiveInterval": interval})));
    let pool = (name, select(vec!["192.0.2.0/24", "198.51.100.0/26", "2001:db8::/64"]))
        .prop_map(|(name, range)| own("IPAddressPool", name, json!({"addresses": [range]})));
    let nonsense = select(vec!["BGPPeer", "BGPAdvertisement", "Community", "BFDProfile"])
        .prop_map(|kind| own(kind, "z", json!({"spec": [1, 2, {"x": Value::Null}], "myASN": "many", "peers": 5, "communities": 7, "echoMode": 3})));
    prop_oneof![4 => peer, 4 => advertisement, 2 => community, 1 => profile, 2 => pool, 1 => nonsense]
}

/// At most one object of a kind and name, as in a cluster.
fn cluster(objects: Vec<OwnObject>) -> Vec<OwnObject> {
    let mut seen = BTreeSet::new();
    let mut kept = objects;
    kept.retain(|object| seen.insert((object.object.kind.clone(), object.object.name.clone())));
    kept
}

proptest! {
    #[test]
    fn the_order_of_objects_does_not_matter(list in prop::collection::vec(any_object(), 0..20), seed in any::<Index>()) {
        let list = cluster(list);
        let mut other = list.clone();
        if !other.is_empty() {
            let by = seed.index(other.len());
            other.rotate_left(by);
            other.reverse();
        }
        let judge = |list: Vec<OwnObject>| {
            let (pools, _) = Pools::new(&objects(list.clone()));
            let (config, mut problems) = config(list);
            problems.extend(config.clashes(&pools, Where::Anywhere));
            problems.extend(config.clashes(&pools, Where::Node(&Labels::new())));
            problems.sort();
            (config, problems)
        };
        prop_assert_eq!(judge(list), judge(other));
    }

    #[test]
    fn a_bad_object_hides_no_other(list in prop::collection::vec(any_object(), 0..12)) {
        let list = cluster(list);
        let (whole, problems) = config(list.clone());
        let refused = |kind: &str, name: &str| problems.iter().any(|p| p.object.kind.as_str() == kind && p.object.name == name);
        // Whatever has no problem of its own counts.
        for object in &list {
            let (kind, name) = (object.object.kind.as_str(), object.object.name.as_str());
            match kind {
                "BGPPeer" if !refused(kind, name) => prop_assert!(whole.peers.contains_key(name)),
                "BGPAdvertisement" if !refused(kind, name) => {
                    prop_assert!(whole.advertisements.iter().any(|ad| ad.object.name == name));
                }
                _ => {}
            }
        }
        for problem in &problems {
            prop_assert!(!problem.message.is_empty() && !problem.object.name.is_empty());
        }
    }
}

#[test]
fn secrets_and_no_secrets_differ_in_passwords_alone() {
    let list = vec![peer_with("a", "192.0.2.1", json!({"passwordSecret": {"name": "pw"}}))];
    let secrets = [("pw".to_owned(), PeerSecret::Password(Password::new(b"open sesame")))].into();
    let (with, problems) = BgpConfig::new(&objects(list.clone()), &secrets);
    let (without, none) = BgpConfig::without_secrets(&OwnObjects { objects: list, ..OwnObjects::default() });
    assert_eq!((problems, none), (vec![], vec![]));
    assert_eq!(Peer { password: None, ..Peer::clone(&with.peers["a"]) }, *without.peers["a"]);
    assert!(!format!("{with:?}").contains("sesame"));
}
