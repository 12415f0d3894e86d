//! What allocation costs in a whole /16: the row `full-16`. Pure but for the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use causeway_api::{Family, FamilyPolicy, Layer, LbKey, ObjectRef, OwnObject, OwnObjects, Protocol};
use causeway_metal::allocator::{Allocator, Families, OutsidePools, Request, SharingKey, field};
use causeway_metal::pool::Pools;
use serde_json::json;

/// Microseconds of each kind of request, medians.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// An address, while the pool fills up.
    pub fill: f64,
    /// The last free address of a full pool.
    pub last: f64,
    /// The answer that there is none.
    pub none: f64,
}

fn request(n: u32) -> Request {
    let name = format!("s{n}");
    Request {
        owner: LbKey::object(Layer::L4, ObjectRef::service("default", &name, name.as_str())),
        namespace: "default".into(),
        namespace_labels: BTreeMap::new(),
        labels: BTreeMap::new(),
        families: Families::One(Family::V4),
        policy: FamilyPolicy::SingleStack,
        primary: Family::V4,
        pool: None,
        addresses: Vec::new(),
        addresses_field: field::LOAD_BALANCER_IPS,
        key: SharingKey::default(),
        ports: vec![(Protocol::Tcp, 80)],
    }
}

fn pools(range: &str) -> Arc<Pools> {
    let pool = OwnObject::new("IPAddressPool", "metallb-system", "all", json!({ "addresses": [range] }));
    Arc::new(Pools::new(&OwnObjects { objects: vec![pool], ..OwnObjects::default() }).0)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn timed(times: &mut Vec<f64>, work: impl FnOnce()) {
    let begin = Instant::now();
    work();
    times.push(begin.elapsed().as_secs_f64() * 1e6);
}

/// Fills a pool of `10.0.0.0/prefix`, then takes and gives back single addresses all over it.
///
/// # Panics
/// If the allocator does not give every address once.
#[must_use]
pub fn cost(prefix: u8) -> Cost {
    let size = 1_u32 << (32 - prefix);
    let mut allocator = Allocator::new(pools(&format!("10.0.0.0/{prefix}")), OutsidePools::default());
    let requests: Vec<Request> = (0..=size).map(request).collect();
    let (most, newcomer) = requests.split_at(size as usize);
    let newcomer = &newcomer[0];
    let (mut fill, mut last, mut none) = (Vec::new(), Vec::new(), Vec::new());
    for request in most {
        timed(&mut fill, || assert!(allocator.assign(request).is_ok()));
        allocator.settle(&request.owner);
    }
    // A step that is coprime to the size comes by everywhere.
    for round in 0..1_000_u32 {
        let leaving = &most[(round.wrapping_mul(40_503) % size) as usize];
        timed(&mut none, || assert!(allocator.assign(newcomer).is_err()));
        allocator.release(&leaving.owner);
        allocator.settle(&leaving.owner);
        timed(&mut last, || assert!(allocator.assign(newcomer).is_ok()));
        allocator.release(&newcomer.owner);
        allocator.settle(&newcomer.owner);
        assert!(allocator.assign(leaving).is_ok());
    }
    Cost { fill: median(fill), last: median(last), none: median(none) }
}
