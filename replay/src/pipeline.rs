//! One pass from packets to exchanges, for whoever wants to look.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meshproof_record::ledger::{CaptureLedger, Gap};
use meshproof_wire::decoder::{self, Decoded, Decoder, Detail, Start};
use meshproof_wire::detect::Verdict;
use meshproof_wire::{Crc, Kind};

use crate::capture::{Error, Finding, Packet, Packets};
use crate::exchange::{self, Exchange, Half, Pairing};
use crate::packet::{self, Parsed, Segment};
use crate::stream::{
    self, Budget, Connection, Direction, Flow, GapReason, Mark, Sinks, Table, Tracked,
};

/// Looks at what a pass over a capture yields. Every method has a default that does nothing, so
/// a visitor names only what it wants.
pub trait Visitor {
    /// The capture begins: time of its first packet, in nanoseconds since the Unix epoch. Comes
    /// before everything else, and not at all where there is no packet.
    fn start(&mut self, _start_ns: u64) {}
    /// A connection was seen for the first time.
    fn opened(&mut self, _flow: &Arc<Flow>) {}
    /// Bytes of a stream, in order, each once.
    fn bytes(&mut self, _flow: &Arc<Flow>, _direction: Direction, _offset: u64, _bytes: &[u8]) {}
    /// Bytes that a stream lacks.
    fn gap(&mut self, _flow: &Arc<Flow>, _direction: Direction, _offset: u64, _length: u64) {}
    /// A frame, whole or cut, in stream order.
    fn frame(&mut self, _flow: &Arc<Flow>, _direction: Direction, _frame: &Decoded<Mark>) {}
    /// An exchange that has settled. Their order is not part of any contract.
    fn exchange(&mut self, _exchange: Exchange) {}
}

/// Nobody looks: only the ledger is wanted.
impl Visitor for () {}

/// How a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Heads, or whole frames. With heads no body is touched.
    pub detail: Detail,
    /// What tracking and reassembly hold.
    pub stream: stream::Limits,
    /// What decoders hold.
    pub decoder: decoder::Limits,
    /// What pairing holds.
    pub exchange: exchange::Limits,
}

impl Options {
    /// Heads only, at the least cost.
    pub const HEADS: Options = Options {
        detail: Detail::Heads,
        stream: stream::Limits::USUAL,
        decoder: decoder::Limits::USUAL,
        exchange: exchange::Limits::USUAL,
    };
    /// Whole frames. Of each stream the last 4 KiB are kept to compare retransmissions with.
    pub const FRAMES: Options = Options {
        detail: Detail::Frames,
        stream: stream::Limits {
            history_bytes: 4 << 10,
            ..stream::Limits::USUAL
        },
        decoder: decoder::Limits::USUAL,
        exchange: exchange::Limits::USUAL,
    };
}

/// What a pass found besides what it showed its visitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The account of every packet, byte and frame.
    pub ledger: CaptureLedger,
    /// Time of the first packet, in nanoseconds since the Unix epoch; `None` without packets.
    pub start_ns: Option<u64>,
    /// Connections seen.
    pub flows: u64,
    /// Connections by what they speak, by name: `bolt-v1`, `tls`, `silent` (no payload), …
    pub spoken: BTreeMap<&'static str, Spoken>,
}

/// Connections that speak the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// How many.
    pub flows: u64,
    /// Payload bytes of their streams, duplicates not counted.
    pub bytes: u64,
    /// The first [`Spoken::ACCEPTORS_MAX`] acceptors.
    pub acceptors: Vec<SocketAddr>,
}

impl Spoken {
    /// How many acceptors are listed.
    pub const ACCEPTORS_MAX: usize = 8;
}

impl Outcome {
    /// Adds what the reader found to the ledger's findings.
    pub fn add_findings(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.ledger.find(finding.what.name(), finding.count);
        }
    }
}

/// Reads packets to their end and shows the visitor what is in them.
///
/// # Errors
/// Only what the reader has: there is nothing in a packet that ends a pass.
pub fn read<P: Packets + ?Sized, V: Visitor>(
    packets: &mut P,
    options: &Options,
    visitor: &mut V,
) -> Result<Outcome, Error> {
    let mut pass = Pass::new(*options);
    while let Some(packet) = packets.next()? {
        pass.packet(&packet, visitor);
    }
    Ok(pass.finish(visitor))
}

/// A pass that is fed packet by packet; [`read`] is the usual way.
#[derive(Debug)]
pub struct Pass {
    options: Options,
    table: Table,
    budget: Budget,
    /// By flow number; `None` once a connection was let go.
    flows: Vec<Option<Box<Conversation>>>,
    outcome: Outcome,
}

