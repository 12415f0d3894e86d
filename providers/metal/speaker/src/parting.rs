//! Routes of a node that is drained or about to go: told a little longer, marked with the community GRACEFUL_SHUTDOWN, so that routers find other ways before they are
//! withdrawn (RFC 8326). Pure.
//!
//! By the decision about routes such a node is silent at once, for another one announces in its place. What its routers were told until then stays in what
//! they are to have, with that mark, until [`Parting::next_deadline`]. Nothing else lingers: a route whose Service is deleted, whose endpoints are gone, or which would lead
//! to a kube-proxy that does not answer, helps nobody. Neither does one of a Service with `externalTrafficPolicy: Local` whose endpoints here are all terminating: they may
//! end before the time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_api::LbKey;
use causeway_metal::announce::When;
use causeway_metal::bgp::{RibOut, RouteAttributes, RouteDecision, RouteSilence};
use causeway_metal::fleet::Unfit;
use ipnet::IpNet;

use crate::bgp::{GRACEFUL_SHUTDOWN, shut_down};
use crate::moment::Moment;

/// What lingers, and until when.
#[derive(Debug)]
pub struct Parting {
    grace: Duration,
    until: BTreeMap<(String, IpNet), Moment>,
}

impl Parting {
    /// Routes linger for this long.
    pub fn new(grace: Duration) -> Self {
        Self { grace, until: BTreeMap::new() }
    }

    /// Adds what lingers to what the routers of `node` are to have. `before`: what they were to have until now, by name of the peer.
    pub fn linger<'a>(
        &mut self,
        node: &str,
        decisions: &BTreeMap<LbKey, RouteDecision>,
        before: impl IntoIterator<Item = (&'a String, &'a Arc<RibOut>)>,
        ribs: &mut BTreeMap<String, RibOut>,
        now: Moment,
    ) {
        let parting: BTreeSet<IpAddr> = decisions
            .values()
            .filter(|decision| is_parting(node, decision))
            .flat_map(|decision| decision.announcement.addresses.iter().map(IpAddr::to_canonical))
            .collect();
        let known = std::mem::take(&mut self.until);
        if parting.is_empty() {
            return;
        }
        let stands_for_one = |prefix: &IpNet| {
            parting.range(prefix.network()..=prefix.broadcast()).any(|address| prefix.contains(address))
        };
        for (peer, told) in before {
            let Some(rib) = ribs.get_mut(peer) else { continue };
            let mut marked: BTreeMap<&RouteAttributes, Arc<RouteAttributes>> = BTreeMap::new();
            for (prefix, attributes) in told.iter().filter(|(prefix, _)| stands_for_one(prefix)) {
                if rib.contains_key(prefix) {
                    continue;
                }
                let key = (peer.clone(), *prefix);
                let until = known.get(&key).copied().unwrap_or(now + self.grace);
                if until <= now {
                    continue;
                }
                let mark = || {
                    let marked = attributes.communities.contains(&GRACEFUL_SHUTDOWN);
                    if marked { Arc::clone(attributes) } else { Arc::new(shut_down(attributes)) }
                };
                rib.insert(*prefix, Arc::clone(marked.entry(attributes).or_insert_with(mark)));
                self.until.insert(key, until);
            }
        }
    }

    /// When something has lingered long enough.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.until.values().min().copied()
    }
}

/// Whether a load balancer is silent here since the node goes, and traffic that comes all the same is still served.
fn is_parting(node: &str, decision: &RouteDecision) -> bool {
    let announcement = &decision.announcement;
    let goes = matches!(decision.silent, Some(RouteSilence::Unfit(Unfit::Drained) | RouteSilence::Leaving));
    let ready = announcement.endpoints.by_node.get(node).is_some_and(|endpoints| endpoints.ready > 0);
    goes && (announcement.when != When::LocalEndpoints || ready)
}

#[cfg(test)]
mod tests {
    use causeway_api::{Endpoints, EndpointsPerNode, Layer, ObjectRef};
    use causeway_metal::announce::Announcement;
    use rstest::rstest;

    use super::*;

    const GRACE: Duration = Duration::from_secs(1);
    const ME: &str = "node1";

    fn at(ms: u64) -> Moment {
        Moment::after_origin(Duration::from_millis(ms))
    }

    type Decisions = BTreeMap<LbKey, RouteDecision>;

    /// A Service with an address of this last octet, `ready` endpoints here, and this decision about it.
    fn service(last: u8, when: When, ready: u32, silent: Option<RouteSilence>) -> (LbKey, RouteDecision) {
        let object = ObjectRef::service("shop", format!("web{last}").as_str(), "u");
        let key = LbKey::object(Layer::L4, object.clone());
        let endpoints = EndpointsPerNode { ready, serving: 1 };
        let announcement = Announcement {
            key: key.clone(),
            object,
            addresses: vec![[192, 0, 2, last].into()],
            labels: BTreeMap::new(),
            shares_address: false,
            when,
            endpoints: Endpoints { by_node: [(ME.to_owned(), endpoints)].into(), ..Endpoints::default() },
            single_announcer: false,
        };
        let peers: BTreeSet<String> = silent.is_none().then(|| "tor".to_owned()).into_iter().collect();
        let decision = RouteDecision {
            announcement: Arc::new(announcement),
            pool: None,
            peers: Arc::new(peers),
            silent,
            conflicts: Vec::new(),
            withheld: Arc::default(),
        };
        (key, decision)
    }

    fn drained(last: u8) -> (LbKey, RouteDecision) {
        service(last, When::ClusterEndpoints, 0, Some(RouteSilence::Unfit(Unfit::Drained)))
    }

