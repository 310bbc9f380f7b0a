//! The gate: checkpoints, the rules that they are judged by, and whether a change may go on.
//!
//! ```text
//! meshproof.yaml ─┐
//!                 ├─ compile ── gate ── check ── judge ── tried ── outcome ── report
//! packs ──────────┘                       │        │
//!                                         └─ world ┴─ read
//! ```
//! [`compile`] merges the rules of a project with those of the packs that it extends into a
//! [`gate::Gate`]. [`check::check`] judges its checkpoints against a [`world::World`]: commands
//! run, results are read, rules are tried. What comes out is an [`outcome::Outcome`], and every
//! report is made of it alone; [`release`] is what a release is decided by, beside the release
//! before. [`pipeline`] and [`status`] are how CI services run the gate and hear of it.
//!
//! **Invariant:** nothing passes by default. A rule holds where it was tried on a value; what is
//! missing, stale, empty, unreadable or of another unit blocks, each with its own
//! [`outcome::Code`]. All but [`edge`] does no I/O and reads no clock.

pub mod check;
mod compile;
mod condition;
mod draft;
pub mod edge;
pub mod file;
pub mod gate;
mod judge;
pub mod measure;
pub mod memory;
pub mod outcome;
pub mod pack;
pub mod pipeline;
pub mod read;
pub mod release;
pub mod report;
mod scope;
pub mod status;
mod tried;
pub mod value;
pub mod world;

pub use compile::compile;
pub use condition::{CONDITION_BYTES_MAX, Condition};
pub use judge::judge;
