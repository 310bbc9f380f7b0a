//! Why a capture cannot be read at all.

use std::io;
use std::path::PathBuf;

/// Why a capture cannot be read at all: one sentence with the file, what was expected and what to
/// do. Every variant is wrong use or unreadable input (exit code 2).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No input was named.
    #[error(
        "no capture was named; give a file, a folder, a glob in quotes, or - for standard input"
    )]
    Nothing,
    /// A glob matches no file, or a folder holds no capture.
    #[error("{pattern}: {why}; expected at least one pcap or pcapng file")]
    NoMatch {
        /// What was given.
        pattern: String,
        /// What was found.
        why: &'static str,
    },
    /// A pattern that is no glob.
    #[error("{pattern}: character {at}: {why}; put special characters in [brackets]")]
    BadPattern {
        /// What was given.
        pattern: String,
        /// Where it goes wrong.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The file has no byte.
    #[error("{}: the file is empty; expected a pcap or pcapng header (was the capture stopped before its first flush?)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The first bytes are not those of a capture.
    #[error("{}: byte 0: expected a pcap or pcapng magic number, found {found}; give a file written by tcpdump or Wireshark", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// Its first bytes in hex.
        found: String,
    },
    /// The header cannot be read.
    #[error("{}: byte {offset}: {why}; {advice}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Where, in the file as it is after decompression.
        offset: u64,
        /// What was expected and what was found.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// More files than [`super::OPEN_FILES_MAX`] hold packets of the same moment.
    #[error("{}: {open} files hold packets of the same time, more than can be open at once; merge them first (mergecap)", path.display())]
    TooManyOpen {
        /// The file that was one too many.
        path: PathBuf,
        /// How many were open.
        open: usize,
    },
    /// A second pass over something that can be read once.
    #[error("{}: cannot be read a second time; store it in a file first", path.display())]
    OnePass {
        /// The pipe.
        path: PathBuf,
    },
    /// More than 65,535 sources.
    #[error("{count} sources are more than the 65535 that can be told apart")]
    TooManySources {
        /// How many were named.
        count: usize,
    },
}
