//! One direction of a connection, put in order.

use std::collections::BTreeMap;

use super::{GapReason, Limits, Mark};

/// Takes what an [`Assembler`] passes on. Offsets are contiguous: each call begins where the one
/// before it ended.
pub trait Sink {
    /// Bytes of the stream, in order, each once.
    fn bytes(&mut self, mark: Mark, offset: u64, bytes: &[u8]);
    /// Bytes that will not come.
    fn gap(&mut self, mark: Mark, offset: u64, length: u64, reason: GapReason);
}

/// The payload of one segment, at its place.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Stream offset of its first byte, as [`super::Tracked`] gives it.
    pub offset: i64,
    /// Packet and time.
    pub mark: Mark,
    /// The bytes that were captured.
    pub bytes: &'a [u8],
    /// How many there were on the wire; more than `bytes.len()` where the snaplen cut them.
    pub wire_len: u32,
}

/// What all assemblers of one pass hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    held: usize,
    history: usize,
}

/// What became of the bytes that were put in. `put in = passed on + held + duplicate + before`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed on to the sink.
    pub passed: u64,
    /// Seen before: retransmissions, overlaps, keep-alive probes.
    pub duplicate: u64,
    /// Sent before the capture began: they belong before offset 0.
    pub before: u64,
    /// Segments that overlap others with different bytes. The first copy was kept.
    pub conflicts: u64,
}

/// Puts one direction of a connection in order.
///
/// - What comes in order is passed on as it is; only what is ahead of a hole is copied and held,
///   within the limits.
/// - The first copy of a byte wins; later copies are duplicates, and a conflict where they differ
///   from what is held or kept as history. The single byte of a keep-alive probe is not compared:
///   stacks put anything there.
/// - A hole is given up when the receiver has acknowledged past it **and** the capture had the
///   chance to show it late ([`Limits::reorder_segments`], [`Limits::reorder_ns`]); when a packet
///   that the snaplen cut covers it; when a limit is reached; at the end. What the other side
///   says meanwhile does not count.
/// - A hole of one byte at the very end is taken for a FIN that was lost, not for data.
#[derive(Debug, Default)]
pub struct Assembler {
    next: u64,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// Ranges that the snaplen cut away, ahead of `next`: start to end.
    cuts: BTreeMap<u64, u64>,
    acked: u64,
    pending: Option<Pending>,
    history: Vec<u8>,
    last: Mark,
    counts: Counts,
}

#[derive(Debug)]
struct Held {
    mark: Mark,
    bytes: Box<[u8]>,
}

/// Holes below `upto` are acknowledged; they get a last chance.
#[derive(Clone, Copy, Debug)]
struct Pending {
    upto: u64,
    since_ns: u64,
    segments: u32,
}

impl Assembler {
    /// An empty stream that waits for offset 0.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// What became of the bytes so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Offset of the next byte to pass on.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that wait behind a hole.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether bytes are missing that may still come.
    pub fn waits(&self) -> bool {
        !self.held.is_empty() || self.acked > self.next
    }

    /// Takes the payload of one segment.
    pub fn segment(
        &mut self,
        piece: Piece<'_>,
        limits: &Limits,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) {
        let wire_end = piece.offset.saturating_add(i64::from(piece.wire_len));
        self.last = piece.mark;
        // Nearly all segments of nearly all captures end here.
        if u64::try_from(piece.offset) == Ok(self.next)
            && self.held.is_empty()
            && self.cuts.is_empty()
            && self.pending.is_none()
        {
            self.pass(piece.mark, piece.bytes, limits, budget, sink);
            if piece.wire_len as usize > piece.bytes.len() {
                self.skip_to(wire_end.unsigned_abs(), GapReason::Snaplen, budget, sink);
            }
            return;
        }
        let (start, bytes) = self.without_start(piece);
        let behind = self.place(start, bytes, piece.mark, limits, budget, sink);
        let end = start + bytes.len() as u64;
        if let Ok(wire_end) = u64::try_from(wire_end)
            && wire_end > end.max(self.next)
            && self.cuts.len() < limits.held_pieces_max
        {
            let cut = self.cuts.entry(end).or_insert(wire_end);
            *cut = wire_end.max(*cut);
        }
        self.advance(limits, budget, sink);
        if behind && let Some(pending) = &mut self.pending {
            pending.segments += 1;
        }
        self.settle(piece.mark.at_ns, limits, budget, sink);
    }

