//! Cost follows the change: 2,000 load balancers with 5,000 nodes, one node more. Counts calls and bytes, not seconds, so that a busy machine does
//! not fail it; run with `--nocapture` to see the time.

mod common;

use std::sync::Arc;
use std::time::Instant;

use causeway_api::{Body, CloudProvider, Fence, LoadBalancer, Node, NodeSet, ObjectRef};
use causeway_model::cloud::{Request, Settings};
use causeway_model::{InMemory, Model, Options};
use common::{CLUSTER, Svc, World, cloud, load_balancers, now};

fn nodes(count: u32) -> Arc<NodeSet> {
    let node = |n: u32| Node {
        name: format!("node-{n:05}"),
        provider_id: None,
        addresses: vec![std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()],
        labels: Arc::default(),
    };
    Arc::new(NodeSet { nodes: (1..=count).map(node).collect() })
}

/// The same load balancer for many Services.
fn many(model: &Model<InMemory>, count: usize, nodes: &Arc<NodeSet>) -> Vec<LoadBalancer> {
    let ports = [
        ((causeway_api::Protocol::Tcp, 80), Some(30_080)),
        ((causeway_api::Protocol::Tcp, 443), Some(30_443)),
    ];
    let svc = Svc {
        group: None,
        created: None,
        ports: ports.into(),
        dual: false,
        internal: false,
        local: false,
        affinity: None,
        range: None,
    };
    let world = World { services: [(0, svc)].into(), ..World::default() };
    let one = load_balancers(model, &world).swap_remove(0);
    let make = |n: usize| {
        let mut lb = one.clone();
        lb.members[0].object = ObjectRef::service("ns", format!("s{n}"), format!("uid-{n}"));
        lb.key = model.key(&lb.members[0]);
        lb.nodes = Arc::clone(nodes);
        assert!(matches!(&lb.body, Body::L4(l) if l.len() == 2));
        lb
    };
    (0..count).map(make).collect()
}

fn work(model: &Model<InMemory>, all: &[LoadBalancer]) -> Vec<Request> {
    let mut sent = Vec::new();
    for lb in all {
        let (stack, problems) = model.desired(lb, &Default::default());
        assert_eq!(problems, []);
        let have = now(model.observe(&lb.key)).unwrap();
        for change in model.plan(&stack, &have).changes {
            now(model.apply(&change, &Fence::open())).unwrap();
            sent.push(change.request);
        }
    }
    sent
}

#[test]
fn one_node_more_is_one_small_call_per_load_balancer() {
    let way = cloud(&Settings::default());
    let model = Model::new(way.clone(), Options::new(CLUSTER));
    now(model.start(&[], &Default::default())).unwrap();
    let all = many(&model, 2_000, &nodes(5_000));
    assert_eq!(work(&model, &all).len(), 2_000);
    // A new process: all that it must know comes in two pages of 1,000, each set of nodes once.
    let model = Model::new(way.reborn(), Options::new(CLUSTER));
    way.with(|cloud, _| cloud.reset_calls());
    now(model.start(&[], &Default::default())).unwrap();
    let begin = Instant::now();
    assert_eq!(work(&model, &all), []);
    println!("nothing changed: {:?}", begin.elapsed());
    let nodes = nodes(5_001);
    let all: Vec<_> = all.into_iter().map(|lb| LoadBalancer { nodes: Arc::clone(&nodes), ..lb }).collect();
    let begin = Instant::now();
    let sent = work(&model, &all);
    println!("one node more: {:?}", begin.elapsed());
    let bytes: usize = sent.iter().map(|r| serde_json::to_vec(r).unwrap().len()).sum();
    assert_eq!(sent.len(), 2_000);
    assert!(bytes < 400 * sent.len(), "{bytes} bytes in all");
    let calls = way.with(|cloud, _| cloud.calls().clone());
    assert_eq!(calls, [("ListLoadBalancers".to_owned(), 2), ("RegisterTargets".to_owned(), 2_000)].into());
}
