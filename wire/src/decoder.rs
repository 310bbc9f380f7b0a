//! A stream's bytes become heads and frames.
//!
//! One [`Decoder`] serves one direction of one connection. It is fed bytes in stream order and is
//! told of gaps; it passes over bodies without copying them unless asked for frames. After a gap
//! or a start in mid-stream it looks for the next plausible frame and counts what it passed over.
//!
//! ```
//! use meshproof_wire::bolt::{Version, heartbeat};
//! use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
//!
//! let mut decoder = Decoder::new(Start::Beginning, Detail::Heads, Limits::USUAL);
//! let mut ids = Vec::new();
//! for id in 1..=3 {
//!     decoder.feed((), &heartbeat(Version::V1, id), &mut |frame| ids.push(frame.head.id.0));
//! }
//! assert_eq!(ids, [1, 2, 3]);
//! assert_eq!(decoder.account().framed, 66);
//! ```

mod evidence;
mod message;
mod partial;
mod resync;
mod step;

use std::borrow::Cow;

use bytes::Bytes;

use crate::bolt;
use crate::detect::{self, Verdict};
use crate::{Frame, Head, Protocol};

use message::{Fed, Message};
use partial::{FRONT_BYTES, Partial};
use resync::{Found, Rest, Search};
use step::{Http, Step, step};

/// What a consumer wants of each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Heads only: bodies are passed over, never copied.
    Heads,
    /// Whole frames.
    Frames,
}

/// Where in the stream the first byte fed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is the connection's first byte.
    Beginning,
    /// Nobody knows.
    MidStream,
}

/// What the decoder will hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame accepted, in bytes; a longer one is damage.
    pub frame_bytes_max: u64,
    /// Bytes held back while looking for a frame after a gap.
    pub resync_bytes_max: usize,
    /// Bytes looked at before a stream that shows no frame is called foreign.
    pub detect_bytes_max: u64,
}

impl Limits {
    /// Frames up to 64 MiB, 1 MiB held during resynchronisation, 64 KiB looked at for detection.
    pub const USUAL: Limits = Limits {
        frame_bytes_max: 64 << 20,
        resync_bytes_max: 1 << 20,
        detect_bytes_max: 64 << 10,
    };
}

/// One frame as the decoder found it. `M` marks where bytes came from (packet and time).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<M> {
    /// What its first bytes say.
    pub head: Head,
    /// Stream offset of its first byte.
    pub offset: u64,
    /// Mark of the feed that held its first byte.
    pub first: M,
    /// Mark of the feed that held its last byte (the last one seen, where it is cut).
    pub last: M,
    /// Bytes of it that were lost to gaps or to the end of the stream; 0 for a whole frame.
    pub missing: u64,
    /// The frame, when it was asked for and is whole.
    pub frame: Option<Frame>,
}

/// Every byte fed, in exactly one bucket.
///
/// `framed + skipped + incomplete + foreign` is the number of bytes fed once
/// [`Decoder::finish`] was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In whole frames.
    pub framed: u64,
    /// Passed over while looking for a frame.
    pub skipped: u64,
    /// In frames that were begun and not ended.
    pub incomplete: u64,
    /// In a stream of no known protocol.
    pub foreign: u64,
}

impl Account {
    /// The sum of all buckets.
    pub fn total(&self) -> u64 {
        self.framed + self.skipped + self.incomplete + self.foreign
    }
}

/// Decodes one direction of one connection.
///
/// Holds the front of one frame while it passes over bodies (of BOLT up to 24 bytes, of TR up to
/// its class, of HTTP its head, or a message whose end shows only when it comes); a whole frame where frames are asked
/// for (up to [`Limits::frame_bytes_max`], growing as its bytes come); up to
/// [`Limits::resync_bytes_max`] while it looks for a frame, whose delivery is then late by up to
/// three more frames.
#[derive(Clone, Debug)]
pub struct Decoder<M> {
    detail: Detail,
    limits: Limits,
    state: State<M>,
    /// Stream offset of the next byte to be fed.
    at: u64,
    account: Account,
    /// What the stream was found to be; `Known` from the first frame on, for good.
    verdict: Verdict,
    /// Bytes passed over while nobody knows yet whether the stream is foreign.
    unsettled: u64,
    /// Heads that claim more than a frame may have.
    too_long: u64,
    /// The first bytes of the stream, to name it by should it be foreign.
    front: Partial,
    http: Http,
}

