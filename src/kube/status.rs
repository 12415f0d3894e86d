//! What an object shall carry, as one strategic merge patch of its status subresource. Pure.
//!
//! One write carries finalizer, annotations, addresses and conditions together, so that they are never seen apart, and holds
//! the resourceVersion that was decided on, so that a faster writer is noticed (409) and not overwritten.
//!
//! Invariants:
//! - Nothing differs, nothing is sent: the comparison is of meaning (an IP entry without `ipMode` is `VIP`, as the API server
//!   fills in), not of text.
//! - What others own stays: finalizers and conditions are merged by value and by type (`patchMergeKey`), never replaced as lists.
//! - An object that is being deleted never gets our finalizer: the API server forbids it, and upstream's controller repeats that
//!   for ever (reference: cloud-provider-gcp issue 981).
//! - `lastTransitionTime` moves exactly when a condition's status does.
//! - A Service that is no load balancer never gets addresses: the API server would refuse the whole write.

use causeway_api::{Condition, IngressPoint, IpMode, names};
use serde_json::{Map, Value, json};

use crate::engine::cluster::Wanted;
use crate::state::index::Record;
use crate::state::records::{Meta, OwnRecord, PodRecord};

/// The merge patch that brings the finalizers of an object of an own kind to what they shall be, on the object itself: the status of a custom resource has no
/// metadata of its own. Lists are replaced whole, so the resourceVersion that they were read at goes with them.
#[must_use]
pub fn own_finalizers(current: &OwnRecord, want: &Wanted) -> Option<Value> {
    let (ours, meta) = (names::INGRESS_FINALIZER, &current.meta);
    let mut finalizers = meta.finalizers.clone();
    finalizers.retain(|f| !want.removes_finalizer(f) && (want.finalizer != Some(false) || f != ours));
    if want.finalizer == Some(true) && !meta.deleting && !finalizers.iter().any(|f| f == ours) {
        finalizers.push(ours.to_owned());
    }
    if finalizers == meta.finalizers {
        return None;
    }
    Some(json!({ "metadata": { "finalizers": finalizers, "resourceVersion": meta.resource_version } }))
}

/// The merge patch of the status of an object of an own kind.
#[must_use]
pub fn own_status(current: &OwnRecord, want: &Wanted) -> Option<Value> {
    let observed = want.observed.filter(|observed| current.observed != Some(*observed))?;
    Some(json!({ "status": { "observedGeneration": observed } }))
}

/// The patch that sets conditions of a Pod, of exactly that uid: merged by type, beside the kubelet's. `lastTransitionTime` as in [`patch`].
#[must_use]
pub fn gates(pod: &PodRecord, conditions: &[Condition], now: jiff::Timestamp) -> Value {
    let one = |c: &Condition| {
        let had = pod.gates.get(&c.kind).and_then(Option::as_ref);
        let mut condition = json!({
            "type": c.kind,
            "status": if c.status { "True" } else { "False" },
            "reason": c.reason,
            "message": c.message,
        });
        if had.is_none_or(|had| had.status != c.status) {
            condition["lastTransitionTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        }
        condition
    };
    let conditions: Vec<Value> = conditions.iter().map(one).collect();
    json!({ "metadata": { "uid": pod.uid }, "status": { "conditions": conditions } })
}

/// The patch that brings an object to what it shall carry, or `None` if it carries that already. `now` becomes the
/// `lastTransitionTime` of conditions that change their status.
#[must_use]
pub fn patch(current: &Record, want: &Wanted, now: jiff::Timestamp) -> Option<Value> {
    let meta = current.meta();
    let mut metadata = Map::new();
    finalizers(meta, current.finalizer(), want, &mut metadata);
    annotations(meta, want, &mut metadata);

    let mut status = Map::new();
    if let Some(points) = &want.ingress {
        let (have, ip_modes, allowed) = match current {
            Record::Service(s) => (&s.ingress, true, s.load_balancer),
            Record::Ingress(i) => (&i.ingress, false, true),
            Record::Own(_) => (&Vec::new(), false, false),
        };
        let wanted = if allowed { normal(points, ip_modes) } else { Vec::new() };
        if wanted != normal(have, ip_modes) {
            status.insert("loadBalancer".into(), json!({ "ingress": wanted }));
        }
    }
    if let Record::Service(service) = current {
        let conditions = conditions(&service.conditions, want, now);
        if !conditions.is_empty() {
            status.insert("conditions".into(), Value::Array(conditions));
        }
    }

    if metadata.is_empty() && status.is_empty() {
        return None;
    }
    if !meta.resource_version.is_empty() {
        metadata.insert("resourceVersion".into(), meta.resource_version.clone().into());
    }
    let mut patch = Map::new();
    patch.insert("metadata".into(), metadata.into());
    if !status.is_empty() {
        patch.insert("status".into(), status.into());
    }
    Some(patch.into())
}

fn finalizers(meta: &Meta, ours: &str, want: &Wanted, metadata: &mut Map<String, Value>) {
    let there = meta.finalizers.iter().any(|f| f == ours);
    if want.finalizer == Some(true) && !there && !meta.deleting {
        metadata.insert("finalizers".into(), json!([ours]));
    }
    let leaves = |f: &&String| want.removes_finalizer(f) || (want.finalizer == Some(false) && *f == ours);
    let gone: Vec<&String> = meta.finalizers.iter().filter(leaves).collect();
    if !gone.is_empty() {
        metadata.insert("$deleteFromPrimitiveList/finalizers".into(), json!(gone));
    }
}

fn annotations(meta: &Meta, want: &Wanted, metadata: &mut Map<String, Value>) {
    let changed: Map<String, Value> = want
        .annotations
        .iter()
        .filter(|(name, value)| meta.annotations.get(*name) != value.as_ref())
        .map(|(name, value)| (name.clone(), value.clone().map_or(Value::Null, Value::String)))
        .collect();
    if !changed.is_empty() {
        metadata.insert("annotations".into(), changed.into());
    }
}

/// Entries as the API server would hold them.
fn normal(points: &[IngressPoint], ip_modes: bool) -> Vec<IngressPoint> {
    points
        .iter()
        .map(|p| {
            let ip_mode = if ip_modes && p.ip.is_some() { p.ip_mode.or(Some(IpMode::Vip)) } else { None };
            IngressPoint { ip_mode, ..p.clone() }
        })
        .collect()
}

fn conditions(have: &[Condition], want: &Wanted, now: jiff::Timestamp) -> Vec<Value> {
    let mut out = Vec::new();
    for c in &want.conditions {
        let old = have.iter().find(|h| h.kind == c.kind);
        if old == Some(c) {
            continue;
        }
        let mut value = json!({
            "type": c.kind,
            "status": if c.status { "True" } else { "False" },
            "reason": c.reason,
            "message": c.message,
        });
        if old.is_none_or(|o| o.status != c.status)
            && let Some(fields) = value.as_object_mut()
        {
            // Whole seconds: metav1.Time has no more.
            let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
            fields.insert("lastTransitionTime".into(), seconds.to_string().into());
        }
        out.push(value);
    }
    for kind in &want.remove_conditions {
        let wanted = want.conditions.iter().any(|c| c.kind == *kind);
        if !wanted && have.iter().any(|h| h.kind == *kind) {
            out.push(json!({ "$patch": "delete", "type": kind }));
        }
    }
    out
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
