//! The folder that a run leaves on disk. The one module of this crate that touches files.
//!
//! ```text
//! meshproof-runs/<ulid>/
//!   events.jsonl          append-only; a torn last line is dropped on reading and said so
//!   exchanges.jsonl.zst   one exchange a line, with bodies
//!   wire.pcapng           where it was asked for
//!   artefacts/
//!   manifest.json         written last, by rename
//! ```
//!
//! A folder without `manifest.json` is of a run that was cut off: [`Record::open`] says so and
//! still shows what there is.

mod lines;
mod reader;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use jiff::Timestamp;

use crate::manifest::{Machine, SCHEMA, Start};

pub use reader::{Damage, Entries, Record, Rows};
pub use writer::{Ending, Writer};

/// Where records go when nobody says otherwise.
pub const RUNS: &str = "meshproof-runs";

const EVENTS: &str = "events.jsonl";
const EXCHANGES: &str = "exchanges.jsonl.zst";
const MANIFEST: &str = "manifest.json";
const MANIFEST_PARTIAL: &str = ".manifest.json.partial";
const WIRE: &str = "wire.pcapng";
/// The folder of a record for whatever explains it.
pub const ARTEFACTS: &str = "artefacts";

/// Why a record can be neither written nor read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Records are never mixed.
    #[error("record folder {} is not empty: name another with --record, or remove it", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Where the folder should be made, something else is.
    #[error("{} is no folder: name another with --record", .path.display())]
    NoFolder {
        /// What is there.
        path: PathBuf,
    },
    /// Not a folder that a run left.
    #[error(
        "{}: no record here, neither {MANIFEST} nor {EVENTS}; expected a folder that a run wrote, such as {RUNS}/<id>",
        .path.display()
    )]
    NoRecord {
        /// The folder.
        path: PathBuf,
    },
    /// Written by a newer meshproof.
    #[error("{}: record of schema {found}, this meshproof reads up to {SCHEMA}: use a newer one", .path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// The manifest is written whole or not at all, so somebody changed it.
    #[error("{}: line {line}: not a manifest of schema {SCHEMA}: {why}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// The operating system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
        move |error| StoreError::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// What is known when a run begins, with a fresh id and this machine looked at.
pub fn start(version: &str, command_line: Vec<String>, seed: u64, now: Timestamp) -> Start {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Start {
        schema: SCHEMA,
        run: ulid::Ulid::from_parts(now_ms, ulid::Ulid::generate().random()).to_string(),
        version: version.to_owned(),
        command_line,
        seed,
        started: now.to_string(),
        machine: machine(),
    }
}

/// The id of what is made of other runs, the first of which is `run`: the same for the same text.
pub fn named_after(run: &str, text: &str) -> String {
    let hash = blake3::hash(text.as_bytes());
    let random = hash
        .as_bytes()
        .first_chunk()
        .map_or(0, |it| u128::from_le_bytes(*it));
    let at_ms = ulid::Ulid::from_string(run).map_or(0, |run| run.timestamp_ms());
    ulid::Ulid::from_parts(at_ms, random).to_string()
}

/// The folder of a run that was given none: `meshproof-runs/<id>`.
pub fn default_folder(start: &Start) -> PathBuf {
    Path::new(RUNS).join(&start.run)
}

/// The machine under our feet.
fn machine() -> Machine {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    Machine {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: kernel.trim().to_owned(),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
    }
}
