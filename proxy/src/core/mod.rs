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
//!
//! Limits: see [`config::Limits`]. A buffer grows with the bytes that come, never by the length
//! that a frame claims, and gives its memory back.
//!
//! - `input`: bytes become frames, by `frame`.
//! - `request`, `answer`: what becomes of them; `reply`: frames of our own.
//! - `peer`: what is kept of a connection; `pending`: ids in use on it; `wheel`: requests in
//!   flight and their deadlines.
//! - `pool`: upstream connections; `flow`: back-pressure; `chores`: what time brings.
//! - `closing`, `lifecycle`: how connections, and the whole, come to an end.

mod answer;
mod buffer;
mod chores;
mod closing;
mod event;
mod flow;
mod frame;
mod input;
mod lifecycle;
mod peer;
mod pending;
mod pool;
mod reply;
mod request;
mod table;
mod wheel;

use std::net::SocketAddr;
use std::sync::Arc;

use meshproof_sys::clock::Nanos;

use crate::config;
use crate::metrics::Metrics;
use crate::routing;

pub use event::Event;

use event::{Doing, Events};
use peer::{Client, Peer, Role};
use pending::Pending;
use pool::Pools;
use table::Table;
use wheel::{Flight, Flights};

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
    /// new connections are refused), clients there get GoAway and are closed when idle. Nothing
    /// new goes to the app on the connections that it has.
    CloseInbound,
    /// The app is back; the edge listens again before it answers. Calls go to the app on new
    /// connections: those of before may be stalled by what was lost on them.
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
    /// Close once [`Core::output`] was written; nothing that comes is looked at any more. The
    /// core forgets it when [`Core::wrote`] tells of the last byte.
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
    /// Nothing is in flight or waits to be written and no client is left, after
    /// [`Command::Drain`] or [`Command::HandOver`].
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

/// What the tables hold at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Of both kinds.
    pub connections: usize,
    /// By side.
    pub clients: [usize; 2],
    /// Connecting ones too.
    pub upstreams: usize,
    /// Targets, by address and version, that have a connection.
    pub pools: usize,
    /// Requests whose end has not come, those of clients that are gone and of servers too.
    pub flights: usize,
    /// Requests of clients that are there.
    pub in_flight: usize,
    /// Frames that wait for a connect.
    pub waiting: usize,
    /// Ids that are in use though nobody waits for their answer.
    pub unanswered: usize,
    /// Bytes that wait to be written or to become whole frames.
    pub buffered_bytes: usize,
}

/// Whether clients may come and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// Since then; where a hand-over went before, since that began.
    Draining(Nanos),
    /// Since then.
    HandingOver(Nanos),
}

/// The data path.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    metrics: Arc<Metrics>,
    bugs: crate::Bugs,
    router: routing::Router,
    peers: Table<Peer>,
    flights: Flights,
    pools: Pools,
    mode: Mode,
    inbound_open: bool,
    /// [`Action::Drained`] was told.
    drained: bool,
    /// Clients that are connected, by side.
    clients: [usize; 2],
    /// Upstream connections that stand.
    upstreams: u64,
    /// Requests of clients that are there, in flight.
    live: usize,
    /// The newest moment that the edge told of.
    now: Nanos,
    /// No chore is to be done before.
    chores_at: Nanos,
    /// Have got something to write.
    dirty: Vec<Conn>,
    /// Are perhaps to be closed or released.
    unsettled: Vec<Conn>,
    actions: Vec<Action>,
    events: Events,
    /// Empty between calls.
    expired: Vec<Flight>,
}

impl Core {
    /// Serves nobody yet.
    pub fn new(settings: Settings, metrics: Arc<Metrics>, bugs: crate::Bugs) -> Core {
        let router = routing::Router::new(settings.routing.clone(), Arc::clone(&metrics), bugs);
        Core {
            settings,
            metrics,
            bugs,
            router,
            peers: Table::new(),
            flights: Flights::new(),
            pools: Pools::default(),
            mode: Mode::Serving,
            inbound_open: true,
            drained: false,
            clients: [0, 0],
            upstreams: 0,
            live: 0,
            now: Nanos(0),
            chores_at: Nanos(u64::MAX),
            dirty: Vec::new(),
            unsettled: Vec::new(),
            actions: Vec::new(),
            events: Events::default(),
            expired: Vec::new(),
        }
    }

    /// A client came; `None` where a limit or the state forbids it (the edge closes it).
    pub fn accepted(&mut self, side: Side, peer: SocketAddr, now: Nanos) -> Option<Conn> {
        self.now = now;
        let why = match (self.mode, side) {
            (Mode::Draining(_), _) => Some("the sidecar drains"),
            (_, Side::Inbound) if !self.inbound_open => Some("the app is lost"),
            _ if self.clients[side as usize] >= self.settings.limits.connections => {
                Some("the limit of connections is reached")
            }
            _ => None,
        };
        if let Some(why) = why {
            self.metrics.refused[side as usize].add(1);
            self.events
                .push(Doing::Clients, now, || Event::Refused { peer, side, why });
            return None;
        }
        self.metrics.accepted[side as usize].add(1);
        Some(self.welcome(side, peer, now))
    }

    /// A connection that the predecessor handed over, with what it had read of it. It is taken
    /// in any state, over the limit of connections too; where clients are being sent away, this
    /// one is as well.
    pub fn adopted(&mut self, side: Side, peer: SocketAddr, unread: &[u8], now: Nanos) -> Conn {
        self.now = now;
        let conn = self.welcome(side, peer, now);
        if let Some(peer) = self.peers.at_mut(conn) {
            // The client may yet answer what the predecessor asked it: its ids, which began at 1
            // or at another moment, are far from these.
            peer.pending = Pending::new(now.0 as u32);
        }
        self.take_in(conn, unread, now);
        let closed = side == Side::Inbound && !self.inbound_open;
        if closed || matches!(self.mode, Mode::Draining(_)) {
            self.dismiss(conn, now);
        }
        conn
    }

