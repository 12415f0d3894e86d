//! The announcing side of `causeway plan --cloud-provider=metal`: which node would announce each Service, and where that differs from who announces
//! it now by the `ServiceL2Status` objects, MetalLB's or ours. Pure.
//!
//! Decided as MetalLB decides, for a cluster whose addresses nobody holds yet. Two things only running speakers know are left out: which nodes'
//! interfaces can carry an address, and that a speaker of ours which holds one keeps it while it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_api::{ChangeInfo, Mark, Target, Verb};
use causeway_metal::announce::{Decision, Silence, Verdict, World, announcements};
use causeway_metal::candidates::LiveSet;
use causeway_metal::kinds::ServiceL2Status;
use serde_json::json;

use super::plan::{PlanChange, PlanOutput};
use crate::kube::parse::Parsed;
use crate::speaker::world::WorldBuilder;
use crate::state::records::Update;
use crate::translate::ClassRules;

/// Type of the resource.
const KIND: &str = "Metal::Announcement";

/// Who says that it announces a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcer {
    /// Its node.
    pub node: String,
    /// It is a speaker of ours, which keeps what it holds.
    pub ours: bool,
}

/// What is so now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nodes with a speaker.
    pub live: LiveSet,
    /// By `namespace/name` of the Service; `None` if nobody says, so that nothing can be compared.
    pub announcers: Option<BTreeMap<String, BTreeSet<Announcer>>>,
}

impl Now {
    /// Out of the status objects.
    #[must_use]
    pub fn new(live: LiveSet, statuses: Option<Vec<ServiceL2Status>>) -> Self {
        let announcers = statuses.map(|statuses| {
            let mut by_service: BTreeMap<String, BTreeSet<Announcer>> = BTreeMap::new();
            for object in statuses {
                let owners = object.metadata.owner_references.unwrap_or_default();
                let ours = owners.iter().any(|owner| owner.kind == "Node");
                let Some(status) = object.status else { continue };
                let (Some(node), Some(namespace), Some(name)) =
                    (status.node, status.service_namespace, status.service_name)
                else {
                    continue;
                };
                by_service.entry(format!("{namespace}/{name}")).or_default().insert(Announcer { node, ours });
            }
            by_service
        });
        Self { live, announcers }
    }

    /// Out of files: every node counts as alive, and status objects say who announces, if there are any.
    #[must_use]
    pub fn of_files(objects: &[Parsed]) -> Self {
        let statuses: Vec<ServiceL2Status> = objects
            .iter()
            .filter_map(|object| match object {
                Parsed::Other { kind, object, .. } if kind == "ServiceL2Status" => {
                    serde_json::from_value(json!({
                        "apiVersion": "metallb.io/v1beta1", "kind": kind,
                        "metadata": {}, "spec": {}, "status": object.status,
                    }))
                    .ok()
                }
                _ => None,
            })
            .collect();
        Self::new(LiveSet::Everyone, (!statuses.is_empty()).then_some(statuses))
    }
}

/// Follows what the plan is made of, and adds to the plan what follows for announcing.
pub struct Announcing {
    builder: WorldBuilder,
}

impl Announcing {
    /// `classes`: whose Services are announced.
    #[must_use]
    pub fn new(classes: ClassRules) -> Self {
        Self {
            builder: WorldBuilder::new(String::new(), classes, causeway_metal::provider::own_kinds(), false),
        }
    }

    /// Takes over one update.
    pub fn see(&mut self, update: &Update) {
        // What is wrong with objects the plan itself says.
        self.builder.update(update.clone());
    }

