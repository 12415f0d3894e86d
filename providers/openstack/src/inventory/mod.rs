//! What OpenStack holds, as far as decisions need it: answers as they came. Pure data; read from a file offline.
//!
//! ```yaml
//! apiVersion: causeway.io/v1
//! kind: Inventory
//! cluster: {id: 5f6c…, name: kubernetes}
//! options:
//!   LoadBalancer: {subnet-id: 6a1b…}
//! openstack:
//!   GET /v2.0/networks: {networks: [{id: …, "router:external": true}]}
//! ```
//!
//! Under `openstack` stands, by method and path, what the service answers to it. One that is missing is an error only for an object whose decision
//! needs it ([`Answers`] gives a [`Missing`]); one that is not known is an error of the file, as is an option.

mod records;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use records::*;

use crate::options::{Complaint, Options, Section};

/// The only `apiVersion` of the file.
pub const API_VERSION: &str = "causeway.io/v1";
/// The only `kind` of the file.
pub const KIND: &str = "Inventory";

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Id: in tags and descriptions. The uid of namespace kube-system, unless given otherwise.
    #[serde(default)]
    pub id: String,
    /// Name, in names; the peer's `--cluster-name`.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_name() -> String {
    "kubernetes".to_owned()
}

impl Default for Cluster {
    fn default() -> Self {
        Self { id: String::new(), name: default_name() }
    }
}

/// An answer that a decision needs is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what OpenStack holds is not known: the inventory has no {0:?}; add what the service answers to it under `openstack`"
)]
pub struct Missing(pub &'static str);

/// What few decisions need: it is asked for once one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rare {
    /// [`Answers::providers`].
    Providers,
    /// [`Answers::flavors`].
    Flavors,
    /// [`Answers::availability_zones`].
    AvailabilityZones,
    /// [`Answers::octavia_quotas`] and [`Answers::neutron_quotas`].
    Quotas,
}

impl Rare {
    /// All of it.
    pub const ALL: [Self; 4] = [Self::Providers, Self::Flavors, Self::AvailabilityZones, Self::Quotas];
}

macro_rules! answers {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $path:literal;)*) => {
        /// Answers by method and path.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Answers {
            $($(#[$doc])* pub $field: Option<$type>,)*
            /// What nobody has asked for yet. An answer that is missing and not in here is one that the service does not give.
            pub unasked: BTreeSet<Rare>,
        }

        /// The paths, as they are written in the file; a word in capitals stands for an id.
        pub const PATHS: &[&str] = &[$($path),*];

        impl Answers {
            pub(crate) fn put(&mut self, path: &str, value: Value) -> Result<(), String> {
                $(if matches(path, $path) {
                    if self.$field.is_some() {
                        return Err(format!("{path:?} is there twice"));
                    }
                    self.$field = Some(read(path, value)?);
                    return Ok(());
                })*
                Err(format!("{path:?} is not known; there are: {}", PATHS.join(", ")))
            }

            fn written(&self) -> BTreeMap<String, Value> {
                let mut out = BTreeMap::new();
                $(if let Some(answer) = &self.$field {
                    // Plain data always becomes JSON.
                    out.insert($path.to_owned(), serde_json::to_value(answer).unwrap_or_default());
                })*
                out
            }
        }
    };
}

answers! {
    /// Services that there are.
    catalog: Catalog = "GET /v3/auth/catalog";
    /// Versions of Octavia's API; without it, the newest that decisions know.
    versions: Versions = "GET /";
    /// Providers of load balancers; without it, amphora.
    providers: Providers = "GET /v2.0/lbaas/providers";
    /// Flavors; without it, any id is taken for one.
    flavors: Flavors = "GET /v2.0/lbaas/flavors";
    /// Availability zones; without it, any name is taken for one.
    availability_zones: AvailabilityZones = "GET /v2.0/lbaas/availabilityzones";
    /// Load balancers.
    load_balancers: LoadBalancers = "GET /v2.0/lbaas/loadbalancers";
    /// Quotas of Octavia.
    octavia_quotas: Quotas = "GET /v2.0/lbaas/quotas/PROJECT";
    /// Networks.
    networks: Networks = "GET /v2.0/networks";
    /// Subnets.
    subnets: Subnets = "GET /v2.0/subnets";
    /// Ports.
    ports: Ports = "GET /v2.0/ports";
    /// Floating IPs.
    floating_ips: FloatingIps = "GET /v2.0/floatingips";
    /// Extensions of Neutron; without it, those that decisions need.
    extensions: Extensions = "GET /v2.0/extensions";
    /// Quotas of Neutron.
    neutron_quotas: Quotas = "GET /v2.0/quotas/PROJECT";
}

