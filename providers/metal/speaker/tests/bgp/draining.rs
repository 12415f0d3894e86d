//! Ends that are wanted: graceful restart and graceful shutdown.

use causeway_speaker::bgp::{Family, GracefulRestart, State, StopReason};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::BgpCapability;
use rstest::rstest;

use crate::wire::{Wire, ms, seconds, settings};
use crate::{many, plain};

const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

fn graceful_pair() -> Wire {
    let mut settings = [settings(0), settings(1)];
    for side in &mut settings {
        side.graceful_restart = Some(GracefulRestart { time: seconds(120) });
    }
    Wire::new(settings, 1)
}

/// R and the F bits of the OPEN that side 1 got over the last connection.
fn restart_bits(wire: &Wire) -> (bool, Vec<bool>) {
    let opens = wire.heard(1).others.iter().filter_map(|message| match message {
        BgpMessage::Open(open) => Some(open),
        _ => None,
    });
    let [open] = opens.collect::<Vec<_>>()[..] else { panic!("one OPEN") };
    let capabilities = open.capabilities();
    let graceful = capabilities.iter().find_map(|capability| match capability {
        BgpCapability::GracefulRestartCapability(graceful) => Some(graceful),
        _ => None,
    });
    let graceful = graceful.expect("it is offered");
    assert_eq!(graceful.time(), 120);
    (graceful.restart(), graceful.address_families().iter().map(|family| family.forwarding_state()).collect())
}

#[test]
fn restart_bits_and_end_of_rib() {
    let mut wire = graceful_pair();
    wire.come_up(seconds(1));
    assert_eq!(restart_bits(&wire), (true, vec![true]));
    // Nobody said yet what there is to tell: End-of-RIB now would make the peer drop what it kept.
    wire.run_for(seconds(30));
    assert_eq!(wire.heard(1).end_of_rib, []);
    wire.routes(0, &many(5000));
    wire.run_until(ms(100), |wire| wire.heard(1).end_of_rib == [Family::V4]);
    assert_eq!(wire.heard(1).table.len(), 5000, "after all routes");
    // A later connection of the same process is no restart.
    wire.break_all();
    wire.come_up(seconds(2));
    assert_eq!(restart_bits(&wire), (false, vec![true]));
    wire.run_until(ms(100), |wire| wire.heard(1).end_of_rib == [Family::V4]);
    // A process that starts anew is one, until it was up once.
    let [one, _] = [settings(0), settings(1)];
    let graceful_restart = Some(GracefulRestart { time: seconds(120) });
    wire.break_all();
    wire.replace(0, causeway_speaker::bgp::Settings { graceful_restart, ..one });
    wire.come_up(seconds(5));
    assert_eq!(restart_bits(&wire), (true, vec![true]));
}

#[test]
fn a_restart_closes_without_a_word_if_the_peer_keeps_the_routes() {
    let mut wire = graceful_pair();
    wire.routes(0, &plain(&["10.0.0.1/32"]));
    wire.come_up(seconds(1));
    wire.run_for(seconds(1));
    wire.stop(0, StopReason::Restart);
    wire.run_for(ms(5));
    assert_eq!(wire.why(1), "closed by the peer");
    assert!(
        wire.all_heard(1).all(|heard| heard
            .others
            .iter()
            .all(|message| { !matches!(message, BgpMessage::Notification(_)) }))
    );
    assert_eq!(wire.heard(1).table.len(), 1, "nothing was withdrawn");
    assert!(wire.sides[0].session.is_finished());
}

#[test]
fn a_restart_says_so_if_the_peer_keeps_nothing() {
    let mut wire = Wire::pair();
    wire.come_up(seconds(1));
    wire.stop(0, StopReason::Restart);
    wire.run_for(ms(5));
    assert_eq!(wire.why(1), "NOTIFICATION received: Cease/Administrative Reset (6/4): \"restarting\"");
}

#[rstest]
#[case::plain(Wire::pair())]
#[case::with_graceful_restart(graceful_pair())]
fn a_drain_warns_then_withdraws_then_ends(#[case] mut wire: Wire) {
    wire.routes(0, &many(3000));
    wire.come_up(seconds(1));
    wire.run_for(seconds(1));
    wire.stop(0, StopReason::GracefulDrain { wait: seconds(2), text: "maintenance".into() });
    let start = wire.now;
    let marked = |wire: &Wire| {
        wire.heard(1).table.values().all(|route| route.communities.contains(&GRACEFUL_SHUTDOWN))
    };
    wire.run_until(ms(50), |wire| wire.heard(1).table.len() == 3000 && marked(wire));
    // What comes meanwhile is marked too.
    wire.routes(0, &many(3001));
    wire.run_until(ms(50), |wire| wire.heard(1).table.len() == 3001 && marked(wire));
    assert!(!wire.sides[0].session.is_finished());
    wire.run_until(seconds(3), |wire| wire.heard(1).table.is_empty());
    assert_eq!(wire.now.saturating_since(start).as_secs(), 2);
    wire.run_until(ms(50), |wire| wire.sides[0].session.is_finished());
    wire.run_for(ms(5));
    assert_eq!(wire.why(1), "NOTIFICATION received: Cease/Administrative Shutdown (6/2): \"maintenance\"");
    assert_eq!(wire.state(0), State::Idle);
}

#[test]
fn a_drain_does_not_wait_for_who_does_not_read() {
    let mut wire = Wire::pair();
    wire.routes(0, &many(20_000));
    wire.come_up(seconds(1));
    wire.sides[1].reads = false;
    wire.stop(0, StopReason::GracefulDrain { wait: seconds(2), text: String::new() });
    wire.run_until(seconds(5), |wire| wire.sides[0].session.is_finished());
}

#[test]
fn a_drain_without_a_session_is_over_at_once() {
    let mut wire = Wire::pair();
    wire.cut = true;
    wire.run_for(seconds(1));
    wire.stop(0, StopReason::GracefulDrain { wait: seconds(2), text: String::new() });
    assert!(wire.sides[0].session.is_finished());
}

#[test]
fn a_session_that_breaks_while_draining_is_over() {
    let mut wire = Wire::pair();
    wire.routes(0, &many(10));
    wire.come_up(seconds(1));
    wire.stop(0, StopReason::GracefulDrain { wait: seconds(20), text: String::new() });
    wire.run_for(seconds(1));
    wire.break_all();
    assert!(wire.sides[0].session.is_finished());
    wire.run_for(seconds(100));
    assert_eq!(wire.state(0), State::Idle);
}
