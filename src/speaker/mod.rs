//! The speaker's side of Kubernetes: what it must know ([`world`], pure) and its key ([`key`], I/O), the
//! settings of its node ([`node`], I/O). The speaker itself is
//! the crate `causeway-speaker`.

pub mod key;
pub mod node;
pub mod world;