/// A connection, its decoders and its open exchanges.
#[derive(Debug)]
struct Conversation {
    flow: Arc<Flow>,
    connection: Connection,
    decoders: Decoders,
    pairing: Pairing,
}

#[derive(Debug, Default)]
struct Decoders {
    to_acceptor: Option<Decoder<Mark>>,
    to_opener: Option<Decoder<Mark>>,
}

impl Decoders {
    fn of(&mut self, direction: Direction) -> &mut Option<Decoder<Mark>> {
        match direction {
            Direction::ToAcceptor => &mut self.to_acceptor,
            Direction::ToOpener => &mut self.to_opener,
        }
    }

    /// Tells a decoder that has found nothing yet what the other direction speaks: of an answer
    /// of the application API nothing else would tell.
    #[inline]
    fn tell(&mut self, direction: Direction) {
        let (decoder, other) = match direction {
            Direction::ToAcceptor => (&mut self.to_acceptor, &self.to_opener),
            Direction::ToOpener => (&mut self.to_opener, &self.to_acceptor),
        };
        if let (Some(decoder), Some(other)) = (decoder, other)
            && decoder.verdict() == Verdict::Undecided
            && let Some(protocol) = other.protocol()
        {
            decoder.expect_answers(protocol);
        }
    }
}

impl Pass {
    /// A pass that has seen nothing yet.
    pub fn new(options: Options) -> Pass {
        Pass {
            options,
            table: Table::new(options.stream),
            budget: Budget::default(),
            flows: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// Takes a packet.
    pub fn packet<V: Visitor>(&mut self, packet: &Packet<'_>, visitor: &mut V) {
        let start_ns = match self.outcome.start_ns {
            Some(start_ns) => start_ns,
            None => {
                visitor.start(packet.at_ns);
                *self.outcome.start_ns.insert(packet.at_ns)
            }
        };
        let packets = &mut self.outcome.ledger.packets;
        packets.total += 1;
        if (packet.data.len() as u64) < u64::from(packet.orig_len) {
            packets.truncated += 1;
        }
        match packet::parse(packet.link, packet.data, packet.orig_len) {
            Parsed::Tcp(segment) => {
                packets.tcp += 1;
                let payload = packet.data.get(segment.payload.clone()).unwrap_or_default();
                let mark = Mark {
                    packet: packet.number,
                    at_ns: packet.at_ns.saturating_sub(start_ns),
                };
                self.segment(packet.source, mark, &segment, payload, visitor);
            }
            Parsed::NonTcp { .. } => packets.non_tcp += 1,
            Parsed::Fragment => packets.fragment += 1,
            Parsed::Malformed { .. } => packets.malformed += 1,
        }
    }

    fn segment<V: Visitor>(
        &mut self,
        source: u16,
        mark: Mark,
        segment: &Segment,
        payload: &[u8],
        visitor: &mut V,
    ) {
        self.outcome.ledger.bytes.payload += payload.len() as u64;
        let tracked = self.table.track(source, mark.at_ns, segment);
        if tracked.is_new {
            self.open(&tracked, visitor);
        }
        let Some(Some(conversation)) = self.flows.get_mut(tracked.flow.0 as usize) else {
            // The table answers with live connections only, and each was opened above.
            debug_assert!(false, "flow {} is not open", tracked.flow.0);
            self.outcome.ledger.bytes.dropped += payload.len() as u64;
            return;
        };
        let Conversation {
            flow,
            connection,
            decoders,
            pairing,
        } = &mut **conversation;
        let decoder = decoders.of(tracked.direction);
        if decoder.is_none() && segment.payload_len > 0 {
            let start = if self.table.is_anchored(flow.id, tracked.direction) {
                Start::Beginning
            } else {
                Start::MidStream
            };
            *decoder = Some(Decoder::new(
                start,
                self.options.detail,
                self.options.decoder,
            ));
        }
        let mut streams = Streams {
            flow,
            decoders,
            pairing,
            ledger: &mut self.outcome.ledger,
            limits: &self.options.exchange,
            now_ns: mark.at_ns,
            visitor,
        };
        connection.segment(
            &tracked,
            segment,
            payload,
            mark,
            &self.options.stream,
            &mut self.budget,
            &mut streams,
        );
        if streams.pairing.has_parked() {
            streams.release(connection);
        }
    }

    #[cold]
    fn open<V: Visitor>(&mut self, tracked: &Tracked, visitor: &mut V) {
        let evicted = self.table.evicted();
        let known = self
            .outcome
            .ledger
            .findings
            .get("flow-limit")
            .copied()
            .unwrap_or(0);
        let reason = if evicted > known {
            GapReason::Limit
        } else {
            GapReason::EndOfCapture
        };
        self.outcome.ledger.find("flow-limit", evicted - known);
        while let Some(id) = self.table.take_retired() {
            let gone = self.flows.get_mut(id.0 as usize).and_then(Option::take);
            if let Some(conversation) = gone {
                self.close(conversation, reason, visitor);
            }
        }
        if let Some(flow) = self.table.flow(tracked.flow) {
            visitor.opened(flow);
            let at = tracked.flow.0 as usize;
            if self.flows.len() <= at {
                self.flows.resize_with(at + 1, || None);
            }
            if let Some(place) = self.flows.get_mut(at) {
                *place = Some(Box::new(Conversation {
                    flow: Arc::clone(flow),
                    connection: Connection::new(),
                    decoders: Decoders::default(),
                    pairing: Pairing::new(),
                }));
            }
            self.outcome.flows += 1;
        }
    }

    /// The end of the capture: everything held is passed on, everything open settles.
    pub fn finish<V: Visitor>(mut self, visitor: &mut V) -> Outcome {
        for conversation in std::mem::take(&mut self.flows).into_iter().flatten() {
            self.close(conversation, GapReason::EndOfCapture, visitor);
        }
        self.outcome
    }

    fn close<V: Visitor>(
        &mut self,
        conversation: Box<Conversation>,
        reason: GapReason,
        visitor: &mut V,
    ) {
        let Conversation {
            flow,
            mut connection,
            mut decoders,
            mut pairing,
        } = *conversation;
        let ledger = &mut self.outcome.ledger;
        let mut streams = Streams {
            flow: &flow,
            decoders: &mut decoders,
            pairing: &mut pairing,
            ledger,
            limits: &self.options.exchange,
            now_ns: u64::MAX,
            visitor,
        };
        connection.finish(reason, &self.options.stream, &mut self.budget, &mut streams);
        streams.finish();

        let mut verdict = Verdict::Undecided;
        let mut passed = 0;
        for direction in [Direction::ToAcceptor, Direction::ToOpener] {
            let counts = connection.stream(direction).counts();
            ledger.bytes.duplicate += counts.duplicate;
            ledger.bytes.skipped += counts.before;
            ledger.find("bytes-before-start", counts.before);
            ledger.find("conflicting-overlap", counts.conflicts);
            passed += counts.passed;
            if let Some(decoder) = decoders.of(direction) {
                let account = decoder.account();
                debug_assert_eq!(account.total(), counts.passed);
                ledger.bytes.framed += account.framed;
                ledger.bytes.skipped += account.skipped;
                ledger.bytes.incomplete += account.incomplete;
                ledger.bytes.foreign += account.foreign;
                ledger.find("frame-too-long", decoder.too_long());
                verdict = clearer(verdict, decoder.verdict());
            }
        }
        let let_go = connection.let_go();
        ledger.bytes.skipped += let_go.aside;
        ledger.bytes.dropped += let_go.far;
        ledger.find("reset-payload-bytes", let_go.aside);
        ledger.find("out-of-window", let_go.far_segments);
        ledger.find("exchange-limit", pairing.at_limit());
        let name = match verdict {
            Verdict::Undecided if passed == 0 => "silent",
            other => other.name(),
        };
        let spoken = self.outcome.spoken.entry(name).or_default();
        spoken.flows += 1;
        spoken.bytes += passed;
        if spoken.acceptors.len() < Spoken::ACCEPTORS_MAX
            && !spoken.acceptors.contains(&flow.acceptor)
        {
            spoken.acceptors.push(flow.acceptor);
        }
    }
}

/// Of what the two directions show, what says more.
fn clearer(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::Known(_), _) | (_, Verdict::Undecided) => a,
        (_, Verdict::Known(_)) | (Verdict::Undecided | Verdict::Unknown, _) => b,
        _ => a,
    }
}

