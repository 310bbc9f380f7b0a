//! Bytes of a connection become frames, and each frame goes to the one that handles it.

use meshproof_sys::clock::Nanos;
use meshproof_wire::Kind;

use super::event::{Doing, Event};
use super::frame::{self, Look, Seen};
use super::peer::Role;
use super::{Conn, Core, Side, reply};
use crate::Bug;
use crate::config::Speaks;

/// Capacity that the buffer of a frame's front may keep once it is empty, in bytes.
const FRONT_KEPT_BYTES_MAX: usize = 64 << 10;

/// Whether the connection is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alive {
    Yes,
    No,
}

impl Core {
    pub(super) fn take_in(&mut self, conn: Conn, bytes: &[u8], now: Nanos) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        if peer.closing {
            return;
        }
        peer.read_at = now;
        let mut need = peer.need;
        let mut front = std::mem::take(&mut peer.front);
        let mut rest = bytes;
        while !front.is_empty() {
            let missing = need.saturating_sub(front.len()).min(rest.len());
            let (part, after) = rest.split_at(missing);
            front.extend_from_slice(part);
            rest = after;
            if front.len() < need {
                break;
            }
            match self.one(conn, &front, now) {
                Ok(used) => {
                    // No more is put there than the frame needs.
                    front.drain(..used);
                    need = 1;
                }
                Err(Stop::Need(len)) => need = len.max(front.len() + 1),
                Err(Stop::Gone) => return,
            }
        }
        while front.is_empty() && !rest.is_empty() {
            match self.one(conn, rest, now) {
                Ok(used) => rest = rest.get(used..).unwrap_or(&[]),
                Err(Stop::Need(len)) => {
                    need = len.max(rest.len() + 1);
                    front.extend_from_slice(rest);
                }
                Err(Stop::Gone) => return,
            }
        }
        if front.is_empty() && front.capacity() > FRONT_KEPT_BYTES_MAX {
            front = Vec::new();
        }
        if let Some(peer) = self.peers.at_mut(conn) {
            peer.front = front;
            peer.need = need;
        }
    }

    /// Handles the frame at the front of `bytes` and tells how long it is.
    #[inline]
    fn one(&mut self, conn: Conn, bytes: &[u8], now: Nanos) -> Result<usize, Stop> {
        let Some(peer) = self.peers.at(conn).filter(|peer| !peer.closing) else {
            return Err(Stop::Gone);
        };
        let served: &[Speaks] = match &peer.role {
            Role::Client(client) => match client.side {
                Side::Inbound => &self.settings.inbound,
                Side::Outbound => &self.settings.outbound,
            },
            Role::Upstream(upstream) => match upstream.class.speaks() {
                Speaks::Bolt => &[Speaks::Bolt],
                Speaks::Tr => &[Speaks::Tr],
            },
        };
        let seen = match frame::look(bytes, served, self.settings.limits.frame_bytes) {
            Look::Frame(seen) => seen,
            Look::Need(len) => return Err(Stop::Need(len)),
            Look::Foreign(_) if self.bugs.has(Bug::ForeignFrameHeld) => {
                return Err(Stop::Need(usize::MAX));
            }
            Look::Foreign(why) => {
                self.foreign(conn, why, now);
                return Err(Stop::Gone);
            }
            Look::Damaged(why) => {
                self.damaged(conn, why, now);
                return Err(Stop::Gone);
            }
        };
        let len = seen.len;
        let Some(frame) = bytes.get(..len) else {
            return Err(Stop::Need(len));
        };
        if !seen.crc_holds(frame) {
            self.damaged(conn, "its CRC does not hold".to_owned(), now);
            return Err(Stop::Gone);
        }
        match self.handle(conn, frame, &seen, now) {
            Alive::Yes => Ok(len),
            Alive::No => Err(Stop::Gone),
        }
    }

    #[inline]
    fn handle(&mut self, conn: Conn, frame: &[u8], seen: &Seen, now: Nanos) -> Alive {
        let Some(peer) = self.peers.at_mut(conn) else {
            return Alive::No;
        };
        peer.stamp = Some(seen.stamp);
        match (seen.kind, &peer.role) {
            (Kind::Request | Kind::Oneway, Role::Client(client)) => {
                let side = client.side;
                self.request(conn, side, frame, seen, now);
            }
            (Kind::Request | Kind::Oneway, Role::Upstream(_)) => {
                self.server_request(conn, frame, seen, now);
            }
            (Kind::Response, _) => self.answer(conn, frame, seen, now),
            (Kind::Heartbeat, _) => {
                self.metrics.heartbeats_answered.add(1);
                let stamp = self.own_stamp(seen.stamp);
                if let Some(peer) = self.peers.at_mut(conn) {
                    reply::heartbeat_ack(stamp, seen.id, peer.out.tail());
                }
                self.fed(conn, conn, now);
            }
            (Kind::HeartbeatAck, _) => self.heartbeat_answered(conn, seen),
            (Kind::Goaway, Role::Upstream(_)) => {
                let peer = peer.address;
                self.events
                    .push(Doing::Servers, now, || Event::Goaway { peer });
                self.retire(conn);
            }
            // A client that is about to go; it closes when it wants.
            (Kind::Goaway, Role::Client(_)) => {}
            (Kind::Unknown, _) => {
                self.foreign(conn, "an unknown command".to_owned(), now);
                return Alive::No;
            }
        }
        Alive::Yes
    }

    #[cold]
    fn foreign(&mut self, conn: Conn, why: String, now: Nanos) {
        self.metrics.foreign.add(1);
        let (peer, side) = self.who(conn);
        self.events
            .push(doing(side), now, || Event::Foreign { peer, side, why });
        self.close(conn, now);
    }

    #[cold]
    fn damaged(&mut self, conn: Conn, why: String, now: Nanos) {
        self.metrics.damaged.add(1);
        let (peer, side) = self.who(conn);
        self.events
            .push(doing(side), now, || Event::Damaged { peer, side, why });
        self.close(conn, now);
    }
}

/// Only clients come to a listener.
fn doing(side: Option<Side>) -> Doing {
    match side {
        Some(_) => Doing::Clients,
        None => Doing::Servers,
    }
}

/// Why no frame was handled.
enum Stop {
    /// There must be this many bytes.
    Need(usize),
    /// The connection was closed.
    Gone,
}
