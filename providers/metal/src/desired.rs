//! From a neutral load balancer to what the allocator is asked for. Pure.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use causeway_api::names::events::UNSUPPORTED;
use causeway_api::{
    Family, FamilyPolicy, LbKey, LoadBalancer, Member, ObjectRef, OwnObjects, Problem, Resources,
    ServiceSpec, Stack, TrafficPolicy,
};
use serde_json::json;

use crate::advertisement::L2Advertisement;
use crate::allocator::{Families, Request, SharingKey, field};
use crate::annotations::{LOAD_BALANCER_IPS, Settings, parse_addresses};
use crate::bgp::{BgpConfig, Where};
use crate::closed::Closed;
use crate::limits::MAX_ADDRESSES;
use crate::names::{ANNOTATION_FROM_POOL, events, reasons};
use crate::pool::Pools;
use crate::selector::Labels;

/// What decisions depend on besides the load balancer: the pools, and what announces them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Grows with each reading of the own objects, so that an old one never replaces a newer one.
    pub generation: u64,
    /// Pools.
    pub pools: Arc<Pools>,
    /// Valid L2 advertisements.
    pub advertisements: Arc<Vec<L2Advertisement>>,
    /// Peers and advertisements of BGP, without passwords.
    pub bgp: Arc<BgpConfig>,
    /// Addresses that are given to nobody.
    pub closed: Arc<Closed>,
}

impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        // The generation says when they were read, not what they say.
        (&self.pools, &self.advertisements, &self.bgp, &self.closed)
            == (&other.pools, &other.advertisements, &other.bgp, &other.closed)
    }
}

impl Facts {
    /// Reads the own objects. One bad object never hides another.
    #[must_use]
    pub fn new(objects: &OwnObjects, generation: u64) -> (Self, Vec<Problem>) {
        let (pools, mut problems) = Pools::new(objects);
        let (advertisements, more) = L2Advertisement::parse_all(objects);
        problems.extend(more);
        let (bgp, more) = BgpConfig::without_secrets(objects);
        problems.extend(more);
        problems.extend(bgp.clashes(&pools, Where::Anywhere));
        let (closed, more) = Closed::new(objects, &pools);
        problems.extend(more);
        let facts = Self {
            generation,
            pools: Arc::new(pools),
            advertisements: Arc::new(advertisements),
            bgp: Arc::new(bgp),
            closed: Arc::new(closed),
        };
        (facts, problems)
    }
}

/// What one member asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Addresses.
    Addresses(Box<Request>),
    /// Its wish cannot be understood: it keeps what it has, and gets nothing new. The request says with whom it may share.
    Keep(Box<Request>),
    /// It cannot have addresses: what it has is taken back.
    Nothing,
}

/// One Service and what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The Service.
    pub object: ObjectRef,
    /// What it asks for.
    pub ask: Ask,
    /// Its addresses by its status.
    pub current: Vec<IpAddr>,
    /// The pool that these came from, by its annotation.
    pub from_pool: Option<String>,
    /// Labels, which advertisements select by.
    pub labels: Labels,
    /// It carries the annotation for sharing, even an empty one.
    pub shares_address: bool,
    /// It asks for sessionAffinity ClientIP.
    pub affinity: bool,
    /// Only one node is to announce it by BGP.
    pub single_announcer: bool,
}

/// The desired stack: addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct MetalStack {
    /// The load balancer.
    pub key: LbKey,
    /// The Service; `None` if nobody wants it any more, or it is not served here.
    pub wanted: Option<Wanted>,
    /// The facts it was made with.
    pub facts: Facts,
    /// What planning reserved for it, for showing.
    pub reserved: Reserved,
}

/// Addresses and their pool.
type Addresses = (Vec<IpAddr>, Option<String>);

/// What planning reserved for a stack. Not part of what is wanted: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Reserved(Arc<Mutex<Option<Addresses>>>);

impl PartialEq for Reserved {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Reserved {
    /// Remembers addresses and their pool.
    pub(crate) fn set(&self, reserved: Option<Addresses>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reserved;
    }

