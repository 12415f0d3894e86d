//! The control endpoint of the bed's AWS: what every cloud has ([`crate::cloud::control`]) and what only this one has. Pure but for locks.
//!
//! | Request | Does |
//! |---|---|
//! | `GET hosts` | addresses and names of load balancers, as in a hosts file |
//! | `GET load-balancers` | what there is, with targets and their states |
//! | `POST quotas` | `{"NAME": LIMIT}`, the names of `DescribeAccountLimits` |
//! | `POST health` | `{"id": TARGET, "healthy": bool}`: sets the health of a target that nobody probes |

use std::collections::BTreeMap;

use http::{Request, Response};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::elb::health::{Reason, State};
use crate::cloud::control;
use crate::cloud::http::Whole;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Health {
    id: String,
    healthy: bool,
}

/// Answers a control request.
pub fn handle(cloud: &Cloud, request: &Request<Bytes>, path: &str) -> Response<Whole> {
    let asked = control::Request {
        method: request.method().as_str(),
        path,
        query: request.uri().query().unwrap_or_default(),
        body: request.body(),
    };
    let common = control::answer(&mut *cloud.gate(), &asked);
    let result = common.or_else(|| own(cloud, &asked));
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

fn own(cloud: &Cloud, request: &control::Request) -> Option<Result<Value, String>> {
    Some(match (request.method, request.path) {
        ("GET", "hosts") => Ok(json!(cloud.hosts())),
        ("GET", "load-balancers") => Ok(cloud.overview()),
        ("POST", "quotas") => request.json::<BTreeMap<String, u64>>().and_then(|quotas| {
            let set = quotas.iter().try_for_each(|(name, limit)| cloud.set_quota(name, *limit));
            set.map(|()| json!({}))
        }),
        ("POST", "health") => request.json::<Health>().map(|health| {
            let state = if health.healthy { State::Healthy } else { State::Unhealthy(Reason::Failed) };
            cloud.set_health(&health.id, state);
            json!({})
        }),
        _ => return None,
    })
}
