//! Which cells cover a matrix: two greedy generators with exact look-ahead.
//!
//! A tuple is a combination of values of t axes. In the manner of IPOG, axes are taken one after
//! the other: each cell so far gets the value of the new axis that completes most missing tuples,
//! and tuples that are still missing go into places of cells that are open, or into new cells. In
//! the manner of AETG, cells are made one after the other: several candidates are begun with a
//! value that many missing tuples have, grow in an order of chance, and the one that covers most
//! becomes a cell. Which of the two needs fewer cells depends on the matrix, and both are cheap:
//! whole plans are made several times, and the smallest is kept. Chance comes from the seed alone.
//!
//! Either takes only values with which a whole cell is still possible. [`Solver::choose`] decides
//! that exactly, so that no tuple is ever given up for a condition.

mod chance;
mod tuples;

use super::Error;
use super::cell::Row;
use super::model::{CELLS_MAX, Combination, Matrix};
use super::plan::Plan;
use super::solve::{Open, Solver};
use chance::Chance;
use tuples::Tuples;

/// Look-ups that one plan may cost; it decides how many candidates and whole plans are tried.
const WORK_MAX: usize = 30_000_000;
/// Candidates for one cell, at most and at least.
const CANDIDATES: (usize, usize) = (4, 40);
/// Whole plans that are made cell by cell, at most.
const TRIES_MAX: usize = 24;
/// Whole plans that are made axis by axis, at most and at least.
const GROWN: (usize, usize) = (2, 200);

/// The cells that cover a matrix.
pub(super) fn plan(matrix: &Matrix) -> Result<Plan, Error> {
    let solver = Solver::of(matrix);
    let root = solver
        .root()
        .ok_or_else(|| Error::Forbidden("all of them are excluded".into()))?
        .clone();
    let mut findings = Vec::new();
    let mut pins: Vec<(String, Combination)> = Vec::new();
    for (name, pin) in &matrix.cover.pins {
        match solver.is_possible(pin.pairs()) {
            true => pins.push((name.clone(), pin.clone())),
            false => findings.push(format!(
                "the pin {name} is not run: {}",
                matrix
                    .why_not(pin)
                    .unwrap_or_else(|| "what is excluded forbids it".into())
            )),
        }
    }
    for (axis, open) in matrix.axes.iter().zip(&root) {
        for (place, value) in axis.values.iter().enumerate() {
            if open >> place & 1 == 0 {
                findings.push(format!("{}={value} stands in no cell", axis.name));
            }
        }
    }
    for constraint in &matrix.constraints {
        let about_suts = constraint
            .axes()
            .iter()
            .any(|axis| matrix.sut_axes.contains(axis));
        if !constraint.table().contains(&false) && !about_suts {
            findings.push(format!(
                "the condition `{}` forbids nothing",
                constraint.text()
            ));
        }
    }
    let wanted = Tuples::wanted(matrix, &solver);
    let mut best: Option<Vec<Row>> = None;
    let effort = Effort::of(matrix, &wanted);
    for attempt in 0..effort.tries + effort.grown {
        let mut making = Making {
            solver: &solver,
            root: &root,
            tuples: wanted.clone(),
            chance: Chance::new(matrix.cover.seed, attempt as u64),
            rows: Vec::new(),
        };
        if attempt < effort.grown {
            making.grow_axes(&pins);
        } else {
            making.pins(&pins);
        }
        // What no axis has brought, cells of their own do.
        making.cover(effort.candidates);
        let pinned = making.pinned(&pins);
        making.drop_superfluous(pinned);
        if best
            .as_ref()
            .is_none_or(|best| making.rows.len() < best.len())
        {
            best = Some(making.rows);
        }
    }
    let mut rows = best.unwrap_or_default();
    if rows.len() > CELLS_MAX {
        return Err(Error::Crowded);
    }
    let mut beyond = None;
    if let Some(most) = matrix.cover.cells_max
        && rows.len() > most
    {
        findings.push(format!(
            "{} cells would cover all, and the budget is {most}",
            rows.len()
        ));
        beyond = Some(rows.len());
        rows.truncate(most);
    }
    let room = matrix
        .cover
        .cells_max
        .unwrap_or(CELLS_MAX)
        .saturating_sub(rows.len());
    random(
        matrix,
        &solver,
        &root,
        &mut rows,
        matrix.cover.random.min(room),
    );
    let cells: Vec<_> = rows.iter().filter_map(|row| matrix.cell(row)).collect();
    let mut ids: Vec<&str> = cells.iter().map(|cell| cell.id.as_str()).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair.first() == pair.last()) {
        findings.push("two cells have the same id: choose another seed".into());
    }
    let pins = pins
        .iter()
        .filter_map(|(name, pin)| {
            let cell = cells.iter().find(|cell| pin.is_in(&cell.row))?;
            Some((name.clone(), cell.id.clone()))
        })
        .collect();
    Ok(Plan {
        cells,
        pins,
        seed: matrix.cover.seed,
        beyond,
        findings,
    })
}

