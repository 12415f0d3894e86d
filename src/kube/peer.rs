//! Whether a controller that does the same work runs in this cluster, so that we do nothing while it does. I/O; the judgement of a Lease is pure.
//!
//! While the API server is away, what was seen last stays: nothing begins because nobody can be asked.

use std::time::Duration;

use causeway_api::Peer;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// How often a Lease is looked at: one small read each time.
const LOOK: Duration = Duration::from_secs(5);
/// For how long a holder counts that does not say how long its Lease lasts: Kubernetes' default.
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nothing yet, or never: why, if that is known.
    Unknown(Option<String>),
    /// These work: Pods, or the holder of a Lease; sorted.
    Runs(Vec<String>),
    /// Nobody works.
    #[default]
    Gone,
}

impl Presence {
    /// Whether it is certain that it does not run.
    #[must_use]
    pub fn gone(&self) -> bool {
        *self == Self::Gone
    }
}

/// Tells that nobody can say whether it works, once for each reason. What was seen before stays.
pub(super) fn cannot_be_seen(out: &watch::Sender<Presence>, message: String) {
    out.send_if_modified(|presence| {
        let new = matches!(presence, Presence::Unknown(why) if why.as_ref() != Some(&message));
        if new {
            warn!("{message}; nothing is done until it can be");
            *presence = Presence::Unknown(Some(message));
        }
        new
    });
}

/// Does something for as long as the peer is gone, and anew each time that it is.
pub async fn while_gone<F: Future<Output = ()>>(mut peer: watch::Receiver<Presence>, work: impl Fn() -> F) {
    // An error means that nobody will tell any more: what is so now stays.
    loop {
        if peer.wait_for(Presence::gone).await.is_err() {
            return;
        }
        tokio::select! {
            () = work() => return,
            Ok(_) = peer.wait_for(|presence| !presence.gone()) => {}
        }
    }
}

/// Somebody's hold of a Lease, as it was seen first.
#[derive(Debug, PartialEq, Eq)]
struct Hold {
    holder: String,
    /// resourceVersion: each renewal moves it.
    version: String,
    since: Instant,
}

/// Judges one look at a Lease: who holds it, or nobody. Clocks of other machines do not count: it has expired when it was not renewed before our eyes for
/// as long as it lasts.
fn judge(seen: &mut Option<Hold>, lease: Option<Lease>, now: Instant) -> Option<String> {
    let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let Some(holder) = holder else {
        *seen = None;
        return None;
    };
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    let lasts = seconds.map_or(DEFAULT_DURATION, Duration::from_secs);
    let version = lease.and_then(|lease| lease.metadata.resource_version).unwrap_or_default();
    match seen {
        Some(hold) if hold.version == version => {
            (now.duration_since(hold.since) <= lasts).then(|| hold.holder.clone())
        }
        _ => {
            *seen = Some(Hold { holder: holder.clone(), version, since: now });
            Some(holder)
        }
    }
}

/// Follows peers by their Leases for as long as somebody listens; one without Lease says nothing.
#[must_use]
pub fn follow(client: Client, namespace: String, peers: Vec<&'static Peer>) -> watch::Receiver<Presence> {
    let (tx, rx) = watch::channel(Presence::Unknown(None));
    tokio::spawn(async move {
        tokio::select! {
            () = tx.closed() => {}
            () = look(client, &namespace, &peers, &tx) => {}
        }
    });
    rx
}

async fn look(client: Client, namespace: &str, peers: &[&Peer], out: &watch::Sender<Presence>) {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let mut followed: Vec<(&str, &str, Option<Hold>)> =
        peers.iter().filter_map(|peer| Some((peer.name, peer.lease?, None))).collect();
    let names = peers.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
    loop {
        let mut by = Vec::new();
        let mut unseen = None;
        for (name, lease, seen) in &mut followed {
            match leases.get_opt(lease).await {
                Ok(found) => by.extend(
                    judge(seen, found, Instant::now())
                        .map(|holder| format!("{name}: {holder} holds {namespace}/{lease}")),
                ),
                Err(error) => {
                    let why = super::chain(&error);
                    unseen = Some(format!(
                        "whether {name} works cannot be seen: Lease {namespace}/{lease}: {why}"
                    ));
                }
            }
        }
        match unseen {
            Some(message) if by.is_empty() => cannot_be_seen(out, message),
            _ => tell(out, by, &names),
        }
        sleep(LOOK).await;
    }
}

/// Tells who works, or that nobody does any more.
fn tell(out: &watch::Sender<Presence>, by: Vec<String>, names: &str) {
    let new = if by.is_empty() { Presence::Gone } else { Presence::Runs(by) };
    out.send_if_modified(|presence| {
        let moved = *presence != new;
        match &new {
            Presence::Runs(by) if moved => {
                info!(
                    "{names} works: nothing is done until its Lease is given back or has expired ({})",
                    by.join("; ")
                );
            }
            Presence::Gone if moved => info!("{names} does not work: taking over"),
            _ => {}
        }
        *presence = new;
        moved
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, version: &str) -> Option<Lease> {
        let lease = json!({"metadata": {"name": "l", "resourceVersion": version}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}});
        serde_json::from_value(lease).ok()
    }

    #[test]
    fn a_lease_counts_until_it_is_given_back_or_not_renewed_for_as_long_as_it_lasts() {
        let (mut seen, start) = (None, Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(judge(&mut seen, None, at(0)), None, "there is none");
        assert_eq!(
            judge(&mut seen, lease("a", "1"), at(0)).as_deref(),
            Some("a"),
            "old or new, nobody knows"
        );
        assert_eq!(judge(&mut seen, lease("a", "1"), at(15)).as_deref(), Some("a"));
        assert_eq!(judge(&mut seen, lease("a", "2"), at(16)).as_deref(), Some("a"), "renewed");
        assert_eq!(judge(&mut seen, lease("a", "2"), at(30)).as_deref(), Some("a"));
        assert_eq!(judge(&mut seen, lease("a", "2"), at(32)), None, "expired");
        assert_eq!(judge(&mut seen, lease("b", "3"), at(33)).as_deref(), Some("b"), "back");
        assert_eq!(judge(&mut seen, lease("", "4"), at(34)), None, "given back");
        assert_eq!(judge(&mut seen, Some(Lease::default()), at(35)), None, "empty");
    }
}
