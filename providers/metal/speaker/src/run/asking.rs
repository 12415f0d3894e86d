//! The speaker asks the segment who has an address, and follows the answers. I/O.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::announce::Decision;
use causeway_metal::elections::Elections;

use super::Speaker;
use crate::announced::{Duty, SpeakerEvent};
use crate::inquiry::Inquiries;
use crate::interfaces::Links;
use crate::l2::{Kin, MacAddr};
use crate::moment::Moment;
use crate::port::{Found, now};
use crate::spare;

/// The least time between two looks for the addresses that will be given next: it costs a pass over those that are given.
const LOOK: Duration = Duration::from_secs(1);

impl Speaker {
    /// Services or reported conflicts changed.
    pub(super) fn take_used(&mut self) {
        let Some(view) = &self.view else { return };
        self.inquiries.set_world(used(view), (*view.conflicts).clone(), now());
        if view.world.standby {
            self.inquiries.all_in_use();
        }
        let exists = |node: &str| view.world.nodes.contains_key(node);
        let in_pool = |address: IpAddr| view.world.pools.of(&[address]).is_some();
        for address in self.inquiries.orphans(&self.config.node, exists, in_pool) {
            self.tell(SpeakerEvent::ConflictResolved { address });
        }
    }

    /// Something was found out. Answers whether it is to be decided anew who announces what.
    pub(super) fn learn(&mut self, (index, finding): Found) -> bool {
        let Some(link) = self.links.as_ref().and_then(|links| links.get(index)) else { return false };
        tracing::debug!(interface = link.name, ?finding, "asked");
        let decide = self.inquiries.withholds(finding.address);
        if let Some(event) = self.inquiries.found(index, &link.name, finding, now()) {
            self.tell(event);
        }
        decide
    }

    /// Asks what is due.
    pub(super) fn ask(&mut self) {
        let now = now();
        if self.look && self.asking_deadline().is_some_and(|deadline| deadline <= now) {
            self.look_ahead(now);
        }
        for (index, address) in self.inquiries.questions(now) {
            if let Some(port) = self.ports.get(&index) {
                port.probe(address);
            }
        }
    }

    /// When [`Self::ask`] is due.
    pub(super) fn asking_deadline(&self) -> Option<Moment> {
        let look = (self.look && self.inquiries.enabled())
            .then(|| self.looked.map_or(Moment::default(), |at| at + LOOK));
        look.into_iter().chain(self.inquiries.next_deadline()).min()
    }

    fn look_ahead(&mut self, at: Moment) {
        if self.looked.is_some_and(|last| at.saturating_since(last) < LOOK) {
            return;
        }
        self.look = false;
        self.looked = Some(at);
        let (Some(view), Some(links), Some(fleet)) =
            (&self.view, &self.links, self.succession.elections().fleet())
        else {
            return;
        };
        // As long as not all speakers are known by their stations, one of them could be taken for a stranger.
        let decisions = if self.kin(links).complete {
            let conflicts: BTreeSet<IpAddr> = view.conflicts.keys().copied().collect();
            let mut taken = used(view);
            taken.extend(view.peers.values().flatten());
            let spare = spare::world(&view.world, &taken, &conflicts, self.config.inquiry.ahead);
            let mut elections = Elections::new(self.config.node.clone(), self.config.rules);
            elections.update(&Arc::new(spare), fleet.clone());
            elections.into_decisions()
        } else {
            Vec::new()
        };
        let open = self.open(links);
        self.inquiries.set_spare(&decisions, &open, at);
    }

    /// The stations whose claims are no conflict.
    pub(super) fn kin(&self, links: &Links) -> Kin {
        let (others, complete) = self.succession.elections().stations();
        let stations = links.iter().filter_map(|link| link.mac).chain(others.into_iter().map(MacAddr));
        Kin { stations: stations.collect(), complete }
    }
}

/// Takes out of a duty what somebody else may have.
pub(super) fn withhold<'a>(
    inquiries: &mut Inquiries,
    node: &str,
    duty: &mut Duty,
    decisions: impl Iterator<Item = &'a Decision>,
) {
    let elsewhere = decisions
        .filter(|decision| decision.elected.as_deref().is_some_and(|elected| elected != node))
        .flat_map(|decision| decision.announcement.addresses.iter().copied())
        .collect();
    inquiries.withhold(duty, &elsewhere, now());
}

fn used(view: &super::View) -> BTreeSet<IpAddr> {
    view.world
        .announcements
        .values()
        .flat_map(|announcement| announcement.addresses.iter().copied())
        .collect()
}
