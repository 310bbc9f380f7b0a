//! A capture becomes another one in which nothing of the original deployment is left.
//!
//! **Invariant:** what no rule concerns is copied as it came.

mod address;
mod frame;
mod pseudonym;
mod text;
