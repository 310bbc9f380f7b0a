//! One request over HTTP from a pod, as apps and admin interfaces take them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Environment, Error};

/// Bytes of an answer that are read at most.
pub const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How long one question may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status: 200 is well.
    pub status: u16,
    /// The body; bytes that are no text are replaced.
    pub body: String,
}

impl Answer {
    /// The body, where the status is one of success; else what was said, as an error about `what`.
    pub fn good(self, what: &str) -> Result<String, Error> {
        match self.status {
            200..=299 => Ok(self.body),
            status => {
                let said = self.body.trim();
                Err(Error::Refused(format!("{what}: status {status}: {said}")))
            }
        }
    }
}

/// GET of `path`.
pub fn get(
    environment: &dyn Environment,
    pod: &str,
    at: SocketAddr,
    path: &str,
) -> Result<Answer, Error> {
    exchange(environment, pod, at, "GET", path, "")
}

/// POST of `body` to `path`; one that begins with `{` is said to be JSON.
pub fn post(
    environment: &dyn Environment,
    pod: &str,
    at: SocketAddr,
    path: &str,
    body: &str,
) -> Result<Answer, Error> {
    exchange(environment, pod, at, "POST", path, body)
}

/// Address and path of `http://IP:PORT/path`.
pub(crate) fn split(url: &str) -> Result<(SocketAddr, String), Error> {
    let wrong = || Error::Refused(format!("{url}: expected http://IP:PORT/PATH"));
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = address.parse().map_err(|_| wrong())?;
    Ok((address, format!("/{path}")))
}

fn exchange(
    environment: &dyn Environment,
    pod: &str,
    at: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer, Error> {
    let what = || format!("{method} http://{at}{path} from pod {pod}");
    let mut stream = environment.connect(pod, at, LIMIT)?;
    let io = |error| Error::io(what())(error);
    stream.set_read_timeout(Some(LIMIT)).map_err(io)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(io)?;
    let kind = match body.starts_with('{') {
        true => "Content-Type: application/json\r\n",
        false => "",
    };
    let len = body.len();
    // Of HTTP/1.0, so that the body is not cut into chunks and ends with the connection.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {at}\r\n{kind}Content-Length: {len}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).map_err(io)?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let text = String::from_utf8_lossy(&bytes);
    let wrong = || Error::Refused(format!("{}: the answer is not HTTP", what()));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split_whitespace().nth(1);
    Ok(Answer {
        status: status
            .and_then(|code| code.parse().ok())
            .ok_or_else(wrong)?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_path_are_told_apart() {
        let told = |url: &str| match split(url) {
            Ok((address, path)) => format!("{address} {path}"),
            Err(error) => error.to_string(),
        };
        for (url, expected) in [
            ("http://127.0.0.1:1/a/b?c=d", "127.0.0.1:1 /a/b?c=d"),
            ("http://127.0.0.1:1", "127.0.0.1:1 /"),
            ("127.0.0.1:1", "127.0.0.1:1: expected http://IP:PORT/PATH"),
            ("http://a/b", "http://a/b: expected http://IP:PORT/PATH"),
        ] {
            assert_eq!(told(url), expected);
        }
    }
}
