//! `meshproof audit`: a search for what must not be left in a capture.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use comfy_table::Table;
use meshproof_replay::audit::{Audit, Found, Needles, Original, Place, Report};
use meshproof_replay::capture::{Captures, Finding, Inputs};
use meshproof_replay::map::Map;

use crate::exit::{self, Failure};

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Searched for: every original of the map; with --original also every peer address, VIP, app and
zone that stands in that capture, and the values that the map redacts. Searched in: headers,
streams, retransmitted copies, packets that are no TCP, decoded fields, comments and names of the
file; as text, UTF-16, URL-escaped, JSON-escaped, hexadecimal, decimal, packed, base64.

Everything is searched: there is no --from, --to, --where, --hop or --sample, since a part that was
not looked at proves nothing.

Exit code: 0 nothing found, 1 something found, 2 wrong use or unreadable input, 3 nothing found,
but not everything was searched: no packet, nothing to search for, a capture cut or damaged.

Examples:
  meshproof audit offline.pcapng --map map.yaml
  meshproof audit offline.pcapng --map map.yaml --original prod.pcap
  meshproof audit offline.pcapng --original prod.pcap
  meshproof audit offline.pcapng --map map.yaml --format json | jq '.findings[].needle'")]
pub(crate) struct Args {
    /// The rewritten capture: files, folders or globs
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<String>,
    /// The rewrite map whose originals must be gone
    #[arg(long, value_name = "MAP", required_unless_present = "original")]
    map: Option<PathBuf>,
    /// The capture before it was rewritten: what it shows must be gone too; repeated
    #[arg(long, value_name = "CAPTURE")]
    original: Vec<String>,
    /// How the result is written; json is a stable contract
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Form of the result on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Searches and tells.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let map = match &args.map {
        Some(path) => read_map(path)?,
        None => Map::default(),
    };
    let mut shows_nothing = false;
    let original = if args.original.is_empty() {
        None
    } else {
        let mut captures = Captures::open(&Inputs::of(&args.original)).map_err(usage)?;
        shows_nothing = captures.files().next().is_none();
        let original = Original::read(&mut captures, &map).map_err(usage)?;
        tell(&captures.findings())?;
        Some(original)
    };
    let needles = Needles::new(&map, original.as_ref());
    let mut captures = Captures::open(&Inputs::of(&args.captures)).map_err(usage)?;
    let mut audit = Audit::new(&needles).map_err(Failure::Usage)?;
    if map.redact.is_some() && args.original.is_empty() {
        audit.unsearched(
            "personal values: the map says where they stand, only the original capture what they \
             are; give it with --original"
                .into(),
        );
    }
    if shows_nothing {
        audit.unsearched("the original capture holds no packet to tell what to search for".into());
    }
    audit.packets(&mut captures).map_err(usage)?;
    for path in captures.files() {
        let name = path.display().to_string();
        // Standard input and pipes can be read once only, and that was for the packets.
        if !path.is_file() {
            audit.unsearched(format!(
                "{name}: comments and names of what can be read once only; give a file"
            ));
            continue;
        }
        let failed = |error| Failure::Io(name.clone(), error);
        let file = File::open(path).map_err(failed)?;
        audit.blocks(&name, file).map_err(failed)?;
    }
    let findings = captures.findings();
    audit.reading(&findings);
    let report = audit.finish();
    tell(&findings)?;

    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Text => text(&mut out, &report)?,
    }
    out.flush()?;
    Ok(match (report.is_clean(), report.unsearched.is_empty()) {
        (false, _) => exit::FAIL,
        (true, false) => exit::INVALID,
        (true, true) => exit::OK,
    })
}

/// What the reader of a capture found, on stderr; whoever closed that does not want to know.
fn tell(findings: &[Finding]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    for finding in findings {
        writeln!(err, "finding: {finding}")?;
    }
    Ok(())
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn read_map(path: &Path) -> Result<Map, Failure> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    meshproof_input::text(&name, bytes)
        .and_then(|text| Map::parse(&name, &text))
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}

fn text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let scanned = &report.scanned;
    let needles = &report.needles;
    writeln!(
        out,
        "{}  {} found, of {} originals of the map and {} more of the original capture",
        report.verdict,
        report.findings.len(),
        needles.map,
        needles.original,
    )?;
    writeln!(
        out,
        "searched {} packets ({} bytes), {} stream bytes, {} frames with {} fields, {} bytes of other blocks",
        scanned.packets,
        scanned.packet_bytes,
        scanned.stream_bytes,
        scanned.frames,
        scanned.fields,
        scanned.block_bytes,
    )?;
    for what in &report.unsearched {
        writeln!(out, "not searched: {what}")?;
    }
    if !report.findings.is_empty() {
        writeln!(out, "\n{}", table(&report.findings, Odds::Leave))?;
    }
    if !report.chance.is_empty() {
        writeln!(out, "\nexplained by chance, no findings:")?;
        writeln!(out, "{}", table(&report.chance, Odds::Show))?;
    }
    if !report.exempt.is_empty() {
        writeln!(out, "\nexempt:")?;
        let mut table = plain(&["needle", "kind", "why", "seen"]);
        for exempted in &report.exempt {
            table.add_row([
                exempted.exempt.needle.clone(),
                exempted.exempt.kind.name().to_owned(),
                exempted.exempt.why.to_owned(),
                exempted.count.to_string(),
            ]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odds {
    Show,
    Leave,
}

fn table(found: &[Found], odds: Odds) -> Table {
    let mut table = match odds {
        Odds::Leave => plain(&["needle", "kind", "from", "as", "times", "where"]),
        Odds::Show => plain(&[
            "needle",
            "kind",
            "from",
            "as",
            "times",
            "by chance",
            "where",
        ]),
    };
    for found in found {
        let mut row = vec![
            found.needle.clone(),
            found.kind.name().to_owned(),
            found.origin.clone(),
            found.encoding.name().to_owned(),
            found.count.to_string(),
        ];
        if odds == Odds::Show {
            row.push(format!("{:.1}", found.expected));
        }
        let places: Vec<String> = found.places.iter().take(3).map(place).collect();
        row.push(places.join("\n"));
        table.add_row(row);
    }
    table
}

fn place(place: &Place) -> String {
    let mut words = String::new();
    if let Some(packet) = place.packet {
        words += &format!("packet {packet} ");
    }
    match (&place.field, place.part) {
        (Some(field), _) => words += field,
        (None, "header") => words += "header",
        (None, part) => words += &format!("{part} byte {}", place.offset),
    }
    format!("{words}: {}", place.context)
}

fn plain(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head.iter().copied());
    table
}
