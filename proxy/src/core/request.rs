//! Requests: of clients to upstreams, and of servers back to clients.

use std::net::SocketAddr;

use meshproof_sys::clock::Nanos;
use meshproof_wire::Kind;

use super::answer::UNANSWERED_MAX;
use super::event::{Doing, Event};
use super::frame::Seen;
use super::peer::Waiting;
use super::pending::Waiter;
use super::reply::{self, Fault};
use super::wheel::{Flight, FlightId};
use super::{Conn, Core, Side};
use crate::Bug;
use crate::metrics::Outcome;
use crate::routing::Query;

/// Requests that wait for one connect, at most.
const WAITING_MAX: usize = 4096;

impl Core {
    /// A request or one-way of a client.
    #[inline]
    pub(super) fn request(
        &mut self,
        conn: Conn,
        side: Side,
        frame: &[u8],
        seen: &Seen,
        now: Nanos,
    ) {
        let oneway = seen.kind == Kind::Oneway;
        if oneway && self.bugs.has(Bug::OnewayAnswered) {
            self.reply(conn, now, |out| reply::succeeded(seen.stamp, seen.id, out));
        }
        if !oneway && self.over_limit(conn) {
            self.refuse(conn, side, seen, Fault::Overload, now);
            return;
        }
        let (to, bound_ms) = match self.route(side, frame, seen, now) {
            Ok(found) => found,
            Err(()) => {
                self.refuse(conn, side, seen, Fault::NoUpstream, now);
                return;
            }
        };
        let upstream = self.bind(conn, to, seen.stamp.class, now);
        let flight = (!oneway).then(|| {
            let flight = Flight {
                asker: conn,
                asker_id: seen.id,
                answerer: upstream,
                id: None,
                started: now,
                stamp: seen.stamp,
                side: Some(side),
            };
            let due = self.due(frame, seen, bound_ms, now);
            self.live += 1;
            if let Some(peer) = self.peers.at_mut(conn) {
                peer.asked += 1;
            }
            self.flights.insert(flight, due)
        });
        self.send(upstream, conn, side, frame, seen, flight, now);
    }

    /// Where a request goes, and what bounds its time-out.
    #[inline]
    fn route(
        &mut self,
        side: Side,
        frame: &[u8],
        seen: &Seen,
        now: Nanos,
    ) -> Result<(SocketAddr, Option<u32>), ()> {
        if side == Side::Inbound {
            return Ok((self.settings.app, None));
        }
        let asked = seen.asked(frame);
        let query = Query {
            service: &asked.service,
            class: asked.class,
            protocol: seen.stamp.class.protocol(),
        };
        match self.router.select(&query, now) {
            Ok(choice) => Ok((choice.to, choice.timeout_ms)),
            Err(why) => {
                self.events.push(Doing::Clients, now, || Event::NoRoute {
                    why: why.to_string(),
                });
                Err(())
            }
        }
    }

    #[inline]
    fn over_limit(&self, conn: Conn) -> bool {
        let limits = &self.settings.limits;
        self.flights.len() >= limits.in_flight
            || self
                .peers
                .at(conn)
                .is_some_and(|peer| peer.asked >= limits.in_flight_per_connection)
    }

    /// When the time of a request is up.
    #[inline]
    fn due(&self, frame: &[u8], seen: &Seen, bound_ms: Option<u32>, now: Nanos) -> Option<Nanos> {
        if self.bugs.has(Bug::TimeoutIgnored) {
            return None;
        }
        let named = seen.timeout_ms(frame).map(u64::from);
        let timeout_ms = named.unwrap_or(self.settings.timeouts.request.0);
        let timeout_ms = bound_ms.map_or(timeout_ms, |bound| timeout_ms.min(bound.into()));
        Some(now.plus_ns(timeout_ms.saturating_mul(1_000_000)))
    }

    /// Puts a frame into an upstream connection, or into the queue for its connect.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    #[inline]
    fn send(
        &mut self,
        upstream: Conn,
        conn: Conn,
        side: Side,
        frame: &[u8],
        seen: &Seen,
        flight: Option<FlightId>,
        now: Nanos,
    ) {
        let Some(peer) = self.peers.at_mut(upstream) else {
            return;
        };
        let connected = peer.upstream().is_some_and(|upstream| upstream.connected);
        if connected {
            self.put(upstream, conn, side, frame, seen, flight, now);
            return;
        }
        let waiting = Waiting {
            frame: frame.to_vec(),
            seen: seen.clone(),
            client: conn,
            side,
            flight,
            tried: Vec::new(),
        };
        self.queue(upstream, waiting, now);
    }

