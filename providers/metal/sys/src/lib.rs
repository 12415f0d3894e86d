//! The system calls that safe Rust cannot make, and nothing else.
//!
//! This is the only crate of the workspace in which `unsafe` is allowed, so it is kept small enough to be read in one
//! sitting: packet sockets ([`PacketSocket`], [`LoopedSocket`]), how a datagram came in ([`arrival`]), what the kernel calls an interface and a neighbour, and
//! the clock that goes on counting while the machine is suspended ([`boottime`]), with a timer on it ([`Timer`]). It decides nothing: what to answer to a frame
//! is the business of the protocol code. I/O.

pub mod arrival;
mod clock;
mod filter;
mod looped;
mod neighbor;
mod packet;
mod timer;

pub use clock::boottime;
pub use filter::Traffic;
pub use looped::LoopedSocket;
pub use neighbor::{interface_index, interface_name, neighbor_mac};
pub use packet::{Addressed, PacketSocket, Received};
pub use timer::Timer;
