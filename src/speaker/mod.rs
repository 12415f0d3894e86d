//! The speaker's side of Kubernetes: what it must know ([`world`], pure) and what it finds wrong with that ([`findings`], pure), its key ([`key`], I/O), the passwords of BGP peers ([`secrets`], I/O), the
//! settings of its node ([`node`], I/O), and what it reports: conflicts ([`conflicts`], I/O), who announces what by layer 2 ([`l2_status`], I/O) and by BGP ([`bgp`], pure; [`reports`], I/O). The speaker itself is the crate `causeway-speaker`.

pub mod bgp;
pub mod conflicts;
pub mod findings;
pub mod key;
pub mod l2_status;
pub mod node;
pub mod reports;
pub mod secrets;
pub mod world;
