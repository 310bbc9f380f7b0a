//! How late a wire was with what it had to do: the accuracy that it states of itself.

use std::fmt;

/// Buckets: four to each power of two of nanoseconds, from 1 µs on.
const BUCKETS: usize = 4 * 24;

/// The lower end of the first bucket but one, as a power of two of nanoseconds.
const FIRST: u32 = 10;

/// How late packets were, each against the time that it was to come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lateness {
    buckets: [u64; BUCKETS],
    count: u64,
    max_ns: u64,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness {
            buckets: [0; BUCKETS],
            count: 0,
            max_ns: 0,
        }
    }
}

/// Which bucket a time is in.
fn bucket(ns: u64) -> usize {
    let Some(power) = ns.checked_ilog2().filter(|power| *power >= FIRST) else {
        return 0;
    };
    let quarter = (ns >> (power - 2)) & 3;
    let at = (power - FIRST) as usize * 4 + quarter as usize + 1;
    at.min(BUCKETS - 1)
}

/// The upper end of a bucket, in nanoseconds.
fn end(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, bucket % 4);
    let power = FIRST + power as u32;
    (1 << power) + ((quarter as u64) << (power - 2))
}

impl Lateness {
    /// Notes one.
    pub fn note(&mut self, ns: u64) {
        if let Some(count) = self.buckets.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// So many of a hundred were not later than this, in nanoseconds, rounded up by a quarter at
    /// most (times below 1 µs to 1 µs); none: there was none.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(end(at).min(self.max_ns))
    }

    /// The latest of all, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [50, 99].map(|percent| self.percentile(percent).unwrap_or(0));
        let ms = |ns: u64| ns as f64 / 1e6;
        write!(
            f,
            "{:.3} ms late at the median, {:.3} ms at p99, {:.3} ms at most",
            ms(half),
            ms(most),
            ms(self.max_ns)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_hundred_are_right_within_a_quarter() {
        let mut late = Lateness::default();
        assert_eq!(late.percentile(50), None);
        for us in 1..=1000_u64 {
            late.note(us * 1000);
        }
        for (percent, us) in [(1, 10), (50, 500), (99, 990), (100, 1000)] {
            let told = late.percentile(percent).unwrap();
            let exact = us * 1000;
            assert!(told >= exact && told <= exact * 5 / 4, "p{percent}: {told}");
        }
        assert_eq!(late.max_ns(), 1_000_000);
        late.note(u64::MAX);
        late.note(0);
        assert_eq!(late.max_ns(), u64::MAX);
    }
}
