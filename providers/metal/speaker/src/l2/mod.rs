//! Layer 2: being found on a network segment under addresses that the kernel does not know. Pure, sans-IO.
//!
//! One [`Segment`] is the state of one interface. It answers who asks for an announced address
//! ([`Segment::receive`]), and says unasked where an address is: at once after taking it, some more times shortly after, and then every
//! now and then ([`Segment::next_unsolicited`], [`Segment::next_deadline`]).
//!
//! ```text
//!   frame, now ─────▶ receive ──────────▶ Verdict: Reply(frame) | Dropped(reason)
//!   addresses, now ─▶ announce ─▶ schedule ─▶ next_unsolicited ─▶ frames
//! ```
//!
//! Invariants: nothing is ever said about an address that is not announced at that moment; a frame, however hostile,
//! changes no state; no allocation per received frame. [`arp`] is IPv4's protocol; each family has its own file beside it, and [`Segment`]
//! chooses by Ethernet type.

pub mod arp;
mod frame;
mod schedule;
mod segment;

pub use frame::{Frame, MacAddr};
pub use schedule::Timing;
pub use segment::{DropReason, Segment, Verdict};
