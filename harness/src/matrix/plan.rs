//! Plans: the cells of a matrix in order, and which machine runs which of them when.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::cell::{Cell, Row};
use super::model::{Combination, Matrix};
use super::{Error, cover};

/// Cells outside of a plan are looked for among so many others.
const SEARCHED_MAX: usize = 1 << 20;

/// The cells of a matrix, numbered from 0: pins first, then those that cover most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cells; no two are the same.
    pub cells: Vec<Cell>,
    /// Pins by their name, with the cell in which they stand.
    pub pins: Vec<(String, String)>,
    /// The seed that it was made with.
    pub seed: u64,
    /// Cells that would cover what is wanted, where the budget of `cover.cells` cut some off.
    pub beyond: Option<usize>,
    /// What is worth knowing: values that stand in no cell, conditions that forbid nothing.
    pub findings: Vec<String>,
}

impl Matrix {
    /// The cells that cover this matrix.
    ///
    /// # Errors
    /// Everything that the conditions allow has been excluded.
    pub fn plan(&self) -> Result<Plan, Error> {
        cover::plan(self)
    }

    /// A cell by its id, or by its values (`client.mesh=none,providers=[tr,bolt]`, every axis).
    ///
    /// An id is looked for in the plan, then among the cells that differ from one of the plan in
    /// one or two axes, where blame finds its checks.
    ///
    /// # Errors
    /// There is none, or the conditions forbid it.
    pub fn find(&self, plan: &Plan, id: &str) -> Result<Cell, Error> {
        if id.contains('=') {
            return self.cell_of(id);
        }
        if let Some(cell) = plan.cells.iter().find(|cell| cell.id == id) {
            return Ok(cell.clone());
        }
        let solver = super::solve::Solver::of(self);
        let counts: Vec<u8> = self
            .axes
            .iter()
            .map(|axis| u8::try_from(axis.values.len()).unwrap_or(u8::MAX))
            .collect();
        let mut searched = 0;
        for two in [false, true] {
            for cell in &plan.cells {
                let near = Near {
                    matrix: self,
                    counts: &counts,
                    id,
                };
                if let Some(found) = near.look(&cell.row, 0, two, &mut searched) {
                    return match solver.allows(&found.row) {
                        true => Ok(found),
                        false => Err(Error::Forbidden(found.written())),
                    };
                }
                if searched > SEARCHED_MAX {
                    return Err(Error::NoCell(id.to_owned()));
                }
            }
        }
        Err(Error::NoCell(id.to_owned()))
    }

    /// A cell by its values, every axis.
    fn cell_of(&self, written: &str) -> Result<Cell, Error> {
        let mut choices = Vec::new();
        let mut rest = written;
        while !rest.is_empty() {
            let (axis, behind) = rest
                .split_once('=')
                .ok_or_else(|| Error::NoCell(rest.to_owned()))?;
            let end = match behind.starts_with('[') {
                true => behind.find(']').map_or(behind.len(), |at| at + 1),
                false => behind.find(',').unwrap_or(behind.len()),
            };
            let (value, behind) = behind.split_at_checked(end).unwrap_or((behind, ""));
            choices.push((axis.trim(), value.trim()));
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        let combination = self.combination(&choices)?;
        let unnamed: Vec<String> = self
            .axes
            .iter()
            .enumerate()
            .filter(|(at, _)| !combination.pairs().iter().any(|(axis, _)| axis == at))
            .map(|(_, axis)| axis.name.clone())
            .collect();
        if !unnamed.is_empty() {
            return Err(Error::Unnamed(unnamed));
        }
        let row = Row(combination
            .pairs()
            .iter()
            .map(|(_, value)| *value)
            .collect());
        match super::solve::Solver::of(self).allows(&row) {
            true => self.cell(&row).ok_or(Error::Crowded),
            false => Err(Error::Forbidden(written.to_owned())),
        }
    }

    /// What is left out of a matrix' cells, in words, for a combination that is in none.
    pub fn why_not(&self, combination: &Combination) -> Option<String> {
        let excluded = self.excluded.iter().find(|excluded| {
            excluded
                .combination
                .pairs()
                .iter()
                .all(|pair| combination.pairs().contains(pair))
        });
        excluded.map(|excluded| excluded.why.clone())
    }
}

/// A search for an id among the neighbours of cells.
struct Near<'a> {
    matrix: &'a Matrix,
    counts: &'a [u8],
    id: &'a str,
}

impl Near<'_> {
    fn look(&self, row: &Row, from: usize, again: bool, searched: &mut usize) -> Option<Cell> {
        for (axis, count) in self.counts.iter().enumerate().skip(from) {
            for value in 0..*count {
                let mut other = row.clone();
                let here = other.0.get_mut(axis)?;
                if *here == value {
                    continue;
                }
                *here = value;
                *searched += 1;
                if let Some(cell) = self.matrix.cell(&other).filter(|cell| cell.id == self.id) {
                    return Some(cell);
                }
                if *searched > SEARCHED_MAX {
                    return None;
                }
                if again && let Some(found) = self.look(&other, axis + 1, false, searched) {
                    return Some(found);
                }
            }
        }
        None
    }
}

impl Plan {
    /// The order in which to run: the longest first, by how long cells took last time, in
    /// nanoseconds by id; cells of which nothing is known go first of all, since they may be long.
    /// Cells that took the same stay in the order of the plan.
    pub fn longest_first(&self, took_ns: &BTreeMap<String, u64>) -> Vec<&Cell> {
        let mut cells: Vec<&Cell> = self.cells.iter().collect();
        cells.sort_by_key(|cell| {
            std::cmp::Reverse(took_ns.get(&cell.id).copied().unwrap_or(u64::MAX))
        });
        cells
    }

    /// The cells of one shard: every Nth. It does not depend on how long cells took, which
    /// machines know differently.
    #[must_use]
    pub fn shard(&self, shard: Shard) -> Plan {
        let cells: Vec<Cell> = self
            .cells
            .iter()
            .enumerate()
            .filter(|(at, _)| at % shard.count == shard.index)
            .map(|(_, cell)| cell.clone())
            .collect();
        Plan {
            cells,
            pins: self.pins.clone(),
            seed: self.seed,
            beyond: self.beyond,
            findings: self.findings.clone(),
        }
    }

    /// A hash of all its cells and their order, for telling whether two shards are of one plan.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for cell in &self.cells {
            hasher.update(cell.id.as_bytes());
            hasher.update(b"\n");
        }
        hasher
            .finalize()
            .to_hex()
            .as_str()
            .chars()
            .take(16)
            .collect()
    }
}

/// A part of a plan: the Ith of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shard, Error> {
        let shard = text.split_once('/').and_then(|(index, count)| {
            let count: usize = count.parse().ok()?;
            let index: usize = index.parse::<usize>().ok()?.checked_sub(1)?;
            (index < count).then_some(Shard { index, count })
        });
        shard.ok_or_else(|| Error::NoShard(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}
