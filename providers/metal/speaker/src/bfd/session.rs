//! One session: asynchronous mode of RFC 5880, and the echo function. Pure, sans-IO. Sections without a number of an RFC are of RFC 5880.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use causeway_metal::bgp::BfdSettings;
use serde::Serialize;

use super::echo::{self, Echo};
use super::packet::{self, Diag, Discarded, Packet, State};
use super::poll::Poll;
use crate::jitter::Jitter;
use crate::moment::Moment;

/// The least interval at which a session sends that is not Up, and at which one wants to hear control packets while echo packets watch the path (§6.8.3).
pub const SLOW: Duration = Duration::from_secs(1);

/// What a session is given at its start.
#[derive(Debug, Clone)]
pub struct Start {
    /// How it is to run.
    pub settings: BfdSettings,
    /// Our name for it: random, and unlike that of every other session of this node (§6.8.1).
    pub discriminator: NonZeroU32,
    /// Whether the neighbour may be further away than one hop (RFC 5883): then there is no echo function.
    pub multihop: bool,
    /// Whether this node forwards packets, so that the neighbour's echo packets come back to it.
    pub loops: bool,
    /// Random: what makes our echo packets known as ours.
    pub cookie: u64,
    /// Spreads what is periodic.
    pub seed: u64,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A packet came in that was selected for this session. All that wait in the socket are to be handed in before an [`Input::Tick`].
    Packet(&'a Packet),
    /// An echo packet came back: its payload. The same holds for these.
    Echo(&'a [u8]),
    /// [`Session::next_deadline`] has come.
    Tick,
    /// It is to run like this from now on.
    Settings(&'a BfdSettings),
    /// The session ends: the neighbour is told that this says nothing about the path (§6.8.16).
    Stop,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the neighbour's BFD.
    Send([u8; packet::LENGTH]),
    /// Send this such that the neighbour's forwarding plane sends it back.
    SendEcho([u8; echo::LENGTH]),
    /// The state has changed.
    Changed {
        /// From this.
        from: State,
        /// To this.
        to: State,
        /// Why.
        diag: Diag,
        /// The neighbour has switched BFD off: no reason to think anything about the path (RFC 5882 §3.2).
        withdrawn: bool,
    },
    /// The packet changed nothing.
    Discarded(Discarded),
    /// By how much this process was late, if that was so much that the neighbour's silence proves nothing.
    Stalled(Duration),
}

/// What is known of the neighbour (§6.8.1), from its last packet. Forgotten when its time is over.
#[derive(Debug, Clone, Copy)]
struct Remote {
    discriminator: Option<NonZeroU32>,
    state: State,
    diag: Diag,
    multiplier: u8,
    desired_min_tx: Duration,
    required_min_rx: Duration,
    required_min_echo_rx: Duration,
    demand: bool,
}

impl Remote {
    const UNKNOWN: Remote = Remote {
        discriminator: None,
        state: State::Down,
        diag: Diag::NONE,
        multiplier: 0,
        desired_min_tx: Duration::ZERO,
        required_min_rx: Duration::from_micros(1),
        required_min_echo_rx: Duration::ZERO,
        demand: false,
    };
}

/// What a packet says of us, but for P and F. One that differs is sent at once (§6.8.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Announced {
    state: State,
    diag: Diag,
    multiplier: NonZeroU8,
    desired_min_tx: Duration,
    required_min_rx: Duration,
    required_min_echo_rx: Duration,
}

/// A session, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSnapshot {
    /// Our state.
    pub state: State,
    /// Why it changed last.
    pub diag: Diag,
    /// The neighbour's state, as it says.
    pub remote_state: State,
    /// Why that changed last.
    pub remote_diag: Diag,
    /// Our name for the session.
    pub discriminator: NonZeroU32,
    /// The neighbour's, if it is heard.
    pub remote_discriminator: Option<NonZeroU32>,
    /// Time between our packets before jitter, in microseconds.
    pub transmit_us: u64,
    /// The silence that takes the session down, in microseconds; nothing while the neighbour is not heard.
    pub detection_us: Option<u64>,
    /// Microseconds since a packet came; nothing while the neighbour is not heard.
    pub silent_us: Option<u64>,
    /// A change of timers that the neighbour has not confirmed.
    pub polling: bool,
    /// The echo function.
    pub echo: EchoSnapshot,
}

/// The echo function, for people to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EchoSnapshot {
    /// Not configured.
    Off,
    /// The session is not Up.
    Waiting,
    /// The neighbour says that it does not loop packets; control packets watch the path at the full rate.
    NotOffered,
    /// None has come back yet. Control packets watch the path at the full rate.
    Unanswered,
    /// They come back, and watch the path.
    Active,
}

