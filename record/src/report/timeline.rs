//! What happened when, in a fixed number of bins however long the run was.

use crate::row::{ExchangeRow, Outcome};

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
    /// Timed out, lost, or different.
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
        let lost = matches!(row.outcome, Outcome::TimedOut | Outcome::Lost);
        let bin = Bin {
            sent: 1,
            lateness_ns: row.lateness_ns(),
            latency_ns: row.latency_ns(),
            wrong: u64::from(lost || row.differs()),
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
