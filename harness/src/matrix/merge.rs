//! Results of shards, put together: whatever the order, and however often a part is given, the
//! same bytes come out.

use std::collections::{BTreeMap, BTreeSet};

use meshproof_record::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::run::Ran;
use super::{Matrix, Plan};

/// What a run of cells leaves among the artefacts of its record, for being put together.
pub const PART: &str = "part.json";

/// The version of what is written.
const SCHEMA: u32 = 1;
/// Most results of one cell that are kept; those that come last by their bytes are dropped.
pub const ATTEMPTS_MAX: usize = 100;

/// Results of some cells of one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    schema: u32,
    /// The matrix.
    pub matrix: String,
    /// The plan, by [`Plan::hash`].
    pub plan: String,
    /// The seed of the plan.
    pub seed: u64,
    /// Results by cell; each is a [`Ran`] as JSON text, which makes them comparable.
    cases: BTreeMap<String, BTreeSet<String>>,
}

/// Why parts do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPart {
    /// Nothing was given.
    #[error("no results were given: name at least one file")]
    Nothing,
    /// Not written by this program, or cut off.
    #[error("these are no results of a matrix: {0}")]
    Unreadable(String),
    /// Written by another version.
    #[error("results of schema {found} cannot be read: this program knows {SCHEMA}")]
    Schema {
        /// What it says.
        found: u32,
    },
    /// Of another plan.
    #[error(
        "results of `{found}` do not go with those of `{expected}`: run every shard with the same \
         matrix, seed and sidecars"
    )]
    Other {
        /// Matrix, plan and seed of the first part.
        expected: String,
        /// Those of the other.
        found: String,
    },
}

impl Part {
    /// No results yet. `plan` is the whole plan, not a shard of it.
    pub fn new(matrix: &Matrix, plan: &Plan) -> Part {
        Part {
            schema: SCHEMA,
            matrix: matrix.name().to_owned(),
            plan: plan.hash(),
            seed: plan.seed,
            cases: BTreeMap::new(),
        }
    }

    /// One more result.
    pub fn add(&mut self, ran: &Ran) {
        // It has text keys and whole numbers only: nothing in it cannot be written.
        let Ok(text) = serde_json::to_string(ran) else {
            return;
        };
        let attempts = self.cases.entry(ran.case.id.clone()).or_default();
        attempts.insert(text);
        while attempts.len() > ATTEMPTS_MAX {
            attempts.pop_last();
        }
    }

    /// Puts parts of one plan together.
    ///
    /// # Errors
    /// There is none, or they are of different plans.
    pub fn merge(parts: impl IntoIterator<Item = Part>) -> Result<Part, BadPart> {
        let mut parts = parts.into_iter();
        let mut all = parts.next().ok_or(BadPart::Nothing)?;
        for part in parts {
            if part.label() != all.label() {
                // The smaller one first, so that the words do not depend on the order either.
                let mut both = [all.label(), part.label()];
                both.sort();
                let [expected, found] = both;
                return Err(BadPart::Other { expected, found });
            }
            for (cell, attempts) in part.cases {
                let known = all.cases.entry(cell).or_default();
                known.extend(attempts);
                while known.len() > ATTEMPTS_MAX {
                    known.pop_last();
                }
            }
        }
        Ok(all)
    }

    fn label(&self) -> String {
        format!("{}, plan {}, seed {}", self.matrix, self.plan, self.seed)
    }

    /// One result of each cell: of several the worst, so that a retry never turns red to green.
    pub fn results(&self) -> Vec<Ran> {
        self.cases
            .values()
            // The first of equals: the least by its bytes.
            .filter_map(|attempts| read(attempts).min_by_key(|ran| badness(ran.case.verdict)))
            .collect()
    }

    /// Whether a result stands in it, whatever else does for the same cell.
    pub fn holds(&self, ran: &Ran) -> bool {
        let attempts = self.cases.get(&ran.case.id);
        attempts.is_some_and(|attempts| read(attempts).any(|one| one == *ran))
    }

    /// Cells whose results differ in their verdict.
    pub fn flaky(&self) -> Vec<&str> {
        self.cases
            .iter()
            .filter(|(_, attempts)| {
                let mut verdicts = read(attempts).map(|ran| badness(ran.case.verdict));
                let first = verdicts.next();
                verdicts.any(|other| Some(other) != first)
            })
            .map(|(cell, _)| cell.as_str())
            .collect()
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Maps with text keys and texts: nothing in it cannot be written.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`Part::to_bytes`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Part, BadPart> {
        let part: Part =
            serde_json::from_slice(bytes).map_err(|why| BadPart::Unreadable(why.to_string()))?;
        match part.schema {
            SCHEMA => Ok(part),
            found => Err(BadPart::Schema { found }),
        }
    }
}

fn read(attempts: &BTreeSet<String>) -> impl Iterator<Item = Ran> {
    let read = |text: &String| serde_json::from_str::<Ran>(text).ok();
    attempts.iter().filter_map(read)
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 0,
        Verdict::Invalid => 1,
        Verdict::Unsupported => 2,
        Verdict::Known => 3,
        _ => 4,
    }
}
