//! BFD sessions back to back, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use causeway_metal::bgp::BfdSettings;
use causeway_speaker::bfd::session::SLOW;
use causeway_speaker::bfd::{
    Diag, Discarded, EchoSnapshot, Input, Output, Packet, Session, SessionSnapshot, Start, State,
};
use causeway_speaker::jitter::Jitter;
use causeway_speaker::moment::Moment;
use proptest::prelude::*;
use rstest::rstest;

const SECOND: Duration = Duration::from_secs(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn every(milliseconds: u64) -> BfdSettings {
    BfdSettings { receive: ms(milliseconds), transmit: ms(milliseconds), ..BfdSettings::default() }
}

fn with_echo(milliseconds: u64, echo: u64) -> BfdSettings {
    BfdSettings { echo: Some(ms(echo)), ..every(milliseconds) }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    at: Moment,
    to: State,
    diag: Diag,
    withdrawn: bool,
}

/// What runs on one end.
enum Process {
    Running,
    /// SIGSTOP: packets wait in the socket.
    Stopped(Vec<Vec<u8>>),
    /// A paused machine, or a dead one: they are lost.
    Paused,
}

struct End {
    session: Session,
    process: Process,
    /// Whether its forwarding plane sends the other one's echo packets back.
    loops: bool,
    changes: Vec<Change>,
    sent: Vec<(Moment, Packet)>,
    echoes: Vec<Moment>,
    stalls: usize,
    discarded: Vec<Discarded>,
}

/// When it arrives, in which order it was sent, at which end, whether it is an echo packet, and what.
type Datagram = (Moment, u64, usize, bool, Vec<u8>);

struct Link {
    now: Moment,
    ends: [End; 2],
    wire: BinaryHeap<Reverse<Datagram>>,
    order: u64,
    delay: Duration,
    loss: f64,
    /// Nothing arrives at this end.
    deaf: [bool; 2],
    /// Packets with F are lost on the way to this end.
    no_finals: [bool; 2],
    dice: Jitter,
}

fn start(settings: BfdSettings, number: u32) -> Start {
    let discriminator = NonZeroU32::new(number).expect("not 0");
    let seed = u64::from(number);
    Start { settings, discriminator, multihop: false, loops: true, cookie: 0x5eed + seed, seed }
}

impl Link {
    fn new(settings: [&BfdSettings; 2], seed: u32) -> Self {
        let [one, other] = settings.map(BfdSettings::clone);
        Link::of([start(one, seed * 2 + 1), start(other, seed * 2 + 2)])
    }

    fn of(starts: [Start; 2]) -> Self {
        // Not at the origin, which nothing may take for special.
        let now = Moment::after_origin(Duration::from_secs(1000));
        let end = |start: Start| End {
            session: Session::new(start, now),
            process: Process::Running,
            loops: true,
            changes: Vec::new(),
            sent: Vec::new(),
            echoes: Vec::new(),
            stalls: 0,
            discarded: Vec::new(),
        };
        Link {
            now,
            dice: Jitter::new(starts[0].seed),
            ends: starts.map(end),
            wire: BinaryHeap::new(),
            order: 0,
            delay: Duration::from_micros(200),
            loss: 0.0,
            deaf: [false; 2],
            no_finals: [false; 2],
        }
    }

    /// Both are Up, have agreed, and nothing is remembered of the way there.
    fn up(settings: [&BfdSettings; 2], seed: u32) -> Self {
        let mut link = Link::new(settings, seed);
        link.settle();
        link
    }

    fn settle(&mut self) {
        self.run(SECOND * 5);
        for end in [0, 1] {
            assert_eq!(self.ends[end].session.state(), State::Up, "end {end}: {:?}", self.ends[end].changes);
            assert!(!self.shown(end).polling, "end {end}");
        }
        self.forget();
    }

    fn forget(&mut self) {
        for end in &mut self.ends {
            end.changes.clear();
            end.sent.clear();
            end.echoes.clear();
            end.discarded.clear();
            end.stalls = 0;
        }
    }

    fn shown(&self, end: usize) -> SessionSnapshot {
        self.ends[end].session.snapshot(self.now)
    }

    fn detection(&self, end: usize) -> Duration {
        Duration::from_micros(self.shown(end).detection_us.expect("heard"))
    }

    fn state(&self, end: usize) -> State {
        self.ends[end].session.state()
    }

    /// The last change of an end.
    fn last(&self, end: usize) -> Change {
        *self.ends[end].changes.last().unwrap_or_else(|| panic!("end {end} did not change"))
    }

    fn input(&mut self, end: usize, input: Input<'_>) {
        let outputs = self.ends[end].session.handle(input, self.now);
        for output in outputs {
            match output {
                Output::Send(octets) => {
                    let packet = Packet::parse(&octets).expect("our own packets are sound");
                    assert!(!(packet.poll && packet.fin), "§6.5");
                    self.ends[end].sent.push((self.now, packet));
                    if !(packet.fin && self.no_finals[1 - end]) {
                        self.carry(1 - end, false, octets.to_vec(), self.delay);
                    }
                }
                Output::SendEcho(octets) => {
                    self.ends[end].echoes.push(self.now);
                    if self.ends[1 - end].loops && !self.deaf[1 - end] {
                        self.carry(end, true, octets.to_vec(), self.delay * 2);
                    }
                }
                Output::Changed { from, to, diag, withdrawn } => {
                    assert_ne!(from, to);
                    self.ends[end].changes.push(Change { at: self.now, to, diag, withdrawn });
                }
                Output::Discarded(reason) => self.ends[end].discarded.push(reason),
                Output::Stalled(_) => self.ends[end].stalls += 1,
            }
        }
    }

    fn carry(&mut self, to: usize, echo: bool, octets: Vec<u8>, delay: Duration) {
        if self.dice.fraction() < self.loss {
            return;
        }
        self.order += 1;
        self.wire.push(Reverse((self.now + delay, self.order, to, echo, octets)));
    }

    fn receive(&mut self, end: usize, echo: bool, octets: &[u8]) {
        if echo {
            self.input(end, Input::Echo(octets));
        } else {
            let packet = Packet::parse(octets).expect("our own packets are sound");
            self.input(end, Input::Packet(&packet));
        }
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let arrival = self.wire.peek().map(|Reverse((at, ..))| *at);
            let deadline = |end: &End| match end.process {
                Process::Running => end.session.next_deadline(),
                _ => None,
            };
            let deadlines = [deadline(&self.ends[0]), deadline(&self.ends[1])];
            let Some(next) = deadlines.into_iter().flatten().chain(arrival).min().filter(|at| *at <= until)
            else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some(Reverse((_, _, to, echo, octets))) = self.wire.pop() else { unreachable!("peeked") };
                if self.deaf[to] {
                    continue;
                }
                match &mut self.ends[to].process {
                    Process::Running => self.receive(to, echo, &octets),
                    Process::Stopped(waiting) if !echo => waiting.push(octets),
                    Process::Stopped(_) | Process::Paused => {}
                }
                continue;
            }
            let end = usize::from(deadlines[0] != Some(next));
            self.input(end, Input::Tick);
            let later = self.ends[end].session.next_deadline();
            assert!(later.is_none_or(|later| later > self.now), "a tick leaves something to do");
        }
        self.now = until;
    }

    /// Runs until it holds, and tells how long that took.
    fn run_until(&mut self, limit: Duration, holds: impl Fn(&Link) -> bool) -> Duration {
        let begin = self.now;
        while !holds(self) {
            let spent = self.now.saturating_since(begin);
            assert!(spent < limit, "not within {limit:?}");
            self.run(ms(1));
        }
        self.now.saturating_since(begin)
    }

    fn resume(&mut self, end: usize) {
        if let Process::Stopped(waiting) = std::mem::replace(&mut self.ends[end].process, Process::Running) {
            for octets in waiting {
                self.receive(end, false, &octets);
            }
        }
        self.input(end, Input::Tick);
    }

    /// A new process in place of the old one.
    fn restart(&mut self, end: usize, settings: BfdSettings, number: u32) {
        self.ends[end].session = Session::new(start(settings, number), self.now);
        self.ends[end].process = Process::Running;
    }

    /// The spans between an end's packets.
    fn gaps(&self, end: usize) -> Vec<Duration> {
        let sent = &self.ends[end].sent;
        sent.windows(2).map(|pair| pair[1].0.saturating_since(pair[0].0)).collect()
    }
}

