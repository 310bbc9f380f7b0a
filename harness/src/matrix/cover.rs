//! Which cells cover a matrix: a greedy generator in the manner of AETG, with exact look-ahead.
//!
//! A tuple is a combination of values of t axes. Cells are made one at a time. Several candidates
//! are begun with a value that many missing tuples have, and grow axis by axis in an order of
//! chance, each axis with the value that completes the most missing tuples among those with which
//! a whole cell is still possible ([`Solver::choose`] decides that exactly, so that no tuple is
//! ever given up for a condition). The candidate that covers most becomes a cell. Whole plans are
//! made several times where that is cheap, and the smallest is kept. Chance comes from the seed
//! alone.

use super::Error;
use super::cell::Row;
use super::model::{CELLS_MAX, Combination, Matrix};
use super::plan::Plan;
use super::solve::{Open, Solver};

/// Look-ups that one plan may cost; it decides how many candidates and whole plans are tried.
const WORK_MAX: usize = 30_000_000;
/// Candidates for one cell, at most and at least.
const CANDIDATES: (usize, usize) = (4, 40);
/// Whole plans that are tried, at most.
const TRIES_MAX: usize = 24;

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
    for attempt in 0..effort.tries {
        let mut making = Making {
            solver: &solver,
            root: &root,
            tuples: wanted.clone(),
            chance: Chance::new(matrix.cover.seed, attempt as u64),
            rows: Vec::new(),
        };
        making.pins(&pins);
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
    if let Some(most) = matrix.cover.cells_max
        && rows.len() > most
    {
        findings.push(format!(
            "{} cells would cover all, and the budget is {most}",
            rows.len()
        ));
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
        Effort { candidates, tries }
    }
}

/// Tuples of the same axes.
#[derive(Clone, Debug)]
struct Kind {
    /// The axes with what one step of each value is worth.
    axes: Vec<(usize, usize)>,
    /// Where its tuples begin.
    from: usize,
    /// How many values it has.
    size: usize,
}

/// Every tuple that is wanted, and which of them are missing.
#[derive(Clone, Debug)]
struct Tuples {
    kinds: Vec<Kind>,
    /// Kinds by axis, with the place of the axis in the kind.
    of_axis: Vec<Vec<usize>>,
    missing: Vec<bool>,
    left: usize,
    /// Missing tuples by axis and value.
    with: Vec<Vec<usize>>,
}

impl Tuples {
    /// All that are possible.
    fn wanted(matrix: &Matrix, solver: &Solver) -> Tuples {
        let counts: Vec<usize> = matrix.axes.iter().map(|axis| axis.values.len()).collect();
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for raise in &matrix.cover.raise {
            subsets(&raise.axes, raise.strength, &mut |set| {
                sets.push(set.to_vec());
            });
        }
        sets.sort();
        sets.dedup();
        let raised = sets.clone();
        let all: Vec<usize> = (0..counts.len()).collect();
        subsets(&all, matrix.cover.strength, &mut |set| {
            // Whoever covers a larger tuple covers its parts.
            let covered = raised
                .iter()
                .any(|larger| set.iter().all(|axis| larger.contains(axis)));
            if !covered {
                sets.push(set.to_vec());
            }
        });
        let mut tuples = Tuples {
            kinds: Vec::new(),
            of_axis: vec![Vec::new(); counts.len()],
            missing: Vec::new(),
            left: 0,
            with: counts.iter().map(|count| vec![0; *count]).collect(),
        };
        for set in sets {
            let mut size = 1;
            let mut axes = Vec::new();
            for axis in set.iter().rev() {
                axes.push((*axis, size));
                size *= counts.get(*axis).copied().unwrap_or(1);
            }
            axes.reverse();
            for (axis, _) in &axes {
                if let Some(kinds) = tuples.of_axis.get_mut(*axis) {
                    kinds.push(tuples.kinds.len());
                }
            }
            let from = tuples.missing.len();
            let kind = Kind { axes, from, size };
            for at in 0..size {
                let pairs = kind.pairs(at, &counts);
                let possible = solver.is_possible(&pairs);
                tuples.missing.push(possible);
                if possible {
                    tuples.left += 1;
                    tuples.count(&pairs, 1);
                }
            }
            tuples.kinds.push(kind);
        }
        tuples
    }

    fn count(&mut self, pairs: &[(usize, u8)], by: isize) {
        for (axis, value) in pairs {
            let with = self.with.get_mut(*axis);
            if let Some(with) = with.and_then(|with| with.get_mut(usize::from(*value))) {
                *with = with.saturating_add_signed(by);
            }
        }
    }

