//! Certificates out of Secrets of Kubernetes: what of them Octavia takes, and what is known of each.
//!
//! Decisions know a Secret by a digest of what is in it, never its content. That is read twice: once to know the digest, and once more to put it into Barbican; in
//! between nobody holds it. So a Secret whose labels change is no other certificate, and a process that starts anew finds in Barbican what was put there before.
//!
//! A Secret that cannot be used is said so, and does not take away what serves already: the bundle that was made of what it held before stays.

mod der;
mod pkcs12;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use causeway_api::{Body, CloudError, Kind, LoadBalancer, Problem};
use ring::digest::{Context, SHA256};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::Secret as Hidden;
use der::{FIRST, INTEGER, NULL, OCTETS, OID, SEQUENCE, element, of, take, take_as};

/// What a Secret of type `kubernetes.io/tls` holds. `Debug` does not show it.
#[derive(Clone, Default)]
pub struct Pair {
    /// `tls.crt`: the certificate and those that lead to its root, PEM.
    pub certificate: Vec<u8>,
    /// `tls.key`: its key, PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// The future of [`Secrets::read`].
pub type Read<'a> = Pin<Box<dyn Future<Output = Result<Option<Pair>, String>> + Send + 'a>>;

/// Whoever reads Secrets of Kubernetes.
pub trait Secrets: Send + Sync + 'static {
    /// What the Secret holds; `None`: there is none. An error says why it cannot be read now.
    fn read<'a>(&'a self, namespace: &'a str, name: &'a str) -> Read<'a>;
}

/// What is put into Barbican.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// A digest of what is in it.
    pub digest: String,
    /// PKCS #12, base64.
    pub base64: Hidden,
}

/// id-ecPublicKey.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// rsaEncryption.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// secp521r1, which Octavia knows and the library that compares keys here does not.
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

impl Pair {
    /// The bundle.
    ///
    /// # Errors
    /// Why Octavia would not take it, or would break with it: in words for whoever made the Secret.
    pub fn bundle(&self) -> Result<Bundle, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let certificates = certificates.map_err(|_| {
            "its tls.crt is no PEM: put the certificate there, then those that lead to its root".to_owned()
        })?;
        if certificates.is_empty() {
            return Err(
                "its tls.crt holds no certificate: put one there in PEM, then those that lead to its root"
                    .to_owned(),
            );
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            "its tls.key holds no private key in PEM that is not encrypted: put the certificate's there"
                .to_owned()
        })?;
        let pkcs8 = pkcs8(&key).ok_or("its tls.key is neither an RSA nor an ECDSA key, and Octavia takes no others: have the certificate made for one of these")?;
        match any_supported_type(&key) {
            Ok(signing) => CertifiedKey::new(certificates.clone(), signing).keys_match().map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => "its tls.key is not the key of the first certificate in tls.crt: put the pair there that belongs together".to_owned(),
                _ => "the first certificate in its tls.crt cannot be read: put a whole one there".to_owned(),
            })?,
            Err(_) if contains(&pkcs8, P521) => {}
            Err(_) => return Err("its tls.key is of a kind or length that Octavia does not take: have the certificate made for an RSA key of 2048 to 8192 bits, or an ECDSA key of a NIST curve".to_owned()),
        }
        let mut context = Context::new(&SHA256);
        for part in certificates.iter().map(|c| c.as_ref()).chain([&pkcs8[..]]) {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let digest = context.finish().as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect();
        let chain: Vec<&[u8]> = certificates.iter().map(|c| c.as_ref()).collect();
        Ok(Bundle { digest, base64: Hidden::new(STANDARD.encode(pkcs12::bundle(&pkcs8, &chain))) })
    }
}

/// A key in the form of PKCS #8; `None`: it is of no algorithm that Octavia takes.
fn pkcs8(key: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    let wrapped = |algorithm: &[u8], parameters: &[u8], key: &[u8]| {
        let algorithm = of(SEQUENCE, &[&element(OID, algorithm), parameters]);
        of(SEQUENCE, &[&element(INTEGER, &[0]), &algorithm, &element(OCTETS, key)])
    };
    match key {
        PrivateKeyDer::Pkcs1(key) => Some(wrapped(RSA, &element(NULL, &[]), key.secret_pkcs1_der())),
        PrivateKeyDer::Sec1(key) => {
            let der = key.secret_sec1_der();
            let (content, _) = take_as(SEQUENCE, der)?;
            let (_, rest) = take_as(INTEGER, content)?;
            let (_, rest) = take_as(OCTETS, rest)?;
            // Which curve it is may be left out of this form, but then nobody can read it.
            let (curve, _) = take_as(FIRST, rest)?;
            Some(wrapped(EC, curve, der))
        }
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            let (content, _) = take_as(SEQUENCE, der)?;
            let (_, rest) = take_as(INTEGER, content)?;
            let (algorithm, _) = take_as(SEQUENCE, rest)?;
            let (name, _) = take_as(OID, algorithm)?;
            (name == RSA || name == EC).then(|| der.to_vec())
        }
        _ => None,
    }
}

