//! Connections of Application Load Balancers: HTTP/1.1, over TLS or not. I/O.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::route::{self, Asked};
use super::{Plane, choice};
use crate::aws::elb::traffic::{Balancer, Group, Reachable, ServedRule, Traffic};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Cookie that keeps a client at a target group.
const GROUP_COOKIE: &str = "AWSALBTG";
/// Cookie that keeps a client at a target.
const TARGET_COOKIE: &str = "AWSALB";

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves a listener's connections until it is aborted.
pub async fn serve(plane: Arc<Plane>, listener: String, socket: TcpListener) {
    loop {
        let Ok((stream, client)) = socket.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (plane, listener) = (plane.clone(), listener.clone());
        tokio::spawn(async move {
            let _ = connection(plane, listener, stream, client).await;
        });
    }
}

async fn connection(
    plane: Arc<Plane>,
    listener: String,
    stream: TcpStream,
    client: SocketAddr,
) -> Result<()> {
    let traffic = plane.now();
    let (balancer, served) = traffic.listener(&listener).context("the listener is gone")?;
    let idle = Duration::from_secs(balancer.idle_timeout);
    if served.protocol == "HTTPS" {
        let acceptor = plane.tls.acceptor(&served.certificates)?;
        let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
            .await
            .context("no handshake in time")??;
        return requests(plane, listener, stream, client, idle).await;
    }
    requests(plane, listener, stream, client, idle).await
}

async fn requests(
    plane: Arc<Plane>,
    listener: String,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: SocketAddr,
    idle: Duration,
) -> Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (plane, listener) = (plane.clone(), listener.clone());
        async move { Ok::<_, Infallible>(answer(&plane, &listener, request, client).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .context("a connection")
}

async fn answer(
    plane: &Plane,
    listener: &str,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Response<Body> {
    let traffic = plane.now();
    let Some((balancer, served)) = traffic.listener(listener) else { return plain(503, None, "") };
    let asked = asked(&request, served.protocol == "HTTPS", served.port, client);
    if asked.host.is_empty() {
        return plain(400, Some("text/html"), "<html><head><title>400 Bad Request</title></head></html>");
    }
    let Some(rule) = route::rule(&served.rules, &asked) else { return plain(503, None, "") };
    match rule.action["Type"].as_str().unwrap_or_default() {
        "redirect" => {
            let (status, location) = route::redirect(&rule.action["RedirectConfig"], &asked);
            let mut response = plain(status, Some("text/html"), "");
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert("location", location);
            }
            response
        }
        "fixed-response" => {
            let config = &rule.action["FixedResponseConfig"];
            let status = config["StatusCode"].as_str().and_then(|code| code.parse().ok()).unwrap_or(503);
            let kind = config["ContentType"].as_str().unwrap_or("text/plain");
            plain(status, Some(kind), config["MessageBody"].as_str().unwrap_or_default())
        }
        _ => forward(plane, &traffic, balancer, listener, rule, request, &asked, client).await,
    }
}

/// What conditions look at.
fn asked(request: &Request<Incoming>, tls: bool, port: u16, client: SocketAddr) -> Asked {
    let field = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let host = request
        .headers()
        .get(HOST)
        .map(field)
        .or_else(|| request.uri().host().map(str::to_owned))
        .unwrap_or_default();
    let host = host
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(host.clone(), |(host, _)| host.to_owned());
    Asked {
        scheme: if tls { "https" } else { "http" },
        host,
        port,
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        method: request.method().to_string(),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), field(value))).collect(),
        source: client.ip(),
    }
}

/// An answer of the load balancer itself.
fn plain(status: u16, kind: Option<&str>, body: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()))
        .map_err(|never: Infallible| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("server", HeaderValue::from_static("awselb/2.0"));
    if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        response.headers_mut().insert("content-type", kind);
    }
    response
}

