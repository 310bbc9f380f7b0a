//! HTTP/1.1 messages as bytes: head and framing of the body, as far as the application API and
//! the config center need them.
//!
//! - [`Decoder`]: one message after the other, piece by piece, from bytes that the caller holds.
//! - [`Stream`]: the same with a buffer of its own, for clients and servers that read sockets.
//! - [`Messages`]: whole messages with their bodies.
//! - [`Events`]: server-sent events in a body.
//! - [`request`], [`response`]: messages written.
//! - [`percent_encode`], [`percent_decode`]: text in paths and queries.
//!
//! Bodies are framed by `Content-Length`, by chunks or, of answers, by the end of the connection.
//! A message that says two of these, or two lengths, is refused: two readers could disagree about
//! where it ends. Answers to `HEAD` are not understood.

mod decode;
mod encode;
mod events;
mod head;
mod stream;

pub use decode::{Decoder, Piece};
pub use encode::{percent_decode, percent_encode, reason, request, response};
pub use events::{Event, Events};
pub use head::{Framing, Head, Headers, Malformed, Start};
pub use stream::{Message, Messages, Stream};

/// What a decoder accepts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, in bytes.
    pub head_bytes_max: usize,
    /// Longest body, in bytes.
    pub body_bytes_max: u64,
}

impl Limits {
    /// Heads up to 16 KiB, bodies up to 1 MiB.
    pub const USUAL: Limits = Limits {
        head_bytes_max: 16 << 10,
        body_bytes_max: 1 << 20,
    };
    /// Heads up to 16 KiB, bodies without an end, as server-sent events are.
    pub const ENDLESS: Limits = Limits {
        body_bytes_max: u64::MAX,
        ..Limits::USUAL
    };
}
