//! Connections of Network Load Balancers: TCP and TLS. I/O.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{Plane, choice, proxy_protocol, reset};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

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
            // What goes wrong with one connection is seen by its client: it ends.
            let _ = connection(&plane, &listener, stream, client).await;
        });
    }
}

async fn connection(plane: &Plane, listener: &str, stream: TcpStream, client: SocketAddr) -> Result<()> {
    let traffic = plane.now();
    let (balancer, served) = traffic.listener(listener).context("the listener is gone")?;
    let server = stream.local_addr()?;
    let number = plane.number();
    let action = &served.rules.last().context("no default action")?.action;
    let groups = choice::groups(action);
    let chosen = choice::group(&groups, number).and_then(|arn| Some((arn, traffic.groups.get(arn)?)));
    let Some((arn, group)) = chosen else {
        reset(&stream);
        return Ok(());
    };
    let by = if group.is("stickiness.enabled") { hash(client) } else { plane.turn(arn) };
    let Some(target) = choice::target(group, by) else {
        reset(&stream);
        return Ok(());
    };
    let mut outward = match plane.connect(balancer.private, group, target, client).await {
        Ok(outward) => outward,
        Err(error) => {
            reset(&stream);
            return Err(error);
        }
    };
    if group.is("proxy_protocol_v2.enabled") {
        outward.write_all(&proxy_protocol::header(client, server)).await?;
    }
    let ended = plane.ended(listener, arn, &target.id, target.port);
    let over_tls = group.protocol == "TLS";
    if served.protocol == "TLS" {
        let acceptor = plane.tls.acceptor(&served.certificates)?;
        let inward = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
            .await
            .context("no handshake in time")??;
        if over_tls {
            let name = ServerName::IpAddress(outward.peer_addr()?.ip().into());
            let outward = plane.tls.connector().connect(name, outward).await.context("TLS to the target")?;
            return copy(inward, outward, ended).await;
        }
        return copy(inward, outward, ended).await;
    }
    tokio::select! {
        copied = async { copy_bidirectional(&mut { stream }, &mut outward).await } => { copied?; }
        () = ended => {}
    }
    Ok(())
}

async fn copy(
    mut inward: impl AsyncRead + AsyncWrite + Unpin,
    mut outward: impl AsyncRead + AsyncWrite + Unpin,
    ended: impl Future<Output = ()>,
) -> Result<()> {
    tokio::select! {
        copied = copy_bidirectional(&mut inward, &mut outward) => { copied?; }
        () = ended => {}
    }
    Ok(())
}

/// A number that is the same for each connection of a client.
pub fn hash(client: SocketAddr) -> u64 {
    match client.ip() {
        std::net::IpAddr::V4(address) => choice::mix(u32::from(address).into()),
        std::net::IpAddr::V6(address) => choice::mix(u128::from(address) as u64),
    }
}