#[rstest]
#[case(every(300), every(300))]
#[case(every(50), every(50))]
#[case(every(10), every(1000))]
#[case(every(60_000), every(50))]
#[case(BfdSettings { passive: true, ..every(50) }, every(50))]
#[case(BfdSettings { multiplier: 2, ..every(50) }, BfdSettings { multiplier: 50, ..every(20) })]
fn both_come_up_and_agree(#[case] one: BfdSettings, #[case] other: BfdSettings) {
    let mut link = Link::new([&one, &other], 1);
    link.run_until(SECOND * 2, |link| link.state(0) == State::Up && link.state(1) == State::Up);
    link.run(one.transmit.max(other.transmit) * 2 + SECOND);
    for (end, ours, theirs) in [(0, &one, &other), (1, &other, &one)] {
        let shown = link.shown(end);
        assert!(!shown.polling, "{shown:?}");
        assert_eq!(shown.transmit_us, ours.transmit.max(theirs.receive).as_micros() as u64);
        // §6.8.4: as the *neighbour's* multiplier says.
        assert_eq!(link.detection(end), ours.receive.max(theirs.transmit) * u32::from(theirs.multiplier));
        let states: Vec<State> = link.ends[end].changes.iter().map(|change| change.to).collect();
        assert!(matches!(states[..], [State::Init, State::Up] | [State::Up]), "{states:?}");
        assert_eq!(link.last(end).diag, Diag::NONE);
    }
}

