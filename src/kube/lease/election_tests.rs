//! Rules one by one, then two or three candidates against an API server that loses requests and answers, with clocks that
//! differ and run unequally fast, processes that are suspended or killed, and releases.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);
const D: Duration = Duration::from_secs(8);

fn timing() -> Timing {
    Timing::kubernetes(D)
}

fn view(version: &str, holder: Option<&str>, transitions: u32) -> View {
    View { version: version.into(), holder: holder.map(Into::into), duration: 15 * S, transitions }
}

/// A candidate that created the Lease at second 100.
fn leader() -> Election {
    let mut e = Election::new("me", timing());
    assert_eq!(e.step(100 * S), Decision::Read);
    e.answer(&Decision::Read, 100 * S, 100 * S, Answer::Absent);
    let create = e.step(100 * S);
    assert_eq!(create, Decision::Create { transitions: 0 });
    e.answer(&create, 100 * S, 101 * S, Answer::Lease(view("1", Some("me"), 0)));
    e
}

#[test]
fn limits_that_leave_no_time_to_write_are_refused() {
    assert_eq!(timing().check(), Ok(()));
    assert!(Timing::kubernetes(11 * S).check().is_err_and(|m| m.contains("write deadline")));
    assert!(Timing { renew_deadline: 15 * S, ..timing() }.check().is_err());
    assert!(Timing { retry_period: 10 * S, ..timing() }.check().is_err());
    assert!(Timing { retry_period: Duration::ZERO, ..timing() }.check().is_err());
    assert!(Timing { lease_duration: Duration::from_millis(15_500), ..timing() }.check().is_err());
}

#[test]
fn a_fresh_lease_lets_write_at_once_until_expiry_less_d() {
    let w = leader().window(101 * S).expect("leads");
    assert_eq!((w.epoch, w.released, w.not_before, w.not_after), (1, true, 100 * S, (115 - 8) * S));
    assert_eq!(w.remaining(106 * S), S);
    assert_eq!(w.remaining(107 * S), Duration::ZERO);
}

#[test]
fn the_lease_counts_from_when_the_renewal_was_sent() {
    let mut e = leader();
    let renew = e.step(102 * S);
    assert_eq!(renew, Decision::Hold { version: "1".into(), transitions: 0 });
    e.answer(&renew, 102 * S, 106 * S, Answer::Lease(view("2", Some("me"), 0)));
    assert_eq!(e.window(106 * S).map(|w| w.not_after), Some((102 + 15 - 8) * S));
}

#[test]
fn a_leader_that_cannot_renew_steps_down_at_its_deadline() {
    let mut e = leader();
    let renew = e.step(102 * S);
    e.answer(&renew, 102 * S, 107 * S, Answer::Failed);
    assert!(e.window(Duration::from_millis(109_999)).is_some());
    assert!(e.window(110 * S).is_none());
    assert_eq!(e.step(110 * S), Decision::Hold { version: "1".into(), transitions: 1 });
}

#[test]
fn a_leader_that_sees_another_holder_steps_down_at_once() {
    let mut e = leader();
    let renew = e.step(102 * S);
    e.answer(&renew, 102 * S, 102 * S, Answer::Conflict);
    assert_eq!(e.step(102 * S), Decision::Read);
    e.answer(&Decision::Read, 102 * S, 103 * S, Answer::Lease(view("9", Some("other"), 1)));
    assert!(e.window(103 * S).is_none());
}

#[test]
fn a_renewal_whose_answer_was_lost_is_found_again() {
    let mut e = leader();
    let renew = e.step(102 * S);
    e.answer(&renew, 102 * S, 104 * S, Answer::Failed);
    let again = e.step(105 * S);
    e.answer(&again, 105 * S, 105 * S, Answer::Conflict);
    e.answer(&Decision::Read, 105 * S, 105 * S, Answer::Lease(view("2", Some("me"), 0)));
    let third = e.step(105 * S);
    assert_eq!(third, Decision::Hold { version: "2".into(), transitions: 0 });
    e.answer(&third, 105 * S, 106 * S, Answer::Lease(view("3", Some("me"), 0)));
    assert_eq!(e.window(106 * S).map(|w| (w.epoch, w.not_after)), Some((1, (105 + 15 - 8) * S)));
}

