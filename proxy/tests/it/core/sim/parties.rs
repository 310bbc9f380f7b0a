//! Clients and servers: what they have asked, what they owe.

use std::collections::{BTreeMap, BTreeSet};

use meshproof_wire::Kind;

use super::wire::{self, Read, Speaks};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) link: usize,
    pub(super) speaks: Speaks,
    pub(super) next_id: u64,
    pub(super) next_payload: usize,
    /// Asked and not answered: payloads by id.
    pub(super) open: BTreeMap<u64, String>,
    pub(super) heartbeats: BTreeSet<u64>,
    /// Read and not handled.
    input: Vec<u8>,
    /// Requests of servers that it has not answered.
    pub(super) owes: Vec<Read>,
    /// Written in full by the application, not yet by the kernel.
    pub(super) output: Vec<u8>,
    pub(super) alive: bool,
    /// Does not read for now.
    pub(super) deaf: bool,
    pub(super) sent_away: bool,
    /// Has sent what is no frame.
    pub(super) foreign: bool,
}

/// What a client got.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) asked: usize,
}

impl Client {
    pub(super) fn new(link: usize, speaks: Speaks, first_id: u64) -> Client {
        Client {
            link,
            speaks,
            next_id: first_id,
            next_payload: 0,
            open: BTreeMap::new(),
            heartbeats: BTreeSet::new(),
            input: Vec::new(),
            owes: Vec::new(),
            output: Vec::new(),
            alive: true,
            deaf: false,
            sent_away: false,
            foreign: false,
        }
    }

    /// The next id, as real clients count: 32 bits that wrap; TR has longer ones.
    pub(super) fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = match self.speaks {
            Speaks::Bolt(_) => u64::from((id as u32).wrapping_add(1)),
            Speaks::Tr => id.wrapping_add(1),
        };
        id
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Got {
        self.input.extend_from_slice(bytes);
        let mut got = Got::default();
        while let Some(frame) = wire::cut(&mut self.input) {
            match frame.kind {
                Kind::Response => {
                    let Some(payload) = self.open.remove(&frame.id) else {
                        panic!("an answer to nothing: {frame:?}");
                    };
                    assert!(wire::alike(frame.speaks, self.speaks), "{frame:?}");
                    if frame.failed {
                        got.failed += 1;
                    } else {
                        let (came, expected) = (frame.payload.get(..20), payload.get(..20));
                        assert!(frame.payload == payload, "{came:?}, not {expected:?}");
                        got.answered += 1;
                    }
                }
                Kind::HeartbeatAck => {
                    assert!(self.heartbeats.remove(&frame.id), "{frame:?}");
                    assert!(wire::alike(frame.speaks, self.speaks), "{frame:?}");
                }
                Kind::Request => {
                    got.asked += 1;
                    self.owes.push(frame);
                }
                Kind::Oneway => got.asked += 1,
                Kind::Goaway => {
                    assert!(!self.sent_away, "told twice");
                    self.sent_away = true;
                }
                Kind::Heartbeat | Kind::Unknown => panic!("{frame:?} to a client"),
            }
        }
        got
    }
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) accepts: bool,
    pub(super) conns: BTreeMap<usize, ServerConn>,
}

/// One connection that a server accepted.
#[derive(Debug, Default)]
pub(super) struct ServerConn {
    input: Vec<u8>,
    /// Version of the first frame: the server answers in it.
    pub(super) speaks: Option<Speaks>,
    /// Asked and not answered.
    pub(super) owes: Vec<Read>,
    /// Requests of the server, by id.
    pub(super) open: BTreeMap<u64, String>,
    pub(super) next_id: u64,
    pub(super) output: Vec<u8>,
    pub(super) said_goaway: bool,
    /// Neither reads nor answers.
    pub(super) vanished: bool,
}

impl ServerConn {
    /// Gives the payloads of requests and one-ways that came.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        self.input.extend_from_slice(bytes);
        let mut came = Vec::new();
        while let Some(frame) = wire::cut(&mut self.input) {
            let speaks = *self.speaks.get_or_insert(frame.speaks);
            assert!(
                wire::alike(frame.speaks, speaks),
                "versions mixed: {frame:?}"
            );
            match frame.kind {
                Kind::Request => {
                    came.push(frame.payload.clone());
                    let id = frame.id;
                    let reused = self.owes.iter().any(|owed| owed.id == id);
                    assert!(!reused, "id {id} is in use");
                    self.owes.push(frame);
                }
                Kind::Oneway => came.push(frame.payload),
                Kind::Heartbeat => {
                    let ack = wire::heartbeat_ack(frame.speaks, frame.id);
                    self.output.extend_from_slice(&ack);
                }
                Kind::Response => {
                    let payload = self.open.remove(&frame.id);
                    let payload = payload.expect("an answer to what the server asked");
                    assert!(frame.failed || frame.payload == payload);
                }
                Kind::HeartbeatAck | Kind::Goaway | Kind::Unknown => {
                    // A sidecar behind us that drains says GoAway to its clients, not to servers.
                    panic!("{frame:?} to a server");
                }
            }
        }
        came
    }
}
