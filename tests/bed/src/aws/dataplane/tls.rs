//! TLS of listeners, by the certificates of ACM, chosen by SNI; TLS to targets, whose certificates load balancers do not check. I/O only in that certificates are made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::aws::certificates::Material;
use crate::aws::cloud::Cloud;

/// TLS configurations, made when first needed.
#[derive(Debug)]
pub struct Configs {
    cloud: Arc<Cloud>,
    region: String,
    /// Certificates by ARN, with the names they are for and how they were made.
    keys: Mutex<HashMap<String, (String, Arc<Certified>)>>,
    client: Arc<ClientConfig>,
}

#[derive(Debug)]
struct Certified {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Configs {
    /// None yet.
    pub fn new(cloud: Arc<Cloud>, region: String) -> Result<Configs> {
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(Arc::new(ring::default_provider()))))
            .with_no_client_auth();
        Ok(Configs { cloud, region, keys: Mutex::default(), client: Arc::new(client) })
    }

    /// For a listener with these certificates, the default one first.
    pub fn acceptor(&self, certificates: &[String]) -> Result<TlsAcceptor> {
        let keys: Vec<Arc<Certified>> =
            certificates.iter().map(|arn| self.certified(arn)).collect::<Result<_>>()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni(keys)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// For targets.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.client.clone())
    }

    fn certified(&self, arn: &str) -> Result<Arc<Certified>> {
        let names = self.cloud.with(&self.region, |_, context| {
            context
                .facts
                .certificates
                .get(arn)
                .map(|certificate| certificate.names.clone())
                .unwrap_or_default()
        });
        let imported = self.cloud.material(arn);
        // An import over an old certificate keeps its ARN.
        let version = imported.as_ref().map(|material| material.certificates.clone()).unwrap_or_default();
        let mut keys = self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((known, key)) = keys.get(arn)
            && *known == version
        {
            return Ok(key.clone());
        }
        let material = match imported {
            Some(material) => material,
            None => Material::own(&names)?,
        };
        let chain: Vec<CertificateDer> = CertificateDer::pem_slice_iter(material.certificates.as_bytes())
            .collect::<Result<_, _>>()
            .context(arn.to_owned())?;
        let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
            .with_context(|| format!("the key of {arn}"))?;
        let signing = ring::sign::any_supported_type(&key).with_context(|| format!("the key of {arn}"))?;
        let certified = Arc::new(Certified { names, key: Arc::new(CertifiedKey::new(chain, signing)) });
        keys.insert(arn.to_owned(), (version, certified.clone()));
        Ok(certified)
    }
}

/// The certificate whose name fits best, else the default one.
#[derive(Debug)]
struct BySni(Vec<Arc<Certified>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello) -> Option<Arc<CertifiedKey>> {
        let best = hello.server_name().and_then(|name| {
            let fitting = self
                .0
                .iter()
                .filter_map(|one| Some((one.names.iter().filter_map(|own| fit(own, name)).max()?, one)));
            fitting.max_by_key(|(fit, _)| *fit).map(|(_, one)| one)
        });
        best.or(self.0.first()).map(|one| one.key.clone())
    }
}

/// How well a certificate's name fits a host: exactly is better than by wildcard; none if it does not. A wildcard is one label.
fn fit(own: &str, host: &str) -> Option<u8> {
    if own.eq_ignore_ascii_case(host) {
        return Some(2);
    }
    let (suffix, (label, rest)) = (own.strip_prefix("*.")?, host.split_once('.')?);
    (!label.is_empty() && rest.eq_ignore_ascii_case(suffix)).then_some(1)
}

/// Accepts any certificate, as load balancers do of their targets.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        for (own, host, expected) in [
            ("a.example", "A.example", Some(2)),
            ("*.example", "a.example", Some(1)),
            ("*.example", "a.b.example", None),
            ("*.example", ".example", None),
            ("*.example", "example", None),
            ("a.example", "b.example", None),
        ] {
            assert_eq!(fit(own, host), expected, "{own} {host}");
        }
    }
}
