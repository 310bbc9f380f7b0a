//! Requests find their responses.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use meshproof_wire::decoder::Decoded;
use meshproof_wire::{Crc, Kind, Protocol, RequestId, tr};

use super::{Exchange, ExchangeKind, From, Half, Hop, Outcome};
use crate::stream::{Direction, Flow, Mark, OpenerBy};

/// What one connection's pairing will hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for an answer. At the limit the oldest eighth settles as unanswered.
    pub open_max: usize,
    /// Bytes of frames that wait, requests and parked responses together.
    pub open_bytes_max: u64,
    /// Responses that wait for their request (see [`Pairing`]). At the limit the oldest settles
    /// as an orphan.
    pub parked_max: usize,
    /// How long a response waits for its request, in nanoseconds of packet time.
    pub parked_ns: u64,
}

impl Limits {
    /// 16,384 requests or 16 MiB of frames wait, and 1,024 responses for up to 100 ms.
    pub const USUAL: Limits = Limits {
        open_max: 16 << 10,
        open_bytes_max: 16 << 20,
        parked_max: 1024,
        parked_ns: 100_000_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::USUAL
    }
}

/// Joins the requests and responses of one connection.
///
/// A response belongs to the oldest open request with its id that went the other way; heartbeats
/// pair with their acknowledgements apart from calls. Ids sent again while open are exchanges of
/// their own, answered first in, first out.
///
/// A response may come out of the streams before its request does: the request's direction may
/// wait for a hole, or the capture may show the two packets in the wrong order. So a response
/// without a request is parked while that direction holds bytes back, and for a short packet time
/// in any case; only then it is an orphan.
#[derive(Debug, Default)]
pub struct Pairing {
    open: HashMap<Key, Open>,
    /// Requests whose id was sent again while open, behind the one in `open`.
    again: HashMap<Key, VecDeque<Open>>,
    again_len: usize,
    parked: VecDeque<Parked>,
    held_bytes: u64,
    at_limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The direction of the frame that asks.
    asks: Direction,
    heartbeat: Heartbeat,
    id: RequestId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Heartbeat {
    Yes,
    No,
}

#[derive(Debug)]
struct Open {
    kind: ExchangeKind,
    half: Half,
}

#[derive(Debug)]
struct Parked {
    key: Key,
    half: Half,
    seen_ns: u64,
}

impl Pairing {
    /// A connection without exchanges.
    pub fn new() -> Pairing {
        Pairing::default()
    }

    /// Requests that wait for their answer.
    pub fn open(&self) -> usize {
        self.open.len() + self.again_len
    }

    /// Whether responses wait for their request; then [`Pairing::release`] has something to do.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Exchanges that were settled early, at a limit.
    pub fn at_limit(&self) -> u64 {
        self.at_limit
    }

    /// Takes a frame of one direction; `now_ns` is the time of the packet that completed it.
    pub fn frame(
        &mut self,
        flow: &Arc<Flow>,
        direction: Direction,
        frame: Decoded<Mark>,
        now_ns: u64,
        limits: &Limits,
        settled: &mut impl FnMut(Exchange),
    ) {
        let key = |asks, heartbeat| Key {
            asks,
            heartbeat,
            id: frame.head.id,
        };
        match frame.head.kind {
            Kind::Request => {
                let key = key(direction, Heartbeat::No);
                let kind = kind_of(frame.head.protocol);
                self.ask(flow, key, kind, frame, limits, settled);
            }
            Kind::Heartbeat => {
                let key = key(direction, Heartbeat::Yes);
                self.ask(flow, key, ExchangeKind::Heartbeat, frame, limits, settled);
            }
            Kind::Response => {
                let key = key(direction.reversed(), Heartbeat::No);
                self.answer(flow, key, frame, now_ns, limits, settled);
            }
            Kind::HeartbeatAck => {
                let key = key(direction.reversed(), Heartbeat::Yes);
                self.answer(flow, key, frame, now_ns, limits, settled);
            }
            Kind::Oneway => {
                let key = key(direction, Heartbeat::No);
                settled(exchange(
                    flow,
                    key,
                    ExchangeKind::Oneway,
                    Some(half(frame)),
                    None,
                ));
            }
            Kind::Goaway => {
                let key = key(direction, Heartbeat::No);
                settled(exchange(
                    flow,
                    key,
                    ExchangeKind::Goaway,
                    Some(half(frame)),
                    None,
                ));
            }
            // Counted in the ledger; there is nothing to pair.
            Kind::Unknown => {}
        }
    }

