//! Moments of many trials, beside the law by which they should be spread.

use serde::{Deserialize, Serialize};

/// Moments at which something came, where each moment between two ends should be as likely as any
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// What they are of: a word.
    pub name: String,
    /// The first moment that the law allows, in nanoseconds from where they are counted.
    pub from_ns: u64,
    /// The last one, likewise.
    pub until_ns: u64,
    /// When it came, likewise, in the order of the trials.
    pub came_ns: Vec<u64>,
    /// What a test says of it, in words and numbers.
    pub test: String,
}
