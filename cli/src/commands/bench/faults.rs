//! `meshproof bench faults`: what it takes to put rules in force and to take them away.

use std::io::{self, Write};

use meshproof_fault::speed::{self, median};
use meshproof_harness::inline::in_a_pod;

use crate::exit::{self, Failure};

/// Time to put rules in force and to take them away: by netlink, and by programs
///
/// The same rules (what an app sends from 12199 is lost, IPv4 and IPv6), in a pod, in turn: a table
/// over netlink as a keeper does it, `nft -f`, and `iptables-restore` of both kinds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 measured, 2 the kernel or a program did not take the rules, 4 this machine has no namespaces
for us.

Example:
  meshproof bench faults --rounds 200")]
pub(crate) struct FaultsArgs {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Where this command was brought to already
    #[arg(long, hide = true)]
    inside: bool,
}

/// Measures.
pub(crate) fn run(args: &FaultsArgs) -> Result<u8, Failure> {
    if !args.inside {
        let words = std::env::args().skip(1).chain(["--inside".to_owned()]);
        let told = in_a_pod("faults", words, &mut |line| {
            // Whoever reads no more is told at the end.
            let _ = writeln!(io::stdout(), "{}", line.text);
        });
        return told.map_err(|error| Failure::Unsupported(error.to_string()));
    }
    // A pod has a `/run` of its own, which goes with it.
    let folder = std::path::Path::new("/run/speed");
    std::fs::create_dir_all(folder).map_err(|error| Failure::Io("a folder".into(), error))?;
    let all =
        speed::rounds(args.rounds, folder).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut out = io::stdout().lock();
    let Some(first) = all.first() else {
        return Ok(exit::INVALID);
    };
    for one in &all {
        let [inject, remove] = [&one.inject_ns, &one.remove_ns].map(|times| median(times));
        let times = |ns: u64, of: &[u64]| ns as f64 / median(of).max(1) as f64;
        writeln!(
            out,
            "{:<16} in force after {:8.3} ms ({:6.1} x netlink), gone after {:8.3} ms ({:6.1} x), \
             median of {}",
            one.by,
            inject as f64 / 1e6,
            times(inject, &first.inject_ns),
            remove as f64 / 1e6,
            times(remove, &first.remove_ns),
            one.inject_ns.len()
        )?;
    }
    Ok(exit::OK)
}
