//! Certificates in Secrets, for a cloud that keeps copies of them: each is read when it is needed, by its name, and held by nobody. I/O.

use causeway_openstack::certificates::{Pair, Read, Secrets};
use kube::{Api, Client};

use super::types::Tls;

/// Reads Secrets.
#[derive(Clone)]
pub struct TlsSecrets(Client);

impl TlsSecrets {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Secrets for TlsSecrets {
    fn read<'a>(&'a self, namespace: &'a str, name: &'a str) -> Read<'a> {
        Box::pin(async move {
            let api: Api<Tls> = Api::namespaced(self.0.clone(), namespace);
            let found = api.get_opt(name).await.map_err(|error| super::chain(&error))?;
            let octets = |entry: Option<k8s_openapi::ByteString>| entry.map(|e| e.0).unwrap_or_default();
            Ok(found.map(|tls| Pair { certificate: octets(tls.data.certificate), key: octets(tls.data.key) }))
        })
    }
}
