//! What came, and what came of rules: the evidence that a fault was one.

use std::collections::BTreeMap;
use std::fmt;

use meshproof_fault::{Count, Evidence};
use meshproof_sys::clock::Nanos;
use meshproof_wire::{Head, Protocol};

use super::called::Called;
use super::harm::Harm;
use super::rule::{Direction, Rule, Sort, Who};

/// Rules in force at a time.
pub const RULES_MAX: usize = 64;

/// Rules that were healed and are still told of; of more, the oldest go.
pub const HEALED_MAX: usize = 1000;

/// Which rule of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u64);

/// Which frames are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Which way they went.
    pub direction: Direction,
    /// In which protocol.
    pub protocol: Protocol,
    /// Of which sort.
    pub sort: Sort,
}

impl Class {
    pub(super) fn of(direction: Direction, head: &Head) -> Class {
        Class {
            direction,
            protocol: head.protocol,
            sort: Sort::of(head.kind),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sort, way) = (self.sort.name(), self.direction.name());
        write!(f, "{} {sort} frames {way}", self.protocol)
    }
}

/// A rule, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Which.
    pub id: RuleId,
    /// What was asked for.
    pub rule: Rule,
    /// Frames that fit it, whatever their number.
    pub met: u64,
    /// Frames that it harmed. Of two rules that lose one frame, both did.
    pub harmed: u64,
    /// Those, by what they are.
    pub harmed_of: BTreeMap<Class, u64>,
    /// Every frame that came to the relay while it was in force, harmed or not.
    pub came_of: BTreeMap<Class, u64>,
    /// Answers that fit in all but service and method, whose requests came before it: they passed,
    /// since nobody knows what they belong to.
    pub unknown: u64,
    /// When it first harmed one.
    pub first: Option<Nanos>,
    /// When it last did.
    pub last: Option<Nanos>,
    /// It is in force no more.
    pub healed: bool,
    /// How many fit, by connection and direction.
    pub(super) numbers: BTreeMap<(u64, Direction), u64>,
}

impl Applied {
    /// Frames of a class that came while it was in force, and that it let pass.
    pub fn passed(&self, class: &Class) -> u64 {
        let count = |of: &BTreeMap<Class, u64>| of.get(class).copied().unwrap_or(0);
        count(&self.came_of).saturating_sub(count(&self.harmed_of))
    }

    /// Everything that it let pass.
    pub fn passed_all(&self) -> u64 {
        self.came_of.keys().map(|class| self.passed(class)).sum()
    }

    /// The counts as those of any fault are told.
    pub fn evidence(&self) -> Evidence {
        let counts = self.harmed_of.iter().map(|(class, harmed)| Count {
            what: format!("{class} met `{}`", self.rule.harm),
            met: *harmed,
        });
        let mut evidence = Evidence {
            counts: counts.collect(),
            ..Evidence::default()
        };
        if evidence.counts.is_empty() {
            evidence.counts.push(Count {
                what: format!("frames met `{}`", self.rule),
                met: 0,
            });
            evidence.reasons = self.reasons();
        }
        evidence
    }

    /// Why it may have harmed nothing.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match (self.met, self.came_of.is_empty()) {
            (0, true) => reasons.push("no frame came at all".to_owned()),
            (0, false) => reasons.push(format!("none of those that came fits: {}", self.told())),
            (met, _) => reasons.push(format!(
                "{met} frames fit it, and it was the turn of none of them"
            )),
        }
        if self.unknown > 0 {
            let unknown = self.unknown;
            reasons.push(format!(
                "{unknown} answers belong to requests from before it: nobody knows their calls"
            ));
        }
        reasons
    }

    /// How many frames of which sort passed: `4000 bolt-v1 request frames forth`.
    pub fn told(&self) -> String {
        let classes = self.came_of.keys().filter(|class| self.passed(class) > 0);
        let told: Vec<String> = classes
            .map(|class| format!("{} {class}", self.passed(class)))
            .collect();
        match told.as_slice() {
            [] => "nothing passed".to_owned(),
            told => format!("{} passed", told.join(", ")),
        }
    }
}

