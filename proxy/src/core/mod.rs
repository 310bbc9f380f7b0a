//! The data path as a state machine: bytes of connections go in, bytes and actions come out.
//!
//! The edge owns the sockets. It calls [`Core::accepted`], [`Core::connected`],
//! [`Core::received`], [`Core::wrote`], [`Core::ended`], [`Core::command`] and, when
//! [`Core::next_deadline`] has come, [`Core::tick`]; after each batch it carries out
//! [`Core::actions`] and writes [`Core::output`] of every connection in [`Core::dirty`].
//!
//! **Invariant:** a request that was passed on has exactly one end: an answer of the server, or
//! an answer of our own, or (one-way, gone client) none. Its id is never used twice on one
//! upstream connection while an answer may still come.

use std::net::SocketAddr;
use std::sync::Arc;

use meshproof_sys::clock::Nanos;

use crate::config;
use crate::metrics::Metrics;
use crate::routing;

/// A connection, accepted or opened. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conn {
    /// Place in the table.
    pub index: u32,
    /// Tells apart those that had the same place.
    pub generation: u32,
}

/// Which listener a client came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// 12200: from the network to the app.
    Inbound,
    /// 12220: from the app to the network.
    Outbound,
}

/// What the core runs by; parts of it change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the app serves.
    pub app: SocketAddr,
    /// Served on 12200.
    pub inbound: Vec<config::Speaks>,
    /// Served on 12220.
    pub outbound: Vec<config::Speaks>,
    /// See there.
    pub timeouts: config::Timeouts,
    /// See there.
    pub limits: config::Limits,
    /// See there.
    pub upstream: config::Upstream,
    /// See there.
    pub routing: routing::Settings,
}

/// What the control side orders.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new table of providers.
    Routes(Arc<routing::Table>),
    /// New settings; connections that stand are not torn down.
    Configure(Box<Settings>),
    /// The app is lost: the edge stops listening on 12200 (its kernel socket is closed, so that
    /// new connections are refused), clients there get GoAway and are closed when idle.
    CloseInbound,
    /// The app is back; the edge listens again before it answers.
    OpenInbound,
    /// Nothing new on either side; GoAway; close what is idle; [`Action::Drained`] at the end.
    Drain,
    /// Hands every client connection out by [`Action::Release`], each as soon as nothing of it
    /// is in flight; [`Action::Drained`] at the end.
    HandOver,
}

/// What the edge is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection; tell by [`Core::connected`].
    Connect {
        /// Its name from now on.
        conn: Conn,
        /// Where to.
        to: SocketAddr,
    },
    /// Close at once; what waits to be written is let go of. The core has forgotten it.
    Close(Conn),
    /// Close once [`Core::output`] was written.
    CloseWhenWritten(Conn),
    /// Do not read it until [`Action::Resume`].
    Pause(Conn),
    /// Read it again.
    Resume(Conn),
    /// Give this connection to the successor, with bytes that were read and not used: the front
    /// of a frame. The core has forgotten it.
    Release {
        /// The connection.
        conn: Conn,
        /// Where it was accepted.
        side: Side,
        /// Read and not used.
        unread: Vec<u8>,
    },
    /// Nothing is in flight and no client is left, after [`Command::Drain`] or
    /// [`Command::HandOver`].
    Drained,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sends no more.
    Eof,
    /// It failed.
    Reset,
}

/// The data path.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    metrics: Arc<Metrics>,
    bugs: crate::Bugs,
}

impl Core {
    /// Serves nobody yet.
    pub fn new(settings: Settings, metrics: Arc<Metrics>, bugs: crate::Bugs) -> Core {
        Core {
            settings,
            metrics,
            bugs,
        }
    }

    /// A client came; `None` where a limit or the state forbids it (the edge closes it).
    pub fn accepted(&mut self, side: Side, peer: SocketAddr, now: Nanos) -> Option<Conn> {
        let _ = (side, peer, now, &self.settings, &self.metrics, self.bugs);
        None
    }

    /// A connection that the predecessor handed over, with what it had read of it.
    pub fn adopted(&mut self, side: Side, peer: SocketAddr, unread: &[u8], now: Nanos) -> Conn {
        let _ = (side, peer, unread, now);
        Conn {
            index: 0,
            generation: 0,
        }
    }

    /// A connect has ended, well or not.
    pub fn connected(&mut self, conn: Conn, result: Result<(), std::io::ErrorKind>, now: Nanos) {
        let _ = (conn, result, now);
    }

    /// Bytes came. They are looked at where they stand: whole frames are passed on from here.
    pub fn received(&mut self, conn: Conn, bytes: &[u8], now: Nanos) {
        let _ = (conn, bytes, now);
    }

    /// A connection ended from the other side.
    pub fn ended(&mut self, conn: Conn, how: End, now: Nanos) {
        let _ = (conn, how, now);
    }

    /// What waits to be written to a connection.
    pub fn output(&self, conn: Conn) -> &[u8] {
        let _ = conn;
        &[]
    }

    /// The first bytes of [`Core::output`] were written.
    pub fn wrote(&mut self, conn: Conn, bytes: usize, now: Nanos) {
        let _ = (conn, bytes, now);
    }

    /// Takes the connections that have got something to write since the last call.
    pub fn dirty(&mut self, into: &mut Vec<Conn>) {
        into.clear();
    }

    /// Takes what is to be done.
    pub fn actions(&mut self, into: &mut Vec<Action>) {
        into.clear();
    }

    /// Does what the control side orders.
    pub fn command(&mut self, command: Command, now: Nanos) {
        let _ = (command, now);
    }

    /// When [`Core::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Nanos> {
        None
    }

    /// Time has passed: what is late is answered, what is idle is asked or closed.
    pub fn tick(&mut self, now: Nanos) {
        let _ = now;
    }
}
