//! Signals as something that is waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that end a program otherwise. As long as this process lives they end nothing; the
/// descriptor is readable once one has come.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// SIGTERM, SIGINT and SIGHUP, for a process of one thread. What it starts is not concerned.
    pub fn of_the_end() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn a_signal_is_waited_for() {
        let signals = Signals::of_the_end().unwrap();
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        let mut watched = [PollFd::new(&signals, PollFlags::IN)];
        assert_eq!(poll(&mut watched, None).unwrap(), 1);
    }
}
