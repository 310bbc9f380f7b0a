//! One connection on which calls are made and answers are looked at.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use meshproof_sys::clock::Nanos;
use meshproof_wire::bolt::{Build, Command, Version, cmdcode};
use meshproof_wire::tr::{self, Connection, Direction};
use meshproof_wire::{Frame, Kind, Protocol, RequestId};

use super::cut::Cutter;

/// Class of every request.
pub(crate) const CLASS: &[u8] = b"com.example.Echo";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    Bolt(Version),
    Tr,
}

impl Tongue {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Tongue::Bolt(version) => version.protocol(),
            Tongue::Tr => Protocol::Tr,
        }
    }

    /// A heartbeat.
    #[cfg(test)]
    pub(crate) fn heartbeat(self, id: u32) -> Bytes {
        match self {
            Tongue::Tr => tr::heartbeat(RequestId(id.into())),
            Tongue::Bolt(version) => meshproof_wire::bolt::heartbeat(version, id),
        }
    }

    /// A request; what is asked for is short, and fits.
    pub(crate) fn request(self, id: u32, content: &str, timeout_ms: i32) -> Bytes {
        let made = match self {
            Tongue::Tr => tr::Build {
                connection: Connection::Request {
                    id: RequestId(id.into()),
                    direction: Direction::Twoway,
                },
                class: CLASS,
                content: content.as_bytes(),
            }
            .encode()
            .ok(),
            Tongue::Bolt(version) => Build {
                version,
                command: Command::Request { timeout_ms },
                cmdcode: cmdcode::REQUEST,
                id,
                codec: 1,
                class: CLASS,
                headers: b"",
                content: content.as_bytes(),
            }
            .encode()
            .ok(),
        };
        made.unwrap_or_default()
    }
}

/// The answer of an echo: the content of the request.
pub(crate) fn echo(request: &Frame) -> Option<Bytes> {
    let is_heartbeat = match request.head.kind {
        Kind::Request => false,
        Kind::Heartbeat => true,
        _ => return None,
    };
    if let Some(parts) = request.tr_parts() {
        if is_heartbeat {
            return Some(tr::heartbeat_ack(parts.id, "127.0.0.1:12199"));
        }
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
    let build = Build {
        command: Command::Response { status: 0 },
        cmdcode: match is_heartbeat {
            true => cmdcode::HEARTBEAT,
            false => cmdcode::RESPONSE,
        },
        ..Build::of(request)?
    };
    build.encode().ok()
}

/// What reading came to.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(Frame),
    /// The other end closed, in order or not.
    Closed,
    /// Bytes that are no frame.
    Damaged,
    /// Nothing in this time.
    Nothing,
}

/// A connection.
pub(crate) struct Talk {
    stream: TcpStream,
    cutter: Cutter,
    heard: std::collections::VecDeque<Frame>,
    closed: bool,
    damaged: bool,
}

impl Talk {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Talk> {
        stream.set_nodelay(true)?;
        Ok(Talk {
            stream,
            cutter: Cutter::default(),
            heard: Default::default(),
            closed: false,
            damaged: false,
        })
    }

    /// Sends; an error of sending shows when one listens.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // A connection that is closed already is found closed by who reads.
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame, within this time.
    pub(crate) fn hear(&mut self, limit: Duration) -> Heard {
        let end = Nanos::now() + limit;
        let mut space = [0; 4096];
        loop {
            if let Some(frame) = self.heard.pop_front() {
                return Heard::Frame(frame);
            }
            if self.damaged {
                return Heard::Damaged;
            }
            if self.closed {
                return Heard::Closed;
            }
            let left = Duration::from_nanos(end.since(Nanos::now()));
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return Heard::Nothing;
            }
            match self.stream.read(&mut space) {
                Ok(0) => self.closed = true,
                Ok(read) => {
                    let heard = &mut self.heard;
                    let bytes = space.get(..read).unwrap_or_default();
                    let cut = self.cutter.feed(bytes, &mut |frame| heard.push_back(frame));
                    self.damaged = cut.is_err();
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Heard::Nothing,
                    ErrorKind::Interrupted => {}
                    _ => self.closed = true,
                },
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Sends nothing more, and waits for the end; whether it came in time.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        let _ = self.stream.shutdown(Shutdown::Write);
        let end = Nanos::now() + limit;
        loop {
            let left = Duration::from_nanos(end.since(Nanos::now()));
            match self.hear(left) {
                Heard::Closed => return true,
                Heard::Nothing | Heard::Damaged => return false,
                Heard::Frame(_) => {}
            }
        }
    }
}
