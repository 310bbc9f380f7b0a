//! TCP connections and their two byte streams, as a state machine driven by packet time.
//!
//! - [`Table`] finds the connection of a segment and where in its stream the payload stands. It
//!   keeps no bytes, so that a second pass over a capture gives the same numbers at little cost.
//! - [`Assembler`] puts one direction in order. Segments in order are passed on as they are, not
//!   copied; only what comes out of order is held.
//!
//! **Invariants:** time is the time of packets, never of a clock; each byte of payload is passed
//! on at most once, in stream order; everything held is bounded by [`Limits`].

mod assembler;
mod connection;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

pub use assembler::{Assembler, Budget, Counts, Piece, Sink};
pub use connection::{Connection, LetGo, Sinks};
pub use table::{Fit, Table, Tracked};

/// A connection's number within one pass over the input; an index into the list of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u32);

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the opener to the acceptor.
    ToAcceptor,
    /// From the acceptor to the opener.
    ToOpener,
}

impl Direction {
    /// The other one.
    pub fn reversed(self) -> Direction {
        match self {
            Direction::ToAcceptor => Direction::ToOpener,
            Direction::ToOpener => Direction::ToAcceptor,
        }
    }

    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Direction::ToAcceptor => "to-acceptor",
            Direction::ToOpener => "to-opener",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What says who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpenerBy {
    /// A SYN or a SYN-ACK was seen.
    Handshake,
    /// One port is known to be a server's, or only one is of the range for openers.
    Port,
    /// Nothing: the side with the smaller port is taken for the acceptor.
    Guess,
}

/// One TCP connection as the capture shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its number.
    pub id: FlowId,
    /// Capture point.
    pub source: u16,
    /// Who sent the SYN; where none was seen, the side that does not look like a server.
    pub opener: SocketAddr,
    /// Who accepted.
    pub acceptor: SocketAddr,
    /// What says so.
    pub opener_by: OpenerBy,
    /// Counts connections of the same two addresses and ports, from 1.
    pub connection: u32,
    /// Whether the SYN was seen: stream offsets then count from the connection's first byte,
    /// else from the first byte in the capture.
    pub from_start: bool,
}

impl fmt::Display for Flow {
    /// `opener>acceptor`, as in the listing and the ledger.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}", self.opener, self.acceptor)
    }
}

/// Where bytes of a stream came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// 1-based packet number.
    pub packet: u64,
    /// Packet time in nanoseconds since the capture's first packet.
    pub at_ns: u64,
}

/// Why a stream lacks bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The receiver acknowledged bytes that the capture does not hold.
    Acked,
    /// A limit on held-back bytes was reached.
    Limit,
    /// The snaplen cut the packet.
    Snaplen,
    /// The capture ended with bytes held back behind a hole.
    EndOfCapture,
}

impl GapReason {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            GapReason::Acked => "acked",
            GapReason::Limit => "limit",
            GapReason::Snaplen => "snaplen",
            GapReason::EndOfCapture => "end-of-capture",
        }
    }
}

/// What tracking and reassembly will hold and wait for at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections followed at one time. At the limit the idlest eighth is let go.
    pub flows_max: usize,
    /// How far ahead of what is known a sequence number is believed at once, in bytes. One
    /// farther away is believed when three segments agree on it.
    pub window_bytes: u32,
    /// Bytes held back in one direction of one connection.
    pub held_bytes_max: usize,
    /// Pieces held back in one direction of one connection.
    pub held_pieces_max: usize,
    /// Bytes held back in all connections together.
    pub held_total_bytes_max: usize,
    /// Bytes already passed on that are kept, in each direction, to compare retransmissions
    /// with; 0 keeps none (then only what is held back can be compared).
    pub history_bytes: usize,
    /// The same for all connections together.
    pub history_total_bytes_max: usize,
    /// A hole that the receiver acknowledged is given up when this many segments that lie behind
    /// it have arrived since: captures swap packets of the two directions now and then.
    pub reorder_segments: u32,
    /// Or when this much packet time has passed since, in nanoseconds.
    pub reorder_ns: u64,
}

impl Limits {
    /// 262,144 connections; 64 MiB ahead; 4 MiB or 4,096 pieces held in one direction and 32 MiB
    /// in all; no history; a swap of up to 8 segments or 100 ms.
    pub const USUAL: Limits = Limits {
        flows_max: 1 << 18,
        window_bytes: 64 << 20,
        held_bytes_max: 4 << 20,
        held_pieces_max: 4096,
        held_total_bytes_max: 32 << 20,
        history_bytes: 0,
        history_total_bytes_max: 16 << 20,
        reorder_segments: 8,
        reorder_ns: 100_000_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::USUAL
    }
}
