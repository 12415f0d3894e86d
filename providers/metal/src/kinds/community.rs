//! `Community`: names for BGP communities. Pure data.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Names that BGPAdvertisements may use in place of communities.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "Community",
    plural = "communities",
    singular = "community",
    namespaced,
    status = "CommunityStatus",
    doc = "Names for BGP communities, which BGPAdvertisements may use."
)]
pub struct CommunitySpec {
    /// The names. Each may be there once only, in all Communities together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<CommunityAlias>,
}

/// One name.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommunityAlias {
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it stands for: `64500:1` or `large:64500:1:2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Empty.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommunityStatus {}
