//! `meshproof hop`: what a sidecar changed between two capture points.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use meshproof_record::report::text::tame;
use meshproof_record::verdict::{End, Policy, exit_code};
use meshproof_replay::capture::{Captures, Inputs};
use meshproof_replay::exchange::Hop;
use meshproof_replay::hop::{self, Report, Rules, Seen};

use super::select::unreadable;
use crate::exit::Failure;

/// Characters of a value that are printed.
const VALUE_CHARS_MAX: usize = 120;

/// Arguments of `hop`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A is taken in front of the sidecar, B behind it: on the loopback of the pod (12220 or 12199) and on
its eth0 (12200). One file that holds both is given twice, with --before and --after.

Exchanges are matched by trace id, service, method and arguments; among equals by order of time.
What changed is listed field by field. Allowed are ids, the connection and a checksum that follows;
more by --rules, whose schema `meshproof schema hop-rules` prints. Heartbeats and the application
API end at a sidecar and are not compared.

Exit: 0 every change is allowed, 1 one is not, 2 wrong use, 3 nothing could be matched.

Examples:
  meshproof hop app.pcap wire.pcap
  meshproof hop all.pcap all.pcap --before outbound --after inbound
  meshproof hop wire.pcap app.pcap --rules may.yaml --format json | jq '.changes[].field'")]
pub(crate) struct Args {
    /// In front of the sidecar: files, globs in quotes, or folders
    #[arg(value_name = "A")]
    before_capture: String,
    /// Behind it
    #[arg(value_name = "B")]
    after_capture: String,
    /// Only what A shows at this hop: outbound (12220), inbound (12200), app (12199), unknown
    #[arg(long, value_name = "HOP")]
    before: Option<Hop>,
    /// Only what B shows at this hop
    #[arg(long, value_name = "HOP")]
    after: Option<Hop>,
    /// What else the sidecar may change, in YAML
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Compares and tells.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let rules = match &args.rules {
        Some(path) => read_rules(path)?,
        None => Rules::default(),
    };
    if args.before_capture == args.after_capture && args.before == args.after {
        return Err(Failure::Usage(format!(
            "{} stands on both sides: say with --before and --after at which hop each is taken",
            args.before_capture
        )));
    }
    let before = read(&args.before_capture, args.before)?;
    let after = read(&args.after_capture, args.after)?;
    let report = hop::compare(before, after, &rules);
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Text => text(&mut out, &report)?,
    }
    out.flush()?;
    let claim = report.claim("hop");
    Ok(exit_code(&[claim], End::Finished, &Policy::USUAL))
}

fn read(capture: &str, hop: Option<Hop>) -> Result<Seen, Failure> {
    let mut captures = Captures::open(&Inputs::of([capture])).map_err(unreadable)?;
    hop::read(&mut captures, hop).map_err(unreadable)
}

/// Reads a file of hop rules.
pub(crate) fn read_rules(path: &Path) -> Result<Rules, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    meshproof_input::text(&name, bytes)
        .and_then(|text| Rules::parse(&name, &text))
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}

fn text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for changed in &report.changes {
        let allowed = match (&changed.rule, changed.allowed) {
            (Some(rule), true) => format!("allowed by {rule}"),
            _ => "NOT ALLOWED".to_owned(),
        };
        writeln!(
            out,
            "{:>8}x  {} {}  ({})",
            changed.times,
            tame(&changed.field, VALUE_CHARS_MAX),
            changed.change,
            tame(&allowed, VALUE_CHARS_MAX)
        )?;
        if changed.allowed {
            continue;
        }
        for example in &changed.examples {
            let packet = |packet: Option<u64>| match packet {
                Some(packet) => format!("packet {packet}"),
                None => "nothing".to_owned(),
            };
            writeln!(
                out,
                "           {}: {} in front, {} behind",
                tame(&example.call, VALUE_CHARS_MAX),
                packet(example.before_packet),
                packet(example.after_packet),
            )?;
            for (side, value) in [("before", &example.before), ("after", &example.after)] {
                if let Some(value) = value {
                    writeln!(
                        out,
                        "             {side:<6}  {}",
                        tame(value, VALUE_CHARS_MAX)
                    )?;
                }
            }
        }
    }
    let by: Vec<String> = report
        .matched_by
        .iter()
        .map(|(by, count)| format!("{count} by {by}"))
        .collect();
    writeln!(
        out,
        "{} in front, {} behind, {} matched{}; {} untouched",
        report.before,
        report.after,
        report.matched,
        match by.is_empty() {
            true => String::new(),
            false => format!(" ({})", by.join(", ")),
        },
        report.untouched,
    )?;
    for (reason, count) in &report.left_out {
        writeln!(out, "not compared: {count} {reason}")?;
    }
    writeln!(out, "{} hop: {}", report.verdict, report.why)
}
