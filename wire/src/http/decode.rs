//! One message after the other, piece by piece.

use super::Limits;
use super::head::{Framing, Head, Malformed};

/// Longest line that gives a chunk's size, and longest trailer, in bytes.
const LINE_BYTES_MAX: usize = 4 << 10;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A message begins.
    Head(Head),
    /// Bytes of its body, as many as are there; never none.
    Body(&'a [u8]),
    /// It ends.
    End,
}

/// Reads messages from bytes that the caller holds. Keeps no bytes itself.
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
    /// Bytes of the current body so far.
    body: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk are to come.
    Data(u64),
    /// The line break behind a chunk.
    DataEnd,
    /// Lines behind the last chunk; so many bytes of them were passed over.
    Trailer(usize),
    UntilClose,
}

impl Decoder {
    /// At the front of a message.
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            limits,
            state: State::Head,
            body: 0,
        }
    }

    /// Reads from the front of `input`: how many bytes were used, and the piece that they are.
    /// `None` where more bytes are needed; those not used must come again with them.
    ///
    /// # Errors
    /// What is no message; the decoder is of no use afterwards.
    pub fn piece<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Piece<'a>>), Malformed> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            match self.state {
                State::Head => {
                    let Some(head) = Head::parse(rest, &self.limits)? else {
                        return Ok((used, None));
                    };
                    self.body = 0;
                    self.state = match head.framing {
                        Framing::Length(len) => State::Length(len),
                        Framing::Chunked => State::Size,
                        Framing::UntilClose => State::UntilClose,
                    };
                    return Ok((used + head.len, Some(Piece::Head(head))));
                }
                State::Length(0) => {
                    self.state = State::Head;
                    return Ok((used, Some(Piece::End)));
                }
                State::Length(left) | State::Data(left) => {
                    let piece = front(rest, left);
                    if piece.is_empty() {
                        return Ok((used, None));
                    }
                    let left = left - piece.len() as u64;
                    self.state = match self.state {
                        State::Length(_) => State::Length(left),
                        _ if left == 0 => State::DataEnd,
                        _ => State::Data(left),
                    };
                    return Ok((used + piece.len(), Some(Piece::Body(piece))));
                }
                State::Size => {
                    let Some(line) = line(rest)? else {
                        return Ok((used, None));
                    };
                    used += line.len();
                    self.state = match self.size(line)? {
                        0 => State::Trailer(0),
                        len => State::Data(len),
                    };
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok((used, None)),
                    _ => return Err(Malformed::Chunk),
                },
                State::Trailer(before) => {
                    let Some(line) = line(rest)? else {
                        return Ok((used, None));
                    };
                    used += line.len();
                    if line == b"\r\n" || line == b"\n" {
                        self.state = State::Head;
                        return Ok((used, Some(Piece::End)));
                    }
                    let passed = before + line.len();
                    if passed > LINE_BYTES_MAX {
                        return Err(Malformed::Chunk);
                    }
                    self.state = State::Trailer(passed);
                }
                State::UntilClose => {
                    if rest.is_empty() {
                        return Ok((used, None));
                    }
                    self.grow(rest.len() as u64)?;
                    return Ok((used + rest.len(), Some(Piece::Body(rest))));
                }
            }
        }
    }

    /// Whether a message ends where the connection does: between two messages there is none to
    /// end, and a body until the close is whole then.
    pub fn may_close(&self) -> bool {
        matches!(self.state, State::Head | State::UntilClose)
    }

    /// Whether no message has begun.
    pub fn is_between(&self) -> bool {
        self.state == State::Head
    }

    fn size(&mut self, line: &[u8]) -> Result<u64, Malformed> {
        // Behind a semicolon stand extensions, which are of no concern.
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = digits.trim_ascii();
        let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).unwrap_or_default();
        let size = match u64::from_str_radix(text, 16) {
            Ok(size) if is_hex => size,
            _ => return Err(Malformed::Chunk),
        };
        self.grow(size)?;
        Ok(size)
    }

    fn grow(&mut self, by: u64) -> Result<(), Malformed> {
        self.body = self.body.saturating_add(by);
        let max = self.limits.body_bytes_max;
        if self.body > max && max < u64::MAX {
            let len = self.body;
            return Err(Malformed::BodyTooLong { len, max });
        }
        Ok(())
    }
}

fn front(bytes: &[u8], len: u64) -> &[u8] {
    usize::try_from(len)
        .ok()
        .and_then(|len| bytes.get(..len))
        .unwrap_or(bytes)
}

/// The line at the front of `input` with its end; `None` where its end is not there.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let window = input.get(..LINE_BYTES_MAX).unwrap_or(input);
    match memchr::memchr(b'\n', window) {
        Some(at) => Ok(window.get(..at + 1)),
        None if window.len() >= LINE_BYTES_MAX => Err(Malformed::Chunk),
        None => Ok(None),
    }
}