#[test]
fn expiry_counts_from_when_we_saw_the_change_and_writes_wait_d_more() {
    let mut e = Election::new("me", timing());
    e.answer(&Decision::Read, 50 * S, 51 * S, Answer::Lease(view("4", Some("other"), 6)));
    assert_eq!(e.step(51 * S), Decision::Wait(Duration::from_millis(51_500)));
    assert_eq!(e.step(52 * S), Decision::Read);
    // A failed read and the same version again change nothing of it.
    e.answer(&Decision::Read, 52 * S, 53 * S, Answer::Failed);
    e.answer(&Decision::Read, 54 * S, 54 * S, Answer::Lease(view("4", Some("other"), 6)));
    e.answer(&Decision::Read, 65 * S, 65 * S, Answer::Lease(view("4", Some("other"), 6)));
    assert_eq!(e.step(65 * S), Decision::Wait(Duration::from_millis(65_500)));
    let take = e.step(66 * S);
    assert_eq!(take, Decision::Hold { version: "4".into(), transitions: 7 });
    e.answer(&take, 66 * S, 67 * S, Answer::Lease(view("5", Some("me"), 7)));
    let w = e.window(67 * S).expect("leads");
    assert_eq!((w.epoch, w.released, w.not_before), (8, false, (66 + 8) * S));
    assert_eq!(w.remaining(70 * S), Duration::ZERO);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut e = Election::new("me", timing());
    e.answer(&Decision::Read, 50 * S, 50 * S, Answer::Lease(view("4", Some("other"), 6)));
    e.answer(&Decision::Read, 51 * S, 51 * S, Answer::Lease(view("5", None, 6)));
    let take = e.step(51 * S);
    assert_eq!(take, Decision::Hold { version: "5".into(), transitions: 7 });
    e.answer(&take, 51 * S, 51 * S, Answer::Lease(view("6", Some("me"), 7)));
    let w = e.window(51 * S).expect("leads");
    assert!(w.released && w.not_before == 51 * S);
}

#[test]
fn a_lease_deleted_under_a_holder_that_we_saw_is_waited_out() {
    let mut e = Election::new("me", timing());
    e.answer(&Decision::Read, 50 * S, 50 * S, Answer::Lease(view("4", Some("other"), 6)));
    e.answer(&Decision::Read, 51 * S, 51 * S, Answer::Absent);
    assert_eq!(e.step(51 * S), Decision::Wait(65 * S));
    let create = e.step(65 * S);
    assert_eq!(create, Decision::Create { transitions: 7 });
    e.answer(&create, 65 * S, 65 * S, Answer::Lease(view("1", Some("me"), 7)));
    assert_eq!(e.window(65 * S).map(|w| (w.epoch, w.not_before)), Some((8, 73 * S)));
}

#[test]
fn a_deleted_lease_ends_the_holders_term() {
    let mut e = leader();
    let renew = e.step(102 * S);
    e.answer(&renew, 102 * S, 102 * S, Answer::Absent);
    assert!(e.window(102 * S).is_none());
}

#[test]
fn release_gives_back_only_what_is_ours() {
    let mut e = leader();
    e.release();
    assert!(e.window(102 * S).is_none());
    let release = e.step(102 * S);
    assert_eq!(release, Decision::Release { version: "1".into() });
    e.answer(&release, 102 * S, 102 * S, Answer::Lease(view("2", None, 0)));
    assert_eq!(e.step(102 * S), Decision::Finished);

    let mut other = Election::new("me", timing());
    other.answer(&Decision::Read, 50 * S, 50 * S, Answer::Lease(view("4", Some("other"), 6)));
    other.release();
    assert_eq!(other.step(50 * S), Decision::Finished);
}

