//! Small recorded exchanges and scripted servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use meshproof_wire::bolt::{Build, Command, Version, cmdcode, encode_headers};
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::{Crc, Frame, RequestId, hessian};

use crate::exchange::{Exchange, ExchangeKind, From, Half, Hop, Outcome};
use crate::stream::{Flow, FlowId, Mark, OpenerBy};

pub(crate) const V1: Version = Version::V1;
pub(crate) const CRC: Version = Version::V2_CRC;

/// One recorded call, to be changed where a test needs it.
#[derive(Clone, Copy)]
pub(crate) struct Recorded {
    pub(crate) flow: u32,
    pub(crate) server: &'static str,
    pub(crate) version: Version,
    pub(crate) id: u32,
    pub(crate) at_ms: u64,
    pub(crate) method: &'static str,
    pub(crate) body_method: &'static str,
    pub(crate) argument: &'static str,
    pub(crate) answer: Option<&'static str>,
    pub(crate) timeout_ms: i32,
}

impl Default for Recorded {
    fn default() -> Recorded {
        Recorded {
            flow: 0,
            server: "10.9.8.7:12200",
            version: V1,
            id: 1,
            at_ms: 0,
            method: "getName",
            body_method: "getName",
            argument: "a",
            answer: Some("A"),
            timeout_ms: 3_000,
        }
    }
}

pub(crate) fn request(r: Recorded) -> Frame {
    let headers = encode_headers([
        ("sofa_head_target_service", "Sample:1.0"),
        ("sofa_head_method_name", r.method),
    ]);
    build(Build {
        version: r.version,
        command: if r.timeout_ms < 0 {
            Command::Oneway { timeout_ms: -1 }
        } else {
            Command::Request {
                timeout_ms: r.timeout_ms,
            }
        },
        cmdcode: cmdcode::REQUEST,
        id: r.id,
        codec: 1,
        class: REQUEST.as_bytes(),
        headers: &headers,
        content: &content(r.body_method, r.argument),
    })
}

const REQUEST: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";

/// A SofaRequest without properties, and one argument.
fn content(method: &str, argument: &str) -> Vec<u8> {
    let mut writer = hessian::Writer::new();
    writer.object(REQUEST, &["methodName", "methodArgSigs"]);
    writer.string(method).null();
    writer.string(argument);
    writer.finish()
}

/// An answer with this id and content, in the version of what it answers.
pub(crate) fn response(version: Version, id: u64, content: &str) -> Frame {
    build(Build {
        version,
        command: Command::Response { status: 0 },
        cmdcode: cmdcode::RESPONSE,
        id: id as u32,
        codec: 1,
        class: b"com.alipay.sofa.rpc.core.response.SofaResponse",
        headers: b"",
        content: content.as_bytes(),
    })
}

pub(crate) fn goaway() -> Frame {
    build(Build {
        version: V1,
        command: Command::Oneway { timeout_ms: -1 },
        cmdcode: 100,
        id: 0,
        codec: 1,
        class: b"",
        headers: b"",
        content: b"",
    })
}

fn build(build: Build<'_>) -> Frame {
    Frame::parse(build.encode().unwrap()).unwrap()
}

fn half(frame: Frame, at_ms: u64) -> Half {
    Half {
        mark: Mark {
            packet: at_ms + 1,
            at_ns: at_ms * 1_000_000,
        },
        offset: u64::from(frame.head.id.0 as u32),
        head: frame.head,
        missing: 0,
        frame: Some(frame),
        crc: Crc::Absent,
    }
}

pub(crate) fn exchange(r: Recorded) -> Exchange {
    let request = request(r);
    let oneway = r.timeout_ms < 0;
    Exchange {
        flow: Arc::new(Flow {
            id: FlowId(r.flow),
            source: 0,
            opener: SocketAddr::from(([10, 1, 2, 3], 40_000 + r.flow as u16)),
            acceptor: r.server.parse().unwrap(),
            opener_by: OpenerBy::Handshake,
            connection: 1,
            from_start: true,
        }),
        hop: Hop::Inbound,
        protocol: request.head.protocol,
        kind: if oneway {
            ExchangeKind::Oneway
        } else {
            ExchangeKind::Call
        },
        from: From::Client,
        id: RequestId(u64::from(r.id)),
        request: Some(half(request, r.at_ms)),
        response: r
            .answer
            .filter(|_| !oneway)
            .map(|text| half(response(r.version, u64::from(r.id), text), r.at_ms + 1)),
        outcome: match (oneway, r.answer) {
            (true, _) => Outcome::Oneway,
            (false, Some(_)) => Outcome::Answered,
            (false, None) => Outcome::Unanswered,
        },
        late: false,
    }
}

/// One connection of a scripted server.
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    /// Which connection this is, from 0.
    pub(crate) number: usize,
    decoder: Decoder<()>,
    frames: std::collections::VecDeque<Frame>,
}

impl Session {
    /// The next frame of the client; `None` when it has closed its side.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut buffer = [0; 4096];
        while self.frames.is_empty() {
            let n = self.stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
            let frames = &mut self.frames;
            self.decoder.feed((), &buffer[..n], &mut |decoded| {
                frames.extend(decoded.frame)
            });
        }
        self.frames.pop_front()
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<Frame> {
        (0..count).map(|_| self.next().unwrap()).collect()
    }

    pub(crate) fn say(&mut self, frame: &Frame) {
        // A client that is gone is what some tests are about.
        let _ = self.stream.write_all(&frame.bytes);
    }

    /// Answers a request with its own argument in capitals.
    pub(crate) fn echo(&mut self, request: &Frame) {
        // The argument stands last: its length and its letter.
        let text =
            String::from_utf8(request.content()[content("getName", "").len()..].to_vec()).unwrap();
        let version = request.parts().unwrap().head.version;
        self.say(&response(version, request.head.id.0, &text.to_uppercase()));
    }

    pub(crate) fn echo_all(&mut self) {
        while let Some(request) = self.next() {
            self.echo(&request);
        }
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        meshproof_sys::socket::reset_on_close(&self.stream).unwrap();
    }
}

/// A server that plays `script` for each of `connections` connections, one after the other, then
/// ends.
pub(crate) fn server(
    connections: usize,
    script: impl Fn(Session) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            script(Session {
                stream,
                number,
                decoder: Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL),
                frames: std::collections::VecDeque::new(),
            });
        }
    });
    (address, thread)
}
