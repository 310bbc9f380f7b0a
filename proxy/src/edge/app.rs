//! The connection by which the app is asked whether it is well.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use meshproof_wire::{Kind, RequestId, bolt, tr};
use tokio::net::TcpStream;

use crate::config::Speaks;
use crate::health::Link;

/// Most bytes that are held of what the app sends on this connection; more is no answer to a
/// heartbeat, and the connection is closed.
const HELD_BYTES_MAX: usize = 64 << 10;

/// At most one connection, tried or made.
pub(super) struct AppLink {
    app: SocketAddr,
    speaks: Speaks,
    stage: Stage,
    held: Vec<u8>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum Stage {
    None,
    Connecting(Link, Connecting),
    Open(Link, TcpStream),
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Connected(Link, Result<(), ()>),
    Answered(Link, u32),
    Closed(Link),
}

impl AppLink {
    pub(super) fn new(app: SocketAddr) -> AppLink {
        AppLink {
            app,
            speaks: Speaks::Bolt,
            stage: Stage::None,
            held: Vec::new(),
        }
    }

    /// The protocol of the heartbeats of the next connection; `true` where it is another one.
    pub(super) fn speak(&mut self, speaks: Speaks) -> bool {
        std::mem::replace(&mut self.speaks, speaks) != speaks
    }

    /// The protocol of the heartbeats.
    pub(super) fn speaks(&self) -> Speaks {
        self.speaks
    }

    pub(super) fn connect(&mut self, link: Link) {
        self.held.clear();
        self.stage = Stage::Connecting(link, Box::pin(TcpStream::connect(self.app)));
    }

    /// Sends a heartbeat. One for which the kernel has no room is not sent, and will be missed.
    pub(super) fn send(&mut self, link: Link, id: u32) {
        let Stage::Open(open, stream) = &self.stage else {
            return;
        };
        if *open != link {
            return;
        }
        let frame = match self.speaks {
            Speaks::Bolt => bolt::heartbeat(bolt::Version::V1, id),
            Speaks::Tr => tr::heartbeat(RequestId(id.into())),
        };
        match stream.try_write(&frame) {
            Ok(written) if written == frame.len() => {}
            // A part of a frame makes the connection useless. What was seen is its end.
            _ => self.stage = Stage::None,
        }
    }

    pub(super) fn close(&mut self, link: Link) {
        match &self.stage {
            Stage::Connecting(open, _) | Stage::Open(open, _) if *open == link => {
                self.stage = Stage::None;
            }
            _ => {}
        }
    }

    /// Waits for the next thing to happen; without a connection, for ever. Nothing is lost when
    /// the wait is given up.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            match &mut self.stage {
                Stage::None => return std::future::pending().await,
                Stage::Connecting(link, connecting) => {
                    let link = *link;
                    let result = connecting.await;
                    let told = match result {
                        Ok(stream) => {
                            let _ = stream.set_nodelay(true);
                            self.stage = Stage::Open(link, stream);
                            Ok(())
                        }
                        Err(_) => {
                            self.stage = Stage::None;
                            Err(())
                        }
                    };
                    return Heard::Connected(link, told);
                }
                Stage::Open(link, stream) => {
                    let link = *link;
                    match take_answer(&mut self.held) {
                        Front::Answer(id) => return Heard::Answered(link, id),
                        Front::Foreign => {
                            self.stage = Stage::None;
                            return Heard::Closed(link);
                        }
                        Front::More => {}
                    }
                    let ended = match stream.readable().await {
                        Ok(()) => {
                            let mut chunk = [0; 4096];
                            match stream.try_read(&mut chunk) {
                                Ok(0) => true,
                                Ok(n) => {
                                    self.held.extend_from_slice(chunk.get(..n).unwrap_or(&[]));
                                    false
                                }
                                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                            }
                        }
                        Err(_) => true,
                    };
                    if ended {
                        self.stage = Stage::None;
                        return Heard::Closed(link);
                    }
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Front {
    Answer(u32),
    More,
    Foreign,
}

/// Takes whole frames off the front until one is an answer; its status does not matter, since who
/// answers is alive. Requests and heartbeats that the app sends here are passed over.
fn take_answer(held: &mut Vec<u8>) -> Front {
    loop {
        let (kind, id, len) = match held.first() {
            None => return Front::More,
            Some(13) => match tr::Parts::front(held) {
                tr::Front::Parts(parts) => (parts.kind, parts.id.0, parts.head.frame_len()),
                tr::Front::Need(_) if held.len() < HELD_BYTES_MAX => return Front::More,
                _ => return Front::Foreign,
            },
            Some(_) => match bolt::Head::parse(held) {
                bolt::Step::Head(head) => (head.kind(), u64::from(head.id), head.frame_len()),
                bolt::Step::Need(_) => return Front::More,
                bolt::Step::Malformed(_) => return Front::Foreign,
            },
        };
        let Some(len) = usize::try_from(len)
            .ok()
            .filter(|len| *len <= HELD_BYTES_MAX)
        else {
            return Front::Foreign;
        };
        if held.len() < len {
            return Front::More;
        }
        held.drain(..len);
        if matches!(kind, Kind::HeartbeatAck | Kind::Response)
            && let Ok(id) = u32::try_from(id)
        {
            return Front::Answer(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[&[u8]], expected: &[Front]) {
        // At once, and byte by byte.
        let whole: Vec<u8> = bytes.concat();
        for chunk in [whole.len().max(1), 1] {
            let mut held = Vec::new();
            let mut fronts = Vec::new();
            for part in whole.chunks(chunk) {
                held.extend_from_slice(part);
                loop {
                    match take_answer(&mut held) {
                        Front::More => break,
                        Front::Foreign => {
                            fronts.push(Front::Foreign);
                            break;
                        }
                        answer => fronts.push(answer),
                    }
                }
                if fronts.last() == Some(&Front::Foreign) {
                    break;
                }
            }
            assert_eq!(fronts, expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn answers_are_found_among_other_frames() {
        let ack = |id| bolt::heartbeat_ack(bolt::Version::V1, id);
        let asked = bolt::heartbeat(bolt::Version::V1, 9);
        let tr_ack = tr::heartbeat_ack(RequestId(70_000), "127.0.0.1:12199");
        check(&[], &[]);
        check(&[&ack(1)], &[Front::Answer(1)]);
        check(
            &[&asked, &ack(7), &asked, &ack(8)],
            &[Front::Answer(7), Front::Answer(8)],
        );
        check(
            &[&tr_ack, &tr_ack],
            &[Front::Answer(70_000), Front::Answer(70_000)],
        );
        check(&[&tr::heartbeat(RequestId(3))], &[]);
        check(&[b"HTTP/1.1 400"], &[Front::Foreign]);
        check(
            &[&ack(2), b"\x16\x03\x01"],
            &[Front::Answer(2), Front::Foreign],
        );
    }
}
