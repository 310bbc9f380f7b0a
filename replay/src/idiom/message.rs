//! Where the parts of one HTTP/1.1 message lie in its bytes.

use std::ops::Range;

use memchr::memmem;

/// Header lines that are looked at; a message with more is not taken apart.
const LINES_MAX: usize = 128;
/// Chunks of a body that are looked at.
const CHUNKS_MAX: usize = 1 << 16;

/// One message; ranges count from its first byte and lie within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line, without its end.
    pub(crate) start: Range<usize>,
    /// Name and value of each header line, without spaces around them.
    pub(crate) headers: Vec<(Range<usize>, Range<usize>)>,
    /// Where the head ends, its empty line included.
    pub(crate) head_end: usize,
    /// How the end of the body is found.
    pub(crate) framing: Framing,
}

/// How the end of a body is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No length is said: it goes to the end of the bytes.
    Unsaid(Range<usize>),
    /// A header line says its length.
    Length {
        /// The digits.
        digits: Range<usize>,
        /// The body.
        body: Range<usize>,
    },
    /// Each chunk says its own.
    Chunked(Vec<Chunk>),
}

/// One chunk that holds bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The hexadecimal digits of its length.
    pub(crate) digits: Range<usize>,
    /// Its bytes.
    pub(crate) bytes: Range<usize>,
}

impl Message {
    /// Takes bytes that are exactly one message; `None` where they are none. A notice to go on
    /// with the request in front of an answer is passed over.
    pub(crate) fn of(bytes: &[u8]) -> Option<Message> {
        let mut first = 0;
        while bytes.get(first..)?.starts_with(b"HTTP/1.1 1") {
            first += memmem::find(bytes.get(first..)?, b"\r\n\r\n")? + 4;
        }
        let head_end = first + memmem::find(bytes.get(first..)?, b"\r\n\r\n")?;
        let body = head_end + 4..bytes.len();
        let mut message = Message {
            start: first..first,
            headers: Vec::new(),
            head_end: body.start,
            framing: Framing::Unsaid(body.clone()),
        };
        let mut at = first;
        while at <= head_end {
            let rest = bytes.get(at..head_end + 2)?;
            let line = at..at + memmem::find(rest, b"\r\n")?;
            at = line.end + 2;
            if line.start == first {
                message.start = line;
                continue;
            }
            let text = bytes.get(line.clone())?;
            let colon = memchr::memchr(b':', text)?;
            let value = trimmed(bytes, line.start + colon + 1..line.end);
            message
                .headers
                .push((line.start..line.start + colon, value));
            if message.headers.len() > LINES_MAX {
                return None;
            }
        }
        let value = |name: &str| {
            let is = |(key, _): &&(Range<usize>, Range<usize>)| {
                bytes
                    .get(key.clone())
                    .is_some_and(|key| key.eq_ignore_ascii_case(name.as_bytes()))
            };
            message
                .headers
                .iter()
                .find(is)
                .map(|(_, value)| value.clone())
        };
        let is_chunked = value("transfer-encoding")
            .and_then(|value| bytes.get(value))
            .is_some_and(|value| value.to_ascii_lowercase().ends_with(b"chunked"));
        message.framing = match (is_chunked, value("content-length")) {
            (true, _) => Framing::Chunked(chunks(bytes, body.start)?),
            (false, Some(digits)) => Framing::Length { digits, body },
            (false, None) => Framing::Unsaid(body),
        };
        Some(message)
    }

    /// Where the bytes of the body lie.
    pub(crate) fn pieces(&self) -> Vec<Range<usize>> {
        match &self.framing {
            Framing::Unsaid(body) if body.is_empty() => Vec::new(),
            Framing::Unsaid(body) => vec![body.clone()],
            Framing::Length { body, .. } => vec![body.clone()],
            Framing::Chunked(chunks) => chunks.iter().map(|chunk| chunk.bytes.clone()).collect(),
        }
    }

