//! Integration tests, in one binary.

mod audit;
mod capture;
mod pipeline;
mod rewrite;
