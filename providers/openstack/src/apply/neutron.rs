//! Tags of floating IPs, and the security group on ports of nodes. I/O.

use causeway_api::{Outcome, Result};
use serde_json::json;

use super::Doing;
use crate::api::neutron::{FLOATING_IPS, PORTS, PortChanges, Tagged, add_tag, remove_tag, update_port};
use crate::api::{Api, Priority, Request};
use crate::ownership::KEEP;
use crate::stack::ResourceType;

impl<A: Api> Doing<'_, A> {
    /// Marks a floating IP that was made. It is known by its description: the tag is for people and their tools.
    pub(super) async fn tag_address(&self, id: &str) -> Result<Outcome> {
        for tag in self.mark.neutron_tags(false) {
            self.write(&add_tag(Tagged::FloatingIp, id, &tag), "tagging the floating IP").await?;
            self.entry(|entry| {
                for address in entry.floating.iter_mut().filter(|f| f.id == id) {
                    address.tags.push(tag.clone());
                }
            });
        }
        Ok(Outcome::Done)
    }

    /// Notes whether a floating IP outlives its load balancer.
    pub(super) async fn keep(&self, id: &str, keep: bool) -> Result<Outcome> {
        if keep {
            self.write(&add_tag(Tagged::FloatingIp, id, KEEP), &self.change.summary).await?;
        } else {
            self.untag(&remove_tag(Tagged::FloatingIp, id, KEEP)).await?;
        }
        self.entry(|entry| {
            for address in entry.floating.iter_mut().filter(|f| f.id == id) {
                address.tags.retain(|t| t != KEEP);
                address.tags.extend(keep.then(|| KEEP.to_owned()));
            }
        });
        Ok(Outcome::Done)
    }

    async fn untag(&self, request: &Request) -> Result<()> {
        self.live.calls.gone(request, self.fence).await.map_err(|e| self.failed(&e, &self.change.summary))
    }

    /// Leaves a floating IP to the user: the description, by which it is ours, goes last.
    pub(super) async fn release(&self, id: &str) -> Result<Outcome> {
        for tag in self.mark.neutron_tags(true) {
            self.untag(&remove_tag(Tagged::FloatingIp, id, &tag)).await?;
        }
        let body = json!({"port_id": null, "description": ""});
        self.write(&FLOATING_IPS.update(id, &body), &self.change.summary).await?;
        self.entry(|entry| entry.floating.retain(|f| f.id != id));
        Ok(Outcome::Done)
    }

    /// Puts the security group on ports, and takes it off others. Each port is written only if nobody wrote it since it was read.
    pub(super) async fn group(&self, join: &[String], leave: &[String]) -> Result<Outcome> {
        let group = {
            let known = self.live.known();
            let parts = known.entry(&self.change.owner).map(|e| e.parts.clone()).unwrap_or_default();
            parts.into_iter().find(|p| p.kind == ResourceType::SecurityGroup && p.resource.is_some())
        };
        let Some(group) = group.map(|g| g.id) else {
            return Err(self.conflict("the security group is not there".to_owned()));
        };
        for (ports, on) in [(join, true), (leave, false)] {
            for id in ports {
                let read = self.live.calls.get(&PORTS, id, Priority::Change).await;
                let port = read.map_err(|e| self.failed(&e, &self.change.summary))?;
                let Some(port) = port else {
                    // A node that is gone has no port.
                    self.entry(|entry| entry.group_ports.remove(id));
                    continue;
                };
                let mut groups = port.security_groups.clone();
                groups.retain(|g| *g != group);
                groups.extend(on.then(|| group.clone()));
                if groups.len() != port.security_groups.len() {
                    let changes = PortChanges { security_groups: Some(groups), ..PortChanges::default() };
                    self.write(&update_port(id, &changes, port.revision_number), &self.change.summary)
                        .await?;
                }
                self.entry(|entry| {
                    if on {
                        entry.group_ports.insert(id.clone())
                    } else {
                        entry.group_ports.remove(id)
                    };
                });
            }
        }
        Ok(Outcome::Done)
    }
}
