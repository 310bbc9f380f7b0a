//! What a finished run says of itself: `manifest.json`.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::ledger::{CaptureLedger, ReplayLedger};
use crate::verdict::{Claim, End, Verdict};

/// The version of everything in a record's folder. A reader refuses a higher one.
pub const SCHEMA: u32 = 1;

/// A file that the run read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it was read as: `capture`, `map`, `noise`.
    pub role: String,
    /// The path as given.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its content, in hex.
    pub blake3: String,
}

impl Input {
    /// An input that is in memory.
    pub fn of_bytes(role: impl Into<String>, path: impl Into<String>, bytes: &[u8]) -> Input {
        Input::new(role, path, bytes.len() as u64, blake3::hash(bytes))
    }

    /// The hex form of a finished hash.
    pub fn new(
        role: impl Into<String>,
        path: impl Into<String>,
        bytes: u64,
        hash: blake3::Hash,
    ) -> Input {
        Input {
            role: role.into(),
            path: path.into(),
            bytes,
            blake3: hash.to_hex().to_string(),
        }
    }
}

/// What is known when a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// The run's id, a ULID: ids sort by time.
    pub run: String,
    /// Version of meshproof.
    pub version: String,
    /// The command line, one word an entry, the program first.
    pub command_line: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// When, RFC 3339 in UTC.
    pub started: String,
    /// The machine.
    pub machine: Machine,
}

/// The machine that a run ran on, as far as it matters to a reader of its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `linux`, `macos`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Release of the kernel; empty where it cannot be told.
    pub kernel: String,
    /// Processors that the run could use.
    pub cpus: u32,
}

/// Everything that a finished run says of itself; written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// What was known when it began.
    pub start: Start,
    /// When it ended, RFC 3339 in UTC.
    pub ended: String,
    /// How long it took, in nanoseconds.
    pub elapsed_ns: u64,
    /// How it ended.
    pub end: End,
    /// The files that it read.
    pub inputs: Vec<Input>,
    /// What it claims, and what was shown.
    pub claims: Vec<Claim>,
    /// The worst of them.
    pub verdict: Verdict,
    /// Lines in `events.jsonl`.
    pub events: u64,
    /// Lines in `exchanges.jsonl.zst`.
    pub exchanges: u64,
    /// Account of the capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureLedger>,
    /// Account of the replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayLedger>,
    /// Answer minus intended send time; where the pace names no time, minus the moment when the
    /// request's turn came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Histogram>,
    /// Actual minus intended send time; absent where the pace names no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness: Option<Histogram>,
}