/// Cells by chance that are not there yet.
fn random(matrix: &Matrix, solver: &Solver, root: &Open, rows: &mut Vec<Row>, count: usize) {
    let mut chance = Chance::new(matrix.cover.seed, u64::MAX);
    let mut misses = 0;
    let target = rows.len() + count;
    while rows.len() < target && misses < 100 {
        let mut open = root.clone();
        for axis in chance.order(matrix.axes.len()) {
            let values = chance.shuffled(values(open.get(axis).copied().unwrap_or(0)));
            if let Some(next) = values
                .into_iter()
                .find_map(|value| solver.choose(&open, axis, value))
            {
                open = next;
            }
        }
        match solver.complete(open) {
            Some(row) if !rows.contains(&row) => rows.push(row),
            _ => misses += 1,
        }
    }
}

/// How hard it is tried.
struct Effort {
    candidates: usize,
    tries: usize,
    grown: usize,
}

impl Effort {
    fn of(matrix: &Matrix, tuples: &Tuples) -> Effort {
        // A candidate looks at every value of every axis, and for each at the tuples of that axis.
        let candidate: usize = matrix
            .axes
            .iter()
            .zip(&tuples.of_axis)
            .map(|(axis, kinds)| axis.values.len() * kinds.len())
            .sum::<usize>()
            .max(1);
        // The largest kind of tuple needs a cell for each of its values; others some more.
        let largest = tuples.kinds.iter().map(|kind| kind.size).max().unwrap_or(1);
        let cells = largest.saturating_mul(3).max(8);
        let one = candidate.saturating_mul(cells);
        let candidates =
            (WORK_MAX / one.saturating_mul(TRIES_MAX / 4).max(1)).clamp(CANDIDATES.0, CANDIDATES.1);
        let tries = (WORK_MAX / one.saturating_mul(candidates).max(1)).clamp(1, TRIES_MAX);
        let grown = (WORK_MAX / one.saturating_mul(4).max(1)).clamp(GROWN.0, GROWN.1);
        Effort {
            candidates,
            tries,
            grown,
        }
    }
}

/// A plan in the making.
struct Making<'a> {
    solver: &'a Solver,
    root: &'a Open,
    tuples: Tuples,
    chance: Chance,
    rows: Vec<Row>,
}

/// A row in the making.
struct Draft {
    open: Open,
    chosen: Vec<Option<u8>>,
}