    fn welcome(&mut self, side: Side, peer: SocketAddr, now: Nanos) -> Conn {
        let role = Role::Client(Client {
            side,
            bindings: Vec::new(),
            leaving: None,
            copies: Vec::new(),
        });
        let conn = self.peers.insert(Peer::new(role, peer, now));
        self.clients[side as usize] += 1;
        self.metrics.clients[side as usize].set(self.clients[side as usize] as u64);
        if matches!(self.mode, Mode::HandingOver(_)) {
            self.hand_over(conn);
        }
        conn
    }

    /// A connect has ended, well or not. Where it has not, the core has forgotten the connection.
    pub fn connected(&mut self, conn: Conn, result: Result<(), std::io::ErrorKind>, now: Nanos) {
        self.now = now;
        match result {
            Ok(()) => self.connect_done(conn, now),
            Err(why) => self.connect_failed(conn, why, now),
        }
    }

    /// Bytes came. They are looked at where they stand: whole frames are passed on from here.
    pub fn received(&mut self, conn: Conn, bytes: &[u8], now: Nanos) {
        self.now = now;
        self.take_in(conn, bytes, now);
    }

    /// A connection ended from the other side, or failed; the core forgets it. What a client
    /// asked is cancelled; what an upstream connection was asked is answered by us.
    pub fn ended(&mut self, conn: Conn, how: End, now: Nanos) {
        self.now = now;
        let connecting = self.peers.at(conn).and_then(Peer::upstream);
        if connecting.is_some_and(|upstream| !upstream.connected) {
            let why = match how {
                End::Eof => std::io::ErrorKind::UnexpectedEof,
                End::Reset => std::io::ErrorKind::ConnectionReset,
            };
            self.connect_failed(conn, why, now);
        } else {
            self.forget(conn, now);
        }
    }

    /// What waits to be written to a connection.
    pub fn output(&self, conn: Conn) -> &[u8] {
        self.peers.at(conn).map_or(&[], |peer| peer.out.waiting())
    }

    /// The first bytes of [`Core::output`] were written.
    pub fn wrote(&mut self, conn: Conn, bytes: usize, now: Nanos) {
        self.now = now;
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        peer.out.wrote(bytes);
        if bytes > 0
            && let Some(since) = &mut peer.flow.full_since
        {
            *since = now;
        }
        let empty = peer.out.is_empty();
        if empty && peer.closing {
            self.forget(conn, now);
            return;
        }
        if empty && peer.watched {
            self.unsettle(conn);
        }
        self.relieve(conn);
    }

    /// Takes the connections that have got something to write since the last call.
    pub fn dirty(&mut self, into: &mut Vec<Conn>) {
        into.clear();
        for conn in self.dirty.drain(..) {
            if let Some(peer) = self.peers.at_mut(conn) {
                peer.dirty = false;
                into.push(conn);
            }
        }
    }

    /// Takes what is to be done. To be called after every batch, and again after what it wrote:
    /// an idle connection is released here, and must not be read after that.
    pub fn actions(&mut self, into: &mut Vec<Action>) {
        into.clear();
        if !self.unsettled.is_empty() || self.mode != Mode::Serving {
            self.settle();
        }
        self.metrics.in_flight.set(self.live as u64);
        into.append(&mut self.actions);
    }

    /// Takes what is to be logged; at most 64 events a second of what clients do and as many of
    /// what servers do, the rest is counted.
    pub fn events(&mut self, into: &mut Vec<Event>) {
        self.events.take(into);
    }

    /// Does what the control side orders.
    pub fn command(&mut self, command: Command, now: Nanos) {
        self.now = now;
        self.obey(command, now);
    }

    /// When [`Core::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let chores = (self.chores_at != Nanos(u64::MAX)).then_some(self.chores_at);
        [self.flights.next_deadline(), chores]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed: what is late is answered, what is idle is asked or closed.
    pub fn tick(&mut self, now: Nanos) {
        self.now = now;
        let mut expired = std::mem::take(&mut self.expired);
        self.flights.expire(now, &mut expired);
        for flight in expired.drain(..) {
            self.failed(&flight, reply::Fault::TimedOut, now);
        }
        self.expired = expired;
        if self.chores_at <= now {
            self.do_chores(now);
        }
    }

    /// What the tables hold at this moment.
    pub fn census(&self) -> Census {
        let peers = || self.peers.iter().map(|(_, peer)| peer);
        let upstreams = || peers().filter_map(Peer::upstream);
        Census {
            connections: self.peers.len(),
            clients: self.clients,
            upstreams: upstreams().count(),
            pools: self.pools.len(),
            flights: self.flights.len(),
            in_flight: self.live,
            waiting: upstreams().map(|upstream| upstream.waiting.len()).sum(),
            unanswered: peers().map(|peer| peer.pending.dead()).sum(),
            buffered_bytes: peers().map(|peer| peer.backlog() + peer.front.len()).sum(),
        }
    }

    /// Nothing is to be done later than at this moment.
    fn wake_by(&mut self, at: Nanos) {
        self.chores_at = self.chores_at.min(at);
    }

    /// Address of a connection, and its side where it is a client.
    fn who(&self, conn: Conn) -> (SocketAddr, Option<Side>) {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = self.peers.at(conn);
        let side = peer.and_then(Peer::client).map(|client| client.side);
        (peer.map_or(nobody, |peer| peer.address), side)
    }
}
