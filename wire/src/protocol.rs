//! The vocabulary that all protocols share.

use std::fmt;

use bytes::Bytes;

use crate::{bolt, tr};

/// A protocol that this crate can decode, with its version on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// SOFABolt, protocol code 1.
    BoltV1,
    /// SOFABolt, protocol code 2: a version byte, a switch byte and, when both say so, a CRC.
    BoltV2,
    /// TR, protocol code 13.
    Tr,
    /// The application API of a sidecar: HTTP/1.1 with JSON, see [`crate::mesh_api`]. Its frames
    /// are whole messages, paired by order; their ids count from 1 in each direction.
    MeshApi,
}

impl Protocol {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::BoltV1 => "bolt-v1",
            Protocol::BoltV2 => "bolt-v2",
            Protocol::Tr => "tr",
            Protocol::MeshApi => "mesh-api",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a frame is, from its own fields alone.
///
/// The direction says nothing: a server may send requests on a connection that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request that expects a response.
    Request,
    /// A request that expects none.
    Oneway,
    /// An answer to a request.
    Response,
    /// A heartbeat that asks.
    Heartbeat,
    /// A heartbeat that answers.
    HeartbeatAck,
    /// The sender asks the peer to open no further exchanges here.
    Goaway,
    /// A frame whose fields agree with each other, of a command that is not known.
    Unknown,
}

/// The id that pairs a response with its request, within one connection and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the first bytes of a frame say: enough to account for it and to pass over its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Protocol and version of this frame (they may differ from frame to frame).
    pub protocol: Protocol,
    /// What the frame is.
    pub kind: Kind,
    /// The id as the frame carries it.
    pub id: RequestId,
    /// Length of the whole frame in bytes, trailer included.
    pub len: u64,
    /// The serializer's code: see [`Head::is_hessian`].
    pub codec: u8,
    /// The time-out that a request carries, in milliseconds; `None` in answers and where the
    /// field is negative (one-ways and heartbeats of SOFABolt carry -1). TR has none in its head:
    /// see [`crate::tr::call`].
    pub timeout_ms: Option<u32>,
    /// The status that an answer carries; of TR its result code, which is 0 for success as well.
    pub status: Option<u16>,
}

impl Head {
    /// Whether the content is Hessian in the dialect of SOFA: BOLT's code 1, TR's code 4.
    pub fn is_hessian(&self) -> bool {
        match self.protocol {
            Protocol::BoltV1 | Protocol::BoltV2 => self.codec == 1,
            Protocol::Tr => self.codec == tr::serializer::HESSIAN2,
            Protocol::MeshApi => false,
        }
    }
}

/// Whether a frame carries a checksum, and whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crc {
    /// The frame carries none.
    Absent,
    /// It is right.
    Ok,
    /// It does not match the bytes.
    Bad,
}

/// A whole frame: its bytes as they came, and what its head says.
///
/// Fields are read from the bytes on demand; see [`bolt::Parts`] and [`tr::Parts`] for the ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the first bytes say.
    pub head: Head,
    /// The frame, from its first byte to its last; `bytes.len() == head.len`.
    pub bytes: Bytes,
}

/// Why bytes are not one whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAFrame {
    /// It is no BOLT (nor anything else that is known).
    #[error(transparent)]
    Malformed(#[from] bolt::Malformed),
    /// It begins as TR does, and is none.
    #[error(transparent)]
    Tr(#[from] tr::Malformed),
    /// There are fewer or more bytes than the head says.
    #[error("{have} bytes where the head says {say}")]
    Length {
        /// How many there are.
        have: usize,
        /// How many the head needs or announces.
        say: u64,
    },
}
