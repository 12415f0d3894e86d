//! Credentials that change while we run. [`compare`] decides, [`watch`] is the rim that reads again.
//!
//! Everything is read anew and compared as a whole, certificates included: Kubernetes replaces the files of a Secret by turning a link, which no watch
//! on a single file shows reliably, and the files are small.

use std::sync::Arc;
use std::time::Duration;

use causeway_api::Problem;
use tokio::sync::Notify;

use super::{CloudConf, Credentials};

/// What reading again showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing new.
    Same,
    /// Other credentials: use these. `others` tells that more than that differs, which takes a restart.
    Changed {
        /// The new ones.
        credentials: Box<Credentials>,
        /// Whether something else differs too.
        others: bool,
    },
    /// The same credentials, but something else differs, which takes a restart.
    Others,
    /// It cannot be used, and was not told before: what was used stays in use.
    Broken(Vec<Problem>),
}

/// What was read last.
#[derive(Clone, Debug)]
pub struct Last {
    conf: CloudConf,
    problems: Vec<Problem>,
}

impl Last {
    /// What the program began with.
    #[must_use]
    pub fn new(conf: CloudConf) -> Self {
        Self { conf, problems: Vec::new() }
    }
}

/// Compares what was read with what was read last, which it becomes. Pure.
pub fn compare(last: &mut Last, read: Result<CloudConf, Vec<Problem>>) -> Seen {
    let now = match read {
        Ok(now) => now,
        Err(problems) => {
            if last.problems == problems {
                return Seen::Same;
            }
            last.problems.clone_from(&problems);
            return Seen::Broken(problems);
        }
    };
    last.problems.clear();
    let before = std::mem::replace(&mut last.conf, now);
    let now = &last.conf;
    let sections = |conf: &CloudConf| {
        conf.file
            .sections
            .iter()
            .filter(|s| !s.name.eq_ignore_ascii_case("Global"))
            .cloned()
            .collect::<Vec<_>>()
    };
    // Lines may move without a change.
    let settings = |conf: &CloudConf| {
        let all = sections(conf).into_iter().map(|s| {
            let entries: Vec<_> = s.entries.into_iter().map(|e| (e.key, e.value)).collect();
            (s.name, s.sub, entries)
        });
        all.collect::<Vec<_>>()
    };
    let others = settings(&before) != settings(now);
    if before.credentials != now.credentials {
        return Seen::Changed { credentials: Box::new(now.credentials.clone()), others };
    }
    if others { Seen::Others } else { Seen::Same }
}

/// Reads again every `period`, and at once when `refused` is notified (Keystone turned us away: perhaps the files know better by now). Tells what
/// is new, for ever.
pub async fn watch(
    mut last: Last,
    period: Duration,
    refused: Arc<Notify>,
    read: impl Fn() -> Result<CloudConf, Vec<Problem>> + Send,
    mut tell: impl FnMut(Seen) + Send,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = refused.notified() => {}
        }
        match compare(&mut last, read()) {
            Seen::Same => {}
            seen => tell(seen),
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
