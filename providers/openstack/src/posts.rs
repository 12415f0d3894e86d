//! POSTs without an answer: a service that is slow goes on working on one that nobody waits for any more, and what it makes shows in no list before it is made. Who
//! repeated such a POST at once would have two, and a service with more to do. Pure; time comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::stack::ResourceType;

/// Which POST: owner, type, id in the stack.
type Which = (String, ResourceType, String);

/// POSTs of which nobody knows whether they are still being worked on.
#[derive(Debug, Default)]
pub(crate) struct Unclear(BTreeMap<Which, Instant>);

impl Unclear {
    /// One got no answer; it may show up for so long.
    pub fn note(&mut self, which: Which, now: Instant, long: Duration) {
        self.0.retain(|_, until| *until > now);
        self.0.insert(which, now + long);
    }

    /// One was answered.
    pub fn clear(&mut self, which: &Which) {
        self.0.remove(which);
    }

    /// Whether it may still show up, so that it must not be repeated.
    #[must_use]
    pub fn may_show_up(&self, which: &Which, now: Instant) -> bool {
        self.0.get(which).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_got_no_answer_is_waited_for_and_not_for_ever() {
        let which = |owner: &str| (owner.to_owned(), ResourceType::LoadBalancer, "LoadBalancer".to_owned());
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut unclear = Unclear::default();
        assert!(!unclear.may_show_up(&which("a"), now));
        unclear.note(which("a"), now, 20 * second);
        assert!(unclear.may_show_up(&which("a"), now + 19 * second));
        assert!(!unclear.may_show_up(&which("b"), now));
        assert!(!unclear.may_show_up(&which("a"), now + 20 * second));
        unclear.note(which("b"), now + 30 * second, second);
        assert_eq!(unclear.0.len(), 1, "what is over is forgotten");
        unclear.clear(&which("b"));
        assert!(unclear.0.is_empty());
    }
}
