//! The release page as values: ship or do not ship, why, and by which evidence.
//!
//! Made of an [`Outcome`] and, where one is named, the outcome of the release before. It reads no
//! clock: ages count up to the moment when the gate had judged, so that the same record gives the
//! same bytes.

mod difference;

use meshproof_record::report::text::{count, tame};
use meshproof_record::verdict::{EXIT_INVALID, EXIT_PASS, Verdict};
use serde::{Deserialize, Serialize};

pub use difference::{Change, Difference, Figure, Moved};

use crate::outcome::{Code, Judged, Outcome, Ruling, State};
use crate::report::age;

/// The version of [`Release`] as JSON.
pub const SCHEMA: u32 = 1;
/// Waivers that end within so many days are told as ending soon.
pub const SOON_DAYS: i64 = 14;
/// Characters that are kept of a name.
const NAME_CHARS_MAX: usize = 120;
/// Characters that are kept of a sentence.
const SENTENCE_CHARS_MAX: usize = 400;
const DAY_MS: i64 = 86_400_000;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// All that applies is shown.
    Ship,
    /// Something blocks.
    DoNotShip,
    /// There is nothing to judge.
    NotApplicable,
}

impl Answer {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Answer::Ship => "SHIP",
            Answer::DoNotShip => "DO NOT SHIP",
            Answer::NotApplicable => "NOT APPLICABLE",
        }
    }
}

/// What the outcome does not say itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The version that is to be released.
    pub version: Option<String>,
    /// The branch and commit that were judged.
    pub commit: Option<String>,
    /// Where the gate's record is.
    pub record: String,
    /// The pack whose checkpoints are the areas.
    pub pack: String,
    /// The exit code of the gate.
    pub exit: u8,
}

/// The release before, as far as it could be found.
#[derive(Clone, Debug)]
pub enum Earlier {
    /// Nobody named one.
    NotAsked,
    /// One was named, and there is none: why.
    None(String),
    /// This one.
    Found {
        /// What it is called: its version, else its record.
        label: String,
        /// What it came to.
        outcome: Box<Outcome>,
    },
}

/// The page.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Release {
    /// The version of this form.
    pub schema: u32,
    /// Ship, or not.
    pub answer: Answer,
    /// The exit code.
    pub exit: u8,
    /// One sentence with the numbers.
    pub sentence: String,
    /// The version that is to be released.
    pub version: Option<String>,
    /// The branch and commit that were judged.
    pub commit: Option<String>,
    /// When it was judged: `2026-11-24 05:30:00 UTC`.
    pub judged: String,
    /// Where the gate's record is.
    pub record: String,
    /// The packs and their generation.
    pub rules: String,
    /// Why not; rules that block for the same cause are one reason.
    pub reasons: Vec<Reason>,
    /// The areas, in the order of the pack.
    pub areas: Vec<Area>,
    /// What else was judged, in one sentence; empty where there is nothing else.
    pub others: String,
    /// Areas without evidence.
    pub not_run: Vec<NotRun>,
    /// Every waiver.
    pub waivers: Vec<WaiverLine>,
    /// What is not as in the release before.
    pub difference: Difference,
    /// Waivers that are not needed any more, and what else the gate says.
    pub notes: Vec<String>,
    /// What the gate said; what the next release is compared with.
    pub outcome: Outcome,
}

/// Why a release may not go out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reason {
    /// `FAIL` where it was shown not to hold, else `INVALID`.
    pub verdict: Verdict,
    /// The ids of the rules.
    pub rules: Vec<String>,
    /// The code of the block.
    pub code: Code,
    /// One sentence with the numbers.
    pub why: String,
    /// Who answers.
    pub owner: String,
    /// What to type, each once.
    pub fixes: Vec<String>,
    /// Where the first rule is written: file, line, pack, generation.
    pub written: String,
}

/// What an area of the pack came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Area {
    /// Its name without that of its pack: `scenarios`.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// In one word.
    pub standing: Standing,
    /// The values that were judged, or why there are none.
    pub figures: String,
    /// How old its evidence is; empty where there is none.
    pub age: String,
    /// Where its evidence is; empty where there is none.
    pub place: String,
    /// Who answers for it.
    pub owner: String,
}

