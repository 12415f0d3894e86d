//! What time does not heal, and a person must: conflicts that come again after another look, as the cloud holds something that no look shows as ours; and load balancers
//! that are busy for ever, as the worker of Octavia that was at it has died. Pure; time comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::stack::ResourceType;

/// So many times in a row, each after another look, is no coincidence.
const MANY: u32 = 3;
/// Longer than the longest pause between two tries: what is older is another story.
const MEMORY: Duration = Duration::from_secs(900);

/// Which change: owner, type, id in the stack.
pub(crate) type Which = (String, ResourceType, String);

/// Changes that were refused for what is there already, how often in a row, and when last.
#[derive(Debug, Default)]
pub(crate) struct Stubborn(BTreeMap<Which, (u32, Instant)>);

impl Stubborn {
    /// One was refused; whether that is no coincidence any more.
    pub fn again(&mut self, which: Which, now: Instant) -> bool {
        self.0.retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        let (times, last) = self.0.entry(which).or_insert((0, now));
        *times += 1;
        *last = now;
        *times >= MANY
    }

    /// One was done.
    pub fn clear(&mut self, which: &Which) {
        self.0.remove(which);
    }
}

/// Longer than a load balancer is busy with anything: Octavia itself gives a virtual machine ten minutes to boot.
const BUSY: Duration = Duration::from_secs(900);

/// Load balancers that are busy: by owner their id, and since when, as far as this process has seen.
#[derive(Debug, Default)]
pub(crate) struct Busy(BTreeMap<String, (String, Instant)>);

impl Busy {
    /// What a look showed: the id of a load balancer that is busy, or that none is. Whether it has been so for too long.
    pub fn seen(&mut self, owner: &str, busy: Option<&str>, now: Instant) -> bool {
        let Some(id) = busy else {
            self.0.remove(owner);
            return false;
        };
        let (known, since) = self.0.entry(owner.to_owned()).or_insert_with(|| (id.to_owned(), now));
        if known != id {
            (*known, *since) = (id.to_owned(), now);
        }
        now.duration_since(*since) >= BUSY
    }
}

/// What to say of a load balancer that is busy for ever.
pub(crate) fn busy(id: &str) -> String {
    format!(
        "load balancer {id} has been busy for more than a quarter of an hour: until it is ACTIVE or ERROR nothing of it can be changed or deleted, by nobody, and it stays so if the worker of \
         Octavia that was at it has died; ask the cloud's operator to set its provisioning status to ERROR, then it is made anew with its address"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_balancer_is_stuck_when_it_is_busy_all_the_time() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let mut busy = Busy::default();
        assert!(!busy.seen("a", Some("1"), now));
        assert!(!busy.seen("a", Some("1"), now + 14 * minute));
        assert!(busy.seen("a", Some("1"), now + 15 * minute));
        assert!(!busy.seen("a", Some("2"), now + 15 * minute), "another one");
        assert!(!busy.seen("a", None, now + 20 * minute));
        assert!(!busy.seen("a", Some("2"), now + 40 * minute), "it was not busy meanwhile");
        assert!(!busy.seen("b", Some("1"), now + 40 * minute));
    }

    #[test]
    fn a_conflict_is_stubborn_when_it_comes_again_and_again() {
        let which = |id: &str| ("a".to_owned(), ResourceType::Listener, id.to_owned());
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut stubborn = Stubborn::default();
        assert!(!stubborn.again(which("x"), now));
        assert!(!stubborn.again(which("x"), now + 5 * second));
        assert!(!stubborn.again(which("y"), now + 6 * second));
        assert!(stubborn.again(which("x"), now + 300 * second));
        assert!(!stubborn.again(which("x"), now + 2000 * second), "that was another story");
        stubborn.clear(&which("x"));
        assert!(stubborn.0.is_empty());
    }
}
