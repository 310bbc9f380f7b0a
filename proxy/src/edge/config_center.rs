//! The config center over HTTP: what is said to it, and the watch on its lists.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use meshproof_wire::registry::{Push, Refused};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::discovery::{Input, Said, Say};

/// Longest answer, and longest event of a watch, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Longest query of one watch, in bytes: a longer one would be no URL any more. What does not fit
/// is watched on a connection of its own.
const QUERY_BYTES_MAX: usize = 48 << 10;

/// A watch on which nothing comes for this long, not even a sign of life, is begun anew.
const SILENCE: Duration = Duration::from_secs(5);

/// First and longest pause before a watch is begun anew.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// Speaks to one config center, one connection per question.
#[derive(Clone, Debug)]
pub(super) struct Client {
    host: String,
    port: u16,
    timeout: Duration,
}

impl Client {
    /// `base` is `http://HOST:PORT`.
    pub(super) fn new(base: &str, timeout: Duration) -> Result<Client, String> {
        let wrong = || format!("`config_center` is `{base}`, expected http://HOST:PORT");
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        if uri.scheme_str() != Some("http") || has_path {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        Ok(Client {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            timeout,
        })
    }

    /// Waits for this long from the next question on; a watch that stands stays as it is.
    pub(super) fn configure(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("config center {}:{}: {error}", self.host, self.port)
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| failed(&error))?;
        // Small messages, each of them waited for.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Ends with the answer's body, or when the answer is let go of.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(&error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))
    }

    /// The status and the whole body, within the time-out.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), String> {
        let answer = async {
            let response = self.request(method, path, body).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        timeout(self.timeout, answer).await.unwrap_or_else(|_| {
            Err(format!(
                "config center {}:{}: no answer within {} ms",
                self.host,
                self.port,
                self.timeout.as_millis()
            ))
        })
    }

    /// Says one thing.
    pub(super) async fn say(&self, say: &Say) -> Said {
        let (path, body, may_forget) = match say {
            Say::Register(register) => ("/v1/register", serde_json::to_vec(register), false),
            Say::Deregister(deregister) => ("/v1/deregister", serde_json::to_vec(deregister), true),
            Say::Renew(renew) => ("/v1/renew", serde_json::to_vec(renew), true),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => return Said::Failed(error.to_string()),
        };
        match self.ask(Method::POST, path, body).await {
            Ok((StatusCode::OK, _)) => Said::Done,
            Ok((StatusCode::NOT_FOUND, _)) if may_forget => Said::UnknownSession,
            Ok((status, body)) => Said::Failed(refusal(status, &body)),
            Err(why) => Said::Failed(why),
        }
    }