/// Offsets go no further than this, so that lengths can be added to them; a stream of 4 EiB is none.
const OFFSET_MAX: u64 = 1 << 62;

#[derive(Clone, Debug)]
enum State<M> {
    /// Between two frames.
    Boundary,
    /// Within the front of a frame; the mark is that of its first byte.
    Head(Partial, M),
    /// Behind the fixed part of a frame.
    Body(Body<M>),
    /// No boundary is known.
    Search(Box<Search<M>>),
    /// Within a message whose end shows only when it comes.
    Message(Box<Message<M>>),
    /// In a stream of messages that cannot be paired any more, because some were lost.
    Lost,
    /// Nothing here is for us.
    Foreign,
}

/// The front of a frame that is none: its bytes are to be looked at once more.
struct Again<M> {
    partial: Partial,
    /// Mark of its first byte.
    first: M,
    /// Bytes of the input that were taken up to its end.
    taken: usize,
}

/// A frame whose end is still to come.
#[derive(Clone, Debug)]
struct Body<M> {
    head: Head,
    offset: u64,
    first: M,
    last: M,
    /// Bytes still to come, lost ones included; more than 0.
    left: u64,
    /// Bytes lost so far.
    missing: u64,
    /// Its bytes so far, where frames are asked for and nothing is missing.
    bytes: Option<Vec<u8>>,
}

impl<M: Copy> Decoder<M> {
    /// A decoder for a stream whose first byte stands at `start`.
    pub fn new(start: Start, detail: Detail, limits: Limits) -> Self {
        Decoder {
            detail,
            limits,
            state: match start {
                Start::Beginning => State::Boundary,
                Start::MidStream => State::Search(Box::new(Search::at(0))),
            },
            at: 0,
            account: Account::default(),
            verdict: Verdict::Undecided,
            unsettled: 0,
            too_long: 0,
            front: Partial::default(),
            http: Http::default(),
        }
    }

    /// The other direction speaks this. HTTP answers are taken for those of the application API
    /// where it does; nothing in them would tell. To be said before their first byte is fed.
    pub fn expect_answers(&mut self, protocol: Protocol) {
        self.http.answers = protocol == Protocol::MeshApi;
    }

    /// Takes the next bytes of the stream; `mark` says where they came from.
    pub fn feed(&mut self, mark: M, bytes: &[u8], sink: &mut impl FnMut(Decoded<M>)) {
        if self.verdict == Verdict::Undecided {
            self.front.take(bytes, FRONT_BYTES);
        }
        if let Some(again) = self.feed_until_again(mark, bytes, sink) {
            let rest = bytes.get(again.taken..).unwrap_or(&[]);
            self.feed_again(*again, (mark, rest), sink);
        }
    }

