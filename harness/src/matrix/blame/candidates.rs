//! Which combinations may explain a failure: contained in cells that fail, and in none that
//! passes.

use crate::matrix::{AXES_MAX, Combination, Row};

use super::test::Group;

/// Most values of a candidate that are looked for in earnest; beyond, one candidate is made by
/// greed.
const VALUES_MAX: usize = 6;
/// Most candidates of one failing cell.
const CANDIDATES_MAX: usize = 400;
/// Most failing cells that are asked for candidates.
const CELLS_MAX: usize = 40;
/// Most steps of one search.
const STEPS_MAX: usize = 20_000;

/// A set of axes.
type Axes = u128;

const _: () = assert!(AXES_MAX <= Axes::BITS as usize);

/// The best explanation of the failures that have none: the one that explains most, of those the
/// smallest, of those the one that fewest failures of other kinds hold, of those the first by axis
/// and value.
pub(super) fn best(group: &Group<'_>) -> Combination {
    let mut all: Vec<Combination> = Vec::new();
    for row in group.unexplained.iter().take(CELLS_MAX) {
        for axes in explain(row, &group.passes) {
            let combination = part(row, axes);
            if !all.contains(&combination) {
                all.push(combination);
            }
        }
    }
    let rank = |combination: &Combination| {
        let holds = |rows: &[&Row]| rows.iter().filter(|row| combination.is_in(row)).count();
        (
            std::cmp::Reverse(holds(&group.unexplained)),
            combination.pairs().len(),
            holds(&group.others),
            combination.clone(),
        )
    };
    all.into_iter().min_by_key(rank).unwrap_or_default()
}

/// Sets of axes, none within another: on each, a failing row differs from every passing one.
fn explain(row: &Row, passes: &[&Row]) -> Vec<Axes> {
    // Where the row differs from each that passes; a set that holds another says nothing more.
    let mut differences: Vec<Axes> = passes.iter().map(|pass| difference(row, pass)).collect();
    differences.sort_by_key(|axes| (axes.count_ones(), *axes));
    differences.dedup();
    let mut least: Vec<Axes> = Vec::new();
    for axes in differences {
        if !least.iter().any(|known| known & axes == *known) {
            least.push(axes);
        }
    }
    for size in 0..=VALUES_MAX {
        let mut search = Search {
            differences: &least,
            found: Vec::new(),
            steps: 0,
        };
        search.go(0, 0, size);
        if search.found.is_empty() && search.steps < STEPS_MAX {
            continue;
        }
        // Somewhat larger ones too: they may explain more failures.
        let mut search = Search {
            differences: &least,
            found: Vec::new(),
            steps: 0,
        };
        search.go(0, 0, (size + 2).min(VALUES_MAX));
        if !search.found.is_empty() {
            return minimal(search.found);
        }
        break;
    }
    vec![greedy(&least)]
}

struct Search<'a> {
    differences: &'a [Axes],
    found: Vec<Axes>,
    steps: usize,
}

impl Search<'_> {
    /// Adds an axis of the first difference that is not met yet, each in turn.
    fn go(&mut self, chosen: Axes, banned: Axes, room: usize) {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.found.len() >= CANDIDATES_MAX {
            return;
        }
        let open = self.differences.iter().find(|axes| **axes & chosen == 0);
        let Some(open) = open else {
            self.found.push(chosen);
            return;
        };
        if room == 0 {
            return;
        }
        let mut left = open & !banned;
        let mut banned = banned;
        while left != 0 {
            let axis = left & left.wrapping_neg();
            left &= !axis;
            self.go(chosen | axis, banned, room - 1);
            // Sets with this axis were all looked at.
            banned |= axis;
        }
    }
}

/// Sets that hold no other of them.
fn minimal(mut found: Vec<Axes>) -> Vec<Axes> {
    found.sort_by_key(|axes| (axes.count_ones(), *axes));
    found.dedup();
    let mut least: Vec<Axes> = Vec::new();
    for axes in found {
        if !least.iter().any(|known| known & axes == *known) {
            least.push(axes);
        }
    }
    least
}

/// One set for a failure that no small one explains.
fn greedy(differences: &[Axes]) -> Axes {
    let mut chosen: Axes = 0;
    loop {
        let open: Vec<Axes> = differences
            .iter()
            .filter(|axes| **axes & chosen == 0)
            .copied()
            .collect();
        let most = (0..Axes::BITS)
            .map(|axis| {
                (
                    open.iter().filter(|axes| **axes >> axis & 1 == 1).count(),
                    axis,
                )
            })
            .max_by_key(|(count, axis)| (*count, std::cmp::Reverse(*axis)));
        match most {
            Some((count, axis)) if count > 0 => chosen |= 1 << axis,
            _ => break,
        }
    }
    // What the later choices have made superfluous goes.
    for axis in 0..Axes::BITS {
        let without = chosen & !(1 << axis);
        if differences.iter().all(|axes| axes & without != 0) {
            chosen = without;
        }
    }
    chosen
}

fn difference(one: &Row, other: &Row) -> Axes {
    one.0
        .iter()
        .zip(&other.0)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .fold(0, |axes, (axis, _)| axes | 1 << axis)
}

/// The values of a row on some axes.
fn part(row: &Row, axes: Axes) -> Combination {
    let pairs = row
        .0
        .iter()
        .copied()
        .enumerate()
        .filter(|(axis, _)| axes >> axis & 1 == 1);
    Combination(pairs.collect())
}
