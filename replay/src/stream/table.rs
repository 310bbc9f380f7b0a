//! Which connection a segment belongs to, and where in its stream it stands.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Direction, Flow, FlowId, Limits, OpenerBy};
use crate::packet::{Flags, Segment, Seq};

/// Ports that servers of the mesh listen on: sidecar inbound, app behind a sidecar, sidecar
/// outbound, the sidecar's registry port, and SOFARegistry's session server.
const SERVER_PORTS: [u16; 5] = [12200, 12199, 12220, 13330, 9600];

/// First port of the range from which openers take theirs (Linux's default range begins here).
const EPHEMERAL_FROM: u16 = 32768;

/// How many segments must agree on a place far away before it is believed.
const AGREEING: u8 = 3;

/// A connection that ended is kept this long for stragglers (Linux's TIME_WAIT), in nanoseconds.
const LINGER_NS: u64 = 60_000_000_000;

/// Whether a segment's place in its stream is plausible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fit {
    /// Within the window around what is known.
    InWindow,
    /// Too far away to be believed on its own: not part of the stream for now.
    FarAhead,
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The connection.
    pub flow: FlowId,
    /// Which of its streams.
    pub direction: Direction,
    /// Stream offset of the first payload byte (without payload: of the byte that would come
    /// next). Sequence numbers that wrap are unwrapped, so streams may be longer than 4 GiB.
    /// Negative: before the first byte of a stream whose beginning is not in the capture.
    /// 0 while the stream has shown no byte yet.
    pub offset: i64,
    /// What the sender acknowledges: the offset in the *other* direction up to which it has
    /// everything, the FIN not counted. `None` without ACK flag, where the other direction's
    /// start is not known, and where the number is too far away to be believed.
    pub acked: Option<i64>,
    /// Whether the place is plausible.
    pub fit: Fit,
    /// This is the connection's first segment.
    pub is_new: bool,
}

/// Finds the connection of each segment.
///
/// The answers depend on the segments and their order alone: a second pass over the same packets
/// gives the same numbers, flow ids included. At most [`Limits::flows_max`] connections are
/// followed at one time; of four times as many it is remembered how often they were reused.
///
/// A new connection of the same addresses and ports begins with a SYN (or, where that was lost,
/// a SYN-ACK) that does not fit the one known, and with payload far from everything known after
/// the connection ended.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    index: HashMap<Key, Slot>,
    entries: Vec<Option<Box<Entry>>>,
    live: usize,
    sweep_at: usize,
    last: Option<Last>,
    retired: Vec<FlowId>,
    evicted: u64,
}

/// The two ends, the smaller first, and the capture point. IPv4 is mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    low: u128,
    high: u128,
    low_port: u16,
    high_port: u16,
    source: u16,
    v4: bool,
}

/// What the index knows of a pair of ends, also after the connection was let go.
#[derive(Clone, Copy, Debug)]
struct Slot {
    flow: FlowId,
    connection: u32,
}

/// The previous segment's answer: packets come in trains.
#[derive(Clone, Copy, Debug)]
struct Last {
    src: SocketAddr,
    dst: SocketAddr,
    source: u16,
    flow: FlowId,
    direction: Direction,
}

#[derive(Debug)]
struct Entry {
    flow: Arc<Flow>,
    to_acceptor: Side,
    to_opener: Side,
    last_ns: u64,
    ended_ns: Option<u64>,
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Sequence number of stream offset 0.
    base: Option<Seq>,
    /// The base is the connection's first byte, known from the handshake.
    anchored: bool,
    /// The highest offset believed; sequence numbers are unwrapped around it.
    high: i64,
    /// Offset of the FIN.
    fin: Option<i64>,
    /// A place far away that segments were seen at, and how many.
    far: i64,
    far_seen: u8,
}

impl Side {
    /// The stream offset of a sequence number: at most `window` behind `high`, else ahead.
    fn place(&self, seq: Seq, window: u32) -> Option<i64> {
        let base = self.base?;
        // Truncation is what makes it a sequence number.
        let at_high = base.0.wrapping_add(self.high as u32);
        let ahead = seq.0.wrapping_sub(at_high);
        let behind = at_high.wrapping_sub(seq.0);
        Some(if behind <= window {
            self.high - i64::from(behind)
        } else {
            self.high + i64::from(ahead)
        })
    }

