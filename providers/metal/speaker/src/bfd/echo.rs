//! The echo function (RFC 5880 §6.8.8, §6.8.9): which of our packets are under way, when the next is due, and when too many are lost. Pure.
//!
//! What an echo packet holds is its sender's business (§6.4): here the session's discriminator, a number that counts up, and a cookie which only they know who
//! see the packets. One counts as returned once, and only while it is not lost.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::packet::Discarded;
use crate::moment::Moment;

/// Octets of an echo packet's payload.
pub const LENGTH: usize = 16;

/// How long a session stays down whose echo packets did not come back, at first and at most.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// The session that an echo packet says it belongs to. Nothing if it is none of ours.
pub fn discriminator(octets: &[u8]) -> Option<NonZeroU32> {
    let octets: &[u8; LENGTH] = octets.try_into().ok()?;
    NonZeroU32::new(u32::from_be_bytes(octets[..4].try_into().ok()?))
}

#[derive(Debug)]
struct Pending {
    number: u32,
    sent: Moment,
}

/// Echo packets of one session.
#[derive(Debug)]
pub(super) struct Echo {
    discriminator: NonZeroU32,
    cookie: u64,
    number: u32,
    /// Since when they are sent, while they are.
    since: Option<Moment>,
    /// When the last one went out, and how long after it the next is due at the latest, as a part of the interval.
    last: Option<(Moment, f64)>,
    pending: VecDeque<Pending>,
    /// When the newest one that came back had been sent.
    returned: Option<Moment>,
    proven: bool,
    /// How often in a row the session went down for want of echo packets.
    failures: u32,
}

impl Echo {
    pub(super) fn new(discriminator: NonZeroU32, cookie: u64) -> Self {
        Echo {
            discriminator,
            cookie,
            number: 0,
            since: None,
            last: None,
            pending: VecDeque::new(),
            returned: None,
            proven: false,
            failures: 0,
        }
    }

    /// Whether one has come back ever. Before that, none that is lost says anything: a neighbour that offers to loop them may have a forwarding plane which
    /// does not.
    pub(super) fn proven(&self) -> bool {
        self.proven
    }

    pub(super) fn start(&mut self, now: Moment) {
        self.since.get_or_insert(now);
    }

    /// Sends no more; those under way do not count.
    pub(super) fn stop(&mut self) {
        let Echo { number, proven, failures, .. } = *self;
        *self = Echo { number, proven, failures, ..Echo::new(self.discriminator, self.cookie) };
    }

    /// The session goes down because too many were lost: for how long it is to stay there. Control packets would bring it up again at once, and echo packets,
    /// which may only be sent while it is up, take it down again: the longer this goes on, the more rarely it is tried.
    pub(super) fn fail(&mut self) -> Duration {
        let hold = FIRST_HOLD.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        hold.min(LONGEST_HOLD)
    }

    /// When the next is to be sent.
    pub(super) fn due(&self, interval: Duration) -> Option<Moment> {
        let since = self.since?;
        Some(self.last.map_or(since, |(sent, part)| sent + interval.mul_f64(part)))
    }

    /// The next one, sent now. The one after it is due after this part of the interval.
    pub(super) fn send(&mut self, now: Moment, part: f64, multiplier: u8) -> [u8; LENGTH] {
        self.number = self.number.wrapping_add(1);
        self.last = Some((now, part));
        // One that comes back later than the others may be missing for is lost. Of a proven neighbour the session goes down before that.
        if !self.proven && self.pending.len() >= usize::from(multiplier) {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { number: self.number, sent: now });
        let mut octets = [0; LENGTH];
        octets[..4].copy_from_slice(&self.discriminator.get().to_be_bytes());
        octets[4..8].copy_from_slice(&self.number.to_be_bytes());
        octets[8..].copy_from_slice(&self.cookie.to_be_bytes());
        octets
    }

    /// One came back; with it, those before it do not matter any more.
    pub(super) fn receive(&mut self, octets: &[u8]) -> Result<(), Discarded> {
        let octets: &[u8; LENGTH] = octets.try_into().map_err(|_| Discarded::Echo)?;
        let (head, cookie) = octets.split_at(8);
        let (discriminator, number) = head.split_at(4);
        let ours =
            discriminator == self.discriminator.get().to_be_bytes() && cookie == self.cookie.to_be_bytes();
        let position = self.pending.iter().position(|pending| number == pending.number.to_be_bytes());
        let Some(position) = position.filter(|_| ours) else { return Err(Discarded::Echo) };
        self.returned = self.pending.drain(..=position).next_back().map(|pending| pending.sent);
        self.proven = true;
        self.failures = 0;
        Ok(())
    }

