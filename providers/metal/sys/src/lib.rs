//! The system calls that safe Rust cannot make, and nothing else.
//!
//! This is the only crate of the workspace in which `unsafe` is allowed, so it is kept small enough to be read in one
//! sitting: a packet socket ([`PacketSocket`]) and the clock that goes on counting while the machine is suspended
//! ([`boottime`]). It decides nothing: what to answer to a frame is the business of the protocol code. I/O.

mod clock;
mod filter;
mod packet;

pub use clock::boottime;
pub use filter::Traffic;
pub use packet::{Addressed, PacketSocket, Received};
