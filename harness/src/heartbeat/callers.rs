//! What callers got while an app was silent: errors that nobody could avoid, and others.

use meshproof_fault::Way;
use meshproof_fault::sockets::backoff::{Backoff, RTO_MAX_NS};
use serde::Serialize;

use super::Trial;
use super::wire::Passage;

/// What became of calls in one trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Callers {
    /// Calls that were sent from the begin of the silence until it was all over.
    pub sent: u64,
    /// Wrong ends of calls that the silence itself held.
    pub under_way: u64,
    /// Wrong ends of others.
    pub beyond: u64,
    /// Every wrong end, with the hop at which its account ends.
    pub wrong: Vec<Wrong>,
    /// The first call whose answer was lost and came after healing; none: there was none.
    pub waited: Option<Waited>,
}

/// A call with a wrong end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// Its trace id, by which apps and callers have written it down.
    pub trace: String,
    /// What its caller got.
    pub outcome: String,
    /// When it was sent, on the monotonic clock, in nanoseconds.
    pub sent_ns: u64,
    /// Where it was when the silence was over.
    pub hop: Hop,
    /// Whether the silence held it there, and nobody could have known better when it was sent.
    pub held: bool,
}

/// Where a call was when a silence was over, by the packets of the silent pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// It had not come to the pod.
    Elsewhere,
    /// In its sidecar: it had not passed to the app. Behind bytes that the app's side does not
    /// acknowledge, TCP sends no further ones; and a new connection waits for its first answer.
    ToApp,
    /// It had passed to the app, and the sidecar had no answer.
    FromApp,
    /// The sidecar had the app's answer.
    Back,
}

impl Hop {
    /// In words, behind "was".
    pub fn words(self) -> &'static str {
        match self {
            Hop::Elsewhere => "not at the silent pod",
            Hop::ToApp => "between its sidecar and the app",
            Hop::FromApp => "at the app, or on its way from there",
            Hop::Back => "answered to its sidecar",
        }
    }

    fn of(passage: &Passage, healed_ns: u64) -> Hop {
        let by = |at: Option<u64>| at.is_some_and(|at| at < healed_ns);
        match (
            by(passage.entered_ns),
            by(passage.asked_ns),
            by(passage.heard_ns),
        ) {
            (false, ..) => Hop::Elsewhere,
            (true, false, _) => Hop::ToApp,
            (true, true, false) => Hop::FromApp,
            (true, true, true) => Hop::Back,
        }
    }
}

