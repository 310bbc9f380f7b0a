//! Two runs of the same suite or matrix, side by side.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::terminal::{Style, heading};
use super::super::text::{self, duration, thousands};
use super::super::view::View;
use super::Told;
use crate::verdict::Verdict;

/// Cases listed of one kind on a terminal.
const LISTED_MAX: usize = 20;
/// A case is slower when it took this many times as long, and longer by [`SLOWER_NS`].
const SLOWER: f64 = 2.0;
/// In nanoseconds: what a busy machine makes of any case is no finding.
const SLOWER_NS: u64 = 250_000_000;

/// What became of a case from the first run to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Was good, is not any more.
    NewlyWrong,
    /// Is in the first run alone.
    Missing,
    /// Was wrong and still is.
    StillWrong,
    /// Was wrong, is good.
    Mended,
    /// Good in both, and much slower.
    Slower,
    /// Is in the second run alone.
    Added,
    /// Good in both.
    Same,
}

impl Turn {
    /// As a heading.
    pub fn words(self) -> &'static str {
        match self {
            Turn::NewlyWrong => "newly wrong",
            Turn::Missing => "missing",
            Turn::StillWrong => "still wrong",
            Turn::Mended => "mended",
            Turn::Slower => "slower",
            Turn::Added => "added",
            Turn::Same => "the same",
        }
    }
}

/// One case of both runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its id.
    pub case: String,
    /// What became of it.
    pub turn: Turn,
    /// One sentence: verdicts, times, why.
    pub why: String,
}

/// Two runs compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// `FAIL` where anything is newly wrong or missing; `INVALID` where nothing is in both.
    pub verdict: Verdict,
    /// Every case, the gravest turns first, then by id.
    pub lines: Vec<Line>,
    /// Cases of both.
    pub both: u64,
}

/// Compares the cases of two records, `before` and `after`. A record without cases is compared
/// by its claims.
pub fn compare(before: &View, after: &View) -> Comparison {
    let (before, after) = (by_id(before), by_id(after));
    let mut lines = Vec::new();
    let mut both = 0;
    for (id, old) in &before {
        let (turn, why) = match after.get(id) {
            None => (
                Turn::Missing,
                format!("{} before, not run now", old.verdict),
            ),
            Some(new) => {
                both += 1;
                turned(old, new)
            }
        };
        lines.push(Line {
            case: id.clone(),
            turn,
            why,
        });
    }
    for (id, new) in &after {
        if !before.contains_key(id) {
            lines.push(Line {
                case: id.clone(),
                turn: Turn::Added,
                why: format!("{}{}", new.verdict, because(new)),
            });
        }
    }
    lines.sort_by(|a, b| (a.turn, &a.case).cmp(&(b.turn, &b.case)));
    let grave = |line: &Line| matches!(line.turn, Turn::NewlyWrong | Turn::Missing);
    let added_wrong = after
        .iter()
        .any(|(id, new)| !before.contains_key(id) && is_wrong(new.verdict));
    let verdict = match (both, lines.iter().any(grave) || added_wrong) {
        (_, true) => Verdict::Fail,
        (0, false) => Verdict::Invalid,
        (_, false) => Verdict::Pass,
    };
    Comparison {
        verdict,
        lines,
        both,
    }
}

struct One {
    verdict: Verdict,
    why: String,
    took_ns: u64,
}

fn by_id(view: &View) -> BTreeMap<String, One> {
    match &view.cases {
        Some(cases) => cases
            .ended
            .iter()
            .map(|told| (told.case.id.clone(), one(told)))
            .collect(),
        None => view
            .claims
            .iter()
            .map(|claim| {
                let one = One {
                    verdict: claim.verdict,
                    why: claim.why.clone(),
                    took_ns: 0,
                };
                (claim.name.clone(), one)
            })
            .collect(),
    }
}

