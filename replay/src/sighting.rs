//! One call that was seen at several points is one call.

mod clock;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashMap};
use meshproof_wire::Frame;

use crate::exchange::{Exchange, ExchangeKind, Half, Hop};
use crate::idiom;
use crate::pipeline::Visitor;

pub use clock::{Alignment, align};

/// A call with everything that was seen of it; never empty.
#[derive(Clone, Debug)]
pub struct Call {
    first: Exchange,
    others: Vec<Exchange>,
}

impl Call {
    /// A call that was seen once.
    pub fn of(exchange: Exchange) -> Call {
        Call {
            first: exchange,
            others: Vec::new(),
        }
    }

    /// The sighting that stands for the call: the most complete, of those the earliest.
    pub fn exchange(&self) -> &Exchange {
        &self.first
    }

    /// The same, for good.
    pub fn into_exchange(self) -> Exchange {
        self.first
    }

    /// All sightings.
    pub fn sightings(&self) -> impl Iterator<Item = &Exchange> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Lets another sighting stand for the call; whether there is one that `fits`.
    pub fn put_first(&mut self, fits: impl Fn(&Exchange) -> bool) -> bool {
        if fits(&self.first) {
            return true;
        }
        match self.others.iter_mut().find(|other| fits(other)) {
            Some(other) => {
                std::mem::swap(other, &mut self.first);
                true
            }
            None => false,
        }
    }

    fn add(&mut self, mut sighting: Exchange) {
        if rank(&sighting) < rank(&self.first) {
            std::mem::swap(&mut sighting, &mut self.first);
        }
        self.others.push(sighting);
    }
}

/// The smaller the better it stands for its call.
fn rank(exchange: &Exchange) -> (bool, bool, u64, u64) {
    let lacks = |half: &Option<Half>| half.as_ref().is_none_or(|half| half.missing > 0);
    (
        lacks(&exchange.request),
        lacks(&exchange.response),
        seen_ns(exchange),
        exchange
            .request
            .as_ref()
            .or(exchange.response.as_ref())
            .map_or(0, |half| half.mark.packet),
    )
}

/// Takes calls, as they settle.
pub trait Calls {
    /// The capture begins; see [`Visitor::start`].
    fn start(&mut self, _start_ns: u64) {}
    /// A call.
    fn call(&mut self, call: Call);
}

/// What a [`Merger`] will hold at most; what leaves it is not matched any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far apart two sightings of a call may be, in nanoseconds of packet time.
    pub window_ns: u64,
    /// Calls that wait for further sightings.
    pub calls_max: usize,
    /// Bytes of their frames.
    pub bytes_max: usize,
    /// Waiting calls of the same trace, service and method that are looked at.
    pub candidates_max: usize,
}

impl Limits {
    /// 10 s, 65,536 calls, 16 MiB, 256 candidates.
    pub const USUAL: Limits = Limits {
        window_ns: 10_000_000_000,
        calls_max: 1 << 16,
        bytes_max: 16 << 20,
        candidates_max: 256,
    };
}

/// Joins the sightings of a call.
///
/// Two exchanges are one call when they were seen at different points (capture point and
/// acceptor) at about the same time, and either
/// - their ends and ids are the same and their frames are equal byte for byte: one connection,
///   captured twice; or
/// - trace id, service, method and hash of the arguments are the same: two hops. Seen by one
///   capture point, the one must lie within the other in time; two that follow each other are a
///   call and its retry.
///
/// A call that was only seen on its way to port 12200, in captures that show other hops, goes
/// straight from client to server: its hop becomes [`Hop::Direct`].
#[derive(Debug)]
pub struct Merger<C> {
    limits: Limits,
    next: C,
    waiting: VecDeque<Waiting>,
    /// Number of the first that waits.
    first: u64,
    index: HashMap<u64, Vec<u64>>,
    hasher: DefaultHashBuilder,
    bytes: usize,
    shows_hops: bool,
    merged: u64,
}

#[derive(Debug)]
struct Waiting {
    call: Call,
    keys: Vec<u64>,
    bytes: usize,
    seen_ns: u64,
}

