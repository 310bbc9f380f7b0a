//! Cells: one value of every axis, and the name that this has for ever.

use std::sync::Arc;

use meshproof_record::case::{Axis, Choice};

use super::value::Value;

/// Letters of an id behind its `c`. Forty bits: among 2,000 cells two share one with a chance of
/// two in a million, and a plan in which that happens says so.
const ID_LETTERS: usize = 8;

/// A value of every axis, as places in [`super::Axis::values`], in the order of the axes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub Vec<u8>);

/// One cell of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its id: a hash of its values by axis. It stays the same when axes or values are put into
    /// another order, when values are added, and in every other plan.
    pub id: String,
    /// Its values, in the order of the axes.
    pub choices: Vec<Choice>,
    /// The same as places.
    pub row: Row,
    values: Arc<[Value]>,
}

impl Cell {
    /// A cell of these values; all in the order of the axes.
    pub(super) fn new(choices: Vec<Choice>, row: Row, values: Arc<[Value]>) -> Cell {
        Cell {
            id: id_of(&choices),
            choices,
            row,
            values,
        }
    }

    /// The value of an axis; none: there is no such axis.
    pub fn value(&self, axis: &str) -> Option<&Value> {
        let at = self.choices.iter().position(|choice| choice.axis == axis)?;
        self.values.get(at)
    }

    /// The text of an axis' value; none: there is no such axis, or its values are no texts.
    pub fn text(&self, axis: &str) -> Option<&str> {
        self.value(axis)?.as_text()
    }

    /// The items of an axis' value: `tr` and `bolt` of `[tr,bolt]`, `none` of `none`; nothing
    /// where there is no such axis.
    pub fn items(&self, axis: &str) -> &[Value] {
        self.value(axis).map_or(&[], Value::items)
    }

    /// As `--cell` takes it beside the id: `client.mesh=none,providers=[tr,bolt]`.
    pub fn written(&self) -> String {
        let all: Vec<String> = self
            .choices
            .iter()
            .map(|choice| format!("{}={}", choice.axis, choice.value))
            .collect();
        all.join(",")
    }
}

/// The id of a set of choices, whatever their order.
pub(super) fn id_of(choices: &[Choice]) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut sorted: Vec<&Choice> = choices.iter().collect();
    sorted.sort();
    let mut hasher = blake3::Hasher::new();
    for choice in sorted {
        // Lengths go first, so that no two lists of choices are the same bytes.
        for text in [&choice.axis, &choice.value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    let hash = hasher.finalize();
    let bits = hash
        .as_bytes()
        .first_chunk()
        .map_or(0, |front| u64::from_le_bytes(*front));
    let mut id = String::from("c");
    for letter in 0..ID_LETTERS {
        let at = (bits >> (5 * letter)) & 31;
        let letter = LETTERS.get(at as usize).copied().unwrap_or(b'0');
        id.push(char::from(letter));
    }
    id
}

/// The axes as records name them.
pub(super) fn axes_of(axes: &[super::Axis]) -> Vec<Axis> {
    axes.iter()
        .map(|axis| Axis {
            name: axis.name.clone(),
            values: axis.values.iter().map(ToString::to_string).collect(),
        })
        .collect()
}
