//! `meshproof report`: every report, made again from the record alone.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use meshproof_record::report::cases::compare::{Comparison, compare};
use meshproof_record::report::cases::github;
use meshproof_record::report::terminal::{self, Colour, Style};
use meshproof_record::report::{View, html, json, junit};
use meshproof_record::store::{Record, StoreError};
use meshproof_record::verdict::{Claim, End, OnUnsupported, Policy, Verdict, exit_code, overall};

use crate::exit::{self, Failure};

/// Columns of the summary where stdout is no terminal, and at most where it is one.
const COLUMNS: usize = 100;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --html, --junit, --json or --github the summary goes to stdout. Two records of suites or
matrices are compared case by case, the first as what was before: newly wrong, missing, still
wrong, mended, slower, added. The exit code is that of the runs: 0 PASS, 1 FAIL, 3 INVALID (also:
cut off), 4 unsupported by this machine, 130 Ctrl-C; that of a comparison is 1 where anything is
newly wrong or missing, 3 where the runs have no case in common, else 0.

Examples:
  meshproof report meshproof-runs/01KAR3T4Q9ZP3M8W2V6X5Y7B1C
  meshproof report meshproof-runs/01KAR3T4Q9ZP3M8W2V6X5Y7B1C --html report.html --junit junit.xml
  meshproof report meshproof-runs/01KAR3T4Q9ZP3M8W2V6X5Y7B1C --github >> run.log
  meshproof report last-release this-commit
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
    /// Print annotations for GitHub's actions, and append a summary to $GITHUB_STEP_SUMMARY
    #[arg(long)]
    github: bool,
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
    if args.github && wanted.into_iter().flatten().any(|to| is_stdout(to)) {
        let text = "--github prints to stdout: give --html, --junit and --json a file";
        return Err(Failure::Usage(text.into()));
    }
    if let Some(to) = &args.html {
        write(to, &html::html(&views, verdict))?;
    }
    if let Some(to) = &args.junit {
        write(to, &junit::junit(&views))?;
    }
    if let Some(to) = &args.json {
        let text = match compared(&views) {
            Some(comparison) => format!("{:#}\n", comparison.json()),
            None => json::json(&views, verdict, code, &policy),
        };
        write(to, &text)?;
    }
    if args.github {
        io::stdout()
            .lock()
            .write_all(github::annotations(&views).as_bytes())?;
        step_summary(&github::summary(&views))?;
    } else if wanted.into_iter().all(Option::is_none) {
        let text = match (views.as_slice(), compared(&views)) {
            (_, Some(comparison)) => comparison.text(style()),
            ([view], None) => terminal::summary(view, style()),
            (views, None) => terminal::table(views, verdict, style()),
        };
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    Ok(match compared(&views) {
        Some(comparison) => match comparison.verdict {
            Verdict::Fail => exit::FAIL,
            Verdict::Invalid => exit::INVALID,
            _ => exit::OK,
        },
        None => code,
    })
}

/// Two runs of cases, the first as what was before.
fn compared(views: &[View]) -> Option<Comparison> {
    match views {
        [before, after] if before.cases.is_some() && after.cases.is_some() => {
            Some(compare(before, after))
        }
        _ => None,
    }
}

/// Where GitHub's actions collect what a step has to say.
fn step_summary(text: &str) -> Result<(), Failure> {
    let Some(to) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|to| !to.is_empty()) else {
        return Ok(());
    };
    let to = PathBuf::from(to);
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&to)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::Io(to.display().to_string(), error))
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

/// What goes to stdout at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A summary for people
    Human,
    /// The summary for programs, as `report --json` writes it
    Json,
}

/// What a command that runs something prints, and what makes it exit 4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saying {
    /// In which form.
    pub(crate) format: Format,
    /// What this machine cannot run.
    pub(crate) on_unsupported: OnUnsupported,
}

impl Saying {
    /// With exit 4 for what this machine cannot run.
    pub(crate) fn usual(format: Format) -> Saying {
        Saying {
            format,
            on_unsupported: OnUnsupported::Exit4,
        }
    }
}

/// The end of a run: says what its record says, and with which code to exit. Every report is made
/// from the record; `front` is written before the summary for people.
pub(crate) fn say(
    folder: &Path,
    saying: Saying,
    front: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<u8, Failure> {
    let stored = |error: StoreError| Failure::Usage(error.to_string());
    let record = Record::open(folder).map_err(stored)?;
    let view = View::of(&record).map_err(stored)?;
    let policy = Policy {
        on_unsupported: saying.on_unsupported,
        ..Policy::USUAL
    };
    let code = view.exit_code(&policy);
    let mut out = io::BufWriter::new(io::stdout().lock());
    match saying.format {
        Format::Human => {
            front(&mut out)?;
            out.write_all(terminal::summary(&view, style()).as_bytes())?;
            let folder = folder.display();
            writeln!(
                out,
                "\nreport: meshproof report {folder} --html report.html"
            )?;
        }
        Format::Json => {
            let (views, verdict) = (std::slice::from_ref(&view), view.verdict);
            out.write_all(json::json(views, verdict, code, &policy).as_bytes())?;
        }
    }
    out.flush()?;
    Ok(code)
}
