//! `causeway plan`: what would be made or changed, and why something cannot be. The same index, translation, provider and linter as in
//! the controller.
//!
//! [`offline`] is deterministic: it reads no clock, network or environment, and the order of objects does not matter. What it
//! awaits is the provider made for offline use, which holds everything in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use causeway_api::{
    ChangeInfo, CloudError, CloudProvider, Family, KindScope, LbKey, LoadBalancer, OwnKind, PlannedChange,
    Problem, Resources, Stack, Verb,
};
use serde::Serialize;

use super::args::OutputFormat;
use crate::engine::lint::lint;
use crate::kube::parse::Parsed;
use crate::state::index::{Index, Rules};
use crate::state::records::{Delta, ServiceRecord, Update};
use crate::translate::{self, ClassRules, ClusterHealth};

/// Why something cannot be as an object asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlanError {
    /// `Kind namespace/name`, or the place in a file.
    pub object: String,
    /// Path of the field; empty if none.
    pub field: String,
    /// CamelCase reason, also the Event's.
    pub reason: String,
    /// What is the matter, and what to do.
    pub message: String,
}

impl From<Problem> for PlanError {
    fn from(problem: Problem) -> Self {
        Self {
            object: problem.object.to_string(),
            field: problem.field,
            reason: problem.reason,
            message: problem.message,
        }
    }
}

/// One load balancer as it shall be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanStack {
    /// `namespace/name`, or the name of the group.
    pub id: String,
    /// By type, then by id in the stack.
    pub resources: Resources,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanChange {
    /// Id of its stack.
    pub stack: String,
    /// What it does.
    #[serde(flatten)]
    pub info: ChangeInfo,
}

/// What `causeway plan` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PlanOutput {
    /// Sorted by id.
    pub stacks: Vec<PlanStack>,
    /// In the order of the stacks, then of application.
    pub changes: Vec<PlanChange>,
    /// Sorted, without duplicates.
    pub errors: Vec<PlanError>,
}

impl PlanOutput {
    /// Adds a load balancer: its stack, the plan for it, and the problems that were found on the way. A plan that the linter refuses is
    /// shown, with an error: the controller would not apply it.
    pub fn add<S: Stack, C: PlannedChange>(
        &mut self,
        lb: &LoadBalancer,
        stack: &S,
        plan: causeway_api::Plan<C>,
        problems: Vec<Problem>,
    ) {
        let id = lb.key.id();
        let infos: Vec<ChangeInfo> = plan.changes.iter().map(PlannedChange::info).collect();
        let about = lb.members.first().map_or_else(|| lb.key.to_string(), |m| m.object.to_string());
        self.errors.extend(lint(&infos, plan.context).into_iter().map(|violation| PlanError {
            object: about.clone(),
            field: String::new(),
            reason: "PlanRefused".to_owned(),
            message: format!(
                "{violation}; nothing of this plan is applied, please report it as a fault of Causeway"
            ),
        }));
        self.errors.extend(plan.problems.into_iter().chain(problems).map(PlanError::from));
        self.changes.extend(infos.into_iter().map(|info| PlanChange { stack: id.clone(), info }));
        self.stacks.push(PlanStack { id, resources: stack.resources() });
    }

    /// Puts everything in its order. To be called last.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        // Stable: a Service and an Ingress of one name keep the order of their keys, L4 first.
        self.stacks.sort_by(|a, b| a.id.cmp(&b.id));
        self.changes.sort_by(|a, b| a.stack.cmp(&b.stack));
        self.errors.sort();
        self.errors.dedup();
        self
    }

    /// 0, or 2 if any object has an error.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        if self.errors.is_empty() { 0 } else { 2 }
    }
}

/// What decides besides objects and provider.
#[derive(Clone, Debug)]
pub struct OfflineSettings {
    /// Whose Services are ours.
    pub classes: ClassRules,
    /// `--cluster-policy-health-check`.
    pub cluster_health: ClusterHealth,
    /// Namespace of the provider's own objects.
    pub config_namespace: String,
}

/// Plans for objects out of files, as if the cloud held nothing. `provider` is one made for offline use: it observes nothing. Whoever
/// shows more than the plan is told of every update through `see`.
///
/// # Errors
/// Only what a provider's I/O can meet; an offline provider has none.
pub async fn offline<P: CloudProvider>(
    provider: Arc<P>,
    settings: &OfflineSettings,
    objects: Vec<Parsed>,
    inventory: &P::Inventory,
    see: &mut (dyn FnMut(&Update) + Send),
) -> causeway_api::Result<PlanOutput> {
    let wants = provider.wants();
    let rules = Rules {
        classes: settings.classes.clone(),
        capabilities: provider.capabilities(),
        wants: wants.clone(),
        cluster_health: settings.cluster_health,
    };
    let key_of = {
        let provider = Arc::clone(&provider);
        Arc::new(move |member: &causeway_api::Member| provider.key(member))
    };
    let referring = Arc::clone(&provider);
    let references = move |kind: &_, annotations: &_| referring.references(kind, annotations);
    let mut index = Index::new(rules, key_of).with_references(Arc::new(references));
    let mut output = PlanOutput::default();
    for update in updates(objects, &wants.kinds, &settings.config_namespace, &mut output.errors) {
        see(&update);
        output.errors.extend(index.update(update).problems.into_iter().map(PlanError::from));
    }

    of_index(provider.as_ref(), &index, inventory, output).await
}

