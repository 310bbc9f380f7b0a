//! TCP sockets of a namespace, by sock_diag: which connections stand, how often they had to send
//! again, and their end by order of the kernel.
//!
//! [`list`] and [`destroy`] need a socket of `Subsystem::Sockets`, opened in that namespace;
//! everybody may list, and whoever has CAP_NET_ADMIN there may destroy. What TCP does when it
//! hears nothing is in [`backoff`].

pub mod backoff;
pub mod end;
mod wire;

use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::netlink::ask::{self, Unanswered};

/// States of a TCP connection, by the numbers of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// It stands.
    Established = 1,
    /// Its opener waits for the first answer.
    SynSent = 2,
    /// Its acceptor waits for the answer to that.
    SynReceived = 3,
    /// Closed here, and not acknowledged.
    FinWait1 = 4,
    /// Closed here, and acknowledged.
    FinWait2 = 5,
    /// Gone, but for late packets.
    TimeWait = 6,
    /// Closed.
    Closed = 7,
    /// Closed by the other end.
    CloseWait = 8,
    /// Closed by the other end and here.
    LastAck = 9,
    /// It accepts.
    Listen = 10,
    /// Closed by both at once.
    Closing = 11,
}

impl State {
    const ALL: [State; 11] = [
        State::Established,
        State::SynSent,
        State::SynReceived,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Closed,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
    ];

    /// Of connections that can carry something.
    pub const STANDING: [State; 5] = [
        State::Established,
        State::SynReceived,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
    ];

    fn bit(self) -> u32 {
        1 << self as u8
    }

    fn of(number: u8) -> Option<State> {
        State::ALL.into_iter().find(|state| *state as u8 == number)
    }
}

/// How TCP fares on one connection (`tcp_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fare {
    /// How often what is unacknowledged was sent again, by time-out.
    pub retransmits: u8,
    /// How often a closed window, or a segment that the network refused, was probed.
    pub probes: u8,
    /// How often the time-out was doubled.
    pub backoff: u8,
    /// The time-out as it is now, in microseconds.
    pub rto_us: u32,
    /// Segments under way.
    pub unacked: u32,
    /// Segments taken for lost.
    pub lost: u32,
    /// Segments sent again in all its life.
    pub total_retransmits: u32,
    /// Since it last sent data, in milliseconds.
    pub last_sent_ms: u32,
    /// Since it last received data, in milliseconds.
    pub last_received_ms: u32,
    /// Smoothed round trip, in microseconds.
    pub rtt_us: u32,
}

/// One TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its state.
    pub state: State,
    /// Its end here.
    pub local: SocketAddr,
    /// The other end; of a listener all zeros.
    pub remote: SocketAddr,
    /// Bytes that came and were not read; of a listener, connections that were not accepted.
    pub unread: u32,
    /// Bytes that were written and not acknowledged.
    pub unsent: u32,
    /// The user whose it is.
    pub user: u32,
    /// Its inode, as `/proc/PID/fd` shows it.
    pub inode: u32,
    /// How it fares, where the kernel tells.
    pub fare: Option<Fare>,
    /// What the kernel knows it by.
    pub(crate) key: wire::Key,
}

/// All TCP sockets of the namespace in one of these states, of both versions of IP.
pub fn list(socket: impl AsFd, states: &[State]) -> Result<Vec<Socket>, Unanswered> {
    let bits = states.iter().fold(0, |bits, state| bits | state.bit());
    let mut sockets = Vec::new();
    for family in [wire::INET, wire::INET6] {
        let answers = ask::list(socket.as_fd(), wire::list(family, bits).bytes())?;
        sockets.extend(wire::sockets(&answers));
    }
    Ok(sockets)
}

/// Ends a connection here and now: its owner's next call fails with ECONNABORTED, the other end is
/// told with a reset. `false`: it had gone already. Kernels without CONFIG_INET_DIAG_DESTROY
/// say EOPNOTSUPP.
pub fn destroy(socket: impl AsFd, target: &Socket) -> Result<bool, Unanswered> {
    let request = wire::destroy(target);
    match ask::order(socket, request.bytes(), wire::NUMBER) {
        Ok(()) => Ok(true),
        Err(why) if why.errno() == Some(rustix::io::Errno::NOENT) => Ok(false),
        Err(why) => Err(why),
    }
}
