//! MetalLB's names that users and their tools know: annotations, Event reasons, labels of status objects. And the reasons of our own.

/// Prefix of the annotations.
pub const ANNOTATION_PREFIX: &str = "metallb.io/";
/// Prefix of the annotations before MetalLB 0.14; still read.
pub const ANNOTATION_PREFIX_DEPRECATED: &str = "metallb.universe.tf/";
/// Annotation that we write beside the status: name of the pool that the addresses come from.
pub const ANNOTATION_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// Condition on a Service, true while somebody else on the segment uses one of its addresses or one that it asks for.
pub const CONDITION_ADDRESS_CONFLICT: &str = "causeway.io/AddressConflict";

/// Condition on a Service, true while it asks for sessionAffinity ClientIP and several nodes announce it by BGP.
pub const CONDITION_SESSION_AFFINITY: &str = "causeway.io/SessionAffinityBestEffort";

/// Label of BGPSessionStates: the node.
pub const LABEL_SESSION_NODE: &str = "frrk8s.metallb.io/node";
/// Label of BGPSessionStates: the router, see [`crate::kinds::peer_label`].
pub const LABEL_SESSION_PEER: &str = "frrk8s.metallb.io/peer";
/// Label of BGPSessionStates: the VRF, always empty.
pub const LABEL_SESSION_VRF: &str = "frrk8s.metallb.io/vrf";

/// Label of status objects: the node that wrote it.
pub const LABEL_NODE: &str = "metallb.io/node";
/// Label of status objects: name of the Service.
pub const LABEL_SERVICE_NAME: &str = "metallb.io/service-name";
/// Label of status objects: namespace of the Service.
pub const LABEL_SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// Label of configuration states: `controller` or `speaker`.
pub const LABEL_COMPONENT: &str = "metallb.io/component-type";
/// Label of configuration states of speakers: the node.
pub const LABEL_NODE_NAME: &str = "metallb.io/node-name";

/// Namespace that MetalLB's kinds are read from unless told otherwise.
pub const DEFAULT_CONFIG_NAMESPACE: &str = "metallb-system";

/// Event reasons of MetalLB's controller and speaker; tools parse some of them.
pub mod events {
    /// Normal: `Assigned IP …` or `Assigned additional IP …`.
    pub const ALLOCATED: &str = "IPAllocated";
    /// Normal: the addresses that the Service has are not allowed any more; others are looked for.
    pub const CLEARED: &str = "ClearAssignment";
    /// Normal: `PreferDualStack` got only one family.
    pub const ADDITIONAL_FAILED: &str = "AdditionalAssignFailed";
    /// Normal, from the speaker: `announcing from node "…" with protocol "layer2"`.
    pub const NODE_ASSIGNED: &str = "nodeAssigned";
    /// Warning: no address could be had.
    pub const ALLOCATION_FAILED: &str = "AllocationFailed";
    /// Warning: the addresses asked for are not addresses.
    pub const REQUEST_INVALID: &str = "LoadBalancerFailed";
    /// Warning: `RequireDualStack` with fewer than two cluster IPs. MetalLB writes `not enough clusterips`, which no condition may have as its
    /// reason.
    pub const NOT_ENOUGH_CLUSTER_IPS: &str = "NotEnoughClusterIPs";
    /// Warning: the cluster IPs are of no known family mix.
    pub const CLUSTER_IPS_FAMILY: &str = "noclusterIPsIPFamily";
    /// Warning: an annotation with the old prefix is used.
    pub const DEPRECATED_ANNOTATION: &str = "deprecatedAnnotation";
    /// Normal, from the speaker, on a BGPPeer: the session of a node is established.
    pub const SESSION_UP: &str = "BGPSessionUp";
    /// Warning, from the speaker, on a BGPPeer: the session of a node is down.
    pub const SESSION_DOWN: &str = "BGPSessionDown";
    /// Warning, from the speaker: an address cannot be announced from the node that should.
    pub const ANNOUNCE_FAILED: &str = "announceFailed";
}

/// Reasons of our own for what is wrong with pools and advertisements.
pub mod reasons {
    /// The spec of a pool cannot be used.
    pub const INVALID_POOL: &str = "InvalidPool";
    /// A pool overlaps an older one.
    pub const OVERLAPPING_POOLS: &str = "OverlappingPools";
    /// The spec of an L2Advertisement or BGPAdvertisement cannot be used.
    pub const INVALID_ADVERTISEMENT: &str = "InvalidAdvertisement";
    /// No advertisement announces the addresses of a Service.
    pub const NOT_ANNOUNCED: &str = "NotAnnounced";
    /// Two BGPAdvertisements want one route with different attributes, so that it is not announced.
    pub const CONFLICTING_ADVERTISEMENTS: &str = "ConflictingAdvertisements";
    /// A BGPAdvertisement names a BGPPeer that does not exist.
    pub const UNKNOWN_PEER: &str = "UnknownPeer";
    /// Two BGPAdvertisements say the same.
    pub const DUPLICATE_ADVERTISEMENT: &str = "DuplicateAdvertisement";
    /// The spec of a BGPPeer cannot be used.
    pub const INVALID_PEER: &str = "InvalidPeer";
    /// Two BGPPeers of one node lead to the same router.
    pub const DUPLICATE_PEER: &str = "DuplicatePeer";
    /// The BGPPeers of one node do not agree on who the node is.
    pub const PEERS_DISAGREE: &str = "PeersDisagree";
    /// A BGPPeer has both graceful restart and BFD, which work against each other.
    pub const GRACEFUL_RESTART_WITH_BFD: &str = "GracefulRestartWithBFD";
    /// BFD does without the echo mode that is asked for.
    pub const NO_BFD_ECHO: &str = "NoBFDEcho";
    /// The spec of a BFDProfile cannot be used.
    pub const INVALID_PROFILE: &str = "InvalidBFDProfile";
    /// Part of a Community cannot be used.
    pub const INVALID_COMMUNITY: &str = "InvalidCommunity";
    /// An annotation has a value that says nothing.
    pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
    /// An annotation with our prefix means nothing on this kind of object.
    pub const UNKNOWN_ANNOTATION: &str = "UnknownAnnotation";
    /// Several nodes announce a Service by BGP, which sessionAffinity ClientIP cannot bear.
    pub const SEVERAL_ANNOUNCERS: &str = "SeveralAnnouncers";
    /// A setting of a node stands in the way of announcing.
    pub const NODE_SETTINGS: &str = "NodeSettings";
    /// A pool holds addresses of nodes.
    pub const NODE_ADDRESSES: &str = "NodeAddressesInPool";
    /// An AddressConflict cannot be used.
    pub const INVALID_CONFLICT: &str = "InvalidConflict";
    /// Somebody else on the segment uses an address of a Service.
    pub const ADDRESS_CONFLICT: &str = "AddressConflict";
    /// The pool that a Service asks for is gone or refused; the Service keeps what it has.
    pub const POOL_UNUSABLE: &str = "PoolUnusable";
    /// An address that a Service has is in no pool any more.
    pub const OUTSIDE_POOLS: &str = "AddressOutsidePools";
}
