//! Whether values of some axes can stand in a cell: decided, not guessed.
//!
//! Conditions are tables over the few axes that they name. A search keeps, for each axis, the set
//! of values that are still open, takes out what no row of a table supports, and tries the rest;
//! it ends with a whole cell or with the certainty that there is none.

use std::sync::Arc;

use super::cell::Row;
use super::constraint::Constraint;
use super::model::Matrix;

/// What no cell violates.
#[derive(Clone, Debug)]
struct Rule {
    /// The axes that it is about.
    axes: Vec<usize>,
    says: Says,
}

#[derive(Clone, Debug)]
enum Says {
    /// Which combinations of the axes' values are allowed; the last axis turns fastest.
    Table {
        counts: Vec<usize>,
        allowed: Vec<bool>,
    },
    /// These values, one of each axis, never stand together.
    Never(Vec<u8>),
}

/// The values that are still open, a bit for each.
pub(super) type Open = Vec<u64>;

/// What every cell of a matrix satisfies, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Solver {
    rules: Vec<Rule>,
    /// Rules by axis.
    of_axis: Vec<Vec<usize>>,
    /// Axes that hang together by rules have the same number.
    group: Vec<usize>,
    /// What is open before anything is chosen; none: there is no cell.
    root: Option<Open>,
}

impl Solver {
    /// For cells of a plan: what the conditions allow and nobody has excluded.
    pub(super) fn of(matrix: &Matrix) -> Solver {
        Solver::build(matrix, &matrix.constraints, true)
    }

    /// For these conditions alone.
    pub(super) fn of_constraints(matrix: &Matrix, constraints: &[Arc<Constraint>]) -> Solver {
        Solver::build(matrix, constraints, false)
    }

    fn build(matrix: &Matrix, constraints: &[Arc<Constraint>], exclude: bool) -> Solver {
        let counts: Vec<usize> = matrix.axes.iter().map(|axis| axis.values.len()).collect();
        let mut rules: Vec<Rule> = constraints
            .iter()
            .filter(|constraint| constraint.table().contains(&false))
            .map(|constraint| Rule {
                axes: constraint.axes().to_vec(),
                says: Says::Table {
                    counts: of(constraint.axes(), &counts),
                    allowed: constraint.table().to_vec(),
                },
            })
            .collect();
        let mut impossible = false;
        if exclude {
            for excluded in &matrix.excluded {
                let (axes, values): (Vec<usize>, Vec<u8>) =
                    excluded.combination.pairs().iter().copied().unzip();
                // Everything holds the empty combination.
                impossible |= axes.is_empty();
                rules.push(Rule {
                    axes,
                    says: Says::Never(values),
                });
            }
        }
        let mut of_axis = vec![Vec::new(); counts.len()];
        for (index, rule) in rules.iter().enumerate() {
            for axis in &rule.axes {
                if let Some(rules) = of_axis.get_mut(*axis) {
                    rules.push(index);
                }
            }
        }
        let group = groups(counts.len(), &rules);
        let mut solver = Solver {
            rules,
            of_axis,
            group,
            root: None,
        };
        let mut open: Open = counts.iter().map(|count| full(*count)).collect();
        let all: Vec<usize> = (0..solver.rules.len()).collect();
        let axes: Vec<usize> = (0..counts.len()).collect();
        if !impossible && solver.narrow(&mut open, all) {
            let root = open.clone();
            if solver.search(open, &axes).is_some() {
                solver.root = Some(root);
            }
        }
        solver
    }

    /// What is open before anything is chosen; none: there is no cell at all.
    pub(super) fn root(&self) -> Option<&Open> {
        self.root.as_ref()
    }

    /// Whether values can stand in one cell, axis and value each.
    pub(super) fn is_possible(&self, pairs: &[(usize, u8)]) -> bool {
        self.fixed(pairs).is_some()
    }

