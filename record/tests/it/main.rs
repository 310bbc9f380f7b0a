//! The record on disk and the reports made from it.

mod case_samples;
mod cases;
mod chromium;
mod reports;
mod samples;
mod store;