    /// Asks for one list.
    pub(super) async fn list(&self, service: &str) -> Result<Push, String> {
        let path = format!("/v1/services/{}", escaped(service));
        let (status, body) = self.ask(Method::GET, &path, Vec::new()).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// Watches these services for good: tells of lists, and of the watch's own ups and downs.
    pub(super) async fn watch(self, query: String, inputs: mpsc::Sender<Input>) {
        let [first, longest] = PAUSES;
        let mut pause = first;
        loop {
            let mut was_up = false;
            let why = self
                .watch_once(&query, &inputs, &mut was_up)
                .await
                .err()
                .unwrap_or_else(|| "the watch was ended".to_owned());
            if inputs.send(Input::WatchLost(why)).await.is_err() {
                return;
            }
            if was_up {
                pause = first;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn watch_once(
        &self,
        query: &str,
        inputs: &mpsc::Sender<Input>,
        was_up: &mut bool,
    ) -> Result<(), String> {
        let path = format!("/v1/watch?{query}");
        let asked = timeout(self.timeout, self.request(Method::GET, &path, Vec::new()));
        let response = asked
            .await
            .map_err(|_| "the watch is not answered".to_owned())??;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(refusal(status, b""));
        }
        let gone = |_| "the sidecar ends".to_owned();
        inputs.send(Input::WatchUp).await.map_err(gone)?;
        *was_up = true;
        let mut body = response.into_body();
        let mut events = Events::default();
        loop {
            let frame = timeout(SILENCE, body.frame())
                .await
                .map_err(|_| format!("the watch was silent for {} s", SILENCE.as_secs()))?;
            let Some(frame) = frame else {
                return Ok(());
            };
            let frame = frame.map_err(|error| format!("the watch broke: {error}"))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            for event in events.read(&bytes)? {
                if event.name == "providers" {
                    let push: Push = serde_json::from_str(&event.data)
                        .map_err(|error| format!("a push that cannot be read: {error}"))?;
                    inputs.send(Input::Push(push)).await.map_err(gone)?;
                }
            }
        }
    }
}

/// The queries that watch these services, as few as fit.
pub(super) fn queries(services: &BTreeSet<String>) -> Vec<String> {
    let mut queries: Vec<String> = Vec::new();
    for service in services {
        let part = format!("service={}", escaped(service));
        match queries.last_mut() {
            Some(last) if last.len() + part.len() < QUERY_BYTES_MAX => {
                last.push('&');
                last.push_str(&part);
            }
            _ => queries.push(part),
        }
    }
    queries
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Refused>(body) {
        Ok(refused) => format!("the config center says {status}: {}", refused.error),
        Err(_) => format!("the config center says {status}"),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Server-sent events, cut anywhere.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    event: Event,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

impl Events {
    /// The events that these bytes complete.
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, String> {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.event.data.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(format!("an event of more than {ANSWER_BYTES_MAX} bytes"));
            }
            self.line.extend_from_slice(piece);
            if !piece.ends_with(b"\n") {
                break;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if event != Event::default() {
                    whole.push(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // Comments, ids, retry: not used by the config center.
                _ => {}
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_cut_anywhere_are_the_same() {
        let text = "event: alive\n\n: note\r\nevent: providers\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: x\n";
        let expected = [("alive", ""), ("providers", "{\"a\":\n1}")];
        for cut in 0..=text.len() {
            let (front, back) = text.as_bytes().split_at(cut);
            let mut events = Events::default();
            let mut all = events.read(front).unwrap();
            all.extend(events.read(back).unwrap());
            let all: Vec<(&str, &str)> = all
                .iter()
                .map(|event| (event.name.as_str(), event.data.as_str()))
                .collect();
            assert_eq!(all, expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];
        let given_up = (0..9).find(|_| events.read(&piece).is_err());
        assert_eq!(given_up, Some(8));
    }

    #[test]
    fn many_services_are_watched_on_several_connections() {
        let services: BTreeSet<String> = (0..4096)
            .map(|n| format!("com.example.Service{n}:1.0"))
            .collect();
        let queries = queries(&services);
        assert_eq!(queries.len(), 4);
        assert!(queries.iter().all(|query| query.len() < QUERY_BYTES_MAX));
        let count: usize = queries.iter().map(|query| query.split('&').count()).sum();
        assert_eq!(count, 4096);
        assert!(queries[0].starts_with("service=com.example.Service0%3A1.0&"));
    }

    #[track_caller]
    fn check(base: &str, expect: Option<(&str, u16)>) {
        let client = Client::new(base, Duration::from_secs(1)).ok();
        let seen = client.as_ref().map(|one| (one.host.as_str(), one.port));
        assert_eq!(seen, expect, "{base}");
    }

    #[test]
    fn base_addresses() {
        check("http://10.1.2.3:9600", Some(("10.1.2.3", 9600)));
        check("http://center.alipay.net", Some(("center.alipay.net", 80)));
        check("http://[fd00::1]:1/", Some(("fd00::1", 1)));
        for bad in [
            "",
            "10.1.2.3:9600",
            "https://a:1",
            "http://a:1/v1",
            "http://",
        ] {
            check(bad, None);
        }
    }
}