/// What a relay saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Connections that were accepted.
    pub connections: u64,
    /// Of these, those whose other end could not be had: they were reset.
    pub refused: u64,
    /// Of these, those that stand.
    pub open: u64,
    /// Whole frames that came, harmed or not.
    pub frames: BTreeMap<Class, u64>,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went on.
    pub bytes_out: u64,
    /// Every rule that is in force, and the latest of those that were healed; oldest first.
    pub rules: Vec<Applied>,
}

/// A frame that is decided about.
pub(super) struct Comes<'a> {
    pub(super) who: &'a Who,
    pub(super) direction: Direction,
    pub(super) head: &'a Head,
    pub(super) called: Option<&'a Called>,
}

impl Account {
    /// Frames of this sort that went this way, in all protocols.
    pub fn frames(&self, direction: Direction, sort: Sort) -> u64 {
        let fits = |class: &Class| class.direction == direction && class.sort == sort;
        let counts = self.frames.iter().filter(|(class, _)| fits(class));
        counts.map(|(_, count)| count).sum()
    }

    /// One rule.
    pub fn rule(&self, id: RuleId) -> Option<&Applied> {
        self.rules.iter().find(|applied| applied.id == id)
    }

    fn in_forces(&self) -> impl Iterator<Item = &Applied> {
        self.rules.iter().filter(|applied| !applied.healed)
    }

    /// Whether frames that go this way must be looked at before they go on.
    pub(super) fn minds(&self, who: &Who, direction: Direction) -> bool {
        self.in_forces().any(|applied| {
            let rule = &applied.rule;
            rule.is_on(who) && (rule.goes(direction) || rule.names_calls())
        })
    }

    /// Whether calls must be known by name.
    pub(super) fn names_calls(&self) -> bool {
        self.in_forces().any(|applied| applied.rule.names_calls())
    }

    pub(super) fn in_force(&self, id: RuleId) -> bool {
        self.rule(id).is_some_and(|applied| !applied.healed)
    }

    /// Counts a frame that no rule may mean any more, since its front has gone on.
    pub(super) fn count(&mut self, class: Class) {
        *self.frames.entry(class).or_default() += 1;
    }

    /// Counts a frame. Every rule that fits counts it; those whose turn it is, oldest first.
    pub(super) fn meet(&mut self, comes: &Comes<'_>) -> Vec<(RuleId, Harm)> {
        let Comes {
            who,
            direction,
            head,
            called,
        } = *comes;
        let class = Class::of(direction, head);
        self.count(class);
        let mut harms = Vec::new();
        for applied in self.rules.iter_mut().filter(|applied| !applied.healed) {
            *applied.came_of.entry(class).or_default() += 1;
            let rule = &applied.rule;
            if !rule.fits(who, direction, head, called) {
                if called.is_none() && class.sort == Sort::Response && rule.names_calls() {
                    applied.unknown += u64::from(rule.goes(direction) && rule.is_on(who));
                }
                continue;
            }
            applied.met += 1;
            let index = applied
                .numbers
                .entry((who.connection, direction))
                .or_default();
            *index += 1;
            if rule.counts(who, direction, applied.met, *index) {
                harms.push((applied.id, rule.harm.clone()));
            }
        }
        harms
    }

    /// A frame that a rule has harmed.
    pub(super) fn harms(&mut self, id: RuleId, class: Class, now: Nanos) {
        if let Some(applied) = self.rules.iter_mut().find(|applied| applied.id == id) {
            applied.harmed += 1;
            *applied.harmed_of.entry(class).or_default() += 1;
            applied.first.get_or_insert(now);
            applied.last = Some(now);
        }
    }

    /// A connection is over: its frames are numbered no further.
    pub(super) fn forget(&mut self, connection: u64) {
        for applied in &mut self.rules {
            applied.numbers.remove(&(connection, Direction::Forth));
            applied.numbers.remove(&(connection, Direction::Back));
        }
    }

