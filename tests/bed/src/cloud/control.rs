//! The HTTP control endpoint of a cloud: what a test in another process, or a person, sets and asks. Pure: a request in, an answer out.
//!
//! | Request | Does |
//! |---|---|
//! | `GET counts` | calls per action |
//! | `GET log?since=N` | the calls after number N |
//! | `POST forget` | empties counts and log |
//! | `GET`, `POST`, `DELETE faults` | a list of [`Fault`]s: shown, added, all forgotten (body `{"seed": N}` starts the random numbers anew) |
//! | `GET`, `POST limits` | `{"enforced": bool, "limits": [Limit]}`, either may be left out |
//! | `POST clock` | `{"advance_ms": N}` or `{"speed": X}`; answers the time |
//! | `POST stale` | `{"calls": PATTERN, "ms": N}`; 0 ends it |

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::bucket::Limit;
use super::faults::Fault;
use super::gate::Gate;
use super::pattern::Pattern;

/// A control request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path below the control endpoint, without a slash at its begin.
    pub path: &'a str,
    /// Query, undecoded.
    pub query: &'a str,
    /// Body.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// The body as JSON; an empty one is `{}`.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| format!("{} {}: {error}", self.method, self.path))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    enforced: Option<bool>,
    limits: Option<Vec<Limit>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    advance_ms: Option<u64>,
    speed: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stale {
    calls: Pattern,
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    seed: Option<u64>,
}

/// Answers a request that is the gate's; `None` if it is none of these.
pub fn answer<A: Clone>(gate: &mut Gate<A>, request: &Request) -> Option<Result<Value, String>> {
    Some(match (request.method, request.path) {
        ("GET", "counts") => Ok(json!(gate.calls.counts())),
        ("GET", "log") => {
            let since = request.query.strip_prefix("since=").map_or(Ok(0), str::parse);
            since.map(|since| json!(gate.calls.since(since))).map_err(|_| "since is a number".to_owned())
        }
        ("POST", "forget") => {
            gate.calls.forget();
            Ok(json!({"last": gate.calls.last()}))
        }
        ("GET", "faults") => Ok(planned(gate)),
        ("POST", "faults") => request.json::<Vec<Fault>>().map(|faults| {
            faults.into_iter().for_each(|fault| gate.faults.add(fault));
            planned(gate)
        }),
        ("DELETE", "faults") => request.json::<Forget>().map(|forget| {
            gate.faults.clear(forget.seed);
            planned(gate)
        }),
        ("GET", "limits") => Ok(limits(gate)),
        ("POST", "limits") => request.json::<Limits>().map(|change| {
            if let Some(new) = change.limits {
                gate.set_limits(new);
            }
            if let Some(enforced) = change.enforced {
                gate.enforce(enforced);
            }
            limits(gate)
        }),
        ("POST", "clock") => request.json::<ClockChange>().map(|change| {
            if let Some(ms) = change.advance_ms {
                gate.clock.advance(Duration::from_millis(ms));
            }
            if let Some(speed) = change.speed {
                gate.clock.set_speed(speed);
            }
            json!({"now_ms": gate.clock.now().as_millis() as u64})
        }),
        ("POST", "stale") => request.json::<Stale>().map(|stale| {
            gate.stale.set(stale.calls, Duration::from_millis(stale.ms));
            json!({})
        }),
        _ => return None,
    })
}

fn planned<A: Clone>(gate: &Gate<A>) -> Value {
    let each = |(fault, seen): &(Fault, u64)| json!({"fault": fault, "matched": seen});
    gate.faults.planned().iter().map(each).collect()
}

fn limits<A: Clone>(gate: &Gate<A>) -> Value {
    let (limits, enforced) = gate.limits();
    json!({"enforced": enforced, "limits": limits})
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::*;

    #[test]
    fn the_gate_is_set_and_read_over_http() {
        let mut gate: Gate<()> = Gate::new(Clock::default(), Vec::new());
        let mut ask = |method, path, body: &str| {
            answer(&mut gate, &Request { method, path, query: "", body: body.as_bytes() }).unwrap()
        };
        let planned =
            ask("POST", "faults", r#"[{"calls": "A", "effect": {"cut": {"when": "after"}}}]"#).unwrap();
        assert_eq!(planned[0]["matched"], 0);
        assert!(ask("POST", "faults", r#"{"calls": "A"}"#).unwrap_err().starts_with("POST faults: "));
        assert_eq!(ask("DELETE", "faults", "").unwrap(), json!([]));
        let limits =
            r#"{"enforced": true, "limits": [{"name": "n", "calls": ["*"], "burst": 1, "rate": 1}]}"#;
        assert_eq!(ask("POST", "limits", limits).unwrap()["enforced"], true);
        assert!(ask("POST", "limits", r#"{"enforce": true}"#).is_err(), "a misspelt field is an error");
        assert!(ask("POST", "clock", r#"{"advance_ms": 5000}"#).unwrap()["now_ms"].as_u64() >= Some(5000));
        assert_eq!(ask("GET", "counts", "").unwrap(), json!({}));
        assert!(answer(&mut gate, &Request { method: "GET", path: "x", query: "", body: b"" }).is_none());
    }
}
