//! Frames become exchanges.
//!
//! - [`Pairing`] joins requests with their responses, one connection at a time.
//! - [`Listing`] is an exchange as it is listed, field by field.

pub mod listing;
mod pairing;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use meshproof_wire::{Crc, Frame, Head, Protocol, RequestId};

use crate::stream::{Flow, Mark};

pub use listing::Listing;
pub use pairing::{Limits, Pairing};

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
    /// A request to the sidecar's application API and its answer.
    MeshApi,
}

impl ExchangeKind {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            ExchangeKind::Call => "call",
            ExchangeKind::Oneway => "oneway",
            ExchangeKind::Heartbeat => "heartbeat",
            ExchangeKind::Goaway => "goaway",
            ExchangeKind::MeshApi => "mesh-api",
        }
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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

impl From {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            From::Client => "client",
            From::Server => "server",
            From::Unknown => "unknown",
        }
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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

impl Outcome {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Oneway => "oneway",
            Outcome::Unanswered => "unanswered",
            Outcome::OrphanResponse => "orphan-response",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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

impl Hop {
    /// What the acceptor's port says. A call straight from client to server looks like one
    /// between sidecars; only a comparison with other capture points makes it [`Hop::Direct`].
    pub fn of(flow: &Flow) -> Hop {
        match flow.acceptor.port() {
            12200 => Hop::Inbound,
            12220 => Hop::Outbound,
            12199 => Hop::App,
            _ => Hop::Unknown,
        }
    }

    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Hop::Inbound => "inbound",
            Hop::Outbound => "outbound",
            Hop::App => "app",
            Hop::Direct => "direct",
            Hop::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Hop {
    type Err = BadHop;

    fn from_str(text: &str) -> Result<Hop, BadHop> {
        let all = [
            Hop::Inbound,
            Hop::Outbound,
            Hop::App,
            Hop::Direct,
            Hop::Unknown,
        ];
        all.into_iter().find(|hop| hop.name() == text).ok_or(BadHop)
    }
}

/// A text that names no hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected inbound, outbound, app, direct or unknown")]
pub struct BadHop;

/// One side of an exchange: the frame that asks, or the one that answers.
#[derive(Clone, Debug)]
pub struct Half {
    /// Packet and time of its first byte.
    pub mark: Mark,
    /// Stream offset of its first byte.
    pub offset: u64,
    /// What its first bytes say; of a request in TR also the time-out that stands in its body.
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
