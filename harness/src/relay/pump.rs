//! The threads of a relay: one accepts and connects, one carries bytes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::poll::{Interest, Poll, Ready, Token};
use meshproof_sys::socket::{is_exhausted, reset_on_close};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::account::Account;
use super::called::Calls;
use super::lane::{Lane, Sight};
use super::rule::{Direction, Who};
use super::{CONNECTIONS_MAX, Leg, Shared};

/// A connect takes no longer.
const DIAL_LIMIT: Duration = Duration::from_secs(1);

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

const WAKE: Token = Token(0);

/// Who connected, and who was connected to.
pub(super) type Pair = (TcpStream, TcpStream);

/// Accepts, and connects on, until it is over.
pub(super) fn accept(leg: Leg, shared: &Shared, arrivals: &mpsc::Sender<Pair>) {
    if leg.listener.set_nonblocking(true).is_err() {
        return;
    }
    loop {
        let mut watched = [
            PollFd::new(&leg.listener, PollFlags::IN),
            PollFd::new(&shared.over, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !watched[1].revents().is_empty() {
            return;
        }
        let opener = match leg.listener.accept() {
            Ok((opener, _)) => opener,
            Err(error) => {
                if is_exhausted(&error) {
                    // Somebody has to close something first.
                    pause(shared);
                }
                continue;
            }
        };
        shared.lock().connections += 1;
        let full = shared.lock().open >= CONNECTIONS_MAX as u64;
        let acceptor = if full {
            None
        } else {
            (leg.dial)(leg.to, DIAL_LIMIT).ok()
        };
        match acceptor {
            Some(acceptor) => {
                shared.lock().open += 1;
                // The other thread ends when this one does.
                let _ = arrivals.send((opener, acceptor));
                shared.wake.raise();
            }
            None => {
                shared.lock().refused += 1;
                let _ = reset_on_close(&opener);
            }
        }
        shared.changed.notify_all();
    }
}

/// Until it is over, or for a moment.
fn pause(shared: &Shared) {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let _ = poll(
        &mut [PollFd::new(&shared.over, PollFlags::IN)],
        Some(&moment),
    );
}

/// One end of a connection.
struct End {
    stream: TcpStream,
    token: Token,
    /// What is watched for; none: nothing is.
    interest: Option<Interest>,
    /// What is sent here is over.
    shut: bool,
}

impl End {
    fn new(stream: TcpStream, token: Token) -> io::Result<End> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(End {
            stream,
            token,
            interest: None,
            shut: false,
        })
    }

    /// Closes in order: what was not read would make it a reset, which overtakes what was sent.
    fn hang_up(&mut self, space: &mut [u8]) {
        /// Who sends more than this without a pause is reset.
        const READS_MAX: usize = 64;
        let _ = self.stream.shutdown(Shutdown::Write);
        for _ in 0..READS_MAX {
            if !matches!(self.stream.read(space), Ok(1..)) {
                return;
            }
        }
    }

    /// Watches for this; for nothing, it is not watched at all: an end that both sides have
    /// closed would be told of for ever.
    fn watch(&mut self, poll: &Poll, reads: bool, writes: bool) -> io::Result<()> {
        let wanted = match (reads, writes) {
            (true, true) => Some(Interest::ReadWrite),
            (true, false) => Some(Interest::Read),
            (false, true) => Some(Interest::Write),
            (false, false) => None,
        };
        match (self.interest, wanted) {
            (None, None) => {}
            (Some(_), None) => poll.remove(&self.stream)?,
            (None, Some(interest)) => poll.add(&self.stream, self.token, interest)?,
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(new)) => poll.modify(&self.stream, self.token, new)?,
        }
        self.interest = wanted;
        Ok(())
    }
}

/// Two ends and what goes between them.
struct Connection {
    opener: End,
    acceptor: End,
    forth: Lane,
    back: Lane,
    who: Who,
    calls: Calls,
}

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stands,
    /// Everything has gone both ways, or a rule closes it.
    Over,
    /// One end failed: the other hears it as a reset.
    Failed,
}

impl Connection {
    /// Reads what there is, writes what can be written, and watches for the rest.
    fn turn(&mut self, poll: &Poll, account: &mut Account, space: &mut [u8]) -> Fate {
        let now = Nanos::now();
        let Connection {
            opener,
            acceptor,
            forth,
            back,
            who,
            calls,
        } = self;
        let mut sight = Sight {
            account,
            calls,
            who,
        };
        let moved = carry(forth, opener, acceptor, (now, &mut sight, space)).and_then(|()| {
            if let Some(protocol) = forth.protocol() {
                back.answers(protocol);
            }
            carry(back, acceptor, opener, (now, &mut sight, space))
        });
        let cut = |lane: &Lane| lane.is_cut() && lane.is_done();
        if cut(forth) || cut(back) || forth.is_done() && back.is_done() {
            return Fate::Over;
        }
        let watched = moved.and_then(|()| {
            opener.watch(poll, forth.wants(), !back.out().is_empty())?;
            acceptor.watch(poll, back.wants(), !forth.out().is_empty())
        });
        match watched {
            Ok(()) => Fate::Stands,
            Err(_) => Fate::Failed,
        }
    }

