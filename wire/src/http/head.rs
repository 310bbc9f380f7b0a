//! The head of a message: its first line and its headers.

use super::Limits;

/// Most headers in one head.
const HEADERS_MAX: usize = 64;

/// Why bytes are no message that is understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Not HTTP/1, or not in order.
    #[error("no http head: {0}")]
    Head(httparse::Error),
    /// See [`Limits::head_bytes_max`].
    #[error("head exceeds the limit of {max} bytes")]
    HeadTooLong {
        /// The limit.
        max: usize,
    },
    /// See [`Limits::body_bytes_max`].
    #[error("body of {len} bytes or more exceeds the limit of {max}")]
    BodyTooLong {
        /// What it says, or what was seen of it.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// Two statements about the body's length, or one that is not understood.
    #[error("body framing is not clear: {0}")]
    Framing(&'static str),
    /// The size of a chunk, or what must follow a chunk.
    #[error("chunk is not in order")]
    Chunk,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Of a request.
    Request {
        /// `POST`, …
        method: String,
        /// Path and query.
        target: String,
    },
    /// Of an answer.
    Response {
        /// 200, …
        status: u16,
    },
}

/// Names and values in wire order. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// Chunks, the last one empty.
    Chunked,
    /// At the end of the connection.
    UntilClose,
}

/// Everything before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub start: Start,
    /// Whether it is HTTP/1.0 (0) or HTTP/1.1 (1).
    pub minor: u8,
    /// The headers. Bytes that are not UTF-8 are replaced.
    pub headers: Headers,
    /// Where the body ends.
    pub framing: Framing,
    /// Length of the head in bytes, the empty line included.
    pub len: usize,
}

impl Head {
    /// Reads the front of `input`; `None` where more is needed.
    ///
    /// # Errors
    /// What is no head, says two lengths, or exceeds a limit.
    pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<Head>, Malformed> {
        let window = input.get(..limits.head_bytes_max).unwrap_or(input);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let (status, start, minor) = if could_be_answer(window) {
            let mut parsed = httparse::Response::new(&mut headers);
            let status = parsed.parse(window).map_err(Malformed::Head)?;
            let start = Start::Response {
                status: parsed.code.unwrap_or_default(),
            };
            (status, start, parsed.version)
        } else {
            let mut parsed = httparse::Request::new(&mut headers);
            let status = parsed.parse(window).map_err(Malformed::Head)?;
            let start = Start::Request {
                method: parsed.method.unwrap_or_default().to_owned(),
                target: parsed.path.unwrap_or_default().to_owned(),
            };
            (status, start, parsed.version)
        };
        let httparse::Status::Complete(len) = status else {
            return if window.len() >= limits.head_bytes_max {
                let max = limits.head_bytes_max;
                Err(Malformed::HeadTooLong { max })
            } else {
                Ok(None)
            };
        };
        let headers = headers
            .iter()
            .take_while(|header| !header.name.is_empty())
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_owned(), value)
            });
        let headers = Headers(headers.collect());
        let framing = framing(&start, &headers)?;
        let max = limits.body_bytes_max;
        match framing {
            Framing::Length(len) if len > max => Err(Malformed::BodyTooLong { len, max }),
            _ => Ok(Some(Head {
                start,
                minor: minor.unwrap_or_default(),
                headers,
                framing,
                len,
            })),
        }
    }

    /// Whether the connection goes on after the message, as far as this side says.
    pub fn keeps_alive(&self) -> bool {
        let says = |word: &str| {
            self.headers
                .all("connection")
                .flat_map(|value| value.split(','))
                .any(|found| found.trim().eq_ignore_ascii_case(word))
        };
        self.framing != Framing::UntilClose
            && match self.minor {
                0 => says("keep-alive"),
                _ => !says("close"),
            }
    }
}

/// Whether `input` begins as an answer does, or may come to.
fn could_be_answer(input: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/";
    // Empty lines before a message are passed over, as httparse does.
    let at = input
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(input.len());
    let front = input.get(at..).unwrap_or_default();
    front.starts_with(START)
}