/// How an area stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Every rule holds.
    Pass,
    /// What does not hold is waived.
    Waived,
    /// A rule was shown not to hold.
    Fail,
    /// There is evidence, and it shows nothing.
    Invalid,
    /// There is no evidence.
    NotRun,
    /// What has to pass before it did not.
    NotReached,
    /// It is not asked for.
    Off,
}

impl Standing {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Pass => "PASS",
            Standing::Waived => "WAIVED",
            Standing::Fail => "FAIL",
            Standing::Invalid => "INVALID",
            Standing::NotRun => "NOT RUN",
            Standing::NotReached => "NOT REACHED",
            Standing::Off => "OFF",
        }
    }

    /// The verdict whose shape and colour it has.
    pub fn verdict(self) -> Verdict {
        match self {
            Standing::Pass => Verdict::Pass,
            Standing::Waived => Verdict::Known,
            Standing::Fail => Verdict::Fail,
            Standing::Invalid | Standing::NotRun | Standing::NotReached => Verdict::Invalid,
            Standing::Off => Verdict::Unsupported,
        }
    }

    /// Of a checkpoint.
    pub fn of(judged: &Judged) -> Standing {
        match &judged.state {
            State::Passed => Standing::Pass,
            State::Waived => Standing::Waived,
            State::NotApplicable(_) => Standing::Off,
            State::NotReached(_) => Standing::NotReached,
            State::Blocked => {
                let codes: Vec<Code> = judged.blocks().map(|(_, block)| block.code).collect();
                let is_absent =
                    |code: &Code| matches!(code, Code::NotRun | Code::Missing | Code::NothingRan);
                match judged.verdict() {
                    Some(Verdict::Fail) => Standing::Fail,
                    _ if !codes.is_empty() && codes.iter().all(is_absent) => Standing::NotRun,
                    _ => Standing::Invalid,
                }
            }
        }
    }
}

/// An area without evidence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NotRun {
    /// Which.
    pub area: String,
    /// Why not.
    pub why: String,
    /// What to type; empty where it is not asked for.
    pub fix: String,
}

/// A waiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct WaiverLine {
    /// The rule that it is for.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The last day.
    pub expires: String,
    /// How it stands.
    pub term: Term,
    /// Whether it covers a rule that does not hold.
    pub covers: bool,
}

/// How long a waiver has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// It is past its day.
    Expired,
    /// It ends within [`SOON_DAYS`]: full days left behind this one.
    Soon(i64),
    /// It is in force for so many days.
    InForce(i64),
}

impl WaiverLine {
    /// `ends in 3 days`.
    pub fn term(&self) -> String {
        match self.term {
            Term::Expired => "EXPIRED".to_owned(),
            Term::Soon(0) => "ends today".to_owned(),
            Term::Soon(days) | Term::InForce(days) => {
                format!("ends in {}", count(days.unsigned_abs(), "day", "days"))
            }
        }
    }
}

impl Release {
    /// Of an outcome.
    pub fn of(outcome: Outcome, about: About, earlier: &Earlier) -> Release {
        let is_area = |judged: &&Judged| of_pack(judged, &about.pack);
        let areas: Vec<Area> = outcome
            .checkpoints
            .iter()
            .filter(is_area)
            .map(|judged| area(judged, outcome.judged_unix_ms))
            .collect();
        let nothing = areas.iter().all(|area| area.standing == Standing::Off);
        let answer = match about.exit {
            EXIT_PASS | EXIT_INVALID if nothing && !blocks(&outcome) => Answer::NotApplicable,
            EXIT_PASS => Answer::Ship,
            _ => Answer::DoNotShip,
        };
        let reasons = reasons(&outcome);
        let waivers = waivers(&outcome);
        let exit = match answer {
            Answer::NotApplicable => EXIT_INVALID,
            Answer::Ship | Answer::DoNotShip => about.exit,
        };
        Release {
            schema: SCHEMA,
            answer,
            exit,
            sentence: sentence(answer, &areas, &reasons, &waivers, &about),
            version: about.version.map(|it| tame(&it, NAME_CHARS_MAX)),
            commit: about.commit.map(|it| tame(&it, NAME_CHARS_MAX)),
            judged: moment(outcome.judged_unix_ms),
            record: tame(&about.record, NAME_CHARS_MAX),
            rules: rules(&outcome),
            others: others(&outcome, &about.pack),
            not_run: not_run(&outcome, &about.pack),
            difference: Difference::of(&outcome, earlier),
            notes: outcome
                .notes
                .iter()
                .map(|it| tame(it, SENTENCE_CHARS_MAX))
                .collect(),
            reasons,
            areas,
            waivers,
            outcome,
        }
    }
}

