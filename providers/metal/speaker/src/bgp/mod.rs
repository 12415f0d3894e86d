//! BGP as far as a speaker needs it that tells routes and learns none. Pure, sans-IO; knows neither sockets nor Kubernetes.
//!
//! ```text
//!   Connected | Octets | Tick | Routes | Stop …, now ─▶ Session::handle ─▶ Connect | Send | Close | Changed
//!                                                       next_deadline   ─▶ when to call with Tick
//!
//!   message ─ open ─ capability     what is read
//!   message ─ rib ─ attributes      what is written: the difference between what the peer was told and what it is to know
//! ```
//!
//! One [`Session`] per peer, and nothing between them: what one peer does, or does to its session, costs no other.

mod attributes;
mod capability;
mod error;
mod family;
mod message;
mod open;
mod rib;
mod session;

pub use attributes::{Dialect, NextHop, Unsent};
pub use capability::{Capabilities, GracefulCapability, MAX_RESTART_TIME};
pub use causeway_api::Family;
pub use error::{Notification, Reason};
pub use family::FAMILIES;
pub use message::{HEADER, MAX_LENGTH, Message, Reader, keepalive, notification};
pub use open::{AS_TRANS, Negotiated, Open};
pub use rib::{Batch, Told, end_of_rib};
pub use session::{
    BATCH, CONNECT_TIMEOUT, ConnId, Counters, Ends, GRACEFUL_SHUTDOWN, GracefulRestart, Input, NextHops,
    OPEN_TIMEOUT, Output, Prefixes, REFRESH_INTERVAL, RouteSnapshot, STABLE, Session, SessionSnapshot,
    Settings, State, StopReason, send_hold, shut_down,
};
