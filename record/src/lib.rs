//! Verdicts, ledgers, events, the record that a run leaves on disk, and every report made from it.
//!
//! - [`verdict`]: claims and what is shown of them; the exit code that follows.
//! - [`ledger`]: the account of a capture and of a replay; sums that must close.
//! - [`case`]: scenarios and cells of a matrix: steps, timeline, coverage, blame.
//! - [`difference`]: where a recorded and an observed response part.
//! - [`event`]: what happens in a run, as it happens.
//! - [`row`]: one exchange of a replay, with bodies.
//! - [`histogram`]: latency and lateness, as they stand in a record.
//! - [`manifest`]: what a finished run says of itself.
//! - [`report`]: terminal, HTML, JUnit and JSON, made from a record.
//! - [`spread`]: moments of many trials, beside the law by which they should be spread.
//! - [`store`]: the folder on disk; the one module here that touches files.
//!
//! **Invariant:** a report is made from the record alone, and can be made again from it.

pub mod case;
pub mod difference;
pub mod event;
pub mod histogram;
pub mod ledger;
pub mod manifest;
pub mod report;
pub mod row;
pub mod spread;
pub mod store;
pub mod verdict;
