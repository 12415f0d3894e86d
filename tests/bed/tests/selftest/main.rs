//! The bed judged by itself: what real kube-proxies do on it, what its faults do, and that nothing of it is left or leaks.
//!
//! The tests of the data plane share one bed, each in a Kubernetes namespace and with addresses of its own.

mod common;
mod dataplane;
mod faults;
mod lifetime;
mod routers;
