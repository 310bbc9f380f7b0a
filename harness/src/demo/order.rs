//! Which of two came first, as far as two witnesses can tell.
//!
//! The config center's pushes come at a moment. A port is looked at again and again: it turned
//! between two looks. Where the onlooker did not look in time, there is no verdict.

use std::time::Duration;

use meshproof_record::verdict::{Claim, Verdict};
use meshproof_sys::clock::Nanos;

use crate::watch::Turn;

/// What two witnesses of things at one moment may be apart.
const LOOK_MS: f64 = 5.0;

/// Both ends of a turn, in milliseconds from `known` on.
fn from(turn: Turn, known: Nanos) -> (f64, f64) {
    let from = |at: Nanos| (at.0 as f64 - known.0 as f64) / 1e6;
    (from(turn.after), from(turn.at))
}

/// The app is lost: off the config center first, then 12200 closes. A push comes late on a
/// machine that is held up, by no more than `gap` that the onlooker was.
pub(super) fn end(closed: Turn, known: Nanos, gap: Duration) -> Claim {
    let (after, at) = from(closed, known);
    let gap = gap.as_secs_f64() * 1000.0;
    let said = match at {
        _ if at > LOOK_MS => format!("12200 closed {at:.1} ms after the config center knew"),
        _ if at < -LOOK_MS => format!("12200 closed {:.1} ms before the config center knew", -at),
        _ => format!("the config center knew and 12200 closed, within {LOOK_MS} ms of each other"),
    };
    let verdict = if after >= -LOOK_MS {
        Verdict::Pass
    } else if at < -LOOK_MS - gap {
        Verdict::Fail
    } else {
        Verdict::Invalid
    };
    claim("order of the end", verdict, said, gap.max(at - after))
}

/// The app is back: 12200 listens first, then the config center knows.
pub(super) fn recovery(listens: Turn, known: Nanos) -> Claim {
    let (after, at) = from(listens, known);
    let said = match at {
        _ if after > LOOK_MS => {
            format!("12200 still refused connections {after:.1} ms after the config center knew")
        }
        _ if at > LOOK_MS => {
            format!("12200 was seen to listen {at:.1} ms after the config center knew")
        }
        _ if at < -LOOK_MS => format!("the config center knew {:.1} ms after 12200 listened", -at),
        _ => {
            format!("12200 listened and the config center knew, within {LOOK_MS} ms of each other")
        }
    };
    let verdict = if at <= LOOK_MS {
        Verdict::Pass
    } else if after > LOOK_MS {
        Verdict::Fail
    } else {
        Verdict::Invalid
    };
    claim("recovered", verdict, said, at - after)
}

fn claim(name: &str, verdict: Verdict, said: String, blind_ms: f64) -> Claim {
    let why = match verdict {
        Verdict::Invalid => format!("{said}; but the onlooker did not look for {blind_ms:.1} ms"),
        _ => said,
    };
    Claim::new(name, verdict, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN_MS: f64 = 10_000.0;

    fn turn(after: f64, at: f64) -> Turn {
        let at_ms = |ms: f64| Nanos(((KNOWN_MS + ms) * 1e6) as u64);
        Turn {
            after: at_ms(after),
            at: at_ms(at),
        }
    }

    fn known() -> Nanos {
        Nanos((KNOWN_MS * 1e6) as u64)
    }

    #[track_caller]
    fn check(claim: &Claim, verdict: Verdict, why: &str) {
        assert_eq!((claim.verdict, claim.why.as_str()), (verdict, why));
    }

    #[test]
    fn the_end_is_judged_by_when_12200_was_seen_last() {
        let check = |after, at, gap_ms: u64, verdict, why: &str| {
            let claim = end(turn(after, at), known(), Duration::from_millis(gap_ms));
            check(&claim, verdict, why);
        };
        let close = "the config center knew and 12200 closed, within 5 ms of each other";
        check(-1.0, 0.2, 2, Verdict::Pass, close);
        check(-4.0, -3.0, 2, Verdict::Pass, close);
        let later = "12200 closed 80.0 ms after the config center knew";
        check(78.0, 80.0, 2, Verdict::Pass, later);
        // However long it did not look at other times: here it did.
        check(78.0, 80.0, 900, Verdict::Pass, later);
        let sooner = "12200 closed 40.0 ms before the config center knew";
        check(-41.0, -40.0, 2, Verdict::Fail, sooner);
        // The gap explains it, as it explained it when the claim held.
        let blind = format!("{sooner}; but the onlooker did not look for 60.0 ms");
        check(-41.0, -40.0, 60, Verdict::Invalid, &blind);
        // It closed when nobody looked: before or after.
        let blind = "12200 closed 20.0 ms after the config center knew; \
                     but the onlooker did not look for 70.0 ms";
        check(-50.0, 20.0, 70, Verdict::Invalid, blind);
    }

    #[test]
    fn the_recovery_is_judged_by_when_12200_was_seen_first() {
        let check = |after, at, verdict, why: &str| {
            check(&recovery(turn(after, at), known()), verdict, why);
        };
        let close = "12200 listened and the config center knew, within 5 ms of each other";
        check(-1.0, 0.2, Verdict::Pass, close);
        check(-900.0, 0.2, Verdict::Pass, close);
        let before = "the config center knew 30.0 ms after 12200 listened";
        check(-31.0, -30.0, Verdict::Pass, before);
        let wrong = "12200 still refused connections 29.0 ms after the config center knew";
        check(29.0, 30.0, Verdict::Fail, wrong);
        check(29.0, 90.0, Verdict::Fail, wrong);
        let blind = "12200 was seen to listen 60.0 ms after the config center knew; \
                     but the onlooker did not look for 61.0 ms";
        check(-1.0, 60.0, Verdict::Invalid, blind);
    }
}
