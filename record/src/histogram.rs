//! Latency and lateness as they stand in a record: counts by value, nothing averaged away.

use serde::{Deserialize, Serialize};

/// Longest duration told apart, one hour; longer ones count as one hour.
const NS_MAX: u64 = 3_600_000_000_000;

/// A histogram being filled. Values keep three significant digits; memory is bounded by that.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: hdrhistogram::Histogram<u64>,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Recorder {
    /// An empty one.
    pub fn new() -> Recorder {
        let inner = hdrhistogram::Histogram::new_with_bounds(1, NS_MAX, 3)
            .expect("1 <= 1, 2 <= NS_MAX, 3 digits <= 5: the bounds that it checks");
        Recorder::around(inner)
    }

    /// An empty one of two significant digits that grows with its values: for hundreds at once.
    pub(crate) fn coarse() -> Recorder {
        let inner = hdrhistogram::Histogram::new(2).expect("2 digits <= 5: what it checks");
        Recorder::around(inner)
    }

    fn around(inner: hdrhistogram::Histogram<u64>) -> Recorder {
        Recorder {
            inner,
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }

    /// Counts one duration in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        // Within the bounds of both constructors, so never refused.
        let recorded = self.inner.record(ns.min(NS_MAX));
        debug_assert!(recorded.is_ok(), "{ns} ns: {recorded:?}");
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns = self.sum_ns.saturating_add(u128::from(ns));
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.inner.len()
    }

    /// The value that `quantile` (0 to 1) of all values do not exceed, in nanoseconds; 0 when
    /// empty.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.inner.value_at_quantile(quantile).min(self.max_ns)
    }

    /// How many are greater than `ns`, to the histogram's precision.
    pub fn count_above(&self, ns: u64) -> u64 {
        let upper = self.inner.highest_equivalent(ns.min(NS_MAX));
        self.inner
            .iter_recorded()
            .filter(|step| step.value_iterated_to() > upper)
            .map(|step| step.count_since_last_iteration())
            .sum()
    }

    /// As it is written into a record.
    pub fn finish(&self) -> Histogram {
        let counts = self
            .inner
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .collect();
        let count = self.inner.len();
        Histogram {
            count,
            min_ns: if count == 0 { 0 } else { self.min_ns },
            max_ns: self.max_ns,
            mean_ns: u64::try_from(self.sum_ns.checked_div(u128::from(count)).unwrap_or(0))
                .unwrap_or(u64::MAX),
            counts,
        }
    }
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

/// A histogram in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many values.
    pub count: u64,
    /// The least, exactly.
    pub min_ns: u64,
    /// The greatest, exactly.
    pub max_ns: u64,
    /// The mean, exactly.
    pub mean_ns: u64,
    /// Value in nanoseconds (three significant digits, rounded up) and how often, ascending.
    pub counts: Vec<(u64, u64)>,
}

impl Histogram {
    /// The value that `quantile` (0 to 1) of all values do not exceed, in nanoseconds; `None`
    /// when empty.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let total: u64 = self
            .counts
            .iter()
            .fold(0, |sum, (_, n)| sum.saturating_add(*n));
        if total == 0 {
            return None;
        }
        // The 1e-9 forgives what binary fractions do to 0.99 × 100.
        let rank = (quantile.clamp(0.0, 1.0) * total as f64 - 1e-9)
            .ceil()
            .max(1.0) as u64;
        let mut seen = 0_u64;
        for (value, n) in &self.counts {
            seen = seen.saturating_add(*n);
            if seen >= rank {
                return Some((*value).min(self.max_ns));
            }
        }
        Some(self.max_ns)
    }

    /// [`Histogram::quantile_ns`] where there are enough values to speak of it: at least one must
    /// lie beyond (a p99 needs a hundred values, or it is the greatest under another name).
    pub fn supported_quantile_ns(&self, quantile: f64) -> Option<u64> {
        let beyond = (1.0 - quantile) * self.count as f64;
        // The 1e-6 forgives what binary fractions do to (1 - 0.99) × 100.
        (beyond >= 1.0 - 1e-6)
            .then(|| self.quantile_ns(quantile))
            .flatten()
    }

    /// How many values are greater than `ns`.
    pub fn count_above(&self, ns: u64) -> u64 {
        self.counts
            .iter()
            .filter(|(value, _)| *value > ns)
            .fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values_ns: &[u64], quantile: f64, expect_ns: u64) {
        let mut recorder = Recorder::new();
        for ns in values_ns {
            recorder.record(*ns);
        }
        let histogram = recorder.finish();
        assert_eq!(histogram.count, values_ns.len() as u64);
        let told = histogram.quantile_ns(quantile).unwrap();
        let near = |a: u64, b: u64| a.abs_diff(b) as f64 <= b as f64 / 1_000.0;
        assert!(near(told, expect_ns), "{told} is not {expect_ns}");
        assert!(near(recorder.quantile_ns(quantile), expect_ns));
    }

    #[test]
    fn quantiles_keep_three_digits() {
        let hundred: Vec<u64> = (1..=100).map(|n| n * 1_000_000).collect();
        check(&hundred, 0.5, 50_000_000);
        check(&hundred, 0.99, 99_000_000);
        check(&hundred, 0.999, 100_000_000);
        check(&hundred, 0.0, 1_000_000);
        check(&hundred, 1.0, 100_000_000);
        check(&[123_456_789], 0.5, 123_456_789);
        check(&[0, 0, 0], 0.99, 0);
    }

    #[test]
    fn extremes_and_mean_are_exact() {
        let mut recorder = Recorder::new();
        for ns in [1_234_567, 7, 999_999_999_999_999] {
            recorder.record(ns);
        }
        let histogram = recorder.finish();
        assert_eq!(histogram.min_ns, 7);
        assert_eq!(histogram.max_ns, 999_999_999_999_999);
        assert_eq!(histogram.mean_ns, 333_333_333_744_857);
        assert_eq!(Recorder::new().finish(), Histogram::default());
        assert_eq!(Histogram::default().quantile_ns(0.99), None);
    }

    #[test]
    fn a_quantile_of_too_few_values_is_not_told() {
        for (values, quantile, told) in [
            (1, 0.5, false),
            (2, 0.5, true),
            (99, 0.99, false),
            (100, 0.99, true),
            (999, 0.999, false),
            (1_000, 0.999, true),
        ] {
            let mut recorder = Recorder::new();
            (0..values).for_each(|ns| recorder.record(ns));
            let supported = recorder.finish().supported_quantile_ns(quantile);
            assert_eq!(supported.is_some(), told, "{quantile} of {values}");
        }
    }

    #[test]
    fn those_above_a_limit_are_counted() {
        let mut recorder = Recorder::coarse();
        for ms in 1..=100 {
            recorder.record(ms * 1_000_000);
        }
        assert_eq!(recorder.finish().count_above(50_500_000), 50);
        assert_eq!(recorder.count_above(50_500_000), 50);
        assert_eq!(recorder.finish().count_above(u64::MAX), 0);
    }
}
