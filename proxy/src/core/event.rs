//! What an operator wants to read of the data path.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use meshproof_sys::clock::Nanos;

use super::Side;

/// Something that the edge logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was closed because of bytes that no served protocol has.
    Foreign {
        /// Who sent them.
        peer: SocketAddr,
        /// The listener it came to; `None` for an upstream connection.
        side: Option<Side>,
        /// What was found.
        why: String,
    },
    /// A connection was closed because of a frame that is damaged.
    Damaged {
        /// Who sent it.
        peer: SocketAddr,
        /// The listener it came to; `None` for an upstream connection.
        side: Option<Side>,
        /// What was found.
        why: String,
    },
    /// A client was refused.
    Refused {
        /// Who came.
        peer: SocketAddr,
        /// Where it came to.
        side: Side,
        /// The limit, or the state that forbids it.
        why: &'static str,
    },
    /// A request could not be routed.
    NoRoute {
        /// The router's reason.
        why: String,
    },
    /// A connect failed; what waited for it was brought elsewhere or refused.
    Unreachable {
        /// Where to.
        to: SocketAddr,
        /// Why.
        why: ErrorKind,
        /// Requests that waited.
        waiting: usize,
    },
    /// An upstream connection ended with requests in flight.
    Lost {
        /// Whose.
        peer: SocketAddr,
        /// How many.
        in_flight: usize,
    },
    /// An upstream connection did not answer its heartbeat and was closed.
    HalfOpen {
        /// Whose.
        peer: SocketAddr,
        /// Requests that were in flight.
        in_flight: usize,
    },
    /// A peer took nothing while others waited for it, and was closed.
    Stuck {
        /// Who.
        peer: SocketAddr,
        /// Bytes that waited for it.
        bytes: usize,
    },
    /// A server asked for no further requests on this connection.
    Goaway {
        /// Who.
        peer: SocketAddr,
    },
    /// Events that were left out, because there were too many.
    Suppressed {
        /// How many.
        count: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Foreign { peer, why, .. } => {
                write!(f, "{peer} speaks no served protocol and was closed: {why}")
            }
            Event::Damaged { peer, why, .. } => {
                write!(f, "{peer} sent a damaged frame and was closed: {why}")
            }
            Event::Refused { peer, why, .. } => write!(f, "{peer} was refused: {why}"),
            Event::NoRoute { why } => write!(f, "no route: {why}"),
            Event::Unreachable { to, why, waiting } => {
                write!(
                    f,
                    "{to} could not be reached ({why}); {waiting} requests waited"
                )
            }
            Event::Lost { peer, in_flight } => {
                write!(
                    f,
                    "{peer} ended the connection with {in_flight} requests in flight"
                )
            }
            Event::HalfOpen { peer, in_flight } => write!(
                f,
                "{peer} did not answer a heartbeat and was closed; {in_flight} requests in flight"
            ),
            Event::Stuck { peer, bytes } => {
                write!(
                    f,
                    "{peer} reads nothing and was closed; {bytes} bytes waited for it"
                )
            }
            Event::Goaway { peer } => write!(f, "{peer} wants no further requests here"),
            Event::Suppressed { count } => write!(f, "{count} further events were left out"),
        }
    }
}

/// Whose doing an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Of whoever connects.
    Clients,
    /// Of servers.
    Servers,
}

/// Events that wait for the edge. At most [`BURST`] of each doing within a second; the rest is
/// counted. Clients that send rubbish must not hide that a server cannot be reached.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: Vec<Event>,
    second: u64,
    /// In this second, by [`Doing`].
    taken: [usize; 2],
    suppressed: u64,
}

/// Events of one doing within one second.
const BURST: usize = 64;
/// Events that wait, where nobody takes them.
const WAITING_MAX: usize = 4 * BURST;

impl Events {
    pub(super) fn push(&mut self, doing: Doing, now: Nanos, event: impl FnOnce() -> Event) {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.taken = [0, 0];
            if self.suppressed > 0 && self.waiting.len() < WAITING_MAX {
                let count = std::mem::take(&mut self.suppressed);
                self.waiting.push(Event::Suppressed { count });
            }
        }
        let taken = &mut self.taken[doing as usize];
        if *taken < BURST && self.waiting.len() < WAITING_MAX {
            *taken += 1;
            self.waiting.push(event());
        } else {
            self.suppressed += 1;
        }
    }

    pub(super) fn take(&mut self, into: &mut Vec<Event>) {
        into.clear();
        into.append(&mut self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_counted() {
        let mut events = Events::default();
        let event = || Event::NoRoute { why: String::new() };
        for _ in 0..100 {
            events.push(Doing::Clients, Nanos(0), event);
        }
        let mut into = Vec::new();
        events.take(&mut into);
        assert_eq!(into.len(), BURST);
        events.push(Doing::Clients, Nanos(1_000_000_000), event);
        events.take(&mut into);
        assert_eq!(into, [Event::Suppressed { count: 36 }, event()]);
    }

    #[test]
    fn rubbish_does_not_hide_a_server_that_cannot_be_reached() {
        let mut events = Events::default();
        for _ in 0..1000 {
            events.push(Doing::Clients, Nanos(0), || Event::NoRoute {
                why: String::new(),
            });
        }
        let lost = || Event::Lost {
            peer: SocketAddr::from(([127, 0, 0, 1], 12199)),
            in_flight: 1,
        };
        events.push(Doing::Servers, Nanos(0), lost);
        let mut into = Vec::new();
        events.take(&mut into);
        assert_eq!(into.len(), BURST + 1);
        assert_eq!(into.last(), Some(&lost()));
    }
}
