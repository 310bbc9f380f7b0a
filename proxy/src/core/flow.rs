//! Back-pressure: who is not read because too much waits for another.

use meshproof_sys::clock::Nanos;

use super::pool::ms;
use super::{Action, Conn, Core};

impl Core {
    /// Something was appended for `conn`, because `source` was read.
    #[inline]
    pub(super) fn fed(&mut self, conn: Conn, source: Conn, now: Nanos) {
        let high = self.settings.limits.buffered_bytes;
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        if !peer.dirty {
            peer.dirty = true;
            self.dirty.push(conn);
        }
        if peer.backlog() > high {
            self.block(conn, source, now);
            if peer_is_client(self, conn) {
                // It asks for more than it reads.
                self.block(conn, conn, now);
            }
        }
    }

    #[cold]
    fn block(&mut self, conn: Conn, source: Conn, now: Nanos) {
        let stuck_at = now.plus_ns(ms(self.settings.timeouts.request.0));
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        if peer.flow.blocks.contains(&source) {
            return;
        }
        peer.flow.blocks.push(source);
        if peer.flow.full_since.is_none() {
            peer.flow.full_since = Some(now);
            self.wake_by(stuck_at);
        }
        if let Some(source) = self.peers.at_mut(source) {
            source.flow.blocked_by += 1;
        }
        self.repause(source);
    }

    /// Less waits for `conn` than before: those that it blocks may be read again.
    #[inline]
    pub(super) fn relieve(&mut self, conn: Conn) {
        let low = self.settings.limits.buffered_bytes / 2;
        if let Some(peer) = self.peers.at_mut(conn)
            && !peer.flow.blocks.is_empty()
            && peer.backlog() <= low
        {
            let blocks = std::mem::take(&mut peer.flow.blocks);
            peer.flow.full_since = None;
            self.unblock(&blocks);
        }
    }

    #[cold]
    pub(super) fn unblock(&mut self, sources: &[Conn]) {
        for source in sources {
            if let Some(peer) = self.peers.at_mut(*source) {
                peer.flow.blocked_by = peer.flow.blocked_by.saturating_sub(1);
                self.repause(*source);
            }
        }
    }

    /// Tells the edge whether to read a connection, where that has changed.
    pub(super) fn repause(&mut self, conn: Conn) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let pause = peer.flow.held || peer.flow.blocked_by > 0;
        if pause != peer.flow.paused {
            peer.flow.paused = pause;
            self.actions.push(match pause {
                true => Action::Pause(conn),
                false => Action::Resume(conn),
            });
        }
    }
}

fn peer_is_client(core: &Core, conn: Conn) -> bool {
    core.peers
        .at(conn)
        .is_some_and(|peer| peer.client().is_some())
}
