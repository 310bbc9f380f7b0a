//! What changes in one stream, and where every byte of it goes.

use std::ops::Range;

/// Bytes of a stream that take the place of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edit {
    /// Stream offset of the first byte replaced.
    start: u64,
    /// How many are replaced.
    old_len: u32,
    /// How many take their place.
    new_len: u32,
    /// Where in the store they lie.
    at: usize,
    /// By how much the new stream is longer in front of this edit.
    ahead: i64,
}

impl Edit {
    fn end(&self) -> u64 {
        self.start + u64::from(self.old_len)
    }

    fn growth(&self) -> i64 {
        i64::from(self.new_len) - i64::from(self.old_len)
    }
}

/// The edits of one stream, in order, and which of its bytes are whole frames.
///
/// Costs 32 bytes and the new bytes per edit, 16 bytes per run of whole frames.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamPlan {
    /// Runs of whole frames, disjoint and in order.
    framed: Vec<Range<u64>>,
    edits: Vec<Edit>,
    store: Vec<u8>,
}

/// Whether bytes that are no whole frame are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// As they are.
    Kept,
    /// As zeros.
    Blanked,
}

impl StreamPlan {
    /// Notes a whole frame, or bytes that are kept like those of one; frames come in the order of
    /// the stream.
    pub(super) fn frame(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.framed.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.framed.push(range),
        }
    }

    /// Notes an edit; edits come in the order of the stream, do not overlap and replace at least
    /// one byte.
    pub(super) fn edit(&mut self, start: u64, old_len: usize, new: &[u8]) {
        let ahead = self
            .edits
            .last()
            .map_or(0, |last| last.ahead + last.growth());
        debug_assert!(self.edits.last().is_none_or(|last| last.end() <= start));
        debug_assert!(old_len > 0);
        // Parts of one frame, whose length fits 32 bits.
        self.edits.push(Edit {
            start,
            old_len: old_len as u32,
            new_len: new.len() as u32,
            at: self.store.len(),
            ahead,
        });
        self.store.extend_from_slice(new);
    }

    /// Bytes of memory.
    pub(super) fn cost(&self) -> usize {
        self.framed.capacity() * size_of::<Range<u64>>()
            + self.edits.capacity() * size_of::<Edit>()
            + self.store.capacity()
    }

    pub(super) fn shrink(&mut self) {
        self.framed.shrink_to_fit();
        self.edits.shrink_to_fit();
        self.store.shrink_to_fit();
    }

    /// How far a place of the stream moves: the new offset is `offset + shift(offset)`.
    ///
    /// A place inside an edit moves to the same distance from its start, at most to its end. The
    /// new offset never falls while the old one rises, so that segments, acknowledgements and
    /// blocks of selective ones that met still meet.
    pub(super) fn shift(&self, offset: i64) -> i64 {
        let Ok(offset) = u64::try_from(offset) else {
            return 0;
        };
        let Some(edit) = self.last_before(offset) else {
            return 0;
        };
        if offset >= edit.end() {
            return edit.ahead + edit.growth();
        }
        let inside = offset - edit.start;
        edit.ahead - (inside as i64 - inside.min(u64::from(edit.new_len)) as i64)
    }

    /// The last edit that begins before an offset.
    fn last_before(&self, offset: u64) -> Option<&Edit> {
        let count = self.edits.partition_point(|edit| edit.start < offset);
        self.edits.get(count.checked_sub(1)?)
    }

    fn is_framed(&self, range: Range<u64>) -> bool {
        range.is_empty()
            || self
                .run_at(range.start)
                .is_some_and(|run| run.start <= range.start && run.end >= range.end)
    }

    /// The last run that begins at or before an offset.
    fn run_at(&self, offset: u64) -> Option<&Range<u64>> {
        let count = self.framed.partition_point(|run| run.start <= offset);
        self.framed.get(count.checked_sub(1)?)
    }

    /// What a piece of the stream becomes, and how many of its bytes were blanked. A copy of the
    /// same piece, sent again in whatever cut, becomes the same bytes.
    pub(super) fn piece(&self, offset: i64, bytes: &[u8], rest: Rest) -> (Vec<u8>, u64) {
        let mut out = Vec::with_capacity(bytes.len() + 16);
        let mut blanked = 0;
        let before = match u64::try_from(offset) {
            Ok(_) => 0,
            Err(_) => usize::try_from(offset.unsigned_abs())
                .unwrap_or(usize::MAX)
                .min(bytes.len()),
        };
        let (before, bytes) = bytes.split_at(before);
        match rest {
            Rest::Kept => out.extend_from_slice(before),
            Rest::Blanked => {
                out.resize(before.len(), 0);
                blanked += before.len() as u64;
            }
        }
        let start = u64::try_from(offset).unwrap_or(0);
        let end = start + bytes.len() as u64;
        let part = |from: u64, to: u64| {
            bytes
                .get((from - start) as usize..(to - start) as usize)
                .unwrap_or_default()
        };
        let mut at = start;
        let first = self.edits.partition_point(|edit| edit.end() <= start);
        for edit in self.edits.get(first..).unwrap_or_default() {
            if edit.start >= end {
                break;
            }
            if edit.start > at {
                blanked += self.plain(at, part(at, edit.start), rest, &mut out);
            }
            let within = |offset: u64| (offset - edit.start).min(u64::from(edit.new_len)) as usize;
            let from = within(at.max(edit.start));
            let to = if end >= edit.end() {
                edit.new_len as usize
            } else {
                within(end)
            };
            out.extend_from_slice(
                self.store
                    .get(edit.at + from..edit.at + to)
                    .unwrap_or_default(),
            );
            at = edit.end().min(end);
        }
        if at < end {
            blanked += self.plain(at, part(at, end), rest, &mut out);
        }
        (out, blanked)
    }

    /// Bytes without edits: copied where they are of whole frames.
    fn plain(&self, start: u64, bytes: &[u8], rest: Rest, out: &mut Vec<u8>) -> u64 {
        let end = start + bytes.len() as u64;
        if rest == Rest::Kept || self.is_framed(start..end) {
            out.extend_from_slice(bytes);
            return 0;
        }
        let from = out.len();
        out.resize(from + bytes.len(), 0);
        let mut blanked = bytes.len() as u64;
        let first = self.framed.partition_point(|run| run.end <= start);
        for run in self.framed.get(first..).unwrap_or_default() {
            if run.start >= end {
                break;
            }
            let (a, b) = (run.start.max(start), run.end.min(end));
            let (a, b) = ((a - start) as usize, (b - start) as usize);
            if let (Some(to), Some(part)) = (out.get_mut(from + a..from + b), bytes.get(a..b)) {
                to.copy_from_slice(part);
                blanked -= part.len() as u64;
            }
        }
        blanked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream `abcdefghij` with `cd` made `XYZ`, and `gh` made `-`.
    fn plan() -> StreamPlan {
        let mut plan = StreamPlan::default();
        plan.frame(0..4);
        plan.frame(4..10);
        plan.edit(2, 2, b"XYZ");
        plan.edit(6, 2, b"-");
        plan
    }

    #[test]
    fn places_move() {
        let plan = plan();
        let moved: Vec<i64> = (-1..12).map(|at| at + plan.shift(at)).collect();
        assert_eq!(moved, [-1, 0, 1, 2, 3, 5, 6, 7, 8, 8, 9, 10, 11]);
    }

    #[track_caller]
    fn check(offset: i64, bytes: &[u8], rest: Rest, expect: &str) {
        let plan = plan();
        let (made, blanked) = plan.piece(offset, bytes, rest);
        assert_eq!(String::from_utf8_lossy(&made).replace('\0', "0"), expect);
        assert_eq!(
            blanked,
            made.iter().filter(|byte| **byte == 0).count() as u64
        );
        assert_eq!(
            made.len() as i64,
            bytes.len() as i64 + plan.shift(offset + bytes.len() as i64) - plan.shift(offset)
        );
    }

    #[test]
    fn pieces_follow() {
        check(0, b"abcdefghij", Rest::Blanked, "abXYZef-ij");
        check(0, b"abc", Rest::Blanked, "abX");
        check(3, b"defg", Rest::Blanked, "YZef-");
        check(7, b"hij", Rest::Blanked, "ij");
        check(7, b"h", Rest::Blanked, "");
        check(4, b"ef", Rest::Blanked, "ef");
        check(-2, b"??ab", Rest::Blanked, "00ab");
        check(-2, b"??ab", Rest::Kept, "??ab");
        check(8, b"ij??", Rest::Blanked, "ij00");
        check(20, b"??", Rest::Blanked, "00");
        check(20, b"??", Rest::Kept, "??");
        check(5, b"", Rest::Blanked, "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        /// Any cut of a stream into pieces gives the same bytes, whatever the edits.
        #[test]
        fn any_cut_gives_the_same(
            edits in prop::collection::vec((1usize..9, 1usize..6, prop::collection::vec(1u8.., 0..9)), 0..6),
            cuts in prop::collection::vec(0usize..80, 0..9),
        ) {
            let stream: Vec<u8> = (1..=80).collect();
            let mut plan = StreamPlan::default();
            plan.frame(0..80);
            let mut expect = Vec::new();
            let mut at = 0;
            for (gap, old, new) in edits {
                let start = at + gap;
                if start + old > stream.len() {
                    break;
                }
                expect.extend_from_slice(&stream[at..start]);
                expect.extend_from_slice(&new);
                plan.edit(start as u64, old, &new);
                at = start + old;
            }
            expect.extend_from_slice(&stream[at..]);
            let mut cuts = cuts;
            cuts.extend([0, 80]);
            cuts.sort_unstable();
            let mut made = Vec::new();
            for pair in cuts.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                prop_assert_eq!(from as i64 + plan.shift(from as i64), made.len() as i64);
                let (piece, blanked) = plan.piece(from as i64, &stream[from..to], Rest::Blanked);
                prop_assert_eq!(blanked, 0);
                made.extend(piece);
            }
            prop_assert_eq!(made, expect);
        }
    }
}
