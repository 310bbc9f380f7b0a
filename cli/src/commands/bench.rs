//! `meshproof bench`: what the harness itself costs, and what only many runs tell.

mod faults;
mod heartbeat;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use meshproof_harness::inline::measure::{Held, pair, rate};
use meshproof_harness::inline::{Networks, Peers};
use meshproof_harness::matrix::Matrix;
use meshproof_harness::matrix::run::{Options, Runner};
use meshproof_harness::mesh::Setting;

use crate::exit::{self, Failure};
use crate::in_process::InProcess;

/// Measure what the harness itself costs, and what only many runs tell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum Bench {
    /// Cells of a matrix a second, and what they leave behind
    Cells(CellsArgs),
    /// When a sidecar notices that its app is silent, and when it is back
    Heartbeat(heartbeat::HeartbeatArgs),
    /// Time to put rules in force and to take them away: by netlink, and by programs
    Faults(faults::FaultsArgs),
}

/// Cells of a matrix a second, and what they leave behind
///
/// A full cell is a mesh of its own: a config center, a client and a server with a sidecar each,
/// calls, a verdict. It is run with programs in namespaces of its own, and with peers of one
/// process in pods that are used again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 measured, 1 a cell failed or something was left behind, 4 this machine has no namespaces
for us.

Examples:
  meshproof bench cells
  meshproof bench cells --programs 200 --in-process 10000 --jobs 4")]
struct CellsArgs {
    /// Cells with programs
    #[arg(long, value_name = "N", default_value_t = 100)]
    programs: usize,
    /// Cells with peers of one process
    #[arg(long, value_name = "N", default_value_t = 1000)]
    in_process: usize,
    /// Pairs of pods that are made and ended
    #[arg(long, value_name = "N", default_value_t = 50)]
    pairs: u32,
    /// Cells side by side; of those in process twice as many
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    jobs: u16,
    /// Calls of a cell
    #[arg(long, value_name = "N", default_value_t = 10)]
    calls: u64,
    /// How long the kernel may take to let go of the last network, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    settle: u64,
}

/// One cell, many times.
const MATRIX: &str = "\
matrix: pair
axes:
  client: {mesh: [reference]}
  server: {mesh: [reference]}
  providers: [[bolt-v1]]
";

/// A folder in memory, where there is one: what cells write is gone before a disk would have it.
fn scratch() -> PathBuf {
    let name = format!("meshproof-bench-{}", std::process::id());
    let memory = Path::new("/dev/shm").join(&name);
    match std::fs::create_dir(&memory) {
        Ok(()) => memory,
        Err(_) => std::env::temp_dir().join(name),
    }
}

/// Measures.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let args = match args.bench {
        Bench::Cells(args) => args,
        Bench::Heartbeat(args) => return heartbeat::run(&args),
        Bench::Faults(args) => return faults::run(&args),
    };
    // First of all, as long as this is one thread.
    let networks = Networks::none().map_err(|error| Failure::Unsupported(error.to_string()))?;
    let matrix = Matrix::parse("pair", MATRIX)
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))?;
    let plan = matrix
        .plan()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let Some(cell) = plan.cells.first() else {
        return Err(Failure::Usage("no cell is possible".into()));
    };
    let scratch = scratch();
    let options = |jobs: usize, peers| Options {
        setting: Setting::default(),
        sites: Vec::new(),
        jobs,
        budget: Duration::from_secs(60),
        calls: args.calls,
        topology: None,
        replay: None,
        scratch: scratch.clone(),
        artefacts: None,
        in_process: peers,
        rerun: "meshproof matrix pair --cell".into(),
    };
    let peers: Arc<dyn Peers> = Arc::new(InProcess::new()?);
    let mut out = io::stdout().lock();
    let mut good = true;
    let jobs = usize::from(args.jobs);
    // What a process gets once and keeps is no leak: one cell of each kind comes before.
    for peers in [None, Some(Arc::clone(&peers))] {
        rate(&Runner::new(options(1, peers)), cell, 1);
    }
    let before = Held::now()?;
    let ways = [
        ("programs", options(jobs, None), args.programs),
        (
            "in process",
            options(jobs * 2, Some(peers)),
            args.in_process,
        ),
    ];
    for (name, options, count) in ways {
        if count == 0 {
            continue;
        }
        let jobs = options.jobs;
        let rate = rate(&Runner::new(options), cell, count);
        good &= rate.failed.is_empty();
        writeln!(
            out,
            "{name}: {count} cells in {:.2} s, {:.1} a second, {jobs} at a time, {} failed",
            rate.took_ns as f64 / 1e9,
            rate.a_second(count),
            rate.failed.len()
        )?;
        for failed in rate.failed.iter().take(3) {
            for claim in &failed.case.claims {
                writeln!(out, "  {} {}: {}", claim.verdict, claim.name, claim.why)?;
            }
        }
    }
    if args.pairs > 0 {
        let pair = pair(args.pairs)?;
        writeln!(
            out,
            "a pair of pods: up in {:.2} ms, down in {:.2} ms, median of {}",
            pair.up_ns as f64 / 1e6,
            pair.down_ns as f64 / 1e6,
            args.pairs
        )?;
    }
    let patience = Duration::from_secs(args.settle);
    let after = Held::settled(before, patience)?;
    let (left, said) = match networks.left(patience) {
        Ok(left) => (left, format!("{left} network namespaces")),
        Err(error) => (0, format!("network namespaces not counted: {error}")),
    };
    match after.beyond(before) {
        None if left == 0 => writeln!(out, "left behind: nothing ({after}; {said})")?,
        more => {
            good = false;
            writeln!(out, "left behind: {}, {said}", more.unwrap_or_default())?;
        }
    }
    Ok(if good { exit::OK } else { exit::FAIL })
}