/// What two sightings must share to be compared at all.
#[derive(Hash)]
enum Key<'a> {
    Trace(&'a str, &'a str, &'a str),
    Ends(&'a str, u64, ExchangeKind),
}

impl<C: Calls> Merger<C> {
    /// Passes on to `next`.
    pub fn new(limits: Limits, next: C) -> Merger<C> {
        Merger {
            limits,
            next,
            waiting: VecDeque::new(),
            first: 0,
            index: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: 0,
            shows_hops: false,
            merged: 0,
        }
    }

    /// The end: passes on what waits. How many sightings were joined to others, and where the
    /// calls went.
    pub fn finish(mut self) -> (u64, C) {
        while self.pass_on_first() {}
        (self.merged, self.next)
    }

    fn keys(&self, exchange: &Exchange) -> Vec<u64> {
        let mut keys = Vec::with_capacity(2);
        let ends = exchange.flow.to_string();
        let key = Key::Ends(&ends, exchange.id.0, exchange.kind);
        keys.push(self.hasher.hash_one(&key));
        let request = frame(exchange.request.as_ref()).and_then(idiom::asked);
        if let Some(request) = &request
            && let Some(trace) = &request.trace
            && !trace.is_empty()
        {
            let service = request.service.as_deref().unwrap_or_default();
            let method = request.method.as_deref().unwrap_or_default();
            let key = Key::Trace(trace, service, method);
            keys.push(self.hasher.hash_one(&key));
        }
        keys
    }

    fn take(&mut self, exchange: Exchange) {
        let seen_ns = seen_ns(&exchange);
        self.shows_hops |= matches!(exchange.hop, Hop::Outbound | Hop::App);
        let keys = self.keys(&exchange);
        let bytes = bytes(&exchange);
        for key in &keys {
            let Some(numbers) = self.index.get(key) else {
                continue;
            };
            for number in numbers.iter().take(self.limits.candidates_max) {
                let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
                if let Some(waiting) = self.waiting.get_mut(at)
                    && seen_ns.abs_diff(waiting.seen_ns) <= self.limits.window_ns
                    && is_same(&waiting.call, &exchange)
                {
                    waiting.call.add(exchange);
                    waiting.bytes += bytes;
                    self.bytes += bytes;
                    self.merged += 1;
                    return self.make_room(seen_ns);
                }
            }
        }
        let number = self.first + self.waiting.len() as u64;
        for key in &keys {
            self.index.entry(*key).or_default().push(number);
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting {
            call: Call::of(exchange),
            keys,
            bytes,
            seen_ns,
        });
        self.make_room(seen_ns);
    }

    fn make_room(&mut self, now_ns: u64) {
        while let Some(first) = self.waiting.front() {
            let is_old = now_ns.saturating_sub(first.seen_ns) > self.limits.window_ns;
            let is_full =
                self.waiting.len() > self.limits.calls_max || self.bytes > self.limits.bytes_max;
            if !(is_old || is_full) {
                break;
            }
            self.pass_on_first();
        }
    }

    fn pass_on_first(&mut self) -> bool {
        let Some(waiting) = self.waiting.pop_front() else {
            return false;
        };
        for key in &waiting.keys {
            if let Some(numbers) = self.index.get_mut(key) {
                numbers.retain(|number| *number != self.first);
                if numbers.is_empty() {
                    self.index.remove(key);
                }
            }
        }
        self.first += 1;
        self.bytes -= waiting.bytes;
        let mut call = waiting.call;
        if self.shows_hops && call.others.is_empty() && call.first.hop == Hop::Inbound {
            call.first.hop = Hop::Direct;
        }
        self.next.call(call);
        true
    }
}

impl<C: Calls> Visitor for Merger<C> {
    fn start(&mut self, start_ns: u64) {
        self.next.start(start_ns);
    }

    fn exchange(&mut self, exchange: Exchange) {
        self.take(exchange);
    }
}

fn frame(half: Option<&Half>) -> Option<&Frame> {
    half?.frame.as_ref()
}

fn bytes(exchange: &Exchange) -> usize {
    let of = |half: &Option<Half>| frame(half.as_ref()).map_or(0, |frame| frame.bytes.len());
    of(&exchange.request) + of(&exchange.response)
}

/// When a call was seen first, in packet time.
fn seen_ns(exchange: &Exchange) -> u64 {
    exchange
        .request
        .as_ref()
        .or(exchange.response.as_ref())
        .map_or(0, |half| half.mark.at_ns)
}

/// Whether an exchange is another sighting of a call.
fn is_same(call: &Call, exchange: &Exchange) -> bool {
    let mut is_same = false;
    for seen in call.sightings() {
        let (a, b) = (&seen.flow, &exchange.flow);
        if a.source == b.source && a.acceptor == b.acceptor {
            return false;
        }
        let same_ends = a.opener == b.opener && a.acceptor == b.acceptor;
        is_same |= if same_ends {
            a.source != b.source && is_same_frame(seen, exchange)
        } else {
            is_same_call(seen, exchange)
        };
    }
    is_same
}

/// One connection, captured twice.
fn is_same_frame(a: &Exchange, b: &Exchange) -> bool {
    if a.id != b.id || a.kind != b.kind || a.from != b.from {
        return false;
    }
    let agree = |a: &Option<Half>, b: &Option<Half>| match (a, b) {
        (Some(a), Some(b)) => match (&a.frame, &b.frame) {
            (Some(a), Some(b)) => Some(a.bytes == b.bytes),
            _ => Some(a.head == b.head),
        },
        _ => None,
    };
    match (
        agree(&a.request, &b.request),
        agree(&a.response, &b.response),
    ) {
        (None, None) => false,
        (request, response) => request.unwrap_or(true) && response.unwrap_or(true),
    }
}

/// Two hops of one call.
fn is_same_call(a: &Exchange, b: &Exchange) -> bool {
    let (Some(asked_a), Some(asked_b)) = (
        frame(a.request.as_ref()).and_then(idiom::asked),
        frame(b.request.as_ref()).and_then(idiom::asked),
    ) else {
        return false;
    };
    if asked_a.trace.is_none()
        || asked_a.trace != asked_b.trace
        || asked_a.service != asked_b.service
        || asked_a.method != asked_b.method
        || a.kind != b.kind
    {
        return false;
    }
    if a.flow.source == b.flow.source && !(lies_within(a, b) || lies_within(b, a)) {
        return false;
    }
    let hash = |exchange: &Exchange| {
        frame(exchange.request.as_ref())
            .map(|frame| idiom::of(frame.head.protocol).argument_hash(frame))
    };
    hash(a) == hash(b)
}

/// Whether `inner` began after `outer` began and before it ended. Without a response, the
/// beginning decides.
fn lies_within(inner: &Exchange, outer: &Exchange) -> bool {
    let ended = |exchange: &Exchange| exchange.response.as_ref().map(|half| half.mark.at_ns);
    let (began, outer_began) = (seen_ns(inner), seen_ns(outer));
    began >= outer_began
        && ended(outer).is_none_or(|outer_ended| {
            began <= outer_ended && ended(inner).is_none_or(|ended| ended <= outer_ended)
        })
}
