//! Sockets and clocks: a plan is carried out on one thread.
//!
//! Nothing blocks but one wait: epoll over every connection, a timer with an absolute deadline,
//! and a wake by which another thread stops the run. Deadlines count from one origin, so a late
//! send does not move the ones after it. All due sends of a connection leave in one write.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use meshproof_sys::clock::Nanos;
use meshproof_sys::poll::{Interest, Poll, Token};
use meshproof_sys::timer::{Timer, sharpen_timers_of_this_thread};
use meshproof_sys::wake::Wake;
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::{Frame, RequestId};

use super::book::{Book, Heard, Link};
use super::outcome::{Loss, Run, Stop, Unsent};
use super::pace::Pace;
use super::plan::Plan;
use crate::idiom;

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The pace that the plan was made for.
    pub pace: Pace,
    /// Requests of one connection that may wait for an answer ([`Pace::Window`] only).
    pub window: NonZeroUsize,
    /// A connection on which nothing was sent for this long gets a heartbeat.
    pub heartbeat_ms: u32,
    /// Connections open at a time.
    pub open_max: NonZeroUsize,
    /// Attempts to connect, or connections lost under way without an answer, before the rest of
    /// a connection's requests is given up.
    pub attempts_max: u32,
    /// How long a connect may take.
    pub connect_ms: u32,
    /// How long to listen for surplus answers after the last one, where the server keeps its side
    /// open.
    pub linger_ms: u32,
}

impl Settings {
    /// A window of 64, heartbeats after 15 s (SOFABolt's default), 1,000 connections, 3 attempts
    /// of 3 s, and 250 ms at the end.
    pub fn usual(pace: Pace) -> Settings {
        Settings {
            pace,
            window: NonZeroUsize::MIN.saturating_add(63),
            heartbeat_ms: 15_000,
            open_max: NonZeroUsize::MIN.saturating_add(999),
            attempts_max: 3,
            connect_ms: 3_000,
            linger_ms: 250,
        }
    }
}

/// How other threads follow a run, and stop it.
#[derive(Debug)]
pub struct Control {
    wake: Wake,
    sent: AtomicU64,
    done: AtomicU64,
}

impl Control {
    /// For one run. Fails when the process has no descriptor left.
    pub fn new() -> io::Result<Control> {
        Ok(Control {
            wake: Wake::new()?,
            sent: AtomicU64::new(0),
            done: AtomicU64::new(0),
        })
    }

    /// Sends nothing further, and ends once what was sent is answered or timed out.
    pub fn stop(&self) {
        self.wake.raise();
    }

    /// Requests sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Requests that have come to their end.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// Connections are opened this long before their first request is due.
const LEAD_NS: u64 = 1_000_000_000;
/// Between the last connect and the first send, so that the first is not late.
const RUN_UP_NS: u64 = 2_000_000;
/// Between attempts to connect.
const RETRY_NS: u64 = 50_000_000;
/// Read at once. A quarter of an MiB stays in the second-level cache.
const READ_BYTES: usize = 256 << 10;
/// Reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 16;
/// Frames written at once.
const SLICES: usize = 64;
/// Heartbeats of one connection; their ids were kept free by the plan.
const HEARTBEATS_MAX: u64 = 1 << 16;

const TIMER: Token = Token(u64::MAX);
const WAKE: Token = Token(u64::MAX - 1);

/// Opens connections: from this machine, or from inside a pod.
pub trait Dial: Sync {
    /// Begins a connection; the stream does not block, and is writable once it stands.
    fn begin(&self, to: SocketAddr) -> io::Result<TcpStream>;

    /// Connects, and waits for it; the stream blocks.
    fn connect(&self, to: SocketAddr, limit: Duration) -> io::Result<TcpStream>;
}

/// From this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Dial for Direct {
    fn begin(&self, to: SocketAddr) -> io::Result<TcpStream> {
        meshproof_sys::socket::connect(to)
    }

