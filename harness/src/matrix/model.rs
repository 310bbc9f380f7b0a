//! A matrix: its axes, what every cell satisfies, which cells are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use meshproof_input::{Problem, Span, Spanned};
use meshproof_record::case::Choice;

use super::cell::{Cell, Row};
use super::constraint::Constraint;
use super::file::Work;
use super::value::Value;

/// Most axes of one matrix.
pub const AXES_MAX: usize = 128;
/// Most values of one axis.
pub const VALUES_MAX: usize = 64;
/// Highest strength.
pub const STRENGTH_MAX: usize = 6;
/// Most tuples that one matrix may ask for, possible or not.
pub const TUPLES_MAX: usize = 2_000_000;
/// Most cells of one plan.
pub const CELLS_MAX: usize = 20_000;
/// Most conditions, combinations, pins, needs and known failures, each.
pub const ENTRIES_MAX: usize = 1_000;

/// What varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name, dotted: `client.mesh`.
    pub name: String,
    /// Its values in the order of the file; those that were added stand last.
    pub values: Vec<Value>,
}

/// Values of some axes: what a cell holds when it has all of them. Axis and value as places,
/// ascending by axis, each axis once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Combination(pub(super) Vec<(usize, u8)>);

impl Combination {
    /// Whether a row has all its values.
    pub fn is_in(&self, row: &Row) -> bool {
        self.0
            .iter()
            .all(|(axis, value)| row.0.get(*axis) == Some(value))
    }

    /// Axis and value as places in [`Matrix::axes`].
    pub fn pairs(&self) -> &[(usize, u8)] {
        &self.0
    }

    /// Both together; none: they contradict each other.
    pub fn and(&self, other: &Combination) -> Option<Combination> {
        let mut pairs = self.0.clone();
        for (axis, value) in &other.0 {
            match pairs.iter().find(|(known, _)| known == axis) {
                Some((_, same)) if same == value => {}
                Some(_) => return None,
                None => pairs.push((*axis, *value)),
            }
        }
        pairs.sort_unstable();
        Some(Combination(pairs))
    }
}

/// What a combination cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The combination.
    pub combination: Combination,
    /// Capabilities of sidecars, site and environment.
    pub capabilities: BTreeSet<String>,
}

/// A failure that somebody knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The combination that fails.
    pub combination: Combination,
    /// Text that the evidence of the failure holds; empty: any.
    pub evidence: String,
    /// Why it is not repaired.
    pub because: String,
    /// Who answers for it.
    pub owner: String,
    /// The day it was written down.
    pub since: Date,
    /// The last day on which it holds.
    pub expires: Date,
}

impl Known {
    /// Whether it still holds on a day; after its last one what it predicts is a FAIL.
    pub fn holds_on(&self, today: Date) -> bool {
        today <= self.expires
    }
}

/// A combination that is not run, though the conditions allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The combination.
    pub combination: Combination,
    /// Why: `mosn lacks tr`.
    pub why: String,
}

/// Which cells are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// t, for all axes.
    pub strength: usize,
    /// Higher for some.
    pub raise: Vec<Raise>,
    /// Combinations that get a cell of their own, with what they are called.
    pub pins: Vec<(String, Combination)>,
    /// Makes the same plan each time.
    pub seed: u64,
    /// At most so many cells.
    pub cells_max: Option<usize>,
    /// So many more cells at random.
    pub random: usize,
}

/// A higher strength for some axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise {
    /// The axes as places, ascending.
    pub axes: Vec<usize>,
    /// t among them.
    pub strength: usize,
}

/// The text that a matrix was made from, for showing what is wrong with it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// A matrix that makes sense: every name is known, every condition compiles, and there is a cell.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) axes: Vec<Axis>,
    pub(super) sut_axes: Vec<usize>,
    pub(super) constraints: Vec<Arc<Constraint>>,
    pub(super) excluded: Vec<Excluded>,
    pub(super) cover: Cover,
    pub(super) work: Work,
    pub(super) needs: Vec<Need>,
    pub(super) known: Vec<Known>,
    pub(super) written: Arc<Written>,
}

/// What is needed to read a matrix again when values are added.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) source: Source,
    pub(super) require: Vec<Spanned<String>>,
    pub(super) sut_span: Span,
    /// Names of axes, in the order of the file.
    pub(super) axes: Vec<AxisSpans>,
}

/// Where an axis was written.
#[derive(Clone, Debug)]
pub(super) struct AxisSpans {
    /// Its name.
    pub(super) name: Span,
    /// Its values; those that were added have none.
    pub(super) values: Vec<Span>,
}

impl Matrix {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One sentence; may be empty.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What varies, in the order of the file.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The axes as records name them.
    pub fn record_axes(&self) -> Vec<meshproof_record::case::Axis> {
        super::cell::axes_of(&self.axes)
    }

    /// Whether values of this axis name sidecars.
    pub fn is_sut_axis(&self, axis: &str) -> bool {
        self.sut_axes
            .iter()
            .any(|at| self.axes.get(*at).is_some_and(|known| known.name == axis))
    }

    /// What every cell satisfies.
    pub fn constraints(&self) -> &[Arc<Constraint>] {
        &self.constraints
    }

    /// What is not run, though the conditions allow it.
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    /// Which cells are wanted.
    pub fn cover(&self) -> &Cover {
        &self.cover
    }

    /// What a cell does.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// What combinations cannot do without.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Failures that somebody knows of.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// A word on something that was written in the file of this matrix.
    pub(super) fn problem(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let source = &self.written.source;
        Problem::at(&source.name, &source.text, span, code, message, help)
    }

