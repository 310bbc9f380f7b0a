//! `meshproof doctor`.

use std::io::{self, Write};

use clap::ValueEnum;
use meshproof_harness::doctor::{Report, examine};
use meshproof_harness::netns::Options;
use owo_colors::{OwoColorize, Stream};

use crate::exit::{Failure, OK, UNSUPPORTED};

/// Tell what this machine can run, why, and what to type where it cannot
///
/// Everything is found out by doing it, and nothing is left of it. A mesh runs in namespaces
/// (backend netns) where the machine allows them, else on loopback addresses (backend process).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 a mesh can run here, 4 none can.

Examples:
  meshproof doctor
  meshproof doctor --format json
  docker run … meshproof doctor      why a container has no namespaces, and with which option it has")]
pub(crate) struct Args {
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A line for each thing
    Text,
    /// One object, schema 1
    Json,
}

/// Examines and tells.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let report = examine(&Options::default());
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => text(&mut out, &report)?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&report).map_err(io::Error::from)?;
            writeln!(out, "{text}")?;
        }
    }
    Ok(if report.backends.is_empty() {
        UNSUPPORTED
    } else {
        OK
    })
}

fn text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for check in &report.checks {
        // Padded before it is coloured: the codes of a colour have no width.
        let word = format!("{:<8}", if check.found { "found" } else { "missing" });
        let word = word.if_supports_color(Stream::Stdout, |word| word.bold());
        writeln!(out, "{word} {:<26} {}", check.name, check.why)?;
        if let Some(advice) = &check.advice {
            writeln!(out, "{:35} for {}: {advice}", "", check.needed_for)?;
        }
    }
    writeln!(out)?;
    match report.backends.first() {
        Some(backend) => writeln!(out, "meshes run in backend {backend}: {}", report.why),
        None => writeln!(out, "no mesh can run here: {}", report.why),
    }
}
