//! Rules of the nodes' security groups as they are: read when the controller starts, and with every inventory by two calls, whatever the number of load balancers. I/O.
//!
//! What is not as it was is put right by plans: one stack plans first, and mends what all need; the others look after it, and mostly find nothing to do.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use causeway_api::names::{TAG_CLUSTER, TAG_OWNER};

use crate::calls::CallError;
use crate::cloud::Api;
use crate::cloud::records::SecurityGroup;
use crate::facts::Facts;
use crate::inventory::Answers;
use crate::limits::Priority;
use crate::live::Live;
use crate::naming;
use crate::observe::Known;
use crate::plan::bare;
use crate::plan::marks::OWNER_SHARED;
use crate::security::{comes_from, node_groups};

/// Who is to look at the rules again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nobody.
    #[default]
    Nobody,
    /// One stack.
    First,
    /// All.
    All,
}

impl<A: Api> Live<A> {
    /// Reads the nodes' groups, and all that let the shared group in; that one is forgotten if it is not there: lists by tags show for a while what is gone.
    pub(crate) async fn read_shared(
        &self,
        of_nodes: &BTreeSet<String>,
        priority: Priority,
    ) -> Result<(), CallError> {
        let mut backend = self.known().shared.backend_group.clone();
        if backend.is_none() {
            // Those lists may not know either what was made right before.
            let (vpc, cluster) = (&self.settings.cluster.vpc_id, &self.settings.cluster.id);
            let name = naming::backend_security_group(cluster);
            let found = self.reader(priority).security_group_named(vpc, &name).await?;
            let ours = |group: &SecurityGroup| {
                group.spec.tags.get(TAG_CLUSTER) == Some(cluster)
                    && group.spec.tags.get(TAG_OWNER).is_some_and(|owner| owner == OWNER_SHARED)
            };
            backend = found.filter(ours).map(|group| group.id);
            self.known().shared.backend_group.clone_from(&backend);
        }
        let ids = of_nodes.iter().chain(&backend).cloned().collect();
        let groups = self.groups(&ids, backend.as_deref(), priority).await?;
        let mut known = self.known();
        if let Some(id) = &backend
            && !groups.iter().any(|group| group.id == *id)
        {
            known.shared.backend_group = None;
        }
        for group in groups.iter().filter(|group| Some(&group.id) != backend.as_ref()) {
            known.shared.set_node_rules(&group.id, &group.spec.ingress);
        }
        Ok(())
    }

    async fn groups(
        &self,
        ids: &BTreeSet<String>,
        backend: Option<&str>,
        priority: Priority,
    ) -> Result<Vec<SecurityGroup>, CallError> {
        let reader = self.reader(priority);
        let mut groups = reader.security_groups(ids).await?;
        if let Some(backend) = backend {
            let vpc = &self.settings.cluster.vpc_id;
            let further = reader.security_groups_from(vpc, backend).await?;
            groups.extend(further.into_iter().filter(|group| !ids.contains(&group.id)));
        }
        Ok(groups)
    }

    /// Compares the rules of the nodes' groups with what is known of them.
    pub(crate) async fn find_rules(&self, aws: &Answers, priority: Priority) -> Result<(), CallError> {
        if !self.known().complete {
            return Ok(());
        }
        // Nobody changes them meanwhile.
        let _turn = self.sharing.lock().await;
        let cluster = self.settings.cluster.clone();
        let facts = Facts { cluster, aws: Arc::new(aws.clone()), ..Facts::default() };
        let of_nodes = node_groups(&facts);
        let (ids, backend) = {
            let known = self.known();
            let ids: BTreeSet<String> = known.shared.node_rules.keys().chain(&of_nodes).cloned().collect();
            (ids, known.shared.backend_group.clone())
        };
        if ids.is_empty() {
            return Ok(());
        }
        let groups = self.groups(&ids, backend.as_deref(), priority).await?;
        let mut known = self.known();
        let mut moved = false;
        for group in &groups {
            let now: BTreeSet<_> = group.spec.ingress.iter().map(bare).collect();
            let from_backend =
                now.iter().any(|rule| backend.as_ref().is_some_and(|backend| comes_from(rule, backend)));
            let stray = !of_nodes.is_empty() && !of_nodes.contains(&group.id) && from_backend;
            moved |= stray
                || match known.shared.node_rules.get(&group.id) {
                    // Rules that others add are theirs.
                    Some(before) => !before.is_subset(&now),
                    None => from_backend || of_nodes.contains(&group.id),
                };
            known.shared.set_node_rules(&group.id, &group.spec.ingress);
        }
        let there: BTreeSet<&String> = groups.iter().map(|group| &group.id).collect();
        known.shared.node_rules.retain(|group, _| there.contains(group));
        known.shared.signed_rules.retain(|group, _| there.contains(group));
        if moved {
            self.audit.lock().unwrap_or_else(PoisonError::into_inner).rules = Look::First;
        }
        Ok(())
    }

    /// Owners of the stacks that are to look at the rules now.
    pub(crate) fn owners_of_rules(&self, known: &Known) -> Vec<String> {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let there = known.entries().filter(|(_, e)| !e.tree.load_balancers.is_empty() && !e.doubtful);
        let mut owners: Vec<String> = there.map(|(owner, _)| owner.to_owned()).collect();
        audit.rules = match audit.rules {
            Look::Nobody => return Vec::new(),
            Look::First if owners.len() > 1 => {
                owners.truncate(1);
                Look::All
            }
            Look::First | Look::All => Look::Nobody,
        };
        owners
    }
}