    /// Where the target of a request lies; `None` of an answer.
    pub(crate) fn target(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let line = bytes.get(self.start.clone())?;
        let first = memchr::memchr(b' ', line)?;
        let last = memchr::memrchr(b' ', line)?;
        let is_answer = line.starts_with(b"HTTP/");
        (!is_answer && first < last).then(|| self.start.start + first + 1..self.start.start + last)
    }

    /// Whether a header says how the end of the body is found.
    pub(crate) fn is_framing(&self, bytes: &[u8], name: &Range<usize>) -> bool {
        let name = bytes.get(name.clone()).unwrap_or_default();
        name.eq_ignore_ascii_case(b"content-length")
            || name.eq_ignore_ascii_case(b"transfer-encoding")
    }
}

fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let text = bytes.get(range.clone()).unwrap_or_default();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let front = text.iter().take_while(|byte| is_space(byte)).count();
    let behind = text.iter().rev().take_while(|byte| is_space(byte)).count();
    let start = range.start + front;
    start..(range.end - behind).max(start)
}

/// The chunks that hold bytes; the last one and what follows it are as they are.
fn chunks(bytes: &[u8], start: usize) -> Option<Vec<Chunk>> {
    let mut chunks = Vec::new();
    let mut at = start;
    loop {
        let rest = bytes.get(at..)?;
        let digits = rest
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let line_end = memmem::find(rest, b"\r\n")?;
        let text = std::str::from_utf8(rest.get(..digits)?).ok()?;
        let len = usize::from_str_radix(text, 16).ok()?;
        if len == 0 {
            return Some(chunks);
        }
        let from = at + line_end + 2;
        let to = from.checked_add(len)?;
        if bytes.get(to..to.checked_add(2)?)? != b"\r\n" || chunks.len() >= CHUNKS_MAX {
            return None;
        }
        chunks.push(Chunk {
            digits: at..at + digits,
            bytes: from..to,
        });
        at = to + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a str {
        std::str::from_utf8(&bytes[range.clone()]).expect("text")
    }

    fn body(bytes: &[u8], message: &Message) -> String {
        let pieces = message.pieces();
        pieces.iter().map(|piece| text(bytes, piece)).collect()
    }

    #[test]
    fn a_length() {
        let bytes = b"POST /services/subscribe?a=b HTTP/1.1\r\nHost:  127.0.0.1:13330 \r\nContent-length: 3\r\n\r\n{ }";
        let message = Message::of(bytes).expect("a message");
        let target = message.target(bytes).expect("a request");
        assert_eq!(text(bytes, &target), "/services/subscribe?a=b");
        let (name, value) = &message.headers[0];
        assert_eq!(
            (text(bytes, name), text(bytes, value)),
            ("Host", "127.0.0.1:13330")
        );
        let Framing::Length { digits, .. } = &message.framing else {
            panic!("{message:?}");
        };
        assert_eq!(text(bytes, digits), "3");
        assert_eq!(body(bytes, &message), "{ }");
    }

    #[test]
    fn chunks_with_extensions_and_trailer() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n{\"a\r\n0A\r\n\":1,\"b\":23}\r\n0\r\nT: 1\r\n\r\n";
        // The second chunk says 10 and holds 10.
        let message = Message::of(bytes);
        assert_eq!(message, None, "11 bytes where 10 are said");
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n{\"a\r\n0B\r\n\":1,\"b\":23}\r\n0\r\nT: 1\r\n\r\n";
        let message = Message::of(bytes).expect("a message");
        assert_eq!(message.target(bytes), None);
        assert_eq!(body(bytes, &message), "{\"a\":1,\"b\":23}");
    }

    #[test]
    fn what_is_no_message() {
        for bytes in [
            &b""[..],
            b"POST / HTTP/1.1\r\n",
            b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert_eq!(Message::of(bytes), None, "{bytes:?}");
        }
    }
}
