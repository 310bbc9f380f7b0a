//! What is not as it was in the release before.

use std::collections::BTreeMap;

use meshproof_record::report::text::tame;
use serde::{Deserialize, Serialize};

use super::{Earlier, NAME_CHARS_MAX, SENTENCE_CHARS_MAX, Standing};
use crate::outcome::{Judged, Outcome, Told};

/// Least share by which a figure has to move to be told.
const SHARE_MIN: f64 = 0.001;

/// What is not as it was.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Nobody named a release to compare with.
    NotAsked,
    /// One was named, and there is none: why.
    None(String),
    /// Against this one.
    Against {
        /// What it is called.
        label: String,
        /// When it was judged.
        judged: String,
        /// Checkpoints that stand otherwise.
        verdicts: Vec<Moved>,
        /// Figures that moved, by how much, the most first.
        figures: Vec<Figure>,
        /// Rules that are new, gone or other.
        rules: Vec<Change>,
        /// Packs and their generation, before and now, where they are others.
        packs: Option<Moved>,
    },
}

/// What stands otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Moved {
    /// What.
    pub name: String,
    /// Before.
    pub before: String,
    /// Now.
    pub now: String,
}

/// A figure that moved.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Figure {
    /// Checkpoint and figure: `release/performance p99_ms`.
    pub name: String,
    /// Before.
    pub before: f64,
    /// Now.
    pub now: f64,
}

impl Figure {
    /// `41.2 → 44.9 (+9 %)`.
    pub fn text(&self) -> String {
        let percent = self.share() * 100.0;
        let by = match self.before {
            0.0 => String::new(),
            _ if percent.abs() < 10.0 => format!(" ({percent:+.1} %)"),
            _ => format!(" ({percent:+.0} %)"),
        };
        format!("{} → {}{by}", number(self.before), number(self.now))
    }

    /// Positive where it grew.
    fn share(&self) -> f64 {
        match self.before {
            0.0 => f64::INFINITY.copysign(self.now),
            before => (self.now - before) / before.abs(),
        }
    }
}

/// A rule that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Added {
        /// The rule.
        rule: String,
        /// What it wants.
        now: String,
    },
    /// It is not there any more.
    Removed {
        /// The rule.
        rule: String,
        /// What it wanted.
        before: String,
    },
    /// It wants something else.
    Other {
        /// The rule.
        rule: String,
        /// What it wanted.
        before: String,
        /// What it wants.
        now: String,
    },
}

impl Change {
    /// The rule, and in words what became of it.
    pub fn text(&self) -> (&str, String) {
        match self {
            Change::Added { rule, now } => (rule, format!("new: {now}")),
            Change::Removed { rule, before } => (rule, format!("gone; it was: {before}")),
            Change::Other { rule, before, now } => (rule, format!("{before} → {now}")),
        }
    }
}

/// A number as short as it can be told.
fn number(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

impl Difference {
    /// Of an outcome.
    pub(super) fn of(now: &Outcome, earlier: &Earlier) -> Difference {
        let (label, before) = match earlier {
            Earlier::NotAsked => return Difference::NotAsked,
            Earlier::None(why) => return Difference::None(tame(why, SENTENCE_CHARS_MAX)),
            Earlier::Found { label, outcome } => (label, outcome),
        };
        let packs = [super::rules(before), super::rules(now)];
        Difference::Against {
            label: tame(label, NAME_CHARS_MAX),
            judged: super::moment(before.judged_unix_ms),
            verdicts: verdicts(before, now),
            figures: figures(before, now),
            rules: rules(before, now),
            packs: (packs[0] != packs[1]).then(|| {
                let [before, now] = packs;
                Moved {
                    name: "packs".to_owned(),
                    before,
                    now,
                }
            }),
        }
    }

    /// Whether there was a release before and nothing is otherwise.
    pub fn is_none(&self) -> bool {
        match self {
            Difference::NotAsked | Difference::None(_) => false,
            Difference::Against {
                verdicts,
                figures,
                rules,
                packs,
                ..
            } => verdicts.is_empty() && figures.is_empty() && rules.is_empty() && packs.is_none(),
        }
    }
}

fn by_id(outcome: &Outcome) -> BTreeMap<&str, &Judged> {
    let all = outcome.checkpoints.iter();
    all.map(|judged| (judged.id.as_str(), judged)).collect()
}

fn verdicts(before: &Outcome, now: &Outcome) -> Vec<Moved> {
    let (old, new) = (by_id(before), by_id(now));
    let ids = now.checkpoints.iter().chain(
        before
            .checkpoints
            .iter()
            .filter(|judged| !new.contains_key(judged.id.as_str())),
    );
    let word =
        |judged: Option<&&Judged>| judged.map_or("not there", |judged| Standing::of(judged).word());
    ids.filter_map(|judged| {
        let id = judged.id.as_str();
        let (before, now) = (word(old.get(id)), word(new.get(id)));
        (before != now).then(|| Moved {
            name: tame(id, NAME_CHARS_MAX),
            before: before.to_owned(),
            now: now.to_owned(),
        })
    })
    .collect()
}

fn figures(before: &Outcome, now: &Outcome) -> Vec<Figure> {
    let old = by_id(before);
    let mut all = Vec::new();
    for judged in &now.checkpoints {
        let (Some(shown), Some(was)) = (
            &judged.shown,
            old.get(judged.id.as_str()).and_then(|it| it.shown.as_ref()),
        ) else {
            continue;
        };
        for (name, now) in &shown.figures {
            let Some((_, before)) = was.figures.iter().find(|(it, _)| it == name) else {
                continue;
            };
            let figure = Figure {
                name: tame(&format!("{} {name}", judged.id), NAME_CHARS_MAX),
                before: *before,
                now: *now,
            };
            if before != now && figure.share().abs() >= SHARE_MIN {
                all.push(figure);
            }
        }
    }
    all.sort_by(|a, b| b.share().abs().total_cmp(&a.share().abs()));
    all
}

fn rules(before: &Outcome, now: &Outcome) -> Vec<Change> {
    let by_rule = |outcome: &'_ Outcome| -> BTreeMap<String, Told> {
        let all = outcome.rules.iter();
        all.map(|told| (told.rule.clone(), told.clone())).collect()
    };
    // An outcome of another program may know no rules: then nothing can be said of them.
    if before.rules.is_empty() && !before.checkpoints.is_empty() {
        return Vec::new();
    }
    let (old, new) = (by_rule(before), by_rule(now));
    let name = |rule: &str| tame(rule, NAME_CHARS_MAX);
    let text = |wanted: &str| tame(wanted, SENTENCE_CHARS_MAX);
    let mut all = Vec::new();
    for told in &now.rules {
        match old.get(&told.rule) {
            None => all.push(Change::Added {
                rule: name(&told.rule),
                now: text(&told.wanted),
            }),
            Some(was) if was.wanted != told.wanted => all.push(Change::Other {
                rule: name(&told.rule),
                before: text(&was.wanted),
                now: text(&told.wanted),
            }),
            Some(_) => {}
        }
    }
    for told in before.rules.iter().filter(|it| !new.contains_key(&it.rule)) {
        all.push(Change::Removed {
            rule: name(&told.rule),
            before: text(&told.wanted),
        });
    }
    all
}
