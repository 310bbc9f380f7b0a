//! The record on disk and the reports made from it.

mod chromium;
mod reports;
mod samples;
mod store;
