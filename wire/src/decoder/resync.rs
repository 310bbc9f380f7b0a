//! Finding the next frame after a gap, damage or a start in mid-stream.
//!
//! A place is taken for a frame when its head is sane, its class name and header map read as such,
//! its CRC holds where it has one, and the heads that must follow it are sane in turn. A whole
//! frame within another's body is therefore not enough: what follows it there is no head.

use std::collections::VecDeque;

use super::Limits;
use super::evidence::{Look, Proof, Seen, look};
use super::partial::FRONT_BYTES;

/// Heads that must follow a frame before it is believed, where the bytes are there.
const FOLLOWERS: usize = 3;

/// Bytes held back while a frame is looked for, with the marks of the feeds they came from.
#[derive(Clone, Debug)]
pub(super) struct Search<M> {
    bytes: Vec<u8>,
    /// `0 <= start <= bytes.len()`; what lies before was passed over.
    start: usize,
    /// Stream offset of `bytes[0]`.
    base: u64,
    /// Stream offset at which the search began.
    origin: u64,
    /// `(stream offset, mark)` of each feed, ascending; the first covers `start`.
    marks: VecDeque<(u64, M)>,
    /// Nothing new can be said before the stream offset reaches this.
    wait_until: u64,
}

/// Whether more bytes may follow those held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// They may.
    MayCome,
    /// A gap or the end of the stream stands right behind them.
    Never,
}

/// How a look at the held bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame begins with the first byte now held.
    Frame,
    /// More bytes are needed (or, with [`Rest::Never`], nothing is there and nothing held).
    Nothing,
}

impl<M: Copy> Search<M> {
    /// Begins a search at stream offset `origin`.
    pub(super) fn at(origin: u64) -> Self {
        Search {
            bytes: Vec::new(),
            start: 0,
            base: origin,
            origin,
            marks: VecDeque::new(),
            wait_until: origin,
        }
    }

    /// Goes on with the bytes held as a new search, since what was found there broke off.
    pub(super) fn again(&mut self) {
        self.origin = self.offset();
        self.wait_until = self.origin;
    }

    /// The bytes held.
    pub(super) fn held(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or(&[])
    }

    /// Stream offset of the first byte held.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Mark of the byte at a stream offset, which must be held.
    pub(super) fn mark(&self, offset: u64) -> Option<M> {
        let after = self.marks.partition_point(|(from, _)| *from <= offset);
        self.marks
            .get(after.saturating_sub(1))
            .map(|(_, mark)| *mark)
    }

