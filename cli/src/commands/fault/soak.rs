//! `meshproof fault soak`: runs that hold faults are killed, and nothing may be left.

use std::io::{self, Write};

use meshproof_fault::soak::{self, KINDS, Kind, Options, Tally};
use meshproof_harness::inline::in_a_pod;

use super::failure;
use crate::exit::{self, Failure};

/// Kill runs that hold faults, at random moments, and look for what is left
///
/// In a small machine of its own, runs are killed with SIGKILL while they put faults in force and
/// thereafter, alone and together with their keepers; then rules, links, addresses, routes,
/// queueing disciplines, mounts, control groups, processes, tasks that stand still, descriptors,
/// limits and the journal are compared with what there was. A run is stopped with SIGSTOP, too: its
/// fault ends with its time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 nothing was left (rules of iptables whose keepers were killed were listed, and healed),
1 something was, 3 no kind can be done here, 4 this machine has no namespaces for us.

Examples:
  meshproof fault soak
  meshproof fault soak --kills 1000 --pairs 20 --pair-kills 100
  meshproof fault soak --kind drop --kind pause --kills 10000 --json")]
pub(super) struct Args {
    /// Kills of each kind of lease
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: u32,
    /// Pairs of kinds, drawn by the seed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pairs: u32,
    /// Kills of each pair
    #[arg(long, value_name = "N", default_value_t = 2)]
    pair_kills: u32,
    /// Only this kind; may be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<Kind>,
    /// Draws moments and pairs
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// What each kind came to as a line of JSON
    #[arg(long)]
    json: bool,
    /// Where this command was brought to already
    #[arg(long, hide = true)]
    inside: bool,
}

fn kind(word: &str) -> Result<Kind, String> {
    let found = KINDS.iter().find(|kind| kind.name == word);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        format!("expected one of {}", known.join(", "))
    })
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    if !args.inside {
        let words = std::env::args().skip(1).chain(["--inside".to_owned()]);
        let told = in_a_pod("soak", words, &mut |line| {
            // Whoever reads no more is told at the end.
            let _ = writeln!(io::stdout(), "{}", line.text);
        });
        return told.map_err(|error| Failure::Unsupported(error.to_string()));
    }
    let options = Options {
        kills: args.kills,
        pairs: args.pairs,
        pair_kills: args.pair_kills,
        seed: args.seed,
        kinds: match args.kinds.as_slice() {
            [] => KINDS.to_vec(),
            kinds => kinds.to_vec(),
        },
    };
    let mut out = io::stdout().lock();
    let mut told = Ok(());
    let tallies = soak::kill(&options, &mut |tally| {
        if told.is_ok() {
            told = tell(&mut out, tally, args.json).and_then(|()| out.flush());
        }
    })
    .map_err(failure)?;
    told?;
    let sum = |of: &dyn Fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let done = tallies.iter().filter(|tally| tally.lacking.is_none());
    let (done, left) = (done.count(), sum(&|tally| tally.left));
    if !args.json {
        writeln!(
            out,
            "{} runs killed ({} with their keepers; {} in force, {} on the way there), {} listed \
             and healed: {left} left something behind",
            sum(&|tally| tally.kills),
            sum(&|tally| tally.together),
            sum(&|tally| tally.in_force),
            sum(&|tally| tally.midway),
            sum(&|tally| tally.listed_and_healed),
        )?;
    }
    Ok(match (left, done) {
        (0, 0) => exit::INVALID,
        (0, _) => exit::OK,
        _ => exit::FAIL,
    })
}

fn tell(out: &mut impl Write, tally: &Tally, json: bool) -> io::Result<()> {
    let ms = |ns: u64| ns as f64 / 1e6;
    let kinds = tally.kinds.join(" + ");
    let [half, most, all] = [50, 99, 100].map(|share| ms(tally.vanished_within(share)));
    if json {
        let mut value = serde_json::to_value(tally)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("vanished_ns");
            let times = serde_json::json!({"p50": half, "p99": most, "max": all});
            fields.insert("vanished_ms".into(), times);
            fields.insert("schema".into(), 1.into());
        }
        return writeln!(out, "{value}");
    }
    if let Some(why) = &tally.lacking {
        return writeln!(out, "{kinds}: UNSUPPORTED(machine): {why}");
    }
    let listed = match tally.listed_and_healed {
        0 => String::new(),
        some => format!(", {some} listed and healed"),
    };
    let stopped = tally.stopped_ns.map_or_else(String::new, |ns| {
        format!("; stopped: healed after {:.0} ms", ms(ns))
    });
    writeln!(
        out,
        "{kinds}: {} killed ({} with keepers; {} in force, {} midway){listed}, {} left something; \
         gone after {half:.1} ms (median), {most:.1} ms (99 %), {all:.1} ms (all){stopped}",
        tally.kills, tally.together, tally.in_force, tally.midway, tally.left
    )?;
    for what in &tally.told {
        writeln!(out, "  {what}")?;
    }
    Ok(())
}
