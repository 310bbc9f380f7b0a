//! TCP connections and their two byte streams, as a state machine driven by packet time.

use std::net::SocketAddr;

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
    /// Counts connections of the same two addresses and ports, from 1.
    pub connection: u32,
    /// Whether the SYN was seen: stream offsets then count from the connection's first byte,
    /// else from the first byte in the capture.
    pub from_start: bool,
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
