//! `meshproof gate check`: every checkpoint, judged.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use meshproof_ci::edge::Machine;
use meshproof_ci::outcome::{Judged, Outcome};
use meshproof_ci::report::{self, Colour};
use meshproof_record::event::Event;
use meshproof_record::report::terminal;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{End, Policy, exit_code, overall};
use meshproof_sys::clock::Nanos;

use super::Rules;
use crate::commands::report::{Format, style};
use crate::exit::{self, Failure};

/// Judge every checkpoint: what blocks, why, and what to type
///
/// One line for each checkpoint, and for each block the rule, where it is written, what was seen
/// and wanted, who answers for it and what to type. What is missing, stale, empty or unreadable
/// blocks, each with a code of its own; nothing passes by default.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 all that applies passed, 1 a rule was shown not to hold or a waiver expired, 2 the rules
cannot be read, 3 something could not be judged (missing, stale, empty, unreadable) or nothing
applies, 130 Ctrl-C.

Examples:
  meshproof gate check
  meshproof gate check --target main --junit gate.xml --sarif gate.sarif
  meshproof gate check --format json | jq '.checkpoints[] | [.id, .state]'")]
pub(super) struct Args {
    #[command(flatten)]
    rules: Rules,
    /// The branch to be merged into; default: what the CI service names
    #[arg(long, value_name = "BRANCH")]
    target: Option<String>,
    /// How many checkpoints run side by side; default: one for each processor
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Write the outcome for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write SARIF
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Also print annotations for GitHub's actions
    #[arg(long)]
    github: bool,
    /// Where the record goes, with all that commands said; default: meshproof-runs/<id>
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let gate = args.rules.read()?;
    let stored = |error: StoreError| Failure::Usage(error.to_string());
    let line = std::env::args().collect();
    let start = store::start(env!("CARGO_PKG_VERSION"), line, 0, Timestamp::now());
    let root = args.rules.root();
    let folder = args
        .record
        .clone()
        .unwrap_or_else(|| root.join(store::default_folder(&start)));
    let writer = Writer::create(&folder, start).map_err(stored)?;
    let logs = writer.artefacts().map_err(stored)?;
    let machine = Arc::new(Machine::new(root, args.target.clone(), Some(logs.clone())));
    stop_on_signal(&machine);
    let begun = Nanos::now();
    let human = matches!(args.format, Format::Human);
    let colour = match style().colour {
        terminal::Colour::Ansi => Colour::Ansi,
        terminal::Colour::None => Colour::None,
    };
    // The line of a checkpoint is told when it is over; whoever reads no more is not waited for.
    let tell = |judged: &Judged| {
        if human {
            let _ = io::stdout()
                .lock()
                .write_all(report::line(judged, colour).as_bytes());
        }
    };
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let is_stopped = || machine.is_stopped();
    let outcome =
        meshproof_ci::check::check(&gate, machine.as_ref(), jobs.max(1), &is_stopped, &tell);
    let end = match machine.is_stopped() {
        true => End::Interrupted,
        false => End::Finished,
    };
    let claims = outcome.claims();
    let verdict = overall(&claims);
    let code = exit_code(&claims, end, &Policy::USUAL);
    let document = report::json(&outcome, verdict.word(), code);
    if human {
        let summary = report::summary(&outcome, verdict.word());
        io::stdout().lock().write_all(summary.as_bytes())?;
    } else {
        io::stdout().lock().write_all(document.as_bytes())?;
    }
    if args.github {
        io::stdout()
            .lock()
            .write_all(report::annotations(&outcome).as_bytes())?;
    }
    written(&args, &outcome, &document)?;
    // The verdict is told by now, whatever the disk says to its record.
    write(&logs.join("gate.json"), &document)?;
    finish(writer, &outcome, end, begun).map_err(stored)?;
    Ok(code)
}

/// Ctrl-C ends what runs; a second one ends this at once.
fn stop_on_signal(machine: &Arc<Machine>) {
    let machine = Arc::clone(machine);
    let again = AtomicBool::new(false);
    let _ = ctrlc::set_handler(move || {
        machine.stop();
        if again.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
}

/// The reports that were asked for.
fn written(args: &Args, outcome: &Outcome, document: &str) -> Result<(), Failure> {
    if let Some(to) = &args.json {
        write(to, document)?;
    }
    if let Some(to) = &args.junit {
        write(to, &report::junit(outcome))?;
    }
    if let Some(to) = &args.sarif {
        write(to, &report::sarif(outcome))?;
    }
    Ok(())
}

fn write(to: &Path, text: &str) -> Result<(), Failure> {
    // Under another name first: nobody finds half a report under the name they asked for.
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, to))
        .map_err(|error| Failure::Io(to.display().to_string(), error))
}

fn finish(mut writer: Writer, outcome: &Outcome, end: End, begun: Nanos) -> Result<(), StoreError> {
    let at_ns = Nanos::now().since(begun);
    let claims = outcome.claims();
    for claim in &claims {
        let claim = claim.clone();
        writer.event(at_ns, Event::Claimed { claim })?;
    }
    writer.finish(Ending {
        now: Timestamp::now(),
        at_ns,
        end,
        claims,
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    })?;
    Ok(())
}
