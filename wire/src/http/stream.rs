//! Messages from bytes as sockets give them.

use super::Limits;
use super::decode::{Decoder, Piece};
use super::head::{Head, Malformed};

/// A [`Decoder`] with a buffer of its own. It holds what is not used yet: up to a head, or what
/// was fed since [`Stream::piece`] said `None`.
#[derive(Clone, Debug)]
pub struct Stream {
    decoder: Decoder,
    buffer: Vec<u8>,
    used: usize,
}

impl Stream {
    /// At the front of a message.
    pub fn new(limits: Limits) -> Stream {
        Stream {
            decoder: Decoder::new(limits),
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// Takes bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `None` where more bytes are needed.
    ///
    /// # Errors
    /// What is no message; the stream is of no use afterwards.
    pub fn piece(&mut self) -> Result<Option<Piece<'_>>, Malformed> {
        let input = self.buffer.get(self.used..).unwrap_or_default();
        let (used, piece) = self.decoder.piece(input)?;
        self.used += used;
        Ok(piece)
    }

    /// Whether the connection may end here: between messages, or within a body that goes on
    /// until then.
    pub fn may_close(&self) -> bool {
        self.decoder.may_close() && (!self.decoder.is_between() || self.unused().is_empty())
    }

    /// What was fed and belongs to no piece yet.
    pub fn unused(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// First line and headers.
    pub head: Head,
    /// The body, its chunks put together.
    pub body: Vec<u8>,
}

/// Whole messages, one after the other. Holds up to a head and a body within the limits.
#[derive(Clone, Debug)]
pub struct Messages {
    stream: Stream,
    begun: Option<Message>,
}

impl Messages {
    /// At the front of a message.
    pub fn new(limits: Limits) -> Messages {
        Messages {
            stream: Stream::new(limits),
            begun: None,
        }
    }

    /// Takes bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.stream.feed(bytes);
    }

    /// The next message; `None` where more bytes are needed.
    ///
    /// # Errors
    /// What is no message; nothing can be read afterwards.
    pub fn message(&mut self) -> Result<Option<Message>, Malformed> {
        while let Some(piece) = self.stream.piece()? {
            match (piece, &mut self.begun) {
                (Piece::Head(head), _) => {
                    let body = Vec::new();
                    self.begun = Some(Message { head, body });
                }
                (Piece::Body(bytes), Some(message)) => message.body.extend_from_slice(bytes),
                (Piece::Body(_), None) => {}
                (Piece::End, _) => return Ok(self.begun.take()),
            }
        }
        Ok(None)
    }

    /// The connection has ended: the message whose body goes on until then, where there is one.
    pub fn close(&mut self) -> Option<Message> {
        self.begun.take().filter(|_| self.stream.may_close())
    }

    /// Whether nothing of a message was read.
    pub fn is_between(&self) -> bool {
        self.begun.is_none() && self.stream.unused().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Start, request, response};
    use super::*;

    fn bodies(bytes: &[u8], piece: usize) -> Result<Vec<String>, String> {
        let mut messages = Messages::new(Limits::USUAL);
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            messages.feed(piece);
            while let Some(message) = messages.message().map_err(|why| why.to_string())? {
                found.push(String::from_utf8(message.body).unwrap());
            }
        }
        found.extend(
            messages
                .close()
                .map(|it| String::from_utf8(it.body).unwrap()),
        );
        Ok(found)
    }

    #[track_caller]
    fn check(bytes: &[u8], expect: &[&str]) {
        for piece in [1, 2, 3, 7, 50, usize::MAX] {
            let found = bodies(bytes, piece).unwrap();
            assert_eq!(found, expect, "in pieces of {piece}");
        }
    }

    #[test]
    fn bodies_in_every_framing() {
        let posted = request("POST", "/a", "localhost:1", "text/plain", b"{\"a\":1}");
        let empty = request("GET", "/b", "localhost:1", "", b"");
        check(
            &[&posted[..], &empty, &posted].concat(),
            &["{\"a\":1}", "", "{\"a\":1}"],
        );
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n1;x=y\r\n,\r\n6 \r\n world\r\n0\r\nTrailer: 1\r\n\r\n";
        check(&[&chunked[..], chunked].concat(), &["hello, world"; 2]);
        check(b"HTTP/1.0 200 OK\r\n\r\nto the end", &["to the end"]);
        check(&response(200, "application/json", b"{}"), &["{}"]);
        // Begun and not ended.
        check(&posted[..posted.len() - 1], &[]);
        check(b"POST /a HT", &[]);
    }

    #[test]
    fn damage_in_chunks() {
        let chunks = |text: &str| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            bodies(format!("{head}{text}").as_bytes(), 5)
        };
        for text in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "3\r\nabcd\r\n",
            "+5\r\n",
            "ffffffffffffffffff\r\n",
        ] {
            assert_eq!(
                chunks(text).unwrap_err(),
                "chunk is not in order",
                "{text:?}"
            );
        }
        assert!(
            chunks("fffffff\r\n")
                .unwrap_err()
                .contains("exceeds the limit")
        );
        assert!(chunks(&"1".repeat(5000)).is_err());
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = request(
            "POST",
            "/services/publish",
            "127.0.0.1:13330",
            "text/plain",
            b"x",
        );
        let mut messages = Messages::new(Limits::USUAL);
        messages.feed(&bytes);
        let message = messages.message().unwrap().unwrap();
        let start = Start::Request {
            method: "POST".to_owned(),
            target: "/services/publish".to_owned(),
        };
        assert_eq!(message.head.start, start);
        assert_eq!(message.head.headers.get("host"), Some("127.0.0.1:13330"));
        assert_eq!(message.head.headers.get("content-type"), Some("text/plain"));
        assert!(messages.is_between());
    }
}