// ---- simulation ----

const TICK: Duration = Duration::from_millis(50);

/// The API server: one Lease.
#[derive(Default)]
struct Server {
    version: u64,
    lease: Option<View>,
}

impl Server {
    fn put(&mut self, holder: Option<&str>, transitions: u32) -> Answer {
        self.version += 1;
        let v = view(&self.version.to_string(), holder, transitions);
        self.lease = Some(v.clone());
        Answer::Lease(v)
    }

    fn serve(&mut self, me: &str, decision: &Decision) -> Answer {
        match decision {
            Decision::Read => self.lease.clone().map_or(Answer::Absent, Answer::Lease),
            Decision::Create { transitions } => {
                if self.lease.is_some() {
                    Answer::Conflict
                } else {
                    self.put(Some(me), *transitions)
                }
            }
            Decision::Hold { version, .. } | Decision::Release { version } => match self.lease.clone() {
                None => Answer::Absent,
                Some(there) if there.version != *version => Answer::Conflict,
                Some(there) => match decision {
                    Decision::Hold { transitions, .. } => self.put(Some(me), *transitions),
                    _ => self.put(None, there.transitions),
                },
            },
            Decision::Wait(_) | Decision::Finished => unreachable!("not a request"),
        }
    }
}

struct Flight {
    decision: Decision,
    /// By the candidate's own clock.
    sent: Moment,
    gives_up: Moment,
    /// In true time; `None`: lost on the way.
    arrives: Option<Duration>,
    answer: Option<Answer>,
    answers: Option<Duration>,
}

struct Candidate {
    name: String,
    election: Election,
    offset: Duration,
    /// Parts per million by which its clock is fast or slow.
    ppm: i64,
    flight: Option<Flight>,
    suspended_until: Duration,
    dead: bool,
    released: bool,
}

impl Candidate {
    fn clock(&self, now: Duration) -> Moment {
        let drift = now.as_nanos() as i128 * i128::from(self.ppm) / 1_000_000;
        self.offset + Duration::from_nanos(u64::try_from(now.as_nanos() as i128 + drift).unwrap_or(0))
    }
}

/// What happens to whom.
#[derive(Clone, Debug)]
enum Fault {
    Suspend(usize, u64),
    Kill(usize),
    Release(usize),
    /// Every request or answer in this many milliseconds is lost.
    Outage(u64),
}

#[derive(Clone, Debug)]
struct Script {
    clocks: Vec<(u64, i64)>,
    /// True time in milliseconds and what happens then.
    faults: Vec<(u64, Fault)>,
    /// Latencies in milliseconds there and back; 0 there or back: lost.
    latencies: Vec<(u16, u16)>,
}

fn script(lossy: bool) -> impl Strategy<Value = Script> {
    let clocks = prop::collection::vec((0..1_000_000_u64, -300..300_i64), 2..4);
    let fault = prop_oneof![
        3 => (0..3_usize, 100..60_000_u64).prop_map(|(i, ms)| Fault::Suspend(i, ms)),
        1 => (0..3_usize).prop_map(Fault::Kill),
        1 => (0..3_usize).prop_map(Fault::Release),
        2 => (100..30_000_u64).prop_map(Fault::Outage),
    ];
    let faults = prop::collection::vec((0..150_000_u64, fault), 0..12);
    let latency = if lossy {
        prop_oneof![6 => 1..400_u16, 1 => 400..6_000_u16, 1 => Just(0_u16)].boxed()
    } else {
        (1..200_u16).boxed()
    };
    let latencies = prop::collection::vec((latency.clone(), latency), 40..80);
    (clocks, faults, latencies).prop_map(|(clocks, mut faults, latencies)| {
        faults.sort_by_key(|(at, _)| *at);
        Script { clocks, faults, latencies }
    })
}

