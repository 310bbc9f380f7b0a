//! When a sidecar has to know that its app is lost.
//!
//! **Law A.** Heartbeats go out on a grid of `I`. The `N`-th heartbeat after the last answered one
//! is given up `T` after it was sent: `T + N·I` after the last answered one was sent, whatever the
//! moment at which the app fell silent. This is the verdict.
//!
//! **Law B.** Seen from the moment at which the app fell silent, which is anywhere between two
//! heartbeats, detection comes within `[T + (N-1)·I, T + N·I]`, each moment of it as likely as
//! any other. This is a picture of many trials and its test, not the verdict of one.

use std::time::Duration;

use super::{Stamps, Trial, ms};

/// The three numbers of a sidecar's heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Law {
    /// Between two heartbeats.
    pub interval: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Misses in a row.
    pub misses: u32,
}

/// How a trial stands to law A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// From the last answered heartbeat to the message to the config center, in milliseconds.
    pub took_ms: f64,
    /// What the law says.
    pub expected_ms: f64,
    /// How far it may be off on either side: what the machine held the measurement up.
    pub wider_ms: f64,
}

impl Held {
    /// Whether it is within the widened bound.
    pub fn holds(self) -> bool {
        (self.took_ms - self.expected_ms).abs() <= self.wider_ms
    }
}

/// What a trial may be off even where the machine held nothing up: a sidecar's timers tick in
/// milliseconds, one for the heartbeat and one for its time-out, and from the decision to the wire
/// it is a thread's wake.
const GRAIN_MS: f64 = 3.0;

impl Law {
    /// From the last answered heartbeat to detection, in milliseconds.
    pub fn expected_ms(self) -> f64 {
        (self.timeout + self.interval * self.misses).as_secs_f64() * 1e3
    }

    /// Law A of one trial. The message to the config center is what the wire shows of detection.
    pub fn of(self, trial: &Trial) -> Held {
        let Stamps {
            answered_ns,
            deregistered_ns,
            ..
        } = trial.stamps;
        Held {
            took_ms: ms(answered_ns, deregistered_ns),
            expected_ms: self.expected_ms(),
            wider_ms: GRAIN_MS + trial.late_ns as f64 / 1e6,
        }
    }

    /// Where in the interval of law B a trial lies: 0 is its begin, 1 its end.
    pub fn phase(self, trial: &Trial) -> f64 {
        let took = ms(trial.stamps.silent_ns, trial.stamps.deregistered_ns);
        let interval = self.interval.as_secs_f64() * 1e3;
        (took - (self.expected_ms() - interval)) / interval
    }
}

/// Kolmogorov's and Smirnov's test of phases against the uniform law on 0 to 1: the greatest
/// distance of their distribution from it, and how likely one as great or greater is. None: no
/// phases.
pub fn uniform(phases: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = phases.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    if sorted.is_empty() {
        return None;
    }
    let steps = sorted.iter().enumerate().map(|(at, phase)| {
        let law = phase.clamp(0.0, 1.0);
        let (below, above) = (at as f64 / count, (at as f64 + 1.0) / count);
        (law - below).abs().max((above - law).abs())
    });
    let distance = steps.fold(0.0, f64::max);
    Some((distance, likely(distance, count)))
}

/// The tail of Kolmogorov's distribution, with Stephens' correction for few values (M. A.
/// Stephens, "EDF Statistics for Goodness of Fit", 1974).
fn likely(distance: f64, count: f64) -> f64 {
    let root = count.sqrt();
    let x = (root + 0.12 + 0.11 / root) * distance;
    // Below this the sum below does not converge, and the tail is 1 to nine digits.
    if x < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let k = f64::from(k);
        let sign = if k as i64 % 2 == 1 { 1.0 } else { -1.0 };
        sign * (-2.0 * k * k * x * x).exp()
    };
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Recovery;
    use crate::heartbeat::callers::Callers;
    use meshproof_fault::Way;

    const LAW: Law = Law {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(80),
        misses: 3,
    };

    fn trial(silent_ms: u64, deregistered_ms: u64, late_ms: u64) -> Trial {
        Trial {
            way: Way::AppOrder,
            stamps: Stamps {
                silent_ns: silent_ms * 1_000_000,
                answered_ns: 1_000_000_000,
                deregistered_ns: deregistered_ms * 1_000_000,
                ..Stamps::default()
            },
            recovery: Recovery::default(),
            callers: Callers::default(),
            late_ns: late_ms * 1_000_000,
        }
    }

    #[track_caller]
    fn check(deregistered_ms: u64, late_ms: u64, holds: bool) {
        let held = LAW.of(&trial(1_050, deregistered_ms, late_ms));
        assert_eq!(held.expected_ms, 380.0);
        assert_eq!(held.holds(), holds, "{held:?}");
    }

    #[test]
    fn law_a_is_as_wide_as_the_machine_was_late() {
        check(1_380, 0, true);
        check(1_383, 0, true);
        check(1_384, 0, false);
        check(1_384, 1, true);
        check(1_376, 0, false);
        check(1_480, 50, false);
        check(1_280, 50, false);
    }

    #[test]
    fn law_b_counts_from_the_silence() {
        assert_eq!(LAW.phase(&trial(1_000, 1_380, 0)), 1.0);
        assert_eq!(LAW.phase(&trial(1_100, 1_380, 0)), 0.0);
        assert_eq!(LAW.phase(&trial(1_050, 1_380, 0)), 0.5);
    }

    #[test]
    fn what_is_uniform_is_told_from_what_is_not() {
        assert_eq!(uniform(&[]), None);
        let even: Vec<f64> = (0..100).map(|n| (f64::from(n) + 0.5) / 100.0).collect();
        let (distance, likely) = uniform(&even).unwrap();
        assert!(distance <= 0.0051 && likely > 0.99, "{distance} {likely}");
        let bent: Vec<f64> = even.iter().map(|phase| phase * phase).collect();
        let (distance, likely) = uniform(&bent).unwrap();
        assert!(distance > 0.2 && likely < 0.001, "{distance} {likely}");
        // Tables of the distribution have 0.05 for 1.358 and many values.
        let many = 10_000.0_f64;
        let at = super::likely(1.358 / many.sqrt(), many);
        assert!((at - 0.05).abs() < 0.001, "{at}");
    }
}