/// Plans for everything that an index holds: what is wanted, and (of a running cluster) what is on its way out.
///
/// # Errors
/// What the provider meets while it looks at the cloud.
pub async fn of_index<P: CloudProvider>(
    provider: &P,
    index: &Index,
    inventory: &P::Inventory,
    mut output: PlanOutput,
) -> causeway_api::Result<PlanOutput> {
    let (facts, problems) = provider.facts(&index.own_objects(), inventory);
    output.errors.extend(problems.into_iter().map(PlanError::from));
    provider.start(&index.given(), &facts).await?;

    let mut keys: Vec<LbKey> = index.keys().cloned().collect();
    keys.sort();
    let mut snapshots: Vec<_> = keys.iter().map(|key| index.snapshot(key)).collect();
    // Where two want what only one can have, the older gets it.
    snapshots.sort_by(|a, b| {
        let age = |lb: &LoadBalancer| {
            lb.members.iter().map(|m| (m.created, m.object.namespace.clone(), m.object.name.clone())).min()
        };
        age(&a.lb).cmp(&age(&b.lb))
    });
    let mut done: BTreeMap<LbKey, _> = BTreeMap::new();
    for snapshot in snapshots {
        let (mut stack, mut found) = provider.desired(&snapshot.lb, &facts);
        let mut looks = provider.observe(&snapshot.lb.key).await;
        if matches!(looks, Err(CloudError::Pending(Duration::ZERO))) {
            // It learnt something that decides.
            (stack, found) = provider.desired(&snapshot.lb, &facts);
            looks = provider.observe(&snapshot.lb.key).await;
        }
        let have = looks?;
        let mut plan = provider.plan(&stack, &have);
        if snapshot.lb.members.is_empty() && plan.is_empty() {
            continue;
        }
        if snapshot.members.iter().any(|m| m.paused) {
            plan.changes.clear();
        }
        let status = provider.status(&stack, &have).into_iter().flat_map(|s| s.problems);
        let problems: Vec<Problem> = snapshot.problems.into_iter().chain(found).chain(status).collect();
        done.insert(snapshot.lb.key.clone(), (snapshot.lb, stack, plan, problems));
    }
    for (lb, stack, plan, problems) in done.into_values() {
        // What nobody asks for any more and nothing is left of is not worth a line.
        if !lb.members.is_empty() || !plan.is_empty() {
            output.add(&lb, &stack, plan, problems);
        }
    }
    Ok(output.sorted())
}

