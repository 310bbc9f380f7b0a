//! Frames become exchanges.

use std::sync::Arc;

use meshproof_wire::{Crc, Frame, Head, Protocol, RequestId};

use crate::stream::{Flow, Mark};

/// What an exchange is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExchangeKind {
    /// A request that expects a response.
    Call,
    /// A request that expects none.
    Oneway,
    /// A heartbeat and its answer.
    Heartbeat,
    /// A notice to open nothing further on this connection.
    Goaway,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum From {
    /// The opener of the connection.
    Client,
    /// Its acceptor (a push).
    Server,
    /// The capture does not tell who opened the connection.
    Unknown,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A response was seen.
    Answered,
    /// None is expected.
    Oneway,
    /// None was seen before the connection or the capture ended.
    Unanswered,
    /// A response without its request.
    OrphanResponse,
}

/// Where on the path a call was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// Sidecar to sidecar: port 12200.
    Inbound,
    /// App to its sidecar: port 12220.
    Outbound,
    /// Sidecar to its app: port 12199.
    App,
    /// Client to server without a sidecar (a call to 12200 that no other hop shows).
    Direct,
    /// Cannot be told.
    Unknown,
}

/// One side of an exchange: the frame that asks, or the one that answers.
#[derive(Clone, Debug)]
pub struct Half {
    /// Packet and time of its first byte.
    pub mark: Mark,
    /// Stream offset of its first byte.
    pub offset: u64,
    /// What its first bytes say.
    pub head: Head,
    /// Bytes of the frame that the capture lacks; 0 for a whole one.
    pub missing: u64,
    /// The frame, where frames were asked for and it is whole.
    pub frame: Option<Frame>,
    /// Its checksum; `Absent` where the frame was not looked at.
    pub crc: Crc,
}

/// A request with its response, or what there is of them.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The connection.
    pub flow: Arc<Flow>,
    /// Where on the path it was seen.
    pub hop: Hop,
    /// Protocol of the request (of the response, where only that was seen).
    pub protocol: Protocol,
    /// What it is for.
    pub kind: ExchangeKind,
    /// Who asked.
    pub from: From,
    /// The id on the wire.
    pub id: RequestId,
    /// The frame that asked.
    pub request: Option<Half>,
    /// The frame that answered.
    pub response: Option<Half>,
    /// How it ended.
    pub outcome: Outcome,
    /// The response came after the request's time-out.
    pub late: bool,
}
