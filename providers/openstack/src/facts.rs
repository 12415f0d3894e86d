//! What decisions depend on besides the load balancer itself. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_api::{Kind, Layer, ObjectRef, Peer, Problem};

use crate::capabilities::{Capable, not_offered};
use crate::inventory::{Answers, Cluster, ExistingFloatingIp, ExistingLoadBalancer, Inventory};
use crate::options::Options;
use crate::ownership::Mark;

/// Reason of a problem with the inventory.
pub const NOT_KNOWN: &str = "InventoryIncomplete";
/// Reason of a problem with an option.
pub const INVALID_OPTION: &str = "InvalidOption";

/// What the command line says, which wins over the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--cluster-id`.
    pub cluster_id: Option<String>,
    /// `--cluster-name`.
    pub cluster_name: Option<String>,
    /// `--adopt`.
    pub adopt: Vec<&'static Peer>,
}

/// Facts. Equal facts lead to equal decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The cluster.
    pub cluster: Cluster,
    /// Options.
    pub options: Options,
    /// What OpenStack answered.
    pub cloud: Arc<Answers>,
    /// The provider for Services.
    pub services: Capable,
    /// The provider for Ingresses.
    pub ingresses: Capable,
    /// Secrets of Kubernetes of which no certificate can be made, by `namespace/name`: why, and what to do.
    pub useless: BTreeMap<String, String>,
    /// Peers whose load balancers may be taken over.
    pub adopts: Vec<&'static Peer>,
    /// The load balancer that was, or is about to be, taken over: with it all is in the peer's way.
    pub kept: Option<Arc<ExistingLoadBalancer>>,
}

impl Facts {
    /// The same for a load balancer that was, or is about to be, taken over from a peer: it stays where it is and what it is, and where nobody says otherwise, it
    /// is as the peer makes them. No monitor: openstack-cloud-controller-manager makes one only where it is asked to, octavia-ingress-controller never does.
    #[must_use]
    pub fn kept(&self, lb: ExistingLoadBalancer, layer: Layer) -> Self {
        let mut kept = Self { kept: Some(Arc::new(lb)), ..self.clone() };
        let asked = layer == Layer::L4 && kept.options.create_monitor == Some(true);
        kept.options.create_monitor = Some(asked);
        kept
    }

    /// The load balancer that is there already, if the inventory has it.
    #[must_use]
    pub fn existing(&self, mark: &Mark) -> Option<&ExistingLoadBalancer> {
        self.kept.as_deref().or_else(|| mark.of_ours(self.cloud.load_balancers()))
    }

    /// The floating IP that leads to the load balancer that was, or is about to be, taken over.
    #[must_use]
    pub fn kept_floating_ip(&self) -> Option<&ExistingFloatingIp> {
        let port = self.kept.as_ref().map(|lb| lb.vip_port_id.as_str()).filter(|port| !port.is_empty())?;
        self.cloud.floating_ips().iter().find(|f| f.port_id == port)
    }
}

/// The object of problems that are the inventory's.
#[must_use]
pub fn inventory_object() -> ObjectRef {
    ObjectRef {
        kind: Kind::Own(crate::inventory::KIND.to_owned()),
        namespace: String::new(),
        name: "openstack".to_owned(),
        uid: "".into(),
    }
}

/// Facts out of an inventory, and what is wrong with it.
#[must_use]
pub fn facts(overrides: &Overrides, inventory: &Inventory) -> (Facts, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut cluster = inventory.cluster.clone();
    if let Some(id) = &overrides.cluster_id {
        cluster.id.clone_from(id);
    }
    if let Some(name) = &overrides.cluster_name {
        cluster.name.clone_from(name);
    }
    let mut wrong = |field: &str, reason: &str, message: String| {
        problems.push(Problem::error(inventory_object(), field, reason, message));
    };
    if cluster.id.is_empty() {
        let what = "it is missing; tags and descriptions are made of it: give the uid of namespace kube-system, or --cluster-id";
        wrong("cluster.id", NOT_KNOWN, what.to_owned());
    }
    for complaint in &inventory.complaints {
        wrong(&complaint.field, INVALID_OPTION, complaint.message.clone());
    }
    let (options, cloud) = (&inventory.options, &inventory.openstack);
    let services = Capable::for_services(options, cloud);
    let ingresses = Capable::for_ingresses(options, cloud);
    if let Some(others) = not_offered(cloud, &services.provider) {
        wrong(
            "[LoadBalancer] lb-provider",
            INVALID_OPTION,
            format!("Octavia has no provider {}: write one of {others}", services.provider),
        );
    }
    if cloud.lacks_service("load-balancer") {
        let what = "the catalog has no load-balancer, without which there is no load balancer: have Octavia installed, or take another region";
        wrong("openstack[GET /v3/auth/catalog]", NOT_KNOWN, what.to_owned());
    }
    if cloud.octavia_minor() < 5 {
        let what = format!(
            "Octavia's API v2.{} has no tags, by which load balancers are known: v2.5 is the oldest that serves",
            cloud.octavia_minor()
        );
        wrong("openstack[GET /]", NOT_KNOWN, what);
    }
    if !options.enabled {
        problems.push(Problem::warning(
            inventory_object(),
            "[LoadBalancer] enabled",
            INVALID_OPTION,
            "it is false: no load balancer of a Service is made or changed; take it away to have Services served",
        ));
    }
    let facts = Facts {
        cluster,
        options: options.clone(),
        cloud: Arc::new(cloud.clone()),
        services,
        ingresses,
        useless: BTreeMap::new(),
        adopts: overrides.adopt.clone(),
        kept: None,
    };
    (facts, problems)
}