/// Whether what stops answers to heartbeats in this way holds calls as well: rules for packets do,
/// since heartbeats and calls are one protocol on one port, and an app that stands still. Frames
/// that are chosen and an app that is told so do not.
fn holds_calls(way: Way) -> bool {
    matches!(
        way,
        Way::IptablesNft | Way::IptablesLegacy | Way::NftOwner | Way::Signal
    )
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its trace id.
    pub trace: String,
    /// What its caller got.
    pub outcome: String,
    /// How far it came in the silent pod, on the monotonic clock.
    pub passage: Passage,
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
fn could_not_know(trial: &Trial, call: &Ended) -> bool {
    let stamps = &trial.stamps;
    // A push is on its way for as long as the machine is late, as everything is.
    let known_ns = stamps.known_ns.max(stamps.refused_ns) + trial.late_ns + GRACE_NS;
    (stamps.silent_ns.saturating_sub(MARGIN_NS)..=known_ns).contains(&call.sent_ns)
}

/// Whether the silence of this trial held a call: it was in the pod, without an answer of the app,
/// and nobody could have known better.
fn held(trial: &Trial, call: &Ended) -> bool {
    let hop = Hop::of(&call.passage, trial.recovery.healed_ns);
    holds_calls(trial.way)
        && matches!(hop, Hop::ToApp | Hop::FromApp)
        && could_not_know(trial, call)
}

/// What TCP's back-off explains of a call: its answer was lost, and was sent again after healing.
fn waited(trial: &Trial, call: &Ended) -> Option<Waited> {
    // By the first answer at the latest it was taken away; what healing does then is to look.
    let gone = trial.recovery.healed_ns.min(trial.recovery.answered_ns);
    let silent = trial.stamps.silent_ns;
    // An app that stands still loses nothing.
    let age_ns = call.took_ns.filter(|_| trial.way != Way::Signal)?;
    let lost = (silent..gone).contains(&call.sent_ns)
        && call.sent_ns + age_ns > gone
        && Hop::of(&call.passage, gone) == Hop::FromApp;
    lost.then(|| Waited {
        sent_ns: call.sent_ns,
        age_ns,
        predicted_ns: BACKOFF.arrives(gone - call.sent_ns).1,
    })
}

/// Before and behind a trial, calls are still of it for so long, in nanoseconds.
const MARGIN_NS: u64 = 300_000_000;

/// From the config center's push to the routing table of another sidecar, in nanoseconds.
const GRACE_NS: u64 = 3_000_000;

/// Counts calls into the trials that they were made in; wrong ones that belong to none come back.
pub fn count(trials: &mut [Trial], calls: &[Ended]) -> Vec<Wrong> {
    let mut outside = Vec::new();
    for call in calls {
        let within = |trial: &Trial| {
            let from = trial.stamps.silent_ns.saturating_sub(MARGIN_NS);
            let until = trial.recovery.known_ns.max(trial.recovery.open_ns);
            (from..=until.saturating_add(MARGIN_NS)).contains(&call.sent_ns)
        };
        // Trials follow each other closely: the one that held it, or else the later one.
        let holding = trials.iter().rposition(|trial| held(trial, call));
        let place = holding.or_else(|| trials.iter().rposition(within));
        let Some(trial) = place.and_then(|place| trials.get_mut(place)) else {
            if !call.right {
                outside.push(wrong(call, Hop::of(&call.passage, u64::MAX), false));
            }
            continue;
        };
        let waited = waited(trial, call);
        let hop = Hop::of(&call.passage, trial.recovery.healed_ns);
        let callers = &mut trial.callers;
        callers.sent += 1;
        if !call.right {
            let held = holding.is_some();
            callers.under_way += u64::from(held);
            callers.beyond += u64::from(!held);
            callers.wrong.push(wrong(call, hop, held));
        }
        let first = callers.waited.map_or(u64::MAX, |first| first.sent_ns);
        if waited.is_some_and(|waited| waited.sent_ns < first) {
            callers.waited = waited;
        }
    }
    outside
}

fn wrong(call: &Ended, hop: Hop, held: bool) -> Wrong {
    Wrong {
        trace: call.trace.clone(),
        outcome: call.outcome.clone(),
        sent_ns: call.sent_ns,
        hop,
        held,
    }
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
                healed_ns: 10_450 * MS,
                answered_ns: 10_450 * MS,
                known_ns: 10_600 * MS,
                open_ns: 10_600 * MS,
                ..Recovery::default()
            },
            late_ns: MS,
            callers: Callers::default(),
        }
    }

    /// A call that was sent at this moment and came so far, one millisecond a step.
    fn call(sent_ms: u64, steps: usize) -> Ended {
        let at = |step: usize| (step < steps).then(|| (sent_ms + step as u64) * MS);
        Ended {
            trace: "7f".to_owned(),
            outcome: "timeout".to_owned(),
            passage: Passage {
                entered_ns: at(0),
                asked_ns: at(1),
                heard_ns: at(2),
                left_ns: at(3),
            },
            sent_ns: sent_ms * MS,
            right: false,
            took_ns: None,
        }
    }

    #[track_caller]
    fn check(way: Way, sent_ms: u64, steps: usize, expected: [usize; 3]) {
        let mut trials = [Trial { way, ..trial() }];
        let outside = count(&mut trials, &[call(sent_ms, steps)]);
        let callers = &trials[0].callers;
        let found = [
            callers.under_way as usize,
            callers.beyond as usize,
            outside.len(),
        ];
        assert_eq!(found, expected, "{way} {sent_ms} {steps}");
    }

    #[test]
    fn a_wrong_end_is_excused_until_everybody_knew() {
        for (sent_ms, expected) in [
            (9_000, [0, 0, 1]),
            (9_700, [1, 0, 0]),
            (10_413, [1, 0, 0]),
            (10_415, [0, 1, 0]),
            (10_700, [0, 1, 0]),
            (10_901, [0, 0, 1]),
        ] {
            check(Way::NftOwner, sent_ms, 2, expected);
        }
    }

    #[test]
    fn only_what_the_silence_held_is_excused() {
        for way in [Way::NftOwner, Way::IptablesLegacy, Way::Signal] {
            // Not at the pod, in its sidecar, at the app, answered.
            check(way, 10_100, 0, [0, 1, 0]);
            check(way, 10_100, 1, [1, 0, 0]);
            check(way, 10_100, 2, [1, 0, 0]);
            check(way, 10_100, 3, [0, 1, 0]);
        }
        for way in [Way::Relay, Way::AppOrder] {
            check(way, 10_100, 2, [0, 1, 0]);
        }
    }

    #[test]
    fn a_call_belongs_to_the_trial_that_held_it() {
        let first = trial();
        let mut second = trial();
        second.stamps.silent_ns += 750 * MS;
        second.stamps.known_ns += 750 * MS;
        second.stamps.refused_ns += 750 * MS;
        second.recovery.healed_ns += 750 * MS;
        let mut trials = [first, second];
        // The first trial's time is not quite over.
        assert_eq!(count(&mut trials, &[call(10_770, 2)]), []);
        assert_eq!(trials[0].callers, Callers::default());
        let wrong = &trials[1].callers.wrong[0];
        assert_eq!((wrong.hop, wrong.held), (Hop::FromApp, true));
    }

    #[test]
    fn what_is_right_is_counted_and_no_more() {
        let mut trials = [trial()];
        let right = Ended {
            right: true,
            took_ns: Some(MS),
            ..call(10_500, 4)
        };
        assert_eq!(count(&mut trials, &[right]), []);
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
        let late = |sent_ms, took_ms| Ended {
            right: true,
            took_ns: Some(took_ms * MS),
            ..call(sent_ms, 2)
        };
        let calls = [
            late(9_990, 1),
            late(10_030, 590),
            late(10_010, 613),
            late(10_430, 1),
        ];
        assert_eq!(count(&mut trials, &calls), []);
        let expected = Waited {
            sent_ns: 10_010 * MS,
            age_ns: 613 * MS,
            predicted_ns: 612 * MS,
        };
        assert_eq!(trials[0].callers.waited, Some(expected));
    }
}
