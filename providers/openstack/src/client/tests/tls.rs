//! TLS as the user wants it, against a server of ours: whom we trust, and what we show.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::super::exchange::{connections, exchange};
use crate::api::Failure;
use crate::config::Secret;
use crate::config::credentials::{ClientCertificate, Tls};

/// An authority, and a pair of certificate and key that it made for a name.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server that shows this certificate; where `clients` is given, only to those whom it certified. Its URL.
fn serve(server: &(String, String), clients: Option<&str>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(server.0.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(server.1.as_bytes()).expect("PEM");
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a pair"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            let mut some = [0; 4096];
            // Who is not let in fails here.
            if stream.read(&mut some).is_ok() {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
                let _ = stream.flush();
            }
        }
    });
    url
}

async fn ask(url: &str, tls: &Tls) -> Result<u16, Failure> {
    let client = connections(tls, true).expect("usable certificates");
    exchange(client.get(url)).await.map(|answer| answer.status)
}

fn trusting(authority: &Authority) -> Tls {
    Tls { authorities: Some(authority.pem()), ..Tls::default() }
}

#[tokio::test]
async fn whom_we_trust() {
    let (ours, other) = (Authority::new(), Authority::new());
    let url = serve(&ours.issue("localhost"), None);
    assert_eq!(ask(&url, &trusting(&ours)).await, Ok(200));
    // A bundle of several.
    let both = Tls { authorities: Some(format!("{}\n{}", other.pem(), ours.pem())), ..Tls::default() };
    assert_eq!(ask(&url, &both).await, Ok(200));
    let refused = ask(&url, &trusting(&other)).await.expect_err("another authority");
    let Failure::NoAnswer { sent: false, text } = &refused else { panic!("{refused:?}") };
    assert!(text.contains("certificate"), "{text}");
    assert_eq!(ask(&url, &Tls { insecure: true, ..Tls::default() }).await, Ok(200));
    assert_eq!(ask(&url, &Tls { insecure: true, ..trusting(&other) }).await, Ok(200));
    // Another name than the server's.
    let url = serve(&ours.issue("elsewhere.example"), None);
    assert!(ask(&url, &trusting(&ours)).await.is_err());
}

#[tokio::test]
async fn what_we_show() {
    let authority = Authority::new();
    let url = serve(&authority.issue("localhost"), Some(&authority.pem()));
    assert!(ask(&url, &trusting(&authority)).await.is_err(), "nothing shown");
    let (certificate, key) = authority.issue("causeway");
    let client = Some(ClientCertificate { certificate, key: Secret::new(key) });
    assert_eq!(ask(&url, &Tls { client, ..trusting(&authority) }).await, Ok(200));
    let (certificate, key) = Authority::new().issue("causeway");
    let client = Some(ClientCertificate { certificate, key: Secret::new(key) });
    assert!(ask(&url, &Tls { client, ..trusting(&authority) }).await.is_err(), "made by somebody else");
}

#[test]
fn what_cannot_be_used_is_told() {
    let tls = |authorities: &str| Tls { authorities: Some(authorities.to_owned()), ..Tls::default() };
    let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    for bad in [broken, "", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"] {
        let error = connections(&tls(bad), true).expect_err("unusable");
        assert!(error.contains("ca-file"), "{error}");
    }
    let client = ClientCertificate { certificate: broken.to_owned(), key: Secret::new("hunter2") };
    let error = connections(&Tls { client: Some(client), ..Tls::default() }, false).expect_err("unusable");
    assert!(error.contains("cert-file") && !error.contains("hunter2"), "{error}");
}
