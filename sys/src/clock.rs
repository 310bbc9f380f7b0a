//! Monotonic time.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A moment of `CLOCK_MONOTONIC`, in nanoseconds. It keeps running while the process is stopped,
/// so that a pause shows up as lateness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Now.
    pub fn now() -> Nanos {
        let now = clock_gettime(ClockId::Monotonic);
        // Both fields of a monotonic clock are non-negative.
        Nanos((now.tv_sec as u64).saturating_mul(1_000_000_000) + now.tv_nsec as u64)
    }

    /// Nanoseconds from `earlier` to `self`; 0 where `earlier` is later.
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `ns` nanoseconds, without wrapping.
    pub fn plus_ns(self, ns: u64) -> Nanos {
        Nanos(self.0.saturating_add(ns))
    }

    pub(crate) fn timespec(self) -> Timespec {
        Timespec {
            tv_sec: i64::try_from(self.0 / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (self.0 % 1_000_000_000) as _,
        }
    }
}

impl Add<Duration> for Nanos {
    type Output = Nanos;

    fn add(self, by: Duration) -> Nanos {
        self.plus_ns(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// One moment on two clocks: packets, and files, carry the time of the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    at: Nanos,
    unix_ns: u64,
}

impl Clocks {
    /// Both, now.
    pub fn now() -> Clocks {
        let wall = clock_gettime(ClockId::Realtime);
        // A clock of the wall that stands before 1970 says 1970.
        let seconds = u64::try_from(wall.tv_sec).unwrap_or(0);
        Clocks {
            at: Nanos::now(),
            unix_ns: seconds.saturating_mul(1_000_000_000) + wall.tv_nsec as u64,
        }
    }

    /// A time of the wall, in nanoseconds since 1970, on the monotonic clock.
    pub fn moment(self, unix_ns: u64) -> Nanos {
        match unix_ns.checked_sub(self.unix_ns) {
            Some(after) => self.at.plus_ns(after),
            None => Nanos(self.at.0.saturating_sub(self.unix_ns - unix_ns)),
        }
    }

    /// A moment as the wall has it, in nanoseconds since 1970.
    pub fn unix_ns(self, at: Nanos) -> u64 {
        match at.0.checked_sub(self.at.0) {
            Some(after) => self.unix_ns.saturating_add(after),
            None => self.unix_ns.saturating_sub(self.at.0 - at.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_one_clock_is_one_of_the_other() {
        let clocks = Clocks {
            at: Nanos(1_000),
            unix_ns: 5_000,
        };
        for (unix_ns, at) in [(5_000, 1_000), (5_700, 1_700), (4_200, 200)] {
            assert_eq!(clocks.moment(unix_ns), Nanos(at));
            assert_eq!(clocks.unix_ns(Nanos(at)), unix_ns);
        }
        assert_eq!(clocks.moment(0), Nanos(0));
        assert_eq!(clocks.moment(u64::MAX), Nanos(u64::MAX - 4_000));
        // Later than 2020, whatever the machine.
        let now = Clocks::now();
        assert!(now.unix_ns(Nanos::now()) > 1_577_836_800_000_000_000);
    }

    #[test]
    fn time_does_not_run_backwards_or_wrap() {
        let first = Nanos::now();
        let second = Nanos::now();
        assert!(second >= first);
        assert_eq!(first.since(first.plus_ns(5)), 0);
        assert_eq!(Nanos(u64::MAX).plus_ns(1), Nanos(u64::MAX));
        assert_eq!(Nanos(1) + Duration::from_millis(2), Nanos(2_000_001));
    }
}
