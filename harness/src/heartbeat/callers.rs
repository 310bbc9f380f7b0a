//! What callers got while an app was silent: errors that nobody could avoid, and others.

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
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it was sent, on the monotonic clock, in nanoseconds.
    pub sent_ns: u64,
    /// Whether it ended as it must.
    pub right: bool,
}

/// Whether a call can have been under way when the app fell silent, or before everybody knew:
/// where the config center's word and the closed port are both there, no sidecar sends a call to
/// this app any more. `patience_ns` is how long a call waits for its answer.
fn could_not_know(trial: &Trial, call: Ended, patience_ns: u64) -> bool {
    let stamps = &trial.stamps;
    // A push is on its way for as long as the machine is late, as everything is.
    let known_ns = stamps.known_ns.max(stamps.refused_ns) + trial.late_ns + GRACE_NS;
    (stamps.silent_ns.saturating_sub(patience_ns)..=known_ns).contains(&call.sent_ns)
}

/// From the config center's push to the routing table of another sidecar, in nanoseconds.
const GRACE_NS: u64 = 3_000_000;

/// Counts calls into the trials that they were made in; wrong ones that belong to none come back.
pub fn count(trials: &mut [Trial], calls: &[Ended], patience_ns: u64) -> u64 {
    let mut outside = 0;
    for call in calls {
        let within = |trial: &Trial| {
            let from = trial.stamps.silent_ns.saturating_sub(patience_ns);
            let until = trial.recovery.known_ns.max(trial.recovery.open_ns);
            (from..=until.saturating_add(patience_ns)).contains(&call.sent_ns)
        };
        let Some(trial) = trials.iter_mut().find(|trial| within(trial)) else {
            outside += u64::from(!call.right);
            continue;
        };
        let excused = could_not_know(trial, *call, patience_ns);
        trial.callers.sent += 1;
        trial.callers.under_way += u64::from(!call.right && excused);
        trial.callers.beyond += u64::from(!call.right && !excused);
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
        };
        let outside = count(&mut trials, &[call], 500 * MS);
        let Callers {
            under_way, beyond, ..
        } = trials[0].callers;
        assert_eq!([under_way, beyond, outside], expected, "{sent_ms}");
    }

    #[test]
    fn a_wrong_end_is_excused_until_everybody_knew() {
        check(9_000, [0, 0, 1]);
        check(9_500, [1, 0, 0]);
        check(10_413, [1, 0, 0]);
        check(10_415, [0, 1, 0]);
        check(10_700, [0, 1, 0]);
        check(11_101, [0, 0, 1]);
    }

    #[test]
    fn what_is_right_is_counted_and_no_more() {
        let mut trials = [trial()];
        let call = Ended {
            sent_ns: 10_500 * MS,
            right: true,
        };
        assert_eq!(count(&mut trials, &[call], 0), 0);
        let sent = Callers {
            sent: 1,
            ..Callers::default()
        };
        assert_eq!(trials[0].callers, sent);
    }
}
