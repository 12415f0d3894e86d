//! What a peer shall have, out of what each load balancer adds. Pure.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ipnet::IpNet;

use super::plan::{Clash, Merged};
use super::{BgpAdvertisement, Conflict, RibOut, RouteAttributes};

/// One addition to what a peer shall have.
pub(super) struct Part {
    pub(super) prefix: IpNet,
    pub(super) what: Result<Rc<Merged>, Clash>,
    /// Endpoints that stand behind the route on this node; `None` if their number says nothing.
    pub(super) endpoints: Option<u32>,
    /// Index of the load balancer.
    pub(super) of: u32,
}

/// Unites the parts of one peer after the other.
pub(super) struct Unite<'a> {
    all: &'a [BgpAdvertisement],
    /// Equal attributes are one allocation.
    known: HashMap<RouteAttributes, Arc<RouteAttributes>>,
    /// By what was merged (its address) and the number of endpoints: with their bandwidth.
    weighted: HashMap<(*const Merged, u64), Arc<RouteAttributes>>,
    /// Found on the way, by index of the load balancer.
    pub(super) conflicts: Vec<(u32, Conflict)>,
}

impl<'a> Unite<'a> {
    pub(super) fn new(all: &'a [BgpAdvertisement]) -> Self {
        Self { all, known: HashMap::new(), weighted: HashMap::new(), conflicts: Vec::new() }
    }

    pub(super) fn rib(&mut self, peer: &str, parts: &mut [Part]) -> RibOut {
        parts.sort_by_key(|part| part.prefix);
        let mut rib = Vec::with_capacity(parts.len());
        for run in parts.chunk_by(|one, two| one.prefix == two.prefix) {
            let prefix = run[0].prefix;
            match self.route(run) {
                Ok(attributes) => rib.push((prefix, attributes)),
                Err(clash) => {
                    let conflict = clash.conflict(prefix, peer, self.all);
                    self.conflicts.extend(run.iter().map(|part| (part.of, conflict.clone())));
                }
            }
        }
        rib.into_iter().collect()
    }

    /// One route, of one part at least. A contradiction within one of them is one of the route.
    fn route(&mut self, run: &[Part]) -> Result<Arc<RouteAttributes>, Clash> {
        let first = run[0].what.as_ref().map_err(|clash| *clash)?;
        let mut more: Option<RouteAttributes> = None;
        for part in run.iter().skip(1) {
            let other = part.what.as_ref().map_err(|clash| *clash)?;
            if Rc::ptr_eq(other, first) {
                continue;
            }
            if let Some(clash) = Clash::between(self.all, first.from, other.from) {
                return Err(clash);
            }
            let united = more.get_or_insert_with(|| (*first.attributes).clone());
            united.communities.extend(&other.attributes.communities);
            united.large.extend(&other.attributes.large);
        }
        // The weight of a route that stands for something whose weight is not known is not known.
        let endpoints: Option<u64> = run.iter().map(|part| part.endpoints.map(u64::from)).sum();
        let bandwidth =
            first.endpoint_bandwidth.zip(endpoints).map(|(one, all)| (one.saturating_mul(all), all));
        let Some((bandwidth, endpoints)) = bandwidth else {
            return Ok(match more {
                None => Arc::clone(&first.attributes),
                Some(more) => self.known(more),
            });
        };
        if let Some(more) = more {
            return Ok(self.known(RouteAttributes { bandwidth: Some(bandwidth), ..more }));
        }
        let key = (Rc::as_ptr(first), endpoints);
        if let Some(known) = self.weighted.get(&key) {
            return Ok(Arc::clone(known));
        }
        let new = self.known(RouteAttributes { bandwidth: Some(bandwidth), ..(*first.attributes).clone() });
        self.weighted.insert(key, Arc::clone(&new));
        Ok(new)
    }

    fn known(&mut self, attributes: RouteAttributes) -> Arc<RouteAttributes> {
        Arc::clone(self.known.entry(attributes).or_insert_with_key(|new| Arc::new(new.clone())))
    }
}