#[test]
fn no_more_than_a_packet_a_second_until_up() {
    let mut link = Link::new([&every(50), &every(50)], 2);
    link.deaf = [true, true];
    link.run(SECOND * 100);
    let gaps = link.gaps(0);
    assert!(gaps.iter().all(|gap| (ms(750)..=SECOND).contains(gap)), "{gaps:?}");
    let packets = &link.ends[0].sent;
    assert!(packets.iter().all(|(_, packet)| packet.desired_min_tx == SLOW && packet.state == State::Down));
    assert!(packets.iter().all(|(_, packet)| packet.your_discriminator.is_none() && !packet.poll));
}

#[rstest]
#[case(3, 0.75, 1.0)]
#[case(1, 0.75, 0.9)]
fn packets_are_spread(#[case] multiplier: u8, #[case] least: f64, #[case] most: f64) {
    let mut link = Link::up([&BfdSettings { multiplier, ..every(100) }, &every(10)], 3);
    link.run(SECOND * 100);
    let parts: Vec<f64> = link.gaps(0).iter().map(|gap| gap.as_secs_f64() / 0.1).collect();
    assert!(parts.len() > 1000);
    assert!(parts.iter().all(|part| (least..=most).contains(part)), "{parts:?}");
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    assert!((mean - f64::midpoint(least, most)).abs() < 0.01, "{mean}");
    assert!(link.ends[1].changes.is_empty());
}

#[test]
fn a_dead_neighbor_is_noticed_in_time() {
    for (seed, settings) in [(4, every(50)), (5, every(300)), (6, BfdSettings { multiplier: 5, ..every(20) })]
    {
        let mut link = Link::up([&settings, &settings], seed);
        link.run(ms(u64::from(seed) * 7));
        link.ends[1].process = Process::Paused;
        let death = link.now;
        link.run(SECOND * 10);
        let detection = settings.transmit * u32::from(settings.multiplier);
        let change = link.ends[0].changes[0];
        let time = change.at.saturating_since(death);
        assert!(time <= detection + link.delay && time >= detection - settings.transmit, "{time:?}");
        assert_eq!((change.to, change.diag), (State::Down, Diag::EXPIRED));
        let shown = link.shown(0);
        assert_eq!((shown.remote_discriminator, shown.detection_us, shown.polling), (None, None, false));
        // Told at once, then slowly.
        let after: Vec<_> = link.ends[0].sent.iter().filter(|(at, _)| *at >= change.at).collect();
        assert_eq!((after[0].0, after[0].1.diag), (change.at, Diag::EXPIRED));
        assert!((10..=14).contains(&after.len()), "{}", after.len());
    }
}

#[test]
fn a_path_that_works_one_way_only_is_down_for_both() {
    let mut link = Link::up([&every(50), &every(50)], 7);
    link.deaf[0] = true;
    link.run(SECOND * 3);
    assert_eq!((link.ends[0].changes[0].to, link.ends[0].changes[0].diag), (State::Down, Diag::EXPIRED));
    let first = link.ends[1].changes[0];
    assert_eq!((first.to, first.diag, first.withdrawn), (State::Down, Diag::NEIGHBOR_DOWN, false));
    assert_ne!(link.state(1), State::Up);
    // What took it down is told as long as it is not up.
    assert_eq!(link.ends[1].sent.last().expect("it sends").1.diag, Diag::NEIGHBOR_DOWN);
    link.deaf[0] = false;
    link.settle();
}

