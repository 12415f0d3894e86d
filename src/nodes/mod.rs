//! The node controllers of a cloud: what k8s.io/cloud-provider calls `cloud-node` and `cloud-node-lifecycle`. With them the Deployment replaces a
//! cloud's own controller manager; next to one that runs them already they must stay off, which is the default (`--controllers`).
//!
//! | module | is |
//! |---|---|
//! | [`view`] | pure: a Node as it is seen here |
//! | [`describe`] | pure: provider id, labels, addresses, and the end of the taint `uninitialized` |
//! | [`lifecycle`] | pure: what becomes of a Node whose machine stops or ends |
//! | [`run`] | I/O: watch, questions to the cloud, writes |

pub mod describe;
pub mod lifecycle;
pub mod run;
pub mod view;