/// Whether a path is the one of a pattern, in which a word in capitals stands for any one step. What follows a question mark does not count.
fn matches(path: &str, pattern: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let path = if path.len() > "GET /".len() { path.trim_end_matches('/') } else { path };
    let (mut have, mut want) = (path.split('/'), pattern.split('/'));
    loop {
        match (have.next(), want.next()) {
            (None, None) => return true,
            (Some(h), Some("PROJECT")) if !h.is_empty() => {}
            (Some(h), Some(w)) if h == w => {}
            _ => return false,
        }
    }
}

fn read<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| format!("{path:?}: {e}"))
}

impl Answers {
    /// Networks.
    ///
    /// # Errors
    /// They are not known; so for the other methods.
    pub fn networks(&self) -> Result<&[Network], Missing> {
        Ok(&self.networks.as_ref().ok_or(Missing("GET /v2.0/networks"))?.networks)
    }

    /// Subnets.
    ///
    /// # Errors
    /// They are not known.
    pub fn subnets(&self) -> Result<&[Subnet], Missing> {
        Ok(&self.subnets.as_ref().ok_or(Missing("GET /v2.0/subnets"))?.subnets)
    }

    /// A subnet, if it is known.
    #[must_use]
    pub fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.as_ref()?.subnets.iter().find(|s| s.id == id)
    }

    /// Ports; none where they are not known.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        self.ports.as_ref().map_or(&[], |a| &a.ports)
    }

    /// Load balancers; none where they are not known.
    #[must_use]
    pub fn load_balancers(&self) -> &[ExistingLoadBalancer] {
        self.load_balancers.as_ref().map_or(&[], |a| &a.loadbalancers)
    }

    /// Floating IPs; none where they are not known.
    #[must_use]
    pub fn floating_ips(&self) -> &[ExistingFloatingIp] {
        self.floating_ips.as_ref().map_or(&[], |a| &a.floatingips)
    }

    /// Minor version of Octavia's API v2; the newest that there can be where it is not known.
    #[must_use]
    pub fn octavia_minor(&self) -> u32 {
        let Some(known) = &self.versions else { return u32::MAX };
        let minor = |v: &Version| v.id.strip_prefix("v2.")?.parse::<u32>().ok();
        known.versions.iter().filter_map(minor).max().unwrap_or(0)
    }

    /// Whether the catalog lacks a service; false where it is not known.
    #[must_use]
    pub fn lacks_service(&self, kind: &str) -> bool {
        self.catalog.as_ref().is_some_and(|c| c.catalog.iter().all(|s| s.kind != kind))
    }

    /// Whether Neutron lacks an extension; false where they are not known.
    #[must_use]
    pub fn lacks_extension(&self, alias: &str) -> bool {
        self.extensions.as_ref().is_some_and(|e| e.extensions.iter().all(|x| x.alias != alias))
    }

    /// A quota; `None`: there is no limit, or it is not known. Octavia has two spellings for some.
    #[must_use]
    pub fn quota(quotas: Option<&Quotas>, names: &[&str]) -> Option<u64> {
        let quota = &quotas?.quota;
        names.iter().find_map(|n| *quota.get(*n)?).and_then(|n| u64::try_from(n).ok())
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct Inventory {
    /// The cluster.
    pub cluster: Cluster,
    /// Options.
    pub options: Options,
    /// What was wrong with options that were read elsewhere; a file with wrong ones is none.
    pub complaints: Vec<Complaint>,
    /// Answers.
    pub openstack: Answers,
}

/// The file as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    options: BTreeMap<String, BTreeMap<String, Value>>,
    #[serde(default)]
    openstack: BTreeMap<String, Value>,
}

