//! Where services are: Keystone's catalog. Pure.
//!
//! Addresses come with or without a version at their end (`/v2.0`, `/v2.0/`, `/v2`, `/v1`, `/v2.1/PROJECT`), depending on who set the cloud up. The version is cut off, so
//! that what comes after it is always the path of the API reference.

use std::fmt;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::api::{Failure, Request, Service};
use crate::config::credentials::Interface;

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `public`, `internal` or `admin`.
    #[serde(default)]
    pub interface: String,
    /// Region.
    #[serde(default)]
    pub region: Option<String>,
    /// The same, in newer clouds.
    #[serde(default)]
    pub region_id: Option<String>,
    /// Address.
    #[serde(default)]
    pub url: String,
}

impl Endpoint {
    fn region(&self) -> &str {
        self.region_id.as_deref().or(self.region.as_deref()).unwrap_or_default()
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Type.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Addresses.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// Everything that Keystone tells of services.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Catalog(pub Vec<Entry>);

/// Root of a service: what comes before the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    url: Url,
    /// What stands for [`Service::version`] in paths, where a cloud wants more than that: Nova's project.
    version: Option<String>,
}

impl Catalog {
    /// The root of a service.
    ///
    /// # Errors
    /// The catalog has none, or several and the region is not said.
    pub fn root(
        &self,
        service: Service,
        region: Option<&str>,
        interface: Interface,
    ) -> Result<Root, Failure> {
        let none = |text: String| Failure::NoService { service, text };
        let product = service.product();
        let kind = service.kind();
        let all: Vec<&Endpoint> =
            self.0.iter().filter(|e| e.kind == kind).flat_map(|e| &e.endpoints).collect();
        if all.is_empty() {
            return Err(none(format!(
                "the cloud's catalog has no {product} (type {kind}): ask its operator for it, or for access to it"
            )));
        }
        let here: Vec<&Endpoint> =
            all.iter().copied().filter(|e| region.is_none_or(|r| e.region() == r)).collect();
        let regions = |endpoints: &[&Endpoint]| {
            let mut names: Vec<&str> = endpoints.iter().map(|e| e.region()).collect();
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        if here.is_empty() {
            return Err(none(format!(
                "the cloud's catalog has no {product} in region {:?}, only in {}: mend region in the cloud configuration",
                region.unwrap_or_default(),
                regions(&all)
            )));
        }
        let usable: Vec<&Endpoint> = here
            .iter()
            .copied()
            .filter(|e| e.interface.trim_end_matches("URL") == interface.as_str())
            .collect();
        let Some(first) = usable.first() else {
            let mut names: Vec<&str> = here.iter().map(|e| e.interface.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(none(format!(
                "the cloud's catalog has no {} address of {product}, only {}: mend os-endpoint-type in the cloud configuration",
                interface.as_str(),
                names.join(", ")
            )));
        };
        if usable.iter().any(|e| e.region() != first.region()) {
            return Err(none(format!(
                "the cloud's catalog has {product} in several regions ({}): say which with region in the cloud configuration",
                regions(&usable)
            )));
        }
        Root::new(service, &first.url).ok_or_else(|| {
            none(format!(
                "the cloud's catalog gives {:?} as address of {product}, which is no URL: tell its operator",
                first.url
            ))
        })
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl Root {
    /// The root in an address.
    #[must_use]
    pub fn new(service: Service, address: &str) -> Option<Self> {
        let mut url =
            Url::parse(address.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        let mut parts: Vec<&str> = path.split('/').collect();
        let mut version = None;
        if service == Service::Compute {
            if let Some(at) = parts.iter().rposition(|part| is_version(part)) {
                // `/v2.1`, or `/v2.1/PROJECT` where Nova is older.
                version = Some(format!("/{}", parts[at..].join("/")));
                parts.truncate(at);
            }
        } else if parts.last().is_some_and(|part| is_version(part)) {
            parts.pop();
        }
        let root = parts.join("/");
        url.set_path(&root);
        Some(Self { url, version })
    }

    /// The address of a call.
    #[must_use]
    pub fn url(&self, request: &Request) -> Url {
        let mut url = self.url.clone();
        let path = match (&self.version, request.path.strip_prefix(request.service.version())) {
            (Some(version), Some(rest)) => format!("{version}{rest}"),
            _ => request.path.clone(),
        };
        let root = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{root}{path}"));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        url
    }
}

/// Whether a part of a path is a version: `v2`, `v2.0`, `v2.1`.
fn is_version(part: &str) -> bool {
    let Some(number) = part.strip_prefix('v') else { return false };
    number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Where Keystone takes logins, by the address that the user gave.
#[must_use]
pub fn tokens(auth_url: &Url) -> Url {
    let mut url = auth_url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.ends_with(&["auth", "tokens"]) {
        parts.truncate(parts.len() - 2);
    }
    if parts.last().is_some_and(|part| is_version(part)) {
        parts.pop();
    }
    url.set_path(&format!("{}/v3/auth/tokens", parts.join("/")));
    url
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod unit;