fn one(told: &Told) -> One {
    let wanted = |claim: &&crate::verdict::Claim| claim.verdict == told.case.verdict;
    let why = told.case.claims.iter().find(wanted);
    One {
        verdict: told.case.verdict,
        why: why.map(|claim| claim.why.clone()).unwrap_or_default(),
        took_ns: told.case.took_ns,
    }
}

fn is_wrong(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Fail | Verdict::Invalid)
}

fn because(one: &One) -> String {
    match (is_wrong(one.verdict), one.why.as_str()) {
        (true, why) if !why.is_empty() => format!(": {why}"),
        _ => String::new(),
    }
}

fn turned(old: &One, new: &One) -> (Turn, String) {
    let verdicts = match old.verdict == new.verdict {
        true => format!("{}", new.verdict),
        false => format!("{} → {}", old.verdict, new.verdict),
    };
    let slower = new.took_ns as f64 > old.took_ns as f64 * SLOWER
        && new.took_ns > old.took_ns.saturating_add(SLOWER_NS);
    // A case that passed and cannot be tried any more shows less than before.
    let lost = old.verdict == Verdict::Pass && new.verdict == Verdict::Unsupported;
    let turn = match (is_wrong(old.verdict), is_wrong(new.verdict)) {
        (false, true) => Turn::NewlyWrong,
        (false, false) if lost => Turn::Missing,
        (true, true) => Turn::StillWrong,
        (true, false) => Turn::Mended,
        (false, false) if slower => Turn::Slower,
        (false, false) => Turn::Same,
    };
    let why = match turn {
        Turn::Slower => format!("{} → {}", duration(old.took_ns), duration(new.took_ns)),
        _ => format!("{verdicts}{}", because(new)),
    };
    (turn, why)
}

impl Comparison {
    /// How many cases took each turn; none of zero.
    pub fn totals(&self) -> Vec<(Turn, u64)> {
        let mut totals: BTreeMap<Turn, u64> = BTreeMap::new();
        for line in &self.lines {
            *totals.entry(line.turn).or_insert(0) += 1;
        }
        totals.into_iter().collect()
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        let parts: Vec<String> = self
            .totals()
            .into_iter()
            .map(|(turn, count)| format!("{} {}", thousands(count), turn.words()))
            .collect();
        match parts.is_empty() {
            true => "neither run has a case".into(),
            false => format!("{}; {} in both", parts.join(", "), thousands(self.both)),
        }
    }

    /// For a terminal.
    pub fn text(&self, style: Style) -> String {
        let mut out = style.verdict(self.verdict, self.verdict.word().len() + 2);
        let indent = self.verdict.word().len() + 2;
        style.wrap(&mut out, indent, indent, &self.sentence());
        for (turn, count) in self.totals() {
            if turn == Turn::Same {
                continue;
            }
            heading(&mut out, style, turn.words(), &thousands(count));
            let of_it = self.lines.iter().filter(|line| line.turn == turn);
            for line in of_it.take(LISTED_MAX) {
                let indent = 2 + line.case.chars().count() + 2;
                let _ = write!(out, "  {}  ", line.case);
                style.wrap(&mut out, indent, indent.min(30), &line.why);
            }
            if count > LISTED_MAX as u64 {
                let more = count - LISTED_MAX as u64;
                let _ = writeln!(out, "  … and {}", text::count(more, "more", "more"));
            }
        }
        out
    }

    /// For programs; schema 1.
    pub fn json(&self) -> Value {
        let totals: serde_json::Map<String, Value> = self
            .totals()
            .into_iter()
            .map(|(turn, count)| (turn.words().replace(' ', "_"), json!(count)))
            .collect();
        let lines: Vec<Value> = self
            .lines
            .iter()
            .filter(|line| line.turn != Turn::Same)
            .map(|line| {
                json!({
                    "case": line.case,
                    "turn": line.turn.words().replace(' ', "_"),
                    "why": line.why,
                })
            })
            .collect();
        json!({
            "schema": 1,
            "verdict": self.verdict,
            "both": self.both,
            "totals": totals,
            "cases": lines,
        })
    }
}
