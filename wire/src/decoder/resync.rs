//! Finding the next frame after a gap, damage or a start in mid-stream.
//!
//! A place is taken for a frame when its head is sane, its class name and header map read as such,
//! its CRC holds where it has one, and the heads that must follow it are sane in turn. A whole
//! frame within another's body is therefore not enough: what follows it there is no head.

use std::collections::VecDeque;
use std::ops::Range;

use super::Limits;
use crate::bolt::{Command, Head, Step};
use crate::protocol::Kind;

/// Heads that must follow a frame before it is believed, where the bytes are there.
const FOLLOWERS: usize = 3;

/// Longest class name that is believed; real ones have some 50 bytes.
const CLASS_LEN_MAX: u16 = 512;

/// Longest time-out that is believed: one day.
const TIMEOUT_MS_MAX: i32 = 86_400_000;

/// Ids of one direction of a connection lie closer together than this, unless chance wrote them.
const ID_DISTANCE_MAX: u32 = 1 << 24;

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
            let Some(at) = memchr::memchr2(1, 2, self.held()) else {
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
        while let Some(at) = memchr::memchr2(1, 2, self.bytes.get(from..)?) {
            if self.judge(from + at, limits) == Judgement::Confirmed {
                return Some(from + at);
            }
            from += at + 1;
        }
        None
    }

    fn judge(&self, at: usize, limits: &Limits) -> Judgement {
        let bytes = self.bytes.get(at..).unwrap_or(&[]);
        let head = match Head::parse(bytes) {
            Step::Head(head) => head,
            Step::Need(need) if sane_front(bytes) => {
                return Judgement::open(need as u64, Proof::Weak, Tail::Agrees);
            }
            Step::Need(_) | Step::Malformed(_) => return Judgement::Refused,
        };
        if !sane(&head, limits) {
            return Judgement::Refused;
        }
        let proof = match read_as(bytes, &head) {
            Shape::Wrong => return Judgement::Refused,
            Shape::Cut => {
                let end = parts(&head).content.start;
                return Judgement::open(end as u64, Proof::Weak, Tail::Beyond);
            }
            Shape::Right(proof) => proof,
        };
        let at_origin = self.base + at as u64 == self.origin;
        follow(bytes, &head, proof, at_origin, limits)
    }
}

/// What is held at most: never less than a head needs.
fn hold_max(limits: &Limits) -> usize {
    limits.resync_bytes_max.max(4 * Head::BYTES_MAX)
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

/// How much a frame shows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Sane fields.
    Weak,
    /// A class name or a heartbeat's zeros as well.
    Strong,
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
fn follow(bytes: &[u8], first: &Head, proof: Proof, at_origin: bool, limits: &Limits) -> Judgement {
    let mut at = first.frame_len();
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
        if followers == 0 && tail == Tail::Agrees && !crc_holds(bytes, first) {
            return Judgement::Refused;
        }
        let next = match Head::parse(rest) {
            Step::Head(next) if sane(&next, limits) => next,
            Step::Need(need) if sane_front(rest) => {
                return Judgement::open(at.saturating_add(need as u64), proof, tail);
            }
            _ => return Judgement::Refused,
        };
        match read_as(rest, &next) {
            Shape::Wrong => return Judgement::Refused,
            // Judged when it is all there, so that it does not matter how bytes are fed.
            Shape::Cut => {
                let need = at.saturating_add(parts(&next).content.start as u64);
                return Judgement::open(need, proof, Tail::Beyond);
            }
            Shape::Right(_) => {}
        }
        // Chance can end a false frame where a real one begins. Then nothing binds the two.
        if followers == 0 && !at_origin && !akin(bytes, first, &next) {
            return Judgement::Refused;
        }
        at += next.frame_len();
    }
    Judgement::Confirmed
}

/// Whether the first of two neighbours shows by more than its class name that it is a frame, or at
/// least goes with the second.
fn akin(bytes: &[u8], first: &Head, next: &Head) -> bool {
    let distance = first.id.wrapping_sub(next.id);
    first.header_len > 0
        || first.version.has_crc()
        || names_its_class(bytes, first)
        || (first.version.protocol() == next.version.protocol()
            && distance.min(distance.wrapping_neg()) <= ID_DISTANCE_MAX)
}

/// Whether the content starts as Hessian does in SOFA's dialect: `O`, a length, the class's name.
fn names_its_class(bytes: &[u8], head: &Head) -> bool {
    let parts = parts(head);
    let class = bytes.get(parts.class).unwrap_or(&[]);
    let content = bytes.get(parts.content).unwrap_or(&[]);
    let front = content
        .get(..class.len().saturating_add(8))
        .unwrap_or(content);
    class.len() >= 4 && memchr::memmem::find(front, class).is_some()
}

fn crc_holds(bytes: &[u8], head: &Head) -> bool {
    if !head.version.has_crc() {
        return true;
    }
    let end = parts(head).content.end;
    let (Some(covered), Some(stored)) = (bytes.get(..end), bytes.get(end..end.saturating_add(4)))
    else {
        return false;
    };
    crc32fast::hash(covered).to_be_bytes() == stored
}

