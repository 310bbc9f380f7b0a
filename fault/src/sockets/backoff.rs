//! When TCP sends again what was lost, and so how long after the end of a fault it is silent for
//! reasons of its own.
//!
//! What is not acknowledged is sent again after the time-out, which doubles each time (RFC 6298,
//! 5.5), up to a greatest one. The n-th time is rto0·(2^n − 1) after the first sending. A fault
//! that ends in between is felt until the next of these times, whatever a sidecar does.

/// The greatest time-out of Linux where nothing else was set (TCP_RTO_MAX), in nanoseconds.
pub const RTO_MAX_NS: u64 = 120_000_000_000;

/// How often something is sent again at most before the connection is given up; Linux:
/// `tcp_retries2` is 15, and never counts beyond 255.
const TIMES_MAX: u32 = 255;

/// How a connection sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The time-out before it was first doubled, in nanoseconds.
    pub first_ns: u64,
    /// The greatest one, in nanoseconds.
    pub greatest_ns: u64,
}

impl Backoff {
    /// Of a connection whose time-out is `rto_us` after having been doubled `backoff` times, as
    /// `tcp_info` tells it. Where it has reached the greatest one, the first cannot be told.
    pub fn of(rto_us: u32, backoff: u8, greatest_ns: u64) -> Option<Backoff> {
        let now_ns = u64::from(rto_us) * 1000;
        if now_ns == 0 || now_ns >= greatest_ns {
            return None;
        }
        Some(Backoff {
            first_ns: now_ns.checked_shr(u32::from(backoff))?.max(1),
            greatest_ns,
        })
    }

    /// How long after the first sending it is sent again for the `n`-th time, counted from 1, in
    /// nanoseconds.
    pub fn again_ns(self, n: u32) -> u64 {
        let mut at = 0_u64;
        let mut wait = self.first_ns;
        for _ in 0..n.min(TIMES_MAX) {
            at = at.saturating_add(wait.min(self.greatest_ns));
            wait = wait.saturating_mul(2);
        }
        at
    }

    /// The first sending that is not lost, for something that was first sent when a fault had just
    /// begun and is let through from `outage_ns` on: its number, and how old it is then, in
    /// nanoseconds.
    pub fn arrives(self, outage_ns: u64) -> (u32, u64) {
        if outage_ns == 0 {
            return (0, 0);
        }
        let mut n = 1;
        while n < TIMES_MAX && self.again_ns(n) < outage_ns {
            n += 1;
        }
        (n, self.again_ns(n))
    }

    /// How long after the end of the fault TCP is silent by itself, in nanoseconds.
    pub fn lag_ns(self, outage_ns: u64) -> u64 {
        let (_, age) = self.arrives(outage_ns);
        age.saturating_sub(outage_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn usual() -> Backoff {
        Backoff {
            first_ns: 216 * MS,
            greatest_ns: RTO_MAX_NS,
        }
    }

    #[test]
    fn the_measured_times_are_predicted() {
        assert_eq!(Backoff::of(1_728_000, 3, RTO_MAX_NS), Some(usual()));
        // Fault, and age at which the first lost heartbeat came: what was measured.
        for (outage_s, n, measured_ms) in [(4, 5, 6730), (10, 6, 13_680), (20, 7, 27_470)] {
            let (number, age) = usual().arrives(outage_s * 1000 * MS);
            assert_eq!(number, n);
            let off = (age / MS).abs_diff(measured_ms) as f64 / measured_ms as f64;
            assert!(off < 0.01, "{outage_s} s: {age} ns, {off}");
            assert_eq!(
                usual().lag_ns(outage_s * 1000 * MS),
                age - outage_s * 1000 * MS
            );
        }
    }

    #[test]
    fn the_edges() {
        assert_eq!(usual().arrives(0), (0, 0));
        assert_eq!(usual().arrives(1), (1, 216 * MS));
        assert_eq!(usual().arrives(216 * MS), (1, 216 * MS));
        assert_eq!(usual().arrives(216 * MS + 1), (2, 648 * MS));
        let capped = Backoff {
            greatest_ns: 1000 * MS,
            ..usual()
        };
        assert_eq!(capped.again_ns(3), (216 + 432 + 864) * MS);
        assert_eq!(capped.again_ns(5), (216 + 432 + 864 + 2000) * MS);
        assert_eq!(Backoff::of(0, 0, RTO_MAX_NS), None);
        assert_eq!(Backoff::of(120_000_000, 9, RTO_MAX_NS), None);
        assert_eq!(Backoff::of(200_000, 200, RTO_MAX_NS), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_arrives_is_the_first_that_can(first_ms in 1_u64..5000, outage_ms in 0_u64..600_000) {
            let backoff = Backoff { first_ns: first_ms * MS, greatest_ns: RTO_MAX_NS };
            let (n, age) = backoff.arrives(outage_ms * MS);
            prop_assert!(age >= outage_ms * MS);
            prop_assert_eq!(age, backoff.again_ns(n));
            if n > 1 {
                prop_assert!(backoff.again_ns(n - 1) < outage_ms * MS);
                // Below the cap the lag is never longer than the outage and a first time-out.
                prop_assert!(backoff.lag_ns(outage_ms * MS) <= outage_ms * MS + backoff.first_ns);
            }
        }
    }
}
