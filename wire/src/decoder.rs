//! A stream's bytes become heads and frames.
//!
//! One [`Decoder`] serves one direction of one connection. It is fed bytes in stream order and is
//! told of gaps; it passes over bodies without copying them unless asked for frames. After a gap
//! or a start in mid-stream it looks for the next plausible frame and counts what it passed over.

use crate::{Frame, Head};

/// What a consumer wants of each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Heads only: bodies are passed over, never copied.
    Heads,
    /// Whole frames.
    Frames,
}

/// What the decoder will hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame accepted, in bytes; a longer one is damage.
    pub frame_bytes_max: u64,
    /// Bytes held back while looking for a frame after a gap.
    pub resync_bytes_max: usize,
    /// Bytes looked at before a stream that shows no frame is called foreign.
    pub detect_bytes_max: u64,
}

impl Limits {
    /// Frames up to 64 MiB, 1 MiB held during resynchronisation, 64 KiB looked at for detection.
    pub const USUAL: Limits = Limits {
        frame_bytes_max: 64 << 20,
        resync_bytes_max: 1 << 20,
        detect_bytes_max: 64 << 10,
    };
}

/// One frame as the decoder found it. `M` marks where bytes came from (packet and time).
#[derive(Clone, Debug)]
pub struct Decoded<M> {
    /// What its first bytes say.
    pub head: Head,
    /// Stream offset of its first byte.
    pub offset: u64,
    /// Mark of the feed that held its first byte.
    pub first: M,
    /// Mark of the feed that held its last byte (the last one seen, where it is cut).
    pub last: M,
    /// Bytes of it that were lost to gaps or to the end of the stream; 0 for a whole frame.
    pub missing: u64,
    /// The frame, when it was asked for and is whole.
    pub frame: Option<Frame>,
}

/// Every byte fed, in exactly one bucket.
///
/// `framed + skipped + incomplete + foreign` is the number of bytes fed once
/// [`Decoder::finish`] was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In whole frames.
    pub framed: u64,
    /// Passed over while looking for a frame.
    pub skipped: u64,
    /// In frames that were begun and not ended.
    pub incomplete: u64,
    /// In a stream of no known protocol.
    pub foreign: u64,
}
