//! One direction of one connection: bytes go in, and come out unless a rule says otherwise. Knows
//! no socket and no clock.

use std::collections::VecDeque;

use meshproof_sys::clock::Nanos;
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::detect::Verdict;
use meshproof_wire::{Head, Protocol};

use super::account::{Account, Class, Comes, RuleId};
use super::called::Calls;
use super::harm::{Harm, Overtaken};
use super::rule::{Direction, Who};

/// Bytes that are held back until their frame is whole; a longer frame goes on as it comes, and
/// cannot be harmed.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Bytes that wait for who is to read them, before nothing more is read from who sends them.
const OUT_BYTES_MAX: usize = 1 << 20;

/// What a lane is at.
#[derive(Debug)]
enum State {
    Flowing,
    /// Nothing goes on, as long as one of these rules is in force; the frame that did it stands in
    /// front of what is held.
    Stalled(Vec<RuleId>, Front),
    /// What is to be written is the last.
    Cut,
}

/// A frame that was met and not decided about.
#[derive(Debug)]
struct Met {
    head: Head,
    offset: u64,
}

/// A frame that stands in front of what is held, and what is to be done to it.
#[derive(Debug)]
struct Front {
    head: Head,
    len: usize,
    harms: Vec<(RuleId, Harm)>,
}

/// Bytes that go on later: at the latest of these times whose rule is in force.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    until: Vec<(RuleId, Nanos)>,
}

impl Piece {
    fn due(&self) -> Option<Nanos> {
        self.until.iter().map(|(_, due)| *due).max()
    }

    /// Whether it may go: its time has come, or the rules that held it are healed.
    fn is_ripe(&mut self, now: Nanos, account: &Account) -> bool {
        self.until.retain(|(id, _)| account.in_force(*id));
        self.due().is_none_or(|due| due <= now)
    }
}

/// A frame that others overtake.
#[derive(Debug)]
struct Aside {
    piece: Piece,
    class: Class,
    /// Rules that put it aside, and for how long; no time: until the next one has gone.
    by: Vec<(RuleId, Option<Nanos>)>,
    overtaken: bool,
}

/// What a lane is told with everything that it does.
pub(super) struct Sight<'a> {
    pub(super) account: &'a mut Account,
    pub(super) calls: &'a mut Calls,
    pub(super) who: &'a Who,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    direction: Direction,
    decoder: Decoder<()>,
    /// Bytes that did not go on, from stream offset `base` on.
    held: Vec<u8>,
    base: u64,
    met: VecDeque<Met>,
    state: State,
    /// Rules that let nothing arrive.
    muted: Vec<RuleId>,
    /// What goes on, and how much of it has gone.
    out: Vec<u8>,
    gone: usize,
    /// What goes on later, in its order: a frame that is late, and all behind it.
    late: VecDeque<Piece>,
    /// What others overtake.
    aside: Vec<Aside>,
    /// Nothing comes any more.
    ended: bool,
}

impl Lane {
    pub(super) fn new(direction: Direction) -> Lane {
        Lane {
            direction,
            decoder: Decoder::new(Start::Beginning, Detail::Heads, Limits::USUAL),
            held: Vec::new(),
            base: 0,
            met: VecDeque::new(),
            state: State::Flowing,
            muted: Vec::new(),
            out: Vec::new(),
            gone: 0,
            late: VecDeque::new(),
            aside: Vec::new(),
            ended: false,
        }
    }

