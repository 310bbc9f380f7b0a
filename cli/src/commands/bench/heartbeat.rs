//! `meshproof bench heartbeat`: how a sidecar keeps to the laws of its heartbeats.

use std::io::{self, Write};

use meshproof_fault::Way;
use meshproof_harness::Error;
use meshproof_harness::heartbeat::law::{Law, uniform};
use meshproof_harness::heartbeat::trial::{self, Outcome, WAYS};
use meshproof_harness::heartbeat::{Recovery, Stamps, Trial};
use meshproof_harness::mesh::Setting;
use serde_json::json;

use crate::commands::env;
use crate::exit::{self, Failure};

/// When a sidecar notices that its app is silent, and when it is back
///
/// In each trial the app's answers to heartbeats stop at a random moment, in one way; five moments
/// are stamped on one clock: the last answered heartbeat (wire), the message to the config center
/// (wire), its push (registry), 12200 refusing (another pod). Law A: the message leaves T + N*I
/// after the last answered heartbeat was sent; the bound is wider by what this machine held the
/// measurement up at that time. Law B: counted from the silence, every moment of its interval is as
/// likely; a picture, with Kolmogorov's and Smirnov's test.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 at least 99 of 100 trials keep law A, 1 they do not, or a fault met nothing or left
something, 4 this machine can do none of the ways.

Examples:
  meshproof bench heartbeat
  meshproof bench heartbeat --trials 60 --way nft-owner --way relay --json")]
pub(crate) struct HeartbeatArgs {
    /// Trials of each way
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    trials: u32,
    /// How answers are stopped; default: every way
    #[arg(long, value_name = "WAY", value_parser = way)]
    way: Vec<Way>,
    /// The seed of the moments at which the app falls silent
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Every trial as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Of a hundred trials, so many must keep law A.
const KEPT_PERCENT: f64 = 99.0;

fn way(word: &str) -> Result<Way, String> {
    let known = WAYS.map(|(way, _)| way);
    let found = known.into_iter().find(|way| way.word() == word);
    found.ok_or_else(|| {
        let known = known.map(Way::word).join(", ");
        format!("expected one of {known}")
    })
}

/// Measures.
pub(crate) fn run(args: &HeartbeatArgs) -> Result<u8, Failure> {
    let setting = Setting::default();
    let spec = trial::topology(&setting).map_err(env::failure)?;
    let law = trial::law(&spec);
    let ways = match args.way.as_slice() {
        [] => WAYS.map(|(way, _)| way).to_vec(),
        ways => ways.to_vec(),
    };
    let mut out = io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "law A: {:.0} ms after the last answered heartbeat (I {} ms, T {} ms, N {})",
            law.expected_ms(),
            law.interval.as_millis(),
            law.timeout.as_millis(),
            law.misses
        )?;
    }
    let (mut all, mut kept, mut good, mut done) = (0_usize, 0_usize, true, 0);
    for way in ways {
        let mut told = Ok(());
        let outcome = trial::run(way, args.trials, args.seed, &setting, &mut |_, trial| {
            if args.json
                && let Ok(trial) = trial
            {
                told = writeln!(io::stdout(), "{}", line(law, trial));
            }
        });
        told?;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Error::Unsupported { missing, advice }) => {
                writeln!(out, "{way}: UNSUPPORTED(machine): {missing}; {advice}")?;
                continue;
            }
            Err(error) => return Err(env::failure(error)),
        };
        done += 1;
        let held = outcome.trials.iter().filter(|trial| law.of(trial).holds());
        let held = held.count();
        all += outcome.trials.len() + outcome.broken.len();
        kept += held;
        good &= tell(&mut out, way, law, held, &outcome, args.json)?;
    }
    if done == 0 {
        return Err(Failure::Unsupported(
            "none of the ways can be done here".into(),
        ));
    }
    let percent = kept as f64 * 100.0 / all.max(1) as f64;
    writeln!(out, "{kept} of {all} trials keep law A ({percent:.1} %)")?;
    Ok(match good && percent >= KEPT_PERCENT {
        true => exit::OK,
        false => exit::FAIL,
    })
}

fn line(law: Law, trial: &Trial) -> String {
    let held = law.of(trial);
    json!({
        "schema": 1,
        "trial": trial,
        "took_ms": held.took_ms,
        "expected_ms": held.expected_ms,
        "wider_ms": held.wider_ms,
        "holds": held.holds(),
        "phase": law.phase(trial),
    })
    .to_string()
}

/// A paragraph on one way; whether nothing speaks against it but the law.
fn tell(
    out: &mut impl Write,
    way: Way,
    law: Law,
    held: usize,
    outcome: &Outcome,
    json: bool,
) -> Result<bool, Failure> {
    let inert = outcome.evidence.iter().filter(|one| one.is_empty()).count();
    let left = outcome.residue.iter().filter(|one| !one.is_empty()).count();
    if json {
        return Ok(inert + left + outcome.broken.len() == 0);
    }
    let trials = &outcome.trials;
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
    let ms = |from: u64, to: u64| (to as f64 - from as f64) / 1e6;
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
    writeln!(
        out,
        "  then: config center told others after {:.2} ms, 12200 refused after {:.2} ms (medians)",
        after(&|stamps| stamps.known_ns),
        after(&|stamps| stamps.refused_ns)
    )?;
    let back = |of: &dyn Fn(&Recovery) -> u64| {
        median(&|trial| ms(trial.recovery.healed_ns, of(&trial.recovery)))
    };
    writeln!(
        out,
        "  healed: answered after {:.1} ms, 12200 open after {:.1} ms, provided after {:.1} ms (medians)",
        back(&|back| back.answered_ns),
        back(&|back| back.open_ns),
        back(&|back| back.known_ns)
    )?;
    let phases: Vec<f64> = trials.iter().map(|trial| law.phase(trial)).collect();
    if let Some((distance, likely)) = uniform(&phases) {
        writeln!(
            out,
            "  law B: distance {distance:.3} from uniform, p = {likely:.3}"
        )?;
    }
    if !outcome.evidence.is_empty() {
        let met: u64 = outcome.evidence.iter().map(|one| one.met()).sum();
        writeln!(
            out,
            "  {met} packets met {} faults; {inert} met nothing, {left} left something behind",
            outcome.evidence.len()
        )?;
    }
    for why in &outcome.broken {
        writeln!(out, "  {why}")?;
    }
    Ok(inert + left + outcome.broken.len() == 0)
}