/// Objects by kind, each in the order of namespace and name; of two with one name the last counts.
fn updates(
    objects: Vec<Parsed>,
    kinds: &[OwnKind],
    config_namespace: &str,
    errors: &mut Vec<PlanError>,
) -> Vec<Update> {
    let mut namespaces = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    let mut classes = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    let mut slices = BTreeMap::new();
    let mut services = BTreeMap::new();
    let mut ingresses = BTreeMap::new();
    let mut own: BTreeMap<&'static str, BTreeMap<_, _>> = BTreeMap::new();
    for object in objects {
        let twice = match object {
            Parsed::Namespace(r) => {
                namespaces.insert(r.name.clone(), r).map(|r| format!("Namespace {}", r.name))
            }
            Parsed::Node(r) => nodes.insert(r.name.clone(), r).map(|r| format!("Node {}", r.name)),
            Parsed::Class(r) => {
                classes.insert(r.meta.path(), r).map(|r| format!("IngressClass {}", r.meta.name))
            }
            Parsed::Secret(r) => secrets
                .insert(r.path.clone(), r)
                .map(|r| format!("Secret {}/{}", r.path.namespace, r.path.name)),
            Parsed::Slice(r) => slices
                .insert(r.path.clone(), r)
                .map(|r| format!("EndpointSlice {}/{}", r.path.namespace, r.path.name)),
            Parsed::Service(r) => {
                services.insert(r.meta.path(), as_admitted(r)).map(|r| r.object().to_string())
            }
            Parsed::Ingress(r) => ingresses.insert(r.meta.path(), r).map(|r| r.object().to_string()),
            Parsed::Other { api_version, kind, mut object } => {
                let Some(wanted) = kinds.iter().find(|k| {
                    let mut versions = k.also.iter().chain([&k.version]);
                    k.kind == kind && versions.any(|v| format!("{}/{v}", k.group) == api_version)
                }) else {
                    continue;
                };
                let namespace = &mut object.object.namespace;
                match wanted.scope {
                    KindScope::Cluster => namespace.clear(),
                    KindScope::ConfigNamespace if namespace.is_empty() => {
                        config_namespace.clone_into(namespace)
                    }
                    // As for kubectl.
                    KindScope::AllNamespaces if namespace.is_empty() => "default".clone_into(namespace),
                    KindScope::ConfigNamespace | KindScope::AllNamespaces => {}
                }
                if wanted.scope == KindScope::ConfigNamespace && *namespace != config_namespace {
                    errors.push(PlanError {
                            object: object.object.to_string(),
                            field: "metadata.namespace".to_owned(),
                            reason: "NotRead".to_owned(),
                            message: format!(
                                "objects of this kind are read from namespace {config_namespace} only: move it there, or set --config-namespace"
                            ),
                        });
                    continue;
                }
                let path = (object.object.namespace.clone(), object.object.name.clone());
                own.entry(wanted.kind).or_default().insert(path, object).map(|o| o.object.to_string())
            }
        };
        if let Some(object) = twice {
            errors.push(PlanError {
                object,
                field: "metadata.name".to_owned(),
                reason: "GivenTwice".to_owned(),
                message: "the files hold two objects of this name, the last one counts: take one away"
                    .to_owned(),
            });
        }
    }
    // What others depend on comes first, as nothing is then said of a state that is only half known.
    let mut updates = vec![
        Update::Namespace(Delta::Reset(namespaces.into_values().collect())),
        Update::Node(Delta::Reset(nodes.into_values().collect())),
        Update::Class(Delta::Reset(classes.into_values().collect())),
        Update::Secret(Delta::Reset(secrets.into_values().collect())),
        Update::Slice(Delta::Reset(slices.into_values().collect())),
    ];
    updates.extend(
        own.into_iter()
            .map(|(kind, objects)| Update::Own(kind, Delta::Reset(objects.into_values().collect()))),
    );
    updates.push(Update::Service(Delta::Reset(services.into_values().collect())));
    updates.push(Update::Ingress(Delta::Reset(ingresses.into_values().collect())));
    updates
}

/// A Service that the API server has not seen has no cluster addresses yet. Which it will get nobody knows, but decisions need their
/// families only, and these follow from `spec.ipFamilies`: the unspecified address stands for one of each.
fn as_admitted(mut record: ServiceRecord) -> ServiceRecord {
    if record.load_balancer && record.cluster_ips.is_empty() {
        record.families = translate::families(&record);
        record.cluster_ips = record
            .families
            .iter()
            .map(|family| match family {
                Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            })
            .collect();
    }
    record
}

/// The output as text or JSON, with a line feed at the end.
#[must_use]
pub fn render(output: &PlanOutput, format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => {
            // Plain data with string keys: it always becomes JSON.
            let mut text = serde_json::to_string_pretty(output).unwrap_or_default();
            text.push('\n');
            text
        }
        OutputFormat::Text => text(output),
    }
}

fn text(output: &PlanOutput) -> String {
    let mut out = String::new();
    for stack in &output.stacks {
        let count: usize = stack.resources.values().map(BTreeMap::len).sum();
        let _ = writeln!(out, "{}  ({count} resource{})", stack.id, if count == 1 { "" } else { "s" });
        for (kind, resources) in &stack.resources {
            for id in resources.keys() {
                let _ = writeln!(out, "    {kind} {id}");
            }
        }
    }
    if output.stacks.is_empty() {
        out.push_str("No load balancer is asked for.\n");
    }
    out.push('\n');
    if output.changes.is_empty() {
        out.push_str("Nothing to change.\n");
    } else {
        let _ = writeln!(
            out,
            "{} change{}:",
            output.changes.len(),
            if output.changes.len() == 1 { "" } else { "s" }
        );
    }
    for PlanChange { stack, info } in &output.changes {
        let _ = write!(out, "  {} {stack}: {}", sign(&info.verb), info.summary);
        if let Verb::Replace { gap_seconds, reason } = &info.verb {
            let _ = write!(out, " (out of service for about {gap_seconds} s: {reason})");
        }
        out.push('\n');
    }
    if !output.errors.is_empty() {
        let _ = writeln!(
            out,
            "\n{} problem{}:",
            output.errors.len(),
            if output.errors.len() == 1 { "" } else { "s" }
        );
    }
    for error in &output.errors {
        let field = if error.field.is_empty() { String::new() } else { format!(" {}", error.field) };
        let _ = writeln!(out, "  {}{field}: {}: {}", error.object, error.reason, error.message);
    }
    out
}

fn sign(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create | Verb::Register => "+",
        Verb::Update | Verb::Adopt | Verb::MarkDirty | Verb::MarkApplied => "~",
        Verb::Delete | Verb::Deregister => "-",
        Verb::Replace { .. } => "-/+",
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
