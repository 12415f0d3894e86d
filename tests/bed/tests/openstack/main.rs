//! The OpenStack of the bed judged: by its own client, by raw calls, under faults, by real traffic; and that nothing of it is left.
//!
//! Services take long to start on a small machine, so there are three clouds in all: one with a cluster for what concerns traffic, one in a bare bed for what concerns the APIs, one with OVN
//! that is started, disturbed and killed by the command.

mod api;
#[allow(dead_code, reason = "the other targets that have it use the rest")]
#[path = "../selftest/common.rs"]
mod bed;
mod common;
mod lifetime;
mod traffic;
