//! What the clouds of the bed have in common, whatever API they speak: every call passes a [`Gate`] that counts it, charges token
//! buckets, and lets it fail as a test planned: before it takes effect, or after, so that only its answer is lost.
//!
//! The gate knows a call by three words, its service, its action and the resource it is about. What a refusal looks like on the wire is the cloud's business: `aws` is the first
//! one. Everything is pure but [`clock`] and [`http`].

pub mod bucket;
pub mod calls;
pub mod clock;
pub mod control;
pub mod faults;
pub mod gate;
pub mod http;
pub mod pattern;
pub mod stale;

pub use bucket::Limit;
pub use calls::{Counts, Outcome, Record};
pub use clock::Clock;
pub use faults::{Effect, Fault, Moment};
pub use gate::{Admission, Gate};
