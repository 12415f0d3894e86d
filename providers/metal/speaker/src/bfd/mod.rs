//! Whether a neighbour's forwarding path works: BFD (RFC 5880), for one hop (RFC 5881) and for many (RFC 5883). Pure, sans-IO.
//!
//! ```text
//!   datagram ─▶ Packet::parse ─▶ Paths::select ─▶ Packet ┐
//!   what came back ─▶ echo::discriminator ───────▶ Echo  ┼─ now ─▶ Session::handle ─▶ Send | SendEcho | Changed | …
//!                           Tick | Settings | Stop ──────┘         next_deadline  ─▶ when to call with Tick
//! ```
//!
//! **Modes.** Asynchronous: both ends send control packets at the agreed rate, and each takes the other for dead when none came for the detection time. A
//! neighbour that demands to hear nothing is heeded (§6.6); we never demand. No authentication: a packet that carries some is refused, with that reason.
//!
//! **Choosing times.** A dead neighbour is noticed between `(multiplier − 1)` and `multiplier` times the agreed interval after it died, which is the greater of
//! what we can receive and what it wants to send: with 300 ms × 3 after 600 to 900 ms, with 50 ms × 3 after 100 to 150 ms. Shorter is faster, and takes a node
//! whose CPU is starved for that long for dead; the packets cost little.
//!
//! **Echo function.** If it is configured, packets that the neighbour's forwarding plane sends back watch the path, and control packets go down to one a
//! second. A neighbour may offer that and not do it (a Linux router without `ip_forward`, a filter against addresses that come back): so it counts only once a
//! packet *has* come back. Until then, control packets watch at the full rate, and the snapshot says so.
//!
//! **Stalls.** Silence is judged on a tick only, and all that waits in the sockets is handed in before it: a process that was not run in time finds there what
//! a living neighbour sent. What was sent to a *machine* that did not run may be lost: a tick that is late by a whole interval of the neighbour forgives the
//! silence, once.
//!
//! Invariants: nothing but the packets of its neighbour changes the state of a session, and time; packets go out no more often than agreed (less jitter), but
//! for one at each change of our state or settings and one for each that polls; octets from the network, whatever they are, cost no more than their own
//! session; the same inputs give the same outputs.

pub mod echo;
pub mod looped;
pub mod packet;
pub mod path;
mod poll;
pub mod session;

pub use packet::{Diag, Discarded, Packet, State};
pub use path::{Arrival, Hops, Path, Paths};
pub use session::{EchoSnapshot, Input, Output, Session, SessionSnapshot, Start};