    /// Takes note of bytes up to `end`, or finds them too far away.
    fn believe(&mut self, end: i64, window: u32) -> Fit {
        let window = i64::from(window);
        if end <= self.high + window {
            if end > self.high {
                self.high = end;
                self.far_seen = 0;
            }
            return Fit::InWindow;
        }
        if self.far_seen > 0 && (end - self.far).abs() <= window {
            self.far_seen += 1;
        } else {
            self.far_seen = 1;
        }
        self.far = end;
        if self.far_seen >= AGREEING {
            self.high = end;
            self.far_seen = 0;
            return Fit::InWindow;
        }
        Fit::FarAhead
    }

    fn anchor(&mut self, first: Seq) {
        if self.base.is_none() {
            self.base = Some(first);
        }
        if self.base == Some(first) {
            self.anchored = true;
        }
    }
}

impl Entry {
    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::ToAcceptor => &self.to_acceptor,
            Direction::ToOpener => &self.to_opener,
        }
    }

    /// The side of `direction` and the other one.
    fn sides(&mut self, direction: Direction) -> (&mut Side, &mut Side) {
        match direction {
            Direction::ToAcceptor => (&mut self.to_acceptor, &mut self.to_opener),
            Direction::ToOpener => (&mut self.to_opener, &mut self.to_acceptor),
        }
    }

    /// Whether a segment opens another connection between the same ends.
    fn is_succeeded_by(&self, direction: Direction, segment: &Segment, window: u32) -> bool {
        let own = self.side(direction);
        let other = self.side(direction.reversed());
        let first = Seq(segment.seq.0.wrapping_add(1));
        if segment.flags.has(Flags::SYN | Flags::ACK) {
            if own.base == Some(first) {
                return false;
            }
            // An answer to the SYN that is known, maybe to the payload that came with it.
            let fits = match other.place(segment.ack, window) {
                Some(acked) => (0..=other.high).contains(&acked),
                None => own.base.is_none(),
            };
            return !fits || self.ended_ns.is_some() || own.base.is_some();
        }
        if segment.flags.has(Flags::SYN) {
            return match own.base {
                Some(base) => base != first,
                // Both sides may open at the same time; then the other one's SYN was seen.
                None => !self.flow.from_start || self.ended_ns.is_some(),
            };
        }
        // The SYN of the successor may be lost.
        self.ended_ns.is_some()
            && segment.payload_len > 0
            && !segment.flags.has(Flags::RST)
            && own
                .place(segment.seq, window)
                .is_some_and(|at| at > own.high + i64::from(window))
    }
}

impl Table {
    /// An empty table.
    pub fn new(limits: Limits) -> Table {
        Table {
            limits,
            index: HashMap::new(),
            entries: Vec::new(),
            live: 0,
            sweep_at: 1024,
            last: None,
            retired: Vec::new(),
            evicted: 0,
        }
    }

