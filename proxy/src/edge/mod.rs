//! Where the sidecar touches the world: sockets, clocks, files, threads.
//!
//! One thread drives [`crate::core::Core`] with epoll; one runs everything else on tokio: the
//! application API, the admin interface, the config center, VIP names, heartbeats to the app.
//! [`run::Proxy`] puts them together.

pub mod admin;
mod api;
mod app;
mod begin;
mod config_center;
mod control;
pub mod data;
pub mod directory;
mod log_file;
mod open_files;
mod reload;
pub mod run;
mod shared;
mod snapshot;
mod speech;
pub mod upgrade;
mod vip;

pub use log_file::LogFile;
pub use open_files::raise_open_files;
pub use run::{Addresses, Ending, Handle, Options, Proxy, Running, StartError};
