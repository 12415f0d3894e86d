//! Layer 2: being found on a network segment under addresses that the kernel does not know. Pure, sans-IO.
//!
//! One [`Segment`] is the state of one interface. It answers who asks for an announced address ([`Segment::receive`]), and says unasked where an address is: at
//! once after taking it, some more times shortly after, and then every now and then ([`Segment::next_unsolicited`], [`Segment::next_deadline`]). It asks whether somebody else
//! has an address ([`Segment::probe`]), notices who claims an announced one, and tells what it found ([`Segment::next_finding`]).
//!
//! ```text
//!   frame, now ─────▶ receive ──────────▶ Verdict: Reply(frame) | Defend(frames) | Dropped(reason)
//!   addresses, now ─▶ announce ─▶ schedule ─▶ next_unsolicited ─▶ frames
//!   address, now ───▶ probe ────▶ claims ───▶ next_question ────▶ frame;  next_finding ─▶ free | in use | contested
//! ```
//!
//! Invariants: nothing is ever said about an address that is not announced at that moment, but the question whether it is free, which says nothing about who
//! asks; a frame, however hostile, changes nothing but what is known of who claims an address; no allocation per received frame. [`arp`] is IPv4's protocol and
//! [`ndp`] IPv6's; [`Segment`] chooses by Ethernet type.

pub mod arp;
mod claim;
mod frame;
pub mod ndp;
mod schedule;
mod segment;

pub use claim::{DEFEND_INTERVAL, Finding, Kin, Outcome, Probing};
pub use frame::{Frame, Frames, MacAddr};
pub use schedule::Timing;
pub use segment::{DropReason, Segment, Verdict};
