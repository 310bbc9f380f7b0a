//! Which recorded answer belongs to a request.
//!
//! A request is answered by what was recorded for the same service, method and arguments (plain
//! BOLT: class and content). Among several of these the one of the same trace id goes first, then
//! recorded order; the last one answers whatever comes after them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use hashbrown::HashMap;
use meshproof_wire::{Frame, Kind, Protocol};
use serde::Serialize;

use crate::engine::call::Call;
use crate::exchange::{Exchange, ExchangeKind, From, Outcome};
use crate::idiom;

/// Whether an answer may fit service and method only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// Arguments must fit.
    #[default]
    Exact,
    /// Where none fits exactly, one of the same service and method does; it is told.
    Loose,
}

/// What a stub has seen, for people and for verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Connections accepted.
    pub connections: u64,
    /// Connections turned away at the limit.
    pub turned_away: u64,
    /// Requests that expect an answer.
    pub requests: u64,
    /// Requests that expect none.
    pub oneways: u64,
    /// Heartbeats answered.
    pub heartbeats: u64,
    /// Requests answered by what was recorded for them.
    pub exact: u64,
    /// Of those: answered by an answer that was given before, as there were more requests than
    /// were recorded.
    pub reused: u64,
    /// Requests left without an answer, as they were when they were recorded.
    pub unanswered: u64,
    /// Requests answered by what was recorded for other arguments, by `service.method`.
    pub loose: BTreeMap<String, u64>,
    /// Requests and one-ways for which nothing was recorded, by `service.method`.
    pub unmatched: BTreeMap<String, u64>,
    /// Bytes that are no frame of a known protocol.
    pub unreadable_bytes: u64,
}

impl Report {
    /// How many answers were loose.
    pub fn loose_total(&self) -> u64 {
        self.loose.values().sum()
    }

    /// How many requests found nothing.
    pub fn unmatched_total(&self) -> u64 {
        self.unmatched.values().sum()
    }

    /// Adds what another stub has seen.
    pub fn add(&mut self, other: &Report) {
        self.connections += other.connections;
        self.turned_away += other.turned_away;
        self.requests += other.requests;
        self.oneways += other.oneways;
        self.heartbeats += other.heartbeats;
        self.exact += other.exact;
        self.reused += other.reused;
        self.unanswered += other.unanswered;
        self.unreadable_bytes += other.unreadable_bytes;
        for (call, count) in &other.loose {
            *self.loose.entry(call.clone()).or_insert(0) += count;
        }
        for (call, count) in &other.unmatched {
            *self.unmatched.entry(call.clone()).or_insert(0) += count;
        }
    }
}

/// What a stub does about a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It says nothing.
    Silence,
    /// It answers.
    Answer {
        /// The answer.
        bytes: Bytes,
        /// How long the recorded answer took, in nanoseconds.
        recorded_ns: u64,
    },
}

/// One recorded call.
#[derive(Debug)]
struct Entry {
    /// `None`: it was not answered.
    answer: Option<Frame>,
    delay_ns: u64,
    used: bool,
}

/// Calls of equal service, method and arguments, in recorded order; indices into the entries.
#[derive(Debug, Default)]
struct Slot {
    all: Vec<usize>,
    /// Before this, all are used.
    next: usize,
    by_trace: HashMap<String, Slot>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// An answer in TR is none to a request in BOLT.
    family: Protocol,
    kind: ExchangeKind,
    service: String,
    method: Option<String>,
    arguments: u64,
}

/// Recorded answers, ready to be given. Holds the frames of the capture, shared and not copied.
#[derive(Debug)]
pub struct Shelf {
    /// What answers to heartbeats give as the server's address, where the protocol has a place
    /// for it; [`super::Stub::bind`] puts its own.
    pub host: SocketAddr,
    entries: Vec<Entry>,
    exact: HashMap<Key, Slot>,
    loose: HashMap<(Protocol, String, Option<String>), Slot>,
    matching: Matching,
    /// What was seen so far.
    pub report: Report,
}