    /// Takes bytes; those that proved to be no front of a frame come back, with how many of
    /// `bytes` were taken up to their end.
    #[inline(always)]
    fn feed_until_again(
        &mut self,
        mark: M,
        bytes: &[u8],
        sink: &mut impl FnMut(Decoded<M>),
    ) -> Option<Box<Again<M>>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                State::Boundary => self.boundary(mark, rest, sink),
                State::Body(body) => {
                    body.last = mark;
                    if body.left > rest.len() as u64 {
                        body.left -= rest.len() as u64;
                        if let Some(bytes) = &mut body.bytes {
                            bytes.extend_from_slice(rest);
                        }
                        rest.len()
                    } else {
                        // Fits: `left` is no more than the length of a slice.
                        let taken = body.left as usize;
                        if let Some(bytes) = &mut body.bytes {
                            bytes.extend_from_slice(rest.get(..taken).unwrap_or(&[]));
                        }
                        body.left = 0;
                        self.end_body(sink);
                        taken
                    }
                }
                State::Head(partial, first) => {
                    let (partial, first) = (std::mem::take(partial), *first);
                    match self.partial_head(partial, first, mark, rest, sink) {
                        Ok(taken) => taken,
                        Err(mut again) => {
                            self.at += again.taken as u64;
                            again.taken += bytes.len() - rest.len();
                            return Some(again);
                        }
                    }
                }
                State::Search(search) => {
                    let taken = search.take(mark, rest, &self.limits);
                    self.at += taken as u64;
                    self.search(Rest::MayCome, sink);
                    rest = rest.get(taken..).unwrap_or(&[]);
                    continue;
                }
                State::Message(message) => {
                    match message.feed(mark, rest, self.limits.frame_bytes_max) {
                        Fed::All => rest.len(),
                        Fed::Ended(taken) => {
                            self.end_message(sink);
                            taken
                        }
                        Fed::Malformed => {
                            self.account.skipped += message.bytes.len() as u64;
                            self.state = State::Lost;
                            rest.len()
                        }
                    }
                }
                State::Lost => {
                    self.account.skipped += rest.len() as u64;
                    rest.len()
                }
                State::Foreign => {
                    self.account.foreign += rest.len() as u64;
                    rest.len()
                }
            };
            self.at += taken as u64;
            rest = rest.get(taken..).unwrap_or(&[]);
        }
        None
    }

    /// The stream lacks `len` bytes here. A frame whose end lies behind them or right at their
    /// end is cut and known to end there; else the next frame has to be found.
    pub fn gap(&mut self, len: u64, sink: &mut impl FnMut(Decoded<M>)) {
        if len == 0 {
            return;
        }
        self.settle(sink);
        let at = self.at;
        self.at = at.saturating_add(len).min(OFFSET_MAX);
        match &mut self.state {
            State::Foreign | State::Lost => return,
            State::Body(body) => {
                let lost = body.left.min(len);
                body.left -= lost;
                body.missing += lost;
                body.bytes = None;
                if body.left > 0 {
                    return;
                }
                self.end_body(sink);
                if lost == len {
                    return;
                }
            }
            State::Head(partial, _) => self.account.incomplete += partial.len() as u64,
            State::Message(message) => self.account.incomplete += message.bytes.len() as u64,
            State::Boundary | State::Search(_) => {}
        }
        self.state = self.searching(self.at);
    }

    /// The stream ends here. What was begun is handed out as cut.
    pub fn finish(&mut self, sink: &mut impl FnMut(Decoded<M>)) {
        self.settle(sink);
        match std::mem::replace(&mut self.state, State::Boundary) {
            State::Boundary | State::Foreign | State::Lost => {}
            State::Head(partial, _) => match step(partial.filled(), &self.http) {
                Step::Malformed => {
                    self.account.foreign += partial.len() as u64;
                    self.verdict = Verdict::Unknown;
                }
                _ => self.account.incomplete += partial.len() as u64,
            },
            State::Message(message) if message.may_close() => {
                let len = message.bytes.len() as u64;
                self.state = State::Message(message);
                if let State::Message(message) = &mut self.state {
                    message.head.len = len;
                }
                self.end_message(sink);
            }
            State::Message(message) => self.account.incomplete += message.bytes.len() as u64,
            State::Body(mut body) => {
                body.missing += body.left;
                body.left = 0;
                body.bytes = None;
                self.state = State::Body(body);
                self.end_body(sink);
            }
            State::Search(_) => {}
        }
        // Nothing of it was understood.
        if self.unsettled > 0 {
            self.account.foreign += std::mem::take(&mut self.unsettled);
            self.verdict = self.name_by_front();
        }
    }

    /// Where the bytes went. Complete after [`Decoder::finish`]; before, bytes of a frame that has
    /// not ended and bytes held back are in no bucket yet.
    pub fn account(&self) -> Account {
        self.account
    }

    /// Stream offset of the next byte to be fed.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Heads, where a frame had to begin, that claim more than [`Limits::frame_bytes_max`]. What
    /// follows them was looked through for the next frame.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    /// What the stream was found to be.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The protocol that is decoded, once a frame was seen.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.verdict {
            Verdict::Known(protocol) => Some(protocol),
            _ => None,
        }
    }

    /// Mark of the earliest byte that is held back while a frame is looked for: frames from there
    /// on may still be handed out. `None` where nothing is held back.
    pub fn held_since(&self) -> Option<M> {
        match &self.state {
            State::Search(search) if !search.held().is_empty() => search.mark(search.offset()),
            _ => None,
        }
    }

    /// Decodes from a frame's first byte on; returns how many bytes were taken.
    fn boundary(&mut self, mark: M, input: &[u8], sink: &mut impl FnMut(Decoded<M>)) -> usize {
        let mut rest = input;
        while !rest.is_empty() {
            let taken = input.len() - rest.len();
            let offset = self.at + taken as u64;
            // BOLT first, and by itself: nearly all that is decoded is BOLT, and a general answer
            // for every protocol costs half as much again.
            let head = match bolt::Head::parse(rest) {
                bolt::Step::Head(parsed) => {
                    let undecided = self.verdict == Verdict::Undecided;
                    if undecided && !detect::is_bolt(&parsed) {
                        self.state = self.searching(offset);
                        return taken;
                    }
                    let head = Head::from(&parsed);
                    if undecided {
                        self.verdict = Verdict::Known(head.protocol);
                    }
                    if head.len > self.limits.frame_bytes_max {
                        self.too_long += 1;
                        self.state = self.searching(offset);
                        return taken;
                    }
                    head
                }
                bolt::Step::Need(_) => {
                    let mut partial = Partial::default();
                    partial.take(rest, usize::MAX);
                    self.state = State::Head(partial, mark);
                    return input.len();
                }
                bolt::Step::Malformed(_) => match self.other_boundary(mark, offset, rest) {
                    Ok(head) => head,
                    Err(taken_more) => return taken + taken_more,
                },
            };
            match usize::try_from(head.len) {
                Ok(len) if len <= rest.len() => {
                    let (whole, behind) = rest.split_at(len);
                    self.account.framed += head.len;
                    sink(Decoded {
                        head,
                        offset,
                        first: mark,
                        last: mark,
                        missing: 0,
                        frame: self.frame(head, whole),
                    });
                    rest = behind;
                }
                _ => {
                    self.state = State::Body(Body {
                        head,
                        offset,
                        first: mark,
                        last: mark,
                        left: head.len - rest.len() as u64,
                        missing: 0,
                        bytes: self.collect(rest),
                    });
                    return input.len();
                }
            }
        }
        input.len()
    }

    /// The head of a frame that is no BOLT; or how many bytes were taken into another state.
    #[inline(never)]
    fn other_boundary(&mut self, mark: M, offset: u64, rest: &[u8]) -> Result<Head, usize> {
        match step(rest, &self.http) {
            Step::Head { head, certain } if self.accepts(&head, certain) => Ok(head),
            Step::Head { .. } => {
                self.state = self.searching(offset);
                Err(0)
            }
            Step::Need(_) | Step::NeedLine => {
                let mut partial = Partial::default();
                partial.take(rest, usize::MAX);
                self.state = State::Head(partial, mark);
                Err(rest.len())
            }
            // The slow way: it names what is foreign, and looks for a frame otherwise.
            Step::Malformed | Step::Endless(_) => {
                self.state = State::Head(Partial::default(), mark);
                Err(0)
            }
        }
    }

    /// Decodes from within the front of a frame on.
    #[inline(never)]
    fn partial_head(
        &mut self,
        mut partial: Partial,
        first: M,
        mark: M,
        input: &[u8],
        sink: &mut impl FnMut(Decoded<M>),
    ) -> Result<usize, Box<Again<M>>> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or(&[]);
            let until = match step(partial.filled(), &self.http) {
                Step::Need(until) => until,
                Step::NeedLine => match memchr::memchr(b'\n', rest) {
                    Some(at) => partial.len() + at + 1,
                    None => usize::MAX,
                },
                Step::Head { head, certain } if self.accepts(&head, certain) => {
                    let len = partial.len() as u64;
                    self.state = State::Body(Body {
                        head,
                        offset: self.at + taken as u64 - len,
                        first,
                        last: mark,
                        left: head.len - len,
                        missing: 0,
                        bytes: self.collect(partial.filled()),
                    });
                    if head.len == len {
                        self.end_body(sink);
                    }
                    return Ok(taken);
                }
                Step::Endless(head) if self.accepts(&head, true) => {
                    let offset = self.at + taken as u64 - partial.len() as u64;
                    let mut message = Message::new(head, offset, first);
                    // Only its head is there.
                    message.feed(mark, partial.filled(), u64::MAX);
                    self.state = State::Message(Box::new(message));
                    return Ok(taken);
                }
                Step::Malformed if self.verdict == Verdict::Undecided => {
                    match detect::look(partial.filled()) {
                        Verdict::Undecided => partial.len() + 1,
                        Verdict::Unknown | Verdict::Known(_) => break,
                        named => {
                            self.verdict = named;
                            self.account.foreign += partial.len() as u64;
                            self.state = State::Foreign;
                            return Ok(taken);
                        }
                    }
                }
                Step::Head { .. } | Step::Endless(_) | Step::Malformed => break,
            };
            if rest.is_empty() {
                self.state = State::Head(partial, first);
                return Ok(taken);
            }
            taken += partial.take(rest, until);
        }
        // No head. Its bytes may hold the front of one: they are looked at once more.
        Err(Box::new(Again {
            partial,
            first,
            taken,
        }))
    }

    /// Looks for a frame in the bytes of what proved to be the front of none, and goes on with
    /// what follows them. A loop and no recursion: each front may hold another one.
    #[cold]
    fn feed_again(
        &mut self,
        again: Again<M>,
        (mark, rest): (M, &[u8]),
        sink: &mut impl FnMut(Decoded<M>),
    ) {
        self.at -= again.partial.len() as u64;
        self.state = self.searching(self.at);
        let mut waiting = vec![(mark, Cow::Borrowed(rest), 0)];
        waiting.push((again.first, Cow::Owned(again.partial.into_vec()), 0));
        while let Some((mark, bytes, at)) = waiting.pop() {
            let rest = bytes.get(at..).unwrap_or(&[]);
            let Some(again) = self.feed_until_again(mark, rest, sink) else {
                continue;
            };
            self.at -= again.partial.len() as u64;
            self.state = self.searching(self.at);
            waiting.push((mark, bytes, at + again.taken));
            waiting.push((again.first, Cow::Owned(again.partial.into_vec()), 0));
        }
    }

    /// The state in which the next frame is looked for from `offset` on.
    fn searching(&self, offset: u64) -> State<M> {
        if self.http.settled {
            State::Lost
        } else {
            State::Search(Box::new(Search::at(offset)))
        }
    }

    /// Whether a head is taken for that of a frame, where a frame must begin.
    #[inline]
    fn accepts(&mut self, head: &Head, certain: bool) -> bool {
        if self.verdict == Verdict::Undecided {
            if !certain {
                return false;
            }
            self.verdict = Verdict::Known(head.protocol);
        }
        let fits = head.len <= self.limits.frame_bytes_max;
        self.too_long += u64::from(!fits);
        if head.protocol == Protocol::MeshApi {
            self.http.settled = true;
            self.http.messages = head.id.0;
        }
        fits
    }

    /// Hands out the frame whose last byte was seen or lost.
    #[inline]
    fn end_body(&mut self, sink: &mut impl FnMut(Decoded<M>)) {
        let State::Body(body) = std::mem::replace(&mut self.state, State::Boundary) else {
            return;
        };
        let seen = body.head.len - body.missing;
        if body.missing == 0 {
            self.account.framed += seen;
        } else {
            self.account.incomplete += seen;
        }
        sink(Decoded {
            head: body.head,
            offset: body.offset,
            first: body.first,
            last: body.last,
            missing: body.missing,
            frame: body.bytes.map(|bytes| Frame {
                head: body.head,
                bytes: Bytes::from(bytes),
            }),
        });
    }

    /// Hands out the message that has ended.
    fn end_message(&mut self, sink: &mut impl FnMut(Decoded<M>)) {
        let State::Message(message) = std::mem::replace(&mut self.state, State::Boundary) else {
            return;
        };
        self.account.framed += message.head.len;
        sink(Decoded {
            head: message.head,
            offset: message.offset,
            first: message.first,
            last: message.last,
            missing: 0,
            frame: (self.detail == Detail::Frames).then(|| Frame {
                head: message.head,
                bytes: Bytes::from(message.bytes),
            }),
        });
    }

    /// Looks through the bytes held back, and decodes from where a frame was found.
    fn search(&mut self, rest: Rest, sink: &mut impl FnMut(Decoded<M>)) {
        while let State::Search(search) = &mut self.state {
            let places = match self.verdict {
                Verdict::Undecided => self.limits.detect_bytes_max.saturating_sub(self.unsettled),
                _ => u64::MAX,
            };
            let (found, passed) = search.find(&self.limits, rest, places);
            match self.verdict {
                Verdict::Undecided => self.unsettled += passed,
                _ => self.account.skipped += passed,
            }
            if found == Found::Frame {
                self.account.skipped += std::mem::take(&mut self.unsettled);
                self.drain(sink);
            } else if self.verdict == Verdict::Undecided
                && self.unsettled >= self.limits.detect_bytes_max
            {
                self.account.foreign += std::mem::take(&mut self.unsettled);
                self.account.foreign += search.held().len() as u64;
                self.verdict = self.name_by_front();
                self.state = State::Foreign;
            } else {
                return;
            }
        }
    }

    /// Decodes the bytes held back from their first one, where a frame begins.
    fn drain(&mut self, sink: &mut impl FnMut(Decoded<M>)) {
        let State::Search(mut search) = std::mem::replace(&mut self.state, State::Boundary) else {
            return;
        };
        loop {
            let held = search.held();
            let offset = search.offset();
            let Some(first) = search.mark(offset).filter(|_| !held.is_empty()) else {
                return;
            };
            let head = match step(held, &self.http) {
                Step::Head { head, certain } if self.accepts(&head, certain) => head,
                Step::Need(_) | Step::NeedLine => {
                    let mut partial = Partial::default();
                    partial.take(held, usize::MAX);
                    self.state = State::Head(partial, first);
                    return;
                }
                Step::Head { .. } | Step::Endless(_) | Step::Malformed => {
                    search.again();
                    self.state = State::Search(search);
                    return;
                }
            };
            let whole = usize::try_from(head.len)
                .ok()
                .and_then(|len| held.get(..len));
            let seen = whole.unwrap_or(held);
            let last = search.mark(offset + seen.len() as u64 - 1).unwrap_or(first);
            if let Some(whole) = whole {
                self.account.framed += head.len;
                sink(Decoded {
                    head,
                    offset,
                    first,
                    last,
                    missing: 0,
                    frame: self.frame(head, whole),
                });
                let len = whole.len();
                search.advance(len);
            } else {
                self.state = State::Body(Body {
                    head,
                    offset,
                    first,
                    last,
                    left: head.len - held.len() as u64,
                    missing: 0,
                    bytes: self.collect(held),
                });
                return;
            }
        }
    }

    /// Decides about all bytes held back: nothing follows them directly.
    fn settle(&mut self, sink: &mut impl FnMut(Decoded<M>)) {
        self.search(Rest::Never, sink);
        if let State::Search(search) = &mut self.state {
            let left = search.held().len();
            search.advance(left);
            match self.verdict {
                Verdict::Undecided => self.unsettled += left as u64,
                _ => self.account.skipped += left as u64,
            }
        }
    }

    fn name_by_front(&self) -> Verdict {
        match detect::look(self.front.filled()) {
            Verdict::Known(Protocol::Tr) => Verdict::Tr,
            Verdict::Known(Protocol::MeshApi) => Verdict::Http1,
            Verdict::Undecided | Verdict::Known(_) => Verdict::Unknown,
            named => named,
        }
    }

    fn frame(&self, head: Head, bytes: &[u8]) -> Option<Frame> {
        (self.detail == Detail::Frames).then(|| Frame {
            head,
            bytes: Bytes::copy_from_slice(bytes),
        })
    }

    fn collect(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        (self.detail == Detail::Frames).then(|| bytes.to_vec())
    }
}