struct World {
    now: Duration,
    server: Server,
    candidates: Vec<Candidate>,
    latencies: VecDeque<(u16, u16)>,
    outage_until: Duration,
    /// Requests whose sender has given them up: when they arrive, of whom, what.
    stray: Vec<(Duration, String, Decision)>,
    /// Epoch and true time of the last start of a write, by candidate.
    last_write: Option<(u64, usize, Duration)>,
}

impl World {
    fn new(script: &Script) -> Self {
        let candidates = script
            .clocks
            .iter()
            .enumerate()
            .map(|(i, (offset, ppm))| Candidate {
                name: format!("c{i}"),
                election: Election::new(format!("c{i}"), timing()),
                offset: Duration::from_millis(*offset),
                ppm: *ppm,
                flight: None,
                suspended_until: Duration::ZERO,
                dead: false,
                released: false,
            })
            .collect();
        Self {
            now: Duration::ZERO,
            server: Server::default(),
            candidates,
            latencies: script.latencies.clone().into(),
            outage_until: Duration::ZERO,
            stray: Vec::new(),
            last_write: None,
        }
    }

    fn fault(&mut self, fault: &Fault) {
        let n = self.candidates.len();
        match fault {
            Fault::Suspend(i, ms) => {
                self.candidates[i % n].suspended_until = self.now + Duration::from_millis(*ms)
            }
            Fault::Kill(i) => self.candidates[i % n].dead = true,
            Fault::Release(i) => {
                let c = &mut self.candidates[i % n];
                // A release comes after the drain: what it had started has ended.
                let drained = self.last_write.is_none_or(|(_, who, at)| who != i % n || self.now >= at + D);
                if drained && !c.dead && self.now >= c.suspended_until && !c.released {
                    c.released = true;
                    if let Some(f) = c.flight.take().filter(|f| f.answer.is_none())
                        && let Some(at) = f.arrives
                    {
                        self.stray.push((at, c.name.clone(), f.decision));
                    }
                    c.election.release();
                }
            }
            Fault::Outage(ms) => self.outage_until = self.now + Duration::from_millis(*ms),
        }
    }

    /// The index of who may write now, if anybody may.
    fn writers(&mut self) -> Vec<(usize, u64)> {
        let now = self.now;
        let mut out = Vec::new();
        for (i, c) in self.candidates.iter_mut().enumerate() {
            if c.dead || now < c.suspended_until {
                continue;
            }
            let local = c.clock(now);
            if let Some(w) = c.election.window(local)
                && !w.remaining(local).is_zero()
            {
                out.push((i, w.epoch));
            }
        }
        out
    }

