//! `meshproof report`: every report, made again from the record alone.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use meshproof_record::report::terminal::{self, Colour, Style};
use meshproof_record::report::{View, html, json, junit};
use meshproof_record::store::Record;
use meshproof_record::verdict::{Claim, End, OnUnsupported, Policy, exit_code, overall};

use crate::exit::Failure;

/// Columns of the summary where stdout is no terminal, and at most where it is one.
const COLUMNS: usize = 100;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --html, --junit or --json the summary goes to stdout. The exit code is that of the runs:
0 PASS, 1 FAIL, 3 INVALID (also: cut off), 4 unsupported by this machine, 130 Ctrl-C.

Examples:
  meshproof report meshproof-runs/01KAR3T4Q9ZP3M8W2V6X5Y7B1C
  meshproof report meshproof-runs/01KAR3T4Q9ZP3M8W2V6X5Y7B1C --html report.html --junit junit.xml
  meshproof report meshproof-runs/* --json - | jq '.records[] | [.record, .verdict]'")]
pub(crate) struct Args {
    /// Folders that runs left
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Write one self-contained page; - is stdout
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write JUnit XML; - is stdout
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the summary for programs; - is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit 0 where all that is wrong is that the machine of the run could not run it
    #[arg(long)]
    allow_unsupported: bool,
}

/// Reads the records and writes what was asked for.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let views: Vec<View> = args
        .records
        .iter()
        .map(|folder| Record::open(folder).and_then(|record| View::of(&record)))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let policy = Policy {
        on_unsupported: if args.allow_unsupported {
            OnUnsupported::Allow
        } else {
            OnUnsupported::Exit4
        },
        ..Policy::USUAL
    };
    let wholes: Vec<Claim> = views.iter().map(View::whole).collect();
    let end = match views.iter().any(|view| view.end == End::Interrupted) {
        true => End::Interrupted,
        false => End::Finished,
    };
    let (verdict, code) = (overall(&wholes), exit_code(&wholes, end, &policy));
    let wanted = [&args.html, &args.junit, &args.json];
    if wanted
        .into_iter()
        .flatten()
        .filter(|to| is_stdout(to))
        .count()
        > 1
    {
        let text = "only one of --html, --junit, --json can go to stdout";
        return Err(Failure::Usage(text.into()));
    }
    if let Some(to) = &args.html {
        write(to, &html::html(&views, verdict))?;
    }
    if let Some(to) = &args.junit {
        write(to, &junit::junit(&views))?;
    }
    if let Some(to) = &args.json {
        write(to, &json::json(&views, verdict, code, &policy))?;
    }
    if wanted.into_iter().all(Option::is_none) {
        let text = match views.as_slice() {
            [view] => terminal::summary(view, style()),
            views => terminal::table(views, verdict, style()),
        };
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    Ok(code)
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn write(to: &Path, text: &str) -> Result<(), Failure> {
    if is_stdout(to) {
        io::stdout().lock().write_all(text.as_bytes())?;
        return Ok(());
    }
    // Under another name first: nobody finds half a report under the name they asked for.
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, to))
        .map_err(|error| Failure::Io(to.display().to_string(), error))
}

/// The summary's style for this stdout.
pub(crate) fn style() -> Style {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = if io::stdout().is_terminal() && !plain {
        Colour::Ansi
    } else {
        Colour::None
    };
    let columns = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    Style {
        colour,
        width: columns.unwrap_or(COLUMNS).min(COLUMNS),
    }
}
