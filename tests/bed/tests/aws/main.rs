//! The AWS of the bed judged: by AWS's own client, beside moto, under faults, by real traffic; and that nothing of it is left.
//!
//! The tests of traffic share one bed with a cluster; all others have bare beds of their own, which start in a second or two.

mod api;
#[allow(dead_code, reason = "the other target that has it uses the rest")]
#[path = "../selftest/common.rs"]
mod bed;
mod common;
mod faults;
mod lifetime;
mod traffic;
mod traps;
