//! Exchanges of a capture are planned, sent on time, and accounted for.
//!
//! - [`call`]: what a request calls, as far as its bytes tell.
//! - [`pace`]: when requests are meant to be sent, and how late they may be.
//! - [`plan`]: which request goes where, with which id, and which are left out and why.

pub(crate) mod book;
pub mod call;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod run;
