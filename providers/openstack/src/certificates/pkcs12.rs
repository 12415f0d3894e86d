//! A PKCS #12 bundle of a key and its certificates, without a password, as Octavia takes it: not encrypted (whoever keeps it, encrypts it), with a MAC, without
//! which older OpenSSLs do not read it. Pure. Source: RFC 7292.

use ring::digest::{SHA256, digest};
use ring::hmac;

use super::der::{FIRST, INTEGER, NULL, OCTETS, OID, SEQUENCE, SET, element, of};

/// pkcs7-data.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// pkcs-12-certBag.
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// pkcs-12-keyBag: a key that is not encrypted.
const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x01];
/// x509Certificate.
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// localKeyID.
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x15];
/// id-sha256.
const ID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// Rounds of the derivation: as many as OpenSSL makes. Without a password they protect nothing.
const ROUNDS: usize = 2048;
/// Octets that SHA-256 works on at a time.
const BLOCK: usize = 64;

/// A bundle of a key, PKCS #8, and its certificates, the key's own first. The same again for the same.
pub(super) fn bundle(key: &[u8], certificates: &[&[u8]]) -> Vec<u8> {
    let own = digest(&SHA256, certificates.first().copied().unwrap_or_default());
    let salt = &own.as_ref()[..16];
    let local_key_id = {
        let id = element(SET, &element(OCTETS, &own.as_ref()[..20]));
        element(SET, &of(SEQUENCE, &[&element(OID, LOCAL_KEY_ID), &id]))
    };
    let mut bags = Vec::new();
    for (place, certificate) in certificates.iter().enumerate() {
        let value = element(FIRST, &element(OCTETS, certificate));
        let value = element(FIRST, &of(SEQUENCE, &[&element(OID, X509), &value]));
        let attributes = if place == 0 { &local_key_id[..] } else { &[] };
        bags.extend(of(SEQUENCE, &[&element(OID, CERTIFICATE_BAG), &value, attributes]));
    }
    bags.extend(of(SEQUENCE, &[&element(OID, KEY_BAG), &element(FIRST, key), &local_key_id]));
    let contents = element(SEQUENCE, &data(&element(SEQUENCE, &bags)));

    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac_key(salt)), &contents);
    let algorithm = of(SEQUENCE, &[&element(OID, ID_SHA256), &element(NULL, &[])]);
    let mac = of(SEQUENCE, &[&algorithm, &element(OCTETS, mac.as_ref())]);
    let rounds = element(INTEGER, &u16::try_from(ROUNDS).unwrap_or(1).to_be_bytes());
    let mac = of(SEQUENCE, &[&mac, &element(OCTETS, salt), &rounds]);
    of(SEQUENCE, &[&element(INTEGER, &[3]), &data(&contents), &mac])
}

/// ContentInfo of plain data.
fn data(content: &[u8]) -> Vec<u8> {
    of(SEQUENCE, &[&element(OID, DATA), &element(FIRST, &element(OCTETS, content))])
}

/// Key of the MAC, from the empty password: appendix B of RFC 7292 for as many octets as SHA-256 gives.
fn mac_key(salt: &[u8]) -> [u8; 32] {
    let repeated = salt.iter().copied().cycle().take(BLOCK);
    // The empty password is one character, which ends it: zeros, however often they are repeated.
    let mut input: Vec<u8> = [3; BLOCK].into_iter().chain(repeated).chain([0; BLOCK]).collect();
    for _ in 0..ROUNDS {
        input = digest(&SHA256, &input).as_ref().to_vec();
    }
    input.try_into().unwrap_or_default()
}
