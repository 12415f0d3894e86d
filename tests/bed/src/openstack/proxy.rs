//! The proxy in front of the services: every call is counted, and suffers what a test has planned for it. I/O: passes calls on.
//!
//! A call that a client gives up is worked on all the same, and noted: a cloud does not stop either.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Bytes;

use super::call::{self, Call};
use super::service::Service;
use super::shared::Shared;
use super::tokens::EXPIRED_TOKEN;
use super::{control, errors, pages, urls};
use crate::cloud::faults::{Failure, Fate};
use crate::cloud::http::{self as wire, Cut, Whole};
use crate::cloud::{Outcome, Record};

/// Where the control endpoint begins, at every port.
pub const CONTROL: &str = "/_bed/";
/// A request with this header is a look of the bed's own: neither counted nor disturbed.
pub const LOOK: &str = "x-bed-look";

/// An answer as it is sent, and kept for stale reads.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn error(service: Service, code: &str, status: u16, retry_after: Option<u64>) -> Answer {
        let (content_type, body) = errors::body(service, code, status);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        if let Some(seconds) = retry_after {
            headers.insert("retry-after", seconds.into());
        }
        if let (401, Ok(value)) = (status, format!("Keystone uri=\"{}\"", Service::Identity.inside()).parse())
        {
            headers.insert("www-authenticate", value);
        }
        Answer { status, headers, body: body.into() }
    }

    /// As a client at that place reads it.
    fn into_response(mut self, outside: bool, shared: &Shared) -> Response<Whole> {
        if let (true, Some(relays)) = (outside, shared.relays.get()) {
            if let Ok(text) = std::str::from_utf8(&self.body) {
                self.body = urls::outwards(text, relays).into();
            }
            for value in self.headers.values_mut() {
                if let Ok(Ok(changed)) = value.to_str().map(|text| urls::outwards(text, relays).parse()) {
                    *value = changed;
                }
            }
        }
        let mut response = Response::new(Whole::from(self.body));
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }
}

/// Answers one request at a service's port, or cuts its connection.
pub async fn handle(
    shared: Arc<Shared>,
    service: Service,
    request: Request<Bytes>,
) -> Result<Response<Whole>, Cut> {
    // On a task of its own, which goes on when the client is gone.
    let work = tokio::spawn(async move { answer(&shared, service, request).await });
    work.await.map_err(|_| Cut)?
}

async fn answer(shared: &Shared, service: Service, request: Request<Bytes>) -> Result<Response<Whole>, Cut> {
    if let Some(path) = request.uri().path().strip_prefix(CONTROL) {
        return Ok(control::handle(shared, &request, path).await);
    }
    let host = request.headers().get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let outside = shared.relays.get().is_some_and(|relays| urls::is_from_outside(host, relays, service));
    if request.headers().contains_key(LOOK) {
        let answer = forward(shared, service, &request, &Fate::default(), outside).await;
        return Ok(answer.into_response(outside, shared));
    }
    let call = call::recognise(
        request.method().as_str(),
        request.uri().path(),
        request.uri().query(),
        request.body(),
    );
    let admission = shared.gate().arrive(service.name(), &call.action, &call.resource);
    let (mut record, fate) = (admission.record, admission.fate);
    pause(fate.delay).await;
    let early = match (&fate.before, admission.exhausted) {
        (Some(failure), _) => Some(failure.clone()),
        (None, Some(limit)) => {
            let seconds = limit.after.as_secs_f64().ceil() as u64;
            Some(Failure::Error { code: "OverLimit".to_owned(), status: 429, retry_after: Some(seconds) })
        }
        (None, None) => None,
    };
    let (failure, answer) = match early {
        Some(failure) => {
            record.took_effect = false;
            (Some(failure), None)
        }
        None => {
            let answer = stale_or_fresh(shared, service, &call, &request, &fate, outside).await;
            record.took_effect = answer.status < 400;
            (fate.after.clone(), Some(answer))
        }
    };
    pause(fate.late).await;
    let answer = match (failure, answer) {
        (Some(Failure::Cut), _) => {
            (record.outcome, record.status) = (Outcome::Lost, 0);
            shared.gate().leave(record);
            return Err(Cut);
        }
        (Some(Failure::Error { code, status, retry_after }), _) => {
            record.code.clone_from(&code);
            Answer::error(service, &code, status, retry_after)
        }
        (None, Some(answer)) => answer,
        (None, None) => Answer::error(service, "NoAnswer", 500, None),
    };
    note(shared, record, &answer);
    Ok(answer.into_response(outside, shared))
}