    /// Settles parked responses as orphans, where their request cannot come any more.
    /// `holds_back` says whether a direction waits for bytes.
    pub fn release(
        &mut self,
        flow: &Arc<Flow>,
        now_ns: u64,
        limits: &Limits,
        holds_back: impl Fn(Direction) -> bool,
        settled: &mut impl FnMut(Exchange),
    ) {
        while let Some(first) = self.parked.front() {
            let waited = now_ns.saturating_sub(first.seen_ns) >= limits.parked_ns;
            if !waited || holds_back(first.key.asks) {
                break;
            }
            self.orphan(flow, settled);
        }
    }

    /// The connection or the capture ended: what is open is unanswered, what is parked an orphan.
    pub fn finish(&mut self, flow: &Arc<Flow>, settled: &mut impl FnMut(Exchange)) {
        while !self.parked.is_empty() {
            self.orphan(flow, settled);
        }
        self.give_up(flow, usize::MAX, settled);
        self.held_bytes = 0;
    }

    fn ask(
        &mut self,
        flow: &Arc<Flow>,
        key: Key,
        kind: ExchangeKind,
        frame: Decoded<Mark>,
        limits: &Limits,
        settled: &mut impl FnMut(Exchange),
    ) {
        let request = half(frame);
        if !self.parked.is_empty()
            && !self.open.contains_key(&key)
            && let Some(at) = self.parked.iter().position(|parked| parked.key == key)
            && let Some(parked) = self.parked.remove(at)
        {
            self.held_bytes -= parked.half.held_bytes();
            settled(exchange(flow, key, kind, Some(request), Some(parked.half)));
            return;
        }
        self.held_bytes += request.held_bytes();
        let open = Open {
            kind,
            half: request,
        };
        match self.open.entry(key) {
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(open);
            }
            hashbrown::hash_map::Entry::Occupied(_) => {
                self.again.entry(key).or_default().push_back(open);
                self.again_len += 1;
            }
        }
        if self.open() > limits.open_max || self.held_bytes > limits.open_bytes_max {
            let ample = (self.open() / 8).max(1);
            self.at_limit += self.give_up(flow, ample, settled);
        }
    }

    fn answer(
        &mut self,
        flow: &Arc<Flow>,
        key: Key,
        frame: Decoded<Mark>,
        now_ns: u64,
        limits: &Limits,
        settled: &mut impl FnMut(Exchange),
    ) {
        let response = half(frame);
        if let Some(open) = self.take(key) {
            settled(exchange(
                flow,
                key,
                open.kind,
                Some(open.half),
                Some(response),
            ));
            return;
        }
        self.held_bytes += response.held_bytes();
        self.parked.push_back(Parked {
            key,
            half: response,
            seen_ns: now_ns,
        });
        while self.parked.len() > limits.parked_max
            || (self.held_bytes > limits.open_bytes_max && !self.parked.is_empty())
        {
            self.orphan(flow, settled);
        }
    }

    /// The oldest open request of that key.
    fn take(&mut self, key: Key) -> Option<Open> {
        let open = if self.again.is_empty() {
            self.open.remove(&key)?
        } else {
            let next = match self.again.get_mut(&key) {
                Some(queue) => {
                    let next = queue.pop_front();
                    self.again_len -= usize::from(next.is_some());
                    if queue.is_empty() {
                        self.again.remove(&key);
                    }
                    next
                }
                None => None,
            };
            match next {
                Some(next) => self.open.insert(key, next)?,
                None => self.open.remove(&key)?,
            }
        };
        self.held_bytes -= open.half.held_bytes();
        Some(open)
    }

