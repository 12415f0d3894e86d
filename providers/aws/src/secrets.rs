//! Secrets of Kubernetes with the client's id and secret of OpenID Connect: read when AWS is told them, by their name, and held by nobody.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// What such a Secret holds: its entries `clientID` and `clientSecret`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Id of the client.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(…)")
    }
}

/// The future of [`Secrets::read`].
pub type Read<'a> = Pin<Box<dyn Future<Output = Result<Option<Client>, String>> + Send + 'a>>;

/// Whoever reads Secrets of Kubernetes.
pub trait Secrets: Send + Sync + 'static {
    /// What the Secret holds, an entry that is missing as an empty one; `None`: there is no Secret. An error says why it cannot be read now.
    fn read<'a>(&'a self, namespace: &'a str, name: &'a str) -> Read<'a>;
}