/// Whether a checkpoint is written in this pack.
fn of_pack(judged: &Judged, pack: &str) -> bool {
    let label = judged.origin.pack.as_deref().unwrap_or_default();
    label.split('@').next() == Some(pack)
}

fn blocks(outcome: &Outcome) -> bool {
    let all = &outcome.checkpoints;
    !outcome.expired.is_empty() || all.iter().any(|judged| !judged.state.lets_on())
}

/// A moment of Unix time in milliseconds, as reports write it.
fn moment(unix_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    meshproof_record::report::html::moment(&format!("{at:.0}"))
}

fn area(judged: &Judged, now_unix_ms: i64) -> Area {
    let shown = judged.shown.as_ref();
    let made = shown.and_then(|it| it.made_unix_ms);
    let figures = match &judged.state {
        State::NotApplicable(why) | State::NotReached(why) => why.clone(),
        _ => figures(judged),
    };
    Area {
        name: tame(short(judged), NAME_CHARS_MAX),
        about: tame(&judged.about, NAME_CHARS_MAX),
        standing: Standing::of(judged),
        figures: tame(&figures, SENTENCE_CHARS_MAX),
        age: made
            .map(|made| age(i128::from(now_unix_ms - made) * 1_000_000))
            .unwrap_or_default(),
        place: shown
            .map(|it| tame(&it.place, NAME_CHARS_MAX))
            .unwrap_or_default(),
        owner: tame(&judged.owner, NAME_CHARS_MAX),
    }
}

/// The name of a checkpoint without that of its pack.
fn short(judged: &Judged) -> &str {
    judged
        .id
        .split_once('/')
        .map_or(judged.id.as_str(), |(_, name)| name)
}

/// The name of a rule without that of its checkpoint.
fn rule_of<'a>(judged: &Judged, ruling: &'a Ruling) -> &'a str {
    let rest = ruling.rule.strip_prefix(judged.id.as_str());
    rest.and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(&ruling.rule)
}

/// The values that were judged: `tests.ran 12 · tests.open 0`.
fn figures(judged: &Judged) -> String {
    // What follows from the command and the result itself is told by the standing and the age,
    // and so is a verdict that is as it should be.
    let implied = ["when", "exit", "artefacts", "result", "fresh"];
    let mut told: Vec<String> = judged
        .rulings
        .iter()
        .map(|ruling| (rule_of(judged, ruling), ruling))
        .filter(|(name, _)| !implied.contains(name))
        .filter(|(name, ruling)| *name != "verdict" || ruling.block.is_some())
        .map(|(name, ruling)| format!("{} {}", value_of(name, ruling), unquoted(&ruling.seen)))
        .collect();
    // Why a value says nothing is told among the reasons; here, that it does.
    let codes = judged.blocks().map(|(_, block)| block.code);
    for code in codes.filter(|code| *code != Code::NotHeld) {
        if !told.iter().any(|it| it == code.word()) {
            told.push(code.word().to_owned());
        }
    }
    match told.is_empty() {
        true => count(judged.rulings.len() as u64, "rule holds", "rules hold"),
        false => told.join(" · "),
    }
}

/// The value that a rule is about, where what it wants begins with its name (`tests.open <= 0`);
/// else the rule's own name.
fn value_of<'a>(name: &'a str, ruling: &'a Ruling) -> &'a str {
    match ruling.wanted.split_once(' ') {
        Some((value, rest)) if rest.starts_with(['<', '>', '=']) && !value.contains('*') => value,
        _ => name,
    }
}

