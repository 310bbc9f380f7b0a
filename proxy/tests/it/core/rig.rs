//! The core with somebody who plays the edge: every write succeeds at once, time stands still
//! unless a test moves it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use meshproof_proxy::Bugs;
use meshproof_proxy::config::{Limits, Speaks, Timeouts, Upstream};
use meshproof_proxy::core::{Action, Command, Conn, Core, End, Event, Settings, Side};
use meshproof_proxy::metrics::{Metrics, Outcome};
use meshproof_proxy::routing::{self, Endpoint, Service, Table};
use meshproof_sys::clock::Nanos;
use meshproof_wire::bolt::{self, Build, Version, cmdcode, encode_headers};
use meshproof_wire::decoder::{Decoder, Detail, Limits as DecoderLimits, Start};
use meshproof_wire::{Frame, RequestId, tr};

/// Where the app serves.
pub(crate) const APP: &str = "127.0.0.1:12199";
/// The service of the calls.
pub(crate) const SERVICE: &str = "com.example.Orders:1.0";

pub(crate) struct Rig {
    pub(crate) core: Core,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) now: Nanos,
    /// Connects that wait for an answer.
    pub(crate) connects: Vec<(Conn, SocketAddr)>,
    /// What the core wrote and nobody has looked at.
    written: BTreeMap<Conn, Vec<u8>>,
    pub(crate) closed: Vec<Conn>,
    pub(crate) paused: Vec<Conn>,
    pub(crate) released: Vec<(Conn, Side, Vec<u8>)>,
    pub(crate) drained: usize,
    /// Writes succeed; otherwise what waits goes on waiting.
    pub(crate) writes: bool,
    generation: u64,
}

/// As the file without a word in it has it.
pub(crate) fn settings() -> Settings {
    Settings {
        app: APP.parse().unwrap(),
        inbound: vec![Speaks::Bolt, Speaks::Tr],
        outbound: vec![Speaks::Bolt, Speaks::Tr],
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        upstream: Upstream::default(),
        routing: routing::Settings::default(),
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Rig {
    pub(crate) fn new(settings: Settings, bugs: Bugs) -> Rig {
        let metrics = Arc::new(Metrics::default());
        Rig {
            core: Core::new(settings, Arc::clone(&metrics), bugs),
            metrics,
            now: Nanos(1_000_000_000),
            connects: Vec::new(),
            written: BTreeMap::new(),
            closed: Vec::new(),
            paused: Vec::new(),
            released: Vec::new(),
            drained: 0,
            writes: true,
            generation: 0,
        }
    }

    pub(crate) fn usual() -> Rig {
        Rig::new(settings(), Bugs::NONE)
    }

    #[track_caller]
    pub(crate) fn client(&mut self, side: Side) -> Conn {
        let conn = self.core.accepted(side, address("10.0.0.9:4000"), self.now);
        conn.expect("the client is let in")
    }

    /// A client of the app's side, and the upstream connection it uses, which stands.
    #[track_caller]
    pub(crate) fn pair(&mut self, version: Version) -> (Conn, Conn) {
        let client = self.client(Side::Inbound);
        self.send(client, &call(version, 1, b"first"));
        let upstream = self.connect();
        let asked = self.frames(upstream);
        self.send(upstream, &response(version, id(&asked[0]), b"first"));
        assert_eq!(self.frames(client).len(), 1);
        (client, upstream)
    }

    /// Ends the oldest connect well.
    #[track_caller]
    pub(crate) fn connect(&mut self) -> Conn {
        self.pump();
        let (conn, _) = self.connects.remove(0);
        self.core.connected(conn, Ok(()), self.now);
        self.pump();
        conn
    }

    /// Ends the oldest connect badly.
    #[track_caller]
    pub(crate) fn refuse(&mut self) -> SocketAddr {
        self.pump();
        let (conn, to) = self.connects.remove(0);
        let refused = Err(ErrorKind::ConnectionRefused);
        self.core.connected(conn, refused, self.now);
        self.pump();
        to
    }

    pub(crate) fn send(&mut self, conn: Conn, bytes: &[u8]) {
        self.core.received(conn, bytes, self.now);
        self.pump();
    }

    pub(crate) fn end(&mut self, conn: Conn) {
        self.core.ended(conn, End::Eof, self.now);
        self.pump();
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.core.command(command, self.now);
        self.pump();
    }

    /// Moves time on, waking the core whenever it asked for it.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.plus_ns(ms * 1_000_000);
        while let Some(at) = self.core.next_deadline()
            && at <= end
        {
            self.now = self.now.max(at);
            self.core.tick(self.now);
            self.pump();
            let next = self.core.next_deadline();
            let later = next.is_none_or(|next| next > self.now);
            assert!(later, "the clock stands still");
        }
        self.now = end;
    }

    pub(crate) fn pump(&mut self) {
        let (mut actions, mut dirty) = (Vec::new(), Vec::new());
        loop {
            self.core.actions(&mut actions);
            self.core.dirty(&mut dirty);
            if actions.is_empty() && dirty.is_empty() {
                return;
            }
            for action in actions.drain(..) {
                self.act(action);
            }
            for conn in dirty.drain(..) {
                if self.writes {
                    self.write(conn, usize::MAX);
                }
            }
        }
    }

    /// Writes at most `max` bytes.
    pub(crate) fn write(&mut self, conn: Conn, max: usize) {
        let output = self.core.output(conn);
        let output = &output[..output.len().min(max)];
        let len = output.len();
        assert!(len == 0 || !self.connects.iter().any(|(other, _)| *other == conn));
        self.written
            .entry(conn)
            .or_default()
            .extend_from_slice(output);
        self.core.wrote(conn, len, self.now);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, to } => self.connects.push((conn, to)),
            Action::Close(conn) | Action::CloseWhenWritten(conn) => {
                self.connects.retain(|(other, _)| *other != conn);
                self.closed.push(conn);
            }
            Action::Pause(conn) => {
                assert!(!self.paused.contains(&conn));
                self.paused.push(conn);
            }
            Action::Resume(conn) => {
                let before = self.paused.len();
                self.paused.retain(|other| *other != conn);
                assert_eq!(self.paused.len() + 1, before);
            }
            Action::Release { conn, side, unread } => self.released.push((conn, side, unread)),
            Action::Drained => self.drained += 1,
        }
    }

    /// The bytes written to a connection since the last look.
    pub(crate) fn bytes(&mut self, conn: Conn) -> Vec<u8> {
        self.pump();
        self.written.remove(&conn).unwrap_or_default()
    }

    /// The same as frames, which they must be without a rest.
    #[track_caller]
    pub(crate) fn frames(&mut self, conn: Conn) -> Vec<Frame> {
        frames(&self.bytes(conn))
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.core.events(&mut events);
        events
    }

    pub(crate) fn outcome(&self, side: Side, outcome: Outcome) -> u64 {
        self.metrics.requests[side as usize][outcome as usize].value()
    }

    /// Publishes the providers of [`SERVICE`].
    pub(crate) fn providers(&mut self, addresses: &[&str]) {
        self.providers_within(addresses, None);
    }

    /// The same, with a bound for the time-out of its calls.
    pub(crate) fn providers_within(&mut self, addresses: &[&str], timeout_ms: Option<u32>) {
        let endpoints = addresses.iter().map(|address| Endpoint {
            address: address.parse().unwrap(),
            bolt: true,
            tr: true,
            zone: String::new(),
            weight: 100,
        });
        let service = Service {
            endpoints: endpoints.collect(),
            timeout_ms,
            ..Service::default()
        };
        self.generation += 1;
        let table = Table {
            generation: self.generation,
            services: [(SERVICE.to_owned(), service)].into(),
            ..Table::default()
        };
        self.command(Command::Routes(Arc::new(table)));
    }
}