    /// What it was found to speak.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.decoder.protocol()
    }

    /// The other direction speaks this. It counts before the first byte alone.
    pub(super) fn answers(&mut self, protocol: Protocol) {
        if self.decoder.at() == 0 {
            self.decoder.expect_answers(protocol);
        }
    }

    /// Takes bytes.
    pub(super) fn take(&mut self, now: Nanos, bytes: &[u8], sight: &mut Sight<'_>) {
        sight.account.bytes_in += bytes.len() as u64;
        if self.is_cut() {
            return;
        }
        self.held.extend_from_slice(bytes);
        let met = &mut self.met;
        self.decoder.feed((), bytes, &mut |decoded| {
            met.push_back(Met {
                head: decoded.head,
                offset: decoded.offset,
            });
        });
        self.settle(now, sight);
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self, now: Nanos, sight: &mut Sight<'_>) {
        self.ended = true;
        let met = &mut self.met;
        self.decoder.finish(&mut |decoded| {
            // Whole is a message whose end is that of the stream; what is cut is no frame.
            if decoded.missing == 0 {
                met.push_back(Met {
                    head: decoded.head,
                    offset: decoded.offset,
                });
            }
        });
        self.settle(now, sight);
    }

    /// Decides about what was met: after bytes came, time went by, or rules changed.
    pub(super) fn settle(&mut self, now: Nanos, sight: &mut Sight<'_>) {
        self.muted.retain(|id| sight.account.in_force(*id));
        self.resume(now, sight);
        while matches!(self.state, State::Flowing) {
            let Some(met) = self.met.pop_front() else {
                break;
            };
            self.decide(&met, now, sight);
        }
        let all = self.held.len();
        match self.state {
            State::Stalled(..) => {}
            State::Cut => {
                self.take_out(all);
                self.met.clear();
            }
            // Of a frame that is not whole nobody knows yet whether a rule is meant.
            State::Flowing => {
                let minded = sight.account.minds(sight.who, self.direction);
                let unminded = self.muted.is_empty() && !minded;
                if self.ended || unminded || self.is_opaque() || all > HELD_BYTES_MAX {
                    self.pass(all);
                }
            }
        }
        self.come_back(now, sight);
        self.ripen(now, sight);
    }

    /// Goes on where a stall is healed.
    fn resume(&mut self, now: Nanos, sight: &mut Sight<'_>) {
        let State::Stalled(by, _) = &mut self.state else {
            return;
        };
        by.retain(|id| sight.account.in_force(*id));
        if !by.is_empty() {
            return;
        }
        if let State::Stalled(_, front) = std::mem::replace(&mut self.state, State::Flowing) {
            self.act(front, now, sight);
        }
    }

    /// Whether what comes is no frame, or is being looked through for one.
    fn is_opaque(&self) -> bool {
        let framed = matches!(
            self.decoder.verdict(),
            Verdict::Undecided | Verdict::Known(_)
        );
        !framed || self.decoder.held_since().is_some()
    }

    fn decide(&mut self, met: &Met, now: Nanos, sight: &mut Sight<'_>) {
        let Some(before) = met.offset.checked_sub(self.base) else {
            // Its front went on already, for want of a rule or of room: the rest goes too.
            sight.account.count(Class::of(self.direction, &met.head));
            let end = (met.offset + met.head.len).saturating_sub(self.base);
            return self.pass(usize::try_from(end).unwrap_or(usize::MAX));
        };
        // What stands between two frames is none. Both lengths are of bytes that are held.
        self.pass(before as usize);
        let len = (met.head.len as usize).min(self.held.len());
        let called = match sight.account.names_calls() {
            true => {
                let frame = self.held.get(..len).unwrap_or_default();
                sight.calls.of(self.direction, &met.head, frame)
            }
            false => None,
        };
        let harms = sight.account.meet(&Comes {
            who: sight.who,
            direction: self.direction,
            head: &met.head,
            called: called.as_deref(),
        });
        let front = Front {
            head: met.head,
            len,
            harms,
        };
        let stalls = |(id, harm): &(RuleId, Harm)| (*harm == Harm::Stall).then_some(*id);
        let by: Vec<RuleId> = front.harms.iter().filter_map(stalls).collect();
        if by.is_empty() {
            return self.act(front, now, sight);
        }
        for id in &by {
            let class = Class::of(self.direction, &front.head);
            sight.account.harms(*id, class, now);
        }
        self.state = State::Stalled(by, front);
    }

    /// Does to the frame in front what is to be done to it, of what is still in force.
    fn act(&mut self, front: Front, now: Nanos, sight: &mut Sight<'_>) {
        let Front {
            head,
            len,
            mut harms,
        } = front;
        let class = Class::of(self.direction, &head);
        harms.retain(|(id, harm)| *harm != Harm::Stall && sight.account.in_force(*id));
        let mut frame = self.take_out(len);
        for (id, harm) in &harms {
            if *harm == Harm::Mute && !self.muted.contains(id) {
                self.muted.push(*id);
            }
        }
        let drops = harms.iter().filter(|(_, harm)| *harm == Harm::Drop);
        let mut lost_by = self.muted.clone();
        lost_by.extend(drops.map(|(id, _)| *id));
        for id in &lost_by {
            sight.account.harms(*id, class, now);
        }
        if lost_by.is_empty() {
            let mut piece = Piece {
                bytes: Vec::new(),
                until: Vec::new(),
            };
            let mut copies = 1;
            let mut cut = None;
            let mut overtaken = Vec::new();
            for (id, harm) in &harms {
                match harm {
                    Harm::Flip { byte, mask } => {
                        let byte = usize::try_from(*byte).ok();
                        match byte.and_then(|at| frame.get_mut(at)) {
                            Some(byte) => *byte ^= mask,
                            // It has no such byte, and was not harmed.
                            None => continue,
                        }
                    }
                    Harm::Replace(by) => frame = by.in_place_of(&head).to_vec(),
                    Harm::Duplicate => copies += 1,
                    Harm::Delay(by) => piece.until.push((*id, now + *by)),
                    Harm::Truncate { bytes } => {
                        let bytes = usize::try_from(*bytes).unwrap_or(usize::MAX);
                        cut = Some(cut.map_or(bytes, |cut: usize| cut.min(bytes)));
                    }
                    Harm::Reorder(by) => {
                        let until = match by {
                            Overtaken::ByNext => None,
                            Overtaken::For(time) => Some(now + *time),
                        };
                        overtaken.push((*id, until));
                        // It counts when somebody has overtaken it.
                        continue;
                    }
                    Harm::Close | Harm::Drop | Harm::Stall | Harm::Mute => continue,
                }
                sight.account.harms(*id, class, now);
            }
            match cut {
                Some(bytes) => {
                    self.bring_back_all();
                    frame.truncate(bytes);
                    piece.bytes = frame;
                    self.late.push_back(piece);
                    self.state = State::Cut;
                }
                None => {
                    piece.bytes = frame.repeat(copies);
                    let waits = self.waits_for_next();
                    if overtaken.is_empty() || waits {
                        self.late.push_back(piece);
                        self.overtake(now, sight);
                    } else {
                        self.aside.push(Aside {
                            piece,
                            class,
                            by: overtaken,
                            overtaken: false,
                        });
                    }
                }
            }
        }
        for (id, _) in harms.iter().filter(|(_, harm)| *harm == Harm::Close) {
            sight.account.harms(*id, class, now);
            self.bring_back_all();
            self.state = State::Cut;
        }
    }

    /// Whether a frame is aside until the next one has gone: this one is it, whatever rules say.
    fn waits_for_next(&self) -> bool {
        let waits = |aside: &Aside| aside.by.iter().any(|(_, until)| until.is_none());
        self.aside.iter().any(waits)
    }

    /// A frame has gone on: it has overtaken those that are aside, and some wait no longer.
    fn overtake(&mut self, now: Nanos, sight: &mut Sight<'_>) {
        for aside in &mut self.aside {
            if !std::mem::replace(&mut aside.overtaken, true) {
                for (id, _) in &aside.by {
                    sight.account.harms(*id, aside.class, now);
                }
            }
            aside.by.retain(|(_, until)| until.is_some());
        }
        self.come_back(now, sight);
    }

    /// What is aside goes on where its time has come, its rules are healed, or nobody comes who
    /// could overtake it.
    fn come_back(&mut self, now: Nanos, sight: &Sight<'_>) {
        let over = self.ended && self.held.is_empty();
        for mut aside in std::mem::take(&mut self.aside) {
            aside.by.retain(|(id, until)| {
                let waits = match until {
                    None => !over,
                    Some(until) => *until > now,
                };
                waits && sight.account.in_force(*id)
            });
            match aside.by.is_empty() {
                true => self.late.push_back(aside.piece),
                false => self.aside.push(aside),
            }
        }
    }

    /// What is aside goes on at once: nothing comes behind it.
    fn bring_back_all(&mut self) {
        let aside = std::mem::take(&mut self.aside);
        self.late.extend(aside.into_iter().map(|aside| aside.piece));
    }

    /// The first bytes that are held go on, unless nothing does.
    fn pass(&mut self, len: usize) {
        let bytes = self.take_out(len);
        if self.muted.is_empty() && !bytes.is_empty() {
            self.late.push_back(Piece {
                bytes,
                until: Vec::new(),
            });
        }
    }

    fn take_out(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.held.len());
        self.base += len as u64;
        let rest = self.held.split_off(len);
        std::mem::replace(&mut self.held, rest)
    }

    /// What may go on does, up to the first that may not: the order holds.
    fn ripen(&mut self, now: Nanos, sight: &Sight<'_>) {
        while let Some(first) = self.late.front_mut() {
            if !first.is_ripe(now, sight.account) {
                return;
            }
            if let Some(piece) = self.late.pop_front() {
                self.out.extend_from_slice(&piece.bytes);
            }
        }
    }

    /// When [`Lane::settle`] has to be called, though nothing comes.
    pub(super) fn due(&self) -> Option<Nanos> {
        let asides = self.aside.iter().flat_map(|aside| &aside.by);
        let late = self.late.front().and_then(Piece::due);
        asides.filter_map(|(_, until)| *until).chain(late).min()
    }

    /// What is to be written.
    pub(super) fn out(&self) -> &[u8] {
        self.out.get(self.gone..).unwrap_or_default()
    }

    /// So much of it was.
    pub(super) fn wrote(&mut self, bytes: usize, account: &mut Account) {
        account.bytes_out += bytes as u64;
        self.gone += bytes;
        if self.gone >= self.out.len() {
            self.out.clear();
            self.gone = 0;
        }
    }

    /// Whether more is to be read from who sends.
    pub(super) fn wants(&self) -> bool {
        let aside = self.aside.iter().map(|aside| &aside.piece);
        let waiting = self.late.iter().chain(aside);
        let waiting: usize = waiting.map(|piece| piece.bytes.len()).sum();
        !self.ended
            && matches!(self.state, State::Flowing)
            && self.out().len() < OUT_BYTES_MAX
            && waiting < HELD_BYTES_MAX
    }

    /// Whether all that will ever go on has gone.
    pub(super) fn is_done(&self) -> bool {
        let over = match self.state {
            State::Cut => true,
            State::Stalled(..) => false,
            State::Flowing => self.ended && self.held.is_empty(),
        };
        over && self.out().is_empty() && self.late.is_empty() && self.aside.is_empty()
    }

    /// Whether a rule closes the connection, as soon as this is done.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.state, State::Cut)
    }
}

#[cfg(test)]
mod tests;
