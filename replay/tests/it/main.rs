//! Integration tests, in one binary.

mod audit;
mod capture;
mod corpora;
mod pipeline;
mod rewrite;