/// The state of a session.
#[derive(Debug)]
pub struct Session {
    settings: BfdSettings,
    discriminator: NonZeroU32,
    multihop: bool,
    loops: bool,
    jitter: Jitter,
    state: State,
    diag: Diag,
    remote: Remote,
    /// bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval, as announced; and as they are applied until the neighbour has confirmed them.
    desired_min_tx: Duration,
    required_min_rx: Duration,
    applied_min_tx: Duration,
    applied_min_rx: Duration,
    poll: Poll,
    /// When the neighbour was heard last, and from when on its silence counts.
    heard: Option<Moment>,
    silent_since: Moment,
    /// Its silence was forgiven once since it was heard.
    pardoned: bool,
    since: Moment,
    /// When the last periodic packet went out, and how long after it the next is due, as a part of the interval.
    sent: Option<(Moment, f64)>,
    announced: Option<Announced>,
    answer: bool,
    echo: Echo,
    /// The session stays Down until then.
    held: Option<Moment>,
    /// Stopped: until when this is said.
    farewell: Option<Moment>,
}

impl Session {
    /// A session that is Down and, unless it is passive, begins to say so.
    pub fn new(start: Start, now: Moment) -> Self {
        let Start { settings, discriminator, multihop, loops, cookie, seed } = start;
        let (desired_min_tx, required_min_rx) = (settings.transmit.max(SLOW), settings.receive);
        Session {
            settings,
            discriminator,
            multihop,
            loops,
            jitter: Jitter::new(seed),
            state: State::Down,
            diag: Diag::NONE,
            remote: Remote::UNKNOWN,
            desired_min_tx,
            required_min_rx,
            applied_min_tx: desired_min_tx,
            applied_min_rx: required_min_rx,
            poll: Poll::new(),
            heard: None,
            silent_since: now,
            pardoned: false,
            since: now,
            sent: None,
            announced: None,
            answer: false,
            echo: Echo::new(discriminator, cookie),
            held: None,
            farewell: None,
        }
    }

