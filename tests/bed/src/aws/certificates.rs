//! Where moto's ACM is wrong, and the keys of certificates for the data plane. Pure but for the keys that are made.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use base64::Engine;
use serde_json::{Value, json};

use super::facts::Facts;

/// A certificate with its key.
#[derive(Clone)]
pub struct Material {
    /// The certificate and its chain, PEM.
    pub certificates: String,
    /// The key, PEM.
    pub key: String,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Material {
    /// What an `ImportCertificate` brings.
    pub fn imported(body: &Value) -> Result<Material> {
        let member = |name: &str| -> Result<String> {
            let Some(encoded) = body[name].as_str() else { return Ok(String::new()) };
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .with_context(|| format!("{name} of the imported certificate"))?;
            let mut text =
                String::from_utf8(bytes).with_context(|| format!("{name} of the imported certificate"))?;
            text.push('\n');
            Ok(text)
        };
        let certificates = member("Certificate")? + &member("CertificateChain")?;
        Ok(Material { certificates, key: member("PrivateKey")? })
    }

    /// One of our own for names of a certificate that ACM itself issued: its key never leaves ACM.
    pub fn own(names: &[String]) -> Result<Material> {
        let made = rcgen::generate_simple_self_signed(names.to_vec()).context("making a certificate")?;
        Ok(Material { certificates: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }
}

/// moto's `ListCertificates` says nothing of alternative names; AWS's does, up to 100 of them.
pub fn complete_list(answer: &mut Value, facts: &Facts, in_use: &BTreeSet<String>) {
    for summary in answer["CertificateSummaryList"].as_array_mut().into_iter().flatten() {
        let arn = summary["CertificateArn"].as_str().unwrap_or_default().to_owned();
        if let Some(certificate) = facts.certificates.get(&arn) {
            let names: Vec<&String> = certificate.names.iter().take(100).collect();
            summary["HasAdditionalSubjectAlternativeNames"] = json!(certificate.names.len() > 100);
            summary["SubjectAlternativeNameSummaries"] = json!(names);
        }
        summary["InUse"] = json!(in_use.contains(&arn));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::facts::Certificate;
    use super::*;

    #[test]
    fn alternative_names_are_filled_in() {
        let certificate =
            Certificate { names: vec!["a.example".into(), "*.b.example".into()], status: "ISSUED".into() };
        let facts = Facts { certificates: BTreeMap::from([("arn".into(), certificate)]), ..Facts::default() };
        let mut answer =
            json!({"CertificateSummaryList": [{"CertificateArn": "arn", "DomainName": "a.example"}]});
        complete_list(&mut answer, &facts, &BTreeSet::from(["arn".to_owned()]));
        let summary = &answer["CertificateSummaryList"][0];
        assert_eq!(summary["SubjectAlternativeNameSummaries"], json!(["a.example", "*.b.example"]));
        assert_eq!(summary["InUse"], true);
    }

    #[test]
    fn an_imported_certificate_is_kept_with_its_key() {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let body =
            json!({"Certificate": encode("C"), "PrivateKey": encode("K"), "CertificateChain": encode("D")});
        let material = Material::imported(&body).unwrap();
        assert_eq!((material.certificates.as_str(), material.key.as_str()), ("C\nD\n", "K\n"));
        assert!(!format!("{material:?}").contains('K'), "a key is never printed");
        assert!(Material::imported(&json!({"Certificate": "?"})).is_err());
    }
}