fn framing(start: &Start, headers: &Headers) -> Result<Framing, Malformed> {
    let mut encodings = headers.all("transfer-encoding");
    let mut lengths = headers.all("content-length");
    let framing = match (encodings.next(), lengths.next()) {
        (Some(_), Some(_)) => return Err(Malformed::Framing("chunked and of a length as well")),
        (Some(encoding), None) if encoding.trim().eq_ignore_ascii_case("chunked") => {
            Framing::Chunked
        }
        (Some(_), None) => return Err(Malformed::Framing("unknown transfer encoding")),
        (None, Some(length)) => {
            let digits = length.trim();
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            match digits.parse() {
                Ok(length) if plain => Framing::Length(length),
                _ => return Err(Malformed::Framing("content-length is no number")),
            }
        }
        (None, None) => match start {
            Start::Request { .. } => Framing::Length(0),
            Start::Response { .. } => Framing::UntilClose,
        },
    };
    if encodings.next().is_some() || lengths.next().is_some() {
        return Err(Malformed::Framing("said twice"));
    }
    Ok(match start {
        // Never with a body, whatever the headers say (RFC 9112, section 6.3).
        Start::Response {
            status: 100..=199 | 204 | 304,
        } => Framing::Length(0),
        _ => framing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<Framing, &str>) {
        let parsed = Head::parse(text.as_bytes(), &Limits::USUAL);
        match (parsed, expect) {
            (Ok(Some(head)), Ok(framing)) => {
                assert_eq!(head.framing, framing);
                for len in 0..text.len() {
                    let front = Head::parse(&text.as_bytes()[..len], &Limits::USUAL);
                    assert_eq!(front, Ok(None), "{len}");
                }
            }
            (Err(why), Err(expect)) => assert_eq!(why.to_string(), expect),
            (found, expect) => panic!("{found:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn framing_of_bodies() {
        check("GET / HTTP/1.1\r\n\r\n", Ok(Framing::Length(0)));
        check(
            "POST /a HTTP/1.1\r\ncontent-length: 7\r\n\r\n",
            Ok(Framing::Length(7)),
        );
        check(
            "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Ok(Framing::Chunked),
        );
        check("HTTP/1.0 200 OK\r\n\r\n", Ok(Framing::UntilClose));
        check(
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            Ok(Framing::Length(0)),
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let post = |headers: &str| format!("POST /a HTTP/1.1\r\n{headers}\r\n");
        check(
            &post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            Err("body framing is not clear: chunked and of a length as well"),
        );
        check(
            &post("Content-Length: 1\r\nContent-Length: 2\r\n"),
            Err("body framing is not clear: said twice"),
        );
        for length in ["+1", "1 2", "0x10", "-1", "", "99999999999999999999"] {
            check(
                &post(&format!("Content-Length: {length}\r\n")),
                Err("body framing is not clear: content-length is no number"),
            );
        }
        check(
            &post("Transfer-Encoding: gzip, chunked\r\n"),
            Err("body framing is not clear: unknown transfer encoding"),
        );
        check(
            &post("Content-Length: 1048577\r\n"),
            Err("body of 1048577 bytes or more exceeds the limit of 1048576"),
        );
        check(
            &post(&format!("X: {}\r\n", "x".repeat(16 << 10))),
            Err("head exceeds the limit of 16384 bytes"),
        );
        assert!(matches!(
            Head::parse(b"\x16\x03\x01\x02", &Limits::USUAL),
            Err(Malformed::Head(_))
        ));
    }

    #[test]
    fn connections_that_go_on() {
        let goes_on = |text: &str| {
            let head = Head::parse(text.as_bytes(), &Limits::USUAL);
            head.unwrap().unwrap().keeps_alive()
        };
        assert!(goes_on("GET / HTTP/1.1\r\n\r\n"));
        assert!(!goes_on("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"));
        assert!(!goes_on("GET / HTTP/1.0\r\n\r\n"));
        assert!(goes_on("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"));
        assert!(!goes_on("HTTP/1.1 200 OK\r\n\r\n"));
    }
}
