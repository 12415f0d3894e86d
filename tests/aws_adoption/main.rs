//! Coming from another controller of AWS' load balancers and going back, against that controller itself, with traffic running all the time: docs/migrate-from-lbc.md and
//! docs/migrate-from-cpa.md walked through.

mod from_cpa;
mod from_lbc;
#[path = "../support/mod.rs"]
mod support;
mod world;