    /// Finds the connection of a segment and its place in the stream. `at_ns` is packet time.
    pub fn track(&mut self, source: u16, at_ns: u64, segment: &Segment) -> Tracked {
        let window = self.limits.window_bytes;
        let (flow, direction, is_new) = self.find(source, at_ns, segment);
        let Some(entry) = self.entry_mut(flow) else {
            // `find` answers with live entries only.
            debug_assert!(false, "flow {} is not live", flow.0);
            return Tracked {
                flow,
                direction,
                offset: 0,
                acked: None,
                fit: Fit::FarAhead,
                is_new,
            };
        };
        entry.last_ns = at_ns;
        let flags = segment.flags;
        let from_start = entry.flow.from_start;
        let (own, other) = entry.sides(direction);

        let first = if flags.has(Flags::SYN) {
            let first = Seq(segment.seq.0.wrapping_add(1));
            own.anchor(first);
            first
        } else {
            segment.seq
        };
        let acks = flags.has(Flags::ACK) && !flags.has(Flags::RST);
        if acks && other.base.is_none() {
            if flags.has(Flags::SYN) {
                other.anchor(segment.ack);
            } else if from_start && direction == Direction::ToAcceptor {
                // The SYN-ACK was lost: the opener's first word says where the acceptor began.
                other.anchor(segment.ack);
            }
        }
        if own.base.is_none() && segment.payload_len > 0 && !flags.has(Flags::RST) {
            own.base = Some(first);
        }

        let offset = own.place(first, window).unwrap_or(0);
        let end = offset + i64::from(segment.payload_len);
        let fit = if own.base.is_none() {
            Fit::InWindow
        } else if flags.has(Flags::RST) {
            // A reset may stand anywhere in the window; its payload is text, not stream.
            if end <= own.high + i64::from(window) {
                Fit::InWindow
            } else {
                Fit::FarAhead
            }
        } else {
            own.believe(end, window)
        };
        if flags.has(Flags::FIN) && fit == Fit::InWindow && own.fin.is_none() {
            own.fin = Some(end);
        }
        let acked = if acks {
            other.place(segment.ack, window).and_then(|at| {
                let at = match other.fin {
                    Some(fin) if at == fin + 1 => fin,
                    _ => at,
                };
                (other.believe(at, window) == Fit::InWindow).then_some(at)
            })
        } else {
            None
        };
        let closed = own.fin.is_some() && other.fin.is_some();
        let reset = flags.has(Flags::RST) && fit == Fit::InWindow;
        if (closed || reset) && entry.ended_ns.is_none() {
            entry.ended_ns = Some(at_ns);
        }
        Tracked {
            flow,
            direction,
            offset,
            acked,
            fit,
            is_new,
        }
    }

    /// The connection of that number, while it is followed.
    pub fn flow(&self, id: FlowId) -> Option<&Arc<Flow>> {
        Some(&self.entry(id)?.flow)
    }

    /// Whether offset 0 of a stream is known to be the connection's first byte.
    pub fn is_anchored(&self, id: FlowId, direction: Direction) -> bool {
        self.entry(id)
            .is_some_and(|entry| entry.side(direction).anchored)
    }

    /// Takes a connection that was let go (ended and lingered, succeeded by another, or the
    /// idlest at the limit). Call until `None` after each [`Table::track`].
    pub fn take_retired(&mut self) -> Option<FlowId> {
        self.retired.pop()
    }

    /// How many connections were let go at the limit, while they may still have been alive.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many connections were seen so far.
    pub fn seen(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, id: FlowId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_deref()
    }

