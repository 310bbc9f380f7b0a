//! How connections end, and what follows for those that are joined to them.

use meshproof_sys::clock::Nanos;

use super::event::{Doing, Event};
use super::peer::{Peer, Role};
use super::reply::Fault;
use super::{Action, Conn, Core, Mode};
use crate::Bug;
use crate::config::Sharing;
use crate::metrics::Outcome;

impl Core {
    /// Closes a connection at once.
    pub(super) fn close(&mut self, conn: Conn, now: Nanos) {
        if self.peers.at(conn).is_some() {
            self.actions.push(Action::Close(conn));
            self.forget(conn, now);
        }
    }

    /// Closes a connection once its output is written.
    pub(super) fn finish(&mut self, conn: Conn, now: Nanos) {
        self.unbind_upstream(conn);
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        if peer.closing {
            return;
        }
        if peer.out.is_empty() {
            self.close(conn, now);
            return;
        }
        peer.closing = true;
        peer.flow.full_since.get_or_insert(now);
        self.actions.push(Action::CloseWhenWritten(conn));
        let stuck_at = now.plus_ns(super::pool::ms(self.settings.timeouts.request.0));
        self.wake_by(stuck_at);
    }

    /// Lets go of a connection that is closed, or about to be. Whoever waits for an answer of it
    /// gets one of ours.
    pub(super) fn forget(&mut self, conn: Conn, now: Nanos) {
        self.unbind_upstream(conn);
        let Some(mut peer) = self.peers.remove(conn) else {
            return;
        };
        self.unblock(&peer.flow.blocks);
        let owed = peer.pending.drain();
        let address = peer.address;
        if matches!(peer.role, Role::Upstream(_)) && !owed.is_empty() {
            let in_flight = owed.len();
            let peer = address;
            self.events
                .push(Doing::Servers, now, || Event::Lost { peer, in_flight });
        }
        for index in owed {
            self.fail(index, Fault::ConnectionClosed, now);
        }
        match &mut peer.role {
            Role::Client(_) => self.forget_client(conn, &peer, now),
            Role::Upstream(upstream) => {
                if upstream.connected {
                    self.upstreams -= 1;
                    self.metrics.upstreams.set(self.upstreams);
                }
                for one in std::mem::take(&mut upstream.waiting) {
                    self.give_up(one, Fault::NoUpstream, now);
                }
            }
        }
    }

    /// What a client asked is cancelled: it counts as such now, and is let go of when its answer
    /// comes or its time is up.
    fn forget_client(&mut self, conn: Conn, peer: &Peer, now: Nanos) {
        let Some(client) = peer.client() else {
            return;
        };
        let side = client.side as usize;
        self.clients[side] -= 1;
        self.metrics.clients[side].set(self.clients[side] as u64);
        self.live -= peer.asked;
        self.metrics.requests[side][Outcome::Cancelled as usize].add(peer.asked as u64);
        for binding in &client.bindings {
            let upstream = binding.upstream;
            if let Some(bound) = self.peers.at_mut(upstream).and_then(|p| p.upstream_mut()) {
                bound.clients.retain(|other| *other != conn);
                bound.used_at = now;
                let unused = now.plus_ns(super::pool::ms(self.settings.timeouts.upstream_unused.0));
                if self.settings.upstream.sharing == Sharing::PerClient {
                    self.retire(upstream);
                } else {
                    self.wake_by(unused);
                }
            }
        }
    }

    /// Sends nothing new on an upstream connection, and closes it once nothing is in flight.
    pub(super) fn retire(&mut self, conn: Conn) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let Some(upstream) = peer.upstream_mut() else {
            return;
        };
        upstream.retired = true;
        peer.watched = true;
        self.unbind_upstream(conn);
        self.unsettle(conn);
    }

    /// Looks at a connection again before the edge takes the next actions.
    pub(super) fn unsettle(&mut self, conn: Conn) {
        if let Some(peer) = self.peers.at_mut(conn)
            && !peer.unsettled
        {
            peer.unsettled = true;
            self.unsettled.push(conn);
        }
    }

    /// Closes or releases what is idle and was waited for. Done only when the edge takes
    /// actions, so that nothing is read for a connection after it was released.
    pub(super) fn settle(&mut self) {
        let now = self.now;
        while let Some(conn) = self.unsettled.pop() {
            let Some(peer) = self.peers.at_mut(conn) else {
                continue;
            };
            peer.unsettled = false;
            if peer.closing || !peer.watched {
                continue;
            }
            match &peer.role {
                // Until it is held, it is closed only after it was quiet for a while.
                Role::Client(client) if client.leaving.is_some() && !peer.flow.held => {}
                Role::Client(client) if client.leaving.is_some() && peer.idle() => {
                    self.finish(conn, now);
                }
                Role::Client(client) if client.leaving.is_some() => {}
                Role::Client(_) if matches!(self.mode, Mode::HandingOver(_)) => {
                    self.release_if_idle(conn, now);
                }
                Role::Upstream(upstream)
                    if upstream.retired && upstream.waiting.is_empty() && peer.idle() =>
                {
                    self.finish(conn, now);
                }
                _ => {}
            }
        }
        self.tell_drained();
    }

    fn release_if_idle(&mut self, conn: Conn, now: Nanos) {
        let anyway = self.bugs.has(Bug::UpgradeDrops) || self.bugs.has(Bug::UpgradeDoubles);
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let written = peer.idle() && peer.out.is_empty();
        if !written && !anyway {
            return;
        }
        let front = std::mem::take(&mut peer.front);
        let Some(client) = peer.client_mut() else {
            return;
        };
        let side = client.side;
        let mut unread = Vec::new();
        for (_, frame) in client.copies.drain(..) {
            unread.extend_from_slice(&frame);
        }
        unread.extend_from_slice(&front);
        self.actions.push(Action::Release { conn, side, unread });
        self.forget(conn, now);
    }

    /// Nothing is left to be done, after a drain or a hand-over.
    fn tell_drained(&mut self) {
        if self.mode == Mode::Serving || self.drained || self.clients != [0, 0] || self.live > 0 {
            return;
        }
        let unwritten = |peer: &Peer| {
            let waits = peer
                .upstream()
                .is_some_and(|upstream| !upstream.waiting.is_empty());
            waits || !peer.out.is_empty()
        };
        if !self.peers.iter().any(|(_, peer)| unwritten(peer)) {
            self.drained = true;
            self.actions.push(Action::Drained);
        }
    }
}
