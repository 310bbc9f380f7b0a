//! Answers: of servers to clients, of clients to servers, and our own.

use meshproof_sys::clock::Nanos;

use super::frame::{Class, Seen, Stamp};
use super::pending::Waiter;
use super::reply::{self, Fault};
use super::wheel::Flight;
use super::{Conn, Core, Side};
use crate::Bug;
use crate::metrics::Outcome;

/// Ids of one connection that were not answered in time, at most. With more the connection gets
/// no further requests, so that what is kept of them is bounded.
pub(super) const UNANSWERED_MAX: usize = 1024;

impl Core {
    /// An answer came.
    #[inline]
    pub(super) fn answer(&mut self, conn: Conn, frame: &[u8], seen: &Seen, now: Nanos) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        // Ids of our own have 32 bits.
        let waiter = u32::try_from(seen.id)
            .ok()
            .and_then(|id| peer.pending.take(id));
        if peer.watched && peer.idle() {
            self.unsettle(conn);
        }
        let index = match waiter {
            Some(Waiter::Flight(index)) => index,
            // Which class answers a heartbeat in TR is inferred only.
            Some(Waiter::Heartbeat) => {
                self.heartbeat_over(conn);
                return;
            }
            Some(Waiter::Nobody) | None => {
                self.metrics.late_answers.add(1);
                return;
            }
        };
        let Some(flight) = self.flights.remove(index) else {
            return;
        };
        if !self.land(&flight) {
            return;
        }
        let drops_crc = self.bugs.has(Bug::CrcDropped);
        if let Some(asker) = self.peers.at_mut(flight.asker) {
            let out = asker.out.tail();
            seen.append_as(frame, flight.asker_id, out);
            if drops_crc {
                out.truncate(out.len() - seen.crc_len());
            }
        }
        if let Some(side) = flight.side {
            let side = side as usize;
            let ns = now.since(flight.started);
            self.metrics.requests[side][Outcome::Answered as usize].bump(1);
            let us = ns / 1000;
            let bucket = (u64::BITS - us.leading_zeros()) as usize;
            self.metrics.latency[side][bucket.min(31)].bump(1);
            self.metrics.latency_ns[side].bump(ns);
        }
        self.fed(flight.asker, conn, now);
    }

    /// A heartbeat of ours was answered.
    pub(super) fn heartbeat_answered(&mut self, conn: Conn, seen: &Seen) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let waiter = u32::try_from(seen.id)
            .ok()
            .and_then(|id| peer.pending.take(id));
        if peer.watched && peer.idle() {
            self.unsettle(conn);
        }
        if waiter == Some(Waiter::Heartbeat) {
            self.heartbeat_over(conn);
        }
    }

    fn heartbeat_over(&mut self, conn: Conn) {
        if let Some(upstream) = self.peers.at_mut(conn).and_then(|p| p.upstream_mut()) {
            upstream.heartbeat = None;
        }
    }

    /// A flight is over. Says whether the one who asked is still there.
    #[inline]
    pub(super) fn land(&mut self, flight: &Flight) -> bool {
        let Some(asker) = self.peers.at_mut(flight.asker) else {
            return false;
        };
        asker.asked -= 1;
        let settles = asker.watched && asker.idle();
        if flight.side.is_some() {
            self.live -= 1;
        }
        if self.bugs.has(Bug::UpgradeDoubles)
            && let Some(client) = asker.client_mut()
        {
            client.copies.retain(|(id, _)| *id != flight.asker_id);
        }
        if settles {
            self.unsettle(flight.asker);
        }
        true
    }

    /// Ends a flight with an answer of our own.
    #[cold]
    pub(super) fn fail(&mut self, index: u32, fault: Fault, now: Nanos) {
        if let Some(flight) = self.flights.remove(index) {
            self.failed(&flight, fault, now);
        }
    }

    /// Answers one that was taken out of the table. The id under which it was sent stays in use:
    /// the answer may still come.
    #[cold]
    pub(super) fn failed(&mut self, flight: &Flight, fault: Fault, now: Nanos) {
        if let Some(id) = flight.id
            && let Some(peer) = self.peers.at_mut(flight.answerer)
        {
            peer.pending.abandon(id);
            if peer.upstream().is_some() && peer.pending.dead() > UNANSWERED_MAX {
                self.retire(flight.answerer);
            } else if peer.watched && peer.idle() {
                self.unsettle(flight.answerer);
            }
        }
        if !self.land(flight) {
            return;
        }
        if let Some(side) = flight.side {
            self.count(side, fault);
        }
        let stamp = self.own_stamp(flight.stamp);
        let id = flight.asker_id;
        self.reply(flight.asker, now, |out| {
            reply::failed(stamp, id, fault, out)
        });
    }

    /// Appends an answer of our own.
    pub(super) fn reply(&mut self, conn: Conn, now: Nanos, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(peer) = self.peers.at_mut(conn) {
            write(peer.out.tail());
            self.fed(conn, conn, now);
        }
    }

    pub(super) fn count(&self, side: Side, fault: Fault) {
        self.metrics.requests[side as usize][fault.outcome() as usize].bump(1);
    }

    /// In which version an own answer goes out: that of the frame that it answers.
    #[inline]
    pub(super) fn own_stamp(&self, stamp: Stamp) -> Stamp {
        if self.bugs.has(Bug::ReplyVersion) && matches!(stamp.class, Class::V2 | Class::V2Crc) {
            return Stamp::of(Class::V1);
        }
        stamp
    }
}
