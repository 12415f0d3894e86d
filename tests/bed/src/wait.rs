//! Waiting for a condition, never for a time. I/O: polls.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(30);

/// Looks until `look` says `Ok` and returns what it found. Its error says what was seen instead; when `timeout` has passed, the
/// last one becomes the error of the wait. `what` completes "waiting for ...".
pub async fn until<T, E: Display>(
    what: &str,
    timeout: Duration,
    look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    until_every(INTERVAL, what, timeout, look).await
}

/// The same, with that much time between two looks: for one that costs what is looked at a good deal.
pub async fn until_every<T, E: Display>(
    interval: Duration,
    what: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let start = Instant::now();
    let mut last: Option<String> = None;
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(INTERVAL), look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last = Some(format!("{seen:#}")),
            Err(_) if last.is_none() => last = Some("the look itself did not return".to_owned()),
            Err(_) => {}
        }
        if start.elapsed() >= timeout {
            bail!("waited {timeout:?} for {what}; last seen: {}", last.unwrap_or_default());
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_returns_what_it_found() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        })
        .await;
        assert_eq!(found.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_wait_that_ends_says_what_was_seen_last() {
        let error = until::<(), _>("rain", Duration::from_millis(1), async || Err("sun")).await.unwrap_err();
        assert!(error.to_string().contains("for rain; last seen: sun"), "{error}");
    }
}
