//! A gate, ready to judge: every name found, every pattern and condition compiled, every
//! parameter filled in.

use std::collections::BTreeMap;

use regex::Regex;

use crate::condition::Condition;
use crate::measure::{Limit, Unit};
use crate::outcome::{Code, Origin};
use crate::value::Name;
use crate::world::{GitQuestion, RecordQuestion};

/// How long a command may take where its checkpoint says nothing, in milliseconds.
pub const WITHIN_MS_USUAL: u64 = 10 * 60 * 1000;
/// How long a command may take at most, in milliseconds.
pub const WITHIN_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Most checkpoints of a gate.
pub const CHECKPOINTS_MAX: usize = 2_000;
/// Most rules of a gate.
pub const RULES_MAX: usize = 20_000;

/// The rules of a project, merged.
#[derive(Debug)]
pub struct Gate {
    /// In the order of the rules: packs as they are extended, then the project's own.
    pub checkpoints: Vec<Checkpoint>,
    /// Rules that may be broken for a time.
    pub waivers: Vec<Waiver>,
    /// The packs: `rust@1`.
    pub packs: Vec<String>,
    /// The generation of the packs.
    pub generation: u64,
    /// Every parameter, its value and where it was set.
    pub parameters: Vec<Setting>,
}

/// A parameter with its value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `rust.coverage`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it was set.
    pub origin: Origin,
}

/// A checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// `rust/format`; without a slash where it is the project's own.
    pub id: String,
    /// What it is for.
    pub about: String,
    /// Who answers for it.
    pub owner: String,
    /// Where it is written.
    pub origin: Origin,
    /// Places in [`Gate::checkpoints`] of what has to pass before.
    pub after: Vec<usize>,
    /// When it applies.
    pub when: When,
    /// What runs first.
    pub run: Option<Run>,
    /// What is read.
    pub read: Option<Read>,
    /// What was before.
    pub baseline: Option<Read>,
    /// What must hold, beside that commands end well and results can be read.
    pub rules: Vec<Rule>,
    /// What to type where it blocks.
    pub fix: String,
}

impl Checkpoint {
    /// The id of one of its rules.
    pub fn rule_id(&self, name: &str) -> String {
        format!("{}/{name}", self.id)
    }

    /// The ids of all its rules, those that follow from `run` and `read` among them.
    pub fn rule_ids(&self) -> Vec<String> {
        let mut all = vec![self.rule_id("when")];
        if self.run.is_some() {
            all.extend([self.rule_id("exit"), self.rule_id("artefacts")]);
        }
        if self.read.is_some() {
            all.push(self.rule_id("result"));
        }
        all.extend(self.rules.iter().map(|rule| rule.id.clone()));
        all
    }
}

/// When a checkpoint applies; without any part: always.
#[derive(Debug, Default)]
pub struct When {
    /// A file that exists.
    pub exists: Option<String>,
    /// What is not `off`, as it is written and as it is.
    pub not_off: Option<(String, String)>,
    /// A variable that is set.
    pub variable: Option<String>,
    /// What the branch's whole name matches.
    pub branch: Option<Regex>,
}

/// A command.
#[derive(Debug)]
pub struct Run {
    /// Where it is written.
    pub origin: Origin,
    /// Program and arguments.
    pub words: Vec<String>,
    /// How long it may take, in milliseconds.
    pub within_ms: u64,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// What it has to leave.
    pub artefacts: Vec<String>,
    /// Exit codes that are no failure.
    pub exits: Vec<i32>,
}

/// A result.
#[derive(Debug)]
pub struct Read {
    /// Where it is written.
    pub origin: Origin,
    /// Of which kind, and where it is.
    pub from: From,
}

/// Where a result comes from.
#[derive(Debug)]
pub enum From {
    /// Files of a kind, by a path or pattern.
    Files(Kind, String),
    /// A record of meshproof.
    Record(RecordQuestion),
    /// The repository.
    Git(GitQuestion),
}

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JUnit XML.
    Junit,
    /// Cobertura XML.
    Cobertura(Of),
    /// LCOV.
    Lcov(Of),
    /// SARIF.
    Sarif,
    /// JSON.
    Json,
    /// CSV.
    Csv,
    /// A merge request.
    Review,
}

/// Which lines coverage is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// All.
    Everything,
    /// All, and those that the branch changed.
    Change,
}

/// One thing that must hold.
#[derive(Debug)]
pub struct Rule {
    /// `rust/unit/tests.failed`.
    pub id: String,
    /// Where it is written.
    pub origin: Origin,
    /// What.
    pub test: Test,
    /// What to type where it does not.
    pub fix: String,
}

/// What is tried.
#[derive(Debug)]
pub enum Test {
    /// Every value of the name keeps every limit.
    Limits {
        /// The values.
        name: Name,
        /// All must be kept.
        limits: Vec<Limit>,
        /// The unit of values that are plain numbers.
        unit: Unit,
        /// Whether no value at all is well.
        empty: Empty,
    },
    /// The value is this.
    Equals {
        /// The value.
        name: Name,
        /// What it has to be.
        wanted: String,
    },
    /// Texts match, or none does.
    Texts {
        /// The texts.
        name: Name,
        /// The pattern.
        pattern: Regex,
        /// As it is written.
        written: String,
        /// Which.
        wanted: Wanted,
        /// Whether no text at all is well.
        empty: Empty,
        /// What of a text is shown.
        shown: Shown,
    },
    /// The values are there.
    Present(Vec<Name>),
    /// The result is no older than this, in milliseconds.
    Fresh(u64),
    /// Cases that must have run, as they are written, each with its pattern.
    Ran(Vec<(String, Regex)>),
    /// The condition is true.
    Cel(Condition),
}

/// Whether an empty list is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// It blocks: there is nothing to judge.
    Blocks,
    /// It holds.
    Holds,
}

/// What a pattern is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every whole text matches.
    Every,
    /// It is found in none.
    None,
}

/// What of a text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All.
    Text,
    /// `FILE:LINE` in front of it, nothing else.
    Place,
}

/// A rule that may be broken for a time.
#[derive(Clone, Debug)]
pub struct Waiver {
    /// The rule's id.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The last day, as written.
    pub expires: String,
    /// The first moment after it, in nanoseconds since 1970.
    pub over_unix_ns: i128,
    /// The codes that it covers.
    pub codes: Vec<Code>,
    /// Where it is written.
    pub origin: Origin,
}