impl TryFrom<File> for Inventory {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        if (file.api_version.as_str(), file.kind.as_str()) != (API_VERSION, KIND) {
            return Err(format!(
                "it is {} of {}: write apiVersion: {API_VERSION} and kind: {KIND}",
                file.kind, file.api_version
            ));
        }
        let mut sections: BTreeMap<String, Section> = BTreeMap::new();
        for (name, values) in file.options {
            if name != crate::options::SECTION && !name.starts_with(crate::options::CLASS_SECTION) {
                return Err(format!(
                    "options: there is no section {name:?}: write LoadBalancer or LoadBalancerClass \"NAME\""
                ));
            }
            let section = sections.entry(name).or_default();
            for (key, value) in values {
                let text = match value {
                    Value::String(text) => text,
                    Value::Bool(_) | Value::Number(_) => value.to_string(),
                    other => return Err(format!("options: {key}: {other} is no value for it")),
                };
                section.insert(key, vec![text]);
            }
        }
        let (options, complaints) = Options::read(&sections);
        if let Some(wrong) = complaints.first() {
            return Err(format!("options: {}: {}", wrong.field, wrong.message));
        }
        let mut openstack = Answers::default();
        for (path, value) in file.openstack {
            openstack.put(&path, value)?;
        }
        Ok(Self { cluster: file.cluster, options, complaints, openstack })
    }
}

impl From<Inventory> for File {
    fn from(inventory: Inventory) -> Self {
        let texts = |section: Section| {
            section
                .into_iter()
                .filter_map(|(key, values)| Some((key, Value::String(values.into_iter().next_back()?))))
                .collect()
        };
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            cluster: inventory.cluster,
            options: inventory.options.written().into_iter().map(|(n, s)| (n, texts(s))).collect(),
            openstack: inventory.openstack.written(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<Inventory, String> {
        serde_saphyr::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_read_can_be_written_and_read_again() {
        for inventory in [crate::fixtures::inventory(), Inventory::default()] {
            let text = serde_json::to_string(&inventory).expect("plain data");
            assert_eq!(serde_json::from_str::<Inventory>(&text).expect("our own writing"), inventory);
        }
    }

    #[rstest]
    #[case("kind: Inventory\napiVersion: v2\n", "apiVersion: causeway.io/v1")]
    #[case("kind: Inventory\napiVersion: causeway.io/v1\noptions: {LoadBalancer: {frob: 1}}\n", "frob")]
    #[case("kind: Inventory\napiVersion: causeway.io/v1\noptions: {Global: {x: 1}}\n", "Global")]
    #[case(
        "kind: Inventory\napiVersion: causeway.io/v1\nopenstack: {GET /v2.0/network: {}}\n",
        "/v2.0/networks"
    )]
    #[case(
        "kind: Inventory\napiVersion: causeway.io/v1\nopenstack: {GET /v2.0/networks: {networks: [{}]}}\n",
        "id"
    )]
    #[case("kind: Inventory\napiVersion: causeway.io/v1\ncluster: {nmae: x}\n", "nmae")]
    #[case(
        "kind: Inventory\napiVersion: causeway.io/v1\nopenstack: {'GET /v2.0/quotas/a': {quota: {}}, 'GET /v2.0/quotas/b': {quota: {}}}\n",
        "twice"
    )]
    fn a_wrong_file_is_an_error_that_names_the_key(#[case] text: &str, #[case] says: &str) {
        let error = parse(text).expect_err("a wrong file");
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn answers_are_found_by_path_and_null_is_nothing() {
        let text = "kind: Inventory\napiVersion: causeway.io/v1\nopenstack:\n  \
                    GET /v2.0/lbaas/loadbalancers/?tags=x: {loadbalancers: [{id: a, name: null, vip_address: null, listeners: []}], loadbalancers_links: []}\n  \
                    GET /v2.0/lbaas/quotas/0123: {quota: {load_balancer: 10, member: -1, pool: null}}\n  \
                    GET /: {versions: [{id: v2.9, status: SUPPORTED}, {id: v2.14, status: CURRENT}]}\n";
        let answers = parse(text).expect("a right file").openstack;
        assert_eq!(answers.load_balancers()[0].name, "");
        assert_eq!(answers.octavia_minor(), 14);
        let quota = |name| Answers::quota(answers.octavia_quotas.as_ref(), &[name]);
        assert_eq!(
            (quota("load_balancer"), quota("member"), quota("pool"), quota("x")),
            (Some(10), None, None, None)
        );
        assert_eq!(Answers::default().octavia_minor(), u32::MAX);
        assert!(!Answers::default().lacks_service("key-manager"));
    }
}
