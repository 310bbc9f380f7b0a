//! Readiness of many descriptors.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use crate::clock::Nanos;

/// Which descriptor an event is about; chosen by whoever adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What to be told of. Errors and hang-ups are told always, as both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read, or the end of the stream.
    Read,
    /// Room to write, or the end of a connect.
    Write,
    /// Both.
    ReadWrite,
    /// Errors and hang-ups only.
    Nothing,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
            Interest::Nothing => EventFlags::empty(),
        }
    }
}

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The descriptor's token.
    pub token: Token,
    /// It can be read, or has failed.
    pub readable: bool,
    /// It can be written, or has failed.
    pub writable: bool,
    /// It has failed, or both directions have ended.
    pub failed: bool,
}

/// An epoll instance, level-triggered.
#[derive(Debug)]
pub struct Poll {
    fd: OwnedFd,
}

impl Poll {
    /// At most this many events are told at once; the rest comes with the next wait.
    const EVENTS_MAX: usize = 256;

    /// Watches nothing yet. Fails when the process has no descriptor left.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll {
            fd: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Watches `source`. Closing the descriptor ends the watch.
    pub fn add(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        epoll::add(
            &self.fd,
            source,
            EventData::new_u64(token.0),
            interest.flags(),
        )?;
        Ok(())
    }

    /// Changes what is told of `source`.
    pub fn modify(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        epoll::modify(
            &self.fd,
            source,
            EventData::new_u64(token.0),
            interest.flags(),
        )?;
        Ok(())
    }

    /// Watches it no longer. Needed before a descriptor is given to another process: the watch is
    /// the open file's, and would outlive our descriptor.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.fd, source)?;
        Ok(())
    }

    /// Waits, without a limit, until something is ready, and puts it into `ready`. A signal ends
    /// the wait with nothing ready.
    pub fn wait(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.wait_for(ready, None)
    }

    /// The same, no longer than from `now` until `deadline`, rounded up to milliseconds; then
    /// nothing is ready.
    pub fn wait_until(
        &mut self,
        ready: &mut Vec<Ready>,
        deadline: Option<Nanos>,
        now: Nanos,
    ) -> io::Result<()> {
        // An hour is as good as no limit, and whoever waits comes back anyway.
        let timeout = deadline.map(|at| {
            let ms = at.since(now).div_ceil(1_000_000).min(3_600_000);
            Nanos(ms * 1_000_000).timespec()
        });
        self.wait_for(ready, timeout.as_ref())
    }

    fn wait_for(&mut self, ready: &mut Vec<Ready>, timeout: Option<&Timespec>) -> io::Result<()> {
        ready.clear();
        let mut space = [MaybeUninit::uninit(); Poll::EVENTS_MAX];
        let events = match epoll::wait(&self.fd, &mut space, timeout) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let (flags, data) = (event.flags, event.data);
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            ready.push(Ready {
                token: Token(data.u64()),
                readable: failed || flags.contains(EventFlags::IN),
                writable: failed || flags.contains(EventFlags::OUT),
                failed,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::clock::Nanos;
    use crate::timer::{Timer, sharpen_timers_of_this_thread};
    use crate::wake::Wake;

    fn next(poll: &mut Poll) -> Vec<Ready> {
        let mut ready = Vec::new();
        while ready.is_empty() {
            poll.wait(&mut ready).unwrap();
        }
        ready
    }

    #[test]
    fn a_timer_fires_not_before_its_time() {
        sharpen_timers_of_this_thread().unwrap();
        let mut poll = Poll::new().unwrap();
        let timer = Timer::new().unwrap();
        poll.add(&timer, Token(7), Interest::Read).unwrap();
        let at = Nanos::now().plus_ns(2_000_000);
        timer.arm(at).unwrap();
        assert_eq!(next(&mut poll)[0].token, Token(7));
        assert!(Nanos::now() >= at);
        // Armed again, it is silent until its next time: the wake is all that is ready.
        timer.arm(Nanos::now().plus_ns(3_600_000_000_000)).unwrap();
        let wake = Wake::new().unwrap();
        poll.add(&wake, Token(8), Interest::Read).unwrap();
        wake.raise();
        wake.raise();
        assert_eq!(
            next(&mut poll),
            [Ready {
                token: Token(8),
                readable: true,
                writable: false,
                failed: false
            }]
        );
        assert!(wake.clear());
        assert!(!wake.clear());
        // A time that has passed fires at once.
        timer.arm(Nanos(0)).unwrap();
        assert_eq!(next(&mut poll)[0].token, Token(7));
        timer.disarm().unwrap();
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let mut poll = Poll::new().unwrap();
        let mut ready = Vec::new();
        let now = Nanos::now();
        let deadline = now.plus_ns(1_500_000);
        poll.wait_until(&mut ready, Some(deadline), now).unwrap();
        assert!(ready.is_empty());
        assert!(Nanos::now() >= deadline);
        // One that has passed does not wait; what is ready is told all the same.
        let wake = Wake::new().unwrap();
        poll.add(&wake, Token(1), Interest::Read).unwrap();
        wake.raise();
        poll.wait_until(&mut ready, Some(deadline), Nanos::now())
            .unwrap();
        assert_eq!(ready.len(), 1);
        poll.modify(&wake, Token(1), Interest::Nothing).unwrap();
        poll.wait_until(&mut ready, Some(deadline), Nanos::now())
            .unwrap();
        assert!(ready.is_empty());
    }

    #[test]
    fn what_was_removed_is_silent_while_another_holds_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let kept = listener.try_clone().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.add(&listener, Token(1), Interest::Read).unwrap();
        poll.remove(&listener).unwrap();
        drop(listener);
        let _peer = std::net::TcpStream::connect(kept.local_addr().unwrap()).unwrap();
        let mut ready = Vec::new();
        poll.wait_until(&mut ready, Some(Nanos(0)), Nanos::now())
            .unwrap();
        assert!(ready.is_empty());
    }

    #[test]
    fn a_connect_becomes_writable_and_carries_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut poll = Poll::new().unwrap();
        let mut stream = crate::socket::connect(listener.local_addr().unwrap()).unwrap();
        poll.add(&stream, Token(1), Interest::ReadWrite).unwrap();
        assert!(next(&mut poll)[0].writable);
        assert!(stream.take_error().unwrap().is_none());
        let (mut peer, _) = listener.accept().unwrap();
        stream.write_all(b"ping").unwrap();
        let mut heard = [0; 4];
        peer.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ping");
        poll.modify(&stream, Token(1), Interest::Read).unwrap();
        drop(peer);
        assert!(next(&mut poll)[0].readable);
        assert_eq!(stream.read(&mut heard).unwrap(), 0);
    }

    #[test]
    fn a_refused_connect_is_told() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut poll = Poll::new().unwrap();
        let stream = crate::socket::connect(closed).unwrap();
        poll.add(&stream, Token(1), Interest::Write).unwrap();
        assert!(next(&mut poll)[0].writable);
        assert_eq!(
            stream.take_error().unwrap().unwrap().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}