#[test]
fn flaps() {
    let mut link = Link::up([&every(50), &every(300)], 8);
    for round in 0..50 {
        link.deaf = [round % 3 != 0, round % 3 != 1];
        link.run(SECOND * 2);
        assert_ne!(link.state(0), State::Up);
        assert_ne!(link.state(1), State::Up);
        link.deaf = [false; 2];
        link.settle();
    }
}

#[test]
fn a_neighbor_that_starts_anew_is_taken_up_at_once() {
    let mut link = Link::up([&every(300), &every(300)], 9);
    link.restart(1, every(300), 99);
    let time = link.run_until(SECOND * 3, |link| link.state(0) == State::Up && link.state(1) == State::Up);
    assert!(time < SECOND * 2, "{time:?}");
    assert_eq!(
        (link.ends[0].changes[0].to, link.ends[0].changes[0].diag),
        (State::Down, Diag::NEIGHBOR_DOWN)
    );
    assert_eq!(link.shown(0).remote_discriminator, NonZeroU32::new(99));
}

#[test]
fn a_passive_end_waits_to_be_spoken_to() {
    let passive = BfdSettings { passive: true, ..every(50) };
    let mut link = Link::new([&passive, &passive], 10);
    link.run(SECOND * 10);
    assert!(link.ends.iter().all(|end| end.sent.is_empty() && end.session.next_deadline().is_none()));

    let mut link = Link::up([&passive, &every(50)], 11);
    link.ends[1].process = Process::Paused;
    link.run(SECOND * 10);
    assert_eq!(link.state(0), State::Down);
    let at = link.last(0).at;
    // It says so once, and then nothing.
    assert_eq!(link.ends[0].sent.iter().filter(|(sent, _)| *sent >= at).count(), 1);
    assert_eq!(link.ends[0].session.next_deadline(), None);
    link.resume(1);
    link.settle();
}

#[test]
fn less_often_only_when_the_neighbor_knows() {
    let mut link = Link::up([&every(50), &every(50)], 12);
    link.no_finals[0] = true;
    link.input(0, Input::Settings(&BfdSettings { transmit: ms(500), ..every(50) }));
    link.run(SECOND * 3);
    let gaps = link.gaps(0);
    assert!(gaps.iter().all(|gap| *gap <= ms(50)), "{gaps:?}");
    assert!(link.ends[0].sent.iter().all(|(_, packet)| packet.poll && packet.desired_min_tx == ms(500)));
    assert!(link.shown(0).polling);
    assert_eq!(link.detection(1), ms(1500));
    link.no_finals[0] = false;
    link.run(SECOND);
    link.forget();
    link.run(SECOND * 10);
    let gaps = link.gaps(0);
    assert!(gaps.iter().all(|gap| (ms(375)..=ms(500)).contains(gap)), "{gaps:?}");
    assert!(link.ends[0].sent.iter().all(|(_, packet)| !packet.poll));
    assert!(link.ends.iter().all(|end| end.changes.is_empty()));
}

#[test]
fn less_patient_only_when_the_neighbor_knows() {
    let mut link = Link::up([&every(500), &every(50)], 13);
    assert_eq!(link.detection(0), ms(1500));
    link.no_finals[0] = true;
    link.input(0, Input::Settings(&every(50)));
    link.run(SECOND * 2);
    assert_eq!(link.detection(0), ms(1500));
    // The neighbour has heard it, and obeys at once.
    assert!(link.gaps(1).iter().skip(20).all(|gap| *gap <= ms(50)));
    link.no_finals[0] = false;
    link.run(SECOND);
    assert_eq!(link.detection(0), ms(150));
    assert!(link.ends.iter().all(|end| end.changes.is_empty()));
}

#[test]
fn more_often_and_more_patient_at_once() {
    let mut link = Link::up([&every(500), &every(500)], 14);
    link.no_finals[0] = true;
    let changed = link.now;
    link.input(0, Input::Settings(&BfdSettings { transmit: ms(600), receive: ms(2000), ..every(0) }));
    assert_eq!(link.detection(0), ms(6000));
    link.input(0, Input::Settings(&BfdSettings { transmit: ms(20), receive: ms(2000), ..every(0) }));
    // The neighbour wants to hear it every 500 ms only.
    assert_eq!(link.shown(0).transmit_us, 500_000);
    link.input(1, Input::Settings(&every(20)));
    link.run(ms(30));
    let last = link.ends[0].sent.last().expect("it sends").0;
    assert!(last > changed && link.shown(0).transmit_us == 20_000);
    link.run(SECOND * 3);
    assert!(link.ends.iter().all(|end| end.changes.is_empty()));
}

