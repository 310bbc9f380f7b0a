//! `meshproof demo`: stories that run by themselves.

use std::io::{self, Write};

use clap::Subcommand;
use meshproof_harness::demo::{Heartbeat, Moment, Plan, mesh};
use meshproof_harness::{Backend, Error};
use meshproof_record::verdict::{Claim, End, Policy, exit_code};
use owo_colors::{OwoColorize, Stream};

use crate::exit::{Failure, INVALID};

/// Stories that run by themselves
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    demo: Demo,
}

/// The stories.
#[derive(Debug, Subcommand)]
enum Demo {
    /// A whole mesh whose app is killed, isolated, and comes back
    Mesh(MeshArgs),
}

/// A whole mesh whose app is killed, isolated, and comes back
///
/// Config center, VIP names, a client and a server with a sidecar each, on the ports of
/// production, in a corner of this machine that leaves nothing behind. Calls go from app to sidecar
/// to sidecar to app; then the server's app is killed. Its sidecar must take the service off the
/// config center and close port 12200, and serve again when the app is back. Every line says who
/// saw it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 the mesh did what it must, 1 it did not, 3 the machine was too busy to tell, 4 this machine
can run none of it (the message says what to do).

Examples:
  meshproof demo mesh
  meshproof demo mesh --interval 1000 --timeout 500 --misses 3
  meshproof demo mesh --bug listener-stays-open      one historic bug back: it must be seen
  meshproof demo mesh --backend process              without namespaces: an address of loopback per pod
  meshproof demo mesh --json")]
struct MeshArgs {
    /// From one heartbeat to the app to the next, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = Plan::default().heartbeat.interval_ms, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    interval: u64,
    /// How long its answer is waited for, in milliseconds; no longer than the interval
    #[arg(long, value_name = "MS", default_value_t = Plan::default().heartbeat.timeout_ms, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout: u64,
    /// Misses in a row until the app counts as lost
    #[arg(long, value_name = "N", default_value_t = Plan::default().heartbeat.misses, value_parser = clap::value_parser!(u32).range(1..=20))]
    misses: u32,
    /// Calls before the app is killed
    #[arg(long, value_name = "N", default_value_t = Plan::default().calls, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Calls after it is back
    #[arg(long, value_name = "N", default_value_t = Plan::default().calls_after, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls_after: u32,
    /// Switch a seeded bug of the server's sidecar on; may be repeated
    #[arg(long, value_name = "NAME")]
    bug: Vec<meshproof_proxy::Bug>,
    /// What the pods are made of; without it the best that this machine allows
    #[arg(long, value_name = "BACKEND")]
    backend: Option<Backend>,
    /// Print the whole story as JSON when it is over
    #[arg(long)]
    json: bool,
}

/// Tells the story.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let Demo::Mesh(args) = args.demo;
    if args.timeout > args.interval {
        return Err(Failure::Usage(format!(
            "--timeout {} is longer than --interval {}: a heartbeat must be over when the next goes out",
            args.timeout, args.interval
        )));
    }
    let plan = Plan {
        heartbeat: Heartbeat {
            interval_ms: args.interval,
            timeout_ms: args.timeout,
            misses: args.misses,
        },
        calls: args.calls,
        calls_after: args.calls_after,
        bugs: args.bug.iter().map(|bug| bug.name().to_owned()).collect(),
        backend: args.backend,
    };
    let mut printed = Ok(());
    let story = mesh(&plan, &mut |moment| {
        if !args.json && printed.is_ok() {
            printed = print(moment);
        }
    });
    printed?;
    let story = match story {
        Ok(story) => story,
        Err(error @ Error::Unsupported { .. }) => {
            return Err(Failure::Unsupported(error.to_string()));
        }
        Err(error) => {
            // Nothing was shown of the mesh.
            writeln!(io::stderr(), "meshproof: {error}")?;
            return Ok(INVALID);
        }
    };
    let mut out = io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&story).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        writeln!(out)?;
        for claim in &story.claims {
            print_claim(&mut out, claim)?;
        }
    }
    Ok(exit_code(&story.claims, End::Finished, &Policy::USUAL))
}

fn print(moment: &Moment) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:>10.1} ms  {:<8}  {}",
        moment.at_ms,
        moment.seen_by.word(),
        moment.what
    )?;
    // Whoever watches a pipe watches it as it happens.
    out.flush()
}

fn print_claim(out: &mut impl Write, claim: &Claim) -> io::Result<()> {
    // Padded before it is coloured: the codes of a colour have no width.
    let word = format!("{:<8}", claim.verdict.word());
    let word = word.if_supports_color(Stream::Stdout, |word| word.bold());
    writeln!(out, "{word} {}: {}", claim.name, claim.why)
}
