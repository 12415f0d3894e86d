//! The control endpoint of the bed's OpenStack: what every cloud has ([`crate::cloud::control`]) and what only this one has. I/O where it asks the services.
//!
//! | Request | Does |
//! |---|---|
//! | `GET show` | load balancers with their addresses, listeners, members and states |
//! | `POST expire-tokens` | all tokens given out so far are refused from now on; answers how many |
//! | `POST builds` | `{"fail": bool, "seconds": X}`, either may be left out: new amphorae cannot be made; they take so long |

use http::{Request, Response};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::overview;
use super::shared::Shared;
use crate::cloud::control;
use crate::cloud::http::Whole;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Builds {
    fail: Option<bool>,
    seconds: Option<f64>,
}

/// Answers a control request.
pub async fn handle(shared: &Shared, request: &Request<Bytes>, path: &str) -> Response<Whole> {
    let asked = control::Request {
        method: request.method().as_str(),
        path,
        query: request.uri().query().unwrap_or_default(),
        body: request.body(),
    };
    let common = control::answer(&mut *shared.gate(), &asked);
    let result = match common {
        Some(result) => Some(result),
        None => own(shared, &asked).await,
    };
    let (status, body) = match result {
        Some(Ok(Value::String(text))) => (200, text),
        Some(Ok(value)) => (200, value.to_string()),
        Some(Err(message)) => (400, json!({"error": message}).to_string()),
        None => (404, json!({"error": format!("no {} {path} here", asked.method)}).to_string()),
    };
    let mut response = Response::new(Whole::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

async fn own(shared: &Shared, request: &control::Request<'_>) -> Option<Result<Value, String>> {
    Some(match (request.method, request.path) {
        ("GET", "show") => overview::read().await.map_err(|error| format!("{error:#}")),
        ("POST", "expire-tokens") => Ok(json!({"expired": shared.tokens().expire_all()})),
        ("POST", "builds") => request.json::<Builds>().and_then(|builds| {
            let set = builds.fail.map_or(Ok(()), |fail| shared.fail_builds(fail));
            let set =
                set.and_then(|()| builds.seconds.map_or(Ok(()), |seconds| shared.build_seconds(seconds)));
            set.map(|()| json!({})).map_err(|error| format!("{error:#}"))
        }),
        _ => return None,
    })
}