/// A change while the answer to an earlier one is under way: that answer must not count for it.
#[test]
fn an_answer_counts_only_for_what_was_asked() {
    let mut link = Link::up([&every(50), &every(50)], 15);
    // Longer than an interval, so that several questions and answers are under way.
    link.delay = ms(120);
    link.run(SECOND);
    link.forget();
    link.input(0, Input::Settings(&BfdSettings { transmit: ms(100), ..every(50) }));
    link.run(ms(200));
    assert!(link.shown(0).polling);
    link.input(0, Input::Settings(&BfdSettings { transmit: ms(2000), ..every(50) }));
    let asked = link.now;
    // The answer to the first question arrives at 240 ms; what is true then is that the neighbour counts with 100 ms.
    link.run(ms(100));
    assert_eq!(link.shown(0).transmit_us, 50_000, "neither is confirmed");
    link.run_until(SECOND * 2, |link| link.shown(0).transmit_us == 2_000_000);
    assert!(link.now.saturating_since(asked) > ms(240), "a round trip after the second question");
    link.run(SECOND * 20);
    assert!(!link.shown(0).polling);
    assert!(link.ends.iter().all(|end| end.changes.is_empty()));
}

#[test]
fn every_poll_is_answered_at_once() {
    let mut link = Link::up([&every(300), &every(300)], 16);
    let question = Packet { poll: true, fin: false, ..link_packet(&mut link) };
    link.ends[0].sent.clear();
    for _ in 0..3 {
        link.input(0, Input::Packet(&question));
    }
    let answers = &link.ends[0].sent;
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|(at, packet)| *at == link.now && packet.fin && !packet.poll));
}

/// The last packet that end 1 has sent.
fn link_packet(link: &mut Link) -> Packet {
    if link.ends[1].sent.is_empty() {
        link.run(SECOND * 2);
    }
    link.ends[1].sent.last().expect("it sends").1
}

#[test]
fn a_neighbor_that_demands_silence_gets_it() {
    let mut link = Link::up([&every(50), &every(50)], 17);
    let demand = Packet { demand: true, ..link_packet(&mut link) };
    // It goes on sending, of which we hear only this.
    link.ends[1].process = Process::Paused;
    let say = |link: &mut Link, rounds: u32, packet: Packet| {
        for _ in 0..rounds {
            link.input(0, Input::Packet(&packet));
            link.run(ms(40));
        }
    };
    say(&mut link, 1, demand);
    link.forget();
    say(&mut link, 50, demand);
    assert!(link.ends[0].sent.is_empty(), "{:?}", link.ends[0].sent);
    // But it is asked when timers change, until it answers.
    link.input(0, Input::Settings(&every(60)));
    say(&mut link, 10, demand);
    assert!(link.ends[0].sent.len() > 5 && link.ends[0].sent.iter().all(|(_, packet)| packet.poll));
    say(&mut link, 1, Packet { fin: true, ..demand });
    link.forget();
    say(&mut link, 10, demand);
    assert!(link.ends[0].sent.is_empty());
    // And its own silence counts.
    link.run(ms(200));
    assert_eq!(link.last(0).diag, Diag::EXPIRED);
}

#[test]
fn a_neighbor_that_can_receive_nothing_is_sent_nothing() {
    let mut link = Link::up([&every(50), &every(50)], 18);
    let deaf = Packet { required_min_rx: Duration::ZERO, ..link_packet(&mut link) };
    link.ends[1].process = Process::Paused;
    link.input(0, Input::Packet(&deaf));
    link.forget();
    link.run(ms(140));
    assert!(link.ends[0].sent.is_empty());
    // When it is gone, so is what it said: another one may come in its place.
    link.run(SECOND * 3);
    assert!(link.ends[0].sent.len() >= 3);
}

#[test]
fn a_session_that_is_stopped_blames_nobody() {
    let mut link = Link::up([&every(50), &every(50)], 19);
    link.input(0, Input::Stop);
    link.run(ms(100));
    assert!(link.ends[0].session.stopped(), "the neighbour has confirmed");
    assert_eq!(link.ends[0].session.next_deadline(), None);
    assert_eq!((link.last(0).to, link.last(0).diag), (State::AdminDown, Diag::ADMIN_DOWN));
    let change = link.last(1);
    assert_eq!((change.to, change.diag, change.withdrawn), (State::Down, Diag::NEIGHBOR_DOWN, true));
    // Packets of the neighbour change nothing any more.
    link.forget();
    link.run(SECOND * 3);
    assert!(link.ends[0].changes.is_empty() && link.ends[0].sent.is_empty());
    assert!(link.ends[0].discarded.iter().all(|reason| *reason == Discarded::AdminDown));
}