    fn due(&self) -> Option<Nanos> {
        [self.forth.due(), self.back.due()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// One direction, as far as it goes now.
fn carry(
    lane: &mut Lane,
    from: &mut End,
    to: &mut End,
    (now, sight, space): (Nanos, &mut Sight<'_>, &mut [u8]),
) -> io::Result<()> {
    lane.settle(now, sight);
    // Once: others are to have their turn, and epoll tells of what is left.
    if lane.wants() {
        match from.stream.read(space) {
            Ok(0) => lane.end(now, sight),
            Ok(read) => lane.take(now, space.get(..read).unwrap_or_default(), sight),
            Err(error) if waits(&error) => {}
            Err(error) => return Err(error),
        }
    }
    while !lane.out().is_empty() {
        match to.stream.write(lane.out()) {
            Ok(wrote) => lane.wrote(wrote, sight.account),
            Err(error) if waits(&error) => break,
            Err(error) => return Err(error),
        }
    }
    if lane.is_done() && !lane.is_cut() && !to.shut {
        to.shut = true;
        // It may have gone away by itself.
        let _ = to.stream.shutdown(Shutdown::Write);
    }
    Ok(())
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The thread that carries bytes.
pub(super) struct Pump {
    poll: Poll,
    shared: Arc<Shared>,
    connections: BTreeMap<u64, Connection>,
    last: u64,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Pump> {
        let poll = Poll::new()?;
        poll.add(shared.wake.as_fd(), WAKE, Interest::Read)?;
        Ok(Pump {
            poll,
            shared,
            connections: BTreeMap::new(),
            last: 0,
        })
    }

    /// Until who accepts has ended.
    pub(super) fn run(mut self, arrived: &mpsc::Receiver<Pair>) {
        let mut ready: Vec<Ready> = Vec::new();
        let mut space = vec![0; READ_BYTES];
        loop {
            let due = self.connections.values().filter_map(Connection::due).min();
            if self.poll.wait_until(&mut ready, due, Nanos::now()).is_err() {
                return;
            }
            let mut turns: Vec<u64> = ready
                .iter()
                .filter(|ready| ready.token != WAKE)
                .map(|ready| ready.token.0 / 2)
                .collect();
            if self.shared.wake.clear() {
                loop {
                    match arrived.try_recv() {
                        Ok(pair) => self.arrive(pair),
                        Err(mpsc::TryRecvError::Empty) => break,
                        Err(mpsc::TryRecvError::Disconnected) => return,
                    }
                }
                // Rules may have changed.
                turns = self.connections.keys().copied().collect();
            }
            let now = Nanos::now();
            let late = self
                .connections
                .iter()
                .filter(|(_, connection)| connection.due().is_some_and(|due| due <= now));
            turns.extend(late.map(|(number, _)| *number));
            turns.sort_unstable();
            turns.dedup();
            for number in &turns {
                self.turn(*number, &mut space);
            }
            if !turns.is_empty() {
                self.shared.changed.notify_all();
            }
        }
    }

    fn arrive(&mut self, (opener, acceptor): Pair) {
        self.last += 1;
        let who = Who {
            connection: self.last,
            opener: opener.peer_addr().ok(),
        };
        // Tokens 0 and 1 are nobody's.
        let token = self.last * 2;
        let ends = End::new(opener, Token(token))
            .and_then(|opener| Ok((opener, End::new(acceptor, Token(token + 1))?)));
        let Ok((opener, acceptor)) = ends else {
            self.shared.lock().open -= 1;
            return;
        };
        let connection = Connection {
            opener,
            acceptor,
            forth: Lane::new(Direction::Forth),
            back: Lane::new(Direction::Back),
            who,
            calls: Calls::default(),
        };
        self.connections.insert(self.last, connection);
    }

    fn turn(&mut self, number: u64, space: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let mut account = self.shared.lock();
        let fate = connection.turn(&self.poll, &mut account, space);
        if fate == Fate::Stands {
            return;
        }
        account.open = account.open.saturating_sub(1);
        account.forget(number);
        drop(account);
        for end in [&mut connection.opener, &mut connection.acceptor] {
            match fate {
                Fate::Failed => drop(reset_on_close(&end.stream)),
                _ => end.hang_up(space),
            }
        }
        self.connections.remove(&number);
    }
}