#[expect(clippy::too_many_arguments, reason = "one request with all that it is judged by")]
async fn forward(
    plane: &Plane,
    traffic: &Traffic,
    balancer: &Balancer,
    listener: &str,
    rule: &ServedRule,
    request: Request<Incoming>,
    asked: &Asked,
    client: SocketAddr,
) -> Response<Body> {
    let groups = choice::groups(&rule.action);
    let stickiness = &rule.action["ForwardConfig"]["TargetGroupStickinessConfig"];
    let sticky = stickiness["Enabled"] == Value::Bool(true);
    let kept = sticky.then(|| cookie(&asked.headers, GROUP_COOKIE)).flatten().and_then(|id| {
        groups.iter().find(|(arn, weight)| *weight > 0 && group_id(arn) == id).map(|(arn, _)| *arn)
    });
    let chosen = kept.or_else(|| choice::group(&groups, plane.number()));
    let Some((arn, group)) = chosen.and_then(|arn| Some((arn, traffic.groups.get(arn)?))) else {
        return plain(
            503,
            Some("text/html"),
            "<html><head><title>503 Service Temporarily Unavailable</title></head></html>",
        );
    };
    let Some(target) = target(plane, arn, group, asked) else {
        return plain(
            503,
            Some("text/html"),
            "<html><head><title>503 Service Temporarily Unavailable</title></head></html>",
        );
    };
    let mut cookies = Vec::new();
    if sticky {
        let seconds = stickiness["DurationSeconds"].as_u64().unwrap_or(1);
        cookies.push(format!("{GROUP_COOKIE}={}; Max-Age={seconds}; Path=/", group_id(arn)));
    }
    if group.is("stickiness.enabled") && group.attributes["stickiness.type"] == "lb_cookie" {
        let seconds = &group.attributes["stickiness.lb_cookie.duration_seconds"];
        cookies.push(format!("{TARGET_COOKIE}={}; Max-Age={seconds}; Path=/", target_id(target)));
    }
    let request = match onward(request, rule, asked, client) {
        Ok(request) => request,
        Err(_) => return plain(400, None, ""),
    };
    let exchange = exchange(plane, balancer, group, target, client, request);
    let answered = tokio::select! {
        answered = exchange => answered,
        () = plane.ended(listener, arn, &target.id, target.port) => Err(anyhow::anyhow!("the target is gone")),
        () = tokio::time::sleep(Duration::from_secs(balancer.idle_timeout)) => return plain(504, None, ""),
    };
    match answered {
        Ok(response) => {
            let mut response = response.map(|body| body.boxed());
            strip(response.headers_mut());
            for cookie in cookies {
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    response.headers_mut().append("set-cookie", cookie);
                }
            }
            response
        }
        Err(_) => plain(502, Some("text/html"), "<html><head><title>502 Bad Gateway</title></head></html>"),
    }
}

/// The target of a client's cookie if it can be had, else the next in turn.
fn target<'a>(plane: &Plane, arn: &str, group: &'a Group, asked: &Asked) -> Option<&'a Reachable> {
    let kept = group
        .is("stickiness.enabled")
        .then(|| cookie(&asked.headers, TARGET_COOKIE))
        .flatten()
        .and_then(|id| group.eligible().into_iter().find(|target| target_id(target) == id));
    kept.or_else(|| choice::target(group, plane.turn(arn)))
}

/// Cookies say no ARN and no id in clear.
fn opaque(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn group_id(arn: &str) -> String {
    opaque(arn)
}

fn target_id(target: &Reachable) -> String {
    opaque(&format!("{}:{}", target.id, target.port))
}

fn cookie(headers: &[(String, String)], name: &str) -> Option<String> {
    let all = headers.iter().filter(|(field, _)| field == "cookie").flat_map(|(_, value)| value.split(';'));
    all.filter_map(|pair| pair.trim().split_once('='))
        .find(|(own, _)| *own == name)
        .map(|(_, value)| value.to_owned())
}

/// The request as the target gets it.
fn onward(
    request: Request<Incoming>,
    rule: &ServedRule,
    asked: &Asked,
    client: SocketAddr,
) -> Result<Request<Incoming>> {
    let (mut head, body) = request.into_parts();
    let (host, target) = route::transformed(&rule.transforms, asked);
    if host != asked.host || !head.headers.contains_key(HOST) {
        head.headers.insert(HOST, HeaderValue::from_str(&host)?);
    }
    head.uri = target.parse()?;
    strip(&mut head.headers);
    let before = head.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let chain = before.map_or(client.ip().to_string(), |before| format!("{before}, {}", client.ip()));
    head.headers.insert("x-forwarded-for", HeaderValue::from_str(&chain)?);
    head.headers.insert("x-forwarded-proto", HeaderValue::from_static(asked.scheme));
    head.headers.insert("x-forwarded-port", asked.port.into());
    head.headers.insert("connection", HeaderValue::from_static("close"));
    Ok(Request::from_parts(head, body))
}

/// Takes out what belongs to one connection only (RFC 9110 section 7.6.1).
fn strip(headers: &mut HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
        headers.remove(HeaderName::from_static(name));
    }
}

async fn exchange(
    plane: &Plane,
    balancer: &Balancer,
    group: &Group,
    target: &Reachable,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Incoming>> {
    let stream = plane.connect(balancer.private, group, target, client).await?;
    let mut sender = if group.protocol == "HTTPS" {
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        speak(plane.tls.connector().connect(name, stream).await.context("TLS to the target")?).await?
    } else {
        speak(stream).await?
    };
    sender.send_request(request).await.context("asking the target")
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Incoming>> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("HTTP")?;
    // It ends when the answer has been read.
    tokio::spawn(connection);
    Ok(sender)
}
