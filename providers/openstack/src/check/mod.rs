//! Whether a project is as Causeway needs it, for `causeway check`.
//!
//! | module | is |
//! |---|---|
//! | [`mod@look`] | I/O: every read that the controller makes; nothing is changed, as OpenStack has no dry runs |
//! | [`rights`] | pure: who asks, which roles it has, where services are, what was allowed |
//! | [`offers`] | pure: the provider of load balancers and what it can, flavors, zones, Barbican |
//! | [`places`] | pure: networks and subnets that options name, or that are taken without them |
//! | [`nodes`] | pure: whether nodes can be members |
//! | [`quotas`] | pure: what is used of them, against what objects ask for |
//!
//! What objects ask for is what the controller would make of them: [`crate::OpenStack`] decides it here as there.

mod look;
mod nodes;
mod offers;
mod places;
mod quotas;
mod rights;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use causeway_api::check::Tried;
use causeway_api::{CloudProvider as _, Finding, LoadBalancer, NodeSet, OwnObjects, Problem, Severity};

pub use self::look::look;
use crate::api::{Api, CallError};
use crate::client::{Client, Who};
use crate::facts::{Facts, Overrides};
use crate::inventory::{Answers, Cluster, Inventory, KIND};
use crate::options::{Complaint, Options};
use crate::provider::OpenStack;
use crate::stack::OctaviaStack;

/// Whatever answers calls, and knows who makes them.
pub trait Known: Api {
    /// What the token says.
    fn who(&self) -> impl Future<Output = Result<Who, CallError>> + Send;
}

impl Known for Arc<Client> {
    async fn who(&self) -> Result<Who, CallError> {
        Client::who(self).await
    }
}

/// What was seen of a project. What could not be read is empty, and a right says why.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who asked; without a token nothing else was looked at.
    pub who: Result<Who, CallError>,
    /// The inventory.
    pub answers: Answers,
    /// What the project has, by the first name of its quota.
    pub used: BTreeMap<&'static str, usize>,
    /// Reads that the controller cannot do without.
    pub reads: Vec<Tried>,
    /// Those that it can, as long as nobody asks for what they tell.
    pub optional: Vec<Tried>,
    /// What this cloud does not offer.
    pub absent: Vec<String>,
}

impl Seen {
    fn nothing(who: Result<Who, CallError>) -> Self {
        Self {
            who,
            answers: Answers::default(),
            used: BTreeMap::new(),
            reads: Vec::new(),
            optional: Vec::new(),
            absent: Vec::new(),
        }
    }
}

/// A cluster, and what it is told.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Options.
    pub options: &'a Options,
    /// What was wrong with them.
    pub complaints: &'a [Complaint],
    /// What the command line says.
    pub overrides: &'a Overrides,
    /// The eligible nodes.
    pub nodes: &'a NodeSet,
    /// What Services and Ingresses ask for.
    pub load_balancers: &'a [LoadBalancer],
}

/// What is to be said of a project.
#[must_use]
pub fn judge(seen: &Seen, asked: &Asked<'_>) -> Vec<Finding> {
    let mut findings = complaints(asked.complaints);
    findings.extend(rights::identity(seen));
    let Ok(who) = &seen.who else { return findings };
    findings.push(rights::roles(who));
    findings.extend(rights::services(who));
    findings.extend(rights::reads(seen, who));

    let provider = OpenStack::offline(asked.overrides.clone());
    let inventory = Inventory {
        cluster: asked.cluster.clone(),
        options: asked.options.clone(),
        complaints: Vec::new(),
        openstack: seen.answers.clone(),
    };
    let (facts, problems) = provider.facts(&OwnObjects::default(), &inventory);
    findings.extend(problems.iter().map(said));
    findings.extend(offers::judge(seen, who, &facts));
    findings.extend(places::judge(&facts, asked.nodes));
    findings.extend(nodes::judge(&facts, asked.nodes));
    let whole = rights::whole(seen);
    let stacks = if whole {
        let (stacks, told) = stacks(&provider, &facts, asked.load_balancers);
        findings.extend(told);
        findings.extend(offers::certificates(seen, &facts, &stacks));
        stacks
    } else {
        let why = "what Services and Ingresses ask for is not looked at, as not everything could be read";
        findings.push(Finding::warning("Services and Ingresses", why));
        Vec::new()
    };
    findings.extend(quotas::judge(seen, &facts, &stacks));
    findings
}

/// Keys of the configuration that have no effect, or not the one that was meant.
fn complaints(all: &[Complaint]) -> Vec<Finding> {
    let of = |complaint: &Complaint| {
        let key = complaint.field.rsplit(' ').next().unwrap_or_default();
        let finding = if Options::knows(key) { Finding::error } else { Finding::warning };
        finding(complaint.field.clone(), complaint.message.clone())
    };
    all.iter().map(of).collect()
}

/// A problem as a finding.
fn said(problem: &Problem) -> Finding {
    let finding = if problem.severity == Severity::Error { Finding::error } else { Finding::warning };
    let about = problem.object.to_string();
    if about.starts_with(KIND) {
        return finding(problem.field.clone(), problem.message.clone());
    }
    if problem.field.is_empty() {
        return finding(about, problem.message.clone());
    }
    finding(about, format!("{}: {}", problem.field, problem.message))
}

/// What the controller would make of what is asked for, and what it would say of it, each thing once.
fn stacks(
    provider: &OpenStack<crate::Offline>,
    facts: &Facts,
    load_balancers: &[LoadBalancer],
) -> (Vec<OctaviaStack>, BTreeSet<Finding>) {
    let mut told = BTreeSet::new();
    let stacks = load_balancers.iter().map(|lb| {
        let (stack, problems) = provider.desired(lb, facts);
        // Nodes are looked at by themselves.
        told.extend(problems.iter().filter(|p| p.reason != crate::nodes::NO_ADDRESS).map(said));
        stack
    });
    (stacks.collect(), told)
}
