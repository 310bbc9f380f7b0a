//! One direction of one connection: bytes go in, and come out unless a rule says otherwise. Knows
//! no socket and no clock.

use std::collections::VecDeque;

use meshproof_sys::clock::Nanos;
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::detect::Verdict;
use meshproof_wire::{Head, Protocol};

use super::rule::{Account, Direction, Harm, RuleId};

/// Bytes that are held back until their frame is whole; a longer frame goes on as it comes, and
/// cannot be harmed.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Bytes that wait for who is to read them, before nothing more is read from who sends them.
const OUT_BYTES_MAX: usize = 1 << 20;

/// What a lane is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flowing,
    /// Nothing goes on; the frame that did it stands in front of what is held, and has this
    /// length.
    Stalled(RuleId, usize),
    Muted(RuleId),
    /// What is to be written is the last.
    Cut,
}

/// A frame that was met and not decided about.
#[derive(Debug)]
struct Met {
    head: Head,
    offset: u64,
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
    /// What goes on, and how much of it has gone.
    out: Vec<u8>,
    gone: usize,
    /// Frames that go on later, and when; in the order of their coming.
    late: Vec<(Nanos, Vec<u8>)>,
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
            out: Vec::new(),
            gone: 0,
            late: Vec::new(),
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
    pub(super) fn take(&mut self, now: Nanos, bytes: &[u8], account: &mut Account) {
        account.bytes_in += bytes.len() as u64;
        if self.state == State::Cut {
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
        self.settle(now, account);
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self, now: Nanos, account: &mut Account) {
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
        self.settle(now, account);
    }

    /// Decides about what was met: after bytes came, time went by, or rules changed.
    pub(super) fn settle(&mut self, now: Nanos, account: &mut Account) {
        match self.state {
            State::Stalled(id, len) if !account.in_force(id) => {
                self.state = State::Flowing;
                self.pass(len);
            }
            State::Muted(id) if !account.in_force(id) => self.state = State::Flowing,
            _ => {}
        }
        self.ripen(now);
        while !matches!(self.state, State::Stalled(..) | State::Cut) {
            let Some(met) = self.met.pop_front() else {
                break;
            };
            self.decide(&met, now, account);
        }
        let all = self.held.len();
        match self.state {
            State::Stalled(..) => {}
            State::Cut => {
                self.take_out(all);
                self.met.clear();
            }
            // Of a frame that is not whole nobody knows yet whether a rule is meant.
            State::Flowing | State::Muted(_) => {
                let unminded = self.state == State::Flowing && !account.minds(self.direction);
                if self.ended || unminded || self.is_opaque() || all > HELD_BYTES_MAX {
                    self.pass(all);
                }
            }
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

    fn decide(&mut self, met: &Met, now: Nanos, account: &mut Account) {
        let mut harm = account.meet(self.direction, &met.head, now);
        if let State::Muted(id) = self.state {
            if harm.is_none_or(|(other, _)| other != id) {
                account.harms(id, now);
            }
            harm = Some((id, Harm::Mute));
        }
        let Some(before) = met.offset.checked_sub(self.base) else {
            // Its front went on already, for want of a rule or of room: the rest goes too.
            let end = (met.offset + met.head.len).saturating_sub(self.base);
            return self.pass(usize::try_from(end).unwrap_or(usize::MAX));
        };
        // What stands between two frames is none. Both lengths are of bytes that are held.
        self.pass(before as usize);
        let len = (met.head.len as usize).min(self.held.len());
        let Some((id, harm)) = harm else {
            return self.pass(len);
        };
        match harm {
            Harm::Drop => drop(self.take_out(len)),
            Harm::Delay(by) => {
                let frame = self.take_out(len);
                self.late.push((now + by, frame));
            }
            Harm::Duplicate => {
                let frame = self.take_out(len);
                self.out.extend_from_slice(&frame);
                self.out.extend_from_slice(&frame);
            }
            Harm::Truncate { bytes } => {
                self.pass(usize::try_from(bytes).unwrap_or(usize::MAX).min(len));
                self.state = State::Cut;
            }
            Harm::Close => {
                self.pass(len);
                self.state = State::Cut;
            }
            Harm::Stall => self.state = State::Stalled(id, len),
            Harm::Mute => {
                self.state = State::Muted(id);
                self.take_out(len);
            }
        }
    }

    /// The first bytes that are held go on, unless nothing does.
    fn pass(&mut self, len: usize) {
        let bytes = self.take_out(len);
        if !matches!(self.state, State::Muted(_)) {
            self.out.extend_from_slice(&bytes);
        }
    }

    fn take_out(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.held.len());
        self.base += len as u64;
        let rest = self.held.split_off(len);
        std::mem::replace(&mut self.held, rest)
    }

    /// Frames whose time has come go on.
    fn ripen(&mut self, now: Nanos) {
        if self.state == State::Cut {
            self.late.clear();
        }
        if !self.late.iter().any(|(due, _)| *due <= now) {
            return;
        }
        let all = std::mem::take(&mut self.late);
        let (mut ripe, late): (Vec<_>, Vec<_>) = all.into_iter().partition(|(due, _)| *due <= now);
        self.late = late;
        // Stable: what was to come at one time comes in its order.
        ripe.sort_by_key(|(due, _)| *due);
        for (_, frame) in ripe {
            self.out.extend_from_slice(&frame);
        }
    }

    /// When [`Lane::settle`] has to be called, though nothing comes.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.late.iter().map(|(due, _)| *due).min()
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
        let late: usize = self.late.iter().map(|(_, frame)| frame.len()).sum();
        !self.ended
            && !matches!(self.state, State::Stalled(..) | State::Cut)
            && self.out().len() < OUT_BYTES_MAX
            && late < HELD_BYTES_MAX
    }

    /// Whether all that will ever go on has gone.
    pub(super) fn is_done(&self) -> bool {
        let over = match self.state {
            State::Cut => true,
            State::Stalled(..) => false,
            State::Flowing | State::Muted(_) => self.ended && self.held.is_empty(),
        };
        over && self.out().is_empty() && self.late.is_empty()
    }

    /// Whether a rule closes the connection, as soon as this is done.
    pub(super) fn is_cut(&self) -> bool {
        self.state == State::Cut
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshproof_wire::bolt::{Version, heartbeat, heartbeat_ack};
    use proptest::prelude::*;

    use super::*;
    use crate::relay::rule::{Rule, Sort};

    /// Heartbeats 1 to 4, in turn asking and answering.
    fn frames() -> Vec<Vec<u8>> {
        (1..=4)
            .map(|id| match id % 2 {
                1 => heartbeat(Version::V1, id).to_vec(),
                _ => heartbeat_ack(Version::V2_CRC, id).to_vec(),
            })
            .collect()
    }

    struct Under {
        lane: Lane,
        account: Account,
        rule: RuleId,
        came: Vec<u8>,
    }

    impl Under {
        fn of(rule: Rule) -> Under {
            let mut account = Account::default();
            let rule = account.add(rule).unwrap();
            Under {
                lane: Lane::new(Direction::Forth),
                account,
                rule,
                came: Vec::new(),
            }
        }

        fn take(&mut self, at: u64, bytes: &[u8]) -> &mut Under {
            self.lane.take(Nanos(at), bytes, &mut self.account);
            self.drain()
        }

        fn settle(&mut self, at: u64) -> &mut Under {
            self.lane.settle(Nanos(at), &mut self.account);
            self.drain()
        }

        fn end(&mut self, at: u64) -> &mut Under {
            self.lane.end(Nanos(at), &mut self.account);
            self.drain()
        }

        fn heal(&mut self, at: u64) -> &mut Under {
            self.account.heal(self.rule).unwrap();
            self.settle(at)
        }

        fn drain(&mut self) -> &mut Under {
            self.came.extend_from_slice(self.lane.out());
            let len = self.lane.out().len();
            self.lane.wrote(len, &mut self.account);
            self
        }

        fn harmed(&self) -> u64 {
            self.account.rule(self.rule).unwrap().harmed
        }
    }

    fn third(harm: Harm) -> Rule {
        Rule {
            first: 3,
            last: Some(3),
            ..Rule::new(harm)
        }
    }

    /// What comes of four frames, fed so many bytes at a time, where a rule harms the third.
    #[track_caller]
    fn check(harm: Harm, expected: &[&[u8]]) {
        for piece in [1, 7, 22, 1000] {
            let mut under = Under::of(third(harm));
            for bytes in frames().concat().chunks(piece) {
                under.take(0, bytes);
            }
            assert_eq!(under.came, expected.concat(), "{harm} by {piece}");
            assert_eq!(under.harmed(), 1, "{harm} by {piece}");
        }
    }

    #[test]
    fn one_frame_is_harmed_and_the_others_pass() {
        let all = frames();
        let [one, two, three, four] = all.each_slice();
        check(Harm::Drop, &[one, two, four]);
        check(Harm::Duplicate, &[one, two, three, three, four]);
        check(Harm::Delay(Duration::from_secs(1)), &[one, two, four]);
        check(Harm::Truncate { bytes: 5 }, &[one, two, &three[..5]]);
        check(Harm::Truncate { bytes: 500 }, &[one, two, three]);
        check(Harm::Close, &[one, two, three]);
        check(Harm::Stall, &[one, two]);
    }

    trait Four {
        fn each_slice(&self) -> [&[u8]; 4];
    }

    impl Four for Vec<Vec<u8>> {
        fn each_slice(&self) -> [&[u8]; 4] {
            std::array::from_fn(|at| self[at].as_slice())
        }
    }

    #[test]
    fn a_mute_lasts_until_it_is_healed() {
        let all = frames();
        let mut under = Under::of(Rule {
            sorts: vec![Sort::Heartbeat],
            ..third(Harm::Mute)
        });
        under.take(0, &all.concat());
        assert_eq!(
            (under.harmed(), under.came.len()),
            (2, all[..2].concat().len())
        );
        assert!(under.lane.wants(), "what is muted is read");
        // It comes whole where the mute ends within it.
        under.take(1, &all[0][..9]).heal(2).take(3, &all[0][9..]);
        assert_eq!(under.came, [&all[..2].concat()[..], &all[0]].concat());
    }

    #[test]
    fn a_stall_loses_nothing() {
        let all = frames();
        let mut under = Under::of(third(Harm::Stall));
        under.take(0, &all.concat());
        assert!(!under.lane.wants(), "what is stalled is not read");
        assert_eq!(under.came, all[..2].concat());
        under.end(1);
        assert!(!under.lane.is_done());
        under.heal(2);
        assert_eq!(under.came, all.concat());
        assert!(under.lane.is_done());
        assert_eq!(under.account.frames(Direction::Forth, Sort::Heartbeat), 4);
    }

    #[test]
    fn what_is_late_comes_at_its_time_and_before_the_end() {
        let all = frames();
        let mut under = Under::of(third(Harm::Delay(Duration::from_nanos(50))));
        under.take(100, &all.concat()).end(101);
        assert_eq!(under.lane.due(), Some(Nanos(150)));
        assert!(!under.lane.is_done());
        under.settle(149);
        let overtaken = [&all[0][..], &all[1], &all[3]].concat();
        assert_eq!(under.came, overtaken);
        under.settle(150);
        assert_eq!(under.came, [&overtaken[..], &all[2]].concat());
        assert!(under.lane.is_done());
    }

    #[test]
    fn a_cut_lane_is_over() {
        let mut under = Under::of(third(Harm::Close));
        under.take(0, &frames().concat()).take(1, b"more");
        assert!(under.lane.is_cut() && under.lane.is_done() && !under.lane.wants());
        assert_eq!(under.came, frames()[..3].concat());
    }

    #[test]
    fn a_frame_in_parts_goes_on_at_once_when_nobody_minds() {
        let mut under = Under::of(Rule::new(Harm::Drop));
        under.heal(0).take(1, &frames()[0][..3]);
        assert_eq!(under.came.len(), 3);
        // A rule that comes in the middle of a frame does not tear it.
        under.rule = under.account.add(Rule::new(Harm::Drop)).unwrap();
        let rest = [&frames()[0][3..], &frames()[1]].concat();
        under.take(2, &rest);
        assert_eq!(under.came, frames()[0]);
        // It counts as met, and as harmed, by who had the whole of it in view.
        assert_eq!(under.account.rule(under.rule).unwrap().met, 2);
    }

    #[test]
    fn what_is_no_frame_passes() {
        let mut under = Under::of(Rule::new(Harm::Drop));
        let text = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3);
        for bytes in text.chunks(5) {
            under.take(0, bytes);
        }
        under.end(1);
        assert_eq!(under.came, text);
        assert!(under.lane.is_done());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Frames, damage and everything else come out as they went in, where no rule is met.
        #[test]
        fn what_no_rule_means_is_passed_on_unchanged(
            pieces in prop::collection::vec(
                prop_oneof![
                    (1u32..9).prop_map(|id| heartbeat(Version::V1, id).to_vec()),
                    (1u32..9).prop_map(|id| heartbeat_ack(Version::V2_CRC, id).to_vec()),
                    prop::collection::vec(any::<u8>(), 0..40),
                ],
                0..12,
            ),
            cuts in prop::collection::vec(1usize..50, 1..20),
        ) {
            let bytes = pieces.concat();
            let mut under = Under::of(Rule {
                direction: Some(Direction::Forth),
                sorts: vec![Sort::Goaway, Sort::Unknown, Sort::Request, Sort::Oneway, Sort::Response],
                first: u64::MAX,
                ..Rule::new(Harm::Drop)
            });
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (front, back) = rest.split_at((*cut).min(rest.len()));
                under.take(0, front);
                rest = back;
            }
            under.end(1);
            prop_assert!(under.lane.is_done());
            prop_assert_eq!(&under.came, &bytes);
            prop_assert_eq!(under.account.bytes_in, under.account.bytes_out);
        }
    }
}