    /// How many missing tuples a value would complete; axes that are not chosen have none.
    fn gain(&self, chosen: &[Option<u8>], axis: usize, value: u8) -> usize {
        let mut gain = 0;
        for kind in self.of_axis.get(axis).into_iter().flatten() {
            let Some(kind) = self.kinds.get(*kind) else {
                continue;
            };
            let mut at = kind.from;
            let mut whole = true;
            for (other, step) in &kind.axes {
                let value = match *other == axis {
                    true => Some(value),
                    false => chosen.get(*other).copied().flatten(),
                };
                match value {
                    Some(value) => at += usize::from(value) * step,
                    None => {
                        whole = false;
                        break;
                    }
                }
            }
            if whole && self.missing.get(at).copied().unwrap_or(false) {
                gain += 1;
            }
        }
        gain
    }

    /// How many missing tuples a row has.
    fn gain_of(&self, row: &Row) -> usize {
        self.places(row)
            .filter(|at| self.missing.get(*at).copied().unwrap_or(false))
            .count()
    }

    /// Where the tuples of a row stand.
    fn places<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = usize> + 'a {
        self.kinds.iter().map(|kind| {
            kind.from
                + kind
                    .axes
                    .iter()
                    .map(|(axis, step)| usize::from(row.0.get(*axis).copied().unwrap_or(0)) * step)
                    .sum::<usize>()
        })
    }

    /// A row is a cell now.
    fn take(&mut self, row: &Row) {
        let places: Vec<usize> = self.places(row).collect();
        for (kind, at) in places.into_iter().enumerate() {
            let Some(missing) = self.missing.get_mut(at) else {
                continue;
            };
            if !std::mem::take(missing) {
                continue;
            }
            self.left -= 1;
            let pairs: Vec<(usize, u8)> = self
                .kinds
                .get(kind)
                .into_iter()
                .flat_map(|kind| &kind.axes)
                .filter_map(|(axis, _)| Some((*axis, *row.0.get(*axis)?)))
                .collect();
            self.count(&pairs, -1);
        }
    }

    /// A missing tuple, sought from a place on.
    fn missing_from(&self, from: usize) -> Option<Vec<(usize, u8)>> {
        let len = self.missing.len();
        let at = (0..len)
            .map(|step| (from + step) % len.max(1))
            .find(|at| self.missing.get(*at).copied().unwrap_or(false))?;
        let kind = self
            .kinds
            .iter()
            .find(|kind| (kind.from..kind.from + kind.size).contains(&at))?;
        let counts: Vec<usize> = self.with.iter().map(Vec::len).collect();
        Some(kind.pairs(at - kind.from, &counts))
    }
}

impl Kind {
    /// The values of its tuple `at`.
    fn pairs(&self, at: usize, counts: &[usize]) -> Vec<(usize, u8)> {
        self.axes
            .iter()
            .map(|(axis, step)| {
                let count = counts.get(*axis).copied().unwrap_or(1).max(1);
                let value = (at / step) % count;
                (*axis, u8::try_from(value).unwrap_or(u8::MAX))
            })
            .collect()
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
                _ => match self.from_missing() {
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

    fn from_missing(&mut self) -> Option<Row> {
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

/// Every subset of a size, in order.
fn subsets(of: &[usize], size: usize, visit: &mut impl FnMut(&[usize])) {
    fn go(of: &[usize], size: usize, chosen: &mut Vec<usize>, visit: &mut impl FnMut(&[usize])) {
        if chosen.len() == size {
            visit(chosen);
            return;
        }
        for (index, item) in of.iter().enumerate() {
            chosen.push(*item);
            go(of.get(index + 1..).unwrap_or_default(), size, chosen, visit);
            chosen.pop();
        }
    }
    go(of, size, &mut Vec::new(), visit);
}

/// Numbers that look like chance and are the same for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn new(seed: u64, attempt: u64) -> Chance {
        Chance(seed ^ attempt.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let at = self.below(all.len());
        all.get(at).copied()
    }

    fn shuffled<T>(&mut self, mut all: Vec<T>) -> Vec<T> {
        for at in (1..all.len()).rev() {
            let other = self.below(at + 1);
            all.swap(at, other);
        }
        all
    }

    fn order(&mut self, len: usize) -> Vec<usize> {
        self.shuffled((0..len).collect())
    }
}