fn unquoted(seen: &str) -> &str {
    let inner = seen.strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
    inner.unwrap_or(seen)
}

fn reasons(outcome: &Outcome) -> Vec<Reason> {
    let some = |text: &str| -> Vec<String> {
        let text = Some(tame(text, SENTENCE_CHARS_MAX)).filter(|it| !it.is_empty());
        text.into_iter().collect()
    };
    let of = |ruling: &Ruling| {
        let block = ruling.block.as_ref()?;
        Some(Reason {
            verdict: block.code.verdict(),
            rules: vec![tame(&ruling.rule, NAME_CHARS_MAX)],
            code: block.code,
            why: tame(&block.why, SENTENCE_CHARS_MAX),
            owner: tame(&block.owner, NAME_CHARS_MAX),
            fixes: some(&block.fix),
            written: tame(&ruling.origin.to_string(), SENTENCE_CHARS_MAX),
        })
    };
    let mut all: Vec<Reason> = Vec::new();
    for judged in &outcome.checkpoints {
        let blocks = judged.blocks().filter_map(|(ruling, _)| of(ruling));
        blocks.for_each(|reason| add(&mut all, reason));
        if let State::NotReached(why) = &judged.state {
            let reason = Reason {
                verdict: Verdict::Invalid,
                rules: vec![tame(&judged.id, NAME_CHARS_MAX)],
                code: Code::NotReached,
                why: tame(why, SENTENCE_CHARS_MAX),
                owner: tame(&judged.owner, NAME_CHARS_MAX),
                fixes: Vec::new(),
                written: tame(&judged.origin.to_string(), SENTENCE_CHARS_MAX),
            };
            add(&mut all, reason);
        }
    }
    let expired = outcome.expired.iter().filter_map(of);
    expired.for_each(|reason| add(&mut all, reason));
    // What was shown not to hold stands first.
    all.sort_by_key(|reason| reason.verdict != Verdict::Fail);
    all
}

/// Adds a reason, to one of the same cause where there is one: a record that is damaged may be
/// that of many areas.
fn add(all: &mut Vec<Reason>, reason: Reason) {
    let same = all
        .iter_mut()
        .find(|it| (it.code, &it.why, &it.owner) == (reason.code, &reason.why, &reason.owner));
    match same {
        Some(same) => {
            same.rules.extend(reason.rules);
            let is_new = |fix: &String| !same.fixes.contains(fix);
            let new: Vec<String> = reason.fixes.into_iter().filter(is_new).collect();
            same.fixes.extend(new);
        }
        None => all.push(reason),
    }
}

fn not_run(outcome: &Outcome, pack: &str) -> Vec<NotRun> {
    let areas = outcome.checkpoints.iter().filter(|it| of_pack(it, pack));
    areas
        .filter_map(|judged| {
            let (why, fix) = match (Standing::of(judged), &judged.state) {
                (_, State::NotApplicable(why) | State::NotReached(why)) => (why.as_str(), ""),
                (Standing::NotRun, _) => {
                    let (_, block) = judged.blocks().next()?;
                    (block.why.as_str(), block.fix.as_str())
                }
                _ => return None,
            };
            Some(NotRun {
                area: tame(short(judged), NAME_CHARS_MAX),
                why: tame(why, SENTENCE_CHARS_MAX),
                fix: tame(fix, SENTENCE_CHARS_MAX),
            })
        })
        .collect()
}

