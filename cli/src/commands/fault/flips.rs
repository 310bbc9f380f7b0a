//! `meshproof fault flips`: every byte of a header as every other value.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use meshproof_harness::Backend;
use meshproof_harness::flips::{self, Row, Speech, Table, Wanted, Way};
use meshproof_harness::mesh::Setting;
use meshproof_record::case::{Axis, Case, CaseKind, Choice};
use meshproof_record::event::Event;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{Claim, End, Verdict};

use crate::commands::env;
use crate::exit::{self, Failure};

/// Damage every byte of a header, and tell what the sidecar makes of it
///
/// Each byte of the headers of BOLT v1 and v2 is given every other value, in requests into port
/// 12200 and in answers from the app, one frame at a time, on reference sidecars of their own.
/// Good calls go on beside it in every version, each with its end in a ledger. Nothing may hang,
/// no sidecar may end, no answer may belong to something else, no good call may be harmed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 the sidecar stood, 1 it did not, 4 this machine cannot run it.

Examples:
  meshproof fault flips
  meshproof fault flips --only bolt-v1 --mask 1 --mask 128 --mask 255
  meshproof fault flips --format markdown > flips.md
  meshproof fault flips --record flips && meshproof report flips --html flips.html")]
pub(super) struct Args {
    /// Only this version: bolt-v1, bolt-v2, bolt-v2-crc; may be repeated
    #[arg(long, value_name = "VERSION", value_parser = speech)]
    only: Vec<Speech>,
    /// Only what these masks make of a byte by exclusive or; default: all 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    mask: Vec<u8>,
    /// Only every N-th byte, beginning with the first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=24))]
    step: u16,
    /// Sidecars side by side
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=16))]
    lanes: u16,
    /// In this kind of environment: netns, process; default: the best that there is
    #[arg(long, value_name = "KIND", value_parser = backend)]
    backend: Option<Backend>,
    /// Keep it as a record in this folder: `meshproof report` makes a page of it
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line on each version and way
    Text,
    /// Byte by outcome
    Markdown,
    /// One object, schema 1
    Json,
}

fn speech(word: &str) -> Result<Speech, String> {
    let found = Speech::ALL.into_iter().find(|it| it.word() == word);
    found.ok_or_else(|| {
        let known = Speech::ALL.map(Speech::word).join(", ");
        format!("expected one of {known}")
    })
}

fn backend(word: &str) -> Result<Backend, String> {
    [Backend::Netns, Backend::Process]
        .into_iter()
        .find(|it| it.name() == word)
        .ok_or_else(|| "expected netns or process".to_owned())
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let all = Wanted::all();
    let wanted = Wanted {
        speeches: match args.only.as_slice() {
            [] => all.speeches,
            only => only.to_vec(),
        },
        ways: Way::ALL.to_vec(),
        masks: match args.mask.as_slice() {
            [] => all.masks,
            masks => masks.to_vec(),
        },
        step: args.step.into(),
        lanes: args.lanes.into(),
    };
    let setting = Setting {
        backend: args.backend,
        ..Setting::default()
    };
    let table = flips::run(&wanted, &setting).map_err(env::failure)?;
    if let Some(folder) = &args.record {
        keep(folder, &table).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => write!(out, "{}", flips::summary(&table))?,
        Format::Markdown => write!(out, "{}", flips::markdown(&table))?,
        Format::Json => writeln!(out, "{:#}", flips::json(&table))?,
    }
    Ok(match table.against().is_empty() {
        true => exit::OK,
        false => exit::FAIL,
    })
}

/// What is on the axes of a row's case.
fn choices(row: &Row) -> Vec<Choice> {
    let choice = |axis: &str, value: String| Choice {
        axis: axis.to_owned(),
        value,
    };
    vec![
        choice(
            "frame",
            format!("{} {}", row.place.speech.word(), row.place.way.word()),
        ),
        choice("byte", format!("{:02}", row.place.byte)),
        choice("field", row.place.field().to_owned()),
        choice("what the sidecar did", did(row)),
    ]
}

/// What came of a byte, without how often.
fn did(row: &Row) -> String {
    let all: Vec<String> = row.outcomes.keys().map(ToString::to_string).collect();
    all.join(" | ")
}

fn id(row: &Row) -> String {
    let place = row.place;
    format!(
        "{}-{}-{:02}",
        place.speech.word(),
        place.way.word(),
        place.byte
    )
}

/// A row as a case: how often what came of its byte, and whether any of it must not be.
fn case(row: &Row) -> Case {
    let told: Vec<String> = row
        .outcomes
        .iter()
        .map(|(outcome, (times, _))| format!("{times} {outcome}"))
        .collect();
    let bad: u64 = row
        .outcomes
        .iter()
        .filter(|(outcome, _)| outcome.is_wrong())
        .map(|(_, (times, _))| times)
        .sum();
    let verdict = match bad {
        0 => Verdict::Pass,
        _ => Verdict::Fail,
    };
    Case {
        id: id(row),
        kind: CaseKind::Cell,
        about: format!("{}: {}", row.place, told.join("; ")),
        choices: choices(row),
        verdict,
        claims: vec![
            Claim::new("outcomes", Verdict::Pass, told.join("; ")),
            Claim::new(
                "no hang, no wrong answer",
                verdict,
                format!("{bad} of {} values", row.cases()),
            ),
        ],
        took_ns: 0,
        rerun: format!("meshproof fault flips --only {}", row.place.speech.word()),
        evidence: Vec::new(),
    }
}

/// Writes a record, of which `report` makes a page.
fn keep(folder: &Path, table: &Table) -> Result<(), StoreError> {
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let mut writer = Writer::create(folder, start)?;
    let mut axes: Vec<Axis> = Vec::new();
    for choice in table.rows.iter().flat_map(choices) {
        match axes.iter_mut().find(|axis| axis.name == choice.axis) {
            Some(axis) if axis.values.contains(&choice.value) => {}
            Some(axis) => axis.values.push(choice.value),
            None => axes.push(Axis {
                name: choice.axis,
                values: vec![choice.value],
            }),
        }
    }
    let named = table.rows.iter().map(|row| (id(row), choices(row)));
    let planned = Event::Planned {
        name: "header flips".to_owned(),
        axes,
        cases: named.collect(),
    };
    writer.event(0, planned)?;
    for case in table.rows.iter().map(case) {
        let id = case.id.clone();
        writer.event(0, Event::CaseStarted { case: id })?;
        writer.event(0, Event::CaseEnded { case })?;
    }
    let ending = Ending {
        now: Timestamp::now(),
        at_ns: u64::try_from(table.took.as_nanos()).unwrap_or(u64::MAX),
        end: End::Finished,
        claims: claims(table),
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).map(drop)
}

/// What is claimed of all of it.
fn claims(table: &Table) -> Vec<Claim> {
    let of = |holds: bool| match holds {
        true => Verdict::Pass,
        false => Verdict::Fail,
    };
    let against = table.against();
    let told = match against.as_slice() {
        [] => format!("{} damaged frames, each with its end", table.cases()),
        against => against.join("; "),
    };
    vec![
        Claim::new(
            "no hang, no crash, no wrong answer",
            of(against.is_empty()),
            told,
        ),
        Claim::new(
            "good calls beside it",
            of(table.good.is_right()),
            table.good.to_string(),
        ),
    ]
}
