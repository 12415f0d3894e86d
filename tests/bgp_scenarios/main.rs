//! What MetalLB's end-to-end suite (`bgptests`) asks of BGP, and what it does not, asked of the speakers and judged by real routers: mostly FRR at the top of the nodes' rack, with its
//! routes in the kernel, so that traffic from behind it flows as it decides; BIRD, GoBGP and exabgp beside it.
//!
//! One bed for all, one scenario at a time. Each has pool, peer and advertisement of its own, and mostly Services without a selector, whose endpoints are written by hand.
//!
//! The rows of that suite that do not need MetalLB's own Pods or FRR's configuration files, and where they are here. `bgp_peers` and `bfd` are test targets without Kubernetes: the former of the
//! speaker's crate, against FRR, BIRD and GoBGP; the latter beside this one.
//!
//! | Row | Test |
//! |---|---|
//! | **bgp.go** service works with policy Cluster, five variants with requested addresses | [`traffic`]: `every_node_announces…`, `addresses_that_are_asked_for…`; [`families`] |
//! | graceful restart on: nothing lost while speakers restart | [`restarts`]: `with_graceful_restart…`; `bgp_peers`: `a_killed_speaker_leaves_its_routes` |
//! | graceful restart off: a gap | [`restarts`]: `without_graceful_restart…` |
//! | not announced from a node with NetworkUnavailable | [`nodes`]: `nodes_that_cannot_take_traffic…` |
//! | service works with policy Local | [`traffic`]: `a_local_service…` |
//! | overlapping (shared) addresses | [`traffic`]: `addresses_that_are_asked_for…` |
//! | pools by range, by prefix | [`traffic`]: `addresses_that_are_asked_for…`; every scenario's own pool is a prefix |
//! | peers with routerID, localASN, graceful restart | [`sessions`]: `who_a_node_is…`; [`restarts`] |
//! | password from a Secret | [`secrets`] |
//! | ServiceBGPStatus: its life | [`selectors`]: `peers_that_an_advertisement_names…`; [`traffic`]: `every_node_announces…` |
//! | BFD: default, all parameters, echo, IPv6, dual-stack | [`watched`]; `bfd` (`echo`, `routers`, `paths`, `times`) |
//! | configuration changes later; peers one by one | [`advertisements`]: `attributes…`; [`selectors`]: `a_peer_is_for_the_nodes…` |
//! | propagation of communities, large ones, aliases, localPref, both, by pool selector | [`advertisements`]: `attributes…`; [`families`]: `within_an_as…`; [`traffic`]: `addresses_that_are_asked_for…` (pool selector) |
//! | overlapping advertisements: communities united | [`advertisements`]: `overlapping…` |
//! | updates of communities, localPref, aggregation length | [`advertisements`]: `attributes…`, `aggregates…`; [`families`]: `within_an_as…` |
//! | routes of neighbours are refused | [`wrong`]: `routes_of_a_router…`; `bgp_peers`: `a_change_resets_only…` |
//! | feedback, running configuration: BFD profile, parameters of a peer | [`watched`]: `every_parameter…`; [`sessions`]: all |
//! | change of timers; connects again after a reset | [`sessions`]: `timers…` |
//! | one service by layer 2 and BGP | [`traffic`]: `layer_2_and_bgp…` |
//! | dynamic ASN connects, the wrong mode does not | [`sessions`]: `who_a_node_is…` |
//! | **bgp_multiprotocol.go** both families over IPv4, over IPv6; each its own only | [`families`] |
//! | localPref and communities with both families | [`families`]: `within_an_as…` |
//! | **bgppeer_selector.go** not to peers outside of the list; two advertisements to two peers | [`selectors`]: `peers_that_an_advertisement_names…` |
//! | **node_selector.go** two Services or one, two advertisements; a node is labelled; one selector is narrowed | [`selectors`]: `nodes_that_an_advertisement_selects…` |
//! | nodes per peer; another ASN per node | [`selectors`]: `a_peer_is_for_the_nodes…` |
//! | **service_selector.go** all | [`selectors`]: `services_that_an_advertisement_selects…` |
//! | **unnumbered.go** IPv4, IPv6, both, with and without BFD | [`sessions`]: `unnumbered…`; `bgp_peers`: `unnumbered` (without BFD) |
//! | **metrics.go** sessions, prefixes, updates | `bgp_peers`: `routers_hear_what_we_say`; of BFD: unit tests of `bfd_run::metrics`; that they are served: `alerts` |
//!
//! Not here: "FRR is deployed" and "extra FRR configuration", for there is no FRR.

#[path = "../support/mod.rs"]
mod support;

mod advertisements;
mod daemons;
mod families;
mod nodes;
mod restarts;
mod scene;
mod secrets;
mod selectors;
mod service;
mod sessions;
mod traffic;
mod watched;
mod wrong;
