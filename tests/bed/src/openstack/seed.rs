//! What is in a cloud from the start. Data.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Ids of what `seed.py` has made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seed {
    /// Projects by name: `admin`, `service`, `k8s`, `other`.
    pub projects: BTreeMap<String, String>,
    /// The external network.
    pub public_network: String,
    /// Subnets by name: of the external network `public-subnet` (tag `internet`), `public-subnet-2` (tag `dmz`), `public-subnet-v6`; of the nodes' network `nodes-subnet`,
    /// `nodes-subnet-v6`.
    pub subnets: BTreeMap<String, String>,
    /// The nodes' network: the bed's segment.
    pub nodes_network: String,
    /// The nodes' security group.
    pub nodes_security_group: String,
    /// The router between the nodes' network and the external one.
    pub router: String,
}

impl Seed {
    /// Id of a subnet.
    pub fn subnet(&self, name: &str) -> Result<&str> {
        let found = self.subnets.get(name).with_context(|| format!("no subnet is called {name}"));
        found.map(String::as_str)
    }
}

/// An instance that is a node: a port on the nodes' network. Nova knows it too, if the cloud has one.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Name of the node.
    pub node: String,
    /// Its id, that of the port's device.
    pub id: String,
    /// Id of its port.
    pub port: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Instance {
    /// As a Node's `spec.providerID` has it.
    pub fn provider_id(&self) -> String {
        format!("openstack:///{}", self.id)
    }
}

/// The id of the instance that is node number `number`; hollow ones are numbered from 1000. Pure.
pub fn instance_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}
