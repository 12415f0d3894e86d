//! What we know of the cluster: compact records and, over them, the index.

pub mod index;
pub mod records;
