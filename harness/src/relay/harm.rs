//! What is done to a frame.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use meshproof_wire::{Frame, Head};

/// What is done to a frame. What holds for longer than the frame holds for its direction of its
/// connection, until the rule is healed or the connection ends.
///
/// Where several rules mean one frame, all of them are done: it stalls before anything else; it is
/// flipped and replaced in the order of the rules; one that is lost is not changed, late or twice
/// as well; the connection is closed behind it last of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It does not arrive.
    Drop,
    /// It arrives so much later, and what follows it on its way no sooner: the order holds.
    Delay(Duration),
    /// It arrives twice.
    Duplicate,
    /// Others overtake it.
    Reorder(Overtaken),
    /// So many of its bytes arrive, then the connection is closed: its sender died as it wrote.
    Truncate {
        /// From the front of the frame.
        bytes: u64,
    },
    /// One of its bytes arrives as another; lengths and checksums do not follow.
    Flip {
        /// Which byte, counted from 0; of a frame that has no such byte none is.
        byte: u64,
        /// What it is combined with by exclusive or.
        mask: u8,
    },
    /// Other bytes arrive in its place.
    Replace(Replacement),
    /// It arrives, then the connection is closed.
    Close,
    /// Neither it nor what follows arrives, nothing more is read, and nothing is lost: after
    /// healing everything arrives.
    Stall,
    /// Neither it nor what follows arrives, while the connection stands and is read.
    Mute,
}

/// By whom a frame is overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overtaken {
    /// By the next frame that goes on its way. Where none does, it goes when the rule is healed or
    /// the sender has ended.
    ByNext,
    /// By all that come within this time.
    For(Duration),
}

/// What arrives in place of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// These bytes as they are, whatever they are.
    Bytes(Bytes),
    /// This frame, under the id of the one that it stands for, with a checksum that is right.
    Frame(Frame),
}

impl Replacement {
    pub(super) fn in_place_of(&self, head: &Head) -> Bytes {
        match self {
            Replacement::Bytes(bytes) => bytes.clone(),
            Replacement::Frame(frame) => frame.with_id(head.id).bytes,
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Harm::Drop => f.write_str("drop"),
            Harm::Delay(by) => write!(f, "delay by {} ms", by.as_millis()),
            Harm::Duplicate => f.write_str("duplicate"),
            Harm::Reorder(Overtaken::ByNext) => f.write_str("reorder"),
            Harm::Reorder(Overtaken::For(time)) => {
                write!(f, "reorder for {} ms", time.as_millis())
            }
            Harm::Truncate { bytes } => write!(f, "truncate at byte {bytes}"),
            Harm::Flip { byte, mask } => write!(f, "flip byte {byte} by {mask:#04x}"),
            Harm::Replace(Replacement::Bytes(bytes)) => {
                write!(f, "replace by {} bytes", bytes.len())
            }
            Harm::Replace(Replacement::Frame(frame)) => {
                write!(
                    f,
                    "replace by a frame of {} of {} bytes",
                    frame.head.protocol,
                    frame.bytes.len()
                )
            }
            Harm::Close => f.write_str("close after"),
            Harm::Stall => f.write_str("stall"),
            Harm::Mute => f.write_str("mute"),
        }
    }
}
