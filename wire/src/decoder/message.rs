//! A message of HTTP whose end shows only when it comes.

use crate::http;
use crate::protocol::Head;

use super::step::LIMITS;

/// What is there of it. Holds it whole, whatever is asked for: its length is not known before.
#[derive(Clone, Debug)]
pub(super) struct Message<M> {
    /// The length stands in when it is known.
    pub(super) head: Head,
    pub(super) offset: u64,
    pub(super) first: M,
    pub(super) last: M,
    pub(super) bytes: Vec<u8>,
    decoder: http::Decoder,
    /// Bytes that the decoder is done with.
    used: usize,
}

/// What became of bytes that were fed.
pub(super) enum Fed {
    /// All were taken, and more are to come.
    All,
    /// So many were taken, and the message is whole.
    Ended(usize),
    /// It is no message.
    Malformed,
}

impl<M: Copy> Message<M> {
    pub(super) fn new(head: Head, offset: u64, first: M) -> Self {
        Message {
            head,
            offset,
            first,
            last: first,
            bytes: Vec::new(),
            decoder: http::Decoder::new(LIMITS),
            used: 0,
        }
    }

    pub(super) fn feed(&mut self, mark: M, input: &[u8], bytes_max: u64) -> Fed {
        self.last = mark;
        let before = self.bytes.len();
        self.bytes.extend_from_slice(input);
        loop {
            let rest = self.bytes.get(self.used..).unwrap_or_default();
            let (used, piece) = match self.decoder.piece(rest) {
                Ok(found) => found,
                Err(_) => return Fed::Malformed,
            };
            self.used += used;
            match piece {
                Some(http::Piece::End) if self.used as u64 > bytes_max => return Fed::Malformed,
                Some(http::Piece::End) => {
                    self.bytes.truncate(self.used);
                    self.head.len = self.used as u64;
                    return Fed::Ended(self.used.saturating_sub(before));
                }
                Some(_) => {}
                None if self.bytes.len() as u64 > bytes_max => return Fed::Malformed,
                None => return Fed::All,
            }
        }
    }

    /// Whether it is whole when nothing follows.
    pub(super) fn may_close(&self) -> bool {
        self.decoder.may_close() && !self.decoder.is_between()
    }
}
