//! The reference sidecar: what a correct sidecar does, small enough to read in an evening.
//!
//! Decisions are pure state machines; threads, sockets and files are at the edge.
//!
//! - [`config`]: the YAML file and what of it can change while the sidecar runs.
//! - [`core`]: the data path. Bytes of connections go in, bytes and actions come out.
//! - [`routing`]: providers, zones, weights, the routing cache, the downgrade to TR.
//! - [`discovery`]: what the app publishes and subscribes to, what the config center and VIP names say.
//! - [`health`]: heartbeats to the app, and what follows when they are not answered.
//! - [`logs`]: what is logged, changed while the sidecar runs.
//! - [`upgrade`]: who listens and who serves while one process takes over from another.
//! - [`metrics`]: counters that every part writes and the admin interface reads.
//! - [`bugs`]: historic bugs that a switch brings back.
//! - [`edge`]: the data thread (epoll), the control thread (tokio), and the files.
//!
//! **Invariant:** everything but [`edge`] reads no clock and opens nothing; `now` is an argument.

pub mod bugs;
pub mod config;
pub mod core;
pub mod discovery;
pub mod edge;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod routing;
pub mod upgrade;

pub use bugs::{Bug, Bugs};
pub use config::Config;