    /// Settles the oldest open requests as unanswered; how many.
    fn give_up(
        &mut self,
        flow: &Arc<Flow>,
        at_most: usize,
        settled: &mut impl FnMut(Exchange),
    ) -> u64 {
        let mut oldest: Vec<(u64, u64, Key)> = Vec::with_capacity(self.open());
        let place = |key: &Key, open: &Open| (open.half.mark.packet, open.half.offset, *key);
        oldest.extend(self.open.iter().map(|(key, open)| place(key, open)));
        oldest.extend(
            self.again
                .iter()
                .flat_map(|(key, queue)| queue.iter().map(|open| place(key, open))),
        );
        oldest.sort_unstable_by_key(|&(packet, offset, key)| (packet, offset, key.id));
        oldest.truncate(at_most);
        let mut settled_now = 0;
        for (_, _, key) in oldest {
            if let Some(open) = self.take(key) {
                settled_now += 1;
                settled(exchange(flow, key, open.kind, Some(open.half), None));
            }
        }
        settled_now
    }

    /// Settles the response that is parked longest.
    fn orphan(&mut self, flow: &Arc<Flow>, settled: &mut impl FnMut(Exchange)) {
        if let Some(parked) = self.parked.pop_front() {
            self.held_bytes -= parked.half.held_bytes();
            let kind = match parked.key.heartbeat {
                Heartbeat::Yes => ExchangeKind::Heartbeat,
                Heartbeat::No => kind_of(parked.half.head.protocol),
            };
            settled(exchange(flow, parked.key, kind, None, Some(parked.half)));
        }
    }
}

impl Half {
    fn held_bytes(&self) -> u64 {
        self.frame
            .as_ref()
            .map_or(0, |frame| frame.bytes.len() as u64)
    }
}

/// What a request that expects an answer is for.
fn kind_of(protocol: Protocol) -> ExchangeKind {
    match protocol {
        Protocol::MeshApi => ExchangeKind::MeshApi,
        _ => ExchangeKind::Call,
    }
}

fn half(frame: Decoded<Mark>) -> Half {
    let mut head = frame.head;
    // TR has its time-out in the body.
    if let (Protocol::Tr, Kind::Request, Some(frame)) = (head.protocol, head.kind, &frame.frame) {
        head.timeout_ms = tr::call(frame.content()).and_then(|call| call.timeout_ms);
    }
    Half {
        mark: frame.first,
        offset: frame.offset,
        head,
        missing: frame.missing,
        crc: frame
            .frame
            .as_ref()
            .map_or(Crc::Absent, |frame| frame.crc()),
        frame: frame.frame,
    }
}

fn exchange(
    flow: &Arc<Flow>,
    key: Key,
    kind: ExchangeKind,
    request: Option<Half>,
    response: Option<Half>,
) -> Exchange {
    let outcome = match (kind, &request, &response) {
        (ExchangeKind::Oneway | ExchangeKind::Goaway, _, _) => Outcome::Oneway,
        (_, Some(_), Some(_)) => Outcome::Answered,
        (_, Some(_), None) => Outcome::Unanswered,
        (_, None, _) => Outcome::OrphanResponse,
    };
    let late = match (&request, &response) {
        (Some(request), Some(response)) => request.head.timeout_ms.is_some_and(|timeout_ms| {
            response.mark.at_ns.saturating_sub(request.mark.at_ns)
                > u64::from(timeout_ms) * 1_000_000
        }),
        _ => false,
    };
    // One of the two is there, or there would be no exchange; the fall-back is never seen.
    let protocol = request
        .as_ref()
        .or(response.as_ref())
        .map_or(Protocol::BoltV1, |half| half.head.protocol);
    Exchange {
        flow: Arc::clone(flow),
        hop: Hop::of(flow),
        protocol,
        kind,
        from: asker(flow, key.asks),
        id: key.id,
        request,
        response,
        outcome,
        late,
    }
}

fn asker(flow: &Flow, asks: Direction) -> From {
    match (flow.opener_by, asks) {
        (OpenerBy::Guess, _) => From::Unknown,
        (_, Direction::ToAcceptor) => From::Client,
        (_, Direction::ToOpener) => From::Server,
    }
}

#[cfg(test)]
mod tests;