    fn route(text: &str, attributes: &RouteAttributes) -> (IpNet, Arc<RouteAttributes>) {
        (text.parse().expect("a prefix"), Arc::new(attributes.clone()))
    }

    fn plain(prefixes: &[&str]) -> RibOut {
        prefixes.iter().map(|text| route(text, &RouteAttributes::default())).collect()
    }

    /// A speaker's routes to one peer over time.
    struct Told {
        parting: Parting,
        rib: BTreeMap<String, Arc<RibOut>>,
    }

    impl Told {
        fn new(rib: RibOut) -> Self {
            Told { parting: Parting::new(GRACE), rib: BTreeMap::from([("tor".to_owned(), Arc::new(rib))]) }
        }

        fn decide(&mut self, decisions: Decisions, rib: RibOut, ms: u64) -> &RibOut {
            let mut ribs = BTreeMap::from([("tor".to_owned(), rib)]);
            self.parting.linger(ME, &decisions, &self.rib, &mut ribs, at(ms));
            self.rib = ribs.into_iter().map(|(peer, rib)| (peer, Arc::new(rib))).collect();
            &self.rib["tor"]
        }
    }

    #[test]
    fn a_drained_node_warns_then_withdraws() {
        let attributes =
            RouteAttributes { local_pref: Some(200), communities: [7].into(), ..RouteAttributes::default() };
        let mut told = Told::new([route("192.0.2.1/32", &attributes)].into());
        let marked =
            RouteAttributes { local_pref: Some(0), communities: [7, GRACEFUL_SHUTDOWN].into(), ..attributes };
        let lingering = RibOut::from([route("192.0.2.1/32", &marked)]);
        let drain = || Decisions::from([drained(1)]);
        assert_eq!(*told.decide(drain(), RibOut::new(), 0), lingering);
        assert_eq!(told.parting.next_deadline(), Some(at(1000)));
        // Whatever else happens does not make it longer.
        assert_eq!(*told.decide(drain(), RibOut::new(), 600), lingering);
        assert_eq!(told.parting.next_deadline(), Some(at(1000)));
        assert_eq!(*told.decide(drain(), RibOut::new(), 1000), RibOut::new());
        assert_eq!(told.parting.next_deadline(), None);
        assert_eq!(*told.decide(drain(), RibOut::new(), 1100), RibOut::new(), "for good");
    }

    #[test]
    fn a_node_that_stays_after_all_announces_as_ever() {
        let mut told = Told::new(plain(&["192.0.2.1/32"]));
        told.decide([drained(1)].into(), RibOut::new(), 0);
        let stays = Decisions::from([service(1, When::ClusterEndpoints, 1, None)]);
        assert_eq!(*told.decide(stays, plain(&["192.0.2.1/32"]), 500), plain(&["192.0.2.1/32"]));
        assert_eq!(told.parting.next_deadline(), None);
        // And may go later, with all of the time.
        assert_eq!(told.decide([drained(1)].into(), RibOut::new(), 900).len(), 1);
        assert_eq!(told.parting.next_deadline(), Some(at(1900)));
    }

    #[rstest]
    #[case::drained(When::ClusterEndpoints, 0, Some(RouteSilence::Unfit(Unfit::Drained)), true)]
    #[case::leaving(When::ClusterEndpoints, 1, Some(RouteSilence::Leaving), true)]
    #[case::leaving_local(When::LocalEndpoints, 1, Some(RouteSilence::Leaving), true)]
    #[case::endpoints_end(When::LocalEndpoints, 0, Some(RouteSilence::Unfit(Unfit::Drained)), false)]
    #[case::no_proxy(When::ClusterEndpoints, 1, Some(RouteSilence::Unfit(Unfit::KubeProxy)), false)]
    #[case::no_endpoint(When::ClusterEndpoints, 0, Some(RouteSilence::NoEndpoint), false)]
    #[case::terminating(When::LocalEndpoints, 0, Some(RouteSilence::OnlyTerminatingEndpoints), false)]
    #[case::not_elected(When::ClusterEndpoints, 1, Some(RouteSilence::NotElected), false)]
    #[case::announced_otherwise(When::ClusterEndpoints, 1, None, false)]
    fn who_lingers(
        #[case] when: When,
        #[case] ready: u32,
        #[case] silent: Option<RouteSilence>,
        #[case] lingers: bool,
    ) {
        let mut told = Told::new(plain(&["192.0.2.1/32"]));
        let decisions = Decisions::from([service(1, when, ready, silent)]);
        assert_eq!(!told.decide(decisions, RibOut::new(), 0).is_empty(), lingers);
    }

    #[test]
    fn an_aggregate_lingers_while_it_stands_for_one_that_goes() {
        let mut told = Told::new(plain(&["192.0.2.0/28", "192.0.2.16/28", "2001:db8::/64"]));
        let deleted = |last| service(last, When::ClusterEndpoints, 0, Some(RouteSilence::NoEndpoint));
        let rib = told.decide([drained(3), deleted(17)].into(), RibOut::new(), 0);
        assert_eq!(rib.keys().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.0/28"]);
        // The Service goes too: at once.
        assert!(told.decide([deleted(3)].into(), RibOut::new(), 100).is_empty());
    }

    #[test]
    fn a_peer_that_is_gone_hears_nothing() {
        let mut told = Told::new(plain(&["192.0.2.1/32"]));
        let mut ribs = BTreeMap::from([("other".to_owned(), RibOut::new())]);
        told.parting.linger(ME, &[drained(1)].into(), &told.rib, &mut ribs, at(0));
        assert_eq!(ribs, BTreeMap::from([("other".to_owned(), RibOut::new())]));
        assert_eq!(told.parting.next_deadline(), None);
    }
}