    fn tick(&mut self) {
        self.now += TICK;
        let now = self.now;
        for (_, name, decision) in self.stray.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
            self.server.serve(&name, &decision);
        }
        for c in &mut self.candidates {
            // Requests arrive whether or not their sender is still there.
            if let Some(f) = &mut c.flight
                && f.answer.is_none()
                && f.arrives.is_some_and(|at| at <= now)
            {
                f.answer = Some(self.server.serve(&c.name, &f.decision));
            }
            if c.dead || now < c.suspended_until {
                continue;
            }
            let local = c.clock(now);
            if let Some(f) = &c.flight {
                let answered = f.answer.is_some() && f.answers.is_some_and(|at| at <= now);
                if !answered && local < f.gives_up {
                    continue;
                }
                let Some(f) = c.flight.take() else { continue };
                let answer = match f.answer {
                    Some(answer) if answered => answer,
                    None if f.arrives.is_some() => {
                        // Given up, but still under way: it arrives when its sender no longer expects it.
                        self.stray.push((f.arrives.unwrap_or(now), c.name.clone(), f.decision.clone()));
                        Answer::Failed
                    }
                    _ => Answer::Failed,
                };
                c.election.answer(&f.decision, f.sent, local, answer);
            }
            match c.election.step(local) {
                Decision::Wait(_) | Decision::Finished => {}
                decision => {
                    let (there, back) = self.latencies.pop_front().unwrap_or((1, 1));
                    self.latencies.push_back((there, back));
                    let out = now < self.outage_until;
                    let arrives = (there > 0 && !out).then(|| now + Duration::from_millis(there.into()));
                    let answers =
                        arrives.filter(|_| back > 0).map(|at| at + Duration::from_millis(back.into()));
                    let gives_up = local + c.election.patience(local);
                    c.flight =
                        Some(Flight { decision, sent: local, gives_up, arrives, answer: None, answers });
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A write that an old leader started has ended (D after its start) before a successor starts its first.
    #[test]
    fn no_two_leaders_writes_overlap(script in script(true)) {
        let mut world = World::new(&script);
        let mut faults = script.faults.iter().peekable();
        while world.now < Duration::from_secs(200) {
            while let Some((_, fault)) = faults.next_if(|(at, _)| Duration::from_millis(*at) <= world.now) {
                world.fault(fault);
            }
            world.tick();
            let writers = world.writers();
            prop_assert!(writers.len() <= 1, "at {:?} these may write: {writers:?}", world.now);
            if let Some((who, epoch)) = writers.first().copied() {
                if let Some((old_epoch, old, at)) = world.last_write
                    && old != who
                {
                    prop_assert!(epoch > old_epoch, "epoch {epoch} of c{who} after {old_epoch} of c{old}");
                    prop_assert!(at + D <= world.now, "c{old} wrote at {at:?}, c{who} at {:?}", world.now);
                }
                world.last_write = Some((epoch, who, world.now));
            }
        }
    }

    /// After a leader is killed another leads within lease duration + 2 retry periods.
    #[test]
    fn a_killed_leader_is_followed_in_time(script in script(false), kill_ms in 5_000..40_000_u64) {
        let mut world = World::new(&Script { faults: vec![], ..script });
        let mut killed = None;
        while world.now < Duration::from_secs(90) {
            world.tick();
            let now = world.now;
            let leader = (0..world.candidates.len()).find(|i| {
                let local = world.candidates[*i].clock(now);
                !world.candidates[*i].dead && world.candidates[*i].election.window(local).is_some()
            });
            match (killed, leader) {
                (None, Some(i)) if now >= Duration::from_millis(kill_ms) => {
                    world.candidates[i].dead = true;
                    world.candidates[i].flight = None;
                    killed = Some(now);
                }
                (Some(at), Some(_)) => {
                    let limit = timing().lease_duration + 2 * timing().retry_period;
                    prop_assert!(now - at <= limit, "{:?} after the kill", now - at);
                    return Ok(());
                }
                _ => {}
            }
        }
        prop_assert!(false, "nobody followed");
    }

    /// After a release another leads, and may write, within 2 s.
    #[test]
    fn a_released_lease_is_taken_in_time(script in script(false), release_ms in 5_000..40_000_u64) {
        let mut world = World::new(&Script { faults: vec![], ..script });
        let mut released = None;
        while world.now < Duration::from_secs(90) {
            world.tick();
            let now = world.now;
            match (released, world.writers().first()) {
                (None, Some((i, _))) if now >= Duration::from_millis(release_ms) => {
                    let c = &mut world.candidates[*i];
                    c.flight = None;
                    c.released = true;
                    c.election.release();
                    released = Some(now);
                }
                (Some(at), Some(_)) => {
                    // The release itself is one request.
                    let limit = Duration::from_millis(2_000);
                    prop_assert!(now - at <= limit, "{:?} after the release", now - at);
                    return Ok(());
                }
                _ => {}
            }
        }
        prop_assert!(false, "nobody followed");
    }
}
