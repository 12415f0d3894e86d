//! The bed's certificate authority, certificates and kubeconfigs. Does no I/O: everything is PEM and JSON text that the caller stores.
//!
//! One CA signs servers and clients; it lives as long as the bed. Clients are told apart by subject: `CN` is the user, `O` its group.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// A certificate authority with its key.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl Authority {
    /// A new authority.
    pub fn new() -> Result<Authority> {
        let key = KeyPair::generate().context("generating the CA key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("causeway-bed", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).context("signing the CA certificate")?.pem();
        Ok(Authority { certificate, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server's certificate for these DNS names and IP addresses.
    pub fn server(&self, name: &str, alt_names: Vec<String>) -> Result<Identity> {
        let params =
            CertificateParams::new(alt_names).with_context(|| format!("alternative names of {name}"))?;
        self.sign(params, name, None, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate: user `user`, member of `group`.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        self.sign(CertificateParams::default(), user, group, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        let key = KeyPair::generate().with_context(|| format!("generating the key of {name}"))?;
        params.distinguished_name = subject(name, group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![usage];
        let certificate =
            params.signed_by(&key, &self.issuer).with_context(|| format!("signing {name}"))?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// A kubeconfig (JSON, which is YAML) for the API server at `url` with this client identity.
    pub fn kubeconfig(&self, url: &str, client: &Identity) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": {
                "server": url,
                "certificate-authority-data": STANDARD.encode(self.certificate.as_bytes()),
            }}],
            "users": [{"name": "bed", "user": {
                "client-certificate-data": STANDARD.encode(client.certificate.as_bytes()),
                "client-key-data": STANDARD.encode(client.key.as_bytes()),
            }}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "bed"}}],
            "current-context": "bed",
        })
    }
}

/// A key pair that signs ServiceAccount tokens: private and public part, PEM.
pub fn signing_pair() -> Result<(String, String)> {
    let key = KeyPair::generate().context("generating the ServiceAccount key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_holds_the_authority_and_the_client() {
        let authority = Authority::new().unwrap();
        let client = authority.client("alice", Some("system:masters")).unwrap();
        let config = authority.kubeconfig("https://127.0.0.1:1", &client);
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:1");
        assert_eq!(
            config["clusters"][0]["cluster"]["certificate-authority-data"],
            STANDARD.encode(authority.certificate().as_bytes())
        );
    }
}