#[test]
fn a_stopped_session_says_so_again_if_that_is_lost() {
    let mut link = Link::up([&every(300), &every(300)], 20);
    link.deaf[1] = true;
    link.input(0, Input::Stop);
    link.run(ms(500));
    link.deaf[1] = false;
    link.run(ms(700));
    assert!(link.ends[0].session.stopped());
    assert!(link.last(1).withdrawn, "{:?}", link.ends[1].changes);
    // A neighbour that never answers is not told for ever.
    let mut link = Link::up([&every(300), &every(300)], 21);
    link.deaf[1] = true;
    link.input(0, Input::Stop);
    link.run(SECOND * 2);
    assert!(link.ends[0].session.stopped());
    assert!((1..=2).contains(&link.ends[0].sent.len()));
    // Nor one that was never heard.
    let mut link = Link::new([&every(300), &every(300)], 22);
    link.input(0, Input::Stop);
    assert!(link.ends[0].session.stopped());
}

#[test]
fn a_stopped_process_finds_its_neighbor_alive() {
    let mut link = Link::up([&every(50), &BfdSettings { multiplier: 255, ..every(50) }], 23);
    // The neighbour must not take *us* for dead meanwhile.
    link.input(0, Input::Settings(&BfdSettings { multiplier: 255, ..every(50) }));
    link.input(1, Input::Settings(&every(50)));
    link.run(SECOND);
    link.forget();
    link.ends[0].process = Process::Stopped(Vec::new());
    link.run(SECOND * 5);
    link.resume(0);
    link.run(SECOND);
    assert!(link.ends.iter().all(|end| end.changes.is_empty()));
    assert_eq!(link.ends[0].stalls, 0, "nothing had to be forgiven");
}

#[test]
fn a_paused_machine_forgives_once() {
    let patient = BfdSettings { multiplier: 255, ..every(50) };
    let mut link = Link::up([&patient, &every(50)], 24);
    link.ends[0].process = Process::Paused;
    link.run(SECOND * 5);
    link.resume(0);
    link.run(SECOND);
    assert!(link.ends.iter().all(|end| end.changes.is_empty()), "{:?}", link.ends[0].changes);
    assert_eq!(link.ends[0].stalls, 1);
    // One that really died meanwhile is noticed after the detection time, and a second stall does not save it.
    link.ends[0].process = Process::Paused;
    link.ends[1].process = Process::Paused;
    link.run(SECOND * 5);
    link.forget();
    link.resume(0);
    let back = link.now;
    link.run(ms(100));
    link.ends[0].process = Process::Paused;
    link.run(SECOND * 5);
    link.resume(0);
    assert_eq!(link.last(0).diag, Diag::EXPIRED);
    assert_eq!(link.ends[0].stalls, 1);
    assert!(link.last(0).at > back);
}

#[test]
fn echo_packets_watch_the_path() {
    let mut link = Link::up([&with_echo(50, 50), &every(50)], 25);
    // Not offered by a neighbour without echo.
    assert_eq!(link.shown(0).echo, EchoSnapshot::NotOffered);
    assert_eq!(link.shown(1).echo, EchoSnapshot::Off);
    link.run(SECOND);
    assert!(link.ends[0].echoes.is_empty());

    let mut link = Link::up([&with_echo(50, 20), &with_echo(50, 50)], 26);
    link.run(SECOND * 10);
    assert_eq!((link.shown(0).echo, link.shown(1).echo), (EchoSnapshot::Active, EchoSnapshot::Active));
    // As often as both want (§6.8.9), less jitter; control packets once a second (§6.8.3).
    let gaps: Vec<_> = link.ends[0].echoes.windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect();
    assert!(gaps.iter().all(|gap| (Duration::from_micros(37_499)..=ms(50)).contains(gap)), "{gaps:?}");
    assert!(link.ends[0].sent.len() <= 14, "{}", link.ends[0].sent.len());
    assert_eq!(link.detection(0), SECOND * 3);

    // The forwarding plane of the neighbour breaks: control packets still come.
    link.forget();
    link.ends[1].loops = false;
    let broke = link.now;
    link.run_until(SECOND, |link| link.state(0) == State::Down);
    let time = link.last(0).at.saturating_since(broke);
    assert!(time <= ms(150) && time >= ms(100), "{time:?}");
    assert_eq!(link.last(0).diag, Diag::ECHO_FAILED);
    link.run(ms(1));
    assert_eq!(link.last(1).diag, Diag::NEIGHBOR_DOWN);
    // It is tried again more and more rarely, instead of going up and down several times a second.
    link.forget();
    link.run(SECOND * 60);
    let ups = link.ends[0].changes.iter().filter(|change| change.to == State::Up).count();
    assert!((4..=6).contains(&ups), "{ups}");
    link.ends[1].loops = true;
    link.run(SECOND * 70);
    link.settle();
    assert_eq!(link.shown(0).echo, EchoSnapshot::Active);
}

