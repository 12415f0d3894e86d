//! Everything that talks to the API server: watches, lease, status, Events. All I/O towards Kubernetes is here.
//!
//! | module | is |
//! |---|---|
//! | [`types`], [`records`], [`parse`] | pure: what the API server says, as compact records |
//! | [`watch`] | I/O: one watcher per kind, feeding one channel |
//! | [`status`] | pure: what an object shall carry, as one patch |
//! | [`cluster`] | I/O: the engine's writes and live reads |
//! | `configuration` | I/O: what a component thinks of the configuration, on metal |
//! | [`events`] | I/O: Events, aggregated |
//! | [`lease`] | I/O: leader election; its decisions are pure |
//! | [`metallb`] | I/O: whether MetalLB runs here; its rules are pure |
//! | `oidc` | I/O: clients of OpenID Connect in Secrets, on AWS |
//! | [`peer`] | I/O: whether a peer works whose load balancers are to be taken over |
//! | `tls` | I/O: certificates in Secrets, on OpenStack |
//! | [`webhooks`] | I/O: webhooks that a peer left behind; what counts as such is pure |
//! | [`client`] | I/O: configuration, connection, rate limit |

pub mod client;
pub mod cluster;
#[cfg(feature = "metal")]
pub mod configuration;
pub mod events;
pub mod lease;
pub mod metallb;
#[cfg(feature = "aws")]
pub mod oidc;
pub mod parse;
pub mod peer;
pub mod records;
pub mod status;
#[cfg(feature = "openstack")]
pub mod tls;
pub mod types;
pub mod watch;
pub mod webhooks;

/// An error with all its causes, for one line: what a person needs is often in the last.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = cause.source();
    }
    out
}