    /// What is open when these are chosen; none: no cell has them all.
    pub(super) fn fixed(&self, pairs: &[(usize, u8)]) -> Option<Open> {
        let mut open = self.root.clone()?;
        for (axis, value) in pairs {
            let one = open.get_mut(*axis)?;
            *one &= bit(*value);
            if *one == 0 {
                return None;
            }
        }
        let axes: Vec<usize> = pairs.iter().map(|(axis, _)| *axis).collect();
        self.settle(open, &axes)
    }

    /// One more choice; `open` is what was open before it and can be completed.
    pub(super) fn choose(&self, open: &Open, axis: usize, value: u8) -> Option<Open> {
        let mut next = open.clone();
        let one = next.get_mut(axis)?;
        let before = *one;
        *one &= bit(value);
        match *one {
            0 => None,
            same if same == before => Some(next),
            _ if self.of_axis.get(axis).is_some_and(Vec::is_empty) => Some(next),
            _ => self.settle(next, &[axis]),
        }
    }

    /// As [`Solver::choose`], with one value taken out.
    pub(super) fn without(&self, open: &Open, axis: usize, value: u8) -> Option<Open> {
        let mut next = open.clone();
        let one = next.get_mut(axis)?;
        *one &= !bit(value);
        match *one {
            0 => None,
            _ => self.settle(next, &[axis]),
        }
    }

    /// Takes out what cannot be, after `changed` axes got narrower; none when nothing is left.
    fn settle(&self, mut open: Open, changed: &[usize]) -> Option<Open> {
        let mut rules: Vec<usize> = changed
            .iter()
            .filter_map(|axis| self.of_axis.get(*axis))
            .flatten()
            .copied()
            .collect();
        rules.sort_unstable();
        rules.dedup();
        if rules.is_empty() {
            return Some(open);
        }
        if !self.narrow(&mut open, rules) {
            return None;
        }
        // Only what hangs together with the change can have become impossible.
        let mut groups: Vec<usize> = changed
            .iter()
            .filter_map(|axis| self.group.get(*axis).copied())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        let axes: Vec<usize> = (0..open.len())
            .filter(|axis| {
                self.group
                    .get(*axis)
                    .is_some_and(|group| groups.contains(group))
            })
            .collect();
        self.search(open.clone(), &axes).map(|_| open)
    }

    /// A whole cell within what is open, the first by value; none: there is none.
    pub(super) fn complete(&self, open: Open) -> Option<Row> {
        let axes: Vec<usize> = (0..open.len()).collect();
        let closed = self.search(open, &axes)?;
        closed
            .iter()
            .map(|bits| u8::try_from(bits.trailing_zeros()).ok())
            .collect::<Option<Vec<u8>>>()
            .map(Row)
    }

    /// Whether a whole row satisfies every rule.
    pub(super) fn allows(&self, row: &Row) -> bool {
        let pairs: Vec<(usize, u8)> = row.0.iter().copied().enumerate().collect();
        self.root
            .as_ref()
            .is_some_and(|open| open.len() == pairs.len())
            && self.is_possible(&pairs)
    }

    /// Takes values out until every one that is left is supported by each rule on its own. False:
    /// an axis has none left.
    fn narrow(&self, open: &mut Open, mut rules: Vec<usize>) -> bool {
        while let Some(index) = rules.pop() {
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            for (axis, bits) in rule.axes.iter().zip(rule.supported(open)) {
                let Some(one) = open.get_mut(*axis) else {
                    continue;
                };
                let left = *one & bits;
                if left == 0 {
                    return false;
                }
                if left != *one {
                    *one = left;
                    let touched = self.of_axis.get(*axis).into_iter().flatten();
                    for other in touched.filter(|other| **other != index) {
                        if !rules.contains(other) {
                            rules.push(*other);
                        }
                    }
                }
            }
        }
        true
    }

