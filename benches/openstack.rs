//! OpenStack's numbers: `make bench SUITE=openstack`. Beds with a real Keystone, Neutron, Octavia and Barbican behind a proxy that counts calls, and the controller
//! with default flags, but for a longer Lease, as a process of this machine. I/O.
//!
//! Rows of calls stand on a cloud whose amphorae are no-ops, so that a load balancer is made within a second; rows of seconds on one with haproxies, which
//! serve. Prints one row per number with its goal and what the peers need. Fails if a goal is missed.
//!
//! - `BENCH_ONLY=ID,ID` runs some rows only.
//! - `BENCH_SCALE=0.1` makes a short run with a tenth of Services, kills and minutes; its file is `openstack-short.json`.

#[path = "support/bench.rs"]
mod bench;
#[path = "support/changes.rs"]
mod changes;
#[path = "openstack/clusters.rs"]
mod clusters;
#[path = "support/controller.rs"]
mod controller;
#[path = "openstack/crashes.rs"]
mod crashes;
#[path = "openstack/faults.rs"]
mod faults;
#[path = "support/kills.rs"]
mod kills;
#[path = "openstack/many.rs"]
mod many;
#[path = "support/report.rs"]
mod report;
#[path = "openstack/site.rs"]
mod site;
#[path = "openstack/times.rs"]
mod times;

use anyhow::Result;
use bench::Bench;

#[tokio::main]
async fn main() -> Result<()> {
    // The one TLS implementation of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = Bench::from_environment()?;
    bench.part(&many::ROWS, many::rows(&bench)).await;
    bench.part(&times::ROWS, times::rows(&bench)).await;
    bench.part(&["crash"], crashes::row(&bench)).await;
    bench.part(&["two-clusters"], clusters::row(&bench)).await;
    bench.part(&["faults"], faults::row(&bench)).await;
    bench.end("openstack")
}
