//! The key of the speakers' heartbeats: read from its Secret, or from a file, and followed when it changes. I/O.

use std::path::Path;
use std::time::Duration;

use causeway_speaker::membership::Keys;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cli::config::ObjectName;

/// The entry of the Secret that signs; all entries are accepted, so that a key can be rotated.
pub const ENTRY: &str = "key";
/// Octets of a key that we make.
const LENGTH: usize = 32;
/// How often a file is read again.
const FILE_PERIOD: Duration = Duration::from_secs(10);

/// Keys of a Secret: `key` signs, every entry is accepted.
///
/// # Errors
/// In words that say what to do.
pub(crate) fn keys(secret: &Secret) -> Result<Keys, String> {
    let empty = std::collections::BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let first = data.get(ENTRY).ok_or_else(|| {
        format!(
            "Secret {} has no entry {ENTRY:?}: delete it, and the controller makes a new one",
            secret.name_any()
        )
    })?;
    let others = data.iter().filter(|(name, _)| *name != ENTRY).map(|(_, value)| value.0.as_slice());
    let all: Vec<&[u8]> = std::iter::once(first.0.as_slice()).chain(others).collect();
    Keys::new(&all).map_err(|error| format!("Secret {}: {error}", secret.name_any()))
}

/// Follows the Secret for ever. While there is none, or none that can be used, the last good key stays.
pub async fn follow_secret(client: Client, name: ObjectName, out: watch::Sender<Option<Keys>>) {
    use futures::StreamExt;

    let api: Api<Secret> = Api::namespaced(client, &name.namespace);
    // By name: the speaker may read this Secret and no other.
    let config = watcher::Config::default().fields(&format!("metadata.name={}", name.name));
    let mut events = std::pin::pin!(watcher(api, config));
    let mut said = String::new();
    let mut wait = Duration::from_millis(200);
    let mut seen = false;
    while let Some(event) = events.next().await {
        let problem = match event {
            Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                seen = true;
                wait = Duration::from_millis(200);
                match keys(&secret) {
                    Ok(keys) => {
                        info!(secret = %format!("{}/{}", name.namespace, name.name), "heartbeat key loaded");
                        out.send_replace(Some(keys));
                        String::new()
                    }
                    Err(problem) => problem,
                }
            }
            Ok(Event::InitDone) if !seen => {
                format!("Secret {}/{} does not exist yet: the controller makes it", name.namespace, name.name)
            }
            Ok(_) => continue,
            Err(error) => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(10));
                format!("Secret {}/{} cannot be read: {error}", name.namespace, name.name)
            }
        };
        if !problem.is_empty() && problem != said {
            warn!("{problem}");
        }
        said = problem;
    }
}

/// Follows a file for ever.
pub async fn follow_file(path: &Path, out: watch::Sender<Option<Keys>>) {
    let (mut last, mut said) = (Vec::new(), String::new());
    loop {
        let problem = match tokio::fs::read(path).await {
            Ok(content) if content == last => String::new(),
            Ok(content) => match Keys::new(&[content.trim_ascii()]) {
                Ok(keys) => {
                    info!(path = %path.display(), "heartbeat key loaded");
                    last = content;
                    out.send_replace(Some(keys));
                    String::new()
                }
                Err(error) => format!("{}: {error}", path.display()),
            },
            Err(error) => format!("{} cannot be read: {error}", path.display()),
        };
        if !problem.is_empty() && problem != said {
            warn!("{problem}");
        }
        said = problem;
        tokio::time::sleep(FILE_PERIOD).await;
    }
}

/// Makes the Secret with a random key if there is none. Of two that try at once one wins, and both are content.
///
/// # Errors
/// What the API server answered.
pub async fn ensure_secret(client: &Client, name: &ObjectName) -> Result<(), kube::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    if api.get_opt(&name.name).await?.is_some() {
        return Ok(());
    }
    let mut key = vec![0; LENGTH];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key)
        .map_err(|_| kube::Error::Service("the system gives no random numbers".into()))?;
    let secret = Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(name.name.clone()),
            namespace: Some(name.namespace.clone()),
            labels: Some([("app.kubernetes.io/name".to_owned(), "causeway".to_owned())].into()),
            ..Default::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(ENTRY.to_owned(), k8s_openapi::ByteString(key))].into()),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => {
            info!(secret = %format!("{}/{}", name.namespace, name.name), "made the key of the speakers' heartbeats");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(entries: &[(&str, usize)]) -> Secret {
        let data = entries.iter().map(|(name, length)| ((*name).to_owned(), ByteString(vec![7; *length])));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn a_secret_without_a_usable_key_says_what_to_do() {
        assert!(keys(&secret(&[("key", 32)])).is_ok());
        assert!(keys(&secret(&[("key", 32), ("previous", 32)])).is_ok());
        assert!(keys(&secret(&[("other", 32)])).is_err_and(|e| e.contains("delete it")));
        assert!(keys(&secret(&[("key", 8)])).is_err_and(|e| e.contains("8 octets")));
        assert!(keys(&Secret::default()).is_err());
    }
}
