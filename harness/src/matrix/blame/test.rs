//! A candidate on trial: which cells show that it is needed and enough.

use std::collections::{BTreeMap, BTreeSet};

use crate::matrix::solve::Solver;
use crate::matrix::{Combination, Matrix, Row};

use super::Outcome;

/// Passing cells that are tried for one value, before it is tried the other way round.
const WITNESSES_MAX: usize = 4;
/// Cells that are tried the other way round for one value.
const CHANGES_MAX: usize = 8;
/// Cells with the combination that are asked for at a time.
const ROOM_MAX: usize = 6;
/// With so many failing cells a combination counts as enough, whatever was not tried beside it.
const ENOUGH: usize = 24;
/// Axes with more values than this are not tried through.
const TRIED_MAX: usize = 12;

/// The failures of one signature beside everything else.
pub(super) struct Group<'a> {
    known: &'a BTreeMap<Row, Outcome>,
    /// Every failing row.
    pub(super) fails: Vec<&'a Row>,
    /// Those that no cause explains so far.
    pub(super) unexplained: Vec<&'a Row>,
    /// Rows that pass.
    pub(super) passes: Vec<&'a Row>,
    /// Rows that fail in another way: they say nothing for or against.
    pub(super) others: Vec<&'a Row>,
}

impl<'a> Group<'a> {
    pub(super) fn new(known: &'a BTreeMap<Row, Outcome>, wanted: &str) -> Group<'a> {
        let mut group = Group {
            known,
            fails: Vec::new(),
            unexplained: Vec::new(),
            passes: Vec::new(),
            others: Vec::new(),
        };
        for (row, outcome) in known {
            match outcome {
                Outcome::Pass => group.passes.push(row),
                Outcome::Fail { signature, .. } if signature == wanted => group.fails.push(row),
                Outcome::Fail { .. } => group.others.push(row),
                Outcome::Unknown => {}
            }
        }
        group.unexplained.clone_from(&group.fails);
        group
    }

    fn is_fail(&self, row: &Row) -> bool {
        self.fails.binary_search(&row).is_ok()
    }

    fn is_pass(&self, row: &Row) -> bool {
        self.passes.binary_search(&row).is_ok()
    }
}

/// What a trial has shown so far.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// Rows that should run next; none: it is over.
    pub(super) wants: Vec<Row>,
    /// Passing rows that differ from a failing one with the combination in one of its axes.
    pub(super) checked: BTreeSet<Row>,
    /// Whether every value was shown to be needed.
    pub(super) minimal: bool,
}

/// Tries a combination that some failing row holds and no passing one does.
pub(super) fn trial(
    matrix: &Matrix,
    solver: &Solver,
    group: &Group<'_>,
    combination: &Combination,
) -> Trial {
    let mut trial = Trial {
        minimal: true,
        ..Trial::default()
    };
    for pair in combination.pairs() {
        let test = Needed {
            matrix,
            solver,
            group,
            combination,
            axis: pair.0,
            value: pair.1,
        };
        match test.judge() {
            Shown::By(rows) => trial.checked.extend(rows),
            Shown::Wants(row) => trial.wants.push(row),
            Shown::Never => trial.minimal = false,
        }
    }
    for row in beside(matrix, solver, group, combination, &[]) {
        if !trial.wants.contains(&row) {
            trial.wants.push(row);
        }
    }
    trial
}

enum Shown {
    /// By these rows that pass.
    By(Vec<Row>),
    /// This row would tell.
    Wants(Row),
    /// It cannot be shown.
    Never,
}

/// Whether one value of a combination is needed.
struct Needed<'a> {
    matrix: &'a Matrix,
    solver: &'a Solver,
    group: &'a Group<'a>,
    combination: &'a Combination,
    axis: usize,
    value: u8,
}

impl Needed<'_> {
    fn judge(&self) -> Shown {
        let others = Combination(
            self.combination
                .pairs()
                .iter()
                .filter(|(axis, _)| *axis != self.axis)
                .copied()
                .collect(),
        );
        let shown = self.pairs();
        if !shown.is_empty() {
            return Shown::By(shown);
        }
        // A row that passes holds all the other values: with this one it must fail.
        let witnesses = self.group.passes.iter().filter(|row| others.is_in(row));
        let mut spent = 0;
        for witness in witnesses {
            let with = changed(witness, self.axis, self.value);
            match self.group.known.get(&with) {
                Some(_) => spent += 1,
                None if self.solver.allows(&with) => return Shown::Wants(with),
                None => {}
            }
            if spent >= WITNESSES_MAX {
                break;
            }
        }
        // The other way round: a row that fails, without this value, must pass.
        let mut spent = 0;
        for fail in self.holding() {
            for value in self.other_values() {
                let without = changed(fail, self.axis, value);
                match self.group.known.get(&without) {
                    Some(_) => spent += 1,
                    None if self.solver.allows(&without) => return Shown::Wants(without),
                    None => {}
                }
                if spent >= CHANGES_MAX {
                    return Shown::Never;
                }
            }
        }
        Shown::Never
    }

    /// Rows that pass and differ from a failing one with the combination in this axis alone.
    fn pairs(&self) -> Vec<Row> {
        let mut shown = Vec::new();
        for fail in self.holding() {
            for value in self.other_values() {
                let without = changed(fail, self.axis, value);
                if self.group.is_pass(&without) {
                    shown.push(without);
                }
            }
        }
        shown
    }

    fn holding(&self) -> impl Iterator<Item = &Row> {
        self.group
            .fails
            .iter()
            .copied()
            .filter(|row| self.combination.is_in(row))
    }

    fn other_values(&self) -> impl Iterator<Item = u8> + use<> {
        let own = self.value;
        values(self.matrix, self.axis).filter(move |value| *value != own)
    }
}

