//! The system calls that safe Rust cannot make, and nothing else.
//!
//! This is the only crate of the workspace in which `unsafe` is allowed, so it is kept small enough to be read in one
//! sitting: a packet socket ([`PacketSocket`]), the clock that goes on counting while the machine is suspended
//! ([`boottime`]), and two options of TCP sockets ([`set_md5_password`], [`set_minimum_ttl`]). It decides nothing: what to
//! answer to a frame is the business of the protocol code. I/O.

mod clock;
mod filter;
mod packet;
mod tcp;

pub use clock::boottime;
pub use filter::Traffic;
pub use packet::{Addressed, PacketSocket, Received};
pub use tcp::{MD5_MAX_KEY, set_md5_password, set_minimum_ttl};