    /// Takes bytes from the front of `input` while there is room; returns how many.
    pub(super) fn take(&mut self, mark: M, input: &[u8], limits: &Limits) -> usize {
        let room = hold_max(limits).saturating_sub(self.held().len());
        let taken = input.get(..room).unwrap_or(input);
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.base += self.start as u64;
            self.start = 0;
        }
        // Feeds of a few bytes share a mark rather than let marks outgrow the bytes.
        if self.marks.len() <= hold_max(limits) / 16 {
            self.marks
                .push_back((self.base + self.bytes.len() as u64, mark));
        }
        self.bytes.extend_from_slice(taken);
        taken.len()
    }

    /// Lets go of `len` bytes at the front.
    pub(super) fn advance(&mut self, len: usize) {
        self.start = (self.start + len).min(self.bytes.len());
        let offset = self.offset();
        while self.marks.get(1).is_some_and(|(from, _)| *from <= offset) {
            self.marks.pop_front();
        }
    }

    /// Passes over what is no frame. Returns what was found, and how many bytes were passed over.
    /// Looks at `places` bytes at most.
    pub(super) fn find(&mut self, limits: &Limits, rest: Rest, places: u64) -> (Found, u64) {
        let before = self.offset();
        let held_until = before + self.held().len() as u64;
        let full = self.held().len() >= hold_max(limits);
        if rest == Rest::MayCome && held_until < self.wait_until && !full {
            return (Found::Nothing, 0);
        }
        let found = self.pass_over(limits, rest, before.saturating_add(places));
        (found, self.offset() - before)
    }

    fn pass_over(&mut self, limits: &Limits, rest: Rest, last: u64) -> Found {
        loop {
            if self.offset() >= last {
                return Found::Nothing;
            }
            let Some(at) = memchr::memchr3(1, 2, 13, self.held()) else {
                self.advance(self.held().len());
                return Found::Nothing;
            };
            self.advance(at.min(usize::try_from(last - self.offset()).unwrap_or(usize::MAX)));
            if self.offset() >= last {
                return Found::Nothing;
            }
            match self.judge(self.start, limits) {
                Judgement::Confirmed => return Found::Frame,
                Judgement::Refused => self.advance(1),
                Judgement::Open { need, .. }
                    if rest == Rest::MayCome && self.held().len() < hold_max(limits) =>
                {
                    self.wait_until = self.offset() + need;
                    return Found::Nothing;
                }
                Judgement::Open { proof, tail, .. } => match (tail, proof, rest) {
                    (_, Proof::Weak, _) => self.advance(1),
                    // Too long for what may be held: it is believed, unless frames that follow
                    // each other begin within it.
                    (Tail::Beyond, Proof::Strong, Rest::MayCome) => {
                        if let Some(at) = self.confirmed_behind(limits) {
                            self.advance(at - self.start);
                        }
                        return Found::Frame;
                    }
                    (Tail::Beyond, Proof::Strong, Rest::Never) => self.advance(1),
                    (Tail::Agrees, Proof::Strong, _) => return Found::Frame,
                },
            }
        }
    }

    /// Where the first confirmed frame behind the current place begins, as an index.
    fn confirmed_behind(&self, limits: &Limits) -> Option<usize> {
        let mut from = self.start + 1;
        while let Some(at) = memchr::memchr3(1, 2, 13, self.bytes.get(from..)?) {
            if self.judge(from + at, limits) == Judgement::Confirmed {
                return Some(from + at);
            }
            from += at + 1;
        }
        None
    }

    fn judge(&self, at: usize, limits: &Limits) -> Judgement {
        let bytes = self.bytes.get(at..).unwrap_or(&[]);
        let first = match look(bytes, limits) {
            Look::Seen(seen) => seen,
            Look::Refused => return Judgement::Refused,
            Look::Need(need) => return Judgement::open(need, Proof::Weak, Tail::Agrees),
            Look::Cut(need) => return Judgement::open(need, Proof::Weak, Tail::Beyond),
        };
        let at_origin = self.base + at as u64 == self.origin;
        follow(bytes, &first, at_origin, limits)
    }
}

/// What is held at most: never less than a head needs.
fn hold_max(limits: &Limits) -> usize {
    limits.resync_bytes_max.max(4 * FRONT_BYTES)
}

/// Whether a frame begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Confirmed,
    Refused,
    /// Bytes are missing: `need` of them, counted from the place, may tell more.
    Open {
        need: u64,
        proof: Proof,
        tail: Tail,
    },
}

impl Judgement {
    fn open(need: u64, proof: Proof, tail: Tail) -> Judgement {
        Judgement::Open { need, proof, tail }
    }
}

/// What is to be seen where the frame ends, or the last of those that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// That end is not held.
    Beyond,
    /// That end is held, and what follows agrees as far as it goes.
    Agrees,
}

/// Looks at the heads that must follow the frame at the front of `bytes`.
fn follow(bytes: &[u8], first: &Seen, at_origin: bool, limits: &Limits) -> Judgement {
    let proof = first.proof();
    let mut at = first.len();
    for followers in 0..FOLLOWERS {
        let tail = if at > bytes.len() as u64 {
            Tail::Beyond
        } else {
            Tail::Agrees
        };
        let rest = match usize::try_from(at) {
            Ok(at) => bytes.get(at..).unwrap_or(&[]),
            Err(_) => &[],
        };
        if followers == 0 && tail == Tail::Agrees && !first.crc_holds(bytes) {
            return Judgement::Refused;
        }
        let next = match look(rest, limits) {
            Look::Seen(next) => next,
            Look::Need(need) => return Judgement::open(at.saturating_add(need), proof, tail),
            // Judged when it is all there, so that it does not matter how bytes are fed.
            Look::Cut(need) => {
                return Judgement::open(at.saturating_add(need), proof, Tail::Beyond);
            }
            Look::Refused => return Judgement::Refused,
        };
        // Chance can end a false frame where a real one begins. Then nothing binds the two.
        if followers == 0 && !at_origin && !first.is_akin(bytes, &next) {
            return Judgement::Refused;
        }
        at = at.saturating_add(next.len());
    }
    Judgement::Confirmed
}
