//! What is done to which frames, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_wire::{Head, Kind, Protocol};

/// Rules in force at a time.
pub const RULES_MAX: usize = 64;

/// Rules that were healed and are still told of; of more, the oldest go.
pub const HEALED_MAX: usize = 1000;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From who connected: from the sidecar, on the leg from sidecar to app.
    Forth,
    /// From who was connected to.
    Back,
}

impl Direction {
    /// The word in every output.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forth => "forth",
            Direction::Back => "back",
        }
    }
}

/// What a frame is, as rules and counts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sort {
    /// Wants an answer.
    Request,
    /// Wants none.
    Oneway,
    /// An answer to a request.
    Response,
    /// A heartbeat, asking or answering: the direction tells which.
    Heartbeat,
    /// Asks for no further requests.
    Goaway,
    /// A whole frame of an unknown command.
    Unknown,
}

impl Sort {
    /// The sort of a frame.
    pub fn of(kind: Kind) -> Sort {
        match kind {
            Kind::Request => Sort::Request,
            Kind::Oneway => Sort::Oneway,
            Kind::Response => Sort::Response,
            Kind::Heartbeat | Kind::HeartbeatAck => Sort::Heartbeat,
            Kind::Goaway => Sort::Goaway,
            Kind::Unknown => Sort::Unknown,
        }
    }

    /// The word in every output.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Request => "request",
            Sort::Oneway => "oneway",
            Sort::Response => "response",
            Sort::Heartbeat => "heartbeat",
            Sort::Goaway => "goaway",
            Sort::Unknown => "unknown",
        }
    }
}

/// What is done to a frame. What holds for longer than the frame holds for its direction of its
/// connection, until the rule is healed or the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It does not arrive.
    Drop,
    /// It arrives so much later. Others overtake it, as they do a slow answer.
    Delay(Duration),
    /// It arrives twice.
    Duplicate,
    /// So many of its bytes arrive, then the connection is closed: its sender died as it wrote.
    Truncate {
        /// From the front of the frame.
        bytes: u64,
    },
    /// It arrives, then the connection is closed.
    Close,
    /// Neither it nor what follows arrives, nothing more is read, and nothing is lost: after
    /// healing everything arrives.
    Stall,
    /// Neither it nor what follows arrives, while the connection stands and is read.
    Mute,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Harm::Drop => f.write_str("drop"),
            Harm::Delay(by) => write!(f, "delay by {} ms", by.as_millis()),
            Harm::Duplicate => f.write_str("duplicate"),
            Harm::Truncate { bytes } => write!(f, "truncate at byte {bytes}"),
            Harm::Close => f.write_str("close after"),
            Harm::Stall => f.write_str("stall"),
            Harm::Mute => f.write_str("mute"),
        }
    }
}

/// What is done to which frames.
///
/// ```
/// use meshproof_harness::relay::{Direction, Harm, Rule, Sort};
///
/// // The app's answers to heartbeats, from the third on.
/// let rule = Rule {
///     sorts: vec![Sort::Heartbeat],
///     direction: Some(Direction::Back),
///     first: 3,
///     ..Rule::new(Harm::Drop)
/// };
/// assert_eq!(rule.to_string(), "drop heartbeat back from 3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub harm: Harm,
    /// To frames of these protocols; none: of all.
    pub protocols: Vec<Protocol>,
    /// Of these sorts; none: of all.
    pub sorts: Vec<Sort>,
    /// That go this way; none: both.
    pub direction: Option<Direction>,
    /// From the so-manieth on that fits the above, counted from 1 over all connections.
    pub first: u64,
    /// To this one, which is still harmed; none: all that follow.
    pub last: Option<u64>,
}

impl Rule {
    /// This, to every frame.
    pub fn new(harm: Harm) -> Rule {
        Rule {
            harm,
            protocols: Vec::new(),
            sorts: Vec::new(),
            direction: None,
            first: 1,
            last: None,
        }
    }

    fn fits(&self, direction: Direction, head: &Head) -> bool {
        self.goes(direction)
            && (self.protocols.is_empty() || self.protocols.contains(&head.protocol))
            && (self.sorts.is_empty() || self.sorts.contains(&Sort::of(head.kind)))
    }

    fn goes(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|wanted| wanted == direction)
    }

    fn counts(&self, number: u64) -> bool {
        number >= self.first && self.last.is_none_or(|last| number <= last)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.harm.fmt(f)?;
        for protocol in &self.protocols {
            write!(f, " {protocol}")?;
        }
        for sort in &self.sorts {
            write!(f, " {}", sort.name())?;
        }
        if let Some(direction) = self.direction {
            write!(f, " {}", direction.name())?;
        }
        match (self.first, self.last) {
            (0 | 1, None) => Ok(()),
            (first, None) => write!(f, " from {first}"),
            (first, Some(last)) => write!(f, " {first} to {last}"),
        }
    }
}

/// Which rule of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u64);

