//! Reads several stacks at once, to see whether they are as they are known: what AWS tells of twenty by one call is asked so.
//!
//! Resources that nobody knows of are not looked for here: no list by tags is read.

use std::collections::{BTreeMap, BTreeSet};

use causeway_api::names::TAG_CLUSTER;

use super::Observed;
use super::edit::associate;
use super::known::{by_owner, standing};
use super::read::Reader;
use crate::calls::CallError;
use crate::cloud::records::{Health, Listener, Rule};
use crate::cloud::{Api, Attributed};
use crate::errors;
use crate::plan::tokens::literal;

impl<A: Api> Reader<'_, A> {
    /// How the stacks of these owners are now. What carries another owner's tags, or another cluster's, is left out.
    ///
    /// # Errors
    /// The calls'.
    pub async fn several(
        &self,
        cluster: &str,
        known: &BTreeMap<String, Observed>,
    ) -> Result<BTreeMap<String, Observed>, CallError> {
        if known.is_empty() {
            return Ok(BTreeMap::new());
        }
        let lb_arns = known.values().flat_map(|k| &k.load_balancers).map(|lb| lb.arn.clone()).collect();
        let group_arns = known.values().flat_map(|k| &k.target_groups).map(|g| g.arn.clone()).collect();
        let security_ids: BTreeSet<String> =
            known.values().flat_map(|k| &k.security_groups).map(|g| g.id.clone()).collect();
        let mut lbs = self.load_balancers_by_arn(&lb_arns).await?;
        let mut groups = self.target_groups_by_arn(&group_arns).await?;
        let arns = lbs.iter().map(|lb| lb.arn.clone()).chain(groups.iter().map(|g| g.arn.clone()));
        let mut tags = self.tags(&arns.collect::<Vec<_>>()).await?;
        for lb in &mut lbs {
            lb.spec.tags = tags.remove(&lb.arn).unwrap_or_default();
        }
        for group in &mut groups {
            group.spec.tags = tags.remove(&group.arn).unwrap_or_default();
        }
        lbs.retain(|lb| lb.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == cluster));
        groups.retain(|g| g.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == cluster));
        let (mut listeners, mut rules) = (Vec::<Listener>::new(), Vec::<Rule>::new());
        for lb in &mut lbs {
            lb.spec.load_balancer_attributes = self.attributes(Attributed::LoadBalancer, &lb.arn).await?;
            let (some, of_them) = self.listeners_without_tags(lb).await?;
            listeners.extend(some);
            rules.extend(of_them);
        }
        self.tag_listeners(&mut listeners, &mut rules).await?;
        for group in &mut groups {
            group.spec.target_group_attributes = self.attributes(Attributed::TargetGroup, &group.arn).await?;
        }
        let mut security = self.security_groups(&security_ids).await?;
        security.retain(|g| g.spec.tags.get(TAG_CLUSTER).is_some_and(|c| c == cluster));

        let mut found = by_owner(lbs, groups, security);
        found.retain(|owner, _| known.contains_key(owner));
        for owner in known.keys() {
            let tree = found.entry(owner.clone()).or_default();
            tree.whole = true;
            let of_ours = |arn: &str| tree.load_balancers.iter().any(|lb| lb.arn == arn);
            tree.listeners =
                listeners.iter().filter(|l| of_ours(literal(&l.spec.load_balancer_arn))).cloned().collect();
            let of_those = |arn: &str| tree.listeners.iter().any(|l| l.arn == arn);
            tree.rules = rules.iter().filter(|r| of_those(literal(&r.spec.listener_arn))).cloned().collect();
            for group in &tree.target_groups {
                let healths = self.health(&group.arn).await?;
                if healths.values().any(|h| *h == Health::Healthy) {
                    tree.healthy.insert(group.arn.clone());
                }
                tree.targets.insert(group.arn.clone(), standing(&healths));
            }
            associate(tree);
            let before = known.get(owner).into_iter().flat_map(|known| &known.addons);
            for (arn, asked) in before {
                if tree.load_balancers.iter().any(|lb| lb.arn == *arn) {
                    // What nobody asked about before nobody needs.
                    let addons = self.addons(arn, asked.web_acl.is_some(), asked.protection.is_some());
                    match addons.await {
                        Ok(addons) => drop(tree.addons.insert(arn.clone(), addons)),
                        // A right that was taken away must not end the audit of everything else.
                        Err(CallError::Failed(failure)) if errors::denied(&failure) => {}
                        Err(e) => return Err(e),
                    }
                }
            }
        }
        Ok(found)
    }
}
