//! The account of a capture and of a replay: every unit in exactly one named bucket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureLedger {
    /// Packets.
    pub packets: Packets,
    /// TCP payload bytes that the capture holds.
    pub bytes: Bytes,
    /// Frames.
    pub frames: Frames,
    /// Bytes that streams lack.
    pub gaps: Vec<Gap>,
    /// Things worth telling that are in no sum, by name: `conflicting-overlap`, `bad-crc`,
    /// `flow-limit`, …
    pub findings: BTreeMap<String, u64>,
}

/// `total = tcp + non_tcp + fragment + malformed`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// All packets read.
    pub total: u64,
    /// TCP segments.
    pub tcp: u64,
    /// Everything else that is whole.
    pub non_tcp: u64,
    /// IP fragments.
    pub fragment: u64,
    /// Headers that contradict themselves or are cut short.
    pub malformed: u64,
    /// A flag beside the sum: packets that the snaplen cut.
    pub truncated: u64,
}

/// `payload = framed + duplicate + skipped + incomplete + foreign + dropped`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// All TCP payload bytes captured.
    pub payload: u64,
    /// In whole frames.
    pub framed: u64,
    /// Seen before: retransmissions, overlaps, keep-alive probes.
    pub duplicate: u64,
    /// Passed over while looking for a frame.
    pub skipped: u64,
    /// In frames that were begun and not ended.
    pub incomplete: u64,
    /// In streams of no known protocol.
    pub foreign: u64,
    /// Let go at a limit.
    pub dropped: u64,
}

/// `total = requests + oneways + responses + heartbeats + goaways + unknown`, whole frames only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// All whole frames.
    pub total: u64,
    /// Requests that expect a response.
    pub requests: u64,
    /// Requests that expect none.
    pub oneways: u64,
    /// Responses.
    pub responses: u64,
    /// Heartbeats, both directions.
    pub heartbeats: u64,
    /// Goaways.
    pub goaways: u64,
    /// Frames of an unknown command.
    pub unknown: u64,
    /// Beside the sum: frames begun and not ended.
    pub cut: u64,
}

/// A run of bytes that a stream lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// `opener>acceptor`.
    pub flow: String,
    /// `to-acceptor` or `to-opener`.
    pub direction: String,
    /// Stream offset of the first missing byte.
    pub offset: u64,
    /// How many bytes are missing.
    pub length: u64,
    /// `acked`, `limit`, `snaplen`, `end-of-capture`.
    pub reason: String,
}

/// What became of a replay's exchanges.
///
/// `recorded = sent + refused + Σ skipped` · `sent = oneway + answered + timed_out + Σ lost` ·
/// `answered = compared + not_comparable`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayLedger {
    /// Exchanges of the capture that were looked at.
    pub recorded: u64,
    /// Requests written to a connection.
    pub sent: u64,
    /// Requests that the guard refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Requests left out on purpose: `heartbeat`, `server_request`, `cut`, `filtered`,
    /// `duplicate_hop`.
    pub skipped: BTreeMap<String, u64>,
    /// Sent, and no answer is expected.
    pub oneway: u64,
    /// Sent and answered.
    pub answered: u64,
    /// Sent, and not answered in time.
    pub timed_out: u64,
    /// Sent, and the connection went: `reset`, `closed`.
    pub lost: BTreeMap<String, u64>,
    /// Answered and compared with what was recorded.
    pub compared: u64,
    /// Answered, and the capture holds nothing to compare with.
    pub not_comparable: u64,
    /// Apart: answers after the time-out.
    pub late: u64,
    /// Apart: answers that nobody asked for; more than 0 is a FAIL.
    pub surplus: u64,
}