/// Where the streams of one connection go.
struct Streams<'a, V> {
    flow: &'a Arc<Flow>,
    decoders: &'a mut Decoders,
    pairing: &'a mut Pairing,
    ledger: &'a mut CaptureLedger,
    limits: &'a exchange::Limits,
    now_ns: u64,
    visitor: &'a mut V,
}

impl<V: Visitor> Streams<'_, V> {
    /// Takes what one decoder gives for `step`.
    fn decode(
        &mut self,
        direction: Direction,
        step: impl FnOnce(&mut Decoder<Mark>, &mut dyn FnMut(Decoded<Mark>)),
    ) {
        let Streams {
            flow,
            decoders,
            pairing,
            ledger,
            limits,
            now_ns,
            visitor,
        } = self;
        let Some(decoder) = decoders.of(direction) else {
            return;
        };
        step(decoder, &mut |frame| {
            take_frame(
                frame, flow, direction, *now_ns, pairing, limits, ledger, *visitor,
            );
        });
    }

    fn release(&mut self, connection: &Connection) {
        let Streams {
            flow,
            decoders,
            pairing,
            ledger,
            limits,
            now_ns,
            visitor,
        } = self;
        let holds_back = |direction| {
            connection.waits(direction)
                || match direction {
                    Direction::ToAcceptor => &decoders.to_acceptor,
                    Direction::ToOpener => &decoders.to_opener,
                }
                .as_ref()
                .is_some_and(|decoder| decoder.held_since().is_some())
        };
        pairing.release(flow, *now_ns, limits, holds_back, &mut |exchange| {
            settle(exchange, ledger, *visitor);
        });
    }

    fn finish(&mut self) {
        for direction in [Direction::ToAcceptor, Direction::ToOpener] {
            self.decode(direction, |decoder, mut sink| decoder.finish(&mut sink));
        }
        let Streams {
            flow,
            pairing,
            ledger,
            visitor,
            ..
        } = self;
        pairing.finish(flow, &mut |exchange| settle(exchange, ledger, *visitor));
    }
}

