//! What time brings, besides the deadlines of requests: connects that take too long, upstream
//! connections that are silent or unused, peers that read nothing, clients that are to go.

use std::io::ErrorKind;

use meshproof_sys::clock::Nanos;

use super::event::{Doing, Event};
use super::lifecycle::HAND_OVER_GRACE_MS;
use super::peer::{Client, Peer, Role, Upstream};
use super::pending::Waiter;
use super::pool::ms;
use super::reply::{self, Fault};
use super::{Conn, Core, Mode};
use crate::Bug;
use crate::config::Sharing;

/// A client that got GoAway is closed when nothing has come from it for this long, in
/// milliseconds: what it sent before it read the notice is still served.
const QUIET_MS: u64 = 200;

/// What a drain cannot wait for is answered this long before its end, in milliseconds: the answers
/// are still to be written.
const LAST_ANSWERS_MS: u64 = 200;

/// What is to be done with a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chore {
    ConnectTimedOut,
    /// Reads nothing while others wait for it.
    Stuck,
    /// Ask by heartbeat.
    Ask,
    /// Our heartbeat was not answered, though other things came.
    StopAsking,
    HalfOpen,
    Unused,
    /// Read it no more.
    Hold,
    /// Answer what it asked, so that it is idle.
    Cut,
    Finish,
    Close,
}

/// What is to be done with a connection, and when it is to be looked at next.
type Look = (Option<Chore>, Nanos);

const NEVER: Nanos = Nanos(u64::MAX);

impl Core {
    /// Looks at every connection.
    pub(super) fn do_chores(&mut self, now: Nanos) {
        let mut due = Vec::new();
        let mut next = NEVER;
        for (conn, peer) in self.peers.iter() {
            let (chore, at) = self.look(peer, now);
            due.extend(chore.map(|chore| (conn, chore)));
            next = next.min(at);
        }
        self.chores_at = next;
        for (conn, chore) in due {
            self.do_chore(conn, chore, now);
        }
    }

    fn look(&self, peer: &Peer, now: Nanos) -> Look {
        let mut stuck_at = NEVER;
        if let Some(since) = peer.flow.full_since {
            stuck_at = since.plus_ns(ms(self.settings.timeouts.request.0));
        }
        let (chore, at) = match &peer.role {
            // While it connects, the time of the connect bounds it.
            Role::Upstream(upstream) if !upstream.connected => {
                let at = upstream.since.plus_ns(ms(self.settings.timeouts.connect.0));
                return when(at, now, Chore::ConnectTimedOut);
            }
            _ if stuck_at <= now => return (Some(Chore::Stuck), NEVER),
            _ if peer.closing => (None, NEVER),
            Role::Upstream(upstream) => self.look_upstream(peer, upstream, now),
            Role::Client(client) => self.look_client(peer, client, now),
        };
        (chore, at.min(stuck_at))
    }

    fn look_upstream(&self, peer: &Peer, upstream: &Upstream, now: Nanos) -> Look {
        let timeouts = &self.settings.timeouts;
        // One that belongs to a client is kept for it: its server may ask.
        let kept = self.settings.upstream.sharing == Sharing::PerClient;
        let unused = peer.idle() && (!kept || upstream.clients.is_empty());
        let mut unused_at = NEVER;
        if unused {
            unused_at = upstream.used_at.plus_ns(ms(timeouts.upstream_unused.0));
            if unused_at <= now {
                return (Some(Chore::Unused), now.plus_ns(1));
            }
        }
        if self.bugs.has(Bug::HalfOpenLeak) {
            return (None, unused_at);
        }
        let ask_after = ms(timeouts.upstream_idle.0.max(1));
        let answer_after = ms(timeouts.upstream_heartbeat.0.max(1));
        let (chore, at) = match upstream.heartbeat {
            // What it says waits in the kernel, because we do not read it.
            _ if peer.flow.paused => (None, now.plus_ns(ask_after)),
            None => {
                let at = peer.read_at.plus_ns(ask_after);
                match at <= now {
                    true => (Some(Chore::Ask), now.plus_ns(answer_after)),
                    false => (None, at),
                }
            }
            Some((_, sent)) => {
                let at = sent.plus_ns(answer_after);
                match at <= now {
                    true if peer.read_at > sent => (Some(Chore::StopAsking), now.plus_ns(1)),
                    true => (Some(Chore::HalfOpen), NEVER),
                    false => (None, at),
                }
            }
        };
        (chore, at.min(unused_at))
    }