    fn connect(&self, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&to, limit)
    }
}

/// Carries out a plan. Fails only when the machine cannot go on (no descriptors); everything that
/// a peer does is an outcome.
pub fn run(plan: &Plan, settings: &Settings, control: &Control) -> io::Result<Run> {
    run_by(plan, settings, control, &Direct)
}

/// As [`run`], over connections that `dial` opens.
pub fn run_by(
    plan: &Plan,
    settings: &Settings,
    control: &Control,
    dial: &dyn Dial,
) -> io::Result<Run> {
    sharpen_timers_of_this_thread()?;
    let mut engine = Engine::new(plan, settings, control, dial)?;
    engine.start();
    let mut ready = Vec::new();
    while !engine.is_done() {
        engine.arm()?;
        engine.poll.wait(&mut ready)?;
        for event in &ready {
            match event.token {
                TIMER => {}
                WAKE => engine.stop(),
                Token(number) => {
                    let link = Link(u32::try_from(number).unwrap_or(u32::MAX));
                    if event.writable {
                        engine.writable(link);
                    }
                    if event.readable {
                        engine.read(link);
                    }
                }
            }
        }
        // Answers first, time-outs second: after a pause both are there at once, and an answer
        // that is there is not late.
        engine.tick();
    }
    Ok(engine.finish())
}

/// A planned connection.
#[derive(Default)]
struct Lane {
    link: Option<Link>,
    /// Requests whose turn has come and that no connection took yet.
    queue: VecDeque<usize>,
    /// How many of the plan's requests had their turn.
    next: usize,
    attempts: u32,
    opened: u64,
    heartbeats: u64,
    given_up: bool,
    /// Waits for another connection to close.
    hungry: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    /// Our side is closed; what still comes is surplus.
    Closing,
}

/// A connection in use.
struct Socket {
    lane: usize,
    stream: TcpStream,
    phase: Phase,
    interest: Interest,
    out: VecDeque<Piece>,
    decoder: Decoder<()>,
    waiting: BTreeSet<usize>,
    heartbeats: BTreeSet<u64>,
    last_sent: Nanos,
}

/// Bytes to be written.
struct Piece {
    bytes: Bytes,
    written: usize,
    /// The request that they are; `None` for heartbeats.
    send: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Overdue(usize, Link),
    Connect(Link),
    Linger(Link),
    Heartbeat(Link),
    Retry(usize),
}

struct Engine<'a> {
    plan: &'a Plan,
    settings: &'a Settings,
    control: &'a Control,
    dial: &'a dyn Dial,
    poll: Poll,
    timer: Timer,
    book: Book<'a>,
    lanes: Vec<Lane>,
    /// By number; a number is used once.
    links: Vec<Option<Box<Socket>>>,
    links_open: usize,
    connecting: usize,
    hungry: VecDeque<usize>,
    /// Lanes in the order of their first requests, and how many of them were opened.
    openings: Vec<(u64, usize)>,
    opened: usize,
    alarms: BinaryHeap<Reverse<(Nanos, Alarm)>>,
    /// The next of the plan's requests to be due, with a schedule.
    due: usize,
    origin: Option<Nanos>,
    began: Nanos,
    last_sent: Nanos,
    stop: Stop,
    buffer: Vec<u8>,
    frames: Vec<Frame>,
}

