//! A scenario: a pool of its own, routers, and objects that go with it. I/O.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_bed::router::{Kind, Path, Router, RouterConfig};
use causeway_bed::{Namespace, Signal, addresses, wait};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::support::{Lab, SOON};

/// The namespace of the configuration.
pub const CONFIG: &str = "metallb-system";
/// The router's AS.
pub const TOR: u32 = 64500;
/// The nodes' AS.
pub const NODES: u32 = 64501;
/// The nodes.
pub const ALL: [usize; 3] = [1, 2, 3];
/// Kinds that a scenario makes in [`CONFIG`], in the order in which they are best deleted.
const KINDS: &str =
    "bgpadvertisements,l2advertisements,bgppeers,bfdprofiles,communities,ipaddresspools,secrets";
/// Label of what a scenario makes in [`CONFIG`].
const LABEL: &str = "scene";

/// Number of the next scenario.
static NEXT: AtomicU8 = AtomicU8::new(1);
/// A scenario has begun and not ended well.
static UNFINISHED: AtomicBool = AtomicBool::new(false);

/// A scenario.
pub struct Scene<'a> {
    pub lab: &'a Lab,
    /// Its name, and that of its pool, its first peer and its first advertisement.
    pub name: &'a str,
    number: u8,
    routers: Vec<Router>,
    /// The addresses of a Pod that answers, by node.
    pub(super) pods: OnceCell<Vec<[String; 2]>>,
}

/// Runs a scenario; it starts its routers itself.
pub async fn scenario_without_router(name: &str, body: impl AsyncFnOnce(&mut Scene) -> Result<()>) {
    Lab::run(name, async |lab| {
        let mut scene = Scene::new(lab, name)?;
        body(&mut scene).await.with_context(|| scene.routers.iter().map(known).collect::<String>())?;
        scene.end().await
    })
    .await;
}

/// Runs a scenario with a router of that kind in front of the nodes.
pub async fn scenario_with(
    name: &str,
    kind: Kind,
    config: RouterConfig,
    body: impl AsyncFnOnce(&mut Scene) -> Result<()>,
) {
    scenario_without_router(name, async |scene| {
        scene.start(&scene.lab.bed.router_ns(), kind, config).await?;
        body(scene).await
    })
    .await;
}

/// Runs a scenario with FRR in front of the nodes.
pub async fn scenario(name: &str, config: RouterConfig, body: impl AsyncFnOnce(&mut Scene) -> Result<()>) {
    scenario_with(name, Kind::Frr, config, body).await;
}

/// What a router knows, for the message of a failed test.
fn known(router: &Router) -> String {
    let sessions = router.sessions().map(|s| format!("{s:#?}")).unwrap_or_default();
    let routes = router.routes().map(|r| format!("{r:#?}")).unwrap_or_default();
    format!("{sessions}\n{routes}\n{}\n", router.speaker().log())
}

/// The route to a single address.
pub fn host(address: impl Into<IpAddr>) -> IpNet {
    address.into().into()
}

