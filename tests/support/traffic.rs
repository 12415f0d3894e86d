//! Requests to an address, one after another, while something happens to it. I/O.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use causeway_bed::Namespace;
use tokio::task::JoinHandle;

/// Requests, one after another, for as long as it lives.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<(Instant, bool)>>,
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
                let limit = Duration::from_millis(if fresh { 200 } else { 2000 });
                let answer = client.http_get((address, 80), "/hostname", None, limit).await;
                seen.push((Instant::now(), answer.is_ok_and(|a| a.status == 200)));
            }
            seen
        });
        Traffic { stop, task }
    }

    /// When requests ended, and whether they were answered.
    pub async fn end(self) -> Result<Vec<(Instant, bool)>> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }

    /// The same, for one of which nothing may be lost.
    pub async fn end_whole(self, what: &str) -> Result<()> {
        let all = self.end().await?;
        let lost = all.iter().filter(|(_, answered)| !answered).count();
        println!("{what}: {} requests, {lost} lost", all.len());
        ensure!(!all.is_empty() && lost == 0, "{what}: {lost} of {} requests were lost", all.len());
        Ok(())
    }
}
