//! `meshproof diff`: two records, exchange by exchange.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use meshproof_record::report::text::{excerpts, tame};
use meshproof_record::row::ExchangeRow;
use meshproof_record::store::{Damage, Record, Rows, StoreError};
use meshproof_record::verdict::{Claim, End, Policy, Verdict, exit_code};
use meshproof_replay::diff::{Noise, Pair, RecordDiff, diff_records};
use serde_json::json;

use super::replay::read_noise;
use crate::exit::Failure;

/// Characters of a value that are printed.
const VALUE_CHARS_MAX: usize = 120;
/// Characters of a path or name that are printed.
const NAME_CHARS_MAX: usize = 200;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The answers that the two runs observed are compared, decoded. Two runs of one capture are read in step, whatever their size.
Exchanges are joined by number where both ask for the same, else by what they ask for, in order.
Exit code: 0 no difference, 1 a difference, 3 nothing to compare or not the same requests.

Examples:
  meshproof diff meshproof-runs/before meshproof-runs/after
  meshproof diff before after --noise noise.yaml --format json | jq '.exchanges[].differences'")]
pub(crate) struct Args {
    /// Folder of the run that is taken as recorded
    #[arg(value_name = "RECORD")]
    first: PathBuf,
    /// Folder of the run that is taken as observed
    #[arg(value_name = "RECORD")]
    second: PathBuf,
    /// Places whose differences are shown and not judged (`meshproof schema noise`)
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print so many exchanges that differ (as text); 0 prints all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
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
    let noise = match &args.noise {
        Some(path) => read_noise(path)?,
        None => Noise::default(),
    };
    let (mut first, mut second) = (Reading::open(&args.first)?, Reading::open(&args.second)?);
    let diff = diff_records(&mut first, &mut second, &noise);
    let mut notes = first.close()?;
    notes.extend(second.close()?);
    let mut claim = diff.claim();
    if claim.verdict == Verdict::Pass && !notes.is_empty() {
        claim.verdict = Verdict::Invalid;
        claim.why = format!("{}, but not all of the records could be read", claim.why);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Json => json(&mut out, &args, &diff, &claim, &notes)?,
        Format::Text => text(&mut out, &args, &diff, &claim, &notes)?,
    }
    out.flush()?;
    Ok(exit_code(&[claim], End::Finished, &Policy::USUAL))
}

/// The rows of a record, and what was wrong with them.
struct Reading {
    name: String,
    rows: Rows,
    whole: bool,
    /// How many exchanges the manifest tells of.
    told: Option<u64>,
    read: u64,
    error: Option<StoreError>,
}

impl Reading {
    fn open(folder: &Path) -> Result<Reading, Failure> {
        let record = Record::open(folder).map_err(stored)?;
        Ok(Reading {
            name: folder.display().to_string(),
            rows: record.rows().map_err(stored)?,
            whole: record.manifest().is_some(),
            told: record.manifest().map(|manifest| manifest.exchanges),
            read: 0,
            error: None,
        })
    }

    /// What a reader should know of the record; an error where it could not be read on.
    fn close(self) -> Result<Vec<String>, Failure> {
        if let Some(error) = self.error {
            return Err(stored(error));
        }
        let name = self.name;
        let mut notes = Vec::new();
        if !self.whole {
            notes.push(format!("{name}: the run was cut off"));
        }
        let Damage {
            torn,
            unreadable,
            first,
        } = self.rows.damage();
        if *torn {
            notes.push(format!(
                "{name}: the last exchange was torn and is left out"
            ));
        }
        if let Some((line, why)) = first {
            notes.push(format!(
                "{name}: {unreadable} exchanges unreadable, the first in line {line}: {why}"
            ));
        }
        if let Some(told) = self
            .told
            .filter(|told| notes.is_empty() && *told != self.read)
        {
            notes.push(format!(
                "{name}: {} exchanges are there, and its manifest tells of {told}",
                self.read
            ));
        }
        Ok(notes)
    }
}

fn stored(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}

impl Iterator for &mut Reading {
    type Item = ExchangeRow;

    fn next(&mut self) -> Option<ExchangeRow> {
        match self.rows.next()? {
            Ok(row) => {
                self.read += 1;
                Some(row)
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

fn text(
    out: &mut impl Write,
    args: &Args,
    diff: &RecordDiff,
    claim: &Claim,
    notes: &[String],
) -> io::Result<()> {
    let limit = match args.limit {
        0 => usize::MAX,
        limit => limit,
    };
    // What is judged first: it must not fall behind the limit.
    let (judged, shown): (Vec<&Pair>, Vec<&Pair>) = diff.pairs.iter().partition(|it| it.differs());
    let pairs = || judged.iter().chain(&shown);
    for pair in pairs().take(limit) {
        writeln!(
            out,
            "exchange {}{}  {}",
            pair.first,
            match pair.second == pair.first {
                true => String::new(),
                false => format!(" and {}", pair.second),
            },
            tame(&name(pair), NAME_CHARS_MAX)
        )?;
        for difference in &pair.differences {
            let side = |side: &Option<String>| side.clone().unwrap_or_default();
            let (one, other) = excerpts(
                &side(&difference.recorded),
                &side(&difference.observed),
                VALUE_CHARS_MAX,
            );
            let value = |side: &Option<String>, text: String| match side {
                Some(_) => text,
                None => "(nothing)".to_owned(),
            };
            writeln!(
                out,
                "  {}{}\n    recorded  {}\n    observed  {}",
                tame(&difference.path, NAME_CHARS_MAX),
                if difference.judged {
                    ""
                } else {
                    "  (not judged)"
                },
                value(&difference.recorded, one),
                value(&difference.observed, other),
            )?;
        }
    }
    let more = pairs().count().saturating_sub(limit);
    if more > 0 {
        writeln!(out, "… and {more} more exchanges; --limit 0 prints all")?;
    }
    for note in notes {
        writeln!(out, "note: {}", tame(note, 1000))?;
    }
    writeln!(out, "{} {}: {}", claim.verdict, claim.name, claim.why)
}

fn name(pair: &Pair) -> String {
    match (pair.service.as_str(), pair.method.as_str()) {
        (service, "") => service.to_owned(),
        (service, method) => format!("{service}.{method}"),
    }
}

fn json(
    out: &mut impl Write,
    args: &Args,
    diff: &RecordDiff,
    claim: &Claim,
    notes: &[String],
) -> io::Result<()> {
    let exchanges: Vec<_> = diff
        .pairs
        .iter()
        .map(|pair| {
            json!({
                "first": pair.first,
                "second": pair.second,
                "service": pair.service,
                "method": pair.method,
                "differs": pair.differs(),
                "differences": pair.differences,
            })
        })
        .collect();
    let document = json!({
        "schema": 1,
        "first": args.first,
        "second": args.second,
        "verdict": claim.verdict,
        "why": claim.why,
        "compared": diff.compared,
        "without_answer": diff.without_answer,
        "differing": diff.differing(),
        "blind": diff.blind,
        "left_out": diff.left_out,
        "only_first": diff.only_first,
        "only_second": diff.only_second,
        "notes": notes,
        "exchanges": exchanges,
    });
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}