impl<'a> Engine<'a> {
    fn new(
        plan: &'a Plan,
        settings: &'a Settings,
        control: &'a Control,
        dial: &'a dyn Dial,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new()?;
        poll.add(&timer, TIMER, Interest::Read)?;
        poll.add(&control.wake, WAKE, Interest::Read)?;
        let first = |lane: &super::plan::Connection| {
            let send = lane.sends.first().and_then(|at| plan.sends.get(*at));
            send.map_or(0, |send| send.intended_ns)
        };
        let mut openings: Vec<(u64, usize)> = plan.connections.iter().map(first).zip(0..).collect();
        openings.sort_unstable();
        let now = Nanos::now();
        Ok(Engine {
            plan,
            settings,
            control,
            dial,
            poll,
            timer,
            book: Book::new(plan),
            lanes: plan.connections.iter().map(|_| Lane::default()).collect(),
            links: Vec::new(),
            links_open: 0,
            connecting: 0,
            hungry: VecDeque::new(),
            openings,
            opened: 0,
            alarms: BinaryHeap::new(),
            due: 0,
            origin: None,
            began: now,
            last_sent: now,
            stop: Stop::Finished,
            buffer: vec![0; READ_BYTES],
            frames: Vec::new(),
        })
    }

    fn scheduled(&self) -> bool {
        self.settings.pace.has_schedule()
    }

    fn is_done(&self) -> bool {
        self.book.is_done() && self.links_open == 0
    }

    /// Opens what is needed at the beginning; the clock starts when all of that stands.
    fn start(&mut self) {
        self.open_ahead(0);
        self.set_off();
    }

    /// Opens the connections whose first request is due within the lead.
    fn open_ahead(&mut self, now_ns: u64) {
        while let Some((first_ns, lane)) = self.openings.get(self.opened).copied() {
            let in_time = first_ns <= now_ns.saturating_add(LEAD_NS);
            if !in_time || self.links_open >= self.settings.open_max.get() {
                break;
            }
            self.opened += 1;
            self.open(lane);
        }
    }

    /// Starts the clock once nothing of the first connections is under way any more.
    fn set_off(&mut self) {
        let retrying = |alarm: &Reverse<(Nanos, Alarm)>| matches!(alarm.0.1, Alarm::Retry(_));
        if self.origin.is_some() || self.connecting > 0 || self.alarms.iter().any(retrying) {
            return;
        }
        let now = Nanos::now();
        let run_up = if self.scheduled() { RUN_UP_NS } else { 0 };
        self.origin = Some(now.plus_ns(run_up));
        if !self.scheduled() {
            for lane in 0..self.lanes.len() {
                self.pump(lane);
            }
        }
    }

    /// Nanoseconds since the start; 0 before it.
    fn at_ns(&self, now: Nanos) -> u64 {
        self.origin.map_or(0, |origin| now.since(origin))
    }

    /// Sets the timer to the next deadline.
    fn arm(&mut self) -> io::Result<()> {
        let mut next = self.alarms.peek().map(|Reverse((at, _))| *at);
        let mut sooner = |at: Nanos| next = Some(next.map_or(at, |next| next.min(at)));
        if let (Some(origin), true, Stop::Finished) = (self.origin, self.scheduled(), self.stop) {
            if let Some(send) = self.plan.sends.get(self.due) {
                sooner(origin.plus_ns(send.intended_ns));
            }
            if self.links_open < self.settings.open_max.get()
                && let Some((first_ns, _)) = self.openings.get(self.opened)
            {
                sooner(origin.plus_ns(first_ns.saturating_sub(LEAD_NS)));
            }
        }
        match next {
            Some(at) => self.timer.arm(at),
            None => self.timer.disarm(),
        }
    }

    /// Does what is due.
    fn tick(&mut self) {
        let now = Nanos::now();
        while let Some(Reverse((at, alarm))) = self.alarms.peek().copied() {
            if at > now {
                break;
            }
            self.alarms.pop();
            self.ring(alarm, now);
        }
        self.set_off();
        if self.scheduled() && self.origin.is_some() && self.stop == Stop::Finished {
            self.send_due(Nanos::now());
        }
        let done = self.book.done() as u64;
        self.control
            .sent
            .store(self.book.counters.sent, Ordering::Relaxed);
        self.control.done.store(done, Ordering::Relaxed);
    }

