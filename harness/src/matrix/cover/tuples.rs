//! Tuples: what is wanted of a plan, and what of it is still missing.

use crate::matrix::Matrix;
use crate::matrix::cell::Row;
use crate::matrix::solve::Solver;

/// Tuples of the same axes.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// The axes with what one step of each value is worth.
    pub(super) axes: Vec<(usize, usize)>,
    /// Where its tuples begin.
    pub(super) from: usize,
    /// How many values it has.
    pub(super) size: usize,
}

/// Every tuple that is wanted, and which of them are missing.
#[derive(Clone, Debug)]
pub(super) struct Tuples {
    pub(super) kinds: Vec<Kind>,
    /// Kinds by axis, with the place of the axis in the kind.
    pub(super) of_axis: Vec<Vec<usize>>,
    pub(super) missing: Vec<bool>,
    pub(super) left: usize,
    /// Missing tuples by axis and value.
    pub(super) with: Vec<Vec<usize>>,
}

impl Tuples {
    /// All that are possible.
    pub(super) fn wanted(matrix: &Matrix, solver: &Solver) -> Tuples {
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
    pub(super) fn gain(&self, chosen: &[Option<u8>], axis: usize, value: u8) -> usize {
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

    /// Missing tuples whose axes are all among some, with this one among them.
    pub(super) fn missing_with(&self, axis: usize, among: &[usize]) -> Vec<Vec<(usize, u8)>> {
        let counts: Vec<usize> = self.with.iter().map(Vec::len).collect();
        let kinds = self.of_axis.get(axis).into_iter().flatten();
        kinds
            .filter_map(|kind| self.kinds.get(*kind))
            .filter(|kind| kind.axes.iter().all(|(axis, _)| among.contains(axis)))
            .flat_map(|kind| {
                let missing = |at: &usize| self.missing.get(kind.from + at) == Some(&true);
                (0..kind.size)
                    .filter(missing)
                    .map(|at| kind.pairs(at, &counts))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The tuples of an axis that a row holds are missing no more; axes that are not chosen have
    /// none.
    pub(super) fn take_with(&mut self, chosen: &[Option<u8>], axis: usize) {
        let kinds = self.of_axis.get(axis).cloned().unwrap_or_default();
        for kind in kinds {
            let Some(kind) = self.kinds.get(kind) else {
                continue;
            };
            let pairs: Option<Vec<(usize, u8)>> = kind
                .axes
                .iter()
                .map(|(axis, _)| Some((*axis, chosen.get(*axis).copied().flatten()?)))
                .collect();
            let Some(pairs) = pairs else {
                continue;
            };
            let at = kind
                .axes
                .iter()
                .zip(&pairs)
                .fold(kind.from, |at, ((_, step), (_, value))| {
                    at + usize::from(*value) * step
                });
            if let Some(missing) = self.missing.get_mut(at)
                && std::mem::take(missing)
            {
                self.left -= 1;
                self.count(&pairs, -1);
            }
        }
    }

    /// How many missing tuples a row has.
    pub(super) fn gain_of(&self, row: &Row) -> usize {
        self.places(row)
            .filter(|at| self.missing.get(*at).copied().unwrap_or(false))
            .count()
    }

    /// Where the tuples of a row stand.
    pub(super) fn places<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = usize> + 'a {
        self.kinds.iter().map(|kind| {
            kind.from
                + kind
                    .axes
                    .iter()
                    .map(|(axis, step)| usize::from(row.0.get(*axis).copied().unwrap_or(0)) * step)
                    .sum::<usize>()
        })
    }

    pub(super) fn is_missing(&self, pairs: &[(usize, u8)]) -> bool {
        let axis = pairs.first().map_or(0, |(axis, _)| *axis);
        let mut kinds = self.of_axis.get(axis).into_iter().flatten();
        let found = kinds.find_map(|kind| {
            let kind = self.kinds.get(*kind)?;
            let same = kind.axes.len() == pairs.len()
                && kind.axes.iter().zip(pairs).all(|((a, _), (b, _))| a == b);
            same.then_some(kind)
        });
        found.is_some_and(|kind| {
            let at = kind
                .axes
                .iter()
                .zip(pairs)
                .fold(kind.from, |at, ((_, step), (_, value))| {
                    at + usize::from(*value) * step
                });
            self.missing.get(at) == Some(&true)
        })
    }

    /// A row is a cell now.
    pub(super) fn take(&mut self, row: &Row) {
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
    pub(super) fn missing_from(&self, from: usize) -> Option<Vec<(usize, u8)>> {
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
