//! What is kept of each connection.

use std::collections::VecDeque;
use std::net::SocketAddr;

use meshproof_sys::clock::Nanos;

use super::buffer::Out;
use super::frame::{Class, Seen, Stamp};
use super::pending::Pending;
use super::wheel::FlightId;
use super::{Conn, Side};

/// A connection, of either kind: each may ask and each may be asked.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) role: Role,
    pub(super) address: SocketAddr,
    /// Waits to be written.
    pub(super) out: Out,
    /// The front of a frame that is not whole.
    pub(super) front: Vec<u8>,
    /// Nothing can be told of `front` before it has this many bytes.
    pub(super) need: usize,
    /// What it was asked and has not answered.
    pub(super) pending: Pending,
    /// What it asked and has no answer to.
    pub(super) asked: usize,
    /// Version of the newest frame that came.
    pub(super) stamp: Option<Stamp>,
    /// When something was read last.
    pub(super) read_at: Nanos,
    /// Stands in the list of those that have something to write.
    pub(super) dirty: bool,
    /// Stands in the list of those that are perhaps to be closed or released.
    pub(super) unsettled: bool,
    /// Is to be closed or released once it is idle, so that idleness is looked for.
    pub(super) watched: bool,
    /// Is closed once its output is written; nothing that it sends is looked at any more.
    pub(super) closing: bool,
    pub(super) flow: Flow,
}

/// Who waits for whom.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Those that are not read because too much waits for this one.
    pub(super) blocks: Vec<Conn>,
    /// How many others (and itself) have too much waiting, so that this one is not read.
    pub(super) blocked_by: usize,
    /// Not read for another reason: a drain or a hand-over.
    pub(super) held: bool,
    /// What the edge was told.
    pub(super) paused: bool,
    /// Since when it blocks others without taking a byte.
    pub(super) full_since: Option<Nanos>,
}

#[derive(Debug)]
pub(super) enum Role {
    Client(Client),
    Upstream(Upstream),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) side: Side,
    /// The upstream connections that it uses, one for each target and version.
    pub(super) bindings: Vec<Binding>,
    /// Since when it is to go.
    pub(super) leaving: Option<Nanos>,
    /// Copies of what it asked, for a seeded bug alone.
    pub(super) copies: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub(super) to: SocketAddr,
    pub(super) class: Class,
    pub(super) upstream: Conn,
}

/// A connection that was opened.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) class: Class,
    pub(super) connected: bool,
    /// When the connect began.
    pub(super) since: Nanos,
    /// Frames that wait for the connect.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: usize,
    /// Clients that are bound to it.
    pub(super) clients: Vec<Conn>,
    /// Our heartbeat that is out: its id and when it was sent.
    pub(super) heartbeat: Option<(u32, Nanos)>,
    /// Nothing new is sent on it.
    pub(super) retired: bool,
    /// When something was sent on it last.
    pub(super) used_at: Nanos,
}

/// A frame that waits for a connect.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) frame: Vec<u8>,
    pub(super) seen: Seen,
    pub(super) client: Conn,
    pub(super) side: Side,
    /// `None` for a one-way.
    pub(super) flight: Option<FlightId>,
    /// Where it could not be brought.
    pub(super) tried: Vec<SocketAddr>,
}

impl Peer {
    pub(super) fn new(role: Role, address: SocketAddr, now: Nanos) -> Peer {
        let out = match role {
            Role::Client(_) => Out::of_client(),
            Role::Upstream(_) => Out::of_upstream(),
        };
        Peer {
            role,
            address,
            out,
            front: Vec::new(),
            need: 1,
            pending: Pending::new(1),
            asked: 0,
            stamp: None,
            read_at: now,
            dirty: false,
            unsettled: false,
            watched: false,
            closing: false,
            flow: Flow::default(),
        }
    }

    #[inline]
    pub(super) fn client(&self) -> Option<&Client> {
        match &self.role {
            Role::Client(client) => Some(client),
            Role::Upstream(_) => None,
        }
    }

    #[inline]
    pub(super) fn client_mut(&mut self) -> Option<&mut Client> {
        match &mut self.role {
            Role::Client(client) => Some(client),
            Role::Upstream(_) => None,
        }
    }

    #[inline]
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        match &self.role {
            Role::Upstream(upstream) => Some(upstream),
            Role::Client(_) => None,
        }
    }

    #[inline]
    pub(super) fn upstream_mut(&mut self) -> Option<&mut Upstream> {
        match &mut self.role {
            Role::Upstream(upstream) => Some(upstream),
            Role::Client(_) => None,
        }
    }

    /// Nobody waits for an answer, neither it nor others.
    #[inline]
    pub(super) fn idle(&self) -> bool {
        self.asked == 0 && self.pending.live() == 0
    }

    /// Bytes that wait for it.
    #[inline]
    pub(super) fn backlog(&self) -> usize {
        match &self.role {
            Role::Upstream(upstream) => self.out.len() + upstream.waiting_bytes,
            Role::Client(_) => self.out.len(),
        }
    }
}
