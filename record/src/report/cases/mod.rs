//! What every report shows of the cases of a run: scenarios, cells of a matrix, proofs.

mod cause;
pub mod compare;
pub mod github;
pub(super) mod json;
pub(super) mod junit;
pub(super) mod page;
pub(super) mod terminal;

use std::collections::BTreeMap;

use super::text;
use crate::case::{Axis, Blame, Case, Certificate, Choice, Detail, Moment, Step};
use crate::event::Event;
use crate::store::{Record, StoreError};
use crate::verdict::{Claim, Verdict};

pub use cause::Cause;

/// Cases told apart; further ones are counted only.
const CASES_MAX: usize = 20_000;
/// Steps kept of one case.
const STEPS_MAX: usize = 200;
/// Lines of the timeline kept of one case.
const MOMENTS_MAX: usize = 300;
/// Lines of timelines kept in all.
const MOMENTS_IN_ALL_MAX: usize = 50_000;
/// Characters kept of a name.
const NAME_CHARS_MAX: usize = 160;
/// Characters kept of a sentence.
const SENTENCE_CHARS_MAX: usize = 600;
/// Causes that a run names, at most.
const BLAMES_MAX: usize = 100;

/// The cases of one run.
#[derive(Clone, Debug, Default)]
pub struct Cases {
    /// The suite or matrix.
    pub name: String,
    /// Its axes; none of a suite.
    pub axes: Vec<Axis>,
    /// Every case that was planned, with its values, in the order of the plan.
    pub planned: Vec<(String, Vec<Choice>)>,
    /// Cases that are over, in the order of the plan.
    pub ended: Vec<Told>,
    /// Cases that had begun and were not over when the record ended.
    pub open: Vec<String>,
    /// Cases beyond the limit.
    pub left_out: u64,
    /// How well the cells cover the axes.
    pub certificate: Option<Certificate>,
    /// Causes that the run found itself.
    pub blames: Vec<Blame>,
    /// Failures grouped by cause, the gravest and greatest first.
    pub causes: Vec<Cause>,
}

/// One case and what was told of it while it ran.
#[derive(Clone, Debug)]
pub struct Told {
    /// The case.
    pub case: Case,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Its timeline.
    pub timeline: Vec<Moment>,
    /// What is needed to understand its failure, where the run kept it.
    pub detail: Option<Detail>,
}

