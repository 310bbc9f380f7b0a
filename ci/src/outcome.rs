//! What a gate says: of each rule, of each checkpoint, of the whole.

use meshproof_record::verdict::{Claim, Verdict};
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $verdict:ident;)*) => {
        /// Why something blocks. Everything but [`Code::NotHeld`] says that nothing was shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The word in every output.
            pub fn word(self) -> &'static str {
                match self {
                    $(Code::$name => $word,)*
                }
            }

            /// `FAIL` where it was shown not to hold, `INVALID` where nothing was shown.
            pub fn verdict(self) -> Verdict {
                match self {
                    $(Code::$name => Verdict::$verdict,)*
                }
            }
        }
    };
}

codes! {
    /// The rule was tried on a value, and does not hold.
    NotHeld = "not-held", Fail;
    /// A waiver is past its day.
    WaiverExpired = "waiver-expired", Fail;
    /// The command's time was over.
    TimeOut = "time-out", Fail;
    /// The result is not there.
    Missing = "missing", Invalid;
    /// There is no such record: an area of a release without evidence.
    NotRun = "not-run", Invalid;
    /// The result cannot be read: damaged, cut short, of another kind.
    Unreadable = "unreadable", Invalid;
    /// The result can be read, and holds nothing.
    Empty = "empty", Invalid;
    /// The result is older than the rule, or the command, allows.
    Stale = "stale", Invalid;
    /// The result is from the future: a clock is wrong.
    Future = "future", Invalid;
    /// The result lacks the value that the rule judges.
    NoValue = "no-value", Invalid;
    /// Value and limit have units that cannot be compared.
    Unit = "unit", Invalid;
    /// The value is of another type than the rule judges.
    Type = "type", Invalid;
    /// The baseline is not there, is not readable, or is no measure.
    Baseline = "baseline", Invalid;
    /// All that the result holds was skipped or not supported.
    NothingRan = "nothing-ran", Invalid;
    /// A case that must have run did not.
    CaseNotRun = "case-not-run", Invalid;
    /// The condition has no answer that is true or false.
    Condition = "condition", Invalid;
    /// The command could not be started, or ended by a signal.
    Command = "command", Invalid;
    /// A limit of the gate's own was reached.
    TooLarge = "too-large", Invalid;
    /// A checkpoint that has to pass before did not.
    NotReached = "not-reached", Invalid;
    /// The gate was stopped before it came to this.
    Stopped = "stopped", Invalid;
}

impl Code {
    /// The code of this word.
    pub fn of_word(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.word() == word)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        let word = String::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("`{word}` is no code of a block"));
        Code::of_word(&word).ok_or_else(unknown)
    }
}

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Origin {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The pack and its version, `rust@1`; `None` for the project's own.
    pub pack: Option<String>,
    /// The generation of the packs; 0 for those that are part of the program.
    pub generation: u64,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(pack) = &self.pack {
            write!(f, " ({pack}, generation {})", self.generation)?;
        }
        Ok(())
    }
}

/// What a rule came to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ruling {
    /// The rule's id.
    pub rule: String,
    /// Where it is written.
    pub origin: Origin,
    /// The value seen.
    pub seen: String,
    /// The value wanted.
    pub wanted: String,
    /// Why it blocks; `None` where it holds.
    pub block: Option<Block>,
}

/// Why a rule blocks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Block {
    /// The code.
    pub code: Code,
    /// One sentence, with the numbers.
    pub why: String,
    /// Who answers for the rule.
    pub owner: String,
    /// What to type.
    pub fix: String,
    /// The waiver in force for it: then it does not block.
    pub waiver: Option<Waived>,
    /// File and line that it is about, where one can be named: `src/a.rs`, 3.
    pub place: Option<(String, usize)>,
}

/// A waiver that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Waived {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The last day.
    pub expires: String,
    /// Where it is written.
    pub origin: Origin,
}

/// What a checkpoint came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Every rule holds.
    Passed,
    /// Every rule holds or is waived, and one is waived.
    Waived,
    /// A rule blocks.
    Blocked,
    /// It does not apply here: why.
    NotApplicable(String),
    /// A checkpoint that has to pass before did not: which.
    NotReached(String),
}

impl State {
    /// The word in every output.
    pub fn word(&self) -> &'static str {
        match self {
            State::Passed => "passed",
            State::Waived => "waived",
            State::Blocked => "BLOCKED",
            State::NotApplicable(_) => "not applicable",
            State::NotReached(_) => "not reached",
        }
    }

    /// Whether what comes after it may run.
    pub fn lets_on(&self) -> bool {
        match self {
            State::Passed | State::Waived | State::NotApplicable(_) => true,
            State::Blocked | State::NotReached(_) => false,
        }
    }
}