#[test]
fn echo_packets_that_never_came_back_prove_nothing() {
    let mut link = Link::new([&with_echo(50, 50), &with_echo(50, 50)], 27);
    link.ends[1].loops = false;
    link.settle();
    link.run(SECOND * 10);
    assert_eq!((link.shown(0).echo, link.shown(1).echo), (EchoSnapshot::Unanswered, EchoSnapshot::Active));
    assert!(link.ends.iter().all(|end| end.changes.is_empty()));
    // So control packets still do, at the full rate.
    assert_eq!(link.detection(0), ms(150));
    link.ends[1].process = Process::Paused;
    let death = link.now;
    link.run(SECOND);
    let change = link.ends[0].changes[0];
    assert!(change.at.saturating_since(death) <= ms(150) + link.delay && change.diag == Diag::EXPIRED);
}

#[test]
fn no_echo_over_many_hops_or_where_packets_are_not_forwarded() {
    let multihop = |number| Start { multihop: true, ..start(with_echo(50, 50), number) };
    let mut link = Link::of([multihop(1), multihop(2)]);
    link.settle();
    link.run(SECOND);
    assert!(link.ends.iter().all(|end| end.echoes.is_empty()));
    assert_eq!(link.shown(0).echo, EchoSnapshot::Off);

    let stay = Start { loops: false, ..start(with_echo(50, 50), 1) };
    let mut link = Link::of([stay, start(with_echo(50, 50), 2)]);
    link.settle();
    link.run(SECOND);
    assert_eq!((link.shown(0).echo, link.shown(1).echo), (EchoSnapshot::Active, EchoSnapshot::NotOffered));
}

#[test]
fn a_stall_loses_no_echo_packet() {
    let mut link = Link::up([&with_echo(50, 50), &with_echo(50, 50)], 28);
    for stall in [60, 140, 160, 500, 2000] {
        link.ends[0].process = Process::Stopped(Vec::new());
        link.run(ms(stall));
        link.resume(0);
        link.run(SECOND);
        assert!(link.ends[0].changes.is_empty(), "{stall} ms: {:?}", link.ends[0].changes);
    }
}

fn some_settings() -> impl Strategy<Value = BfdSettings> {
    let interval = prop_oneof![Just(10u64), 10..200u64, Just(1000), Just(5000)];
    let echo = prop::option::of(10..200u64);
    (interval.clone(), interval, 1..20u8, echo, any::<bool>()).prop_map(
        |(receive, transmit, multiplier, echo, passive)| BfdSettings {
            receive: ms(receive),
            transmit: ms(transmit),
            multiplier,
            echo: echo.map(ms),
            passive,
            minimum_ttl: 254,
        },
    )
}

fn some_packet() -> impl Strategy<Value = Packet> {
    let interval = prop_oneof![Just(0u64), Just(1), 1..2_000_000u64, Just(u64::from(u32::MAX))];
    (0..4u8, any::<[bool; 4]>(), 1..=255u8, any::<bool>(), (interval.clone(), interval.clone(), interval))
        .prop_map(|(state, [poll, fin, demand, known], multiplier, other, (tx, rx, echo))| Packet {
            diag: Diag::NONE,
            state: [State::AdminDown, State::Down, State::Init, State::Up][usize::from(state)],
            poll,
            fin,
            control_plane_independent: other,
            demand,
            multiplier: NonZeroU8::new(multiplier).expect("not 0"),
            my_discriminator: NonZeroU32::new(if other { 7 } else { 8 }).expect("not 0"),
            your_discriminator: NonZeroU32::new(u32::from(known)),
            desired_min_tx: Duration::from_micros(tx),
            required_min_rx: Duration::from_micros(rx),
            required_min_echo_rx: Duration::from_micros(echo),
        })
}

