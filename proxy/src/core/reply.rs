//! Frames that the sidecar makes itself, always in the version of the frame that they answer.

use meshproof_wire::bolt::{Version, cmdcode, status};

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

/// Appends the answer to a request that has failed.
pub(super) fn failed(stamp: Stamp, id: u64, fault: Fault, out: &mut Vec<u8>) {
    bolt(
        stamp,
        0,
        cmdcode::RESPONSE,
        id,
        Field::Status(fault.status()),
        out,
    );
}

/// Appends an answer without content to a request that has not failed: for a seeded bug alone.
pub(super) fn succeeded(stamp: Stamp, id: u64, out: &mut Vec<u8>) {
    let field = Field::Status(status::SUCCESS);
    bolt(stamp, 0, cmdcode::RESPONSE, id, field, out);
}

/// Appends a heartbeat. Its switch is off, as real SOFABolt has it.
pub(super) fn heartbeat(class: Class, id: u64, out: &mut Vec<u8>) {
    let field = Field::Timeout(-1);
    bolt(Stamp::of(class), 1, cmdcode::HEARTBEAT, id, field, out);
}

/// Appends the answer to a heartbeat, without a CRC as the heartbeat itself.
pub(super) fn heartbeat_ack(stamp: Stamp, id: u64, out: &mut Vec<u8>) {
    let field = Field::Status(status::SUCCESS);
    bolt(stamp, 0, cmdcode::HEARTBEAT, id, field, out);
}

/// Appends the notice that nothing new should be asked here, as MOSN sends it. Says whether the
/// protocol has one.
pub(super) fn goaway(class: Class, id: u64, out: &mut Vec<u8>) -> bool {
    bolt(
        Stamp::of(class),
        1,
        cmdcode::GOAWAY,
        id,
        Field::Timeout(0),
        out,
    );
    true
}

enum Field {
    Status(u16),
    Timeout(i32),
}

/// A BOLT frame without class, headers and content, written in place.
fn bolt(stamp: Stamp, kind: u8, command: u16, id: u64, field: Field, out: &mut Vec<u8>) {
    let start = out.len();
    let version = stamp.version();
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
}