    /// Adds the announcements to the stacks of a plan, and their changes. The result is to be sorted.
    pub fn amend(&self, output: &mut PlanOutput, now: &Now) {
        let planned: BTreeMap<String, Vec<IpAddr>> = output
            .stacks
            .iter()
            .filter_map(|stack| {
                let address = stack.resources.get("Metal::Address")?.get(&stack.id)?;
                let addresses = address["spec"]["addresses"].as_array()?.iter();
                let parsed = addresses.filter_map(|a| a.as_str()?.parse().ok()).collect();
                Some((stack.id.clone(), parsed))
            })
            .collect();
        let world = self.builder.world_with(&planned);
        let mut seen_from: BTreeMap<String, BTreeMap<String, Decision>> = BTreeMap::new();
        for decision in announcements(&world, "", &now.live) {
            let id = decision.announcement.key.id();
            let Some(stack) = output.stacks.iter_mut().find(|stack| stack.id == id) else { continue };
            if let Some(node) = &decision.elected {
                let spec = json!({ "node": node, "addresses": decision.announcement.addresses });
                stack
                    .resources
                    .entry(KIND.to_owned())
                    .or_default()
                    .insert(id.clone(), json!({ "spec": spec }));
            }
            let Some(announcers) = &now.announcers else { continue };
            let none = BTreeSet::new();
            let announcers = announcers.get(&id).unwrap_or(&none);
            let mut why_not = |node: &str| {
                let decisions =
                    seen_from.entry(node.to_owned()).or_insert_with(|| from(&world, node, &now.live));
                decisions.get(&id).map(|decision| decision.verdict.clone())
            };
            if let Some(info) = change(&decision, &id, announcers, &mut why_not) {
                output.changes.push(PlanChange { stack: id, info });
            }
        }
    }
}

fn from(world: &World, node: &str, live: &LiveSet) -> BTreeMap<String, Decision> {
    let decisions = announcements(world, node, live).into_iter();
    decisions.map(|decision| (decision.announcement.key.id(), decision)).collect()
}

/// The change of who announces a Service, if it is one.
fn change(
    decision: &Decision,
    id: &str,
    announcers: &BTreeSet<Announcer>,
    verdict_of: &mut impl FnMut(&str) -> Option<Verdict>,
) -> Option<ChangeInfo> {
    let addresses: Vec<String> = decision.announcement.addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    let info = |verb, mark, summary| ChangeInfo {
        verb,
        target: Target { kind: KIND.to_owned(), id: id.to_owned() },
        mark,
        cascade: Vec::new(),
        limits: Vec::new(),
        default_action: None,
        summary,
    };
    let Some(first) = announcers.iter().next() else {
        let node = decision.elected.as_ref()?;
        let summary = format!("announce {addresses} from {node}: nobody announces it now");
        return Some(info(Verb::Create, Mark::New, summary));
    };
    let Some(elected) = &decision.elected else {
        let why = match &decision.verdict {
            Verdict::Silent(silence) => because(silence),
            Verdict::Announce(_) => String::new(),
        };
        let summary = format!("announce {addresses} from no node any more, now from {}: {why}", first.node);
        return Some(info(Verb::Delete, Mark::Ours, summary));
    };
    if announcers.iter().any(|a| a.node == *elected) {
        return None;
    }
    let why = match verdict_of(&first.node) {
        // A holder of ours keeps what it has.
        Some(Verdict::Silent(Silence::NotElected)) if first.ours => return None,
        Some(Verdict::Silent(silence)) => because(&silence),
        Some(Verdict::Announce(_)) | None => String::new(),
    };
    let summary = format!("announce {addresses} from {elected} instead of {}: {why}", first.node);
    Some(info(Verb::Update, Mark::Ours, summary))
}

/// Why a node does not announce, as the end of a sentence.
fn because(silence: &Silence) -> String {
    match silence {
        Silence::NoPool => "the addresses are in no pool".to_owned(),
        Silence::NoEndpoint => "the Service has no usable endpoint".to_owned(),
        Silence::SharedAddressWithServiceSelector => {
            "it may share its address, and an L2Advertisement that matches it selects Services".to_owned()
        }
        Silence::NoAdvertisement => "no L2Advertisement matches its pool and labels".to_owned(),
        Silence::NoCandidate(why) | Silence::NotCandidate(why) => why.as_str().to_owned(),
        Silence::NotElected => {
            "by preferences and the hash of node and address the other one comes first".to_owned()
        }
        other => other.as_str().to_owned(),
    }
}
