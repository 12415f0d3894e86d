//! What the engine asks of Kubernetes: a seam, so that the engine's rules are tested against a cluster in memory with
//! crashes and conflicts at will. `src/kube` is the real one.

use std::collections::BTreeMap;
use std::future::Future;

use causeway_api::{Condition, IngressPoint, ObjectRef, OwnStatus};

use crate::state::index::Record;
use crate::state::records::{Path, PodRecord};

/// What an object shall carry. What is not named here stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Our finalizer is there; `None`: leave it.
    pub finalizer: Option<bool>,
    /// Finalizers that must be absent; one that ends in `/` stands for all that begin so.
    pub remove_finalizers: Vec<String>,
    /// The exact `status.loadBalancer.ingress`; `None`: leave it.
    pub ingress: Option<Vec<IngressPoint>>,
    /// Conditions by type.
    pub conditions: Vec<Condition>,
    /// Types of conditions that must be absent.
    pub remove_conditions: Vec<String>,
    /// Annotations to set or (`None`) to remove.
    pub annotations: BTreeMap<String, Option<String>>,
    /// The `status.observedGeneration` of an object of an own kind; `None`: leave it.
    pub observed: Option<i64>,
}

impl Wanted {
    /// Whether a finalizer is one of those that must be absent.
    #[must_use]
    pub fn removes_finalizer(&self, finalizer: &str) -> bool {
        self.remove_finalizers.iter().any(|gone| match gone.strip_suffix('/') {
            Some(_) => finalizer.starts_with(gone.as_str()),
            None => finalizer == gone,
        })
    }

    /// What an object carries once we have nothing to do with it any more: none of our marks, no address of ours, none of the provider's own
    /// annotations. One that is being deleted loses the finalizer only: nobody will see the rest.
    #[must_use]
    pub fn farewell(record: &Record, own_annotations: &[&str]) -> Self {
        if record.meta().deleting {
            return Self { finalizer: Some(false), ..Self::default() };
        }
        Self {
            ingress: Some(Vec::new()),
            annotations: own_annotations.iter().map(|name| ((*name).to_owned(), None)).collect(),
            ..Self::unmarked(record)
        }
    }

    /// The same, but addresses and the provider's annotations stay: for whoever takes the object over as it is.
    #[must_use]
    pub fn unmarked(record: &Record) -> Self {
        Self { finalizer: Some(false), remove_conditions: record.own_conditions(), ..Self::default() }
    }
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing differed; nothing was sent.
    Unchanged,
    /// It was written; this is the new resourceVersion.
    Written(String),
    /// Another writer was faster: look at the object again.
    Conflict,
    /// The object is gone.
    Gone,
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The API server refuses it for lack of permission.
    #[error("the API server refuses to {verb} {resource}: grant it to the ServiceAccount in its ClusterRole")]
    Forbidden {
        /// Verb.
        verb: String,
        /// Resource.
        resource: String,
    },
    /// The API server refuses the content.
    #[error("the API server refuses the write: {0}")]
    Rejected(String),
    /// Anything that may pass.
    #[error("{0}")]
    Transient(String),
}

/// A Warning or Normal Event for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// The object.
    pub object: ObjectRef,
    /// Warning or Normal.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: String,
    /// Text.
    pub message: String,
}

/// Kubernetes, as the engine needs it.
pub trait Cluster: Send + Sync + 'static {
    /// Brings an object to what it shall carry, in one conditional write of its status subresource, or none at all.
    fn write(
        &self,
        record: &Record,
        want: &Wanted,
    ) -> impl Future<Output = Result<Written, ClusterError>> + Send;
    /// Writes the status of one of the provider's own objects, if it differs.
    fn write_own(&self, status: &OwnStatus) -> impl Future<Output = Result<Written, ClusterError>> + Send;
    /// Sets conditions of a Pod, whatever its resourceVersion: nobody else writes those of these types.
    fn write_gates(
        &self,
        pod: &PodRecord,
        conditions: &[Condition],
    ) -> impl Future<Output = Result<Written, ClusterError>> + Send;
    /// Whether the object with exactly this uid exists now: a live read, never a cache. Namespace and name may be unknown (empty).
    fn exists(&self, object: &ObjectRef) -> impl Future<Output = Result<bool, ClusterError>> + Send;
    /// The Services of type LoadBalancer that there are now, and the resourceVersion of each: never from a cache that may lag.
    fn services(&self) -> impl Future<Output = Result<Vec<(Path, String)>, ClusterError>> + Send;
    /// Queues an Event; never waits, may drop.
    fn event(&self, event: EventNote);
}
