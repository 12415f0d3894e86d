//! Services of one port that are made, changed and deleted all the time, as a bench of faults needs them. I/O.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::note;

/// How long a bench of faults lasts.
pub const FAULTS: Duration = Duration::from_secs(600);
/// Services.
const SERVICES: usize = 15;

/// Services in a cluster.
pub trait Services {
    /// Between two changes: slower than the cloud lets load balancers be made.
    const PACE: Duration;
    /// From the last change until all must be as wanted, the faults going on.
    const GRACE: Duration;

    /// Makes a Service of one port.
    async fn create(&self, name: &str, port: u16) -> Result<()>;
    /// Gives it another port.
    async fn change(&self, name: &str, port: u16) -> Result<()>;
    /// Deletes it; it may be held by a finalizer.
    async fn delete(&self, name: &str) -> Result<()>;
    /// Whether it is there.
    async fn exists(&self, name: &str) -> Result<bool>;
    /// What is not as wanted, a line each.
    async fn wrong(&self, wanted: &[(String, Option<u16>)]) -> Result<Vec<String>>;
}

/// Changes Services one after another until that time; for each the port that it shall have in the end, if it shall be there.
async fn change(
    services: &impl Services,
    until: Instant,
    pace: Duration,
) -> Result<Vec<(String, Option<u16>)>> {
    let mut wanted: Vec<(String, Option<u16>)> = (0..SERVICES).map(|n| (format!("web-{n}"), None)).collect();
    let mut tick = tokio::time::interval(pace);
    for step in 0.. {
        tick.tick().await;
        if Instant::now() >= until {
            break;
        }
        let number = step % SERVICES;
        let (name, port) = &mut wanted[number];
        *port = match *port {
            // The one before it may not be gone yet; then it is its turn again in the next round.
            None if services.exists(name).await? => None,
            None => {
                services.create(name, 80).await?;
                Some(80)
            }
            Some(_) if (step / SERVICES + number).is_multiple_of(3) => {
                services.delete(name).await?;
                None
            }
            Some(port) => {
                services.change(name, port + 1).await?;
                Some(port + 1)
            }
        };
    }
    Ok(wanted)
}

/// Changes Services while faults go on, ten minutes or a part of it; how many are not as wanted in the end.
pub async fn converge<S: Services>(services: &S, scale: f64) -> Result<usize> {
    let last = Instant::now() + (FAULTS - S::GRACE).mul_f64(scale);
    let wanted = change(services, last, S::PACE).await?;
    let mut wrong = vec![String::new()];
    let mut before = String::new();
    while !wrong.is_empty() && last.elapsed() < S::GRACE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = services.wrong(&wanted).await?;
        before = std::mem::replace(&mut wrong, now).join("; ");
    }
    let seconds = last.elapsed().as_secs_f64();
    if wrong.is_empty() {
        note(&format!(
            "all as wanted {seconds:.1} s after the last change, the faults going on; last: {before}"
        ));
    }
    wrong.iter().for_each(|wrong| note(wrong));
    Ok(wrong.len())
}