    /// Takes one input. The only way in which anything changes.
    pub fn handle(&mut self, input: Input<'_>, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Packet(packet) => {
                if let Err(reason) = self.receive(packet, now, &mut out) {
                    out.push(Output::Discarded(reason));
                }
            }
            Input::Echo(octets) => {
                if let Err(reason) = self.echo.receive(octets) {
                    out.push(Output::Discarded(reason));
                }
            }
            // Silence is judged only once all that waits has been read, which the caller promises for a tick.
            Input::Tick => self.tick(now, &mut out),
            Input::Settings(settings) => self.settings.clone_from(settings),
            Input::Stop => self.stop(now, &mut out),
        }
        self.settle(now, &mut out);
        out
    }

    /// When [`Self::handle`] is to be called with [`Input::Tick`] at the latest. Nothing while there is nothing to wait for: a passive session whose neighbour
    /// is silent, or one that was stopped and has said so.
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.stopped() {
            return None;
        }
        let (due, lost) = self.echo_interval().map_or((None, None), |interval| {
            (self.echo.due(interval), self.echo.lost_at(interval, self.settings.multiplier))
        });
        [self.transmit_due(), self.expiry(), due, lost, self.farewell].into_iter().flatten().min()
    }

    /// Whether it was stopped and the neighbour knows, or had the time to notice.
    pub fn stopped(&self) -> bool {
        self.state == State::AdminDown && self.farewell.is_none()
    }

    /// Our state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The session, for people to look at.
    pub fn snapshot(&self, now: Moment) -> SessionSnapshot {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        SessionSnapshot {
            state: self.state,
            diag: self.diag,
            remote_state: self.remote.state,
            remote_diag: self.remote.diag,
            discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            transmit_us: micros(self.transmit_interval()),
            detection_us: self.heard.map(|_| micros(self.detection_time())),
            silent_us: self.heard.map(|heard| micros(now.saturating_since(heard))),
            polling: self.poll.is_open(),
            echo: match (self.settings.echo.filter(|_| !self.multihop), self.echo_interval()) {
                (None, _) => EchoSnapshot::Off,
                (Some(_), Some(_)) if self.echo.proven() => EchoSnapshot::Active,
                (Some(_), Some(_)) => EchoSnapshot::Unanswered,
                (Some(_), None) if self.state == State::Up => EchoSnapshot::NotOffered,
                (Some(_), None) => EchoSnapshot::Waiting,
            },
        }
    }

    /// The part of §6.8.6 that needs the session, in that section's order.
    fn receive(&mut self, packet: &Packet, now: Moment, out: &mut Vec<Output>) -> Result<(), Discarded> {
        self.remote = Remote {
            discriminator: Some(packet.my_discriminator),
            state: packet.state,
            diag: packet.diag,
            multiplier: packet.multiplier.get(),
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            required_min_echo_rx: packet.required_min_echo_rx,
            demand: packet.demand,
        };
        if self.poll.received(packet.fin, now) {
            (self.applied_min_tx, self.applied_min_rx) = (self.desired_min_tx, self.required_min_rx);
        }
        if self.state == State::AdminDown {
            // It knows, or was down before.
            if matches!(packet.state, State::Down | State::AdminDown) {
                self.farewell = None;
            }
            return Err(Discarded::AdminDown);
        }
        self.heard = Some(now);
        self.silent_since = now;
        self.pardoned = false;
        self.held = self.held.filter(|until| *until > now);
        match (self.state, packet.state) {
            (State::Down, State::AdminDown) => {}
            (State::Down, _) if self.held.is_some() => {}
            (_, State::AdminDown) => self.enter(State::Down, Diag::NEIGHBOR_DOWN, out),
            // What took the session down is told until it is up again.
            (State::Down, State::Down) => self.enter(State::Init, self.diag, out),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(State::Up, Diag::NONE, out);
            }
            (State::Up, State::Down) => self.enter(State::Down, Diag::NEIGHBOR_DOWN, out),
            (State::Down, State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up)
            | (State::AdminDown, _) => {}
        }
        self.answer |= packet.poll;
        Ok(())
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        let late = self.next_deadline().map_or(Duration::ZERO, |deadline| now.saturating_since(deadline));
        if self.farewell.is_some_and(|until| until <= now) {
            self.farewell = None;
        }
        if self.expiry().is_some_and(|expiry| expiry <= now) {
            self.expire(late, now, out);
        }
        if let Some(interval) = self.echo_interval() {
            let multiplier = self.settings.multiplier;
            if self.echo.lost_at(interval, multiplier).is_some_and(|lost| lost <= now) {
                // §6.8.5
                self.enter(State::Down, Diag::ECHO_FAILED, out);
                self.held = Some(now + self.echo.fail());
            } else if self.echo.due(interval).is_some_and(|due| due <= now) {
                let part = self.part();
                out.push(Output::SendEcho(self.echo.send(now, part, multiplier)));
            }
        }
        self.settle(now, out);
        if self.transmit_due().is_some_and(|due| due <= now) {
            self.send_periodic(now, out);
        }
    }

    /// Nothing was heard for the detection time (§6.8.4).
    fn expire(&mut self, late: Duration, now: Moment, out: &mut Vec<Output>) {
        // If this process was not run for as long as it takes the neighbour to send a packet, then what it sent may be lost: a machine that was paused. Once,
        // so that a machine that is slow all the time does not keep a dead neighbour.
        if late >= self.remote_interval() && !self.pardoned && self.state != State::Down {
            self.pardoned = true;
            self.silent_since = now;
            out.push(Output::Stalled(late));
            return;
        }
        self.heard = None;
        // §6.8.1 has this for the discriminator; the rest is as outdated. A neighbour that said it wants to hear nothing may be another one when it returns.
        self.remote = Remote::UNKNOWN;
        (self.applied_min_tx, self.applied_min_rx) = (self.desired_min_tx, self.required_min_rx);
        self.poll = Poll::new();
        if matches!(self.state, State::Init | State::Up) {
            self.enter(State::Down, Diag::EXPIRED, out);
        }
    }

    /// §6.8.16. The neighbour is told until it is down as well, or for as long as it could take us for dead.
    fn stop(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.state == State::AdminDown {
            return;
        }
        let known = self.remote.discriminator.is_some();
        let detection = self.transmit_interval() * u32::from(self.settings.multiplier);
        self.enter(State::AdminDown, Diag::ADMIN_DOWN, out);
        // At least so long that it can be said twice.
        self.farewell = known.then(|| now + detection.max(SLOW));
    }

    fn enter(&mut self, to: State, diag: Diag, out: &mut Vec<Output>) {
        let withdrawn = self.remote.state == State::AdminDown;
        out.push(Output::Changed { from: self.state, to, diag, withdrawn });
        self.state = to;
        self.diag = diag;
    }

    /// Makes follow what follows from a change, and tells it.
    fn settle(&mut self, now: Moment, out: &mut Vec<Output>) {
        match self.echo_interval() {
            Some(_) => self.echo.start(now),
            None => self.echo.stop(),
        }
        self.renegotiate();
        self.poll.proceed(now);
        if std::mem::take(&mut self.answer) {
            // §6.5, §6.8.7: as soon as possible, whatever the timer and the state, and beside the periodic ones.
            let fin = self.packet(true);
            out.push(Output::Send(fin.encode()));
        } else if self.announced.is_some_and(|announced| announced != self.announcement()) {
            self.send_periodic(now, out);
        }
    }

    /// §6.8.3.
    fn renegotiate(&mut self) {
        let BfdSettings { transmit, receive, .. } = self.settings;
        let up = self.state == State::Up;
        let tx = if up { transmit } else { transmit.max(SLOW) };
        let echoes = self.echo_interval().is_some() && self.echo.proven();
        let rx = if echoes { receive.max(SLOW) } else { receive };
        if (tx, rx) == (self.desired_min_tx, self.required_min_rx) {
            return;
        }
        (self.desired_min_tx, self.required_min_rx) = (tx, rx);
        if self.remote.discriminator.is_none() {
            // It will learn it from the first packet.
            (self.applied_min_tx, self.applied_min_rx) = (tx, rx);
            return;
        }
        // While Up, the neighbour must know before we send less often. It must know in any state that it is to send more often before we are less patient: when
        // echo packets stop, the session is not Up, and the neighbour still sends once a second.
        self.applied_min_tx = if up { self.applied_min_tx.min(tx) } else { tx };
        self.applied_min_rx = self.applied_min_rx.max(rx);
        self.poll.request();
    }

    /// §6.8.7, §6.8.3.
    fn transmit_interval(&self) -> Duration {
        self.applied_min_tx.max(self.remote.required_min_rx)
    }

    /// The interval at which the neighbour sends, as agreed (§6.8.4).
    fn remote_interval(&self) -> Duration {
        self.applied_min_rx.max(self.remote.desired_min_tx)
    }

    /// §6.8.4.
    fn detection_time(&self) -> Duration {
        self.remote_interval() * u32::from(self.remote.multiplier)
    }

    fn expiry(&self) -> Option<Moment> {
        self.heard
            .filter(|_| self.state != State::AdminDown)
            .map(|_| self.silent_since + self.detection_time())
    }

    /// When the next periodic packet is to be sent; nothing while none may be (§6.8.7).
    fn transmit_due(&self) -> Option<Moment> {
        let Remote { discriminator, required_min_rx, demand, state, .. } = self.remote;
        let unasked = self.settings.passive && discriminator.is_none();
        let demanded = demand && self.state == State::Up && state == State::Up;
        if unasked || required_min_rx.is_zero() || (demanded && !self.poll.asks()) || self.stopped() {
            return None;
        }
        Some(self.sent.map_or(self.since, |(sent, part)| sent + self.transmit_interval().mul_f64(part)))
    }

    /// How long to wait for the next packet, as a part of the interval (§6.8.7).
    fn part(&mut self) -> f64 {
        let most = if self.settings.multiplier == 1 { 0.9 } else { 1.0 };
        0.75 + (most - 0.75) * self.jitter.fraction()
    }

    fn send_periodic(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.sent = Some((now, self.part()));
        let packet = self.packet(false);
        self.poll.asked(now);
        out.push(Output::Send(packet.encode()));
    }

    /// §6.8.7.
    fn packet(&mut self, fin: bool) -> Packet {
        let announced = self.announcement();
        self.announced = Some(announced);
        let Announced { state, diag, multiplier, desired_min_tx, required_min_rx, required_min_echo_rx } =
            announced;
        Packet {
            diag,
            state,
            poll: !fin && self.poll.asks(),
            fin,
            // When this process goes, so do its sessions.
            control_plane_independent: false,
            demand: false,
            multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx,
            required_min_rx,
            required_min_echo_rx,
        }
    }

    fn announcement(&self) -> Announced {
        let looped = self.settings.echo.filter(|_| self.loops && !self.multihop);
        Announced {
            state: self.state,
            diag: self.diag,
            multiplier: NonZeroU8::new(self.settings.multiplier).unwrap_or(NonZeroU8::MIN),
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: looped.unwrap_or(Duration::ZERO),
        }
    }

    /// How often echo packets are to be sent, while they are (§6.8.9).
    fn echo_interval(&self) -> Option<Duration> {
        let offered = self.remote.required_min_echo_rx;
        let may = self.state == State::Up && !self.multihop && !offered.is_zero();
        self.settings.echo.filter(|_| may).map(|wanted| wanted.max(offered))
    }
}
