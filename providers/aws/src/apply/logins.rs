//! Logging in by OpenID Connect: the client's id and secret are read from the Secret when AWS is told them.

use causeway_api::{CloudError, Result};

use super::Doing;
use crate::alb::auth::{CLIENT_ID, CLIENT_SECRET};
use crate::cloud::{Api, Call};
use crate::plan::Op;
use crate::plan::secrets;
use crate::secrets::Client;
use crate::stack::{Action, Content};

/// The actions that a change sends.
fn sent(op: &Op) -> &[Action] {
    match op {
        Op::CreateListener { spec, .. } | Op::ModifyListener { spec, .. } => &spec.default_actions,
        Op::CreateRule { spec, .. } | Op::ModifyRule { spec, .. } => &spec.actions,
        _ => &[],
    }
}

impl<A: Api> Doing<'_, A> {
    /// The client whose id and secret the change sends, if it does. A Secret that does not hold them is remembered, so that the plan is made anew without what needs it.
    pub(super) async fn client(&self) -> Result<Option<Client>> {
        let Some(secret) = secrets::of(sent(&self.change.op)) else { return Ok(None) };
        let Some(secrets) = &self.live.secrets else {
            return Err(CloudError::Transient("Secrets cannot be read here".to_owned()));
        };
        let named = format!("Secret {}/{}", secret.namespace, secret.name);
        let read = secrets.read(&secret.namespace, &secret.name).await;
        let found = read.map_err(|error| CloudError::Transient(format!("reading {named}: {error}")))?;
        // Without one the object's own plan says so, as soon as the watch does.
        let client = found.ok_or_else(|| CloudError::Transient(format!("{named} is gone")))?;
        let missing = [(CLIENT_ID, &client.id), (CLIENT_SECRET, &client.secret)];
        let Some((entry, _)) = missing.iter().find(|(_, text)| text.is_empty()) else {
            return Ok(Some(client));
        };
        let why = format!(
            "{named} has no entry {entry}, or an empty or unreadable one: give it {CLIENT_ID} and {CLIENT_SECRET}"
        );
        self.live.known().entry_mut(&self.change.owner).tree.unusable.insert(secret.mark(), why.clone());
        Err(CloudError::Conflict(why))
    }
}

/// The call with what the Secret holds.
pub(super) fn with(mut call: Call, client: &Client) -> Call {
    let (id, secret) = (Content::of(client.id.as_str()), Content::of(client.secret.as_str()));
    match &mut call {
        Call::CreateListener { spec } | Call::ModifyListener { spec, .. } => {
            secrets::filled(&mut spec.default_actions, &id, &secret);
        }
        Call::CreateRule { spec } | Call::ModifyRule { spec, .. } => {
            secrets::filled(&mut spec.actions, &id, &secret);
        }
        _ => {}
    }
    call
}
