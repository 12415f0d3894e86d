//! What we know of the cluster: compact records and, over them, the index.

#[cfg(test)]
pub(crate) mod fixtures;
pub mod index;
pub mod records;
