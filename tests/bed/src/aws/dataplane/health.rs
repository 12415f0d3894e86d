//! Health checks of targets, as the target group says: real connections and requests. I/O.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Plane, connect};
use crate::aws::elb::health::{Check, Reason};
use crate::aws::elb::ranges;
use crate::aws::elb::state::HealthCheck;

/// Checks a target again and again until it is aborted.
pub async fn check(plane: Arc<Plane>, region: String, arn: String, id: String, port: u16) {
    loop {
        let traffic = plane.now();
        let group = traffic.groups.get(&arn);
        let target = group
            .and_then(|group| group.targets.iter().find(|target| target.id == id && target.port == port));
        let (Some(group), Some(target)) = (group, target) else {
            // Not in the picture yet, or not any more.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let scaled = |seconds: u32| Duration::from_secs_f64(f64::from(seconds) / plane.health_speed);
        let begin = tokio::time::Instant::now();
        // Also a fast clock leaves a target the time to answer.
        let timeout = scaled(group.check.timeout).max(Duration::from_millis(300));
        let outcome = match target.address {
            Some(address) if target.check_open => {
                let to = SocketAddr::new(address, group.check.port.parse().unwrap_or(port));
                let probe = probe(&plane, &group.check, group.private, to, timeout);
                tokio::time::timeout(timeout, probe).await.unwrap_or(Err(Reason::Timeout))
            }
            // Security groups drop the packets, so nothing comes back.
            _ => {
                tokio::time::sleep(timeout).await;
                Err(Reason::Timeout)
            }
        };
        if plane.cloud.with(&region, |elb, _| elb.observe(&arn, &id, port, outcome)) {
            plane.cloud.changed();
        }
        tokio::time::sleep_until(begin + scaled(group.check.interval).max(Duration::from_millis(20))).await;
    }
}

async fn probe(
    plane: &Plane,
    check: &HealthCheck,
    from: Ipv4Addr,
    to: SocketAddr,
    timeout: Duration,
) -> Check {
    let stream = connect(from, to, timeout).await.map_err(|_| Reason::Failed)?;
    let status = match check.protocol.as_str() {
        "TCP" => return Ok(()),
        "HTTPS" => {
            let name = ServerName::IpAddress(to.ip().into());
            let stream = plane.tls.connector().connect(name, stream).await.map_err(|_| Reason::Failed)?;
            ask(stream, check, to).await
        }
        _ => ask(stream, check, to).await,
    };
    let status = status.map_err(|_| Reason::Failed)?;
    let codes = check.matcher.as_deref().and_then(ranges).unwrap_or_default();
    match codes.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        true => Ok(()),
        false => Err(Reason::CodeMismatch(status)),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    check: &HealthCheck,
    to: SocketAddr,
) -> Result<u16> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(check.path.as_deref().unwrap_or("/"))
        .header("host", to.to_string())
        .header("user-agent", "ELB-HealthChecker/2.0")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await;
    let status = match response {
        Ok(response) => {
            let status = response.status().as_u16();
            let _ = response.into_body().collect().await;
            Ok(status)
        }
        Err(error) => Err(error.into()),
    };
    driver.abort();
    status
}
