//! What follows when a call fails: an end, a new token, or another try after a pause. Pure.
//!
//! | what came back | read | PUT, DELETE | POST |
//! |---|---|---|---|
//! | no connection: nothing was sent | again | again | again |
//! | connection lost, no answer | again | again | never: it may have taken effect |
//! | 401 | new token, once | as left | as left |
//! | 429, or "project busy" | again | again | again: it did nothing |
//! | 502, 503, 504 | again | again | never |
//! | 500 | again | no: it will most likely fail in the same way | no |
//! | anything else | no | no | no |
//!
//! Whoever makes something and does not know whether it was made looks for it by its owner's mark.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::api::{Failure, Request};
use crate::errors;

/// How often a call is sent, at most.
pub const SENDINGS: u32 = 4;
/// First pause; the next ones double.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that is waited for with a worker in hand.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stays failed.
    Stop,
    /// Again at once, with another token.
    Renew,
    /// Again after a pause.
    Again(Duration),
}

/// What follows from a failure of the `sendings`th sending. `renewed`: the token was just made, another will not be better. `jitter` is between 0 and 1.
#[must_use]
pub fn next(request: &Request, failure: &Failure, sendings: u32, renewed: bool, jitter: f64) -> Next {
    if errors::unauthorized(failure) {
        return if renewed { Next::Stop } else { Next::Renew };
    }
    if sendings >= SENDINGS {
        return Next::Stop;
    }
    let again = match failure {
        Failure::NoAnswer { sent: false, .. } => true,
        Failure::NoAnswer { sent: true, .. } => request.repeatable(),
        Failure::Refused { status: 500, .. } => !request.writes(),
        Failure::Refused { status: 429, .. } => true,
        Failure::Refused { status: 502..=504, .. } => request.repeatable() || errors::without_effect(failure),
        Failure::Refused { .. } => errors::throttled(failure),
        Failure::Garbled { .. } => !request.writes(),
        Failure::Login { .. } | Failure::NoService { .. } => false,
    };
    if !again {
        return Next::Stop;
    }
    // Between half and the whole of it, so that many do not come again together.
    let pause = PAUSE * 2u32.saturating_pow(sendings.saturating_sub(1));
    let pause = pause.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
    let pause = said(failure).map_or(pause, |said| said.max(pause));
    if pause > LONGEST_PAUSE { Next::Stop } else { Next::Again(pause) }
}

/// When the service says to come again.
#[must_use]
pub fn said(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Refused { retry_after, .. } => *retry_after,
        _ => None,
    }
}

/// Something between 0 and 1, another each time.
#[must_use]
pub fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod unit {
    use rstest::rstest;

    use super::*;
    use crate::api::{Fault, Method, Service};

    const LB: Service = Service::LoadBalancer;

    fn lost(sent: bool) -> Failure {
        Failure::NoAnswer { sent, text: String::new() }
    }

    fn status(status: u16) -> Failure {
        Failure::refused(LB, status, "text")
    }

    #[rstest]
    #[case::unsent(lost(false), [true, true, true])]
    #[case::lost(lost(true), [true, true, false])]
    #[case::throttled(status(429), [true, true, true])]
    #[case::busy(Failure::refused(LB, 503, "Project busy."), [true, true, true])]
    #[case::unavailable(status(503), [true, true, false])]
    #[case::gateway(status(502), [true, true, false])]
    #[case::gateway_timeout(status(504), [true, true, false])]
    #[case::broken(status(500), [true, false, false])]
    #[case::unsupported(status(501), [false, false, false])]
    #[case::invalid(status(400), [false, false, false])]
    #[case::forbidden(status(403), [false, false, false])]
    #[case::missing(status(404), [false, false, false])]
    #[case::conflict(status(409), [false, false, false])]
    #[case::redirect(status(302), [false, false, false])]
    #[case::garbled(Failure::Garbled { text: String::new() }, [true, false, false])]
    #[case::login(Failure::Login { refused: false, text: String::new() }, [false, false, false])]
    fn again(#[case] failure: Failure, #[case] expected: [bool; 3]) {
        for (method, again) in [Method::Get, Method::Put, Method::Post].into_iter().zip(expected) {
            let request = Request::new(LB, method, "/x");
            let got = next(&request, &failure, 1, false, 0.5);
            assert_eq!(matches!(got, Next::Again(_)), again, "{method:?} {got:?}");
            assert_eq!(next(&request, &failure, SENDINGS, false, 0.5), Next::Stop, "not for ever");
        }
    }

    #[test]
    fn a_new_token_once() {
        for method in [Method::Get, Method::Put, Method::Post, Method::Delete] {
            let request = Request::new(LB, method, "/x");
            assert_eq!(next(&request, &status(401), 1, false, 0.5), Next::Renew);
            assert_eq!(next(&request, &status(401), 2, true, 0.5), Next::Stop);
        }
    }

    #[test]
    fn pauses_grow_and_obey() {
        let request = Request::get(LB, "/x");
        let pause = |sendings, jitter, after: Option<u64>| {
            let failure = Failure::Refused {
                service: LB,
                status: 429,
                fault: Fault::default(),
                retry_after: after.map(Duration::from_secs),
                request_id: None,
            };
            next(&request, &failure, sendings, false, jitter)
        };
        let again = |ms| Next::Again(Duration::from_millis(ms));
        assert_eq!((pause(1, 0.0, None), pause(1, 1.0, None)), (again(125), again(250)));
        assert_eq!((pause(2, 1.0, None), pause(3, 1.0, None)), (again(500), again(1000)));
        assert_eq!(pause(1, 0.5, Some(3)), again(3000));
        assert_eq!(pause(3, 1.0, Some(0)), again(1000));
        assert_eq!(pause(1, 0.5, Some(6)), Next::Stop, "the worker is given back");
    }

    #[test]
    fn jitter_differs() {
        let some: Vec<f64> = (0..20).map(|_| jitter()).collect();
        assert!(some.iter().all(|j| (0.0..=1.0).contains(j)) && some.iter().any(|j| *j != some[0]));
    }
}