    fn look_client(&self, peer: &Peer, client: &Client, now: Nanos) -> Look {
        let drain = ms(self.settings.timeouts.drain.0);
        let (mut hold_at, finish) = match (client.leaving, self.mode) {
            (Some(since), _) => {
                let quiet_at = peer.read_at.max(since).plus_ns(ms(QUIET_MS));
                let finish = peer.idle() && peer.front.is_empty() && quiet_at <= now;
                (since.plus_ns(drain), finish)
            }
            (None, Mode::HandingOver(since)) => (since.plus_ns(ms(HAND_OVER_GRACE_MS)), false),
            (None, _) => return (None, NEVER),
        };
        let mut cut_at = hold_at.plus_ns(drain);
        if let Mode::Draining(since) = self.mode {
            // The process ends with the drain: all must have had its answer by then.
            hold_at = hold_at.min(since.plus_ns(drain / 2));
            let last = drain.saturating_sub(ms(LAST_ANSWERS_MS)).max(drain / 2);
            cut_at = cut_at.min(since.plus_ns(last));
        }
        let close_at = cut_at.plus_ns(drain);
        let soon = now.plus_ns(ms(QUIET_MS / 4));
        let chore = if finish {
            Chore::Finish
        } else if close_at <= now {
            Chore::Close
        } else if cut_at <= now && !peer.idle() {
            Chore::Cut
        } else if hold_at <= now && !peer.flow.held {
            Chore::Hold
        } else {
            return (None, soon);
        };
        (Some(chore), soon)
    }

    fn do_chore(&mut self, conn: Conn, chore: Chore, now: Nanos) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let address = peer.address;
        let in_flight = peer.pending.live();
        match chore {
            Chore::ConnectTimedOut => {
                self.actions.push(super::Action::Close(conn));
                self.connect_failed(conn, ErrorKind::TimedOut, now);
            }
            Chore::Stuck => {
                let bytes = peer.out.len();
                let doing = match peer.role {
                    Role::Client(_) => Doing::Clients,
                    Role::Upstream(_) => Doing::Servers,
                };
                self.metrics.stuck.add(1);
                self.events.push(doing, now, || Event::Stuck {
                    peer: address,
                    bytes,
                });
                self.close(conn, now);
            }
            Chore::Ask => {
                let id = peer.pending.insert(Waiter::Heartbeat);
                if let Role::Upstream(upstream) = &mut peer.role {
                    upstream.heartbeat = Some((id, now));
                    reply::heartbeat(upstream.class, id.into(), peer.out.tail());
                }
                self.fed(conn, conn, now);
            }
            Chore::StopAsking => {
                if let Some(upstream) = peer.upstream_mut()
                    && let Some((id, _)) = upstream.heartbeat.take()
                {
                    peer.pending.abandon(id);
                    self.unsettle(conn);
                }
            }
            Chore::HalfOpen => {
                self.metrics.half_open.add(1);
                self.events.push(Doing::Servers, now, || Event::HalfOpen {
                    peer: address,
                    in_flight,
                });
                self.close(conn, now);
            }
            Chore::Unused => self.retire(conn),
            Chore::Hold => {
                peer.flow.held = true;
                self.repause(conn);
                self.unsettle(conn);
            }
            Chore::Cut => {
                let owed = peer.pending.drain();
                for index in self.flights.of(conn).into_iter().chain(owed) {
                    self.fail(index, Fault::ConnectionClosed, now);
                }
                self.unsettle(conn);
            }
            Chore::Finish => self.finish(conn, now),
            Chore::Close => self.close(conn, now),
        }
    }
}

fn when(at: Nanos, now: Nanos, chore: Chore) -> Look {
    match at <= now {
        true => (Some(chore), NEVER),
        false => (None, at),
    }
}
