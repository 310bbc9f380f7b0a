//! Integration tests, in one binary.

mod capture;
mod pipeline;
mod rewrite;
