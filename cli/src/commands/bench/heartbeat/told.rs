//! Trials in words.

use std::io::{self, Write};

use meshproof_fault::Way;
use meshproof_harness::heartbeat::callers::Wrong;
use meshproof_harness::heartbeat::law::Law;
use meshproof_harness::heartbeat::trial::Outcome;
use meshproof_harness::heartbeat::{Stamps, Trial};

pub(super) fn law(out: &mut impl Write, law: Law) -> io::Result<()> {
    writeln!(
        out,
        "law A: {:.0} ms after the last answered heartbeat (I {} ms, T {} ms, N {})",
        law.expected_ms(),
        law.interval.as_millis(),
        law.timeout.as_millis(),
        law.misses
    )
}

fn ms(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1e6
}

/// What speaks for one that is outside of the bound: where the time went.
pub(super) fn outlier(law: Law, trial: &Trial) -> String {
    let held = law.of(trial);
    let stamps = &trial.stamps;
    let detected = stamps.detected_ns.map_or_else(
        || "the sidecar says nothing of its loss".to_owned(),
        |detected| {
            format!(
                "by its own word the loss was known after {:.1} ms, and the message left {:.1} ms \
                 later",
                ms(stamps.answered_ns, detected),
                ms(detected, stamps.deregistered_ns)
            )
        },
    );
    format!(
        "{}: {:.1} ms in place of {:.1} ± {:.1}; {detected}",
        trial.way, held.took_ms, held.expected_ms, held.wider_ms
    )
}

/// A call with a wrong end, and where it was.
pub(super) fn wrong(way: Way, wrong: &Wrong) -> String {
    format!(
        "{way}: {} ({}) was {} when the silence was over",
        wrong.trace,
        wrong.outcome,
        wrong.hop.words()
    )
}

/// A paragraph on one way.
pub(super) fn way(
    out: &mut impl Write,
    way: Way,
    law: Law,
    outcome: &Outcome,
    test: Option<(f64, f64)>,
) -> io::Result<()> {
    let trials = &outcome.trials;
    let held = trials.iter().filter(|trial| law.of(trial).holds()).count();
    let median = |of: &dyn Fn(&Trial) -> f64| {
        let mut values: Vec<f64> = trials.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let most = |of: &dyn Fn(&Trial) -> f64| trials.iter().map(of).fold(0.0, f64::max);
    let off = |trial: &Trial| {
        let held = law.of(trial);
        held.took_ms - held.expected_ms
    };
    let wide = |trial: &Trial| law.of(trial).wider_ms;
    writeln!(
        out,
        "{way}: {held} of {} trials within law A; off by {:.2} ms (median), {:.2} ms (most); bound {:.2} ms \
         (median), {:.2} ms (most)",
        trials.len(),
        median(&off),
        most(&|trial| off(trial).abs()),
        median(&wide),
        most(&wide)
    )?;
    let after = |of: &dyn Fn(&Stamps) -> u64| {
        median(&|trial| ms(trial.stamps.deregistered_ns, of(&trial.stamps)))
    };
    let said = trials.iter().filter_map(|one| one.stamps.detected_ns);
    if said.count() == trials.len() && !trials.is_empty() {
        let before = |stamps: &Stamps| {
            let detected = stamps.detected_ns.unwrap_or(stamps.deregistered_ns);
            ms(detected, stamps.deregistered_ns)
        };
        writeln!(
            out,
            "  known to the sidecar {:.2} ms before its message left (median; its own word)",
            median(&|trial| before(&trial.stamps))
        )?;
    }
    writeln!(
        out,
        "  then: config center told others after {:.2} ms, 12200 refused after {:.2} ms (medians)",
        after(&|stamps| stamps.known_ns),
        after(&|stamps| stamps.refused_ns)
    )?;
    let back =
        |of: &dyn Fn(&Trial) -> u64| median(&|trial| ms(trial.recovery.healing_ns, of(trial)));
    writeln!(
        out,
        "  from the begin of healing, which took {:.1} ms: answered after {:.1} ms (of that TCP's \
         back-off {:.1}, the sidecar's own and the healing's {:.1}), 12200 open after {:.1} ms, provided after {:.1} ms (medians)",
        back(&|trial| trial.recovery.healed_ns),
        back(&|trial| trial.recovery.answered_ns),
        median(&|trial| trial.recovery.tcp_ns() as f64 / 1e6),
        median(&|trial| trial.recovery.own_ns() as f64 / 1e6),
        back(&|trial| trial.recovery.open_ns),
        back(&|trial| trial.recovery.known_ns)
    )?;
    if let Some((distance, likely)) = test {
        writeln!(
            out,
            "  law B: distance {distance:.3} from even, p = {likely:.3}"
        )?;
    }
    let calls = |of: &dyn Fn(&Trial) -> u64| trials.iter().map(of).sum::<u64>();
    writeln!(
        out,
        "  callers: {} calls, {} wrong that the silence held, {} others",
        calls(&|trial| trial.callers.sent),
        calls(&|trial| trial.callers.under_way),
        calls(&|trial| trial.callers.beyond) + outcome.wrong_outside.len() as u64
    )?;
    let waited: Vec<(f64, f64)> = trials
        .iter()
        .filter_map(|trial| trial.callers.waited)
        .map(|waited| {
            let age = waited.age_ns as f64 / 1e6;
            (age, age / (waited.predicted_ns as f64 / 1e6))
        })
        .collect();
    if !waited.is_empty() {
        let middle = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = waited.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        writeln!(
            out,
            "  TCP: in {} trials an answer was lost and sent again; the first came {:.0} ms after its \
             call, {:.3} of what back-off predicts (medians)",
            waited.len(),
            middle(&|one| one.0),
            middle(&|one| one.1)
        )?;
    }
    for trial in trials.iter().filter(|trial| !law.of(trial).holds()) {
        writeln!(out, "  outside: {}", outlier(law, trial))?;
    }
    for why in &outcome.broken {
        writeln!(out, "  {why}")?;
    }
    Ok(())
}
