//! Every name that users, clouds or other controllers see. One place, so that nothing is spelt twice.

/// Domain of our annotations, tags and conditions.
pub const DOMAIN: &str = "causeway.io";
/// Prefix of our annotations.
pub const ANNOTATION_PREFIX: &str = "causeway.io/";
/// `spec.controller` of the IngressClasses that are ours.
pub const INGRESS_CONTROLLER: &str = "causeway.io/ingress";
/// Field manager of our writes to the API server.
pub const FIELD_MANAGER: &str = "causeway";
/// Source component of our Events.
pub const EVENT_COMPONENT: &str = "causeway-controller";
/// Finalizer on Services, the same that upstream's service controller uses (KEP-1959), and on Ingresses.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// Finalizer on Ingresses, and on objects of own kinds that are members.
pub const INGRESS_FINALIZER: &str = "causeway.io/load-balancer-cleanup";

/// Annotation that joins Services or Ingresses to one shared load balancer.
pub const ANNOTATION_GROUP: &str = "causeway.io/load-balancer-group";
/// Annotation that stops all writes for one object while it is `"true"`.
pub const ANNOTATION_PAUSED: &str = "causeway.io/paused";
/// Upstream's annotation for source ranges; `spec.loadBalancerSourceRanges` wins.
pub const ANNOTATION_SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// Legacy class annotation of Ingresses; wins over `spec.ingressClassName` (KEP-1453).
pub const ANNOTATION_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// Annotation of the default IngressClass.
pub const ANNOTATION_DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Cloud tag: the cluster's id.
pub const TAG_CLUSTER: &str = "causeway.io/cluster";
/// Cloud tag: the owner, see [`crate::LbKey::owner_tag`].
pub const TAG_OWNER: &str = "causeway.io/owner";
/// Cloud tag: which resource of the stack this is.
pub const TAG_RESOURCE: &str = "causeway.io/resource";
/// Cloud tag: `v1:<hash>` of the stack that was applied last, or `dirty`; see [`crate::AppliedHash`].
pub const TAG_APPLIED: &str = "causeway.io/applied";

/// Cloud tag: the peer, by its name as in `--adopt`, that made what was taken over.
pub const TAG_ADOPTED: &str = "causeway.io/adopted";

/// Condition on a Service: whether its load balancer serves it, and if not, why and what to do.
pub const CONDITION_READY: &str = "causeway.io/LoadBalancerReady";
/// The one condition type that Kubernetes defines for Services (KEP-1435).
pub const CONDITION_PORTS_ERROR: &str = "LoadBalancerPortsError";
/// Reason of [`CONDITION_PORTS_ERROR`] for a mix of protocols that cannot be served (KEP-1435).
pub const REASON_MIXED_PROTOCOL: &str = "LoadBalancerMixedProtocolNotSupported";

/// Node label that keeps a node out of every load balancer.
pub const LABEL_EXCLUDE_NODE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Taint of a node that the cluster autoscaler is about to delete.
pub const TAINT_AUTOSCALER: &str = "ToBeDeletedByClusterAutoscaler";
/// Taint of a node that Karpenter is about to delete.
pub const TAINT_KARPENTER: &str = "karpenter.sh/disrupted";
/// Taint of a node that was shut down without being drained, set by hand.
pub const TAINT_OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Taint of a Node that no cloud's node controller has seen yet, set by a kubelet with `--cloud-provider=external`.
pub const TAINT_UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Taint of a Node whose machine is shut down.
pub const TAINT_SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";
/// Annotation of a Node: the addresses that its kubelet was told to use (`--node-ip`), comma-separated.
pub const ANNOTATION_PROVIDED_NODE_IP: &str = "alpha.kubernetes.io/provided-node-ip";
/// Port of kube-proxy's `/healthz` (KEP-3836).
pub const KUBE_PROXY_HEALTH_PORT: u16 = 10256;

/// Upstream's Event reasons (k8s.io/cloud-provider, service controller).
pub mod events {
    /// Normal: work on a load balancer begins.
    pub const ENSURING: &str = "EnsuringLoadBalancer";
    /// Normal: the load balancer is as wanted.
    pub const ENSURED: &str = "EnsuredLoadBalancer";
    /// Normal: deletion begins.
    pub const DELETING: &str = "DeletingLoadBalancer";
    /// Normal: deletion is done.
    pub const DELETED: &str = "DeletedLoadBalancer";
    /// Normal: the node set was updated.
    pub const UPDATED: &str = "UpdatedLoadBalancer";
    /// Warning: no node can take traffic.
    pub const UNAVAILABLE: &str = "UnAvailableLoadBalancer";
    /// Warning: creating or changing failed.
    pub const SYNC_FAILED: &str = "SyncLoadBalancerFailed";
    /// Warning: updating the node set failed.
    pub const UPDATE_FAILED: &str = "UpdateLoadBalancerFailed";
    /// Warning: deleting failed.
    pub const DELETE_FAILED: &str = "DeleteLoadBalancerFailed";
    /// Normal: the load balancer that a peer made was taken over.
    pub const ADOPTED: &str = "AdoptedLoadBalancer";
    /// Warning: the load balancer that a peer made is not taken over, and why.
    pub const NOT_ADOPTED: &str = "LoadBalancerNotAdopted";
    /// Warning: something that this provider cannot serve.
    pub const UNSUPPORTED: &str = "Unsupported";
}

/// Name of the leader-election Lease of a provider.
#[must_use]
pub fn lease(provider: &str) -> String {
    format!("causeway-{provider}")
}