    fn ring(&mut self, alarm: Alarm, now: Nanos) {
        match alarm {
            Alarm::Overdue(send, link) => {
                // The answer may be there, unread.
                if self.waits(link, send) {
                    self.read(link);
                }
                if self.waits(link, send) && self.book.expire(send) {
                    let Some(socket) = self.socket(link) else {
                        return;
                    };
                    socket.waiting.remove(&send);
                    let lane = socket.lane;
                    self.pump(lane);
                    self.close_if_done(link);
                }
            }
            Alarm::Connect(link) => {
                if self.phase(link) == Some(Phase::Connecting) {
                    self.connect_failed(link);
                }
            }
            Alarm::Linger(link) => {
                if self.phase(link) == Some(Phase::Closing) {
                    self.read(link);
                    self.lose(link, Loss::Closed);
                }
            }
            Alarm::Heartbeat(link) => self.heartbeat(link, now),
            Alarm::Retry(lane) => self.open(lane),
        }
    }

    /// Hands every request whose time has come to its connection, then writes each of them once.
    fn send_due(&mut self, now: Nanos) {
        let now_ns = match self.origin {
            Some(origin) if now >= origin => now.since(origin),
            _ => return,
        };
        self.open_ahead(now_ns);
        let mut touched = BTreeSet::new();
        while let Some(send) = self.plan.sends.get(self.due) {
            if send.intended_ns > now_ns {
                break;
            }
            if let Some(lane) = self.lanes.get_mut(send.connection) {
                lane.queue.push_back(self.due);
                lane.next += 1;
                touched.insert(send.connection);
            }
            self.due += 1;
        }
        for lane in touched {
            self.pump(lane);
        }
    }

    /// Moves what may be sent into the connection, and writes it; opens one where there is none.
    fn pump(&mut self, at: usize) {
        let Some(origin) = self.origin else { return };
        let now = Nanos::now();
        let (Some(lane), Some(planned)) = (self.lanes.get_mut(at), self.plan.connections.get(at))
        else {
            return;
        };
        if self.stop == Stop::Interrupted {
            return;
        }
        if lane.given_up {
            for send in lane.queue.drain(..) {
                self.book.unsent(send, Unsent::Unreachable);
            }
            return;
        }
        let Some(link) = lane.link else {
            let wanted = !lane.queue.is_empty()
                || (!self.settings.pace.has_schedule() && lane.next < planned.sends.len());
            if wanted {
                self.open(at);
            }
            return;
        };
        let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
            return;
        };
        if socket.phase != Phase::Open {
            return;
        }
        let window = match self.settings.pace {
            Pace::Window => self.settings.window.get(),
            Pace::Max | Pace::Recorded { .. } | Pace::Rate { .. } => usize::MAX,
        };
        loop {
            let room = socket.waiting.len() + socket.out.len() < window;
            if lane.queue.is_empty()
                && room
                && !self.settings.pace.has_schedule()
                && let Some(send) = planned.sends.get(lane.next)
            {
                lane.next += 1;
                lane.queue.push_back(*send);
                self.book.intended(*send, now.since(origin));
            }
            if !room {
                break;
            }
            let Some(send) = lane.queue.pop_front() else {
                break;
            };
            if let Some(planned) = self.plan.sends.get(send) {
                socket.out.push_back(Piece {
                    bytes: planned.frame.bytes.clone(),
                    written: 0,
                    send: Some(send),
                });
            }
        }
        self.flush(link);
    }

    fn socket(&mut self, link: Link) -> Option<&mut Socket> {
        self.links.get_mut(link.0 as usize)?.as_deref_mut()
    }

    fn phase(&self, link: Link) -> Option<Phase> {
        let socket = self.links.get(link.0 as usize)?.as_ref()?;
        Some(socket.phase)
    }

    fn waits(&self, link: Link, send: usize) -> bool {
        let socket = self.links.get(link.0 as usize).and_then(Option::as_ref);
        socket.is_some_and(|socket| socket.waiting.contains(&send))
    }
}

mod links;
