//! Which providers are in this binary. A new cloud is one more variant. Pure.

use std::fmt;

use crate::kube::webhooks::Traits;

/// A provider that is compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// AWS.
    #[cfg(feature = "aws")]
    Aws,
    /// Bare metal.
    #[cfg(feature = "metal")]
    Metal,
    /// OpenStack.
    #[cfg(feature = "openstack")]
    OpenStack,
    /// The model cloud, for tests and benches.
    #[cfg(feature = "model")]
    Model,
}

/// All names that `--cloud-provider` may say, in whichever binary.
const KNOWN: &[&str] = &["aws", "metal", "openstack"];

impl Provider {
    /// Those in this binary.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "aws")]
        Self::Aws,
        #[cfg(feature = "metal")]
        Self::Metal,
        #[cfg(feature = "openstack")]
        Self::OpenStack,
        #[cfg(feature = "model")]
        Self::Model,
    ];

    /// Name as in `--cloud-provider`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => "aws",
            #[cfg(feature = "metal")]
            Self::Metal => "metal",
            #[cfg(feature = "openstack")]
            Self::OpenStack => "openstack",
            #[cfg(feature = "model")]
            Self::Model => "model",
        }
    }

    /// It has a configuration file of its own (`--cloud-config`).
    #[must_use]
    pub fn has_cloud_config(self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => true,
            #[cfg(feature = "metal")]
            Self::Metal => false,
            #[cfg(feature = "openstack")]
            Self::OpenStack => true,
            #[cfg(feature = "model")]
            Self::Model => true,
        }
    }

    /// It marks something outside the cluster (`--cluster-id`).
    #[must_use]
    pub fn marks_cloud_resources(self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => true,
            #[cfg(feature = "metal")]
            Self::Metal => false,
            #[cfg(feature = "openstack")]
            Self::OpenStack => true,
            #[cfg(feature = "model")]
            Self::Model => true,
        }
    }

    /// It has objects of its own kinds in `--config-namespace`.
    #[must_use]
    pub fn has_own_kinds(self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => false,
            #[cfg(feature = "metal")]
            Self::Metal => true,
            #[cfg(feature = "openstack")]
            Self::OpenStack => false,
            #[cfg(feature = "model")]
            Self::Model => false,
        }
    }

    /// It makes load balancers for Ingresses.
    #[must_use]
    pub fn serves_ingresses(self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => true,
            #[cfg(feature = "metal")]
            Self::Metal => false,
            #[cfg(feature = "openstack")]
            Self::OpenStack => true,
            #[cfg(feature = "model")]
            Self::Model => true,
        }
    }

    /// It can be asked for the machines of Nodes, so that node controllers can run.
    #[must_use]
    pub fn knows_machines(self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => true,
            #[cfg(feature = "metal")]
            Self::Metal => false,
            #[cfg(feature = "openstack")]
            Self::OpenStack => true,
            #[cfg(feature = "model")]
            Self::Model => false,
        }
    }

    /// `causeway check` knows what has to be there.
    #[must_use]
    pub fn can_be_checked(self) -> bool {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => true,
            #[cfg(feature = "metal")]
            Self::Metal => true,
            #[cfg(feature = "openstack")]
            Self::OpenStack => true,
            #[cfg(feature = "model")]
            Self::Model => false,
        }
    }

    /// The controllers whose load balancers it can take over (`--adopt`).
    #[must_use]
    pub fn peers(self) -> &'static [causeway_api::Peer] {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => causeway_aws::adopt::PEERS,
            #[cfg(feature = "metal")]
            Self::Metal => &[],
            #[cfg(feature = "openstack")]
            Self::OpenStack => causeway_openstack::adopt::PEERS,
            #[cfg(feature = "model")]
            Self::Model => &[],
        }
    }

    /// Whose webhooks the controller looks for, since they may be left behind; it needs rights for that.
    #[must_use]
    pub fn webhooks_of(self) -> Option<Traits> {
        match self {
            #[cfg(feature = "aws")]
            Self::Aws => Some(Traits {
                peer: causeway_aws::adopt::LBC.name,
                suffix: causeway_aws::adopt::LBC_WEBHOOKS,
                group: "",
            }),
            #[cfg(feature = "metal")]
            Self::Metal => None,
            #[cfg(feature = "openstack")]
            Self::OpenStack => None,
            #[cfg(feature = "model")]
            Self::Model => None,
        }
    }

    /// The names of those in this binary, for people.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|p| p.name()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The provider of a name.
    ///
    /// # Errors
    /// Lists those that are compiled in.
    pub fn parse(name: &str) -> Result<Self, String> {
        let canonical = if name == "metallb" { "metal" } else { name };
        if let Some(provider) = Self::ALL.iter().find(|p| p.name() == canonical) {
            return Ok(*provider);
        }
        let what =
            if KNOWN.contains(&canonical) { "is not compiled into this binary" } else { "is not known" };
        Err(format!("provider {name:?} {what}; there are: {}", Self::names()))
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