    /// Writes a frame into a connection that stands.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    #[inline]
    pub(super) fn put(
        &mut self,
        upstream: Conn,
        conn: Conn,
        side: Side,
        frame: &[u8],
        seen: &Seen,
        flight: Option<FlightId>,
        now: Nanos,
    ) {
        let collides = self.bugs.has(Bug::IdCollision);
        let drops_crc = self.bugs.has(Bug::CrcDropped);
        let Some(peer) = self.peers.at_mut(upstream) else {
            return;
        };
        let id = match flight {
            Some(flight) if collides => {
                peer.pending
                    .insert_as(seen.id as u32, Waiter::Flight(flight.index));
                seen.id as u32
            }
            Some(flight) => peer.pending.insert(Waiter::Flight(flight.index)),
            None => peer.pending.pass(),
        };
        if let Some(upstream) = peer.upstream_mut() {
            upstream.used_at = now;
        }
        let out = peer.out.tail();
        seen.append_as(frame, id.into(), out);
        if drops_crc {
            out.truncate(out.len() - seen.crc_len());
        }
        match flight.and_then(|flight| self.flights.at_mut(flight)) {
            Some(flight) => {
                flight.id = Some(id);
                flight.answerer = upstream;
                if self.bugs.has(Bug::UpgradeDoubles) {
                    self.copy(conn, seen.id, frame);
                }
            }
            None => self.metrics.requests[side as usize][Outcome::Oneway as usize].bump(1),
        }
        self.fed(upstream, conn, now);
    }

    /// Lets a frame wait for a connect.
    #[cold]
    pub(super) fn queue(&mut self, upstream: Conn, waiting: Waiting, now: Nanos) {
        let bytes_max = self.settings.limits.buffered_bytes.saturating_mul(2);
        let client = waiting.client;
        let Some(queue) = self.peers.at_mut(upstream).and_then(|p| p.upstream_mut()) else {
            return;
        };
        let len = waiting.frame.len();
        let full = queue.waiting.len() >= WAITING_MAX
            || queue.waiting_bytes > 0 && queue.waiting_bytes.saturating_add(len) > bytes_max;
        if full {
            self.give_up(waiting, Fault::Overload, now);
            return;
        }
        if let Some(flight) = waiting.flight.and_then(|id| self.flights.at_mut(id)) {
            flight.answerer = upstream;
        }
        queue.waiting_bytes += len;
        queue.waiting.push_back(waiting);
        self.fed(upstream, client, now);
    }

    /// A frame that waited can go nowhere.
    #[cold]
    pub(super) fn give_up(&mut self, waiting: Waiting, fault: Fault, now: Nanos) {
        match waiting.flight {
            Some(id) if self.flights.at(id).is_some() => self.fail(id.index, fault, now),
            Some(_) => {}
            None => self.count(waiting.side, fault),
        }
    }

    /// Answers a request at once; a one-way is only counted.
    #[cold]
    fn refuse(&mut self, conn: Conn, side: Side, seen: &Seen, fault: Fault, now: Nanos) {
        self.count(side, fault);
        if seen.kind != Kind::Oneway {
            let stamp = self.own_stamp(seen.stamp);
            self.reply(conn, now, |out| reply::failed(stamp, seen.id, fault, out));
        }
    }

    /// A request of a server: for the one client that uses its connection.
    #[cold]
    pub(super) fn server_request(&mut self, conn: Conn, frame: &[u8], seen: &Seen, now: Nanos) {
        let oneway = seen.kind == Kind::Oneway;
        let clients = self.peers.at(conn).and_then(|peer| peer.upstream());
        let client = match clients.map(|upstream| upstream.clients.as_slice()) {
            Some(&[client]) if oneway || !(self.over_limit(conn) || self.is_deaf(client)) => client,
            _ => {
                self.metrics.server_requests_refused.add(1);
                if !oneway {
                    let stamp = seen.stamp;
                    let fault = Fault::NobodyToAsk;
                    self.reply(conn, now, |out| reply::failed(stamp, seen.id, fault, out));
                }
                return;
            }
        };
        let flight = (!oneway).then(|| {
            let flight = Flight {
                asker: conn,
                asker_id: seen.id,
                answerer: client,
                id: None,
                started: now,
                stamp: seen.stamp,
                side: None,
            };
            let due = self.due(frame, seen, None, now);
            if let Some(peer) = self.peers.at_mut(conn) {
                peer.asked += 1;
            }
            self.flights.insert(flight, due)
        });
        if let Some(upstream) = self.peers.at_mut(conn).and_then(|p| p.upstream_mut()) {
            upstream.used_at = now;
        }
        let Some(peer) = self.peers.at_mut(client) else {
            return;
        };
        let id = match flight {
            Some(flight) => peer.pending.insert(Waiter::Flight(flight.index)),
            None => peer.pending.pass(),
        };
        seen.append_as(frame, id.into(), peer.out.tail());
        if let Some(flight) = flight.and_then(|flight| self.flights.at_mut(flight)) {
            flight.id = Some(id);
        }
        self.fed(client, conn, now);
    }

    /// Whether a client has left so many requests of servers unanswered that it gets no more.
    fn is_deaf(&self, client: Conn) -> bool {
        let peer = self.peers.at(client);
        peer.is_some_and(|peer| peer.pending.dead() > UNANSWERED_MAX)
    }

    #[cold]
    fn copy(&mut self, conn: Conn, id: u64, frame: &[u8]) {
        if let Some(client) = self.peers.at_mut(conn).and_then(|p| p.client_mut()) {
            client.copies.push((id, frame.to_vec()));
        }
    }
}
