//! `meshproof rewrite`: a capture in which nothing of the original deployment is left.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use meshproof_replay::capture::{AtomicFile, Captures, Writer};
use meshproof_replay::map::Map;
use meshproof_replay::rewrite::{self, Limits, Summary};

use super::select::Select;
use crate::exit::{self, Failure};

/// Arguments of `rewrite`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The map is YAML; docs/rewrite-map.md explains it, `meshproof schema rewrite-map` prints its schema.
What cannot be understood is left out or becomes zeros unless the map says `keep`; it is counted.
--from and --to take packets by their time. --where, --hop and --sample take whole connections:
those that hold a call that they take. Packets left out are counted as not-selected.
Search the result with `meshproof audit OUT --map MAP --original CAPTURE`.

Examples:
  meshproof rewrite prod.pcap --propose -o map.yaml
  meshproof rewrite prod.pcap --map map.yaml -o offline.pcapng
  meshproof rewrite prod.pcap --map map.yaml -o part.pcapng --where 'method == \"hello\"' --to +60s
  meshproof rewrite 'parts/*.pcap.gz' --map map.yaml -o offline.pcapng --format json | jq .rules")]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// What is replaced by what
    #[arg(
        long,
        value_name = "MAP",
        required_unless_present = "propose",
        conflicts_with = "propose"
    )]
    map: Option<PathBuf>,
    /// The pcapng to write; with --propose the map to write (stdout without it)
    #[arg(short, long, value_name = "OUT", required_unless_present = "propose")]
    output: Option<PathBuf>,
    /// Write a first map from what the captures hold, for a person to review
    #[arg(long)]
    propose: bool,
    /// How the summary is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Form of the summary on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Rewrites, or proposes a map.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let selection = args.select.selection()?;
    if args.propose && (selection.is_by_time() || selection.is_by_call()) {
        return Err(Failure::Usage(
            "--propose looks at everything, so that its map misses nothing: leave out --from, \
             --to, --where, --hop and --sample"
                .into(),
        ));
    }
    // Clocks are not aligned: packets keep their time.
    let mut captures = Captures::open(&args.select.inputs()).map_err(usage)?;
    let output = args.output.as_deref();
    if let Some(output) = output {
        refuse_input(&captures, output)?;
    }
    if args.propose {
        let text = rewrite::propose(&mut captures).map_err(usage)?;
        return propose(&text, output);
    }
    let (Some(map), Some(output)) = (&args.map, output) else {
        return Err(Failure::Usage("--map and -o are needed".into()));
    };
    if is_same_file(map, output) {
        let path = output.display();
        return Err(Failure::Usage(format!(
            "{path} is the map: choose another name with -o"
        )));
    }
    let map = read_map(map)?;
    let failed = |error| Failure::Io(output.display().to_string(), error);
    let mut file = AtomicFile::create(output).map_err(failed)?;
    let mut writer = Writer::new(&mut file).map_err(failed)?;
    let summary =
        rewrite::rewrite_selected(&mut captures, &map, &selection, Limits::USUAL, &mut writer)
            .map_err(|error| match error {
                rewrite::Error::Write(error) => failed(error),
                error => Failure::Usage(error.to_string()),
            })?;
    writer.finish().map_err(failed)?;
    file.commit().map_err(failed)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &summary).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Text => text(&mut out, &summary, output)?,
    }
    out.flush()?;
    Ok(match summary.closes() {
        true => exit::OK,
        false => exit::FAIL,
    })
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// The output would take the place of what it is made from.
fn refuse_input(captures: &Captures, output: &Path) -> Result<(), Failure> {
    for file in captures.files() {
        if is_same_file(file, output) {
            let path = output.display();
            return Err(Failure::Usage(format!(
                "{path} is one of the captures that are read: choose another name with -o"
            )));
        }
    }
    Ok(())
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn read_map(path: &Path) -> Result<Map, Failure> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    meshproof_input::text(&name, bytes)
        .and_then(|text| Map::parse(&name, &text))
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}

fn propose(text: &str, output: Option<&Path>) -> Result<u8, Failure> {
    let Some(output) = output else {
        io::stdout().lock().write_all(text.as_bytes())?;
        return Ok(exit::OK);
    };
    let failed = |error| Failure::Io(output.display().to_string(), error);
    let mut file = AtomicFile::create(output).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.commit().map_err(failed)?;
    Ok(exit::OK)
}

fn text(out: &mut impl Write, summary: &Summary, output: &Path) -> io::Result<()> {
    let packets = &summary.packets;
    writeln!(
        out,
        "{}: {} packets written of {} read ({} unchanged, {} rewritten, {} added)",
        output.display(),
        packets.written,
        packets.read,
        packets.unchanged,
        packets.rewritten,
        packets.added,
    )?;
    writeln!(
        out,
        "frames: {}, rewritten {}, emptied {}; bytes blanked: {}",
        summary.frames.total,
        summary.frames.rewritten,
        summary.frames.emptied,
        summary.blanked_bytes,
    )?;
    for (reason, count) in &packets.dropped {
        writeln!(out, "left out: {count} {reason}")?;
    }
    for (name, count) in &summary.findings {
        writeln!(out, "finding: {count} {name}")?;
    }
    for rule in summary.rules.iter().filter(|rule| rule.uses == 0) {
        writeln!(
            out,
            "never used: {} {} (line {} of the map)",
            rule.kind, rule.from, rule.line,
        )?;
    }
    Ok(())
}
