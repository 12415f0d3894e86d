//! One change: what is sent, and what everybody else needs to know of it. Pure data.

use causeway_api::{ChangeInfo, Limit, Mark, ObjectRef, PlannedChange, Target, Verb};
use serde::Serialize;
use serde_json::Value;

use crate::stack::ResourceType;

/// What is sent. References in bodies (`{"$ref": …}`) are to what is made before; they are resolved when they are sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Op {
    /// One resource is made.
    Post {
        /// The body.
        body: Value,
        /// Further bodies, of which the next is sent where the one before finds no free address.
        otherwise: Vec<Value>,
    },
    /// Some settings of one resource are changed.
    Put {
        /// It: its id, or a reference.
        target: Value,
        /// What is changed; null: back to what holds without it.
        body: Value,
    },
    /// One resource is deleted; a load balancer with all that belongs to it where `cascade` is said.
    Delete {
        /// Its id.
        id: String,
        /// With all that belongs to it.
        cascade: bool,
        /// Marks of these.
        #[serde(skip)]
        marks: Vec<Mark>,
        /// Something takes its place, and until then it is missing: how many seconds, and why.
        replaced: Option<(u32, String)>,
    },
    /// The members of a pool are set, all at once: one that is not listed goes.
    PutMembers {
        /// The pool: its id, or a reference.
        pool: Value,
        /// The members.
        members: Vec<Value>,
        /// Some go.
        fewer: bool,
    },
    /// Ports of nodes get the security group beside those that they have, and others lose it.
    Group {
        /// Ports that get it.
        join: Vec<String>,
        /// Ports that lose it.
        leave: Vec<String>,
    },
    /// A floating IP is to be left when its load balancer goes, or no longer: a tag of it says so.
    Keep {
        /// It: its id, or a reference.
        target: Value,
        /// It is to be left.
        keep: bool,
    },
    /// A floating IP is left to the user: without port, description and tags of ours.
    Release {
        /// Its id.
        id: String,
    },
    /// Our marks are put on a load balancer that a peer made, and nothing else is changed of it.
    Adopt {
        /// Its id.
        id: String,
        /// Its name, which must still be its own.
        name: String,
        /// The peer.
        peer: &'static str,
    },
    /// Nothing further is done before the load balancer may be changed again.
    Await,
    /// The load balancer's tag says that a change was begun.
    MarkDirty {
        /// Its id.
        id: String,
        /// It says so already: nothing is sent.
        already: bool,
    },
    /// The load balancer's tag says that the stack with this hash is applied.
    MarkApplied {
        /// The hash.
        applied: String,
    },
}

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Type of the resource.
    #[serde(serialize_with = "crate::stack::type_as_text")]
    pub kind: ResourceType,
    /// Its id in the stack.
    pub id: String,
    /// The stack: [`crate::ownership::Mark::owner`].
    #[serde(skip)]
    pub owner: String,
    /// Whom to tell if it cannot be made.
    #[serde(skip)]
    pub blame: Option<ObjectRef>,
    /// Whose it is.
    pub mark: Mark,
    /// What is sent.
    pub op: Op,
    /// Limits that it counts against.
    #[serde(skip)]
    pub limits: Vec<Limit>,
    /// For people.
    pub summary: String,
}

impl Change {
    pub(crate) fn new(kind: ResourceType, id: &str, op: Op, summary: String) -> Self {
        let mark = if matches!(op, Op::Post { .. }) { Mark::New } else { Mark::Ours };
        Self {
            kind,
            id: id.to_owned(),
            owner: String::new(),
            blame: None,
            mark,
            op,
            limits: Vec::new(),
            summary,
        }
    }

    /// Whether it locks the load balancer: nothing more may be sent to that before it is active again.
    #[must_use]
    pub fn locks(&self) -> bool {
        !matches!(
            self.kind,
            ResourceType::FloatingIp
                | ResourceType::SecurityGroup
                | ResourceType::SecurityGroupRule
                | ResourceType::Secret
        )
    }
}

impl PlannedChange for Change {
    fn info(&self) -> ChangeInfo {
        let mut cascade = Vec::new();
        let verb = match &self.op {
            Op::Post { .. } => Verb::Create,
            Op::PutMembers { fewer: true, .. } => Verb::Deregister,
            Op::PutMembers { fewer: false, .. } => Verb::Register,
            Op::Delete { marks, replaced, .. } => {
                cascade.clone_from(marks);
                match replaced.clone() {
                    Some((gap_seconds, reason)) => Verb::Replace { gap_seconds, reason },
                    None => Verb::Delete,
                }
            }
            Op::Put { .. } | Op::Group { .. } | Op::Keep { .. } | Op::Release { .. } | Op::Await => {
                Verb::Update
            }
            Op::Adopt { .. } => Verb::Adopt,
            Op::MarkDirty { .. } => Verb::MarkDirty,
            Op::MarkApplied { .. } => Verb::MarkApplied,
        };
        let made = self.kind == ResourceType::Listener && matches!(self.op, Op::Post { .. } | Op::Put { .. });
        ChangeInfo {
            verb,
            target: Target { kind: self.kind.as_str().to_owned(), id: self.id.clone() },
            mark: self.mark,
            cascade,
            limits: self.limits.clone(),
            // Without a pool Octavia itself answers 503.
            default_action: made.then_some(true),
            summary: self.summary.clone(),
        }
    }
}
