//! The gate at work: rules are read, checkpoints judged, all of it recorded.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use meshproof_ci::edge::Machine;
use meshproof_ci::gate::Gate;
use meshproof_ci::outcome::{Judged, Outcome};
use meshproof_ci::report::{self, Colour};
use meshproof_record::event::Event;
use meshproof_record::report::terminal;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{End, Policy, Verdict, exit_code, overall};
use meshproof_sys::clock::Nanos;

use crate::commands::report::style;
use crate::exit::{self, Failure};

/// How to judge.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The branch to be merged into; default: what the CI service names
    #[arg(long, value_name = "BRANCH")]
    pub(super) target: Option<String>,
    /// How many checkpoints run side by side; default: one for each processor
    #[arg(long, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Where the record goes, with all that commands said; default: meshproof-runs/<id>
    #[arg(long, value_name = "DIR")]
    pub(super) record: Option<PathBuf>,
}

/// A gate that was judged, its record still open.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) verdict: Verdict,
    /// The exit code.
    pub(super) code: u8,
    /// The record's folder.
    pub(super) folder: PathBuf,
    writer: Writer,
    end: End,
    begun: Nanos,
}

/// Judges; `Some` colour prints the line of each checkpoint when it is over.
pub(super) fn judged(
    gate: &Gate,
    root: &Path,
    how: &How,
    lines: Option<Colour>,
) -> Result<Done, Failure> {
    let line = std::env::args().collect();
    let start = store::start(env!("CARGO_PKG_VERSION"), line, 0, Timestamp::now());
    let folder = how.record.clone();
    let folder = folder.unwrap_or_else(|| root.join(store::default_folder(&start)));
    let writer = Writer::create(&folder, start).map_err(stored)?;
    let logs = writer.artefacts().map_err(stored)?;
    let machine = Machine::new(root.to_owned(), how.target.clone(), Some(logs));
    let machine = Arc::new(machine);
    stop_on_signal(&machine);
    let begun = Nanos::now();
    // The line of a checkpoint is told when it is over; whoever reads no more is not waited for.
    let tell = |judged: &Judged| {
        if let Some(colour) = lines {
            let _ = io::stdout()
                .lock()
                .write_all(report::line(judged, colour).as_bytes());
        }
    };
    let jobs = how
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let is_stopped = || machine.is_stopped();
    let outcome =
        meshproof_ci::check::check(gate, machine.as_ref(), jobs.max(1), &is_stopped, &tell);
    let end = match machine.is_stopped() {
        true => End::Interrupted,
        false => End::Finished,
    };
    let claims = outcome.claims();
    Ok(Done {
        verdict: overall(&claims),
        code: exit_code(&claims, end, &Policy::USUAL),
        outcome,
        folder,
        writer,
        end,
        begun,
    })
}

impl Done {
    /// The outcome for programs.
    pub(super) fn document(&self) -> String {
        report::json(&self.outcome, self.verdict.word(), self.code)
    }

    /// Ends the record, with these files among its artefacts.
    pub(super) fn finish(mut self, artefacts: &[(&str, &str)]) -> Result<(), Failure> {
        let folder = self.writer.artefacts().map_err(stored)?;
        for (name, text) in artefacts {
            write(&folder.join(name), text)?;
        }
        let at_ns = Nanos::now().since(self.begun);
        let claims = self.outcome.claims();
        for claim in &claims {
            let claim = claim.clone();
            let event = Event::Claimed { claim };
            self.writer.event(at_ns, event).map_err(stored)?;
        }
        let ending = Ending {
            now: Timestamp::now(),
            at_ns,
            end: self.end,
            claims,
            capture: None,
            replay: None,
            latency: None,
            lateness: None,
        };
        self.writer.finish(ending).map_err(stored)?;
        Ok(())
    }
}

fn stored(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}

/// Whether this terminal has colours.
pub(super) fn colour() -> Colour {
    match style().colour {
        terminal::Colour::Ansi => Colour::Ansi,
        terminal::Colour::None => Colour::None,
    }
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

/// Writes a report as a whole: under another name first, so that nobody finds half of it under
/// the name they asked for.
pub(super) fn write(to: &Path, text: &str) -> Result<(), Failure> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, to))
        .map_err(|error| Failure::Io(to.display().to_string(), error))
}
