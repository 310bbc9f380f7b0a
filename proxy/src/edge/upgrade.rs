//! The unix socket by which one process takes over from another, and the thread that serves it.
//!
//! At its start a sidecar calls [`begin`]. Where nobody runs it has the run directory and starts
//! afresh. Where its predecessor runs it gets listeners and state, makes itself ready, calls
//! [`Asked::take`], and serves. Either way it then starts [`Upgrades`], a thread that takes the
//! predecessor's connections in, and waits to be asked by a successor itself.
//!
//! The thread speaks with the control side by [`Request`]s, and with the data thread by orders.

mod channel;
mod directory;
mod serve;
mod take;

use std::net::TcpListener;
use std::sync::mpsc::SyncSender;

pub use directory::{RunDirectory, RunError};
pub use serve::Upgrades;
pub use take::{Asked, Began, Listeners, TakeError, Taken, Taking, Upgrade, begin};

use crate::upgrade::State;

/// What the upgrade thread asks of the control side.
#[derive(Debug)]
pub enum Request {
    /// A successor wants to take over: what would it get? Service goes on. `None`: this sidecar
    /// is about to end for another reason.
    Offer(SyncSender<Option<Offered>>),
    /// It can serve: decide nothing any more, accept nothing on API and admin, stop speaking to
    /// the config center without deregistering, and answer with the last state.
    GiveWay(SyncSender<State>),
    /// Everything is handed over, or time is up: end.
    End,
}

/// What the control side gives away.
#[derive(Debug)]
pub struct Offered {
    /// The application API's listener, a copy.
    pub api: TcpListener,
    /// The admin interface's listener, a copy.
    pub admin: TcpListener,
    /// What it knows.
    pub state: State,
}

#[cfg(test)]
mod tests;
