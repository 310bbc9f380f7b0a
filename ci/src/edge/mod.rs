//! The world of a machine: the files of a project, its repository, records, commands that run.
//! The one module here that does I/O.

mod command;
mod disk;
mod git;
pub mod http;
mod packs;
mod record;
pub mod status;

pub use git::head;
pub use packs::packs_of;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde_json::Value;

use crate::world::{Absent, Command, Facts, GitQuestion, Ran, RecordQuestion, Seen, World};

/// A project on this machine.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    /// The branch to merge into, where the command line names it.
    target: Option<String>,
    /// Where the output of commands goes; `None`: nowhere.
    logs: Option<PathBuf>,
    stop: AtomicBool,
    running: command::Running,
    /// What the repository says of the whole; asked once.
    repository: OnceLock<Result<Value, Absent>>,
}

impl Machine {
    /// A project whose folder is `root`.
    pub fn new(root: PathBuf, target: Option<String>, logs: Option<PathBuf>) -> Machine {
        Machine {
            root,
            target,
            logs,
            stop: AtomicBool::new(false),
            running: command::Running::default(),
            repository: OnceLock::new(),
        }
    }

    /// Ends what runs, and lets nothing begin.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.running.end_all();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Nanoseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the gate reads its clock"
)]
fn now_unix_ns() -> i128 {
    unix_ns(SystemTime::now())
}

fn unix_ns(at: SystemTime) -> i128 {
    let ns = |span: std::time::Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => ns(after),
        Err(before) => -ns(before.duration()),
    }
}

impl World for Machine {
    fn now_unix_ns(&self) -> i128 {
        now_unix_ns()
    }

    fn files(&self, pattern: &str) -> Result<Vec<Seen>, Absent> {
        disk::files(&self.root, pattern)
    }

    fn exists(&self, pattern: &str) -> bool {
        disk::exists(&self.root, pattern)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn git(&self, question: &GitQuestion) -> Result<Facts, Absent> {
        let target = self.target.as_ref().or(question.target.as_ref());
        let plain = question.back.is_none() && question.target.is_none();
        let values = if plain {
            let ask = || git::facts(&self.root, target.map(String::as_str), None);
            self.repository.get_or_init(ask).clone()
        } else {
            git::facts(
                &self.root,
                target.map(String::as_str),
                question.back.as_ref(),
            )
        };
        Ok(Facts {
            values: values?,
            made_unix_ns: None,
            place: "git".to_owned(),
        })
    }

    fn record(&self, question: &RecordQuestion) -> Result<Facts, Absent> {
        record::newest(&self.root, question)
    }

    fn run(&self, command: &Command) -> Ran {
        command::run(self, command)
    }
}