/// Whether an element lies in the algorithm of a key in the form of PKCS #8.
fn contains(pkcs8: &[u8], oid: &[u8]) -> bool {
    let find = || {
        let (content, _) = take_as(SEQUENCE, pkcs8)?;
        let (_, rest) = take_as(INTEGER, content)?;
        let (algorithm, _) = take_as(SEQUENCE, rest)?;
        let (_, parameters) = take_as(OID, algorithm)?;
        take(parameters).map(|(tag, name, _)| tag == OID && name == oid)
    };
    find() == Some(true)
}

/// What is known of a Secret in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A digest of what is in it.
    Digest(String),
    /// It cannot be used.
    Useless {
        /// Why, and what to do.
        why: String,
        /// The digest of what it held before, of which there is a bundle.
        before: Option<String>,
    },
    /// Nobody has read it.
    Unread,
}

/// What is known of Secrets, by `namespace/name`: the version that was read, and a digest of what is in it or why it cannot be used.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<String, (String, Result<String, String>)>);

impl Known {
    /// What is known of a Secret in this version. `before`: the digest of the bundle that is there of it, if it cannot be used now.
    #[must_use]
    pub fn content(&self, secret: &str, version: &str, before: impl FnOnce() -> Option<String>) -> Content {
        match self.0.get(secret) {
            Some((read, Ok(digest))) if read == version => Content::Digest(digest.clone()),
            Some((read, Err(why))) if read == version => {
                Content::Useless { why: why.clone(), before: before() }
            }
            _ => Content::Unread,
        }
    }

    /// A Secret was read.
    pub fn learn(&mut self, secret: &str, version: &str, read: Result<String, String>) {
        self.0.insert(secret.to_owned(), (version.to_owned(), read));
    }
}

/// A load balancer with digests of Secrets in place of their versions.
pub struct Settled {
    /// It.
    pub lb: LoadBalancer,
    /// What cannot be used, by `namespace/name`, and why.
    pub useless: BTreeMap<String, String>,
    /// What must be read first, by `namespace/name`: its version.
    pub unread: BTreeMap<String, String>,
    /// Bundles that stay, though what they were made of cannot be used any more.
    pub problems: Vec<Problem>,
}

/// Puts digests in place of versions; `None`: it names no Secret.
#[must_use]
pub fn settled(lb: &LoadBalancer, content: &dyn Fn(&str, &str) -> Content) -> Option<Settled> {
    let of_ingresses =
        matches!(&lb.body, Body::L7(http) if http.certificates.iter().any(|c| c.secret_version.is_some()));
    let of_members = lb.members.iter().any(|m| m.secrets.values().any(Option::is_some));
    if !of_ingresses && !of_members {
        return None;
    }
    let mut out =
        Settled { lb: lb.clone(), useless: BTreeMap::new(), unread: BTreeMap::new(), problems: Vec::new() };
    let mut settle = |secret: &str, version: &mut String, object: &causeway_api::ObjectRef| match content(
        secret, version,
    ) {
        Content::Digest(digest) => *version = digest,
        Content::Useless { why, before: Some(digest) } => {
            *version = digest;
            let field = match object.kind {
                Kind::Ingress => "spec.tls".to_owned(),
                _ => format!("metadata.annotations[{}]", crate::annotations::service::TLS_SECRET.key),
            };
            let text = format!(
                "Secret {secret} cannot be used, the certificate that it held before is still served: {why}"
            );
            out.problems.push(Problem::warning(object.clone(), field, USELESS, text));
        }
        Content::Useless { why, before: None } => {
            out.useless.insert(secret.to_owned(), why);
        }
        Content::Unread => {
            out.unread.insert(secret.to_owned(), version.clone());
        }
    };
    for member in &mut out.lb.members {
        let namespace = member.object.namespace.clone();
        for (name, version) in &mut member.secrets {
            if let Some(version) = version {
                settle(&format!("{namespace}/{name}"), version, &member.object);
            }
        }
    }
    if let Body::L7(http) = &mut out.lb.body {
        for certificate in &mut http.certificates {
            let object = out.lb.members.get(certificate.member).map(|m| m.object.clone());
            if let (Some(secret), Some(version), Some(object)) =
                (&certificate.secret, &mut certificate.secret_version, object)
            {
                settle(secret, version, &object);
            }
        }
    }
    Some(out)
}

/// Reason of a problem with a Secret that cannot be used.
pub const USELESS: &str = "InvalidCertificate";

/// Reads a Secret that a Service or Ingress names.
///
/// # Errors
/// It cannot be read now.
pub async fn read(secrets: &dyn Secrets, secret: &str) -> Result<Result<Bundle, String>, CloudError> {
    let (namespace, name) = secret.split_once('/').unwrap_or(("", secret));
    match secrets.read(namespace, name).await {
        Ok(Some(pair)) => Ok(pair.bundle()),
        Ok(None) => Ok(Err(format!(
            "there is no Secret {name} in namespace {namespace}: create it with type kubernetes.io/tls"
        ))),
        Err(why) => Err(CloudError::Transient(format!("Secret {secret} cannot be read: {why}"))),
    }
}

#[cfg(test)]
mod tests;
