//! Orders of the control side: routes, settings, an app that is lost and back, draining, handing
//! over.

use meshproof_sys::clock::Nanos;

use super::pool::ms;
use super::reply::{self, Written};
use super::{Command, Conn, Core, Mode, Side};

/// A client that is handed over and never idle is not read any more after this long, in
/// milliseconds.
pub(super) const HAND_OVER_GRACE_MS: u64 = 300;

impl Core {
    pub(super) fn obey(&mut self, command: Command, now: Nanos) {
        match command {
            Command::Routes(table) => self.router.publish(table),
            Command::Configure(settings) => {
                self.router.configure(settings.routing.clone());
                self.settings = *settings;
                self.wake_by(now);
            }
            Command::CloseInbound => {
                self.inbound_open = false;
                self.leave_app(now);
                self.send_away(Some(Side::Inbound), now);
            }
            Command::OpenInbound => {
                self.inbound_open = true;
                self.leave_app(now);
            }
            Command::Drain => {
                let since = match self.mode {
                    Mode::Serving => now,
                    Mode::Draining(since) | Mode::HandingOver(since) => since,
                };
                self.mode = Mode::Draining(since);
                self.send_away(None, now);
            }
            Command::HandOver => {
                self.mode = Mode::HandingOver(now);
                for conn in self.clients_of(None) {
                    self.hand_over(conn);
                }
                self.wake_by(now.plus_ns(ms(HAND_OVER_GRACE_MS)));
            }
        }
    }

    /// Nothing new goes to the app on connections from before this moment. Whatever lost the app
    /// may have lost what they carried, too: then TCP holds back every later byte, and goes on
    /// doing so when the app answers again, for about as long as it was silent. What is in flight
    /// on them is waited for there; what waits for a connect waits for a new one.
    fn leave_app(&mut self, now: Nanos) {
        let app = self.settings.app;
        let to_app = self.peers.iter().filter_map(|(conn, peer)| {
            let upstream = peer.upstream().filter(|_| peer.address == app)?;
            Some((conn, upstream.connected))
        });
        for (conn, connected) in to_app.collect::<Vec<_>>() {
            match connected {
                true => self.retire(conn),
                false => self.connect_again(conn, now),
            }
        }
    }

    /// A client is to be released as soon as it is idle.
    pub(super) fn hand_over(&mut self, conn: Conn) {
        if let Some(peer) = self.peers.at_mut(conn) {
            peer.watched = true;
        }
        self.unsettle(conn);
    }

    /// Clients of a side, or of both.
    fn clients_of(&self, side: Option<Side>) -> Vec<Conn> {
        let of_side = self.peers.iter().filter(|(_, peer)| {
            let client = peer.client();
            client.is_some_and(|client| side.is_none_or(|side| client.side == side))
        });
        of_side.map(|(conn, _)| conn).collect()
    }

    /// Clients get GoAway, and are closed once they are idle.
    fn send_away(&mut self, side: Option<Side>, now: Nanos) {
        for conn in self.clients_of(side) {
            self.dismiss(conn, now);
        }
        self.wake_by(now);
    }

    /// A client gets GoAway, and is closed once it is idle. One that is leaving already goes on
    /// leaving, by its own clock.
    pub(super) fn dismiss(&mut self, conn: Conn, now: Nanos) {
        let Some(peer) = self.peers.at_mut(conn) else {
            return;
        };
        let (stamp, closing) = (peer.stamp, peer.closing);
        let id = peer.pending.pass();
        peer.watched = true;
        let Some(client) = peer.client_mut() else {
            return;
        };
        let leaves = client.leaving.is_some();
        client.leaving.get_or_insert(now);
        self.wake_by(now);
        if leaves || closing {
            return;
        }
        // One that has said nothing yet has no version to be told in.
        if let Some(stamp) = stamp
            && let Some(peer) = self.peers.at_mut(conn)
            && reply::goaway(stamp.class, id.into(), peer.out.tail()) == Written::Yes
        {
            self.fed(conn, conn, now);
        }
    }
}
