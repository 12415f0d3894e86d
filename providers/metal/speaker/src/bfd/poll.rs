//! Poll Sequences (RFC 5880 §6.5): a question in periodic packets, until the neighbour answers. Pure.
//!
//! An answer does not say which question it answers, so that a second sequence must not begin while answers to the first may still come (§6.8.3). It begins
//! when both has happened: a packet that is no answer came after the end of the first, which is enough where a question is answered before the next is asked;
//! and the time has passed that an answer takes at most, which was measured, since the last question.

use std::time::Duration;

use crate::moment::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    /// A sequence is wanted.
    Wanted,
    /// Questions are to be asked.
    Running,
    /// Questions were asked, the first and the last then.
    Asked {
        first: Moment,
        last: Moment,
        /// What is announced has changed since the first: an answer says nothing about that.
        outdated: bool,
    },
}

/// The Poll Sequences of one session.
#[derive(Debug)]
pub(super) struct Poll {
    stage: Stage,
    /// A packet that is no answer came after the last sequence.
    clear: bool,
    /// Answers to the last sequence may come until then.
    answers_until: Option<Moment>,
}

impl Poll {
    pub(super) fn new() -> Self {
        Poll { stage: Stage::Idle, clear: true, answers_until: None }
    }

    /// What is announced has changed: the neighbour is to confirm it.
    pub(super) fn request(&mut self) {
        match &mut self.stage {
            Stage::Idle => self.stage = Stage::Wanted,
            Stage::Wanted | Stage::Running => {}
            Stage::Asked { outdated, .. } => *outdated = true,
        }
    }

    /// Begins what is wanted, if that is possible by now.
    pub(super) fn proceed(&mut self, now: Moment) {
        let possible = self.clear && self.answers_until.is_none_or(|until| until <= now);
        if self.stage == Stage::Wanted && possible {
            self.stage = Stage::Running;
        }
    }

    /// Whether packets are to carry P.
    pub(super) fn asks(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Asked { .. })
    }

    /// Whether there is something that the neighbour has not confirmed.
    pub(super) fn is_open(&self) -> bool {
        self.stage != Stage::Idle
    }

    /// A packet with P went out.
    pub(super) fn asked(&mut self, now: Moment) {
        match &mut self.stage {
            Stage::Running => self.stage = Stage::Asked { first: now, last: now, outdated: false },
            Stage::Asked { last, .. } => *last = now,
            Stage::Idle | Stage::Wanted => {}
        }
    }

    /// A packet came in, with F or without. Answers whether it confirms all that is announced.
    pub(super) fn received(&mut self, fin: bool, now: Moment) -> bool {
        if !fin {
            self.clear = true;
            return false;
        }
        let Stage::Asked { first, last, outdated } = self.stage else { return false };
        // At most: the first question or its answer may have been lost.
        let round_trip: Duration = now.saturating_since(first);
        self.answers_until = Some(last + round_trip);
        self.clear = false;
        self.stage = if outdated { Stage::Wanted } else { Stage::Idle };
        !outdated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after_origin(Duration::from_millis(milliseconds))
    }

    fn begun() -> Poll {
        let mut poll = Poll::new();
        poll.request();
        poll.proceed(at(0));
        poll
    }

    #[test]
    fn a_question_and_its_answer() {
        let mut poll = begun();
        assert!(poll.asks());
        assert!(!poll.received(true, at(0)), "nothing was asked yet");
        poll.asked(at(0));
        assert!(!poll.received(false, at(1)));
        assert!(poll.asks());
        assert!(poll.received(true, at(2)));
        assert!(!poll.asks() && !poll.is_open());
        assert!(!poll.received(true, at(3)), "the answer to a second question");
    }

    #[test]
    fn a_change_before_the_first_question_is_part_of_it() {
        let mut poll = begun();
        poll.request();
        poll.asked(at(0));
        assert!(poll.received(true, at(2)));
    }

    #[test]
    fn a_change_after_it_needs_another_sequence_and_waits_for_that() {
        let mut poll = begun();
        poll.asked(at(0));
        poll.asked(at(50));
        poll.request();
        assert!(!poll.received(true, at(120)));
        poll.proceed(at(120));
        assert!(!poll.asks() && poll.is_open());
        // The answer to the second question of the first sequence comes at 170 ms.
        poll.received(false, at(130));
        poll.proceed(at(130));
        assert!(!poll.asks());
        poll.proceed(at(170));
        assert!(poll.asks());
        poll.asked(at(170));
        assert!(poll.received(true, at(290)));
        // A third one needs a packet that is no answer.
        poll.request();
        poll.proceed(at(900));
        assert!(!poll.asks());
        poll.received(false, at(901));
        poll.proceed(at(901));
        assert!(poll.asks());
    }
}
