//! Integration tests of the sidecar, one binary.

mod bad_input;
mod bugs;
mod chain;
mod core;
mod directory;
mod docs;
mod mixed;
mod sidecar;