/// What a hostile neighbour may say, and how long it waits before.
fn some_packets() -> impl Strategy<Value = Vec<(u64, Packet)>> {
    prop::collection::vec((prop_oneof![Just(0u64), 0..2_000_000u64], some_packet()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(packet) = Packet::parse(&octets) {
            prop_assert_eq!(&packet.encode()[..], &octets[..24].iter().enumerate().map(|(at, octet)| if at == 3 { 24 } else { *octet }).collect::<Vec<_>>()[..]);
        }
    }

    #[test]
    fn two_come_up_over_a_link_that_loses_nothing(one in some_settings(), other in some_settings(), seed in 1..1000u32, delay in 0..20_000u64) {
        prop_assume!(!(one.passive && other.passive));
        let mut link = Link::new([&one, &other], seed);
        link.delay = Duration::from_micros(delay);
        // A packet a second, or as often as the slower one wants; one of them is spoken to first.
        let slowest = [one.transmit, one.receive, other.transmit, other.receive, SLOW].into_iter().max().expect("five");
        link.run_until(slowest * 2 + ms(200), |link| link.state(0) == State::Up && link.state(1) == State::Up);
        link.forget();
        link.run(slowest * 5);
        prop_assert!(link.ends.iter().all(|end| end.changes.is_empty()));
        prop_assert!(!link.shown(0).polling && !link.shown(1).polling);
        // §6.8.2, §6.8.3: never more often than agreed, less jitter.
        for (end, ours, theirs) in [(0, &one, &other), (1, &other, &one)] {
            let slow = link.shown(1 - end).echo == EchoSnapshot::Active;
            let agreed = ours.transmit.max(theirs.receive).max(if slow { SLOW } else { Duration::ZERO });
            link.forget();
            link.run(slowest * 3);
            let (agreed, gaps) = (agreed.mul_f64(0.7499), link.gaps(end));
            prop_assert!(gaps.iter().all(|gap| *gap >= agreed), "{gaps:?} of {agreed:?}");
        }
    }

    #[test]
    fn death_is_noticed_within_the_detection_time(one in some_settings(), other in some_settings(), seed in 1..1000u32, later in 0..3_000_000u64) {
        prop_assume!(!(one.passive && other.passive));
        let mut link = Link::new([&one, &other], seed);
        link.run(SECOND * 60 + Duration::from_micros(later));
        prop_assume!(link.state(0) == State::Up && !link.shown(0).polling);
        let (detection, death) = (link.detection(0), link.now);
        let interval = detection / u32::from(other.multiplier);
        let echo = link.shown(0).echo == EchoSnapshot::Active;
        link.forget();
        link.ends[1].process = Process::Paused;
        link.deaf[1] = true;
        link.run(detection + SECOND);
        let change = link.ends[0].changes[0];
        let time = change.at.saturating_since(death);
        prop_assert!(time <= detection + link.delay, "{time:?} of {detection:?}");
        if !echo {
            prop_assert_eq!(change.diag, Diag::EXPIRED);
            prop_assert!(time + interval >= detection, "{time:?} of {detection:?}");
        }
    }

    /// A link that loses a third never breaks a rule, and the session recovers when it loses nothing.
    #[test]
    fn loss_is_survived(one in some_settings(), other in some_settings(), seed in 1..1000u32) {
        prop_assume!(!(one.passive && other.passive));
        let mut link = Link::new([&one, &other], seed);
        link.loss = 0.35;
        link.run(SECOND * 30);
        link.loss = 0.0;
        link.run(SECOND * 100);
        prop_assert_eq!((link.state(0), link.state(1)), (State::Up, State::Up));
        prop_assert!(!link.shown(0).polling && !link.shown(1).polling);
    }

    /// Whatever a neighbour says: no panic, no P with F, no more than one packet for each of its own beside the periodic ones, and never a deadline that passes
    /// without effect.
    #[test]
    fn a_hostile_neighbor_costs_little(settings in some_settings(), said in some_packets(), seed in 1..1000u32) {
        let mut link = Link::new([&settings, &every(50)], seed);
        link.ends[1].process = Process::Paused;
        for (wait, packet) in said {
            link.run(Duration::from_micros(wait));
            let before = link.ends[0].sent.len();
            link.input(0, Input::Packet(&packet));
            prop_assert!(link.ends[0].sent.len() - before <= 1);
        }
        link.forget();
        link.run(SECOND);
        let periodic = SECOND.as_secs_f64() / (settings.transmit.as_secs_f64() * 0.75) + 3.0;
        prop_assert!((link.ends[0].sent.len() as f64) <= periodic, "{} packets", link.ends[0].sent.len());
    }
}