    fn entry_mut(&mut self, id: FlowId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn find(&mut self, source: u16, at_ns: u64, segment: &Segment) -> (FlowId, Direction, bool) {
        let window = self.limits.window_bytes;
        let mut known = None;
        if let Some(last) = &self.last
            && last.source == source
        {
            if last.src == segment.src && last.dst == segment.dst {
                known = Some((last.flow, last.direction));
            } else if last.src == segment.dst && last.dst == segment.src {
                known = Some((last.flow, last.direction.reversed()));
            }
        }
        if known.is_none()
            && let Some(slot) = self.index.get(&Key::new(segment, source))
            && let Some(entry) = self.entry(slot.flow)
        {
            let direction = if entry.flow.opener == segment.src {
                Direction::ToAcceptor
            } else {
                Direction::ToOpener
            };
            known = Some((slot.flow, direction));
        }
        if let Some((flow, direction)) = known
            && let Some(entry) = self.entry(flow)
        {
            let may_be_new = segment.flags.has(Flags::SYN) || entry.ended_ns.is_some();
            if !may_be_new || !entry.is_succeeded_by(direction, segment, window) {
                self.last = Some(Last {
                    src: segment.src,
                    dst: segment.dst,
                    source,
                    flow,
                    direction,
                });
                return (flow, direction, false);
            }
            self.retire(flow);
        }
        let (flow, direction) = self.open(source, at_ns, segment);
        self.last = Some(Last {
            src: segment.src,
            dst: segment.dst,
            source,
            flow,
            direction,
        });
        (flow, direction, true)
    }

    fn open(&mut self, source: u16, at_ns: u64, segment: &Segment) -> (FlowId, Direction) {
        self.make_room(at_ns);
        // More connections than fit the number cannot be told apart from memory alone: a
        // capture of 2^32 connections is longer than any file system holds.
        let id = FlowId(self.entries.len() as u32);
        let (direction, opener_by) = opener(segment);
        let (opener, acceptor) = match direction {
            Direction::ToAcceptor => (segment.src, segment.dst),
            Direction::ToOpener => (segment.dst, segment.src),
        };
        let slot = self
            .index
            .entry(Key::new(segment, source))
            .and_modify(|slot| {
                slot.flow = id;
                slot.connection = slot.connection.saturating_add(1);
            })
            .or_insert(Slot {
                flow: id,
                connection: 1,
            });
        let flow = Arc::new(Flow {
            id,
            source,
            opener,
            acceptor,
            opener_by,
            connection: slot.connection,
            from_start: segment.flags.has(Flags::SYN),
        });
        self.entries.push(Some(Box::new(Entry {
            flow,
            to_acceptor: Side::default(),
            to_opener: Side::default(),
            last_ns: at_ns,
            ended_ns: None,
        })));
        self.live += 1;
        (id, direction)
    }

    fn retire(&mut self, id: FlowId) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize)
            && entry.take().is_some()
        {
            self.live -= 1;
            self.retired.push(id);
            if self.last.is_some_and(|last| last.flow == id) {
                self.last = None;
            }
        }
    }

    /// Lets go of connections that ended long ago, and at the limit of the idlest.
    fn make_room(&mut self, at_ns: u64) {
        if self.live >= self.sweep_at.min(self.limits.flows_max) {
            let lingered: Vec<FlowId> = self
                .live()
                .filter(|entry| {
                    entry
                        .ended_ns
                        .is_some_and(|ended| at_ns.saturating_sub(ended) > LINGER_NS)
                })
                .map(|entry| entry.flow.id)
                .collect();
            for id in lingered {
                self.retire(id);
            }
            self.sweep_at = (self.live * 2).max(1024);
        }
        if self.live >= self.limits.flows_max.max(1) {
            let mut idle: Vec<(u64, FlowId)> = self
                .live()
                .map(|entry| (entry.last_ns, entry.flow.id))
                .collect();
            idle.sort_unstable();
            let ample = (self.live / 8).max(1);
            for (_, id) in idle.into_iter().take(ample) {
                self.evicted += 1;
                self.retire(id);
            }
        }
        if self.index.len() >= self.limits.flows_max.saturating_mul(4).max(4) {
            let entries = &self.entries;
            self.index.retain(|_, slot| {
                entries
                    .get(slot.flow.0 as usize)
                    .is_some_and(Option::is_some)
            });
        }
    }

    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten().map(|entry| &**entry)
    }
}

impl Key {
    fn new(segment: &Segment, source: u16) -> Key {
        let (src, dst) = (number(segment.src.ip()), number(segment.dst.ip()));
        let (src_port, dst_port) = (segment.src.port(), segment.dst.port());
        let v4 = segment.src.is_ipv4();
        let ((low, low_port), (high, high_port)) = if (src, src_port) <= (dst, dst_port) {
            ((src, src_port), (dst, dst_port))
        } else {
            ((dst, dst_port), (src, src_port))
        };
        Key {
            low,
            high,
            low_port,
            high_port,
            source,
            v4,
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The direction of a connection's first segment, and what says so.
fn opener(segment: &Segment) -> (Direction, OpenerBy) {
    if segment.flags.has(Flags::SYN | Flags::ACK) {
        return (Direction::ToOpener, OpenerBy::Handshake);
    }
    if segment.flags.has(Flags::SYN) {
        return (Direction::ToAcceptor, OpenerBy::Handshake);
    }
    let (src, dst) = (segment.src.port(), segment.dst.port());
    let by_port = |is_server: &dyn Fn(u16) -> bool| match (is_server(src), is_server(dst)) {
        (false, true) => Some((Direction::ToAcceptor, OpenerBy::Port)),
        (true, false) => Some((Direction::ToOpener, OpenerBy::Port)),
        _ => None,
    };
    by_port(&|port| SERVER_PORTS.contains(&port))
        .or_else(|| by_port(&|port| port < EPHEMERAL_FROM))
        .unwrap_or(if dst <= src {
            (Direction::ToAcceptor, OpenerBy::Guess)
        } else {
            (Direction::ToOpener, OpenerBy::Guess)
        })
}
