//! What callers got while an app was silent: errors that nobody could avoid, and others.

use meshproof_fault::sockets::backoff::{Backoff, RTO_MAX_NS};
use serde::Serialize;

use super::Trial;

/// What became of calls in one trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Callers {
    /// Calls that were sent from the begin of the silence until it was all over.
    pub sent: u64,
    /// Wrong ends of calls that were under way, or sent before the callers' sidecar could know.
    pub under_way: u64,
    /// Wrong ends of others.
    pub beyond: u64,
    /// The first call whose answer was lost and came after healing; none: there was none.
    pub waited: Option<Waited>,
}

/// A call whose answer TCP sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waited {
    /// When it was sent, on the monotonic clock, in nanoseconds.
    pub sent_ns: u64,
    /// How old it was when its answer came, in nanoseconds.
    pub age_ns: u64,
    /// How old TCP's back-off says that it is then, in nanoseconds.
    pub predicted_ns: u64,
}

/// Linux' least time-out of a connection whose round trip is short (TCP_RTO_MIN and a tick).
const BACKOFF: Backoff = Backoff {
    first_ns: 204_000_000,
    greatest_ns: RTO_MAX_NS,
};

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it was sent, on the monotonic clock, in nanoseconds.
    pub sent_ns: u64,
    /// Whether it ended as it must.
    pub right: bool,
    /// How long its answer took, in nanoseconds; none: there was none.
    pub took_ns: Option<u64>,
}

/// Whether a call can have been under way when the app fell silent, or sent before everybody knew:
/// where the config center's word and the closed port are both there, no sidecar sends a call to
/// this app any more.
fn could_not_know(trial: &Trial, call: Ended) -> bool {
    let stamps = &trial.stamps;
    // A push is on its way for as long as the machine is late, as everything is.
    let known_ns = stamps.known_ns.max(stamps.refused_ns) + trial.late_ns + GRACE_NS;
    (stamps.silent_ns.saturating_sub(MARGIN_NS)..=known_ns).contains(&call.sent_ns)
}

/// What TCP's back-off explains of a call: its answer was lost, and was sent again after healing.
fn waited(trial: &Trial, call: Ended) -> Option<Waited> {
    let (silent, healed) = (trial.stamps.silent_ns, trial.recovery.healed_ns);
    let age_ns = call.took_ns?;
    let lost = (silent..healed).contains(&call.sent_ns) && call.sent_ns + age_ns > healed;
    lost.then(|| Waited {
        sent_ns: call.sent_ns,
        age_ns,
        predicted_ns: BACKOFF.arrives(healed - call.sent_ns).1,
    })
}

/// Before and behind a trial, calls are still of it for so long, in nanoseconds.
const MARGIN_NS: u64 = 300_000_000;

/// From the config center's push to the routing table of another sidecar, in nanoseconds.
const GRACE_NS: u64 = 3_000_000;

/// Counts calls into the trials that they were made in; wrong ones that belong to none come back.
pub fn count(trials: &mut [Trial], calls: &[Ended]) -> u64 {
    let mut outside = 0;
    for call in calls {
        let within = |trial: &Trial| {
            let from = trial.stamps.silent_ns.saturating_sub(MARGIN_NS);
            let until = trial.recovery.known_ns.max(trial.recovery.open_ns);
            (from..=until.saturating_add(MARGIN_NS)).contains(&call.sent_ns)
        };
        let Some(trial) = trials.iter_mut().find(|trial| within(trial)) else {
            outside += u64::from(!call.right);
            continue;
        };
        let excused = could_not_know(trial, *call);
        let waited = waited(trial, *call);
        let callers = &mut trial.callers;
        callers.sent += 1;
        callers.under_way += u64::from(!call.right && excused);
        callers.beyond += u64::from(!call.right && !excused);
        let first = callers.waited.map_or(u64::MAX, |first| first.sent_ns);
        if waited.is_some_and(|waited| waited.sent_ns < first) {
            callers.waited = waited;
        }
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::{Recovery, Stamps};
    use meshproof_fault::Way;

    const MS: u64 = 1_000_000;

    fn trial() -> Trial {
        Trial {
            way: Way::NftOwner,
            stamps: Stamps {
                silent_ns: 10_000 * MS,
                known_ns: 10_400 * MS,
                refused_ns: 10_410 * MS,
                ..Stamps::default()
            },
            recovery: Recovery {
                known_ns: 10_600 * MS,
                open_ns: 10_600 * MS,
                ..Recovery::default()
            },
            late_ns: MS,
            callers: Callers::default(),
        }
    }

    #[track_caller]
    fn check(sent_ms: u64, expected: [u64; 3]) {
        let mut trials = [trial()];
        let call = Ended {
            sent_ns: sent_ms * MS,
            right: false,
            took_ns: None,
        };
        let outside = count(&mut trials, &[call]);
        let Callers {
            under_way, beyond, ..
        } = trials[0].callers;
        assert_eq!([under_way, beyond, outside], expected, "{sent_ms}");
    }

    #[test]
    fn a_wrong_end_is_excused_until_everybody_knew() {
        check(9_000, [0, 0, 1]);
        check(9_700, [1, 0, 0]);
        check(10_413, [1, 0, 0]);
        check(10_415, [0, 1, 0]);
        check(10_700, [0, 1, 0]);
        check(10_901, [0, 0, 1]);
    }

    #[test]
    fn what_is_right_is_counted_and_no_more() {
        let mut trials = [trial()];
        let call = Ended {
            sent_ns: 10_500 * MS,
            right: true,
            took_ns: Some(MS),
        };
        assert_eq!(count(&mut trials, &[call]), 0);
        let sent = Callers {
            sent: 1,
            ..Callers::default()
        };
        assert_eq!(trials[0].callers, sent);
    }
    #[test]
    fn the_first_answer_that_came_late_is_held_to_the_back_off() {
        let mut trials = [trial()];
        trials[0].recovery.healed_ns = 10_420 * MS;
        let call = |sent_ms, took_ms| Ended {
            sent_ns: sent_ms * MS,
            right: true,
            took_ns: Some(took_ms * MS),
        };
        let calls = [
            call(9_990, 1),
            call(10_030, 590),
            call(10_010, 613),
            call(10_430, 1),
        ];
        assert_eq!(count(&mut trials, &calls), 0);
        let expected = Waited {
            sent_ns: 10_010 * MS,
            age_ns: 613 * MS,
            predicted_ns: 612 * MS,
        };
        assert_eq!(trials[0].callers.waited, Some(expected));
    }
}
