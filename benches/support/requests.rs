//! Steady requests from a client of the bed: each a UDP datagram from a socket (and so a connection, for kube-proxy) of its own. I/O.

#![allow(dead_code, reason = "shared by several benches, each of which uses a part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use causeway_bed::Namespace;
use tokio::net::UdpSocket;
use tokio::sync::watch;

/// A request that is not answered within this time is lost.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When it was sent.
    pub sent: Instant,
    /// When its answer came, if it came within [`PATIENCE`].
    pub answered: Option<Instant>,
}

/// Asks once: sends `echo WORD`, which `agnhost netexec` answers with the word.
pub async fn ask(target: SocketAddr) -> Request {
    let sent = Instant::now();
    let exchange = async {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        socket.connect(target).await?;
        socket.send(b"echo causeway").await?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer).await?;
        std::io::Result::Ok(answer.get(..length).is_some_and(|answer| answer.starts_with(b"causeway")))
    };
    // No answer, a refusal and nonsense are all the same to a client.
    let answered = matches!(tokio::time::timeout(PATIENCE, exchange).await, Ok(Ok(true))).then(Instant::now);
    Request { sent, answered }
}

/// Requests that go on until they are stopped.
pub struct Requests {
    done: Arc<Mutex<Vec<Request>>>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<()>>,
}

impl Requests {
    /// Starts asking every `period`, from this namespace.
    pub fn start(from: &Namespace, target: SocketAddr, period: Duration) -> Result<Requests> {
        let done = Arc::new(Mutex::new(Vec::new()));
        let (stop, mut stopped) = watch::channel(false);
        let collected = Arc::clone(&done);
        let thread = from.spawn_inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let mut tick = tokio::time::interval(period);
                let mut running = tokio::task::JoinSet::new();
                let keep = |request: Request| {
                    collected.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                };
                loop {
                    tokio::select! {
                        _ = tick.tick() => drop(running.spawn(ask(target))),
                        Some(request) = running.join_next() => keep(request?),
                        _ = stopped.changed() => break,
                    }
                }
                while let Some(request) = running.join_next().await {
                    keep(request?);
                }
                Ok(())
            })
        })?;
        Ok(Requests { done, stop, thread })
    }

    /// The requests so far that were answered or lost, in the order in which they were sent.
    pub fn so_far(&self) -> Vec<Request> {
        let mut requests = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        requests.sort_by_key(|request| request.sent);
        requests
    }

    /// Stops asking, waits for what is under way, and gives all requests in the order in which they were sent.
    pub fn stop(self) -> Result<Vec<Request>> {
        // The thread may have failed already; that is said below.
        let _ = self.stop.send(true);
        self.thread.join().map_err(|_| anyhow!("the asking thread panicked"))?.context("asking")?;
        let mut requests = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        requests.sort_by_key(|request| request.sent);
        Ok(requests)
    }
}

/// When the first of `run` requests in a row that were answered was answered, among those sent after `since`.
pub fn first_of_run(requests: &[Request], since: Instant, run: usize) -> Option<Instant> {
    let later: Vec<_> = requests.iter().filter(|request| request.sent > since).collect();
    later.windows(run).find(|window| window.iter().all(|r| r.answered.is_some()))?.first()?.answered
}
