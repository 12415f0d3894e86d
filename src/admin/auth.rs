//! Who may read metrics and state: the API server knows (TokenReview, then SubjectAccessReview on the path). I/O.
//!
//! Answers are kept for a minute, keyed by a hash of the token, so that a scrape costs no call. While the API server cannot be asked, an answer
//! that was kept longer still counts for ten minutes: metrics are wanted most when things break.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::Instant;

/// May they?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Granted,
    /// No token, or nobody's.
    Unauthenticated,
    /// Known, but not allowed.
    Denied,
    /// The API server could not be asked.
    Unknown,
}

const FRESH: Duration = Duration::from_secs(60);
const STALE: Duration = Duration::from_secs(600);
/// The most answers kept: a flood of bad tokens must not fill memory.
const KEPT: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(5);

type Digest = [u8; 32];

/// Asks the API server.
pub struct Guard {
    client: Client,
    known: Mutex<HashMap<(Digest, String), (Instant, Access)>>,
}

impl Guard {
    /// A guard that asks through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Whether the owner of this token may GET this path.
    pub async fn check(&self, token: Option<&str>, path: &str) -> Access {
        let Some(token) = token.filter(|t| !t.is_empty()) else { return Access::Unauthenticated };
        let mut digest = Digest::default();
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
        let key = (digest, path.to_owned());
        let kept = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((at, access)) = kept
            && at.elapsed() < FRESH
        {
            return access;
        }
        let asked = tokio::time::timeout(TIMEOUT, self.ask(token, path)).await;
        match (asked, kept) {
            (Ok(Ok(access)), _) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= KEPT {
                    known.retain(|_, (at, _)| at.elapsed() < FRESH);
                }
                if known.len() < KEPT {
                    known.insert(key, (Instant::now(), access));
                }
                access
            }
            (_, Some((at, access))) if at.elapsed() < STALE => access,
            _ => Access::Unknown,
        }
    }

    async fn ask(&self, token: &str, path: &str) -> Result<Access, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Access::Unauthenticated);
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some("get".to_owned()),
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status;
        Ok(if status.is_some_and(|s| s.allowed) { Access::Granted } else { Access::Denied })
    }
}