    /// The same matrix with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Matrix {
        self.cover.seed = seed;
        self
    }

    /// The same matrix, of which every cell needs these capabilities.
    #[must_use]
    pub fn needing(mut self, capabilities: BTreeSet<String>) -> Matrix {
        if !capabilities.is_empty() {
            self.needs.push(Need {
                combination: Combination::default(),
                capabilities,
            });
        }
        self
    }

    /// What a cell cannot do without.
    pub fn needs_of(&self, cell: &Cell) -> BTreeSet<&str> {
        self.needs
            .iter()
            .filter(|need| need.combination.is_in(&cell.row))
            .flat_map(|need| need.capabilities.iter().map(String::as_str))
            .collect()
    }

    /// The entry that knew of a failure of this cell, one that still holds today before one that
    /// has expired.
    pub fn known_of(&self, cell: &Cell, evidence: &str, today: Date) -> Option<&Known> {
        let predicted = |known: &&Known| {
            known.combination.is_in(&cell.row) && evidence.contains(&known.evidence)
        };
        self.known
            .iter()
            .filter(predicted)
            .find(|known| known.holds_on(today))
            .or_else(|| self.known.iter().find(predicted))
    }

    /// The combination of some values as they are written, axis by axis.
    ///
    /// # Errors
    /// There is no such axis or value, or one axis stands twice.
    pub fn combination(&self, choices: &[(&str, &str)]) -> Result<Combination, super::Error> {
        let mut pairs = Vec::new();
        for (axis, value) in choices {
            let at = self.axis(axis)?;
            let values = &self.axes.get(at).ok_or(super::Error::Crowded)?.values;
            let place = values
                .iter()
                .position(|known| known.to_string() == **value)
                .ok_or_else(|| super::Error::NoValue {
                    axis: (*axis).to_owned(),
                    value: (*value).to_owned(),
                    known: values.iter().map(ToString::to_string).collect(),
                })?;
            if pairs.iter().any(|(known, _)| *known == at) {
                return Err(super::Error::Twice((*axis).to_owned()));
            }
            pairs.push((at, u8::try_from(place).map_err(|_| super::Error::Crowded)?));
        }
        pairs.sort_unstable();
        Ok(Combination(pairs))
    }

    fn axis(&self, name: &str) -> Result<usize, super::Error> {
        self.axes
            .iter()
            .position(|axis| axis.name == name)
            .ok_or_else(|| super::Error::NoAxis {
                axis: name.to_owned(),
                known: self.axes.iter().map(|axis| axis.name.clone()).collect(),
            })
    }

    /// A combination as records name it, in the order of the axes.
    pub fn choices(&self, combination: &Combination) -> Vec<Choice> {
        combination
            .0
            .iter()
            .filter_map(|(axis, value)| {
                let axis = self.axes.get(*axis)?;
                Some(Choice {
                    axis: axis.name.clone(),
                    value: axis.values.get(usize::from(*value))?.to_string(),
                })
            })
            .collect()
    }

    /// As a sentence has it: `client.mesh=reference ∧ providers=[bolt,tr]`.
    pub fn words(&self, combination: &Combination) -> String {
        let words: Vec<String> = self
            .choices(combination)
            .iter()
            .map(|choice| format!("{}={}", choice.axis, choice.value))
            .collect();
        words.join(" ∧ ")
    }

    /// The cell of a row; none: the row has another number of axes, or a value that is not there.
    pub fn cell(&self, row: &Row) -> Option<Cell> {
        if row.0.len() != self.axes.len() {
            return None;
        }
        let mut choices = Vec::with_capacity(row.0.len());
        let mut values = Vec::with_capacity(row.0.len());
        for (axis, place) in self.axes.iter().zip(&row.0) {
            let value = axis.values.get(usize::from(*place))?;
            choices.push(Choice {
                axis: axis.name.clone(),
                value: value.to_string(),
            });
            values.push(value.clone());
        }
        Some(Cell::new(choices, row.clone(), values.into()))
    }

    /// Leaves a combination out of every plan, though the conditions allow it: the certificate
    /// counts what is not covered for it. One that is left out already stays as it is.
    pub fn exclude(&mut self, combination: Combination, why: impl Into<String>) {
        if self
            .excluded
            .iter()
            .all(|known| known.combination != combination)
        {
            self.excluded.push(Excluded {
                combination,
                why: why.into(),
            });
        }
    }

    /// Leaves out what the capabilities at hand do not allow.
    ///
    /// For every need, `lacks` is asked of every value of every axis of sidecars that may stand
    /// beside it, as `lacks(axis, value, capability)`, and once of the whole, with both empty.
    pub fn exclude_lacking(&mut self, lacks: impl Fn(&str, &str, &str) -> bool) {
        for need in self.needs.clone() {
            for capability in &need.capabilities {
                if lacks("", "", capability) {
                    let why = format!("{capability} is not to be had here");
                    self.exclude(need.combination.clone(), why);
                    continue;
                }
                for axis in self.sut_axes.clone() {
                    let Some(Axis { name, values }) = self.axes.get(axis).cloned() else {
                        continue;
                    };
                    for (place, value) in values.iter().enumerate() {
                        let value = value.to_string();
                        let Ok(place) = u8::try_from(place) else {
                            continue;
                        };
                        let sidecar = Combination(vec![(axis, place)]);
                        if let Some(both) = need.combination.and(&sidecar)
                            && lacks(&name, &value, capability)
                        {
                            self.exclude(both, format!("{value} lacks {capability}"));
                        }
                    }
                }
            }
        }
    }
}
