//! `listen-ports` and `mutual-authentication`: what an Ingress listens to. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::json;
use crate::stack::{ElbProtocol, MutualAuthentication};

/// Protocols by port.
pub type Ports = BTreeMap<u16, ElbProtocol>;

/// Reads `listen-ports`.
///
/// # Errors
/// What is wrong with it.
pub fn ports(text: &str) -> Result<Ports, String> {
    let example = "write such as [{\"HTTP\": 80}, {\"HTTPS\": 443}]";
    let raw: Vec<BTreeMap<String, u32>> =
        serde_json::from_str(text).map_err(|e| format!("it is no list of listeners: {e}; {example}"))?;
    let mut ports = Ports::new();
    for (name, number) in raw.into_iter().flatten() {
        let protocol = match name.as_str() {
            "HTTP" => ElbProtocol::Http,
            "HTTPS" => ElbProtocol::Https,
            _ => return Err(format!("protocol {name:?} is not HTTP or HTTPS")),
        };
        let port = u16::try_from(number).ok().filter(|p| *p > 0);
        let port = port.ok_or_else(|| format!("port {number} is not from 1 to 65535"))?;
        if ports.insert(port, protocol).is_some_and(|other| other != protocol) {
            return Err(format!("port {port} is there with HTTP and with HTTPS"));
        }
    }
    if ports.is_empty() { Err(format!("it is empty: {example}")) } else { Ok(ports) }
}

/// Whether `listen-ports` is right.
///
/// # Errors
/// What is wrong with it.
pub fn check_ports(text: &str) -> Result<(), String> {
    ports(text).map(drop)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMutual {
    port: u32,
    mode: String,
    trust_store: Option<String>,
    ignore_client_certificate_expiry: Option<bool>,
    #[serde(rename = "advertiseTrustStoreCaNames")]
    advertise: Option<String>,
}

/// Reads `mutual-authentication`. The trust store is as written: a name, or an ARN.
///
/// # Errors
/// What is wrong with it.
pub fn mutual(text: &str) -> Result<BTreeMap<u16, MutualAuthentication>, String> {
    let raw: Vec<RawMutual> = json::read(text)?;
    let mut out = BTreeMap::new();
    for entry in raw {
        let port = u16::try_from(entry.port).ok().filter(|p| *p > 0);
        let port = port.ok_or_else(|| format!("port {} is not from 1 to 65535", entry.port))?;
        let store = entry.trust_store.filter(|s| !s.is_empty());
        match entry.mode.as_str() {
            "verify" if store.is_none() => {
                return Err(format!("trustStore is missing: mode verify of port {port} needs it"));
            }
            "verify" => {}
            "off" | "passthrough" => {
                let extra = [
                    ("trustStore", store.is_some()),
                    ("ignoreClientCertificateExpiry", entry.ignore_client_certificate_expiry.is_some()),
                    ("advertiseTrustStoreCaNames", entry.advertise.is_some()),
                ];
                if let Some((field, _)) = extra.iter().find(|(_, there)| *there) {
                    return Err(format!("{field} of port {port} goes only with mode verify"));
                }
            }
            other => return Err(format!("mode {other:?} is not off, passthrough or verify")),
        }
        if entry.advertise.as_ref().is_some_and(|a| a != "on" && a != "off") {
            return Err(format!("advertiseTrustStoreCaNames of port {port} is not \"on\" or \"off\""));
        }
        let verify = entry.mode == "verify";
        let config = MutualAuthentication {
            mode: entry.mode,
            trust_store_arn: store,
            ignore_client_certificate_expiry: entry
                .ignore_client_certificate_expiry
                .or(verify.then_some(false)),
            advertise_trust_store_ca_names: entry.advertise,
        };
        if out.insert(port, config).is_some() {
            return Err(format!("port {port} is there twice"));
        }
    }
    if out.is_empty() { Err("it is empty: write a list of ports and modes".to_owned()) } else { Ok(out) }
}

/// Whether `mutual-authentication` is right.
///
/// # Errors
/// What is wrong with it.
pub fn check_mutual(text: &str) -> Result<(), String> {
    mutual(text).map(drop)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn good_ports() {
        let want: Ports =
            [(80, ElbProtocol::Http), (443, ElbProtocol::Https), (8443, ElbProtocol::Https)].into();
        assert_eq!(ports(r#"[{"HTTP": 80}, {"HTTPS": 443}, {"HTTPS": 8443}]"#), Ok(want.clone()));
        assert_eq!(ports(r#"[{"HTTP": 80, "HTTPS": 443}, {"HTTPS": 8443}]"#), Ok(want));
    }

    #[rstest]
    #[case("80", "no list of listeners")]
    #[case("[]", "empty")]
    #[case("[{}]", "empty")]
    #[case(r#"[{"http": 80}]"#, "not HTTP or HTTPS")]
    #[case(r#"[{"HTTP": 0}]"#, "1 to 65535")]
    #[case(r#"[{"HTTP": 65536}]"#, "1 to 65535")]
    #[case(r#"[{"HTTP": "80"}]"#, "no list of listeners")]
    #[case(r#"[{"HTTP": 80}, {"HTTPS": 80}]"#, "HTTP and with HTTPS")]
    fn wrong_ports(#[case] text: &str, #[case] says: &str) {
        let error = ports(text).expect_err(text);
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn good_mutual() {
        let found = mutual(
            r#"[{"port":443,"mode":"verify","trustStore":"mine"},{"port":8443,"mode":"passthrough"}]"#,
        )
        .expect("right");
        assert_eq!(found[&443].trust_store_arn.as_deref(), Some("mine"));
        assert_eq!(found[&443].ignore_client_certificate_expiry, Some(false));
        assert_eq!(
            (found[&8443].mode.as_str(), found[&8443].ignore_client_certificate_expiry),
            ("passthrough", None)
        );
    }

    #[rstest]
    #[case("{}", "sequence")]
    #[case("[]", "empty")]
    #[case(r#"[{"port":0,"mode":"off"}]"#, "1 to 65535")]
    #[case(r#"[{"port":443,"mode":"on"}]"#, "not off, passthrough or verify")]
    #[case(r#"[{"port":443}]"#, "mode")]
    #[case(r#"[{"port":443,"mode":"verify"}]"#, "trustStore is missing")]
    #[case(r#"[{"port":443,"mode":"off","trustStore":"x"}]"#, "only with mode verify")]
    #[case(
        r#"[{"port":443,"mode":"passthrough","ignoreClientCertificateExpiry":true}]"#,
        "only with mode verify"
    )]
    #[case(r#"[{"port":443,"mode":"verify","trustStore":"x","advertiseTrustStoreCaNames":"yes"}]"#, "on")]
    #[case(r#"[{"port":443,"mode":"off"},{"port":443,"mode":"off"}]"#, "twice")]
    fn wrong_mutual(#[case] text: &str, #[case] says: &str) {
        let error = mutual(text).expect_err(text);
        assert!(error.contains(says), "{error}");
    }
}
