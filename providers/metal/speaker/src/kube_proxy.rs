//! Asks kube-proxy on this node whether it works. I/O.
//!
//! By the health check that load balancers of clouds use (KEP-3836): its answer is 200 while its rules are up to date and the Node is not about to be
//! taken away. It is asked on a connection of its own each time, for that is what a load balancer does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::fitness::KubeProxy;

/// Between two checks, and how long one may take.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Asks for ever, until nobody wants to know any more. `unhealthy` tells.
pub(crate) async fn watch(address: SocketAddr, unhealthy: watch::Sender<bool>) {
    let mut turn = interval(INTERVAL);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut proxy = KubeProxy::default();
    loop {
        tokio::select! {
            () = unhealthy.closed() => return,
            _ = turn.tick() => {}
        }
        let healthy = match timeout(INTERVAL, ask(address)).await {
            Ok(Ok(healthy)) => healthy,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "kube-proxy cannot be asked");
                false
            }
            Err(_) => false,
        };
        let now = proxy.checked(healthy);
        unhealthy.send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}

/// Whether the answer is a success.
async fn ask(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // "HTTP/1.1 200": the rest does not matter.
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 256];
            // All of it, or closing would be a reset.
            let length = stream.read(&mut request).await.expect("a request");
            assert!(request[..length].ends_with(b"\r\n\r\n") && request.starts_with(b"GET /healthz HTTP"));
            stream.write_all(answer.as_bytes()).await.expect("it listens");
        });
        address
    }

    #[tokio::test]
    async fn only_success_is_healthy() {
        let healthy = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        assert!(ask(healthy).await.expect("an answer"));
        let unhealthy = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        assert!(!ask(unhealthy).await.expect("an answer"));
        let silent = answering("").await;
        assert!(ask(silent).await.is_err());
    }
}
