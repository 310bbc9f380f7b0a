//! Verdicts, ledgers, events, the record that a run leaves on disk, and every report made from it.
//!
//! - [`verdict`]: claims and what is shown of them; the exit code that follows.
//! - [`ledger`]: the account of a capture and of a replay; sums that must close.
//! - [`difference`]: where a recorded and an observed response part.
//!
//! **Invariant:** a report is made from the record alone, and can be made again from it.

pub mod difference;
pub mod ledger;
pub mod verdict;