impl Shelf {
    /// The answers of these exchanges; those that the server asked for are left out.
    pub fn new<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>, matching: Matching) -> Shelf {
        let mut calls: Vec<(&Exchange, &Frame)> = exchanges
            .into_iter()
            .filter(|e| matches!(e.kind, ExchangeKind::Call | ExchangeKind::Oneway))
            .filter(|e| e.from != From::Server)
            .filter_map(|e| Some((e, e.request.as_ref()?.frame.as_ref()?)))
            .collect();
        calls.sort_by_key(|(e, _)| {
            let request = e.request.as_ref();
            request.map_or((0, 0, 0), |r| (r.mark.at_ns, r.mark.packet, r.offset))
        });
        let mut shelf = Shelf {
            host: SocketAddr::from(([127, 0, 0, 1], 0)),
            entries: Vec::new(),
            exact: HashMap::new(),
            loose: HashMap::new(),
            matching,
            report: Report::default(),
        };
        for (exchange, request) in calls {
            shelf.put(exchange, request);
        }
        shelf
    }

    fn put(&mut self, exchange: &Exchange, request: &Frame) {
        let call = Call::of(request);
        let at = self.entries.len();
        let asked_ns = exchange.request.as_ref().map_or(0, |half| half.mark.at_ns);
        let answer = exchange
            .response
            .as_ref()
            .filter(|_| exchange.outcome == Outcome::Answered);
        self.entries.push(Entry {
            answer: answer.and_then(|half| half.frame.clone()),
            delay_ns: answer.map_or(0, |half| half.mark.at_ns.saturating_sub(asked_ns)),
            used: false,
        });
        if exchange.kind == ExchangeKind::Call {
            let loose = loose_key(request, &call);
            self.loose.entry(loose).or_default().all.push(at);
        }
        let slot = self
            .exact
            .entry(key(exchange.kind, request, &call))
            .or_default();
        slot.all.push(at);
        if let Some(trace) = call.trace {
            slot.by_trace.entry(trace).or_default().all.push(at);
        }
    }

    /// How many calls were recorded.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Services by name with the protocols that they were called in, `bolt` or `tr`. What names no
    /// service, plain BOLT, is not there.
    pub fn services(&self) -> BTreeMap<String, BTreeSet<&'static str>> {
        let mut services: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        let mut keys: Vec<&Key> = self.exact.keys().filter(|it| it.method.is_some()).collect();
        keys.sort_unstable_by(|one, other| one.service.cmp(&other.service));
        for key in keys {
            let protocol = match key.family {
                Protocol::Tr => "tr",
                _ => "bolt",
            };
            services
                .entry(key.service.clone())
                .or_default()
                .insert(protocol);
        }
        services
    }

    /// What to do about a frame from a client.
    pub fn reply(&mut self, frame: &Frame) -> Reply {
        match frame.head.kind {
            Kind::Heartbeat => {
                self.report.heartbeats += 1;
                let idiom = idiom::of(frame.head.protocol);
                match idiom.heartbeat_ack(frame, self.host) {
                    Some(bytes) => Reply::Answer {
                        bytes,
                        recorded_ns: 0,
                    },
                    None => Reply::Silence,
                }
            }
            Kind::Oneway => {
                self.report.oneways += 1;
                let call = Call::of(frame);
                if self
                    .find_exact(ExchangeKind::Oneway, frame, &call)
                    .is_none()
                {
                    tell(&mut self.report.unmatched, &call);
                }
                Reply::Silence
            }
            Kind::Request => {
                self.report.requests += 1;
                self.answer(frame)
            }
            Kind::Response | Kind::HeartbeatAck | Kind::Goaway | Kind::Unknown => Reply::Silence,
        }
    }

    fn answer(&mut self, request: &Frame) -> Reply {
        let call = Call::of(request);
        let found = match self.find_exact(ExchangeKind::Call, request, &call) {
            Some(at) => {
                self.report.exact += 1;
                Some(at)
            }
            None => self.find_loose(request, &call),
        };
        let Some(entry) = found.and_then(|at| self.entries.get_mut(at)) else {
            tell(&mut self.report.unmatched, &call);
            return Reply::Answer {
                bytes: refusal(request, &call),
                recorded_ns: 0,
            };
        };
        let again = std::mem::replace(&mut entry.used, true);
        self.report.reused += u64::from(again);
        match &entry.answer {
            Some(answer) => Reply::Answer {
                bytes: readdressed(answer, request),
                recorded_ns: entry.delay_ns,
            },
            None => {
                self.report.unanswered += 1;
                Reply::Silence
            }
        }
    }

    fn find_exact(&mut self, kind: ExchangeKind, request: &Frame, call: &Call) -> Option<usize> {
        let slot = self.exact.get_mut(&key(kind, request, call))?;
        let of_trace = call.trace.as_ref().and_then(|t| slot.by_trace.get_mut(t));
        match of_trace {
            Some(slot) => take_next(slot, &self.entries),
            None => take_next(slot, &self.entries),
        }
    }

    fn find_loose(&mut self, request: &Frame, call: &Call) -> Option<usize> {
        if self.matching == Matching::Exact {
            return None;
        }
        let slot = self.loose.get_mut(&loose_key(request, call))?;
        let at = take_next(slot, &self.entries)?;
        tell(&mut self.report.loose, call);
        Some(at)
    }
}

/// The next one that was not used, else the last.
fn take_next(slot: &mut Slot, entries: &[Entry]) -> Option<usize> {
    while let Some(at) = slot.all.get(slot.next) {
        slot.next += 1;
        if entries.get(*at).is_some_and(|entry| !entry.used) {
            return Some(*at);
        }
    }
    slot.all.last().copied()
}

fn loose_key(request: &Frame, call: &Call) -> (Protocol, String, Option<String>) {
    let family = idiom::family(request.head.protocol);
    (family, call.service.clone(), call.method.clone())
}

fn key(kind: ExchangeKind, request: &Frame, call: &Call) -> Key {
    Key {
        family: idiom::family(request.head.protocol),
        kind,
        service: call.service.clone(),
        method: call.method.clone(),
        arguments: call.arguments,
    }
}

fn tell(counts: &mut BTreeMap<String, u64>, call: &Call) {
    *counts.entry(call.to_string()).or_insert(0) += 1;
}

/// A recorded answer under the id and in the version of a request.
fn readdressed(answer: &Frame, request: &Frame) -> Bytes {
    idiom::of(request.head.protocol).readdressed(answer, request)
}

/// A server exception that says why there is no answer.
fn refusal(request: &Frame, call: &Call) -> Bytes {
    let why = format!("meshproof stub: no answer was recorded for {call} with these arguments");
    idiom::of(request.head.protocol).refusal(request, &why)
}
