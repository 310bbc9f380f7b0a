//! A timer that fires at an absolute time.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock::Nanos;

/// A timerfd on `CLOCK_MONOTONIC`, readable once its time has come.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that is not armed. Fails when the process has no descriptor left.
    pub fn new() -> io::Result<Timer> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Timer { fd })
    }

    /// Fires at `at`; at once where that has passed. Replaces what was armed before, and what
    /// had fired is forgotten.
    pub fn arm(&self, at: Nanos) -> io::Result<()> {
        // A value of zero would disarm.
        self.set(Nanos(at.0.max(1)))
    }

    /// Does not fire.
    pub fn disarm(&self) -> io::Result<()> {
        self.set(Nanos(0))
    }

    fn set(&self, at: Nanos) -> io::Result<()> {
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: at.timespec(),
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets the kernel delay timers of the calling thread by no more than 1 ns; its usual 50 µs would
/// be added to the lateness of every send.
pub fn sharpen_timers_of_this_thread() -> io::Result<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    Ok(())
}
