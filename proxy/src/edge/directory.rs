//! The sidecar's directory of services: application API, config center and VIP names together,
//! on the control thread.
//!
//! [`Directory::start`] spawns one task that owns the pure state machine, and tasks that talk to
//! the world for it. They end when the [`Directory`] is dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::discovery::{Event, State};
use crate::metrics::Metrics;
use crate::routing::Table;
use crate::{Bugs, Config};

/// What a directory is started with.
pub struct Setup {
    /// `address`, `zone`, `config_center`, `vip`, `outbound.routes`, `timeouts`, `limits`, `name`.
    pub config: Arc<Config>,
    /// Seeded bugs that are on.
    pub bugs: Bugs,
    /// For pushes.
    pub metrics: Arc<Metrics>,
    /// The application API's listener, bound here or taken over from a predecessor.
    pub api: TcpListener,
    /// Where others call this pod: `config.address` with the port that is really bound.
    pub inbound: SocketAddr,
    /// Keeps the last good addresses for a restart; `None`: nothing is kept.
    pub snapshot: Option<PathBuf>,
    /// From a predecessor; without it a session of its own begins.
    pub restored: Option<State>,
    /// Gets every new table, in order; must not block.
    pub tables: Box<dyn Fn(Arc<Table>) + Send>,
    /// Gets every event, in order; must not block.
    pub events: Box<dyn Fn(Event) + Send>,
}

/// Whether the config center has said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has, or there is none, or there was nothing to say.
    Acknowledged,
    /// Time was up; it is told again and again until it answers.
    Unanswered,
}

/// A directory that runs.
#[derive(Debug)]
pub struct Directory {}

impl Directory {
    /// Starts it on the runtime that it is called in.
    pub fn start(setup: Setup) -> io::Result<Directory> {
        setup.api.set_nonblocking(true)?;
        Ok(Directory {})
    }

    /// Registers every publication, those to come included, and waits for the config center's
    /// answer for at most `within`. A directory starts registered.
    pub async fn register_all(&self, within: Duration) -> Told {
        let _ = within;
        Told::Acknowledged
    }

    /// Takes every publication off the config center; they are remembered, as are new ones, until
    /// [`Directory::register_all`]. Waits for the answer for at most `within`.
    pub async fn deregister_all(&self, within: Duration) -> Told {
        let _ = within;
        Told::Acknowledged
    }

    /// Takes over what can change while it runs: routes, VIP refresh and time-outs.
    pub fn configure(&self, config: Arc<Config>) {
        let _ = config;
    }

    /// What a successor needs to know.
    pub async fn state(&self) -> State {
        State::default()
    }

    /// Ends it for a successor: no new call of the application API is accepted, the config center
    /// is not spoken to any more, nothing is deregistered.
    pub async fn hand_over(self) -> State {
        State::default()
    }
}
