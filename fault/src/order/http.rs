//! One request over HTTP, and one whose answer has no end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long anything may take: whoever waits for the keeper waits as long.
const LIMIT: Duration = Duration::from_secs(2);

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// GET; the body of an answer of success.
pub(super) fn get(at: SocketAddr, path: &str) -> io::Result<String> {
    whole(at, "GET", path, "")
}

/// POST; the body of an answer of success.
pub(super) fn post(at: SocketAddr, path: &str, body: &str) -> io::Result<String> {
    whole(at, "POST", path, body)
}

fn whole(at: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    // Of HTTP/1.0, so that the body is not cut into chunks and ends with the connection.
    let stream = ask(at, method, path, "HTTP/1.0", body)?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| wrong("the answer is not HTTP"))?;
    match status(head) {
        Some(200..=299) => Ok(body.to_owned()),
        _ => Err(wrong(&format!("{}: {}", first_line(head), body.trim()))),
    }
}

/// POST whose answer goes on until the connection ends: its first object, and the connection.
pub(super) fn hold(at: SocketAddr, path: &str, body: &str) -> io::Result<(TcpStream, String)> {
    let mut stream = ask(at, "POST", path, "HTTP/1.1", body)?;
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            if !matches!(status(head), Some(200..=299)) {
                return Err(wrong(&format!("{}: {}", first_line(head), body.trim())));
            }
            // Between lengths of chunks stands one object without objects in it.
            if let (Some(from), Some(to)) = (body.find('{'), body.find('}'))
                && let Some(object) = body.get(from..=to)
            {
                return Ok((stream, object.to_owned()));
            }
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(wrong("the answer has no end"));
        }
        match stream.read(&mut part)? {
            0 => return Err(wrong("it hung up before it had answered")),
            count => bytes.extend(part.iter().take(count)),
        }
    }
}

fn ask(
    at: SocketAddr,
    method: &str,
    path: &str,
    version: &str,
    body: &str,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&at, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let len = body.len();
    let request = format!(
        "{method} {path} {version}\r\nHost: {at}\r\nContent-Type: application/json\r\n\
         Content-Length: {len}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

fn first_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

fn status(head: &str) -> Option<u16> {
    first_line(head).split_whitespace().nth(1)?.parse().ok()
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