impl Making<'_> {
    /// A cell for each pin, unless one before it holds it already.
    fn pins(&mut self, pins: &[(String, Combination)]) {
        for (_, pin) in pins {
            if self.rows.iter().any(|row| pin.is_in(row)) {
                continue;
            }
            if let Some(draft) = self.draft(pin.pairs())
                && let Some(row) = self.grow(draft)
            {
                self.add(row);
            }
        }
    }

    /// How many of the first rows are there for a pin.
    fn pinned(&self, pins: &[(String, Combination)]) -> usize {
        pins.iter()
            .filter_map(|(_, pin)| self.rows.iter().position(|row| pin.is_in(row)))
            .max()
            .map_or(0, |last| last + 1)
    }

    /// Rows for all tuples, axis by axis; the first stand for the pins.
    fn grow_axes(&mut self, pins: &[(String, Combination)]) {
        let mut drafts: Vec<Draft> = Vec::new();
        for (_, pin) in pins {
            let is_there = |draft: &Draft| {
                pin.pairs()
                    .iter()
                    .all(|(axis, value)| draft.chosen.get(*axis) == Some(&Some(*value)))
            };
            if !drafts.iter().any(is_there) {
                drafts.extend(self.draft(pin.pairs()));
            }
        }
        for draft in &drafts {
            for axis in 0..self.root.len() {
                self.tuples.take_with(&draft.chosen, axis);
            }
        }
        let mut order = self.chance.order(self.root.len());
        order.sort_by_key(|axis| std::cmp::Reverse(self.tuples.with.get(*axis).map(Vec::len)));
        for (at, axis) in order.iter().enumerate() {
            for draft in &mut drafts {
                self.widen(draft, *axis);
            }
            let among = order.get(..=at).unwrap_or_default();
            for pairs in self.tuples.missing_with(*axis, among) {
                // One that was put in before it may have brought it along.
                if self.tuples.is_missing(&pairs) {
                    self.place(&mut drafts, &pairs);
                }
            }
            if drafts.len() > CELLS_MAX {
                return;
            }
        }
        for draft in drafts {
            if let Some(row) = self.grow(draft) {
                self.add(row);
            }
        }
    }

    /// Gives a draft the value of a new axis that completes most missing tuples; none where none
    /// completes any.
    fn widen(&mut self, draft: &mut Draft, axis: usize) {
        if draft.chosen.get(axis).is_none_or(Option::is_some) {
            return;
        }
        let mut ranked: Vec<(usize, u64, u8)> = values(draft.open.get(axis).copied().unwrap_or(0))
            .into_iter()
            .map(|value| {
                let gain = self.tuples.gain(&draft.chosen, axis, value);
                (gain, self.chance.next(), value)
            })
            .filter(|(gain, _, _)| *gain > 0)
            .collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let found = ranked
            .into_iter()
            .find_map(|(_, _, value)| Some((self.solver.choose(&draft.open, axis, value)?, value)));
        if let Some((open, value)) = found {
            draft.open = open;
            if let Some(here) = draft.chosen.get_mut(axis) {
                *here = Some(value);
            }
            self.tuples.take_with(&draft.chosen, axis);
        }
    }

    /// Puts a tuple into the first draft that has room for it, or into a new one.
    fn place(&mut self, drafts: &mut Vec<Draft>, pairs: &[(usize, u8)]) {
        for draft in drafts.iter_mut() {
            let mut open = None;
            let fits = pairs.iter().all(|(axis, value)| {
                let chosen = draft.chosen.get(*axis).copied().flatten();
                chosen.is_none_or(|chosen| chosen == *value)
            });
            let fits = fits
                && pairs.iter().all(|(axis, value)| {
                    let before = open.as_ref().unwrap_or(&draft.open);
                    match self.solver.choose(before, *axis, *value) {
                        Some(next) => {
                            open = Some(next);
                            true
                        }
                        None => false,
                    }
                });
            let Some(open) = open.filter(|_| fits) else {
                continue;
            };
            draft.open = open;
            for (axis, value) in pairs {
                if let Some(here) = draft.chosen.get_mut(*axis) {
                    *here = Some(*value);
                }
            }
            for (axis, _) in pairs {
                self.tuples.take_with(&draft.chosen, *axis);
            }
            return;
        }
        if let Some(draft) = self.draft(pairs) {
            for (axis, _) in pairs {
                self.tuples.take_with(&draft.chosen, *axis);
            }
            drafts.push(draft);
        }
    }

    fn add(&mut self, row: Row) {
        self.tuples.take(&row);
        self.rows.push(row);
    }

    /// Rows until nothing is missing.
    fn cover(&mut self, candidates: usize) {
        while self.tuples.left > 0 && self.rows.len() <= CELLS_MAX {
            let mut best: Option<(usize, Row)> = None;
            for _ in 0..candidates {
                let Some(row) = self.candidate() else {
                    continue;
                };
                let gain = self.tuples.gain_of(&row);
                if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                    best = Some((gain, row));
                }
            }
            match best {
                Some((gain, row)) if gain > 0 => self.add(row),
                // Greed led nowhere: a row that holds a missing tuple exists, since only possible
                // ones are missing.
                _ => match self.around_missing() {
                    Some(row) => self.add(row),
                    None => return,
                },
            }
        }
    }

    /// A row that begins with the value that most missing tuples have.
    fn candidate(&mut self) -> Option<Row> {
        let mut most = 0;
        let mut ties: Vec<(usize, u8)> = Vec::new();
        for (axis, with) in self.tuples.with.iter().enumerate() {
            for (value, count) in with.iter().enumerate() {
                if *count > most {
                    most = *count;
                    ties.clear();
                }
                if *count == most && most > 0 {
                    ties.push((axis, u8::try_from(value).unwrap_or(u8::MAX)));
                }
            }
        }
        let first = self.chance.of(&ties)?;
        let draft = self.draft(&[first])?;
        self.grow(draft)
    }

    fn around_missing(&mut self) -> Option<Row> {
        let from = self.chance.below(self.tuples.missing.len());
        let pairs = self.tuples.missing_from(from)?;
        let draft = self.draft(&pairs)?;
        self.grow(draft)
    }

    fn draft(&self, pairs: &[(usize, u8)]) -> Option<Draft> {
        let open = self.solver.fixed(pairs)?;
        let mut chosen = vec![None; self.root.len()];
        for (axis, value) in pairs {
            *chosen.get_mut(*axis)? = Some(*value);
        }
        Some(Draft { open, chosen })
    }

    /// Chooses the axes that are left, in an order of chance.
    fn grow(&mut self, mut draft: Draft) -> Option<Row> {
        for axis in self.chance.order(draft.chosen.len()) {
            if draft.chosen.get(axis).is_none_or(Option::is_some) {
                continue;
            }
            let open = draft.open.get(axis).copied().unwrap_or(0);
            let mut ranked: Vec<((usize, usize), u64, u8)> = values(open)
                .into_iter()
                .map(|value| {
                    let gain = self.tuples.gain(&draft.chosen, axis, value);
                    let with = self.tuples.with.get(axis);
                    let left = with.and_then(|with| with.get(usize::from(value)));
                    let worth = (gain, left.copied().unwrap_or(0));
                    (worth, self.chance.next(), value)
                })
                .collect();
            ranked.sort_unstable_by(|a, b| b.cmp(a));
            let (open, value) = ranked.into_iter().find_map(|(_, _, value)| {
                Some((self.solver.choose(&draft.open, axis, value)?, value))
            })?;
            draft.open = open;
            if let Some(here) = draft.chosen.get_mut(axis) {
                *here = Some(value);
            }
        }
        draft
            .chosen
            .into_iter()
            .collect::<Option<Vec<u8>>>()
            .map(Row)
    }

    /// Takes out rows all of whose tuples stand in others too; the first `kept` stay.
    fn drop_superfluous(&mut self, kept: usize) {
        let mut times = vec![0u32; self.tuples.missing.len()];
        for row in &self.rows {
            for at in self.tuples.places(row) {
                if let Some(times) = times.get_mut(at) {
                    *times += 1;
                }
            }
        }
        for index in (kept..self.rows.len()).rev() {
            let Some(row) = self.rows.get(index) else {
                continue;
            };
            let places: Vec<usize> = self.tuples.places(row).collect();
            let needed = places
                .iter()
                .any(|at| times.get(*at).is_some_and(|times| *times < 2));
            if !needed {
                for at in places {
                    if let Some(times) = times.get_mut(at) {
                        *times -= 1;
                    }
                }
                self.rows.remove(index);
            }
        }
    }
}

/// The values of a set of bits.
fn values(mut bits: u64) -> Vec<u8> {
    let mut all = Vec::with_capacity(bits.count_ones() as usize);
    while bits != 0 {
        all.push(u8::try_from(bits.trailing_zeros()).unwrap_or(u8::MAX));
        bits &= bits - 1;
    }
    all
}
