//! What a gate sees of the world: files, the repository, records, commands, the time.
//!
//! The gate itself touches none of it. [`crate::edge`] is the world of a machine; tests and the
//! fixtures of packs have one in memory.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::outcome::Code;

/// Largest file that is read as a result, in bytes (64 MiB).
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most files of one pattern.
pub const FILES_MAX: usize = 10_000;

/// A file.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its path.
    pub path: String,
    /// What stands in it.
    pub bytes: Vec<u8>,
    /// When it was last changed, in nanoseconds since 1970.
    pub changed_unix_ns: i128,
}

/// Values that somebody else made, and when.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// A mapping.
    pub values: Value,
    /// When they were made, in nanoseconds since 1970; `None`: just now.
    pub made_unix_ns: Option<i128>,
    /// Where they are.
    pub place: String,
}

/// Why there is nothing to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Which of the codes.
    pub code: Code,
    /// One sentence: what was found, what was expected.
    pub why: String,
}

impl Absent {
    /// With this code and sentence.
    pub fn new(code: Code, why: impl Into<String>) -> Absent {
        Absent {
            code,
            why: why.into(),
        }
    }
}

/// A command, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The checkpoint that it belongs to.
    pub checkpoint: String,
    /// Program and arguments.
    pub words: Vec<String>,
    /// How long it may take, in milliseconds.
    pub within_ms: u64,
    /// Variables beside those of the gate's own environment.
    pub env: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How.
    pub ending: Ending,
    /// When it began, in nanoseconds since 1970.
    pub began_unix_ns: i128,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The last lines that it wrote.
    pub tail: String,
    /// Where all of it is; empty where it is nowhere.
    pub log: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Its time was over; it and all of its group were killed.
    TimeOut,
    /// It could not be started: why.
    NotStarted(String),
    /// The gate was stopped.
    Stopped,
}

/// What is asked of the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitQuestion {
    /// The branch to merge into, where the rules name one.
    pub target: Option<String>,
    /// Two branches: all commits of the first must be in the second.
    pub back: Option<(String, String)>,
}

/// Which record is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordQuestion {
    /// Where records are.
    pub below: String,
    /// The command (`run`), then patterns of words that follow it, in any order.
    pub words: Vec<String>,
    /// Patterns of words that its command line must not hold.
    pub without: Vec<String>,
}

impl RecordQuestion {
    /// Whether a record with this command line, without the program's name, is asked for.
    pub fn fits(&self, line: &[String]) -> bool {
        let is = |pattern: &String, word: &String| {
            pattern == word || glob::Pattern::new(pattern).is_ok_and(|it| it.matches(word))
        };
        let Some((command, rest)) = self.words.split_first() else {
            return false;
        };
        line.first().is_some_and(|word| is(command, word))
            && rest
                .iter()
                .all(|pattern| line.iter().any(|word| is(pattern, word)))
            && !self
                .without
                .iter()
                .any(|pattern| line.iter().any(|word| is(pattern, word)))
    }
}

impl std::fmt::Display for RecordQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.words.join(" "))
    }
}

/// Everything that a gate sees.
pub trait World: Sync {
    /// Nanoseconds since 1970.
    fn now_unix_ns(&self) -> i128;
    /// The files of a path or pattern, in the order of their names; at least one.
    fn files(&self, pattern: &str) -> Result<Vec<Seen>, Absent>;
    /// Whether any file has this path or pattern.
    fn exists(&self, pattern: &str) -> bool;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// The repository: `branch`, `target`, `head`, `commits`, `changes`, `tracked`, `tags`, …
    fn git(&self, question: &GitQuestion) -> Result<Facts, Absent>;
    /// The newest record that fits.
    fn record(&self, question: &RecordQuestion) -> Result<Facts, Absent>;
    /// Runs a command; never longer than its time and a moment.
    fn run(&self, command: &Command) -> Ran;
}