/// Rows that hold a combination beside values that it was not seen with, where no cause of `away`
/// is.
pub(super) fn beside(
    matrix: &Matrix,
    solver: &Solver,
    group: &Group<'_>,
    combination: &Combination,
    away: &[Combination],
) -> Vec<Row> {
    // A cause that holds all of this one, or a part of it, cannot be kept away from it.
    let away: Vec<&Combination> = away
        .iter()
        .filter(|other| {
            other
                .pairs()
                .iter()
                .any(|(axis, _)| is_free(combination, *axis))
        })
        .collect();
    let holding: Vec<&Row> = group
        .known
        .keys()
        .filter(|row| combination.is_in(row))
        .filter(|row| !away.iter().any(|other| other.is_in(row)))
        .collect();
    let failing = holding.iter().filter(|row| group.is_fail(row)).count();
    let mut wants = Vec::new();
    if failing >= ENOUGH {
        return wants;
    }
    let Some(mut root) = solver.fixed(combination.pairs()) else {
        return wants;
    };
    // Values that hold causes, to be kept out as far as that is possible.
    for other in &away {
        if other.and(combination).is_none() {
            continue;
        }
        let mut pairs = other.pairs().iter();
        let without = pairs.find_map(|(axis, value)| {
            is_free(combination, *axis)
                .then(|| solver.without(&root, *axis, *value))
                .flatten()
        });
        if let Some(without) = without {
            root = without;
        }
    }
    let free: Vec<usize> = (0..matrix.axes().len())
        .filter(|axis| is_free(combination, *axis))
        .filter(|axis| values(matrix, *axis).count() <= TRIED_MAX)
        .collect();
    let mut seen: BTreeSet<(usize, u8)> = BTreeSet::new();
    for row in &holding {
        seen.extend(row.0.iter().copied().enumerate());
    }
    while wants.len() < ROOM_MAX {
        let mut open = root.clone();
        let mut news = 0;
        for axis in &free {
            let unseen = values(matrix, *axis).filter(|value| !seen.contains(&(*axis, *value)));
            let next = unseen
                .into_iter()
                .find_map(|value| solver.choose(&open, *axis, value));
            if let Some(next) = next {
                open = next;
                news += 1;
            }
        }
        let Some(row) = solver.complete(open).filter(|_| news > 0) else {
            break;
        };
        seen.extend(row.0.iter().copied().enumerate());
        // One that is known and did not count is not asked for again.
        if !group.known.contains_key(&row) {
            wants.push(row);
        }
    }
    wants
}

fn is_free(combination: &Combination, axis: usize) -> bool {
    combination.pairs().iter().all(|(known, _)| *known != axis)
}

/// Rows in which one value of a combination is another: the same failure may come with several.
pub(super) fn other_values(
    matrix: &Matrix,
    solver: &Solver,
    group: &Group<'_>,
    combination: &Combination,
) -> Vec<Row> {
    let mut wants: Vec<Row> = Vec::new();
    for (axis, own) in combination.pairs() {
        if values(matrix, *axis).count() > TRIED_MAX {
            continue;
        }
        for value in values(matrix, *axis).filter(|value| value != own) {
            let rows: Vec<Row> = group
                .fails
                .iter()
                .filter(|row| combination.is_in(row))
                .map(|row| changed(row, *axis, value))
                .collect();
            if rows.iter().any(|row| group.known.contains_key(row)) {
                continue;
            }
            let possible = rows.into_iter().find(|row| solver.allows(row));
            wants.extend(possible.filter(|row| !wants.contains(row)));
        }
    }
    wants
}

fn changed(row: &Row, axis: usize, value: u8) -> Row {
    let mut row = row.clone();
    if let Some(here) = row.0.get_mut(axis) {
        *here = value;
    }
    row
}

fn values(matrix: &Matrix, axis: usize) -> impl Iterator<Item = u8> + use<> {
    let count = matrix.axes().get(axis).map_or(0, |axis| axis.values.len());
    0..u8::try_from(count).unwrap_or(u8::MAX)
}