    /// Puts a rule in force; none where there are too many.
    pub(super) fn add(&mut self, rule: Rule) -> Option<RuleId> {
        let in_force = self.in_forces().count();
        if in_force == RULES_MAX {
            return None;
        }
        if self.rules.len() - in_force > HEALED_MAX
            && let Some(oldest) = self.rules.iter().position(|applied| applied.healed)
        {
            self.rules.remove(oldest);
        }
        let id = RuleId(self.rules.last().map_or(0, |applied| applied.id.0) + 1);
        self.rules.push(Applied {
            id,
            rule,
            met: 0,
            harmed: 0,
            harmed_of: BTreeMap::new(),
            came_of: BTreeMap::new(),
            unknown: 0,
            first: None,
            last: None,
            healed: false,
            numbers: BTreeMap::new(),
        });
        Some(id)
    }

    /// Takes a rule out of force; none where it is not.
    pub(super) fn heal(&mut self, id: RuleId) -> Option<Applied> {
        let mut rules = self.rules.iter_mut();
        let applied = rules.find(|applied| applied.id == id && !applied.healed)?;
        applied.healed = true;
        applied.numbers.clear();
        Some(applied.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::rule::Share;
    use meshproof_wire::{Kind, RequestId};
    use proptest::prelude::*;

    fn head(protocol: Protocol, kind: Kind) -> Head {
        Head {
            protocol,
            kind,
            id: RequestId(1),
            len: 22,
            codec: 1,
            timeout_ms: None,
            status: None,
        }
    }

    fn who(connection: u64) -> Who {
        Who {
            connection,
            opener: Some(([127, 0, 0, 1], 4000 + connection as u16).into()),
        }
    }

    fn meet(
        account: &mut Account,
        who: &Who,
        direction: Direction,
        head: &Head,
    ) -> Vec<(RuleId, Harm)> {
        account.meet(&Comes {
            who,
            direction,
            head,
            called: None,
        })
    }

    /// Which of six heartbeats and one request a rule harms; the fifth to the last are of another
    /// connection.
    #[track_caller]
    fn check(rule: Rule, expected: &str) {
        let mut account = Account::default();
        let told = rule.to_string();
        account.add(rule).unwrap();
        let mut found = String::new();
        let mut come = |connection, direction, protocol, kind| {
            let harms = meet(
                &mut account,
                &who(connection),
                direction,
                &head(protocol, kind),
            );
            found.push(if harms.is_empty() { '.' } else { 'x' });
        };
        for connection in [1, 1, 2] {
            come(
                connection,
                Direction::Forth,
                Protocol::BoltV1,
                Kind::Heartbeat,
            );
            come(
                connection,
                Direction::Back,
                Protocol::BoltV1,
                Kind::HeartbeatAck,
            );
        }
        come(2, Direction::Back, Protocol::Tr, Kind::HeartbeatAck);
        come(2, Direction::Forth, Protocol::BoltV2, Kind::Request);
        assert_eq!(format!("{found} {told}"), expected);
    }

    #[test]
    fn a_rule_fits_what_it_names() {
        let all = || Rule::new(Harm::Drop);
        check(all(), "xxxxxxxx drop");
        let back = Rule {
            sorts: vec![Sort::Heartbeat],
            direction: Some(Direction::Back),
            ..all()
        };
        check(back.clone(), ".x.x.xx. drop heartbeat back");
        let second = Rule {
            first: 2,
            last: Some(3),
            ..back.clone()
        };
        check(second, "...x.x.. drop heartbeat back 2 to 3");
        let late = Rule {
            first: 4,
            ..back.clone()
        };
        check(late, "......x. drop heartbeat back from 4");
        let old = Rule {
            protocols: vec![Protocol::Tr, Protocol::BoltV2],
            ..Rule::new(Harm::Duplicate)
        };
        check(old, "......xx duplicate tr bolt-v2");
        let other = Rule {
            connection: Some(2),
            first: 2,
            last: Some(2),
            ..back
        };
        check(other, "......x. drop heartbeat back on connection 2 2 to 2");
        let port = Rule {
            source_port: Some(4001),
            ..all()
        };
        check(port, "xxxx.... drop opened from port 4001");
        let nobody = Rule {
            peers: vec!["10.0.0.0/8".parse().unwrap()],
            ..all()
        };
        check(nobody, "........ drop opened from 10.0.0.0/8");
    }

    #[test]
    fn every_rule_whose_turn_it_is_harms() {
        let mut account = Account::default();
        let first = account
            .add(Rule {
                last: Some(1),
                ..Rule::new(Harm::Drop)
            })
            .unwrap();
        let second = account.add(Rule::new(Harm::Close)).unwrap();
        let request = head(Protocol::BoltV1, Kind::Request);
        let ids = |account: &mut Account| -> Vec<RuleId> {
            let harms = meet(account, &who(1), Direction::Forth, &request);
            harms.into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(ids(&mut account), [first, second]);
        assert_eq!(ids(&mut account), [second]);
        account.harms(second, Class::of(Direction::Forth, &request), Nanos(7));
        let healed = account.heal(second).unwrap();
        assert_eq!(
            (healed.met, healed.harmed, healed.first),
            (2, 1, Some(Nanos(7)))
        );
        assert_eq!(healed.told(), "1 bolt-v1 request frames forth passed");
        assert_eq!(
            healed.evidence().claim("it").why,
            "1 bolt-v1 request frames forth met `close after`"
        );
        assert_eq!(ids(&mut account), []);
        assert!(account.heal(second).is_none());
        // What it did is still told.
        assert_eq!(account.rule(second).unwrap().harmed, 1);
        assert_eq!(account.frames(Direction::Forth, Sort::Request), 3);
    }

    #[test]
    fn what_met_nothing_says_why() {
        let mut account = Account::default();
        let late = account
            .add(Rule {
                first: 9,
                ..Rule::new(Harm::Drop)
            })
            .unwrap();
        let why = |account: &Account| account.rule(late).unwrap().evidence().claim("it").why;
        assert!(why(&account).ends_with("no frame came at all"));
        let request = head(Protocol::BoltV1, Kind::Request);
        meet(&mut account, &who(1), Direction::Forth, &request);
        assert_eq!(
            why(&account),
            "0 of 1 counters moved; 1 frames fit it, and it was the turn of none of them"
        );
    }

    #[test]
    fn there_is_a_limit_to_rules() {
        let mut account = Account::default();
        for _ in 0..RULES_MAX {
            account.add(Rule::new(Harm::Drop)).unwrap();
        }
        assert_eq!(account.add(Rule::new(Harm::Drop)), None);
        for _ in 0..2 * HEALED_MAX {
            let last = account.rules.last().unwrap().id;
            account.heal(last).unwrap();
            assert!(account.add(Rule::new(Harm::Drop)).unwrap() > last);
        }
        assert!(account.rules.len() <= RULES_MAX + HEALED_MAX + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Which frames a share means depends on seed, connection, direction and number alone: not
        /// on how the frames of connections and directions come in between each other, nor on
        /// frames that do not fit.
        #[test]
        fn a_share_is_the_same_on_every_run(
            seed in any::<u64>(),
            percent in 1.0..100.0_f64,
            order in prop::collection::vec((1_u64..4, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let chosen = |order: &[(u64, bool, bool)]| {
                let mut account = Account::default();
                account.add(Rule {
                    sorts: vec![Sort::Request],
                    share: Some(Share { percent, seed }),
                    ..Rule::new(Harm::Drop)
                });
                let mut chosen: BTreeMap<(u64, bool), Vec<bool>> = BTreeMap::new();
                for (connection, forth, fits) in order {
                    let direction = if *forth { Direction::Forth } else { Direction::Back };
                    let kind = if *fits { Kind::Request } else { Kind::Heartbeat };
                    let head = head(Protocol::BoltV1, kind);
                    let harms = meet(&mut account, &who(*connection), direction, &head);
                    if *fits {
                        let lane = chosen.entry((*connection, *forth)).or_default();
                        lane.push(!harms.is_empty());
                    }
                }
                chosen
            };
            let mut sorted = order.clone();
            // Stable: within a direction of a connection the order is that of the stream.
            sorted.sort_by_key(|(connection, forth, _)| (*connection, *forth));
            let bare: Vec<_> = sorted.iter().copied().filter(|(_, _, fits)| *fits).collect();
            let first = chosen(&order);
            prop_assert_eq!(&first, &chosen(&sorted));
            prop_assert_eq!(&first, &chosen(&bare));
        }
    }
}