    /// From when on the path counts as broken: none came back of those sent in `multiplier` intervals (§6.8.5 leaves it to us how that is found out). That
    /// counts what was sent: while this process was not run, nothing was, and nothing is missing.
    pub(super) fn lost_at(&self, interval: Duration, multiplier: u8) -> Option<Moment> {
        let enough = usize::from(multiplier.saturating_sub(1).max(1));
        let first = self.pending.front().filter(|_| self.proven && self.pending.len() >= enough)?;
        let patience = interval * u32::from(multiplier);
        let Some(returned) = self.returned else { return Some(first.sent + patience) };
        Some((returned + patience).max(first.sent + (patience - interval).max(interval)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(50);

    fn at(milliseconds: u64) -> Moment {
        Moment::after_origin(Duration::from_millis(milliseconds))
    }

    fn echo() -> Echo {
        let mut echo = Echo::new(NonZeroU32::new(7).expect("not 0"), 0x0123_4567_89ab_cdef);
        echo.start(at(0));
        echo
    }

    #[test]
    fn one_that_returns_counts_once() {
        let mut echo = echo();
        assert_eq!(echo.due(INTERVAL), Some(at(0)));
        let (first, second) = (echo.send(at(0), 1.0, 3), echo.send(at(50), 1.0, 3));
        assert_eq!(discriminator(&first).map(NonZeroU32::get), Some(7));
        assert_eq!(echo.due(INTERVAL), Some(at(100)));
        assert!(!echo.proven());
        assert_eq!(echo.receive(&second), Ok(()));
        assert!(echo.proven());
        for octets in [&second[..], &first, &second[..15], &[], &[0; LENGTH]] {
            assert_eq!(echo.receive(octets), Err(Discarded::Echo), "{octets:?}");
        }
    }

    #[test]
    fn a_forged_one_does_not_count() {
        let mut echo = echo();
        let sent = echo.send(at(0), 1.0, 3);
        for octet in 0..LENGTH {
            let mut forged = sent;
            forged[octet] ^= 1;
            assert_eq!(echo.receive(&forged), Err(Discarded::Echo));
        }
        assert!(!echo.proven());
    }

    #[test]
    fn what_never_worked_is_not_lost() {
        let mut echo = echo();
        let first = echo.send(at(0), 1.0, 3);
        for step in 1..100 {
            echo.send(at(step * 50), 1.0, 3);
            assert_eq!(echo.lost_at(INTERVAL, 3), None);
        }
        assert_eq!(echo.receive(&first), Err(Discarded::Echo), "far too late");
    }

    #[test]
    fn lost_after_as_many_intervals_as_the_multiplier_says() {
        let mut echo = echo();
        let first = echo.send(at(0), 1.0, 3);
        echo.receive(&first).expect("ours");
        echo.send(at(50), 1.0, 3);
        assert_eq!(echo.lost_at(INTERVAL, 3), None, "one that is missing is none");
        echo.send(at(100), 1.0, 3);
        assert_eq!(echo.lost_at(INTERVAL, 3), Some(at(150)));
        // After a new start the first is waited for the whole time.
        echo.stop();
        assert_eq!((echo.due(INTERVAL), echo.lost_at(INTERVAL, 3)), (None, None));
        echo.start(at(1000));
        echo.send(at(1000), 1.0, 3);
        echo.send(at(1050), 1.0, 3);
        assert_eq!(echo.lost_at(INTERVAL, 3), Some(at(1150)));
    }

    #[test]
    fn tried_more_rarely_while_it_goes_on() {
        let mut echo = echo();
        let holds: Vec<u64> = (0..8).map(|_| echo.fail().as_secs()).collect();
        assert_eq!(holds, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(echo.fail(), LONGEST_HOLD);
        }
        let sent = echo.send(at(0), 1.0, 3);
        echo.receive(&sent).expect("ours");
        assert_eq!(echo.fail(), FIRST_HOLD);
    }

    #[test]
    fn while_nothing_is_sent_nothing_is_missing() {
        let mut echo = echo();
        let first = echo.send(at(0), 1.0, 3);
        echo.receive(&first).expect("ours");
        assert_eq!(echo.lost_at(INTERVAL, 3), None);
        // The process was not run for ten seconds.
        echo.send(at(10_000), 1.0, 3);
        assert_eq!(echo.lost_at(INTERVAL, 3), None);
        echo.send(at(10_050), 1.0, 3);
        assert_eq!(echo.lost_at(INTERVAL, 3), Some(at(10_100)));
    }
}
