//! The speaker's side of Kubernetes: what it must know ([`world`], pure) and its key ([`key`], I/O), the
//! settings of its node ([`node`], I/O), and the conflicts that it reports ([`conflicts`], I/O). The speaker itself is
//! the crate `causeway-speaker`.

pub mod conflicts;
pub mod key;
pub mod node;
pub mod world;
