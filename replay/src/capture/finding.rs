//! What is wrong with a capture that can be read nevertheless.

use std::fmt;
use std::path::PathBuf;

/// Something about one capture file that a person should know. Each kind is kept once per file:
/// where it was first seen, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Byte offset of the first one, in the file as it is after decompression.
    pub offset: u64,
    /// 1-based number within this file of the packet concerned: the one at the offset.
    pub packet: u64,
    /// What it is.
    pub what: What,
    /// How often it was seen.
    pub count: u64,
}

/// Kinds of findings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The file ends inside a packet or block. Ends the file.
    Cut {
        /// Bytes there are from the offset on.
        left: u64,
        /// Bytes there should be at least.
        expected: u64,
    },
    /// A packet claims more bytes than any link carries. Ends the file.
    AbsurdLength {
        /// What it claims.
        length: u64,
        /// What would be believed.
        limit: u64,
    },
    /// A pcapng block whose lengths contradict each other. Ends the file.
    BadBlock {
        /// What is wrong.
        why: &'static str,
    },
    /// A pcapng block of a type that is not known; it was passed over.
    UnknownBlock {
        /// Its type.
        kind: u32,
    },
    /// A packet of an interface that was not described; it was passed over.
    UnknownInterface {
        /// The interface's number.
        interface: u32,
    },
    /// A link type whose packets cannot be looked into.
    UnknownLink {
        /// Its number in the registry.
        number: u16,
    },
    /// A packet earlier than the one before it.
    TimeBackwards {
        /// The first step back, in nanoseconds.
        step_ns: u64,
    },
    /// A packet without a time (simple packet blocks); it got that of the packet before.
    NoTime,
    /// The fraction of a time is a second or more.
    BadTime,
    /// The compressed data are damaged. Ends the file.
    Compression {
        /// What the decompressor said.
        why: String,
    },
    /// A file of a folder or glob that is no capture; it was left out.
    LeftOut {
        /// Why.
        why: String,
    },
}

impl What {
    /// The name under which the ledger counts it.
    pub fn name(&self) -> &'static str {
        match self {
            What::Cut { .. } => "capture-cut",
            What::AbsurdLength { .. } => "capture-absurd-length",
            What::BadBlock { .. } => "capture-bad-block",
            What::UnknownBlock { .. } => "capture-unknown-block",
            What::UnknownInterface { .. } => "capture-unknown-interface",
            What::UnknownLink { .. } => "capture-unknown-link",
            What::TimeBackwards { .. } => "capture-time-backwards",
            What::NoTime => "capture-no-time",
            What::BadTime => "capture-bad-time",
            What::Compression { .. } => "capture-compression",
            What::LeftOut { .. } => "capture-left-out",
        }
    }

    /// Whether bytes of the file that may be packets were not read because of it.
    pub fn hides(&self) -> bool {
        match self {
            What::Cut { .. }
            | What::AbsurdLength { .. }
            | What::BadBlock { .. }
            | What::UnknownInterface { .. }
            | What::Compression { .. } => true,
            // A file that is no capture is nothing that a capture's reader answers for.
            What::LeftOut { .. }
            | What::UnknownBlock { .. }
            | What::UnknownLink { .. }
            | What::TimeBackwards { .. }
            | What::NoTime
            | What::BadTime => false,
        }
    }

    /// Whether a second one in the same file is the same finding again.
    fn is_like(&self, other: &What) -> bool {
        match (self, other) {
            (What::UnknownBlock { kind: a }, What::UnknownBlock { kind: b }) => a == b,
            (What::UnknownLink { number: a }, What::UnknownLink { number: b }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Cut { left, expected } => {
                write!(f, "the file ends after {left} of {expected} bytes")
            }
            What::AbsurdLength { length, limit } => write!(
                f,
                "the record claims {length} bytes, more than {limit}; what follows is not read"
            ),
            What::BadBlock { why } => write!(f, "{why}; what follows is not read"),
            What::UnknownBlock { kind } => write!(f, "block type {kind:#x} is not known"),
            What::UnknownInterface { interface } => {
                write!(f, "interface {interface} was not described")
            }
            What::UnknownLink { number } => write!(f, "link type {number} is not known"),
            What::TimeBackwards { step_ns } => write!(f, "time steps back by {step_ns} ns"),
            What::NoTime => f.write_str("the packet has no time"),
            What::BadTime => f.write_str("the fraction of the time is a second or more"),
            What::Compression { why } => {
                write!(f, "damaged compression: {why}; what follows is not read")
            }
            What::LeftOut { why } => write!(f, "left out: {why}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: byte {}, packet {}: {}",
            self.path.display(),
            self.offset,
            self.packet,
            self.what
        )?;
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        Ok(())
    }
}

/// Findings of one file that are told apart at most; past it, kinds that carry a number are no
/// longer distinguished.
const KINDS_MAX: usize = 32;

/// The findings of one file while it is read.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

#[derive(Debug)]
struct Note {
    offset: u64,
    packet: u64,
    what: What,
    count: u64,
}

impl Notes {
    #[cold]
    pub(super) fn add(&mut self, offset: u64, packet: u64, what: What) {
        let full = self.0.len() >= KINDS_MAX;
        let same = |note: &&mut Note| {
            note.what.is_like(&what) || (full && note.what.name() == what.name())
        };
        match self.0.iter_mut().find(same) {
            Some(note) => note.count += 1,
            None => self.0.push(Note {
                offset,
                packet,
                what,
                count: 1,
            }),
        }
    }

    pub(super) fn findings(&self, path: &std::path::Path) -> impl Iterator<Item = Finding> {
        self.0.iter().map(move |note| Finding {
            path: path.to_owned(),
            offset: note.offset,
            packet: note.packet,
            what: note.what.clone(),
            count: note.count,
        })
    }
}
