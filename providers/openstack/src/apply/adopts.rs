//! Takes over a load balancer that a peer made: our marks among its tags, in one write. I/O.

use std::time::Duration;

use causeway_api::names::TAG_APPLIED;
use causeway_api::{CloudError, Outcome, Result};
use serde_json::json;

use super::Doing;
use crate::adopt;
use crate::api::octavia::{LOAD_BALANCERS, Provisioning};
use crate::api::{Api, CallError, Priority};
use crate::observe::known::Depth;
use crate::ownership::tag;
use crate::stack::{LOAD_BALANCER, ResourceType};

/// When to look again at one that is busy.
const SOON: Duration = Duration::from_secs(1);

impl<A: Api> Doing<'_, A> {
    pub(super) async fn adopt(&self, id: &str, name: &str, peer: &str) -> Result<Outcome> {
        let reading = |e: CallError| self.failed(&e, "looking at the load balancer that is to be taken over");
        let there = self.live.calls.get(&LOAD_BALANCERS, id, Priority::Change).await.map_err(reading)?;
        let Some(lb) = there.filter(|lb| lb.name == name && !adopt::is_marked(&lb.tags)) else {
            return Err(
                self.conflict(format!("load balancer {id} is not any more what was to be taken over"))
            );
        };
        match lb.provisioning_status {
            Provisioning::Active => {}
            Provisioning::Error => {
                return Err(self.conflict(format!("load balancer {id} has gone to state ERROR")));
            }
            _ => return Err(CloudError::Pending(SOON)),
        }
        // An empty tag is the peer's way to say that there is none.
        let mut tags: Vec<String> = lb.tags.into_iter().filter(|tag| !tag.is_empty()).collect();
        tags.extend(self.mark.octavia_tags(ResourceType::LoadBalancer, LOAD_BALANCER));
        tags.extend([adopt::mark(peer), tag(TAG_APPLIED, "dirty")]);
        let outcome = self.put_load_balancer(id, &json!({ "tags": tags })).await?;
        // What belongs to it was not looked at as ours.
        self.entry(|entry| entry.depth = Depth::Doubtful);
        Ok(outcome)
    }
}