fn note(shared: &Shared, mut record: Record, answer: &Answer) {
    record.status = answer.status;
    if answer.status >= 400 && record.code.is_empty() {
        record.code = errors::said(&answer.body);
    }
    record.outcome = match answer.status {
        ..400 => Outcome::Ok,
        429 => Outcome::Throttled,
        400..500 => Outcome::Refused,
        _ => Outcome::Failed,
    };
    shared.gate().leave(record);
}

async fn pause(time: Duration) {
    if time > Duration::ZERO {
        tokio::time::sleep(time).await;
    }
}

/// The answer of the service as it is, or as it was if reads lag behind.
async fn stale_or_fresh(
    shared: &Shared,
    service: Service,
    call: &Call,
    request: &Request<Bytes>,
    fate: &Fate,
    outside: bool,
) -> Answer {
    let read = request.method() == http::Method::GET;
    let question = format!("{} {}", service.name(), request.uri());
    if read {
        let gate = shared.gate();
        if let Some(earlier) = gate.stale.earlier(service.name(), &call.action, &question, gate.now()) {
            return earlier;
        }
    }
    if let Some(unknown) = fate.own.iter().find(|name| *name != EXPIRED_TOKEN && pages::cap(name).is_none()) {
        eprintln!("the bed's OpenStack knows no fault {unknown:?}");
        return Answer::error(service, "UnknownFault", 500, None);
    }
    if let (true, Some(token)) =
        (fate.own.iter().any(|name| name == EXPIRED_TOKEN), header(request, "x-auth-token"))
    {
        shared.tokens().expire(token);
    }
    let answer = forward(shared, service, request, fate, outside).await;
    if read && answer.status < 400 {
        let mut gate = shared.gate();
        let now = gate.now();
        gate.stale.remember(question, now, answer.clone());
    }
    answer
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// Passes a request on to its service.
async fn forward(
    shared: &Shared,
    service: Service,
    request: &Request<Bytes>,
    fate: &Fate,
    outside: bool,
) -> Answer {
    let answer = async {
        let onward = onward(shared, service, request, fate, outside)?;
        let (head, body) = wire::send(service.behind(), onward).await?.into_parts();
        let mut headers = head.headers;
        for name in ["content-length", "connection", "transfer-encoding"] {
            headers.remove(name);
        }
        if let Some(token) = headers.get("x-subject-token").and_then(|value| value.to_str().ok()) {
            shared.tokens().issue(token);
        }
        anyhow::Ok(Answer { status: head.status.as_u16(), headers, body })
    };
    answer.await.unwrap_or_else(|error| {
        eprintln!("the bed's OpenStack: {} does not answer: {error:#}", service.program());
        // As a gateway says it whose service is away.
        Answer::error(service, errors::GATEWAY, 503, None)
    })
}

/// A request as the service gets it: expired tokens are none, URLs are those inside the bed, pages as small as planned.
fn onward(
    shared: &Shared,
    service: Service,
    request: &Request<Bytes>,
    fate: &Fate,
    outside: bool,
) -> anyhow::Result<Request<Whole>> {
    let path = request.uri().path();
    let action = call::recognise(request.method().as_str(), path, None, b"").action;
    let cap = fate.own.iter().filter_map(|name| pages::cap(name)).min();
    let target = match (cap, request.uri().query()) {
        (Some(cap), query) if call::is_list(&action) => format!("{path}?{}", pages::limit(query, cap)),
        (_, Some(query)) => format!("{path}?{query}"),
        (_, None) => path.to_owned(),
    };
    let mut body = request.body().clone();
    // Payloads of secrets are octets that are nobody's to read.
    let is_json = header(request, "content-type").is_some_and(|kind| kind.contains("json"));
    if let (true, Ok(text)) = (is_json, std::str::from_utf8(&body)) {
        let shown = shared.tokens().shown_in(text);
        let text = shown.as_deref().unwrap_or(text);
        let text = match shared.relays.get().filter(|_| outside) {
            Some(relays) => urls::inwards(text, relays),
            None => text.to_owned(),
        };
        body = text.into();
    }
    let mut onward = Request::builder().method(request.method()).uri(target).body(Whole::from(body))?;
    for (name, value) in request.headers() {
        let token = matches!(name.as_str(), "x-auth-token" | "x-subject-token");
        match name.as_str() {
            "content-length" | "connection" | "transfer-encoding" | "expect" | "host" | LOOK => {}
            _ if token => {
                let shown = shared.tokens().shown(value.to_str()?).parse()?;
                onward.headers_mut().append(name, shown);
            }
            _ => {
                onward.headers_mut().append(name, value.clone());
            }
        }
    }
    // Links in answers begin with what the request was sent to.
    let host = service.inside();
    onward.headers_mut().insert("host", host.trim_start_matches("http://").parse()?);
    Ok(onward)
}