/// A checkpoint and what it came to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Judged {
    /// Its id: `rust/format`.
    pub id: String,
    /// What it is for.
    pub about: String,
    /// Who answers for it.
    pub owner: String,
    /// Where it is written.
    pub origin: Origin,
    /// What it came to.
    pub state: State,
    /// Its rules.
    pub rulings: Vec<Ruling>,
    /// The command that ran.
    pub command: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The last lines that the command wrote; kept where it blocks.
    pub tail: String,
    /// Where all that it wrote is.
    pub log: String,
    /// The result that it was judged by; `None` where none could be read.
    #[serde(default)]
    pub shown: Option<Shown>,
}

/// The result that a checkpoint was judged by.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Shown {
    /// Where it is.
    pub place: String,
    /// When it was made, in milliseconds since 1970; `None` where that is not known.
    pub made_unix_ms: Option<i64>,
    /// Its numbers by name, at most [`FIGURES_MAX`]: `tests.ran`, `latency.p99_ms`.
    pub figures: Vec<(String, f64)>,
}

/// Most numbers that are told of one result.
pub const FIGURES_MAX: usize = 64;

/// A rule, whether it was tried or not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Told {
    /// The rule's id.
    pub rule: String,
    /// What must hold.
    pub wanted: String,
    /// Where it is written.
    pub origin: Origin,
}

/// A waiver of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Granted {
    /// The rule that it is for.
    pub rule: String,
    /// What it says.
    pub waived: Waived,
    /// The first moment after it, in milliseconds since 1970.
    pub over_unix_ms: i64,
}

impl Judged {
    /// The rules that block.
    pub fn blocks(&self) -> impl Iterator<Item = (&Ruling, &Block)> {
        self.rulings.iter().filter_map(|ruling| {
            let block = ruling.block.as_ref()?;
            block.waiver.is_none().then_some((ruling, block))
        })
    }

    /// The rules that are waived and would block.
    pub fn waived(&self) -> impl Iterator<Item = (&Ruling, &Block, &Waived)> {
        self.rulings.iter().filter_map(|ruling| {
            let block = ruling.block.as_ref()?;
            Some((ruling, block, block.waiver.as_ref()?))
        })
    }

    /// `FAIL`, `INVALID`, `KNOWN` or `PASS`; `None` where it does not apply.
    pub fn verdict(&self) -> Option<Verdict> {
        match self.state {
            State::Passed => Some(Verdict::Pass),
            State::Waived => Some(Verdict::Known),
            State::NotApplicable(_) => None,
            State::NotReached(_) => Some(Verdict::Invalid),
            State::Blocked => {
                let failed = self
                    .blocks()
                    .any(|(_, block)| block.code.verdict() == Verdict::Fail);
                Some(if failed {
                    Verdict::Fail
                } else {
                    Verdict::Invalid
                })
            }
        }
    }
}

/// What the whole gate says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outcome {
    /// The version of this form.
    pub schema: u32,
    /// Its checkpoints, in the order of the rules.
    pub checkpoints: Vec<Judged>,
    /// Waivers past their day, and what they are for.
    pub expired: Vec<Ruling>,
    /// What else is to be said: waivers that are not needed any more.
    pub notes: Vec<String>,
    /// The generation of the packs.
    pub generation: u64,
    /// The packs that the rules came from: `rust@1`.
    pub packs: Vec<String>,
    /// When it was over, in milliseconds since 1970.
    #[serde(default)]
    pub judged_unix_ms: i64,
    /// Every rule, in the order of the rules.
    #[serde(default)]
    pub rules: Vec<Told>,
    /// Every waiver, in the order of the rules.
    #[serde(default)]
    pub waivers: Vec<Granted>,
}

impl Outcome {
    /// A claim for each checkpoint that applies, and for each waiver that is past its day.
    pub fn claims(&self) -> Vec<Claim> {
        let of_checkpoint = |judged: &Judged| {
            let verdict = judged.verdict()?;
            let why = match &judged.state {
                State::NotReached(why) => why.clone(),
                _ => match judged.blocks().next() {
                    Some((ruling, block)) => format!("{}: {}", ruling.rule, block.why),
                    None => match judged.waived().next() {
                        Some((ruling, block, waiver)) => format!(
                            "{}: {} (waived by {} until {})",
                            ruling.rule, block.why, waiver.owner, waiver.expires
                        ),
                        None => format!("{} rules hold", judged.rulings.len()),
                    },
                },
            };
            Some(Claim::new(judged.id.as_str(), verdict, why))
        };
        let expired = self.expired.iter().filter_map(|ruling| {
            let block = ruling.block.as_ref()?;
            let name = format!("waiver of {}", ruling.rule);
            Some(Claim::new(name, Verdict::Fail, block.why.as_str()))
        });
        let checkpoints = self.checkpoints.iter().filter_map(of_checkpoint);
        checkpoints.chain(expired).collect()
    }

    /// Whether there is nothing to judge.
    pub fn is_not_applicable(&self) -> bool {
        self.claims().is_empty()
    }
}
