//! Takes over a stack of the peer's: tags, and what is known of it from then on.

use std::collections::BTreeSet;

use causeway_api::{Outcome, Result};

use super::{Doing, NOW};
use crate::adopt::{PeerStack, mark};
use crate::cloud::{Api, Call};
use crate::limits::Priority;
use crate::observe::Observed;
use crate::observe::read::only_tags;
use crate::plan::marks::ownership;
use crate::stack::{ResourceType, Tags};

impl<A: Api> Doing<'_, A> {
    /// The load balancer last: once it has our mark, all has.
    pub(super) async fn adopt(&self, stack: &PeerStack) -> Result<Outcome> {
        if let Some(group) = &stack.backend_group {
            self.share(group, stack.peer).await?;
        }
        let mut tree = Observed::default();
        for (id, group, tags) in &stack.security_groups {
            let marks = self.marks(stack.peer, ResourceType::SecurityGroup, id);
            let call = Call::CreateTags { ids: BTreeSet::from([group.clone()]), tags: marks.clone() };
            if self.simple(call).await? != Outcome::Done {
                return Ok(NOW);
            }
            let mut tags = tags.clone();
            tags.extend(marks);
            tree.security_groups.push(only_tags(group.clone(), tags));
        }
        for (id, group) in &stack.target_groups {
            let mut group = group.clone();
            group.spec.tags.extend(self.mark(stack.peer, ResourceType::TargetGroup, id, &group.arn).await?);
            tree.target_groups.push(group);
        }
        for (id, lb) in &stack.load_balancers {
            let reader = self.live.reader(Priority::Create);
            let (listeners, rules) =
                reader.listeners(lb).await.map_err(|e| self.failed(&e, "reading its listeners"))?;
            for listener in listeners {
                self.mark(stack.peer, ResourceType::Listener, &listener.spec.port.to_string(), &listener.arn)
                    .await?;
            }
            for rule in rules {
                self.mark(stack.peer, ResourceType::ListenerRule, &rule.spec.priority.to_string(), &rule.arn)
                    .await?;
            }
            let mut lb = lb.clone();
            lb.spec.tags.extend(self.mark(stack.peer, ResourceType::LoadBalancer, id, &lb.arn).await?);
            tree.load_balancers.push(lb);
        }
        let mut known = self.live.known();
        known.peers.remove(&stack.name);
        known.listed(&self.change.owner, tree);
        Ok(NOW)
    }

    fn marks(&self, peer: &str, kind: ResourceType, id: &str) -> Tags {
        let mut tags = ownership(&self.live.settings.cluster.id, &self.change.owner, kind, id);
        tags.extend([mark(peer)]);
        tags
    }

    async fn mark(&self, peer: &str, kind: ResourceType, id: &str, arn: &str) -> Result<Tags> {
        let tags = self.marks(peer, kind, id);
        self.simple(Call::AddTags { arns: BTreeSet::from([arn.to_owned()]), tags: tags.clone() }).await?;
        Ok(tags)
    }

    /// The group that the peer's load balancers share becomes the one that ours share, unless there is one.
    async fn share(&self, group: &str, peer: &str) -> Result<()> {
        let _turn = self.live.sharing.lock().await;
        if self.live.known().shared.backend_group.is_some() {
            return Ok(());
        }
        let mut tags = self.shared_tags();
        tags.extend([mark(peer)]);
        self.simple(Call::CreateTags { ids: BTreeSet::from([group.to_owned()]), tags }).await?;
        self.live.known().shared.backend_group = Some(group.to_owned());
        Ok(())
    }
}
