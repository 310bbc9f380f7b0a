//! Matrices: axes, the cells that cover them, and what a failure is blamed on.
//!
//! The pure half, from a file to a plan and from results to a verdict on it:
//!
//! - [`Matrix`]: what varies, conditions in CEL, which combinations are wanted.
//! - [`Plan`]: the cells that cover them, made by a greedy generator that never gives up a
//!   combination which the conditions allow.
//! - [`verify`]: how well cells cover a matrix, found out without any code of the generator.
//! - [`blame`]: from cells that failed to the smallest combination of values that explains it.
//!
//! The running half is [`run`].
//!
//! **Invariant:** nothing in these modules but [`run`] does I/O or reads a clock; the same file and seed
//! make the same plan everywhere.

pub mod blame;
mod cell;
mod constraint;
mod cover;
mod file;
mod merge;
mod model;
mod plan;
mod read;
pub mod run;
mod shipped;
mod solve;
mod value;
mod verify;

pub use blame::{Blamer, Outcome};
pub use cell::{Cell, Row};
pub use constraint::{CONDITION_BYTES_MAX, Constraint, TABLE_MAX};
pub use file::{Replayed, Work};
pub use merge::{ATTEMPTS_MAX, BadPart, PART, Part};
pub use model::{
    AXES_MAX, Axis, CELLS_MAX, Combination, Cover, ENTRIES_MAX, Excluded, Known, Matrix, Need,
    Raise, STRENGTH_MAX, TUPLES_MAX, VALUES_MAX,
};
pub use plan::{Plan, Shard};
pub use read::schema;
pub use shipped::{shipped, shipped_file};
pub use value::{VALUE_BYTES_MAX, Value};
pub use verify::{Verified, verify};

/// What was asked of a matrix that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An axis that is not there.
    #[error("there is no axis `{axis}`: the axes are {}", .known.join(", "))]
    NoAxis {
        /// What was asked for.
        axis: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A value that an axis does not have.
    #[error("the axis {axis} has no value `{value}`: it has {}", .known.join(", "))]
    NoValue {
        /// The axis.
        axis: String,
        /// What was asked for.
        value: String,
        /// What it has.
        known: Vec<String>,
    },
    /// An axis that was named twice.
    #[error("the axis {0} is named twice: name each once")]
    Twice(String),
    /// Axes that were not named.
    #[error("a cell has a value of every axis: {} not named", .0.join(", "))]
    Unnamed(Vec<String>),
    /// A cell that the conditions forbid.
    #[error("the cell is not possible: {0}")]
    Forbidden(String),
    /// No cell has this id.
    #[error(
        "no cell is called `{0}`: `--plan` lists them; a cell outside of the plan is named by its values, as AXIS=VALUE,AXIS=VALUE"
    )]
    NoCell(String),
    /// A text that is no shard.
    #[error("`{0}` is no shard: write I/N with I from 1 to N, such as 2/4")]
    NoShard(String),
    /// More values, tuples or cells than a matrix may have.
    #[error(
        "the matrix is too large: at most {VALUES_MAX} values of an axis, {TUPLES_MAX} tuples, {CELLS_MAX} cells"
    )]
    Crowded,
}

#[cfg(test)]
mod tests;
