//! The plan: an ordered list of typed changes, complete before the first id is known. Pure data.

use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Makes a resource that does not exist.
    Create,
    /// Changes a resource in place.
    Update,
    /// Deletes a resource.
    Delete,
    /// Deletes a resource and makes its successor in its place: traffic stops for the gap. Shown by `plan`.
    Replace {
        /// Expected seconds without service.
        gap_seconds: u32,
        /// Why it cannot be done without a gap.
        reason: String,
    },
    /// Adds targets.
    Register,
    /// Takes targets away.
    Deregister,
    /// Puts our mark on what a peer made for the same object, and changes nothing else of it (`--adopt`).
    Adopt,
    /// Marks the stack `dirty` before its first mutation.
    MarkDirty,
    /// Writes the hash of the applied stack, last.
    MarkApplied,
}

/// Whose a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// It does not exist yet, and will carry our mark.
    New,
    /// It carries our mark of this cluster and this owner.
    Ours,
    /// The user named it by id: its content may be changed as far as the user asked, it is never deleted.
    UserNamed,
    /// A peer made it for the same object of the same cluster, and the user asked to take it over: it may be marked, and nothing else.
    Peer,
    /// Nobody's, another owner's or another cluster's: never touched.
    Foreign,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Resource type in the cloud's own terms, such as `AWS::ElasticLoadBalancingV2::Listener`.
    pub kind: String,
    /// Deterministic id in the stack (the `Ref`), such as `443`; not the cloud's id. Names the slot: a Delete and a Create of the same
    /// kind and id in one plan is a replacement.
    pub id: String,
}

/// A limit that a change counts against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The cloud's own name of the limit.
    pub name: String,
    /// How many there are after this change.
    pub after: u64,
    /// How many there may be.
    pub max: u64,
}

/// All that the linter needs to know of a change; it knows no cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeInfo {
    /// What it does.
    pub verb: Verb,
    /// To what.
    pub target: Target,
    /// Whose that is.
    pub mark: Mark,
    /// Marks of what a cascade would delete too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cascade: Vec<Mark>,
    /// Limits it counts against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// For a change that makes or changes a listener: whether it has a default action afterwards. `None` for the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_action: Option<bool>,
    /// One line for people.
    pub summary: String,
}

/// A change of a provider: typed for the provider, described for everybody else.
pub trait PlannedChange: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static {
    /// What the linter, `plan` and the log need to know.
    fn info(&self) -> ChangeInfo;
}

/// What to do, in order, and what cannot be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan<C> {
    /// Changes in the order of application; empty: nothing to do.
    pub changes: Vec<C>,
    /// What became known to be impossible while planning (an address that cannot be had, for example).
    pub problems: Vec<Problem>,
    /// Whether the load balancer is in the cloud what the marks rules of [`LintContext`] apply to.
    pub context: LintContext,
}

/// What the linter must know of the whole plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintContext {
    /// The cloud keeps the hash of the applied stack: a plan for an existing stack must begin with [`Verb::MarkDirty`] and end
    /// with [`Verb::MarkApplied`], unless it only moves targets or deletes everything.
    pub keeps_hash: bool,
    /// The stack exists already.
    pub exists: bool,
    /// The plan removes the whole stack.
    pub removes: bool,
}

impl<C> Default for Plan<C> {
    fn default() -> Self {
        Self { changes: Vec::new(), problems: Vec::new(), context: LintContext::default() }
    }
}

impl<C> Plan<C> {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Answer of [`crate::CloudProvider::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect; the next change may follow.
    Done,
    /// It was accepted, and takes effect later. The rest of the plan is dropped; look again after this time.
    Pending(Duration),
}
