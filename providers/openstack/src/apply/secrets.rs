//! Certificates out of Secrets of Kubernetes, put into Barbican. I/O.

use causeway_api::{Outcome, Result};
use serde_json::Value;
use tracing::debug;

use super::Doing;
use crate::api::Api;
use crate::api::barbican::{NewSecret, SECRETS, Secret, read_ref};
use crate::certificates;
use crate::naming;
use crate::observe::shape;

impl<A: Api> Doing<'_, A> {
    /// Makes a secret of what a Secret holds now, if that is what was planned for. Its name holds a digest of that: so an answer that is lost is found again.
    pub(super) async fn post_secret(&self, body: &Value) -> Result<Outcome> {
        let of = self.change.id.as_str();
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
        let bundle = match certificates::read(&*self.live.cluster_secrets, of).await? {
            Ok(bundle) if naming::secret(&self.mark, of, &bundle.digest) == name => bundle,
            other => {
                debug!(secret = of, useless = ?other.err(), "it holds something else now");
                // The next look at the Secret knows it by another version.
                return Err(causeway_api::CloudError::Conflict(format!("Secret {of} changed meanwhile")));
            }
        };
        if let Some(wait) = self.may_show_up() {
            return Ok(wait);
        }
        let new = NewSecret::pkcs12(name, bundle.base64.reveal());
        let answer = self.live.calls.write(&SECRETS.create(&new), self.fence).await;
        let answer = answer.map_err(|e| self.post_failed(&e))?;
        let secret_ref = read_ref(&answer).map_err(|e| self.failed(&e.into(), &self.change.summary))?;
        let made = Secret { secret_ref, name: name.to_owned(), ..Secret::default() };
        if let Some(part) = shape::secret(&made, &self.mark) {
            self.entry(|entry| entry.put(part));
        }
        Ok(Outcome::Done)
    }
}
