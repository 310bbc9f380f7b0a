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

#[cfg(test)]
mod tests {
    use super::*;

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
