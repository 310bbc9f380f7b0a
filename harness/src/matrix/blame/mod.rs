//! From cells that failed to the smallest combination of values that explains it.
//!
//! Failures are taken apart by their signature. Within one, a combination explains a failure when
//! the failing cell holds it and no cell that passes does; the smallest such combinations are
//! candidates (`candidates`). A candidate is then tried, by cells that nobody asked for before:
//!
//! - **needed**: a cell that passes holds all of it but one value; with that value put in, and
//!   nothing else changed, it must fail. So each value is shown to be needed by two cells that
//!   differ in one axis.
//! - **enough**: cells that hold it beside every value of every other axis must fail.
//!
//! A cell that passes and should have failed ends the candidate, and the next one is tried. What
//! the conditions forbid cannot be checked; then the blame says that it is not shown to be minimal.
//! Then the other values of its axes are tried, so that `call=sync|oneway` is found where one
//! failing cell knows of `sync` alone. Failures that are left begin anew: they have another cause.
//!
//! It is a state machine: [`Blamer::heard`] takes results, [`Blamer::wanted`] names the cells that
//! should run now, and when it names none, [`Blamer::done`] has the causes, the one that explains
//! most first. Noise is not expected: the same cell gives the same result.

mod candidates;
mod test;

use std::collections::{BTreeMap, BTreeSet};

use meshproof_record::case::{Blame, Choice};

use super::solve::Solver;
use super::{Cell, Combination, Matrix, Row};
use test::{Group, Trial};

/// Most causes that are told apart.
pub const CAUSES_MAX: usize = 40;
/// Most cells that are named in one list of a blame.
const NAMED_MAX: usize = 200;

/// What came of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Pass,
    /// It failed.
    Fail {
        /// What failures of the same kind have in common: without ids, ports and counts.
        signature: String,
        /// What was seen, in its shortest form.
        evidence: String,
    },
    /// It was not run, or the run says nothing.
    Unknown,
}

/// Finds what failures are due to.
#[derive(Debug)]
pub struct Blamer<'a> {
    matrix: &'a Matrix,
    solver: Solver,
    known: BTreeMap<Row, Outcome>,
    /// Cells that were wanted; those that nothing was heard of are not wanted again.
    asked: BTreeSet<Row>,
    /// How many cells may still be asked for.
    left: usize,
}

impl<'a> Blamer<'a> {
    /// For the results of one matrix; at most `cells_max` more cells are asked for.
    pub fn new(matrix: &'a Matrix, cells_max: usize) -> Blamer<'a> {
        Blamer {
            matrix,
            solver: Solver::of(matrix),
            known: BTreeMap::new(),
            asked: BTreeSet::new(),
            left: cells_max,
        }
    }

    /// What came of a cell. A failure is not taken back by a later pass.
    pub fn heard(&mut self, cell: &Cell, outcome: Outcome) {
        let failed = matches!(self.known.get(&cell.row), Some(Outcome::Fail { .. }));
        if !failed {
            self.known.insert(cell.row.clone(), outcome);
        }
    }

    /// The cells that should run now; none: there is nothing more to be learned. Cells that were
    /// named before and never heard of are given up.
    pub fn wanted(&mut self) -> Vec<Cell> {
        for row in &self.asked {
            self.known.entry(row.clone()).or_insert(Outcome::Unknown);
        }
        let (_, mut wants) = self.think();
        wants.truncate(self.left);
        self.left -= wants.len();
        self.asked.extend(wants.iter().cloned());
        wants
            .iter()
            .filter_map(|row| self.matrix.cell(row))
            .collect()
    }

    /// The causes, the one that explains most failures first.
    pub fn done(&self) -> Vec<Blame> {
        let (causes, _) = self.think();
        self.told(join(causes))
    }

    /// What follows from everything that was heard, and what should be heard next.
    fn think(&self) -> (Vec<Cause>, Vec<Row>) {
        let mut causes: Vec<Cause> = Vec::new();
        let mut wants: Vec<Row> = Vec::new();
        // What was found for other symptoms.
        let mut others: Vec<Combination> = Vec::new();
        for signature in self.signatures() {
            let mut group = Group::new(&self.known, &signature);
            let mut found: Vec<(Combination, Trial)> = Vec::new();
            let mut is_settled = true;
            let elsewhere = others.clone();
            while !group.unexplained.is_empty() && found.len() < CAUSES_MAX {
                let combination = candidates::best(&group);
                let trial = test::trial(self.matrix, &self.solver, &group, &combination);
                group.unexplained.retain(|row| !combination.is_in(row));
                is_settled &= trial.wants.is_empty();
                push_new(&mut wants, &trial.wants);
                found.push((combination, trial));
                if !is_settled && self.left > 0 {
                    break;
                }
            }
            // A cell that another cause makes fail says nothing for this one: each has to hold
            // where all the others are away.
            if is_settled {
                for at in 0..found.len() {
                    let mut away = elsewhere.clone();
                    let rest = found.iter().enumerate().filter(|(index, _)| *index != at);
                    away.extend(rest.map(|(_, (combination, _))| combination.clone()));
                    if let Some((combination, trial)) = found.get_mut(at) {
                        let more =
                            test::beside(self.matrix, &self.solver, &group, combination, &away);
                        is_settled &= more.is_empty();
                        push_new(&mut wants, &more);
                        push_new(&mut trial.wants, &more);
                    }
                }
            }
            if is_settled {
                for (combination, _) in &found {
                    let more = test::other_values(self.matrix, &self.solver, &group, combination);
                    push_new(&mut wants, &more);
                }
            }
            others.extend(found.iter().map(|(combination, _)| combination.clone()));
            for (combination, trial) in found {
                causes.push(Cause {
                    values: combination
                        .pairs()
                        .iter()
                        .map(|(axis, value)| (*axis, BTreeSet::from([*value])))
                        .collect(),
                    signatures: BTreeSet::from([signature.clone()]),
                    checked: trial.checked,
                    minimal: trial.minimal && trial.wants.is_empty(),
                });
            }
        }
        (causes, wants)
    }

    /// Every signature, the most frequent first.
    fn signatures(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for outcome in self.known.values() {
            if let Outcome::Fail { signature, .. } = outcome {
                *counts.entry(signature).or_default() += 1;
            }
        }
        let mut all: Vec<(usize, &str)> =
            counts.iter().map(|(name, count)| (*count, *name)).collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        all.into_iter().map(|(_, name)| name.to_owned()).collect()
    }

    fn told(&self, causes: Vec<Cause>) -> Vec<Blame> {
        let mut told: Vec<(usize, Blame)> = causes
            .into_iter()
            .map(|cause| {
                let mut fails = Vec::new();
                let mut evidence: Vec<&str> = Vec::new();
                for (row, outcome) in &self.known {
                    if let Outcome::Fail {
                        signature,
                        evidence: seen,
                    } = outcome
                        && cause.signatures.contains(signature)
                        && cause.is_in(row)
                    {
                        fails.push(row);
                        evidence.push(seen);
                    }
                }
                let count = fails.len();
                let blame = Blame {
                    because: self.because(&cause),
                    evidence: shortest(&evidence, cause.signatures.len()),
                    fails: self.ids(&fails),
                    checked: self.ids(&cause.checked.iter().collect::<Vec<_>>()),
                    minimal: cause.minimal,
                };
                (count, blame)
            })
            .collect();
        // What explains most comes first, and of equals the shorter.
        told.sort_by_key(|(count, blame)| (std::cmp::Reverse(*count), blame.because.len()));
        told.into_iter().map(|(_, blame)| blame).collect()
    }

    fn ids(&self, rows: &[&Row]) -> Vec<String> {
        rows.iter()
            .take(NAMED_MAX)
            .filter_map(|row| Some(self.matrix.cell(row)?.id))
            .collect()
    }

    fn because(&self, cause: &Cause) -> Vec<Choice> {
        cause
            .values
            .iter()
            .filter_map(|(axis, values)| {
                let axis = self.matrix.axes().get(*axis)?;
                let words: Vec<String> = values
                    .iter()
                    .filter_map(|value| Some(axis.values.get(usize::from(*value))?.to_string()))
                    .collect();
                Some(Choice {
                    axis: axis.name.clone(),
                    value: words.join("|"),
                })
            })
            .collect()
    }
}

/// A cause: for each of its axes the values that count.
#[derive(Clone, Debug)]
struct Cause {
    values: BTreeMap<usize, BTreeSet<u8>>,
    signatures: BTreeSet<String>,
    checked: BTreeSet<Row>,
    minimal: bool,
}

impl Cause {
    fn is_in(&self, row: &Row) -> bool {
        self.values
            .iter()
            .all(|(axis, values)| row.0.get(*axis).is_some_and(|value| values.contains(value)))
    }