    /// The receiver has everything up to `offset` (see [`super::Tracked::acked`]).
    pub fn acked(
        &mut self,
        offset: i64,
        mark: Mark,
        limits: &Limits,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) {
        if let Ok(offset) = u64::try_from(offset)
            && offset > self.acked
        {
            self.acked = offset;
        }
        if self.acked > self.next {
            self.last = mark;
            self.settle(mark.at_ns, limits, budget, sink);
        }
    }

    /// Nothing more comes: passes on what is held. `fin` is the offset of the FIN, where one was
    /// seen; `reason` is given to holes that nobody acknowledged.
    pub fn finish(
        &mut self,
        fin: Option<i64>,
        reason: GapReason,
        limits: &Limits,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) {
        while let Some((&start, _)) = self.held.first_key_value() {
            let reason = if self.acked >= start {
                GapReason::Acked
            } else {
                reason
            };
            self.skip_to(start, reason, budget, sink);
            self.advance(limits, budget, sink);
        }
        self.advance(limits, budget, sink);
        if self.acked > self.next && !self.is_lost_fin() {
            self.skip_to(self.acked, GapReason::Acked, budget, sink);
        }
        if let Some(Ok(fin)) = fin.map(u64::try_from)
            && fin > self.next
        {
            self.skip_to(fin, reason, budget, sink);
        }
        self.pending = None;
        budget.history -= self.history.len();
        self.history = Vec::new();
    }

