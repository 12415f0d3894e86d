//! The speaker's side of Kubernetes: what it must know ([`world`], pure), its key ([`key`], I/O), the settings of its node ([`node`], I/O), and what
//! it reports: conflicts ([`conflicts`], I/O) and who announces what ([`l2_status`], I/O). The speaker itself is the crate `causeway-speaker`.

pub mod conflicts;
pub mod key;
pub mod l2_status;
pub mod node;
pub mod world;
