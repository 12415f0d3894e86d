//! What the errors of a watch mean, what to do about them, and when to try again. Pure but for the jitter.

use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use super::jitter;

/// Why a kind cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The CRD is not installed.
    NotInstalled,
    /// RBAC does not allow it.
    Forbidden,
    /// The API server does not know us: token or certificate are not valid.
    Unauthorized,
    /// The API server cannot be reached, or is not able to answer.
    Unreachable,
    /// It answers something that is not what we expect.
    Unexpected,
}

/// What is the matter with one kind, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchProblem {
    /// Class.
    pub cause: Cause,
    /// For people: object, verb, resource, remedy.
    pub message: String,
}

/// Delays between attempts after errors: exponential with jitter.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) failures: u32,
}

impl Pace {
    /// The next delay. Short where the API server may be back at once, long where a person has to act first.
    pub(super) fn next(&mut self, cause: Cause) -> Duration {
        let (base, most) = match cause {
            Cause::Unreachable => (Duration::from_millis(250), Duration::from_secs(10)),
            Cause::NotInstalled => (Duration::from_secs(1), Duration::from_secs(15)),
            Cause::Forbidden | Cause::Unauthorized | Cause::Unexpected => {
                (Duration::from_secs(2), Duration::from_secs(30))
            }
        };
        let full = base.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures += 1;
        // Between half and all of it, so that many processes do not come back as one.
        full.mul_f64(0.5 + jitter() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Whether the list that was being read has to be read from its beginning.
pub(super) fn broken_list(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion)
}

/// Whether the place in the stream of events is lost, as happens after every long absence. Pure.
pub(super) fn too_old(error: &watcher::Error) -> bool {
    status_of(error).is_some_and(|s| s.code == 410)
}

/// Whether only a new list helps, out of a running watch. Pure.
///
/// An event that could not be decoded is lost. And a server that refuses the same place again and again (its etcd was restored
/// from a backup: "too large resource version") will not change its mind, while kube's watcher would ask for ever.
pub(super) fn must_list(error: &watcher::Error, failures: u32) -> bool {
    match error {
        watcher::Error::WatchFailed(kube::Error::SerdeError(_)) => true,
        watcher::Error::WatchStartFailed(kube::Error::Api(_)) => failures >= 3,
        _ => false,
    }
}

fn status_of(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Whether this answer means that the server does not do streaming lists. Pure.
///
/// 400 and 422 come from servers that do not know `sendInitialEvents`, 500 from those whose etcd lacks
/// RequestWatchProgress, 501 and 405 from aggregated servers. 401, 403, 404, 429 and 503 say nothing about it.
pub(super) fn refuses_streaming(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(_))
        && status_of(error).is_some_and(|s| matches!(s.code, 400 | 405 | 422 | 500 | 501))
}

/// Classifies an error and says what to do about it. Pure.
pub(super) fn judge(error: &watcher::Error, resource: &str, custom: bool) -> WatchProblem {
    let verb = match error {
        watcher::Error::InitialListFailed(_) => "list",
        _ => "watch",
    };
    let problem = |cause, message| WatchProblem { cause, message };
    let Some(status) = status_of(error) else {
        return match error {
            watcher::Error::InitialListFailed(kube::Error::SerdeError(e))
            | watcher::Error::WatchFailed(kube::Error::SerdeError(e)) => {
                problem(Cause::Unexpected, format!("cannot read what the API server says of {resource}: {e}"))
            }
            watcher::Error::NoResourceVersion => problem(
                Cause::Unexpected,
                format!("the API server gives no resourceVersion for {resource}: it cannot be watched"),
            ),
            other => problem(
                Cause::Unreachable,
                format!(
                    "cannot {verb} {resource}, going on with what is known: {}",
                    crate::kube::chain(other)
                ),
            ),
        };
    };
    match status.code {
        403 => problem(
            Cause::Forbidden,
            format!(
                "the ServiceAccount may not {verb} {resource}: {}; allow get, list and watch of {resource} in its ClusterRole \
                 (or Role), as deploy/ does",
                status.message
            ),
        ),
        401 => problem(
            Cause::Unauthorized,
            format!(
                "the API server refuses our credentials when we {verb} {resource}: {}; check the token or client certificate",
                status.message
            ),
        ),
        404 if custom => problem(
            Cause::NotInstalled,
            format!(
                "CRD {resource} is not installed: kubectl apply -k deploy/crds, then it is noticed by itself"
            ),
        ),
        404 => problem(
            Cause::Unexpected,
            format!("the API server does not know {resource}: Kubernetes 1.33 or newer is needed"),
        ),
        _ => problem(
            Cause::Unreachable,
            format!(
                "cannot {verb} {resource}, going on with what is known: {} ({})",
                status.message, status.code
            ),
        ),
    }
}