fn waivers(outcome: &Outcome) -> Vec<WaiverLine> {
    let used: Vec<&str> = outcome
        .checkpoints
        .iter()
        .flat_map(Judged::waived)
        .map(|(ruling, ..)| ruling.rule.as_str())
        .collect();
    let mut all: Vec<WaiverLine> = outcome
        .waivers
        .iter()
        .map(|granted| {
            let left_ms = granted.over_unix_ms - outcome.judged_unix_ms;
            let days = (left_ms - 1).div_euclid(DAY_MS);
            WaiverLine {
                rule: tame(&granted.rule, NAME_CHARS_MAX),
                owner: tame(&granted.waived.owner, NAME_CHARS_MAX),
                reason: tame(&granted.waived.reason, SENTENCE_CHARS_MAX),
                expires: tame(&granted.waived.expires, NAME_CHARS_MAX),
                term: match days {
                    _ if left_ms <= 0 => Term::Expired,
                    days if days < SOON_DAYS => Term::Soon(days),
                    days => Term::InForce(days),
                },
                covers: used.contains(&granted.rule.as_str()),
            }
        })
        .collect();
    // Who has least time stands first.
    all.sort_by_key(|line| match line.term {
        Term::Expired => i64::MIN,
        Term::Soon(days) | Term::InForce(days) => days,
    });
    all
}

fn rules(outcome: &Outcome) -> String {
    let packs = match outcome.packs.as_slice() {
        [] => "no pack".to_owned(),
        packs => packs.join(", "),
    };
    tame(
        &format!("{packs}, generation {}", outcome.generation),
        SENTENCE_CHARS_MAX,
    )
}

/// What is not of the pack, counted.
fn others(outcome: &Outcome, pack: &str) -> String {
    let others: Vec<&Judged> = outcome
        .checkpoints
        .iter()
        .filter(|judged| !of_pack(judged, pack))
        .collect();
    if others.is_empty() {
        return String::new();
    }
    let mut parts = Vec::new();
    for state in [
        "passed",
        "waived",
        "BLOCKED",
        "not reached",
        "not applicable",
    ] {
        let number = others.iter().filter(|it| it.state.word() == state).count();
        if number > 0 {
            parts.push(format!("{number} {}", state.to_lowercase()));
        }
    }
    format!(
        "{} beside these: {}",
        count(others.len() as u64, "checkpoint", "checkpoints"),
        parts.join(", ")
    )
}

fn sentence(
    answer: Answer,
    areas: &[Area],
    reasons: &[Reason],
    waivers: &[WaiverLine],
    about: &About,
) -> String {
    let of = |wanted: Standing| areas.iter().filter(|it| it.standing == wanted).count() as u64;
    let areas_all = count(areas.len() as u64, "area", "areas");
    let soon = waivers
        .iter()
        .filter(|it| matches!(it.term, Term::Soon(_)))
        .count() as u64;
    match answer {
        Answer::NotApplicable if areas.is_empty() => format!(
            "nothing to judge: the rules extend no pack `{}` (extends: [{}@stable])",
            about.pack, about.pack
        ),
        Answer::NotApplicable => {
            format!(
                "nothing to judge: {areas_all} of `{}`, all of them off",
                about.pack
            )
        }
        Answer::Ship => {
            let mut parts = vec![format!(
                "{} of {areas_all} shown",
                of(Standing::Pass) + of(Standing::Waived)
            )];
            let beside = [
                (of(Standing::Waived), "by a waiver"),
                (of(Standing::Off), "not asked for"),
            ];
            for (number, words) in beside {
                if number > 0 {
                    parts.push(format!("{number} {words}"));
                }
            }
            if soon > 0 {
                let waivers = count(soon, "waiver ends", "waivers end");
                parts.push(format!("{waivers} within {SOON_DAYS} days"));
            }
            parts.join(", ")
        }
        Answer::DoNotShip => {
            let mut owners: Vec<&str> = reasons.iter().map(|it| it.owner.as_str()).collect();
            owners.sort_unstable();
            owners.dedup();
            let more = owners.len().saturating_sub(3);
            owners.truncate(3);
            let mut asked = owners.join(", ");
            if more > 0 {
                asked.push_str(&format!(" and {more} more"));
            }
            let rules: usize = reasons.iter().map(|it| it.rules.len()).sum();
            let reasons = count(rules as u64, "rule blocks", "rules block");
            match asked.as_str() {
                "" => "the gate was stopped before it was over".to_owned(),
                asked => format!(
                    "{reasons}; {} of {areas_all} shown; to be asked: {asked}",
                    of(Standing::Pass) + of(Standing::Waived)
                ),
            }
        }
    }
}
