//! Both directions of a connection, put in order.

use super::{Assembler, Budget, Direction, Fit, GapReason, Limits, Mark, Piece, Sink, Tracked};
use crate::packet::{Flags, Segment};

/// Takes what a [`Connection`] passes on. In each direction offsets are contiguous: a call begins
/// where the one before it ended.
pub trait Sinks {
    /// Bytes of a stream, in order, each once.
    fn bytes(&mut self, direction: Direction, mark: Mark, offset: u64, bytes: &[u8]);
    /// Bytes of a stream that will not come.
    fn gap(
        &mut self,
        direction: Direction,
        mark: Mark,
        offset: u64,
        length: u64,
        reason: GapReason,
    );
}

/// Both directions of a connection.
///
/// The payload of a reset is text for people (RFC 9293, 3.5.3) and no part of the stream; it is
/// counted as `aside`. A segment that is too far away to be believed is let go and counted as
/// `far`, whatever its size: it costs nothing to hold.
#[derive(Debug, Default)]
pub struct Connection {
    to_acceptor: Assembler,
    to_opener: Assembler,
    fins: [Option<i64>; 2],
    let_go: LetGo,
}

/// What of a connection is let go beside its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetGo {
    /// Payload bytes of resets.
    pub aside: u64,
    /// Payload bytes of segments too far away to be believed.
    pub far: u64,
    /// Segments too far away to be believed.
    pub far_segments: u64,
}

impl Connection {
    /// A connection that has shown nothing yet.
    pub fn new() -> Connection {
        Connection::default()
    }

    /// One direction.
    pub fn stream(&self, direction: Direction) -> &Assembler {
        match direction {
            Direction::ToAcceptor => &self.to_acceptor,
            Direction::ToOpener => &self.to_opener,
        }
    }

    /// What was let go so far.
    pub fn let_go(&self) -> LetGo {
        self.let_go
    }

    /// Takes one segment; `payload` are the bytes of it that were captured.
    #[expect(clippy::too_many_arguments, reason = "what is known of one segment")]
    pub fn segment(
        &mut self,
        tracked: &Tracked,
        segment: &Segment,
        payload: &[u8],
        mark: Mark,
        limits: &Limits,
        budget: &mut Budget,
        sinks: &mut impl Sinks,
    ) {
        let direction = tracked.direction;
        if tracked.fit == Fit::FarAhead {
            self.let_go.far += payload.len() as u64;
            self.let_go.far_segments += 1;
            return;
        }
        if segment.flags.has(Flags::RST) {
            self.let_go.aside += payload.len() as u64;
            return;
        }
        if segment.flags.has(Flags::FIN) {
            let [to_acceptor, to_opener] = &mut self.fins;
            let fin = match direction {
                Direction::ToAcceptor => to_acceptor,
                Direction::ToOpener => to_opener,
            };
            fin.get_or_insert(tracked.offset + i64::from(segment.payload_len));
        }
        if segment.payload_len > 0 || !payload.is_empty() {
            let piece = Piece {
                offset: tracked.offset,
                mark,
                bytes: payload,
                wire_len: segment.payload_len,
            };
            let (stream, mut sink) = self.toward(direction, sinks);
            stream.segment(piece, limits, budget, &mut sink);
        }
        if let Some(acked) = tracked.acked {
            let (stream, mut sink) = self.toward(direction.reversed(), sinks);
            stream.acked(acked, mark, limits, budget, &mut sink);
        }
    }

    /// Whether a direction waits for bytes that may still come.
    pub fn waits(&self, direction: Direction) -> bool {
        self.stream(direction).waits()
    }

    /// Nothing more comes: passes on what is held. `reason` is given to holes that nobody
    /// acknowledged.
    pub fn finish(
        &mut self,
        reason: GapReason,
        limits: &Limits,
        budget: &mut Budget,
        sinks: &mut impl Sinks,
    ) {
        for (direction, fin) in [Direction::ToAcceptor, Direction::ToOpener]
            .into_iter()
            .zip(self.fins)
        {
            let (stream, mut sink) = self.toward(direction, sinks);
            stream.finish(fin, reason, limits, budget, &mut sink);
        }
    }

    fn toward<'a, S: Sinks>(
        &'a mut self,
        direction: Direction,
        sinks: &'a mut S,
    ) -> (&'a mut Assembler, Toward<'a, S>) {
        let stream = match direction {
            Direction::ToAcceptor => &mut self.to_acceptor,
            Direction::ToOpener => &mut self.to_opener,
        };
        (stream, Toward { direction, sinks })
    }
}

/// One direction's end of [`Sinks`].
struct Toward<'a, S> {
    direction: Direction,
    sinks: &'a mut S,
}

impl<S: Sinks> Sink for Toward<'_, S> {
    fn bytes(&mut self, mark: Mark, offset: u64, bytes: &[u8]) {
        self.sinks.bytes(self.direction, mark, offset, bytes);
    }

    fn gap(&mut self, mark: Mark, offset: u64, length: u64, reason: GapReason) {
        self.sinks.gap(self.direction, mark, offset, length, reason);
    }
}
