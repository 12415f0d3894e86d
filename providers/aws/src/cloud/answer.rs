//! What a call comes to, and whoever answers it.

use std::collections::BTreeMap;
use std::future::Future;

use super::call::Call;
use super::records::{
    Healths, Listener, LoadBalancer, Machine, Protection, Rule, SecurityGroup, Tagged, TargetGroup, WebAcl,
    Whys,
};
use crate::inventory::Answers;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next one begins.
    pub next: Option<String>,
}

/// What AWS answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is done.
    Done,
    /// A load balancer was made, or was there as asked.
    LoadBalancer(Box<LoadBalancer>),
    /// Something else was made: its ARN or id.
    Made(String),
    /// Load balancers.
    LoadBalancers(Page<LoadBalancer>),
    /// Target groups.
    TargetGroups(Page<TargetGroup>),
    /// Listeners.
    Listeners(Page<Listener>),
    /// Certificates of a listener: ARN, and whether it is the default one.
    Certificates(Page<(String, bool)>),
    /// Rules, without the default one.
    Rules(Page<Rule>),
    /// Tags by ARN.
    Tagged(Page<Tagged>),
    /// Targets.
    Healths(Healths, Whys),
    /// Attributes.
    Attributes(BTreeMap<String, String>),
    /// Security groups.
    SecurityGroups(Vec<SecurityGroup>),
    /// Instances.
    Machines(Page<Machine>),
    /// Whose credentials these are.
    Identity {
        /// ARN of the user or role.
        arn: String,
        /// Account.
        account: String,
    },
    /// The web ACL of a load balancer, if it has one.
    WebAcl(Option<WebAcl>),
    /// Web ACLs.
    WebAcls(Page<WebAcl>),
    /// The protection of a load balancer, if it has one.
    Protection(Option<Protection>),
    /// A part of the inventory, and where its next page begins.
    Inventory(Box<Answers>, Option<String>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// AWS refused; it did nothing.
    #[error("{code}: {message}")]
    Refused {
        /// Code, as in the API reference.
        code: String,
        /// What it said.
        message: String,
    },
    /// No answer, or one that says nothing: the call may have taken effect.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

impl Failure {
    /// AWS refused with this code.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { code: code.into(), message: message.into() }
    }

    /// The code, if AWS gave one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::NoAnswer(_) => "",
        }
    }
}

/// Whatever answers calls.
pub trait Api: Send + Sync + 'static {
    /// Makes one call, once.
    fn call(&self, call: Call) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Seconds since the epoch.
    fn unix(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl<A: Api> Api for std::sync::Arc<A> {
    fn call(&self, call: Call) -> impl Future<Output = Result<Answer, Failure>> + Send {
        (**self).call(call)
    }

    fn unix(&self) -> u64 {
        (**self).unix()
    }
}
