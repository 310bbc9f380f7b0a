//! What comes out of a lane, byte by byte.

use std::time::Duration;

use bytes::Bytes;
use meshproof_wire::bolt::{Version, heartbeat, heartbeat_ack};
use meshproof_wire::{Frame, RequestId, tr};
use proptest::prelude::*;

use super::*;
use crate::relay::harm::Replacement;
use crate::relay::rule::{Rule, Sort};

const WHO: Who = Who {
    connection: 1,
    opener: None,
};

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
    calls: Calls,
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
            calls: Calls::default(),
            rule,
            came: Vec::new(),
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Lane, &mut Sight<'_>)) -> &mut Under {
        let mut sight = Sight {
            account: &mut self.account,
            calls: &mut self.calls,
            who: &WHO,
        };
        act(&mut self.lane, &mut sight);
        self.came.extend_from_slice(self.lane.out());
        let len = self.lane.out().len();
        self.lane.wrote(len, &mut self.account);
        self
    }

    fn take(&mut self, at: u64, bytes: &[u8]) -> &mut Under {
        self.with(|lane, sight| lane.take(Nanos(at), bytes, sight))
    }

    fn settle(&mut self, at: u64) -> &mut Under {
        self.with(|lane, sight| lane.settle(Nanos(at), sight))
    }

    fn end(&mut self, at: u64) -> &mut Under {
        self.with(|lane, sight| lane.end(Nanos(at), sight))
    }

    fn put(&mut self, rule: Rule) -> RuleId {
        self.account.add(rule).unwrap()
    }

    fn heal(&mut self, at: u64) -> &mut Under {
        self.heal_one(at, self.rule)
    }

    fn heal_one(&mut self, at: u64, rule: RuleId) -> &mut Under {
        self.account.heal(rule).unwrap();
        self.settle(at)
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

const SECOND: Duration = Duration::from_secs(1);

/// What comes of four frames, fed so many bytes at a time, where a rule harms the third.
#[track_caller]
fn check(harm: &Harm, expected: &[&[u8]]) {
    for piece in [1, 7, 22, 1000] {
        let mut under = Under::of(third(harm.clone()));
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
    check(&Harm::Drop, &[one, two, four]);
    check(&Harm::Duplicate, &[one, two, three, three, four]);
    check(&Harm::Delay(SECOND), &[one, two]);
    check(&Harm::Reorder(Overtaken::ByNext), &[one, two, four, three]);
    check(&Harm::Reorder(Overtaken::For(SECOND)), &[one, two, four]);
    check(&Harm::Truncate { bytes: 5 }, &[one, two, &three[..5]]);
    check(&Harm::Truncate { bytes: 500 }, &[one, two, three]);
    check(&Harm::Close, &[one, two, three]);
    check(&Harm::Stall, &[one, two]);
    let mut flipped = three.to_vec();
    flipped[8] ^= 0x21;
    let flip = Harm::Flip {
        byte: 8,
        mask: 0x21,
    };
    check(&flip, &[one, two, &flipped, four]);
    let bytes = Replacement::Bytes(Bytes::from_static(b"anything"));
    check(&Harm::Replace(bytes), &[one, two, b"anything", four]);
    // A frame takes the id of the one that it stands for.
    let other = Frame::parse(tr::heartbeat(RequestId(700))).unwrap();
    let same = tr::heartbeat(RequestId(3));
    let by = Harm::Replace(Replacement::Frame(other));
    check(&by, &[one, two, &same, four]);
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
fn every_byte_can_be_another() {
    for at in 0..22 {
        for mask in [1, 0x80, 0xff] {
            let flip = Harm::Flip { byte: at, mask };
            let mut under = Under::of(third(flip));
            under.take(0, &frames().concat());
            let mut expected = frames().concat();
            expected[frames()[..2].concat().len() + at as usize] ^= mask;
            assert_eq!(under.came, expected, "byte {at}, mask {mask}");
        }
    }
    // One that has no such byte is not harmed.
    let mut under = Under::of(third(Harm::Flip {
        byte: 22,
        mask: 0xff,
    }));
    under.take(0, &frames().concat());
    assert_eq!((under.came.clone(), under.harmed()), (frames().concat(), 0));
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
fn what_is_late_keeps_its_place() {
    let all = frames();
    let mut under = Under::of(third(Harm::Delay(Duration::from_nanos(50))));
    under.take(100, &all.concat()).end(101);
    assert_eq!(under.lane.due(), Some(Nanos(150)));
    assert!(!under.lane.is_done());
    under.settle(149);
    assert_eq!(under.came, all[..2].concat());
    under.settle(150);
    assert_eq!(under.came, all.concat());
    assert!(under.lane.is_done());
    // Healed, it waits no longer.
    let mut under = Under::of(third(Harm::Delay(SECOND)));
    under.take(0, &all.concat()).heal(1);
    assert_eq!(under.came, all.concat());
}

#[test]
fn what_is_overtaken_comes_in_the_end() {
    let all = frames();
    let [one, two, three, four] = all.each_slice();
    let mut under = Under::of(third(Harm::Reorder(Overtaken::For(Duration::from_nanos(
        50,
    )))));
    under.take(100, &all.concat()).end(101);
    assert_eq!(under.lane.due(), Some(Nanos(150)));
    under.settle(149);
    assert_eq!(under.came, [one, two, four].concat());
    under.settle(150);
    assert_eq!(under.came, [one, two, four, three].concat());
    assert!(under.lane.is_done());
    // Two and two change places; the last has nobody, and was not harmed.
    let mut under = Under::of(Rule::new(Harm::Reorder(Overtaken::ByNext)));
    under.take(0, &all.concat()).take(1, one);
    assert_eq!(under.came, [two, one, four, three].concat());
    assert_eq!(under.harmed(), 2);
    under.end(2);
    assert_eq!(under.came, [two, one, four, three, one].concat());
    assert!(under.lane.is_done());
    assert_eq!(under.harmed(), 2);
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
    // A rule that comes in the middle of a frame does not tear it, and does not mean it.
    under.rule = under.put(Rule::new(Harm::Drop));
    let rest = [&frames()[0][3..], &frames()[1]].concat();
    under.take(2, &rest);
    assert_eq!(under.came, frames()[0]);
    let applied = under.account.rule(under.rule).unwrap();
    assert_eq!((applied.met, applied.harmed), (1, 1));
    assert_eq!(under.account.frames(Direction::Forth, Sort::Heartbeat), 2);
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

/// Two of a kind hold one lane; healing one never lifts the other, in either order.
#[test]
fn healing_one_lifts_no_other() {
    let all = frames();
    for harm in [
        Harm::Stall,
        Harm::Mute,
        Harm::Delay(SECOND),
        Harm::Reorder(Overtaken::For(SECOND)),
        Harm::Drop,
    ] {
        for first_goes in [true, false] {
            let mut under = Under::of(Rule::new(harm.clone()));
            let other = under.put(Rule::new(harm.clone()));
            under.take(0, &all[0]);
            assert_eq!(under.came, b"", "{harm}");
            let (early, late) = match first_goes {
                true => (under.rule, other),
                false => (other, under.rule),
            };
            under.heal_one(1, early).take(2, &all[1]);
            assert_eq!(under.came, b"", "{harm} was lifted by healing another");
            for id in [early, late] {
                assert!(
                    under.account.rule(id).unwrap().harmed > 0 || matches!(harm, Harm::Reorder(_)),
                    "{harm}"
                );
            }
            under.heal_one(3, late).take(4, &all[2]);
            let expected = match harm {
                Harm::Mute | Harm::Drop => all[2].clone(),
                _ => all[..3].concat(),
            };
            assert_eq!(under.came, expected, "{harm}");
        }
    }
}

/// A frame that stalled while other rules meant it, too, is harmed by those that are left.
#[test]
fn after_a_stall_the_other_rules_count() {
    let all = frames();
    let mut under = Under::of(third(Harm::Stall));
    let flip = under.put(third(Harm::Flip {
        byte: 0,
        mask: 0xff,
    }));
    let gone = under.put(third(Harm::Drop));
    under.take(0, &all.concat());
    under.account.heal(gone).unwrap();
    under.heal(1);
    let mut expected = all.concat();
    expected[all[..2].concat().len()] ^= 0xff;
    assert_eq!(under.came, expected);
    assert_eq!(under.account.rule(flip).unwrap().harmed, 1);
    assert_eq!(under.account.rule(gone).unwrap().harmed, 0);
}

/// What one rule does is done for each kind of harm, in any number.
fn any_rule() -> impl Strategy<Value = Rule> {
    let harm = prop_oneof![
        Just(Harm::Drop),
        (1_u64..40).prop_map(|by| Harm::Delay(Duration::from_nanos(by))),
        Just(Harm::Duplicate),
        Just(Harm::Reorder(Overtaken::ByNext)),
        (1_u64..40).prop_map(|by| Harm::Reorder(Overtaken::For(Duration::from_nanos(by)))),
        (0_u64..24, 1_u8..).prop_map(|(byte, mask)| Harm::Flip { byte, mask }),
        Just(Harm::Stall),
        Just(Harm::Mute),
    ];
    (harm, 1_u64..5, 0_u64..4).prop_map(|(harm, first, more)| Rule {
        first,
        last: Some(first + more),
        ..Rule::new(harm)
    })
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

    /// However many rules there were, and in whichever order they are healed: what comes behind
    /// the last healing comes whole and in its order, and nothing is held.
    #[test]
    fn when_all_are_healed_everything_passes(
        rules in prop::collection::vec(any_rule(), 1..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 5),
        sent in 1_usize..8,
        cut in 1_usize..60,
    ) {
        let mut rules = rules.into_iter();
        let mut under = Under::of(rules.next().unwrap());
        let mut left = vec![under.rule];
        left.extend(rules.map(|rule| under.put(rule)));
        let all = frames().concat().repeat(sent);
        for (at, bytes) in all.chunks(cut).enumerate() {
            under.take(at as u64, bytes);
        }
        let mut now = 1_000;
        for pick in order {
            if left.is_empty() {
                break;
            }
            let rule = left.remove(pick.index(left.len()));
            now += 1;
            under.heal_one(now, rule);
        }
        let before = under.came.len();
        let last = frames().concat();
        under.take(now + 1, &last).end(now + 2);
        prop_assert_eq!(&under.came[before..], &last[..]);
        prop_assert!(under.lane.is_done());
        // Every frame is counted once, whatever was done to it.
        let frames = (sent as u64 + 1) * 4;
        let counted = under.account.frames(Direction::Forth, Sort::Heartbeat);
        prop_assert_eq!(counted, frames);
        // A rule that harmed a frame had met it.
        for applied in &under.account.rules {
            prop_assert!(applied.harmed_of.values().sum::<u64>() == applied.harmed);
            let lasts = matches!(applied.rule.harm, Harm::Mute);
            prop_assert!(lasts || applied.harmed <= applied.met, "{:?}", applied);
        }
    }
}
