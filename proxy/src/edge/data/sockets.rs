//! The table of sockets: where each stands, and what it waits for.

use std::net::TcpStream;

use meshproof_sys::poll::{Interest, Token};

use crate::core::Conn;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A connect that has not ended.
    Connecting,
    /// It carries bytes.
    Open,
    /// What is left is written, then it is closed.
    Closing,
}

/// One connection of the core.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// The core wants nothing read.
    pub(super) paused: bool,
    /// The last write was short; the rest goes when there is room.
    pub(super) blocked: bool,
    /// What epoll was told last.
    pub(super) interest: Interest,
}

impl Socket {
    /// What it waits for now.
    pub(super) fn wants(&self) -> Interest {
        let read = !self.paused && self.phase == Phase::Open;
        let write = self.blocked || self.phase == Phase::Connecting;
        match (read, write) {
            (true, true) => Interest::ReadWrite,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::Nothing,
        }
    }
}

/// Every connection, by the place that the core gave it.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Option<Socket>>,
}

/// Places from here on are none of connections.
const SPECIAL: u32 = u32::MAX;

/// What a token is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Connection(Conn),
    /// A listener, by side.
    Listener(usize),
    /// Orders wait.
    Orders,
    /// A connection that is only waited for to end, by number.
    Linger(u32),
}

impl Source {
    pub(super) fn token(self) -> Token {
        let (index, rest) = match self {
            Source::Connection(conn) => (conn.index, conn.generation),
            Source::Orders => (SPECIAL, 0),
            Source::Listener(side) => (SPECIAL, 1 + (side as u32 & 1)),
            Source::Linger(number) => (SPECIAL - 1, number),
        };
        Token(u64::from(index) << 32 | u64::from(rest))
    }

    pub(super) fn of(token: Token) -> Source {
        let (index, rest) = ((token.0 >> 32) as u32, token.0 as u32);
        match (index, rest) {
            (SPECIAL, 0) => Source::Orders,
            (SPECIAL, side) => Source::Listener(usize::from(side == 2)),
            (index, number) if index == SPECIAL - 1 => Source::Linger(number),
            (index, generation) => Source::Connection(Conn { index, generation }),
        }
    }
}

impl Sockets {
    /// Takes the socket of a connection. Comes back with the former holder of its place, which the
    /// core has closed: where one connection ends and another begins in the same round, the order
    /// to close comes after the place was given again.
    #[must_use]
    pub(super) fn insert(&mut self, conn: Conn, socket: Socket) -> Option<Socket> {
        let index = conn.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots.get_mut(index)?.replace(socket)
    }

    /// The socket of a connection that is still there.
    #[inline]
    pub(super) fn find(&mut self, conn: Conn) -> Option<&mut Socket> {
        self.slots
            .get_mut(conn.index as usize)?
            .as_mut()
            .filter(|socket| socket.generation == conn.generation)
    }

    /// Lets go of it.
    pub(super) fn remove(&mut self, conn: Conn) -> Option<Socket> {
        self.find(conn)?;
        self.slots.get_mut(conn.index as usize)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_source() {
        let conn = |index, generation| Source::Connection(Conn { index, generation });
        for source in [
            conn(0, 0),
            conn(7, u32::MAX),
            conn(SPECIAL - 2, 3),
            Source::Orders,
            Source::Listener(0),
            Source::Listener(1),
            Source::Linger(0),
            Source::Linger(u32::MAX),
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
