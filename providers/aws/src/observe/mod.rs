//! What is there of one stack, and what is known of all: the inventory of the start, brought up to date by the answers to our own writes.
//!
//! [`Observed`], [`known`] and [`mod@edit`] are pure; [`read`] and [`several`] call AWS.

pub mod edit;
pub mod known;
pub mod read;
pub mod several;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

pub use known::Known;

use crate::adopt::PeerStack;
use crate::cloud::records::{Listener, LoadBalancer, Protection, Rule, SecurityGroup, TargetGroup, WebAcl};
use crate::plan::bare;
use crate::plan::marks::resource_id;
use crate::security::signer;
use crate::stack::{IpPermission, ResourceType, Tags, Target};

/// What all stacks share, as far as it is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SharedHave {
    /// Id of the backend security group.
    pub backend_group: Option<String>,
    /// No other stack of ours is there, so nobody else needs what is shared.
    pub alone: bool,
    /// The backend security group is being deleted, or was, without a clear answer.
    pub backend_going: bool,
    /// Rules that the nodes' security groups have, without descriptions.
    pub node_rules: BTreeMap<String, BTreeSet<IpPermission>>,
    /// Those of them that one load balancer alone needs, as they are.
    pub signed_rules: BTreeMap<String, BTreeSet<IpPermission>>,
}

impl SharedHave {
    /// A nodes' group has these rules.
    pub fn set_node_rules(&mut self, group: &str, rules: &[IpPermission]) {
        self.node_rules.insert(group.to_owned(), BTreeSet::new());
        self.signed_rules.remove(group);
        self.add_node_rules(group, rules);
    }

    /// A nodes' group that is known has these rules more.
    pub fn add_node_rules<'a>(&mut self, group: &str, rules: impl IntoIterator<Item = &'a IpPermission>) {
        let Some(has) = self.node_rules.get_mut(group) else { return };
        for rule in rules {
            has.insert(bare(rule));
            if signer(rule).is_some() {
                self.signed_rules.entry(group.to_owned()).or_default().insert(rule.clone());
            }
        }
    }

    /// A nodes' group has these rules no more.
    pub fn take_node_rules<'a>(&mut self, group: &str, rules: impl IntoIterator<Item = &'a IpPermission>) {
        for rule in rules {
            if let Some(has) = self.node_rules.get_mut(group) {
                has.remove(&bare(rule));
            }
            if let Some(has) = self.signed_rules.get_mut(group) {
                has.remove(rule);
            }
        }
    }

    /// What groups have that lets the backend group in, but for those of the nodes.
    pub fn strays<'a>(
        &'a self,
        of_nodes: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (&'a str, &'a IpPermission)> {
        let ours = move |rule: &&IpPermission| {
            self.backend_group.as_ref().is_some_and(|backend| crate::security::comes_from(rule, backend))
        };
        let others = self.node_rules.iter().filter(|(group, _)| !of_nodes.contains(*group));
        others.flat_map(move |(group, rules)| rules.iter().filter(ours).map(|r| (group.as_str(), r)))
    }

    /// What the nodes' groups have for an owner alone.
    pub fn signed_by<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = (&'a str, &'a IpPermission)> {
        let all = self
            .signed_rules
            .iter()
            .flat_map(|(group, rules)| rules.iter().map(move |r| (group.as_str(), r)));
        all.filter(move |(_, rule)| signer(rule) == Some(owner))
    }
}

/// What goes with a load balancer and is not ELB's, as far as it was asked about: what nobody uses is never asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Addons {
    /// The web ACL; `Some(None)`: there is none.
    pub web_acl: Option<Option<WebAcl>>,
    /// The protection; `Some(None)`: there is none.
    pub protection: Option<Option<Protection>>,
    /// What AWS refuses, by what it is about, with what it said. It is tried again when some time has passed.
    pub refused: BTreeMap<ResourceType, Refused>,
}

/// What AWS refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// What it said, and what to do.
    pub why: String,
    /// When, in seconds since the epoch.
    pub at: u64,
}

/// Seconds after which what AWS refused is tried again.
pub const TRY_AGAIN: u64 = 300;

/// What is there of one stack. `Default`: nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Observed {
    /// Everything that there is was read. If not: of load balancers and target groups only what lists say and their tags, of security groups the tags,
    /// and no listener.
    pub whole: bool,
    /// Load balancers.
    pub load_balancers: Vec<LoadBalancer>,
    /// Target groups.
    pub target_groups: Vec<TargetGroup>,
    /// Targets by the ARN of their target group, without those that are draining. Absent: not known.
    pub targets: BTreeMap<String, BTreeSet<Target>>,
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Security groups.
    pub security_groups: Vec<SecurityGroup>,
    /// What is shared.
    pub shared: SharedHave,
    /// Target groups, by ARN, that have a healthy target, of those that were asked about.
    pub healthy: BTreeSet<String>,
    /// Target groups, by ARN, that have got no traffic for long enough.
    pub drained: BTreeSet<String>,
    /// Targets, by target group, that AWS would not take; they are counted among [`Self::targets`].
    pub refused: BTreeMap<String, BTreeSet<Target>>,
    /// What the peer made, by its tags, for an object of this name, and nobody has taken over; only where things are taken over at all.
    pub peer: Option<Box<PeerStack>>,
    /// Tags of target groups that a user named which say what of them is ours, by ARN; see [`crate::plan::shares`]. Absent: not known.
    pub records: BTreeMap<String, Tags>,
    /// What goes with load balancers, by their ARN.
    pub addons: BTreeMap<String, Addons>,
    /// Secrets that hold no client's id and secret, by [`crate::stack::SecretRef::mark`], and why.
    pub unusable: BTreeMap<String, String>,
    /// Load balancers, by ARN, that others followed, and how long ago.
    pub retired: BTreeMap<String, Duration>,
}

impl Observed {
    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load_balancers.is_empty() && self.target_groups.is_empty() && self.security_groups.is_empty()
    }

    /// Load balancers with this id in the stack.
    pub fn load_balancers_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a LoadBalancer> {
        self.load_balancers
            .iter()
            .filter(move |lb| resource_id(&lb.spec.tags, ResourceType::LoadBalancer) == Some(id))
    }

    /// Target groups with this id in the stack.
    pub fn target_groups_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a TargetGroup> {
        self.target_groups
            .iter()
            .filter(move |group| resource_id(&group.spec.tags, ResourceType::TargetGroup) == Some(id))
    }
}