/// Whether the fields of a head agree with each other and are such as are sent.
fn sane(head: &Head, limits: &Limits) -> bool {
    let kind = head.kind();
    let switch_ok = match head.version {
        crate::bolt::Version::V1 => true,
        crate::bolt::Version::V2 { switch, .. } => switch <= 1,
    };
    let command_ok = match head.command {
        Command::Response { status } => status <= 0x1f,
        Command::Request { timeout_ms } | Command::Oneway { timeout_ms } => {
            (-1..=TIMEOUT_MS_MAX).contains(&timeout_ms)
        }
    };
    let empty = head.class_len == 0 && head.header_len == 0 && head.content_len == 0;
    let lengths_ok = match kind {
        Kind::Heartbeat | Kind::HeartbeatAck => empty,
        Kind::Request | Kind::Oneway => head.class_len > 0,
        // A proxy answers an error without class and content.
        Kind::Response => head.class_len > 0 || head.content_len == 0,
        Kind::Goaway => true,
        Kind::Unknown => false,
    };
    head.ver2 == 1
        && head.codec <= 64
        && switch_ok
        && command_ok
        && lengths_ok
        && head.class_len <= CLASS_LEN_MAX
        && head.frame_len() <= limits.frame_bytes_max
}

/// Whether bytes that are too few for a head begin like one.
fn sane_front(bytes: &[u8]) -> bool {
    let from_type = match bytes {
        [1, rest @ ..] | [2, 1 | 2, rest @ ..] => rest,
        [] | [2] => return true,
        _ => return false,
    };
    let command_ok = match from_type {
        [kind, 0, code, ..] => matches!((kind, code), (1, 0 | 1 | 100) | (2, 1 | 100) | (0, 0 | 2)),
        [kind, 0] | [kind] => *kind <= 2,
        [] => true,
        _ => false,
    };
    command_ok && from_type.get(3).is_none_or(|ver2| *ver2 == 1)
}

/// Where the parts of a frame lie that may be there in part only.
struct Parts {
    class: Range<usize>,
    headers: Range<usize>,
    content: Range<usize>,
}

fn parts(head: &Head) -> Parts {
    let class = head.fixed_len()..head.fixed_len() + usize::from(head.class_len);
    let headers = class.end..class.end + usize::from(head.header_len);
    let content_len = usize::try_from(head.content_len).unwrap_or(usize::MAX);
    let content = headers.end..headers.end.saturating_add(content_len);
    Parts {
        class,
        headers,
        content,
    }
}

/// How class name and header map read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Wrong,
    /// Right as far as it goes.
    Cut,
    Right(Proof),
}

fn read_as(bytes: &[u8], head: &Head) -> Shape {
    let parts = parts(head);
    let there = |range: &Range<usize>| {
        let end = range.end.min(bytes.len());
        bytes.get(range.start.min(end)..end).unwrap_or(&[])
    };
    let class = there(&parts.class);
    if !class.iter().copied().all(in_a_class_name) {
        return Shape::Wrong;
    }
    if class.len() < parts.class.len() {
        return Shape::Cut;
    }
    match read_headers(there(&parts.headers), parts.headers.len()) {
        Shape::Right(_) if class.len() >= 4 || is_heartbeat(head) => Shape::Right(Proof::Strong),
        other => other,
    }
}

fn is_heartbeat(head: &Head) -> bool {
    matches!(head.kind(), Kind::Heartbeat | Kind::HeartbeatAck)
}

/// Java names in their written and their binary forms.
fn in_a_class_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.$/;[]<>-,:".contains(&byte)
}

/// Checks that the lengths of a header section of `len` bytes sum to it and that keys are text.
fn read_headers(section: &[u8], len: usize) -> Shape {
    let mut rest = section;
    let mut left = len;
    let mut is_key = true;
    while left > 0 {
        let Some((prefix, tail)) = rest.split_first_chunk() else {
            return if left < 4 { Shape::Wrong } else { Shape::Cut };
        };
        left = match left.checked_sub(4) {
            Some(left) => left,
            None => return Shape::Wrong,
        };
        // A null value counts as empty; a null key does not occur.
        let text_len = match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(text_len) => text_len,
            Err(_) if !is_key => 0,
            Err(_) => return Shape::Wrong,
        };
        left = match left.checked_sub(text_len) {
            Some(left) => left,
            None => return Shape::Wrong,
        };
        let text = tail.get(..text_len).unwrap_or(tail);
        if is_key && (text_len == 0 || !text.iter().all(|byte| (0x20..0x7f).contains(byte))) {
            return Shape::Wrong;
        }
        if text.len() < text_len {
            return Shape::Cut;
        }
        rest = tail.get(text_len..).unwrap_or(&[]);
        is_key = !is_key;
    }
    if is_key {
        Shape::Right(Proof::Weak)
    } else {
        Shape::Wrong
    }
}