#[track_caller]
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::new(Start::Beginning, Detail::Frames, DecoderLimits::USUAL);
    let mut frames = Vec::new();
    decoder.feed((), bytes, &mut |decoded| frames.extend(decoded.frame));
    let len: usize = frames.iter().map(|frame: &Frame| frame.bytes.len()).sum();
    assert_eq!(
        len,
        bytes.len(),
        "what was written is frames and nothing else"
    );
    frames
}

pub(crate) fn id(frame: &Frame) -> u32 {
    u32::try_from(frame.head.id.0).unwrap()
}

fn frame(version: Version, command: bolt::Command, cmdcode: u16, id: u32, content: &[u8]) -> Bytes {
    let headers = match cmdcode {
        cmdcode::REQUEST => encode_headers([("service", SERVICE)]),
        _ => Vec::new(),
    };
    let build = Build {
        version,
        command,
        cmdcode,
        id,
        codec: 1,
        class: b"peer.Msg",
        headers: &headers,
        content,
    };
    build.encode().unwrap()
}

pub(crate) fn call(version: Version, id: u32, content: &[u8]) -> Bytes {
    call_within(version, id, 3000, content)
}

pub(crate) fn call_within(version: Version, id: u32, timeout_ms: i32, content: &[u8]) -> Bytes {
    let command = bolt::Command::Request { timeout_ms };
    frame(version, command, cmdcode::REQUEST, id, content)
}

pub(crate) fn oneway(version: Version, id: u32, content: &[u8]) -> Bytes {
    let command = bolt::Command::Oneway { timeout_ms: -1 };
    frame(version, command, cmdcode::REQUEST, id, content)
}

pub(crate) fn response(version: Version, id: u32, content: &[u8]) -> Bytes {
    let command = bolt::Command::Response { status: 0 };
    frame(version, command, cmdcode::RESPONSE, id, content)
}

pub(crate) fn goaway(version: Version) -> Bytes {
    let command = bolt::Command::Request { timeout_ms: 0 };
    frame(version, command, cmdcode::GOAWAY, 0, b"")
}

/// A call in TR. Without a time-out its content is no request of SOFARPC.
pub(crate) fn call_tr(id: u64, timeout_ms: u32) -> Vec<u8> {
    let content = match timeout_ms {
        0 => b"content".to_vec(),
        timeout_ms => super::sim::sofa_request(timeout_ms, "hello"),
    };
    let connection = tr::Connection::Request {
        id: RequestId(id),
        direction: tr::Direction::Twoway,
    };
    let build = tr::Build {
        connection,
        class: b"com.alipay.sofa.rpc.core.request.SofaRequest",
        content: &content,
    };
    build.encode().unwrap().to_vec()
}

pub(crate) fn response_tr(id: u64) -> Vec<u8> {
    let connection = tr::Connection::Response {
        id: RequestId(id),
        host: "10.15.232.248:12299",
        result: 0,
        error_message: None,
        error_stack: None,
    };
    let build = tr::Build {
        connection,
        class: b"com.alipay.sofa.rpc.core.response.SofaResponse",
        content: b"answer",
    };
    build.encode().unwrap().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