/// A rule, and what came of it: the evidence that a fault was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub id: RuleId,
    /// What was asked for.
    pub rule: Rule,
    /// Frames that fit it, whatever their number.
    pub met: u64,
    /// Frames that it harmed.
    pub harmed: u64,
    /// When it first did.
    pub first: Option<Nanos>,
    /// When it last did.
    pub last: Option<Nanos>,
    /// It is in force no more.
    pub healed: bool,
}

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

/// What a relay saw and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// Whether frames that go this way must be looked at before they go on.
    pub(super) fn minds(&self, direction: Direction) -> bool {
        let minds = |applied: &Applied| !applied.healed && applied.rule.goes(direction);
        self.rules.iter().any(minds)
    }

    pub(super) fn in_force(&self, id: RuleId) -> bool {
        self.rule(id).is_some_and(|applied| !applied.healed)
    }

    /// Counts a frame. Every rule that fits counts it; the oldest whose turn it is harms it.
    pub(super) fn meet(
        &mut self,
        direction: Direction,
        head: &Head,
        now: Nanos,
    ) -> Option<(RuleId, Harm)> {
        let class = Class {
            direction,
            protocol: head.protocol,
            sort: Sort::of(head.kind),
        };
        *self.frames.entry(class).or_default() += 1;
        let mut harm = None;
        for applied in self.rules.iter_mut().filter(|applied| !applied.healed) {
            if !applied.rule.fits(direction, head) {
                continue;
            }
            applied.met += 1;
            if harm.is_none() && applied.rule.counts(applied.met) {
                applied.harms(now);
                harm = Some((applied.id, applied.rule.harm));
            }
        }
        harm
    }

    /// A frame that a rule harms because of one before it.
    pub(super) fn harms(&mut self, id: RuleId, now: Nanos) {
        if let Some(applied) = self.rules.iter_mut().find(|applied| applied.id == id) {
            applied.harms(now);
        }
    }

    /// Puts a rule in force; none where there are too many.
    pub(super) fn add(&mut self, rule: Rule) -> Option<RuleId> {
        let in_force = self.rules.iter().filter(|applied| !applied.healed).count();
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
            first: None,
            last: None,
            healed: false,
        });
        Some(id)
    }

    /// Takes a rule out of force; none where it is not.
    pub(super) fn heal(&mut self, id: RuleId) -> Option<Applied> {
        let mut rules = self.rules.iter_mut();
        let applied = rules.find(|applied| applied.id == id && !applied.healed)?;
        applied.healed = true;
        Some(applied.clone())
    }
}

impl Applied {
    fn harms(&mut self, now: Nanos) {
        self.harmed += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_wire::RequestId;

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

    /// Which of six heartbeat answers and one request a rule harms.
    #[track_caller]
    fn check(rule: Rule, expected: &str) {
        let mut account = Account::default();
        let told = rule.to_string();
        account.add(rule).unwrap();
        let mut found = String::new();
        let mut meet = |direction, protocol, kind| {
            let harm = account.meet(direction, &head(protocol, kind), Nanos(1));
            found.push(if harm.is_some() { 'x' } else { '.' });
        };
        for _ in 0..3 {
            meet(Direction::Forth, Protocol::BoltV1, Kind::Heartbeat);
            meet(Direction::Back, Protocol::BoltV1, Kind::HeartbeatAck);
        }
        meet(Direction::Back, Protocol::Tr, Kind::HeartbeatAck);
        meet(Direction::Forth, Protocol::BoltV2, Kind::Request);
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
        let late = Rule { first: 4, ..back };
        check(late, "......x. drop heartbeat back from 4");
        let old = Rule {
            protocols: vec![Protocol::Tr, Protocol::BoltV2],
            ..Rule::new(Harm::Duplicate)
        };
        check(old, "......xx duplicate tr bolt-v2");
    }

    #[test]
    fn the_oldest_rule_whose_turn_it_is_harms() {
        let mut account = Account::default();
        let first = account
            .add(Rule {
                last: Some(1),
                ..Rule::new(Harm::Drop)
            })
            .unwrap();
        let second = account.add(Rule::new(Harm::Close)).unwrap();
        let request = head(Protocol::BoltV1, Kind::Request);
        let meet = |account: &mut Account| {
            let harm = account.meet(Direction::Forth, &request, Nanos(7));
            harm.map(|(id, _)| id)
        };
        assert_eq!(meet(&mut account), Some(first));
        assert_eq!(meet(&mut account), Some(second));
        let healed = account.heal(second).unwrap();
        assert_eq!(
            (healed.met, healed.harmed, healed.first),
            (2, 1, Some(Nanos(7)))
        );
        assert_eq!(meet(&mut account), None);
        assert!(account.heal(second).is_none());
        // What it did is still told.
        assert_eq!(account.rule(second).unwrap().harmed, 1);
        assert_eq!(account.frames(Direction::Forth, Sort::Request), 3);
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
}
