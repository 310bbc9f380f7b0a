//! Upstream connections: who uses which, when one is opened, what becomes of frames that wait.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::SocketAddr;

use hashbrown::HashTable;
use meshproof_sys::clock::Nanos;

use super::event::{Doing, Event};
use super::frame::Class;
use super::peer::{Binding, Peer, Role, Upstream, Waiting};
use super::reply::Fault;
use super::{Action, Conn, Core, Side};
use crate::config::Sharing;
use crate::routing::Query;

/// Connections to each address in each version; only those that take new requests.
#[derive(Debug, Default)]
pub(super) struct Pools {
    table: HashTable<Pool>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Pool {
    to: SocketAddr,
    class: Class,
    conns: Vec<Conn>,
}

/// Addresses that a frame is brought to when they cannot be reached, one after the other.
const TRIES_MAX: usize = 3;

impl Pools {
    fn conns(&self, to: SocketAddr, class: Class) -> &[Conn] {
        let hash = self.hasher.hash_one((to, class));
        let pool = self
            .table
            .find(hash, |pool| (pool.to, pool.class) == (to, class));
        pool.map_or(&[], |pool| &pool.conns)
    }

    fn insert(&mut self, to: SocketAddr, class: Class, conn: Conn) {
        let hasher = &self.hasher;
        let entry = self.table.entry(
            hasher.hash_one((to, class)),
            |pool| (pool.to, pool.class) == (to, class),
            |pool| hasher.hash_one((pool.to, pool.class)),
        );
        let mut pool = entry.or_insert_with(|| Pool {
            to,
            class,
            conns: Vec::new(),
        });
        pool.get_mut().conns.push(conn);
    }