    /// Cuts off and counts what belongs before offset 0.
    fn without_start<'a>(&mut self, piece: Piece<'a>) -> (u64, &'a [u8]) {
        match u64::try_from(piece.offset) {
            Ok(start) => (start, piece.bytes),
            Err(_) => {
                let ahead = usize::try_from(piece.offset.unsigned_abs()).unwrap_or(usize::MAX);
                let (before, rest) = piece.bytes.split_at(ahead.min(piece.bytes.len()));
                if piece.offset == -1 && piece.bytes.len() == 1 {
                    self.counts.duplicate += 1;
                } else {
                    self.counts.before += before.len() as u64;
                }
                (0, rest)
            }
        }
    }

    /// Passes on or holds what is new of a segment; whether part of it lies behind a hole.
    fn place(
        &mut self,
        start: u64,
        bytes: &[u8],
        mark: Mark,
        limits: &Limits,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) -> bool {
        let end = start + bytes.len() as u64;
        // Offsets within `start..end` only, so that the difference fits.
        let part = |from: u64, to: u64| &bytes[(from - start) as usize..(to - start) as usize];
        let mut at = start;
        let mut behind = false;
        let mut conflict = false;
        if at < self.next && !bytes.is_empty() {
            let to = end.min(self.next);
            let is_probe = bytes.len() == 1 && end == self.next;
            conflict |= !is_probe && self.contradicts_history(at, part(at, to));
            self.counts.duplicate += to - at;
            at = to;
        }
        while at < end {
            if at < self.next {
                // Room was made by going on past these bytes.
                let to = end.min(self.next);
                self.counts.duplicate += to - at;
                at = to;
                continue;
            }
            let covering = self
                .held
                .range(..=at)
                .next_back()
                .map(|(&from, held)| (from, held, from + held.bytes.len() as u64))
                .filter(|&(_, _, to)| to > at);
            if let Some((from, held, to)) = covering {
                let to = to.min(end);
                let known = held
                    .bytes
                    .get((at - from) as usize..(to - from) as usize)
                    .unwrap_or_default();
                conflict |= known != part(at, to);
                self.counts.duplicate += to - at;
                behind = true;
                at = to;
                continue;
            }
            if at == self.next {
                let to = self.held_from(at).unwrap_or(end).min(end);
                self.pass(mark, part(at, to), limits, budget, sink);
                at = to;
                continue;
            }
            let to = self.held_from(at).unwrap_or(end).min(end);
            let len = (to - at) as usize;
            if self.held_bytes + len > limits.held_bytes_max
                || self.held.len() >= limits.held_pieces_max
                || budget.held + len > limits.held_total_bytes_max
            {
                // The first hole is given up; the bytes behind it go on.
                let first = self.held_from(self.next).unwrap_or(at).min(at);
                self.skip_to(first, GapReason::Limit, budget, sink);
                self.advance(limits, budget, sink);
                continue;
            }
            self.held.insert(
                at,
                Held {
                    mark,
                    bytes: part(at, to).into(),
                },
            );
            self.held_bytes += len;
            budget.held += len;
            behind = true;
            at = to;
        }
        if conflict {
            self.counts.conflicts += 1;
        }
        behind
    }

    /// Start of the first held piece at or behind `at`.
    fn held_from(&self, at: u64) -> Option<u64> {
        Some(*self.held.range(at..).next()?.0)
    }

    /// Passes on held bytes that are next, and passes over what the snaplen cut away.
    fn advance(&mut self, limits: &Limits, budget: &mut Budget, sink: &mut impl Sink) {
        loop {
            if let Some(first) = self.held.first_entry() {
                if *first.key() == self.next {
                    let held = first.remove();
                    self.held_bytes -= held.bytes.len();
                    budget.held -= held.bytes.len();
                    self.pass(held.mark, &held.bytes, limits, budget, sink);
                    continue;
                }
            } else if self.cuts.is_empty() {
                break;
            }
            while let Some(cut) = self.cuts.first_entry()
                && *cut.get() <= self.next
            {
                cut.remove();
            }
            let Some((&start, &end)) = self.cuts.first_key_value() else {
                break;
            };
            if start > self.next {
                break;
            }
            let to = self.held_from(self.next).unwrap_or(end).min(end);
            self.skip_to(to, GapReason::Snaplen, budget, sink);
        }
    }

    /// Gives up holes that were acknowledged and had their chance.
    fn settle(&mut self, at_ns: u64, limits: &Limits, budget: &mut Budget, sink: &mut impl Sink) {
        if self.acked <= self.next {
            self.pending = None;
            return;
        }
        match self.pending {
            Some(pending) if pending.upto > self.next => {
                let waited = at_ns.saturating_sub(pending.since_ns) >= limits.reorder_ns;
                if !waited && pending.segments < limits.reorder_segments {
                    return;
                }
                while self.next < pending.upto && !self.is_lost_fin() {
                    let to = self.held_from(self.next).unwrap_or(pending.upto);
                    self.skip_to(to.min(pending.upto), GapReason::Acked, budget, sink);
                    self.advance(limits, budget, sink);
                }
            }
            _ => {}
        }
        self.pending = (self.acked > self.next).then_some(Pending {
            upto: self.acked,
            since_ns: at_ns,
            segments: 0,
        });
    }

    fn is_lost_fin(&self) -> bool {
        self.held.is_empty() && self.acked == self.next + 1
    }

    fn pass(
        &mut self,
        mark: Mark,
        bytes: &[u8],
        limits: &Limits,
        budget: &mut Budget,
        sink: &mut impl Sink,
    ) {
        if bytes.is_empty() {
            return;
        }
        sink.bytes(mark, self.next, bytes);
        self.next += bytes.len() as u64;
        self.counts.passed += bytes.len() as u64;
        if limits.history_bytes > 0 {
            self.remember(bytes, limits, budget);
        }
    }

    fn skip_to(&mut self, to: u64, reason: GapReason, budget: &mut Budget, sink: &mut impl Sink) {
        if to > self.next {
            sink.gap(self.last, self.next, to - self.next, reason);
            self.next = to;
            budget.history -= self.history.len();
            self.history.clear();
        }
    }

    fn remember(&mut self, bytes: &[u8], limits: &Limits, budget: &mut Budget) {
        let tail = &bytes[bytes.len().saturating_sub(limits.history_bytes)..];
        budget.history -= self.history.len();
        if tail.len() < bytes.len() {
            self.history.clear();
        }
        // Twice the size is kept before the older half goes, so that bytes move once.
        if self.history.len() + tail.len() > 2 * limits.history_bytes {
            let surplus = (self.history.len() + tail.len()).saturating_sub(limits.history_bytes);
            self.history.drain(..surplus.min(self.history.len()));
        }
        if budget.history + self.history.len() + tail.len() <= limits.history_total_bytes_max {
            self.history.extend_from_slice(tail);
        } else {
            self.history.clear();
        }
        budget.history += self.history.len();
    }

    /// Whether bytes that were passed on already were others. `bytes` ends at or before `next`.
    fn contradicts_history(&self, start: u64, bytes: &[u8]) -> bool {
        let from = self.next - self.history.len() as u64;
        let end = start + bytes.len() as u64;
        let start_known = start.max(from);
        if start_known >= end {
            return false;
        }
        let known = self
            .history
            .get((start_known - from) as usize..(end - from) as usize);
        known != bytes.get((start_known - start) as usize..)
    }
}
