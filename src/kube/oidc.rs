//! Ids and secrets of OpenID Connect's clients in Secrets, for a cloud that logs people in: each is read when it is needed, by its name, and held by nobody. I/O.

use causeway_aws::secrets::{Client as OidcClient, Read, Secrets};
use kube::{Api, Client};

use super::types::Oidc;

/// Reads Secrets.
#[derive(Clone)]
pub struct OidcSecrets(Client);

impl OidcSecrets {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Secrets for OidcSecrets {
    fn read<'a>(&'a self, namespace: &'a str, name: &'a str) -> Read<'a> {
        Box::pin(async move {
            let api: Api<Oidc> = Api::namespaced(self.0.clone(), namespace);
            let found = api.get_opt(name).await.map_err(|error| super::chain(&error))?;
            // What is no text is no id and no secret.
            let text = |entry: Option<k8s_openapi::ByteString>| {
                entry.and_then(|e| String::from_utf8(e.0).ok()).map(|t| t.trim_end_matches('\n').to_owned())
            };
            Ok(found.map(|oidc| OidcClient {
                id: text(oidc.data.id).unwrap_or_default(),
                secret: text(oidc.data.secret).unwrap_or_default(),
            }))
        })
    }
}