impl Cases {
    /// How many cases have each verdict, worst first; none of zero.
    pub fn totals(&self) -> Vec<(Verdict, u64)> {
        let order = [
            Verdict::Fail,
            Verdict::Invalid,
            Verdict::Pass,
            Verdict::Known,
            Verdict::Unsupported,
        ];
        order
            .into_iter()
            .map(|verdict| {
                let of_it = |told: &&Told| told.case.verdict == verdict;
                (verdict, self.ended.iter().filter(of_it).count() as u64)
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The case of this id, if it is over.
    pub fn of(&self, id: &str) -> Option<&Told> {
        self.ended.iter().find(|told| told.case.id == id)
    }

    /// What the cases are called: `cells`, `scenarios`.
    pub fn noun(&self, count: u64) -> String {
        let (one, many) = match self.ended.first().map(|told| told.case.kind) {
            Some(crate::case::CaseKind::Cell) => ("cell", "cells"),
            Some(crate::case::CaseKind::Scenario) => ("scenario", "scenarios"),
            Some(crate::case::CaseKind::Proof) | None => ("case", "cases"),
        };
        text::count(count, one, many)
    }

    /// The verdict as one sentence, without the word itself: the gravest cause first.
    pub fn sentence(&self, verdict: Verdict) -> Option<String> {
        match verdict {
            Verdict::Fail | Verdict::Invalid => {
                let cause = self.causes.iter().find(|one| one.verdict == verdict)?;
                let more = self
                    .causes
                    .iter()
                    .filter(|one| one.verdict == verdict)
                    .count()
                    - 1;
                let more = match more {
                    0 => String::new(),
                    n => format!("; {}", text::count(n as u64, "more cause", "more causes")),
                };
                Some(format!(
                    "{} ({}){more}",
                    cause.sentence(),
                    self.noun(cause.cases.len() as u64)
                ))
            }
            Verdict::Pass => {
                let passed = self.totals().into_iter().find(|(it, _)| *it == verdict);
                let passed = passed.map_or(0, |(_, count)| count);
                let covered = self.certificate.as_ref().map(|certificate| {
                    let lines: Vec<String> =
                        certificate.covered.iter().map(coverage_line).collect();
                    format!("; {}", lines.join("; "))
                });
                Some(format!(
                    "{} of {} pass{}",
                    text::thousands(passed),
                    self.noun(self.ended.len() as u64 + self.open.len() as u64),
                    covered.unwrap_or_default()
                ))
            }
            Verdict::Known | Verdict::Unsupported => None,
        }
    }
}

/// `213 of 213 pairs`, `96 of 96 triples of client.mesh, providers, registry_order`.
pub(super) fn coverage_line(coverage: &crate::case::Coverage) -> String {
    let tuples = match coverage.strength {
        1 => "values".to_owned(),
        2 => "pairs".to_owned(),
        3 => "triples".to_owned(),
        n => format!("{n}-tuples"),
    };
    let of = match coverage.axes.as_slice() {
        [] => String::new(),
        axes => format!(" of {}", axes.join(", ")),
    };
    format!(
        "{} of {} {tuples}{of} ran",
        text::thousands(coverage.ran),
        text::thousands(coverage.possible)
    )
}

/// `client.mesh=reference ∧ providers=[bolt,tr]`.
pub fn conjunction(choices: &[Choice]) -> String {
    let parts: Vec<String> = choices
        .iter()
        .map(|choice| format!("{}={}", choice.axis, choice.value))
        .collect();
    parts.join(" ∧ ")
}

/// What was heard so far; bounded.
#[derive(Default)]
pub(super) struct Gather {
    cases: Cases,
    started: BTreeMap<String, (Vec<Step>, Vec<Moment>)>,
    moments: usize,
    any: bool,
}

impl Gather {
    /// Takes an event of a case; another is left alone.
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Planned { name, axes, cases } => {
                self.any = true;
                self.cases.name = tame(&name);
                self.cases.axes = axes;
                for (id, choices) in cases {
                    if self.cases.planned.len() < CASES_MAX {
                        self.cases.planned.push((tame(&id), tame_choices(choices)));
                    }
                }
                for axis in &mut self.cases.axes {
                    axis.name = tame(&axis.name);
                    axis.values = axis.values.iter().map(|value| tame(value)).collect();
                }
            }
            Event::CaseStarted { case } => {
                self.any = true;
                if self.started.len() < CASES_MAX {
                    self.started.entry(tame(&case)).or_default();
                }
            }
            Event::Stepped { case, step } => {
                if let Some((steps, _)) = self.started.get_mut(&tame(&case))
                    && steps.len() < STEPS_MAX
                {
                    steps.push(Step {
                        text: sentence(&step.text),
                        why: sentence(&step.why),
                        ..step
                    });
                }
            }
            Event::Seen { case, moment } => {
                if let Some((_, moments)) = self.started.get_mut(&tame(&case))
                    && moments.len() < MOMENTS_MAX
                    && self.moments < MOMENTS_IN_ALL_MAX
                {
                    self.moments += 1;
                    moments.push(tame_moment(moment));
                }
            }
            Event::CaseEnded { case } => self.ended(case),
            Event::Certified { certificate } => self.cases.certificate = Some(certificate),
            Event::Blamed { blame } if self.cases.blames.len() < BLAMES_MAX => {
                self.cases.blames.push(Blame {
                    because: tame_choices(blame.because),
                    evidence: sentence(&blame.evidence),
                    ..blame
                });
            }
            _ => {}
        }
    }

    fn ended(&mut self, case: Case) {
        self.any = true;
        let case = Case {
            id: tame(&case.id),
            about: sentence(&case.about),
            choices: tame_choices(case.choices),
            claims: case.claims.into_iter().map(tame_claim).collect(),
            rerun: sentence(&case.rerun),
            evidence: case.evidence.iter().map(|path| tame(path)).collect(),
            ..case
        };
        let (steps, mut timeline) = self.started.remove(&case.id).unwrap_or_default();
        let is_passed_cell =
            case.verdict == Verdict::Pass && case.kind == crate::case::CaseKind::Cell;
        if is_passed_cell {
            // Thousands of them say the same; the record has it.
            self.moments -= timeline.len();
            timeline = Vec::new();
        }
        // A case that ran again counts by its last end.
        if let Some(before) = self.cases.ended.iter_mut().find(|it| it.case.id == case.id) {
            *before = Told {
                case,
                steps,
                timeline,
                detail: None,
            };
        } else if self.cases.ended.len() < CASES_MAX {
            self.cases.ended.push(Told {
                case,
                steps,
                timeline,
                detail: None,
            });
        } else {
            self.cases.left_out += 1;
        }
    }

    /// What there is, with the details that the record keeps; nothing for a run without cases.
    pub(super) fn finish(self, record: &Record) -> Result<Option<Cases>, StoreError> {
        if !self.any {
            return Ok(None);
        }
        let mut cases = self.cases;
        cases.open = self.started.into_keys().collect();
        let place: BTreeMap<String, usize> = cases
            .planned
            .iter()
            .enumerate()
            .map(|(at, (id, _))| (id.clone(), at))
            .collect();
        cases
            .ended
            .sort_by_key(|told| place.get(&told.case.id).copied().unwrap_or(usize::MAX));
        for told in &mut cases.ended {
            told.detail = record.detail(&told.case)?;
        }
        cases.causes = cause::causes(&cases);
        Ok(Some(cases))
    }
}

fn tame(text: &str) -> String {
    text::tame(text, NAME_CHARS_MAX)
}

fn sentence(text: &str) -> String {
    text::tame(text, SENTENCE_CHARS_MAX)
}

fn tame_choices(choices: Vec<Choice>) -> Vec<Choice> {
    choices
        .into_iter()
        .map(|choice| Choice {
            axis: tame(&choice.axis),
            value: tame(&choice.value),
        })
        .collect()
}

fn tame_moment(moment: Moment) -> Moment {
    Moment {
        seen_by: tame(&moment.seen_by),
        what: sentence(&moment.what),
        ..moment
    }
}

fn tame_claim(claim: Claim) -> Claim {
    Claim {
        name: tame(&claim.name),
        why: sentence(&claim.why),
        ..claim
    }
}
