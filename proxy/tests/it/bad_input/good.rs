//! Calls that are in order.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use meshproof_wire::bolt::{self, Command, Version, cmdcode};
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::tr::{self, Connection, Direction};
use meshproof_wire::{Crc, Frame, Kind, RequestId};

/// Of every request.
pub(crate) const CLASS: &str = "com.example.Echo";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speak {
    V1,
    V2,
    V2Crc,
    Tr,
}

impl Speak {
    pub(crate) const ALL: [Speak; 4] = [Speak::V1, Speak::V2, Speak::V2Crc, Speak::Tr];

    /// A request.
    pub(crate) fn call(self, id: u64, content: &[u8]) -> Bytes {
        let version = match self {
            Speak::V1 => Version::V1,
            Speak::V2 => Version::V2_PLAIN,
            Speak::V2Crc => Version::V2_CRC,
            Speak::Tr => {
                let build = tr::Build {
                    connection: Connection::Request {
                        id: RequestId(id),
                        direction: Direction::Twoway,
                    },
                    class: CLASS.as_bytes(),
                    content,
                };
                return build.encode().expect("it fits");
            }
        };
        let build = bolt::Build {
            version,
            command: Command::Request { timeout_ms: 60_000 },
            cmdcode: cmdcode::REQUEST,
            id: id as u32,
            codec: 1,
            class: CLASS.as_bytes(),
            headers: b"",
            content,
        };
        build.encode().expect("it fits")
    }
}

/// The answer to a request: its own content.
pub(crate) fn answer(request: &Frame) -> Option<Bytes> {
    match request.head.kind {
        Kind::Request | Kind::Heartbeat => {}
        _ => return None,
    }
    if let Some(parts) = request.tr_parts() {
        let build = tr::Build {
            connection: Connection::Response {
                id: parts.id,
                host: "127.0.0.1:12199",
                result: 0,
                error_message: None,
                error_stack: None,
            },
            class: request.class_bytes(),
            content: request.content(),
        };
        return build.encode().ok();
    }
    let build = bolt::Build::of(request)?;
    let is_heartbeat = request.head.kind == Kind::Heartbeat;
    let build = bolt::Build {
        command: Command::Response { status: 0 },
        cmdcode: if is_heartbeat {
            cmdcode::HEARTBEAT
        } else {
            cmdcode::RESPONSE
        },
        ..build
    };
    build.encode().ok()
}

/// Calls, one after the other, while `more` says so of how many there were; returns how many.
/// Every one is answered, by its own content under its own id, in its own version.
pub(crate) fn calls_while(to: SocketAddr, speak: Speak, more: impl Fn(u64) -> bool) -> u64 {
    let mut stream = TcpStream::connect(to).expect("the sidecar listens");
    stream
        .set_read_timeout(Some(super::PATIENCE))
        .expect("a time-out");
    let mut decoder = Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL);
    let mut buffer = vec![0; 4096];
    let mut calls = 0;
    while more(calls) {
        let id = 7 + calls * 1001;
        let content = format!("{speak:?} {calls}");
        let request = speak.call(id, content.as_bytes());
        stream.write_all(&request).expect("it reads");
        let mut answers = Vec::new();
        while answers.is_empty() {
            let n = stream.read(&mut buffer).expect("it answers");
            assert!(n > 0, "{speak:?} was closed after {calls} calls");
            decoder.feed((), &buffer[..n], &mut |it| answers.push(it.frame));
        }
        let [Some(answer)] = &answers[..] else {
            panic!("{speak:?}: one answer to one call, and not {answers:?}");
        };
        assert_eq!(answer.head.kind, Kind::Response, "{answer:?}");
        assert_eq!(answer.head.id.0, id, "{answer:?}");
        assert_eq!(answer.head.status, Some(0), "{answer:?}");
        assert_eq!(answer.content(), content.as_bytes());
        assert_eq!(answer.bytes.first(), request.first(), "its own version");
        assert_eq!(answer.crc() == Crc::Ok, speak == Speak::V2Crc);
        calls += 1;
    }
    calls
}
