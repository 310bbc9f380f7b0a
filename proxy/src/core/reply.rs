//! Frames that the sidecar makes itself, always in the version of the frame that they answer.

use meshproof_wire::bolt::{Version, cmdcode, status};
use meshproof_wire::{RequestId, tr};

use super::frame::{Class, Stamp};
use crate::metrics::Outcome;

/// Why a request gets an answer of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its time was up.
    TimedOut,
    /// No provider, or none that could be reached.
    NoUpstream,
    /// A limit was reached.
    Overload,
    /// The connection it was sent on has ended.
    ConnectionClosed,
    /// A server asked, and nobody could tell which client it means.
    NobodyToAsk,
}

impl Fault {
    /// The status in a BOLT answer. Real SOFABolt makes an exception of each and reads no body.
    pub(super) fn status(self) -> u16 {
        match self {
            Fault::TimedOut => status::TIMEOUT,
            Fault::NoUpstream | Fault::NobodyToAsk => status::NO_PROCESSOR,
            Fault::Overload => status::SERVER_THREADPOOL_BUSY,
            Fault::ConnectionClosed => status::CONNECTION_CLOSED,
        }
    }

    /// The same for people, in a TR answer.
    fn text(self) -> &'static str {
        match self {
            Fault::TimedOut => "the provider did not answer in time",
            Fault::NoUpstream => "no provider could be reached",
            Fault::Overload => "the sidecar is at a limit",
            Fault::ConnectionClosed => "the connection to the provider has ended",
            Fault::NobodyToAsk => "no single client stands behind this connection",
        }
    }

    /// How the request is counted.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Fault::TimedOut => Outcome::TimedOut,
            Fault::NoUpstream | Fault::NobodyToAsk => Outcome::NoUpstream,
            Fault::Overload => Outcome::Overload,
            Fault::ConnectionClosed => Outcome::Reset,
        }
    }
}

/// The host in a TR answer of our own: no server gave it.
const NO_HOST: &str = "0.0.0.0:0";

/// Appends the answer to a request that has failed. In TR it is a `ConnectionResponse` with the
/// status as its result and no content (inferred: codes other than 0 were never seen).
pub(super) fn failed(stamp: Stamp, id: u64, fault: Fault, out: &mut Vec<u8>) {
    let field = Field::Status(fault.status());
    if bolt(stamp, 0, cmdcode::RESPONSE, id, field, out) == Written::NotBolt {
        tr_response(id, fault.status().into(), Some(fault.text()), out);
    }
}

/// Appends an answer without content to a request that has not failed: for a seeded bug alone.
pub(super) fn succeeded(stamp: Stamp, id: u64, out: &mut Vec<u8>) {
    let field = Field::Status(status::SUCCESS);
    if bolt(stamp, 0, cmdcode::RESPONSE, id, field, out) == Written::NotBolt {
        tr_response(id, 0, None, out);
    }
}

/// Appends a heartbeat. Its switch is off, as real SOFABolt has it.
pub(super) fn heartbeat(class: Class, id: u64, out: &mut Vec<u8>) {
    let (stamp, field) = (Stamp::of(class), Field::Timeout(-1));
    if bolt(stamp, 1, cmdcode::HEARTBEAT, id, field, out) == Written::NotBolt {
        out.extend_from_slice(&tr::heartbeat(RequestId(id)));
    }
}

/// Appends the answer to a heartbeat, with the switch of the heartbeat.
pub(super) fn heartbeat_ack(stamp: Stamp, id: u64, out: &mut Vec<u8>) {
    let field = Field::Status(status::SUCCESS);
    if bolt(stamp, 0, cmdcode::HEARTBEAT, id, field, out) == Written::NotBolt {
        out.extend_from_slice(&tr::heartbeat_ack(RequestId(id), NO_HOST));
    }
}

/// Appends the notice that nothing new should be asked here, as MOSN sends it; TR has none. Says
/// whether something was appended.
pub(super) fn goaway(class: Class, id: u64, out: &mut Vec<u8>) -> Written {
    let (stamp, field) = (Stamp::of(class), Field::Timeout(0));
    bolt(stamp, 1, cmdcode::GOAWAY, id, field, out)
}

fn tr_response(id: u64, result: i32, error_message: Option<&str>, out: &mut Vec<u8>) {
    let response = tr::Build {
        connection: tr::Connection::Response {
            id: RequestId(id),
            host: NO_HOST,
            result,
            error_message,
            error_stack: None,
        },
        class: b"",
        content: b"",
    };
    // Each part is far shorter than its length field allows.
    let _ = response.append(out);
}

/// What became of a BOLT frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// The stamp is that of another protocol.
    NotBolt,
}

enum Field {
    Status(u16),
    Timeout(i32),
}

/// A BOLT frame without class, headers and content, written in place.
fn bolt(stamp: Stamp, kind: u8, command: u16, id: u64, field: Field, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    let Some(version) = stamp.version() else {
        return Written::NotBolt;
    };
    match version {
        Version::V1 => out.push(1),
        Version::V2 { ver1, .. } => out.extend_from_slice(&[2, ver1]),
    }
    out.push(kind);
    out.extend_from_slice(&command.to_be_bytes());
    out.push(1);
    out.extend_from_slice(&(id as u32).to_be_bytes());
    out.push(stamp.codec);
    if let Version::V2 { switch, .. } = version {
        out.push(switch);
    }
    match field {
        Field::Status(status) => out.extend_from_slice(&status.to_be_bytes()),
        Field::Timeout(timeout_ms) => out.extend_from_slice(&timeout_ms.to_be_bytes()),
    }
    // Class, headers, content.
    out.extend_from_slice(&[0; 8]);
    if version.has_crc() {
        let sum = crc32fast::hash(out.get(start..).unwrap_or(&[]));
        out.extend_from_slice(&sum.to_be_bytes());
    }
    Written::Yes
}