    /// The axis in which two causes of the same axes differ, if it is one.
    fn differs_in(&self, other: &Cause) -> Option<usize> {
        if !self.values.keys().eq(other.values.keys()) {
            return None;
        }
        let mut different = self
            .values
            .iter()
            .filter(|(axis, values)| other.values.get(axis) != Some(values))
            .map(|(axis, _)| *axis);
        let first = different.next()?;
        different.next().is_none().then_some(first)
    }
}

/// Puts together what is the same cause with several symptoms, and causes of one symptom that
/// differ in one axis alone: `call=sync` and `call=oneway` become `call=sync|oneway`.
fn join(causes: Vec<Cause>) -> Vec<Cause> {
    let mut all: Vec<Cause> = Vec::new();
    for cause in causes {
        match all.iter_mut().find(|known| known.values == cause.values) {
            Some(known) => {
                known.signatures.extend(cause.signatures);
                known.checked.extend(cause.checked);
                // Shown for one symptom, it is shown.
                known.minimal |= cause.minimal;
            }
            None => all.push(cause),
        }
    }
    loop {
        let pair = (0..all.len())
            .flat_map(|left| (left + 1..all.len()).map(move |right| (left, right)))
            .find_map(|(left, right)| {
                let (a, b) = (all.get(left)?, all.get(right)?);
                let axis = a.differs_in(b)?;
                (a.signatures == b.signatures).then_some((left, right, axis))
            });
        let Some((left, right, axis)) = pair else {
            return all;
        };
        let other = all.remove(right);
        if let Some(one) = all.get_mut(left) {
            if let (Some(values), Some(more)) = (one.values.get_mut(&axis), other.values.get(&axis))
            {
                values.extend(more);
            }
            one.checked.extend(other.checked);
            one.minimal &= other.minimal;
        }
    }
}

fn push_new(all: &mut Vec<Row>, more: &[Row]) {
    for row in more {
        if !all.contains(row) {
            all.push(row.clone());
        }
    }
}

/// The shortest of what was seen, and how many other kinds of failure there are.
fn shortest(evidence: &[&str], kinds: usize) -> String {
    let least = evidence.iter().min_by_key(|text| (text.len(), **text));
    match (least, kinds) {
        (None, _) => String::new(),
        (Some(one), 0 | 1) => (*one).to_owned(),
        (Some(one), 2) => format!("{one} (and one more symptom)"),
        (Some(one), kinds) => format!("{one} (and {} more symptoms)", kinds - 1),
    }
}

#[cfg(test)]
mod tests;
