//! Requests to an address, one after another, while something happens to it. I/O.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, ensure};
use causeway_bed::Namespace;
use tokio::task::JoinHandle;

/// Requests, one after another, for as long as it lives.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Request>>,
}

/// One of them.
#[derive(Debug)]
pub struct Request {
    /// When it began.
    pub begin: Instant,
    /// When it ended.
    pub end: Instant,
    /// Why there was no answer, or not the right one.
    pub lost: Option<Error>,
}

impl Request {
    /// It had its connection, and lost it: what happens to one that is open when another node takes over, which knows nothing of it.
    fn is_broken(&self) -> bool {
        let io = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
        };
        self.lost
            .as_ref()
            .is_some_and(|error| error.chain().any(|cause| io(cause) == Some(ErrorKind::ConnectionReset)))
    }
}

impl Traffic {
    /// `fresh`: the client asks by ARP before each request, so that an address nobody answers for shows at once.
    pub fn start(client: Namespace, address: Ipv4Addr, fresh: bool) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                if fresh
                    && client
                        .run(&["ip", "neigh", "flush", "to", &address.to_string(), "dev", "eth0"])
                        .is_err()
                {
                    continue;
                }
                // As long as no client of flesh and blood would wait, and longer than a busy machine keeps a process waiting.
                let limit = Duration::from_millis(if fresh { 200 } else { 5000 });
                let begin = Instant::now();
                let answer = client.http_get((address, 80), "/hostname", None, limit).await;
                let lost = match answer {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some(anyhow::anyhow!("status {}", answer.status)),
                    Err(error) => Some(error),
                };
                seen.push(Request { begin, end: Instant::now(), lost });
            }
            seen
        });
        Traffic { stop, task }
    }

    /// All requests, in their order.
    pub async fn end(self) -> Result<Vec<Request>> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }

    /// The same, for one of which nothing may be lost; see [`whole`].
    pub async fn end_whole(self, what: &str, moves: usize) -> Result<()> {
        let all = self.end().await?;
        whole(what, &all, moves)
    }
}

/// Nothing was lost; else when and why. Each time that the address moves to another node it may break the one connection that was open.
pub fn whole(what: &str, all: &[Request], moves: usize) -> Result<()> {
    let broken = all.iter().filter(|request| request.is_broken()).count();
    let lost: Vec<&Request> = all
        .iter()
        .filter(|request| request.lost.is_some() && !(request.is_broken() && broken <= moves))
        .collect();
    let slowest = all.iter().map(|request| request.end - request.begin).max().unwrap_or_default();
    println!(
        "{what}: {} requests, {broken} connections broken, {} lost, the slowest took {slowest:?}",
        all.len(),
        lost.len()
    );
    let line = |request: &&Request| {
        let (begin, took) = (request.begin - all[0].begin, request.end - request.begin);
        let why = request.lost.as_ref().map(|error| format!("{error:#}")).unwrap_or_default();
        format!("at {begin:.2?}, for {took:.2?}: {why}")
    };
    let why: Vec<String> = lost.iter().take(3).chain(lost.iter().skip(3).next_back()).map(line).collect();
    ensure!(
        !all.is_empty() && lost.is_empty(),
        "{what}: {} of {} requests were lost:\n{}",
        lost.len(),
        all.len(),
        why.join("\n")
    );
    Ok(())
}
