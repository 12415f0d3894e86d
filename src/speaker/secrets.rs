//! The Secrets of the configuration's namespace, which may hold passwords of BGP peers. I/O.
//!
//! A new password is used without a restart. While the API server is away, what was read last stays; a Secret that may not be read is reported once and tried
//! again, and only peers that need one wait for it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use causeway_metal::bgp::PeerSecret;
use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::kube::types::BasicAuth;
use crate::kube::watch::WATCH_SECONDS;

/// Secrets by name.
pub type Secrets = Arc<BTreeMap<String, PeerSecret>>;

/// Between tries after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

fn judge(secret: &BasicAuth) -> PeerSecret {
    PeerSecret::new(&secret.kind, secret.data.password.as_ref().map(|password| password.0.as_slice()))
}

/// Follows them for as long as somebody listens. `None` until they were read once, or could not be.
pub async fn follow(client: Client, namespace: String, out: watch::Sender<Option<Secrets>>) {
    let api: Api<BasicAuth> = Api::namespaced(client, &namespace);
    let mut events = pin!(watcher(api, watcher::Config::default().timeout(WATCH_SECONDS)));
    let (mut known, mut listed) = (BTreeMap::new(), BTreeMap::new());
    let (mut wait, mut said) = (RETRY.0, String::new());
    while let Some(event) = tokio::select! {
        event = events.next() => event,
        () = out.closed() => None,
    } {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(secret)) => {
                listed.insert(secret.name_any(), judge(&secret));
                continue;
            }
            Ok(Event::InitDone) => known = std::mem::take(&mut listed),
            Ok(Event::Apply(secret)) => drop(known.insert(secret.name_any(), judge(&secret))),
            Ok(Event::Delete(secret)) => drop(known.remove(&secret.name_any())),
            Err(error) => {
                let why = crate::kube::chain(&error);
                if why != said {
                    warn!("passwords of BGP peers cannot be read: secrets in namespace {namespace}: {why}");
                }
                said = why;
                // As if there were none: the peers that need one are refused with a reason, and nobody else waits.
                out.send_if_modified(|before| {
                    let first = before.is_none();
                    before.get_or_insert_default();
                    first
                });
                sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
                continue;
            }
        }
        if !said.is_empty() {
            info!("secrets in namespace {namespace} can be read again");
        }
        (wait, said) = (RETRY.0, String::new());
        out.send_if_modified(|before| {
            let new = before.as_deref() != Some(&known);
            if new {
                *before = Some(Arc::new(known.clone()));
            }
            new
        });
    }
}

#[cfg(test)]
mod tests {
    use causeway_metal::bgp::Password;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_password_is_read_and_it_is_never_shown() {
        let secret: BasicAuth = serde_json::from_value(json!({
            "metadata": {"name": "tor"}, "type": "kubernetes.io/basic-auth",
            "data": {"username": "bm9ib2R5", "password": "b3BlbiBzZXNhbWU="},
        }))
        .expect("a Secret");
        assert_eq!(judge(&secret), PeerSecret::Password(Password::new(b"open sesame")));
        let shown = format!("{secret:?} {:?}", judge(&secret));
        assert!(!shown.contains("sesame") && !shown.contains("111, 112"), "{shown}");
        let other: BasicAuth =
            serde_json::from_value(json!({"metadata": {"name": "x"}, "type": "Opaque", "data": null}))
                .expect("a Secret");
        assert_eq!(judge(&other), PeerSecret::WrongType("Opaque".to_owned()));
    }
}