    fn get(&self) -> Option<Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Stack for MetalStack {
    fn resources(&self) -> Resources {
        let mut resources = Resources::new();
        let Some(wanted) = &self.wanted else { return resources };
        let (Ask::Addresses(request) | Ask::Keep(request)) = &wanted.ask else { return resources };
        let ports: Vec<_> =
            request.ports.iter().map(|(protocol, port)| format!("{}/{port}", protocol.as_str())).collect();
        let (addresses, pool) = self.reserved.get().unwrap_or_default();
        let spec = json!({
            "addresses": addresses,
            "pool": pool,
            "families": request.families.each(),
            "familyPolicy": request.policy,
            "requestedAddresses": request.addresses,
            "requestedPool": request.pool,
            "sharingKey": request.key.sharing,
            "backendKey": request.key.backend,
            "ports": ports,
        });
        let ids = resources.entry("Metal::Address".to_owned()).or_default();
        ids.insert(self.key.id(), json!({ "spec": spec }));
        resources
    }
}

/// The stack of a load balancer, and what is wrong with its members.
#[must_use]
pub fn desired(lb: &LoadBalancer, facts: &Facts) -> (MetalStack, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut stack =
        MetalStack { key: lb.key.clone(), wanted: None, facts: facts.clone(), reserved: Reserved::default() };
    for member in &lb.members {
        match member.service() {
            // Each Service is a load balancer of its own here.
            Some(spec) => stack.wanted = Some(wanted(&lb.key, member, spec, &mut problems)),
            None => problems.push(Problem::error(
                member.object.clone(),
                "spec.ingressClassName",
                UNSUPPORTED,
                "Ingresses are not served on bare metal yet; use a Service of type LoadBalancer, or another Ingress controller's class",
            )),
        }
    }
    (stack, problems)
}

fn wanted(key: &LbKey, member: &Member, spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Wanted {
    let settings = Settings::read(&member.annotations);
    for old in &settings.deprecated {
        problems.push(Problem::warning(
            member.object.clone(),
            format!("metadata.annotations[{old}]"),
            events::DEPRECATED_ANNOTATION,
            format!("{old} is deprecated; use the prefix metallb.io/ instead"),
        ));
    }
    for (annotation, why) in &settings.wrong {
        problems.push(Problem::warning(
            member.object.clone(),
            annotation.field(),
            reasons::INVALID_ANNOTATION,
            format!("{why}; it counts as absent"),
        ));
    }
    Wanted {
        object: member.object.clone(),
        ask: ask(key, member, spec, &settings, problems),
        current: member.current.iter().filter_map(|point| point.ip).map(|ip| ip.to_canonical()).collect(),
        from_pool: member.annotations.get(ANNOTATION_FROM_POOL).filter(|pool| !pool.is_empty()).cloned(),
        labels: member.labels.clone(),
        shares_address: settings.sharing.is_some(),
        affinity: spec.affinity_seconds.is_some(),
        single_announcer: settings.single_announcer,
    }
}

fn ask(
    key: &LbKey,
    member: &Member,
    spec: &ServiceSpec,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Ask {
    let mut problem = |field: &str, reason: &str, message: String| {
        problems.push(Problem::error(member.object.clone(), field, reason, message));
    };
    if spec.family_policy == FamilyPolicy::RequireDualStack && spec.cluster_ips.len() < 2 {
        problem(
            "spec.clusterIPs",
            events::NOT_ENOUGH_CLUSTER_IPS,
            "Service requires dual stack but has fewer than two clusterIPs; use ipFamilyPolicy PreferDualStack, or give the cluster both families"
                .into(),
        );
        return Ask::Nothing;
    }
    // The cluster IPs say what kube-proxy serves; ipFamilies is only a wish until they are there.
    let Some(families) = Families::of(&spec.cluster_ips) else {
        problem(
            "spec.clusterIPs",
            events::CLUSTER_IPS_FAMILY,
            "the Service has no clusterIP of a known IP family; a Service of type LoadBalancer needs one"
                .into(),
        );
        return Ask::Nothing;
    };
    let backend = match spec.traffic_policy {
        TrafficPolicy::Cluster => String::new(),
        TrafficPolicy::Local => {
            spec.selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
        }
    };
    let mut request = Box::new(Request {
        owner: key.clone(),
        namespace: member.object.namespace.clone(),
        namespace_labels: member.namespace_labels.clone(),
        labels: member.labels.clone(),
        families,
        policy: spec.family_policy,
        primary: spec.families.first().copied().unwrap_or(Family::V4),
        pool: settings.pool.clone(),
        addresses: Vec::new(),
        addresses_field: field::LOAD_BALANCER_IPS,
        key: SharingKey { sharing: settings.sharing.clone().unwrap_or_default(), backend },
        ports: spec.ports.iter().map(|port| (port.protocol, port.port)).collect(),
    });
    let requested = spec.requested_address.as_deref().filter(|text| !text.is_empty());
    let (field, text) = match (&settings.addresses, requested) {
        (None, None) => return Ask::Addresses(request),
        (Some(_), Some(_)) => {
            problem(
                field::LOAD_BALANCER_IPS,
                events::REQUEST_INVALID,
                format!(
                    "service can not have both {} and spec.loadBalancerIP; remove one of them",
                    LOAD_BALANCER_IPS.key()
                ),
            );
            return Ask::Keep(request);
        }
        (Some(text), None) => (field::LOAD_BALANCER_IPS, text.as_str()),
        (None, Some(text)) => (field::LOAD_BALANCER_IP, text),
    };
    request.addresses_field = field;
    match parse_addresses(text) {
        Ok(addresses) if addresses.len() <= MAX_ADDRESSES => {
            request.addresses = addresses;
            Ask::Addresses(request)
        }
        Ok(addresses) => {
            problem(
                field,
                events::REQUEST_INVALID,
                format!(
                    "{} addresses are asked for; a Service has at most one of each IP family",
                    addresses.len()
                ),
            );
            Ask::Keep(request)
        }
        Err(part) => {
            problem(
                field,
                events::REQUEST_INVALID,
                format!("invalid requested loadbalancer IPs: {part:?} of {text:?} is not an IP address"),
            );
            Ask::Keep(request)
        }
    }
}