/// Fields of `from` into `into`; one that is null is taken out.
pub(super) fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        match (value, into.as_object_mut()) {
            (Value::Null, Some(fields)) => drop(fields.remove(key)),
            _ => into[key] = value.clone(),
        }
    }
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab, name: &'a str) -> Result<Scene<'a>> {
        if UNFINISHED.swap(true, Ordering::Relaxed) {
            // What failed before has left its things behind.
            lab.bed.kubectl(&["-n", CONFIG, "delete", KINDS, "-l", LABEL])?;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scene = Scene { lab, name, number, routers: Vec::new(), pods: OnceCell::new() };
        scene.pool(name, &json!({}), &[format!("{}/25", scene.v4(0)), format!("{}/112", scene.v6(0))])?;
        Ok(scene)
    }

    /// The address of that number in the scenario's pool.
    pub fn v4(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, last)
    }

    /// The same of IPv6.
    pub fn v6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xa000 + u16::from(self.number), 0, 0, 0, 0, last)
    }

    /// Starts a router; it ends with the scenario.
    pub async fn start(&mut self, namespace: &Namespace, kind: Kind, config: RouterConfig) -> Result<usize> {
        if let Ok(old) = Router::attach(namespace) {
            // Of a scenario that failed; it may have ended.
            let _ended = old.stop(Signal::KILL);
        }
        self.routers.push(Router::start(namespace, kind, config).await?);
        Ok(self.routers.len() - 1)
    }

    /// The router in front of the nodes.
    pub fn router(&self) -> &Router {
        &self.routers[0]
    }

    /// One of the routers, by what [`Scene::start`] said.
    pub fn other(&self, index: usize) -> &Router {
        &self.routers[index]
    }

    /// Gives the router in front of the nodes another configuration.
    pub async fn reconfigure(&mut self, config: RouterConfig) -> Result<()> {
        self.routers[0].reconfigure(config).await
    }

    /// An object in the namespace of the configuration, that goes with the scenario.
    pub fn object(&self, kind: &str, name: &str, annotations: &Value, content: &Value) -> Result<()> {
        let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
        let mut object = json!({
            "apiVersion": format!("metallb.io/{version}"), "kind": kind,
            "metadata": {"name": name, "namespace": CONFIG, "annotations": annotations, "labels": {LABEL: self.name}},
        });
        merge(&mut object, content);
        self.lab.bed.apply(&object.to_string()).map(drop)
    }

    /// Deletes one of them.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.lab.bed.kubectl(&["-n", CONFIG, "delete", kind, name]).map(drop)
    }

    pub fn pool(&self, name: &str, labels: &Value, ranges: &[String]) -> Result<()> {
        let mut labels = labels.clone();
        labels[LABEL] = self.name.into();
        self.lab
            .bed
            .apply(
                &json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
                "metadata": {"name": name, "namespace": CONFIG, "labels": labels},
                "spec": {"addresses": ranges, "autoAssign": false}})
                .to_string(),
            )
            .map(drop)
    }

    /// The peer that is named after the scenario: the router by IPv4. `spec` is more of its spec, or other.
    pub fn peer(&self, spec: &Value) -> Result<()> {
        self.peer_named(self.name, &json!({}), spec)
    }

    pub fn peer_named(&self, name: &str, annotations: &Value, spec: &Value) -> Result<()> {
        let mut all = json!({"myASN": NODES, "peerASN": TOR, "peerAddress": addresses::ROUTER.to_string()});
        merge(&mut all, spec);
        self.object("BGPPeer", name, annotations, &json!({"spec": all}))
    }

    /// The advertisement that is named after the scenario: of its pool.
    pub fn advertise(&self, annotations: &Value, spec: &Value) -> Result<()> {
        self.advertise_named(self.name, annotations, spec)
    }

    pub fn advertise_named(&self, name: &str, annotations: &Value, spec: &Value) -> Result<()> {
        let mut all = json!({"ipAddressPools": [self.name]});
        merge(&mut all, spec);
        self.object("BGPAdvertisement", name, annotations, &json!({"spec": all}))
    }

    /// The address of a node, of the family of `like`.
    pub fn node(&self, number: usize, like: impl Into<IpAddr>) -> Result<IpAddr> {
        let node = self.lab.bed.node(number)?;
        let addresses = node.addresses();
        Ok(if like.into().is_ipv4() { addresses.v4.into() } else { addresses.v6.into() })
    }

    /// Waits until the router in front of the nodes knows a route by exactly these nodes.
    pub async fn routed(&self, prefix: impl Into<IpNet>, nodes: &[usize]) -> Result<Vec<Path>> {
        self.routed_at(self.router(), prefix, nodes).await
    }

    /// The same of any router.
    pub async fn routed_at(
        &self,
        router: &Router,
        prefix: impl Into<IpNet>,
        nodes: &[usize],
    ) -> Result<Vec<Path>> {
        let prefix = prefix.into();
        let hops = nodes.iter().map(|n| self.node(*n, prefix.addr())).collect::<Result<Vec<IpAddr>>>()?;
        router.wait_next_hops(prefix, hops, SOON).await
    }

    /// Waits until the router knows these and only these routes of the scenario's pools.
    pub async fn routes_are(&self, router: &Router, expected: &[IpNet]) -> Result<()> {
        let mut expected = expected.to_vec();
        expected.sort();
        let ours = |prefix: &IpNet| match prefix.addr() {
            IpAddr::V4(address) => address.octets()[..3] == [198, 18, self.number],
            IpAddr::V6(address) => address.segments()[..3] == self.v6(0).segments()[..3],
        };
        wait::until(&format!("{expected:?} to be all"), SOON, async || {
            let mut found: Vec<IpNet> = router.routes()?.into_keys().filter(ours).collect();
            found.sort();
            ensure!(found == expected, "{found:?}");
            Ok(())
        })
        .await
    }

    /// Waits until all nodes have a session with the router, by IPv4.
    pub async fn established(&self) -> Result<()> {
        for node in ALL {
            self.router().wait_established(self.node(node, Ipv4Addr::UNSPECIFIED)?, SOON).await?;
        }
        Ok(())
    }

    /// How often the sessions of the nodes have been established, by IPv4.
    pub fn times(&self) -> Result<Vec<Option<u64>>> {
        let times =
            |node: usize| Ok(self.router().session(self.node(node, Ipv4Addr::UNSPECIFIED)?)?.established);
        ALL.into_iter().map(times).collect()
    }

    /// Waits until a client behind the router is answered at an address, by whichever node: routes come at once, kube-proxy's rules up to a second later.
    pub async fn answers(&self, address: impl Into<IpAddr>) -> Result<()> {
        let address = address.into();
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        for node in ALL {
            let namespace = self.lab.bed.node(node)?.namespace();
            wait::until(&format!("kube-proxy of node{node} to serve {address}"), SOON, async || {
                let map = namespace.run(&["nft", "list", "map", family, "kube-proxy", "service-ips"])?;
                ensure!(map.contains(&format!(" {address} .")), "{map}");
                Ok(())
            })
            .await?;
        }
        let remote = self.lab.bed.remote_ns();
        wait::until(&format!("an answer from {address}"), SOON, async || {
            let answer = remote.http_get((address, 80), "/hostname", None, Duration::from_secs(1)).await?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })
        .await
    }

    /// Waits until there are so many objects of a kind in the namespace of the configuration whose status fits; with 0, until there are none at all.
    pub async fn status(&self, kind: &str, count: usize, fits: impl Fn(&Value) -> bool) -> Result<()> {
        wait::until(&format!("{count} {kind} that fit"), SOON, async || {
            let text = self.lab.bed.kubectl(&["-n", CONFIG, "get", kind, "-o", "json"])?;
            let list: Value = serde_json::from_str(&text)?;
            let all: Vec<&Value> =
                list["items"].as_array().into_iter().flatten().map(|o| &o["status"]).collect();
            let found = all.iter().filter(|status| fits(status)).count();
            ensure!(found == count && (count > 0 || all.is_empty()), "{found}: {all:?}");
            Ok(())
        })
        .await
    }

    /// Waits for an Event on an object of the configuration.
    pub async fn said(&self, kind: &str, name: &str, reason: &str, parts: &[&str]) -> Result<()> {
        self.lab.event((CONFIG, kind, name), reason, parts).await.map(drop)
    }

    /// Sets a label of a node, or takes it away (`key-`).
    pub fn label(&self, node: usize, label: &str) -> Result<()> {
        self.lab.bed.kubectl(&["label", "--overwrite", "node", &format!("node{node}"), label]).map(drop)
    }

    /// Takes the scenario's objects away, and the routers.
    async fn end(self) -> Result<()> {
        self.lab.bed.kubectl(&["-n", CONFIG, "delete", KINDS, "-l", &format!("{LABEL}={}", self.name)])?;
        self.status("bgpsessionstates", 0, |_| true).await?;
        self.routers.iter().try_for_each(|router| router.stop(Signal::TERM))?;
        UNFINISHED.store(false, Ordering::Relaxed);
        Ok(())
    }
}