    fn remove(&mut self, to: SocketAddr, class: Class, conn: Conn) {
        let hash = self.hasher.hash_one((to, class));
        if let Ok(mut pool) = self
            .table
            .find_entry(hash, |pool| (pool.to, pool.class) == (to, class))
        {
            pool.get_mut().conns.retain(|other| *other != conn);
            if pool.get().conns.is_empty() {
                pool.remove();
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl Core {
    /// The upstream connection that a client uses for a target; it keeps to it.
    #[inline]
    pub(super) fn bind(&mut self, conn: Conn, to: SocketAddr, class: Class, now: Nanos) -> Conn {
        let bindings = self.peers.at(conn).and_then(|peer| peer.client());
        let bound = bindings.and_then(|client| {
            let mut bindings = client.bindings.iter();
            bindings.find(|binding| binding.class == class && binding.to == to)
        });
        match bound {
            Some(binding) => binding.upstream,
            None => self.bind_anew(conn, to, class, now),
        }
    }

    #[cold]
    fn bind_anew(&mut self, conn: Conn, to: SocketAddr, class: Class, now: Nanos) -> Conn {
        let upstream = self.least_used(to, class);
        let upstream = upstream.unwrap_or_else(|| self.open(to, class, now));
        if let Some(client) = self.peers.at_mut(conn).and_then(|p| p.client_mut()) {
            client.bindings.push(Binding {
                to,
                class,
                upstream,
            });
            if let Some(upstream) = self.peers.at_mut(upstream).and_then(|p| p.upstream_mut()) {
                upstream.clients.push(conn);
            }
        }
        upstream
    }

    /// A connection that a further client may use; `None` where another one is to be opened.
    fn least_used(&self, to: SocketAddr, class: Class) -> Option<Conn> {
        if self.settings.upstream.sharing == Sharing::PerClient {
            return None;
        }
        let conns = self.pools.conns(to, class);
        let users = |conn: &Conn| {
            let upstream = self.peers.at(*conn).and_then(|peer| peer.upstream());
            upstream.map_or(usize::MAX, |upstream| upstream.clients.len())
        };
        let least = conns.iter().min_by_key(|conn| users(conn))?;
        let full = conns.len() >= self.settings.upstream.connections.max(1);
        (full || users(least) == 0).then_some(*least)
    }

    fn open(&mut self, to: SocketAddr, class: Class, now: Nanos) -> Conn {
        let role = Role::Upstream(Upstream {
            class,
            connected: false,
            since: now,
            waiting: Default::default(),
            waiting_bytes: 0,
            clients: Vec::new(),
            heartbeat: None,
            retired: false,
            used_at: now,
        });
        let conn = self.peers.insert(Peer::new(role, to, now));
        self.pools.insert(to, class, conn);
        self.actions.push(Action::Connect { conn, to });
        self.wake_by(now.plus_ns(ms(self.settings.timeouts.connect.0)));
        conn
    }

    /// Takes a connection out of its pool and away from its clients: nothing new is sent on it.
    pub(super) fn unbind_upstream(&mut self, conn: Conn) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let to = peer.address;
        let Some(upstream) = peer.upstream_mut() else {
            return;
        };
        let class = upstream.class;
        for client in std::mem::take(&mut upstream.clients) {
            if let Some(client) = self.peers.at_mut(client).and_then(|p| p.client_mut()) {
                client.bindings.retain(|binding| binding.upstream != conn);
            }
        }
        self.pools.remove(to, class, conn);
    }

    /// A connect ended well: what waited goes out.
    pub(super) fn connect_done(&mut self, conn: Conn, now: Nanos) {
        let idle = now.plus_ns(ms(self.settings.timeouts.upstream_idle.0));
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        peer.read_at = now;
        let to = peer.address;
        let Some(upstream) = peer.upstream_mut() else {
            return;
        };
        if upstream.connected {
            return;
        }
        upstream.connected = true;
        upstream.used_at = now;
        upstream.waiting_bytes = 0;
        let waiting = std::mem::take(&mut upstream.waiting);
        self.upstreams += 1;
        self.metrics.upstreams.set(self.upstreams);
        self.metrics.upstreams_opened.add(1);
        self.router.reached(to);
        self.wake_by(idle);
        for one in waiting {
            if self.wanted(&one) {
                self.put(
                    conn, one.client, one.side, &one.frame, &one.seen, one.flight, now,
                );
            }
        }
        self.relieve(conn);
        self.unsettle(conn);
    }

    /// A connect failed: what waited goes elsewhere, or is answered.
    #[cold]
    pub(super) fn connect_failed(&mut self, conn: Conn, why: ErrorKind, now: Nanos) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let to = peer.address;
        let Some(upstream) = peer.upstream_mut() else {
            return;
        };
        let waiting = std::mem::take(&mut upstream.waiting);
        upstream.waiting_bytes = 0;
        self.metrics.connect_failures.add(1);
        let count = waiting.len();
        self.events
            .push(Doing::Servers, now, || Event::Unreachable {
                to,
                why,
                waiting: count,
            });
        self.router.unreachable(to, now);
        self.forget(conn, now);
        for mut one in waiting {
            if self.wanted(&one) {
                one.tried.push(to);
                self.elsewhere(one, now);
            }
        }
    }

    /// Gives a connect up that is under way, for a new one: what waits has not been written.
    #[cold]
    pub(super) fn connect_again(&mut self, conn: Conn, now: Nanos) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let to = peer.address;
        let Some(upstream) = peer.upstream_mut() else {
            return;
        };
        let class = upstream.class;
        let waiting = std::mem::take(&mut upstream.waiting);
        upstream.waiting_bytes = 0;
        self.close(conn, now);
        for one in waiting {
            if self.wanted(&one) {
                let upstream = self.bind(one.client, to, class, now);
                self.queue(upstream, one, now);
            }
        }
    }

    /// Whether a frame that waited is still to be sent: its time is not up, its client not gone.
    fn wanted(&self, waiting: &Waiting) -> bool {
        match waiting.flight {
            Some(id) => self.flights.at(id).is_some() && self.peers.at(waiting.client).is_some(),
            None => true,
        }
    }

    /// Brings a frame that was never written to another provider.
    fn elsewhere(&mut self, waiting: Waiting, now: Nanos) {
        if waiting.side == Side::Outbound && waiting.tried.len() < TRIES_MAX {
            let asked = waiting.seen.asked(&waiting.frame);
            let query = Query {
                service: &asked.service,
                class: asked.class,
                protocol: waiting.seen.stamp.class.protocol(),
            };
            let choice = self.router.select(&query, now);
            if let Ok(choice) = choice
                && !waiting.tried.contains(&choice.to)
            {
                let class = waiting.seen.stamp.class;
                let upstream = self.bind(waiting.client, choice.to, class, now);
                let connected = self.peers.at(upstream).and_then(|peer| peer.upstream());
                if connected.is_some_and(|upstream| upstream.connected) {
                    let Waiting {
                        frame,
                        seen,
                        client,
                        side,
                        flight,
                        ..
                    } = waiting;
                    self.put(upstream, client, side, &frame, &seen, flight, now);
                } else {
                    self.queue(upstream, waiting, now);
                }
                return;
            }
        }
        self.give_up(waiting, Fault::NoUpstream, now);
    }
}

/// Milliseconds as nanoseconds.
pub(super) fn ms(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}
