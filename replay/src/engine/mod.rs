//! Exchanges of a capture are planned, sent on time, and accounted for.
//!
//! - [`load`]: what is read before the plan is made.
//! - [`call`]: what a request calls, as far as its bytes tell.
//! - [`pace`]: when requests are meant to be sent, and how late they may be.
//! - [`plan`]: which request goes where, with which id, and which are left out and why.
//! - [`subscribe`]: what is said to the sidecar's application API before, and what it must answer.
//! - [`api`]: the sockets of that.
//! - [`run`]: sockets and clocks; a plan is carried out on one thread.
//! - [`outcome`]: what became of each request, and of the run.
//! - [`judge`]: answers compared, sums closed, claims judged.
//! - [`tell`]: rows and events for the record.
//!
//! **Invariant:** all but `load`, `api` and `run` is pure, and `run` decides nothing that a plan could have decided.

pub mod api;
pub(crate) mod book;
pub mod call;
pub mod judge;
pub mod load;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod run;
pub mod subscribe;
pub mod tell;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
