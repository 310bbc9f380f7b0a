//! One pass over packets: headers, streams and frames, for whoever searches them.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshproof_wire::decoder::{Decoded, Decoder, Detail, Limits as FrameLimits, Start};
use meshproof_wire::detect::Verdict;

use crate::capture::{Error, Packet, Packets};
use crate::packet::{self, Parsed, Segment};
use crate::stream::{
    Assembler, Budget, Direction, Fit, Flow, FlowId, GapReason, Limits, Mark, Piece, Sink, Table,
};

/// Connections followed at one time. Beyond it the idlest are let go: their bytes are searched all
/// the same, but a needle that lies across that cut would be missed.
const FLOWS_MAX: usize = 1 << 15;
/// Longest frame that is taken apart into fields; longer ones are searched as bytes only.
pub(super) const FRAME_BYTES_MAX: u64 = 16 << 20;

/// Whether the payload of a packet was passed on in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// All of it.
    InStream,
    /// Not all of it: a retransmission, an overlap, a place that is not believed, no TCP.
    Alone,
}

/// A stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) flow: &'a Arc<Flow>,
    pub(super) direction: Direction,
}

/// Looks at what a pass yields.
pub(super) trait Visit {
    /// What is kept for each stream.
    type Stream: Default;
    /// A packet, after its payload went to its stream.
    fn packet(&mut self, packet: &Packet<'_>, parsed: &Parsed, payload: Payload);
    /// Bytes of a stream, in order, each once.
    fn bytes(
        &mut self,
        at: At<'_>,
        stream: &mut Self::Stream,
        mark: Mark,
        offset: u64,
        bytes: &[u8],
    );
    /// A frame whose last byte was passed on.
    fn frame(&mut self, at: At<'_>, stream: &mut Self::Stream, frame: &Decoded<Mark>);
    /// This many frames of a stream were too long to be taken apart.
    fn too_long(&mut self, _frames: u64) {}
    /// The stream ends here, or goes on behind a gap.
    fn cut(&mut self, at: At<'_>, stream: &mut Self::Stream);
}

struct Side<S> {
    assembler: Assembler,
    decoder: Decoder<Mark>,
    stream: S,
}

struct Sides<S> {
    flow: Arc<Flow>,
    to_acceptor: Side<S>,
    to_opener: Side<S>,
}

impl<S: Default> Sides<S> {
    fn new(flow: &Arc<Flow>) -> Sides<S> {
        let side = || Side {
            assembler: Assembler::new(),
            decoder: Decoder::new(
                match flow.from_start {
                    true => Start::Beginning,
                    false => Start::MidStream,
                },
                Detail::Frames,
                FrameLimits {
                    frame_bytes_max: FRAME_BYTES_MAX,
                    ..FrameLimits::USUAL
                },
            ),
            stream: S::default(),
        };
        Sides {
            flow: flow.clone(),
            to_acceptor: side(),
            to_opener: side(),
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side<S> {
        match direction {
            Direction::ToAcceptor => &mut self.to_acceptor,
            Direction::ToOpener => &mut self.to_opener,
        }
    }
}

/// Passes on what an assembler puts in order.
struct Feed<'a, V: Visit> {
    at: At<'a>,
    visit: &'a mut V,
    stream: &'a mut V::Stream,
    decoder: &'a mut Decoder<Mark>,
}

impl<V: Visit> Sink for Feed<'_, V> {
    fn bytes(&mut self, mark: Mark, offset: u64, bytes: &[u8]) {
        let Feed {
            at,
            visit,
            stream,
            decoder,
        } = self;
        visit.bytes(*at, stream, mark, offset, bytes);
        decoder.feed(mark, bytes, &mut |frame| visit.frame(*at, stream, &frame));
    }

    fn gap(&mut self, _: Mark, _: u64, length: u64, _: GapReason) {
        let Feed {
            at,
            visit,
            stream,
            decoder,
        } = self;
        decoder.gap(length, &mut |frame| visit.frame(*at, stream, &frame));
        visit.cut(*at, stream);
    }
}

struct Walk<'v, V: Visit> {
    visit: &'v mut V,
    limits: Limits,
    budget: Budget,
    table: Table,
    sides: BTreeMap<FlowId, Sides<V::Stream>>,
}

/// Reads all packets.
pub(super) fn walk(packets: &mut dyn Packets, visit: &mut impl Visit) -> Result<(), Error> {
    let limits = Limits {
        flows_max: FLOWS_MAX,
        ..Limits::USUAL
    };
    let mut walk = Walk {
        visit,
        limits,
        budget: Budget::default(),
        table: Table::new(limits),
        sides: BTreeMap::new(),
    };
    let mut start_ns = None;
    while let Some(packet) = packets.next()? {
        let start_ns = *start_ns.get_or_insert(packet.at_ns);
        let parsed = packet::parse(packet.link, packet.data, packet.orig_len);
        let payload = match &parsed {
            Parsed::Tcp(segment) => walk.segment(&packet, segment, start_ns),
            _ => Payload::Alone,
        };
        walk.visit.packet(&packet, &parsed, payload);
    }
    let left: Vec<FlowId> = walk.sides.keys().copied().collect();
    for flow in left {
        walk.finish(flow);
    }
    Ok(())
}

impl<V: Visit> Walk<'_, V> {
    fn segment(&mut self, packet: &Packet<'_>, segment: &Segment, start_ns: u64) -> Payload {
        let mark = Mark {
            packet: packet.number,
            at_ns: packet.at_ns.saturating_sub(start_ns),
        };
        let tracked = self.table.track(packet.source, packet.at_ns, segment);
        while let Some(retired) = self.table.take_retired() {
            if retired != tracked.flow {
                self.finish(retired);
            }
        }
        let Some(flow) = self.table.flow(tracked.flow) else {
            return Payload::Alone;
        };
        let Walk {
            visit,
            limits,
            budget,
            sides,
            ..
        } = self;
        let sides = sides
            .entry(tracked.flow)
            .or_insert_with(|| Sides::new(flow));
        let flow = sides.flow.clone();
        let mut payload = Payload::InStream;
        if !segment.payload.is_empty() || segment.payload_len > 0 {
            if tracked.fit == Fit::FarAhead {
                return Payload::Alone;
            }
            let answers = sides.side(tracked.direction.reversed()).decoder.protocol();
            let side = sides.side(tracked.direction);
            if let (Some(protocol), Verdict::Undecided) = (answers, side.decoder.verdict()) {
                side.decoder.expect_answers(protocol);
            }
            let before = side.assembler.counts();
            side.assembler.segment(
                Piece {
                    offset: tracked.offset,
                    mark,
                    bytes: packet.data.get(segment.payload.clone()).unwrap_or_default(),
                    wire_len: segment.payload_len,
                },
                limits,
                budget,
                &mut Feed {
                    at: At {
                        flow: &flow,
                        direction: tracked.direction,
                    },
                    visit: *visit,
                    stream: &mut side.stream,
                    decoder: &mut side.decoder,
                },
            );
            let after = side.assembler.counts();
            if (after.duplicate, after.before) != (before.duplicate, before.before) {
                payload = Payload::Alone;
            }
        }
        if let Some(acked) = tracked.acked {
            let direction = tracked.direction.reversed();
            let side = sides.side(direction);
            side.assembler.acked(
                acked,
                mark,
                limits,
                budget,
                &mut Feed {
                    at: At {
                        flow: &flow,
                        direction,
                    },
                    visit: *visit,
                    stream: &mut side.stream,
                    decoder: &mut side.decoder,
                },
            );
        }
        payload
    }

    fn finish(&mut self, flow: FlowId) {
        let Some(mut sides) = self.sides.remove(&flow) else {
            return;
        };
        let flow = sides.flow.clone();
        for direction in [Direction::ToAcceptor, Direction::ToOpener] {
            let at = At {
                flow: &flow,
                direction,
            };
            let side = sides.side(direction);
            side.assembler.finish(
                None,
                GapReason::EndOfCapture,
                &self.limits,
                &mut self.budget,
                &mut Feed {
                    at,
                    visit: self.visit,
                    stream: &mut side.stream,
                    decoder: &mut side.decoder,
                },
            );
            let Side {
                decoder, stream, ..
            } = side;
            decoder.finish(&mut |frame| self.visit.frame(at, stream, &frame));
            self.visit.too_long(decoder.too_long());
            self.visit.cut(at, stream);
        }
    }
}