    /// Closes `axes`, the narrowest first; axes that no rule names are closed at the end.
    fn search(&self, open: Open, axes: &[usize]) -> Option<Open> {
        let narrowest = axes
            .iter()
            .filter(|axis| {
                self.of_axis
                    .get(**axis)
                    .is_some_and(|rules| !rules.is_empty())
            })
            .filter_map(|axis| Some((open.get(*axis)?.count_ones(), *axis)))
            .filter(|(count, _)| *count > 1)
            .min();
        let Some((_, axis)) = narrowest else {
            let mut open = open;
            for axis in axes {
                if let Some(one) = open.get_mut(*axis) {
                    // The lowest bit alone.
                    *one &= one.wrapping_neg();
                }
            }
            return Some(open);
        };
        let mut bits = open.get(axis).copied().unwrap_or(0);
        while bits != 0 {
            let lowest = bits & bits.wrapping_neg();
            bits &= !lowest;
            let mut next = open.clone();
            if let Some(one) = next.get_mut(axis) {
                *one = lowest;
            }
            let rules = self.of_axis.get(axis).cloned().unwrap_or_default();
            if self.narrow(&mut next, rules)
                && let Some(found) = self.search(next, axes)
            {
                return Some(found);
            }
        }
        None
    }
}

impl Rule {
    /// For each of its axes the values that it still allows, given what is open for the others.
    fn supported(&self, open: &Open) -> Vec<u64> {
        match &self.says {
            Says::Table { counts, allowed } => {
                let mut look = Look {
                    axes: &self.axes,
                    counts,
                    allowed,
                    open,
                    places: vec![0; self.axes.len()],
                    found: vec![0; self.axes.len()],
                };
                look.visit(0, 0);
                look.found
            }
            Says::Never(values) => {
                let mut left = vec![u64::MAX; self.axes.len()];
                let mut undecided = None;
                let mut several = false;
                for (index, (axis, value)) in self.axes.iter().zip(values).enumerate() {
                    let here = open.get(*axis).copied().unwrap_or(0);
                    if here & bit(*value) == 0 {
                        return left;
                    }
                    if here != bit(*value) {
                        several |= undecided.replace((index, *value)).is_some();
                    }
                }
                match undecided {
                    _ if several => {}
                    None => left.fill(0),
                    Some((index, value)) => {
                        if let Some(one) = left.get_mut(index) {
                            *one = !bit(value);
                        }
                    }
                }
                left
            }
        }
    }
}

/// A walk over the rows of a table that are still open.
struct Look<'a> {
    axes: &'a [usize],
    counts: &'a [usize],
    allowed: &'a [bool],
    open: &'a Open,
    places: Vec<u32>,
    found: Vec<u64>,
}

impl Look<'_> {
    fn visit(&mut self, depth: usize, at: usize) {
        let (Some(axis), Some(count)) = (self.axes.get(depth), self.counts.get(depth)) else {
            if self.allowed.get(at).copied().unwrap_or(false) {
                for (found, place) in self.found.iter_mut().zip(&self.places) {
                    *found |= 1 << place;
                }
            }
            return;
        };
        let mut bits = self.open.get(*axis).copied().unwrap_or(0);
        while bits != 0 {
            let place = bits.trailing_zeros();
            bits &= bits - 1;
            if let Some(here) = self.places.get_mut(depth) {
                *here = place;
            }
            self.visit(depth + 1, at * count + place as usize);
        }
    }
}

fn of(axes: &[usize], counts: &[usize]) -> Vec<usize> {
    axes.iter()
        .filter_map(|axis| counts.get(*axis).copied())
        .collect()
}

/// Numbers axes so that those which rules join have the same number.
fn groups(axes: usize, rules: &[Rule]) -> Vec<usize> {
    let mut group: Vec<usize> = (0..axes).collect();
    for rule in rules {
        let mine: Vec<usize> = rule
            .axes
            .iter()
            .filter_map(|axis| group.get(*axis).copied())
            .collect();
        let Some(least) = mine.iter().min().copied() else {
            continue;
        };
        for one in &mut group {
            if mine.contains(one) {
                *one = least;
            }
        }
    }
    group
}

fn bit(value: u8) -> u64 {
    1u64.checked_shl(u32::from(value)).unwrap_or(0)
}

/// The lowest `count` bits.
fn full(count: usize) -> u64 {
    match u32::try_from(count) {
        Ok(count) if count < u64::BITS => (1 << count) - 1,
        _ => u64::MAX,
    }
}
