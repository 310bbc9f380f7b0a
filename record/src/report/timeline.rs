//! What happened when, in a fixed number of bins however long the run was.

use crate::row::ExchangeRow;

/// Most bins kept; a run that needs more has its bins merged two by two.
const BINS_MAX: usize = 240;
/// Width that a timeline starts with.
const WIDTH_NS: u64 = 1_000_000;
/// Later times are counted into the last bin: more than a year is no run of ours.
const AT_NS_MAX: u64 = 400 * 86_400 * 1_000_000_000;

/// What happened to the requests that were to be sent within one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Requests sent.
    pub sent: u64,
    /// Greatest lateness, in nanoseconds; `None` where no send had an intended time.
    pub lateness_ns: Option<u64>,
    /// Greatest latency, in nanoseconds.
    pub latency_ns: Option<u64>,
    /// Answers that are missing or different.
    pub wrong: u64,
}

impl Bin {
    fn merge(self, other: Bin) -> Bin {
        Bin {
            sent: self.sent + other.sent,
            lateness_ns: self.lateness_ns.max(other.lateness_ns),
            latency_ns: self.latency_ns.max(other.latency_ns),
            wrong: self.wrong + other.wrong,
        }
    }
}

/// Bins of equal width from the run's start. At most 240 of them, whatever comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Width of a bin in nanoseconds.
    pub width_ns: u64,
    /// The bins, in order of time.
    pub bins: Vec<Bin>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline {
            width_ns: WIDTH_NS,
            bins: Vec::new(),
        }
    }
}

impl Timeline {
    /// Counts a row that was sent.
    pub fn add(&mut self, row: &ExchangeRow) {
        let Some(sent_ns) = row.sent_ns else { return };
        let due_ns = row.intended_ns.unwrap_or(sent_ns).min(AT_NS_MAX);
        let bin = Bin {
            sent: 1,
            lateness_ns: row.lateness_ns(),
            latency_ns: row.latency_ns(),
            wrong: u64::from(row.misses_answer() || row.differs()),
        };
        while due_ns / self.width_ns >= BINS_MAX as u64 {
            self.width_ns *= 2;
            self.bins = self
                .bins
                .chunks(2)
                .map(|two| two.iter().copied().fold(Bin::default(), Bin::merge))
                .collect();
        }
        let at = usize::try_from(due_ns / self.width_ns).unwrap_or(BINS_MAX - 1);
        if self.bins.len() <= at {
            self.bins.resize(at + 1, Bin::default());
        }
        if let Some(slot) = self.bins.get_mut(at) {
            *slot = slot.merge(bin);
        }
    }

    /// How much time the bins span, in nanoseconds.
    pub fn span_ns(&self) -> u64 {
        self.width_ns.saturating_mul(self.bins.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::Outcome;

    fn row(intended_ns: u64, late_ns: u64, outcome: Outcome) -> ExchangeRow {
        ExchangeRow {
            exchange: 1,
            flow: String::new(),
            connection: 1,
            id: 1,
            protocol: String::new(),
            kind: String::new(),
            service: String::new(),
            method: String::new(),
            arguments: String::new(),
            trace: None,
            target: None,
            intended_ns: Some(intended_ns),
            sent_ns: Some(intended_ns.saturating_add(late_ns)),
            answered_ns: None,
            outcome,
            reason: None,
            late: false,
            compared: false,
            answer_recorded: true,
            recorded: None,
            observed: None,
            differences: Vec::new(),
        }
    }

    #[test]
    fn bins_double_their_width_when_the_run_outgrows_them() {
        let mut timeline = Timeline::default();
        for ms in [0, 1, 239] {
            timeline.add(&row(ms * 1_000_000, 500, Outcome::Oneway));
        }
        assert_eq!((timeline.width_ns, timeline.bins.len()), (1_000_000, 240));
        timeline.add(&row(240_000_000, 700, Outcome::TimedOut));
        assert_eq!((timeline.width_ns, timeline.bins.len()), (2_000_000, 121));
        let first = Bin {
            sent: 2,
            lateness_ns: Some(500),
            latency_ns: None,
            wrong: 0,
        };
        assert_eq!(timeline.bins.first(), Some(&first));
        let last = Bin {
            sent: 1,
            lateness_ns: Some(700),
            latency_ns: None,
            wrong: 1,
        };
        assert_eq!(timeline.bins.last(), Some(&last));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn nothing_is_lost_whatever_the_times(
            times in prop::collection::vec((any::<u64>(), 0..1_000_000_000_u64), 0..60)
        ) {
            let mut timeline = Timeline::default();
            for (intended_ns, late_ns) in &times {
                timeline.add(&row(*intended_ns, *late_ns, Outcome::Lost));
            }
            let sent: u64 = timeline.bins.iter().map(|bin| bin.sent).sum();
            let wrong: u64 = timeline.bins.iter().map(|bin| bin.wrong).sum();
            prop_assert_eq!((sent, wrong), (times.len() as u64, times.len() as u64));
            prop_assert!(timeline.bins.len() <= BINS_MAX);
            let worst = timeline.bins.iter().filter_map(|bin| bin.lateness_ns).max();
            let expect = times.iter().map(|(at, late)| at.saturating_add(*late) - at).max();
            prop_assert_eq!(worst, expect);
        }
    }
}
