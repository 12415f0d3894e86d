//! HTTP as the clouds of the bed need it: a server whose answer may be no answer, and a client. I/O.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// A whole request or response.
pub type Whole = Full<Bytes>;

/// Closes the connection instead of answering.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for Cut {}

/// Serves connections until the listener fails. `handle` gets each request with its whole body.
pub async fn serve<H, F>(listener: TcpListener, handle: H) -> Result<()>
where
    H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<Whole>, Cut>> + Send + 'static,
{
    let handle = Arc::new(handle);
    loop {
        let (stream, _) = listener.accept().await.context("accepting")?;
        let _ = stream.set_nodelay(true);
        let handle = handle.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let handle = handle.clone();
                async move {
                    let (head, body) = request.into_parts();
                    // A client that goes away in the midst of its request gets no answer.
                    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
                    handle(Request::from_parts(head, body)).await
                }
            });
            // An error is a client that went away, or a connection cut on purpose: both end here.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Sends a request on a connection of its own and reads the whole answer.
pub async fn send(to: SocketAddr, request: Request<Whole>) -> Result<Response<Bytes>> {
    let stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("HTTP")?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.with_context(|| format!("asking {to}"))?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.with_context(|| format!("reading the answer of {to}"))?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(head, body))
}
