//! The one way out of a bed: a TCP relay from the owner's loopback to the API server. I/O.
//!
//! A thread listens on `127.0.0.1` of the owner's network namespace, then moves into the control plane's namespace and connects from
//! there. No link joins the two namespaces; packets of the bed never leave it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::namespace::Namespace;

/// A running relay; dropping it closes its connections and waits for its thread, which would else keep the namespace alive.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Relay {
    /// Starts a relay to `target` as seen from `namespace`.
    pub fn start(namespace: &Namespace, target: SocketAddr) -> Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on loopback")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn_inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                tokio::select! {
                    result = serve(listener, target) => result,
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Relay { port, stop: Some(stop), thread: Some(thread) })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A failed connection is closed, which is what the client has to see.
            if let Ok(mut far) = TcpStream::connect(target).await {
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