impl<V: Visitor> Sinks for Streams<'_, V> {
    #[inline]
    fn bytes(&mut self, direction: Direction, mark: Mark, offset: u64, bytes: &[u8]) {
        self.visitor.bytes(self.flow, direction, offset, bytes);
        let Streams {
            flow,
            decoders,
            pairing,
            ledger,
            limits,
            now_ns,
            visitor,
        } = self;
        decoders.tell(direction);
        let Some(decoder) = decoders.of(direction) else {
            // A decoder is there before the first payload.
            debug_assert!(false, "bytes without a decoder");
            ledger.bytes.dropped += bytes.len() as u64;
            return;
        };
        // A gap in front of a stream's first byte comes before its decoder.
        if decoder.at() < offset {
            decoder.gap(offset - decoder.at(), &mut |frame| {
                take_frame(
                    frame, flow, direction, *now_ns, pairing, limits, ledger, *visitor,
                );
            });
        }
        decoder.feed(mark, bytes, &mut |frame| {
            take_frame(
                frame, flow, direction, *now_ns, pairing, limits, ledger, *visitor,
            );
        });
    }

    #[cold]
    fn gap(
        &mut self,
        direction: Direction,
        _mark: Mark,
        offset: u64,
        length: u64,
        reason: GapReason,
    ) {
        self.visitor.gap(self.flow, direction, offset, length);
        self.decode(direction, |decoder, mut sink| {
            decoder.gap(length, &mut sink)
        });
        if self.ledger.gaps.len() >= CaptureLedger::GAPS_MAX {
            self.ledger.find("gaps-not-listed", 1);
            return;
        }
        self.ledger.gaps.push(Gap {
            flow: self.flow.to_string(),
            direction: direction.name().to_owned(),
            offset,
            length,
            reason: reason.name().to_owned(),
        });
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one connection, borrowed apart"
)]
#[inline]
fn take_frame<V: Visitor>(
    frame: Decoded<Mark>,
    flow: &Arc<Flow>,
    direction: Direction,
    now_ns: u64,
    pairing: &mut Pairing,
    limits: &exchange::Limits,
    ledger: &mut CaptureLedger,
    visitor: &mut V,
) {
    visitor.frame(flow, direction, &frame);
    let frames = &mut ledger.frames;
    if frame.missing > 0 {
        frames.cut += 1;
    } else {
        frames.total += 1;
        match frame.head.kind {
            Kind::Request => frames.requests += 1,
            Kind::Oneway => frames.oneways += 1,
            Kind::Response => frames.responses += 1,
            Kind::Heartbeat | Kind::HeartbeatAck => frames.heartbeats += 1,
            Kind::Goaway => frames.goaways += 1,
            Kind::Unknown => frames.unknown += 1,
        }
    }
    pairing.frame(flow, direction, frame, now_ns, limits, &mut |exchange| {
        settle(exchange, ledger, visitor);
    });
}

fn settle<V: Visitor>(exchange: Exchange, ledger: &mut CaptureLedger, visitor: &mut V) {
    let is_bad = |half: &Option<Half>| half.as_ref().is_some_and(|half| half.crc == Crc::Bad);
    let bad = u64::from(is_bad(&exchange.request)) + u64::from(is_bad(&exchange.response));
    ledger.find("bad-crc", bad);
    visitor.exchange(exchange);
}
