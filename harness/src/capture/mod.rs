//! Packets of pods, kept in files while something runs in them.
//!
//! - [`Recorder`]: all pods of an environment at once, on one thread: for stories.
//! - [`live`]: one link, by libpcap: for `meshproof capture`.
//! - [`Ring`]: the files of either.
//! - [`frames`]: what was captured, decoded for a reader.
//!
//! **Limits:** a ring has a size; beyond it the oldest packets go, and are counted. What the
//! kernel had no room for is counted, too. Each packet is in its file before the next wait, so
//! that a capture can be read whatever ends the one who made it.

mod frames;
pub mod live;
mod recorder;
mod ring;

pub use frames::frames;
pub use recorder::Recorder;
pub use ring::{Ring, Size};

use std::path::PathBuf;

/// What became of the packets of one capture point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The pod, or the link.
    pub at: String,
    /// The files in order, rotated parts of one capture: `POD.0001.pcapng`, …
    pub files: Vec<PathBuf>,
    /// Packets in these files.
    pub packets: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Packets that were in files which are gone, since the ring was full.
    pub overwritten: u64,
    /// Packets that nobody saw, since the kernel had no room for them.
    pub dropped: u64,
    /// Why packets could not be written any more, if so; they count as dropped.
    pub failed: Option<String>,
}
