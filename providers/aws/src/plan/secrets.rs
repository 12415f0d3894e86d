//! Whether the client's id and secret that an action logs in with are those that AWS holds: it never tells them. Pure.
//!
//! So a tag on the listener or rule says which Secret, in which version, was sent last. It is written after the action, and holds the version that Kubernetes gave,
//! which never comes again: whoever dies between the two sends the action once more.

use causeway_api::Problem;

use super::Draft;
use crate::stack::{Action, Content, SecretRef, Tags};

/// Tag of a listener or rule with [`SecretRef::mark`] of the Secret that its action was sent with.
pub const TAG_SECRET: &str = "causeway.io/secret";

/// The Secret that actions need.
#[must_use]
pub fn of(actions: &[Action]) -> Option<&SecretRef> {
    actions.iter().find_map(|action| match action {
        Action::AuthenticateOidc(config) => Some(&config.client_secret),
        _ => None,
    })
}

fn each(actions: &mut [Action], mut change: impl FnMut(&mut SecretRef)) {
    for action in actions {
        if let Action::AuthenticateOidc(config) = action {
            change(&mut config.client_id);
            change(&mut config.client_secret);
        }
    }
}

/// The tags of what has these actions, with the one that tells the Secret.
#[must_use]
pub fn tagged(mut tags: Tags, actions: &[Action]) -> Tags {
    if let Some(secret) = of(actions) {
        tags.insert(TAG_SECRET.to_owned(), secret.mark());
    }
    tags
}

/// Actions that were read, or sent, as one knows them afterwards.
pub fn as_read(actions: &mut [Action]) {
    each(actions, |secret| *secret = secret.as_read());
}

/// Puts in what the tags tell of the Secret of actions that were read.
pub fn told(actions: &mut [Action], tags: &Tags) {
    let mark = tags.get(TAG_SECRET).map(String::as_str).unwrap_or_default();
    each(actions, |secret| mark.clone_into(&mut secret.version));
}

/// Puts in the content, for one call.
pub fn filled(actions: &mut [Action], id: &Content, secret: &Content) {
    for action in actions {
        if let Action::AuthenticateOidc(config) = action {
            config.client_id.content = id.clone();
            config.client_secret.content = secret.clone();
        }
    }
}

impl Draft<'_> {
    /// Whether what has these actions must stay as it is, or away: its Secret does not hold what it must. That is said.
    pub(super) fn locked(&mut self, actions: &[Action]) -> bool {
        let Some(secret) = of(actions) else { return false };
        let Some(why) = self.have.unusable.get(&secret.mark()) else { return false };
        let members = self.want.members.iter().map(|m| &m.object);
        let blame = members.clone().find(|o| o.namespace == secret.namespace).or(members.clone().next());
        let field = format!("metadata.annotations[{}]", crate::annotations::ingress::AUTH_OIDC.key());
        let why = format!("{why}; until then what needs it stays as it is, or is not served");
        let problem = blame.map(|object| Problem::error(object.clone(), field, "InvalidSecret", why));
        self.problems.extend(problem.filter(|problem| !self.problems.contains(problem)));
        self.incomplete = true;
        true
    }
}
