//! Both sides call: of two connections one is kept, whatever comes first.

use causeway_metal::bgp::RemoteAsn;
use causeway_speaker::bgp::{GracefulRestart, Input, State, StopReason};
use proptest::prelude::*;
use rstest::rstest;

use crate::plain;
use crate::wire::{Wire, ms, seconds, settings};

fn callers(seed: u64) -> Wire {
    let [one, mut two] = [settings(0), settings(1)];
    two.passive = false;
    Wire::new([one, two], seed)
}

#[test]
fn the_call_of_the_higher_identifier_is_kept() {
    let mut met = 0;
    for seed in 0..200 {
        let mut wire = callers(seed);
        wire.come_up(ms(20));
        wire.run_for(seconds(1));
        assert!(wire.up());
        // Never both closed: the first calls were enough.
        assert!(wire.connections <= 2);
        // A call that was given up before it was answered is no collision.
        if wire.sides[1].session.counters().opens_sent == 2 {
            met += 1;
            assert_eq!(wire.openers(), [1], "192.0.2.2 opened it");
        }
    }
    assert!(met > 50, "only {met} collisions");
}

#[rstest]
#[case::higher_as_of_equal_identifiers(65001, 65002, 1)]
#[case::the_other_way(65003, 65002, 0)]
fn equal_identifiers(#[case] one: u32, #[case] two: u32, #[case] opener: usize) {
    let mut met = 0;
    for seed in 0..100 {
        let mut settings = [settings(0), settings(1)];
        for (side, asn) in [one, two].into_iter().enumerate() {
            settings[side].asn = asn;
            settings[side].passive = false;
            settings[side].router_id = [192, 0, 2, 9].into();
            settings[side].remote = RemoteAsn::External;
        }
        let mut wire = Wire::new(settings, seed);
        wire.come_up(ms(20));
        wire.run_for(seconds(1));
        if wire.sides[opener].session.counters().opens_sent == 2 {
            met += 1;
            assert_eq!(wire.openers(), [opener]);
        }
    }
    assert!(met > 20, "only {met} collisions");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every order of events, with packets that take between nothing and far more than the difference between the two calls.
    #[test]
    fn one_connection_is_left_in_any_order(seed: u64, delay in 1u64..200, lead in 0u64..400, graceful: bool, swapped: bool) {
        let mut settings = [settings(0), settings(1)];
        for side in &mut settings {
            side.passive = false;
            side.graceful_restart = graceful.then_some(GracefulRestart { time: seconds(60) });
        }
        if swapped {
            let [one, two] = &mut settings;
            std::mem::swap(&mut one.router_id, &mut two.router_id);
        }
        let mut wire = Wire::new(settings, seed);
        wire.delay = ms(delay);
        // Side 1 calls later, somewhere in the middle of side 0's attempt.
        wire.input(0, Input::Tick);
        wire.hold_back(1, lead);
        wire.routes(0, &plain(&["10.0.0.1/32"]));
        wire.routes(1, &plain(&["10.0.0.2/32"]));
        wire.come_up(seconds(2));
        wire.run_for(seconds(2));
        prop_assert!(wire.up());
        prop_assert_eq!(wire.openers().len(), 1);
        prop_assert!(wire.connections <= 2, "{} connections", wire.connections);
        prop_assert_eq!(wire.heard(0).table.len(), 1);
        prop_assert_eq!(wire.heard(1).table.len(), 1);
    }
}

/// A peer that was killed and calls again, while we have not noticed.
#[rstest]
#[case::graceful(true)]
#[case::not_graceful(false)]
fn a_restarted_peer_calls_again(#[case] graceful: bool) {
    let mut settings = [settings(0), settings(1)];
    settings[0].passive = true;
    settings[1].passive = false;
    for side in &mut settings {
        side.graceful_restart = graceful.then_some(GracefulRestart { time: seconds(60) });
    }
    let mut wire = Wire::new(settings.clone(), 1);
    wire.routes(0, &plain(&["10.0.0.1/32"]));
    wire.come_up(seconds(2));
    wire.run_for(seconds(30));
    // Its machine lost power, and nothing told us.
    let [_, two] = settings;
    wire.replace(1, two);
    if graceful {
        wire.run_until(ms(100), |wire| wire.connections == 2 && wire.up());
        assert!(
            wire.sides[0]
                .changes
                .iter()
                .any(|(_, _, why)| { why.as_ref().is_some_and(|why| why.contains("another connection")) })
        );
        wire.run_for(ms(10));
        assert_eq!(wire.heard(1).table.len(), 1, "everything was said again");
    } else {
        // The established one is kept until the hold timer says what happened.
        wire.run_for(ms(100));
        assert_eq!(wire.state(0), State::Established);
        assert!(wire.why(1).contains("Cease/Connection Collision Resolution (6/7)"), "{}", wire.why(1));
        wire.run_until(seconds(250), Wire::up);
        assert!(
            wire.sides[0]
                .changes
                .iter()
                .any(|(_, _, why)| { why.as_ref().is_some_and(|why| why.contains("Hold Timer Expired")) })
        );
    }
}

#[test]
fn the_later_of_two_calls_of_the_peer_is_taken() {
    let mut settings = [settings(0), settings(1)];
    settings[0].passive = true;
    settings[1].passive = false;
    let [_, two] = settings.clone();
    let mut wire = Wire::new(settings, 1);
    // Its OPEN never comes.
    wire.run_until(seconds(1), |wire| wire.state(0) == State::OpenSent);
    wire.replace(1, two);
    wire.come_up(ms(50));
}

#[test]
fn a_call_after_the_end_is_rejected() {
    let mut wire = callers(1);
    wire.come_up(seconds(1));
    wire.stop(0, StopReason::Shutdown { text: "bye".into() });
    wire.run_for(seconds(30));
    assert_eq!(wire.state(0), State::Idle);
    assert!(wire.why(1).contains("Connection Rejected"), "{}", wire.why(1));
    assert!(wire.sides[0].session.is_finished());
}
