//! The cost of deciding about routes, one JSON row: `cargo bench -p causeway-metal --bench routes`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use causeway_api::{Endpoints, EndpointsPerNode, Layer, LbKey, ObjectRef, OwnObject, OwnObjects};
use causeway_metal::announce::{Announcement, When, World};
use causeway_metal::bgp::{BgpConfig, routes};
use causeway_metal::candidates::{LiveSet, NodeFacts};
use causeway_metal::fleet::Fleet;
use causeway_metal::pool::Pools;
use causeway_metal::selector::Labels;
use serde_json::json;

const NODES: usize = 100;
const SERVICES: u32 = 1000;
const NAMESPACE: &str = "metallb-system";

fn node(index: usize) -> String {
    format!("node-{index:03}")
}

fn world(change: impl Fn(&mut Announcement), annotations: &[(&str, &str)]) -> World {
    let mut objects =
        vec![OwnObject::new("IPAddressPool", NAMESPACE, "all", json!({"addresses": ["10.0.0.0/16"]}))];
    for n in 0..4 {
        let address = format!("192.0.2.{}", n + 1);
        let spec = json!({"myASN": 64500, "peerASN": 64501, "peerAddress": address});
        objects.push(OwnObject::new("BGPPeer", NAMESPACE, &format!("tor-{n}"), spec));
        let spec = json!({"communities": [format!("64500:{n}"), format!("large:64500:1:{n}")]});
        let mut ad = OwnObject::new("BGPAdvertisement", NAMESPACE, &format!("ad-{n}"), spec);
        ad.annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        objects.push(ad);
    }
    let objects = OwnObjects { objects, ..OwnObjects::default() };
    let (bgp, problems) = BgpConfig::new(&objects, &BTreeMap::new());
    assert_eq!(problems, []);
    let nodes = (0..NODES).map(|n| {
        let labels = Labels::from([("kubernetes.io/hostname".to_owned(), node(n))]);
        (node(n), NodeFacts { labels, ..NodeFacts::default() })
    });
    let announcements = (0..SERVICES).map(|n| {
        let object = ObjectRef::service("shop", format!("service-{n:04}"), format!("uid-{n}"));
        let key = LbKey::object(Layer::L4, object.clone());
        let on = (0..3).map(|k| {
            let index = if k == 0 { 0 } else { usize::try_from(n).unwrap_or(0) * 7 + k };
            (node(index % NODES), EndpointsPerNode { ready: 1 + n % 3, serving: 0 })
        });
        let mut announcement = Announcement {
            key: key.clone(),
            object,
            addresses: vec![IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))],
            labels: Labels::from([("app".to_owned(), format!("service-{n}"))]),
            shares_address: false,
            when: When::ClusterEndpoints,
            endpoints: Endpoints { by_node: on.collect(), ..Endpoints::default() },
            single_announcer: false,
        };
        change(&mut announcement);
        (key, Arc::new(announcement))
    });
    World {
        pools: Arc::new(Pools::new(&objects).0),
        bgp: Arc::new(bgp),
        nodes: Arc::new(nodes.collect()),
        announcements: announcements.collect(),
        ..World::default()
    }
}

/// Median of a pass, milliseconds.
fn pass(world: &World) -> f64 {
    let live = (0..NODES).map(node).collect();
    let fleet = Fleet::of(LiveSet::Nodes(live));
    let mut times: Vec<f64> = (0..31)
        .map(|_| {
            let start = Instant::now();
            let routing = routes(world, &fleet, "node-000", &BTreeSet::new());
            let time = start.elapsed().as_secs_f64() * 1e3;
            assert_eq!(routing.decisions.len(), world.announcements.len());
            std::hint::black_box(routing);
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2] * 1e3).round() / 1e3
}

fn main() {
    let local = |lb: &mut Announcement| lb.when = When::LocalEndpoints;
    let value = json!({
        "cluster": pass(&world(|_| (), &[])),
        "local": pass(&world(local, &[])),
        "weighted": pass(&world(local, &[("causeway.io/link-bandwidth", "1Gbit")])),
        "single announcer": pass(&world(|lb| lb.single_announcer = true, &[])),
    });
    println!(
        "{}",
        json!({
            "id": "routes-decision",
            "what": "one decision about the routes of 1,000 Services with 4 advertisements, for 4 peers; 100 nodes",
            "value": value,
            "unit": "ms",
        })
    );
}
