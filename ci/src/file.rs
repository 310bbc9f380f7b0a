//! What people write: `meshproof.yaml` at a project's root, and the `pack.yaml` of a rule pack.
//!
//! Here are the shapes alone; [`crate::compile`] makes a gate of them.

use std::collections::BTreeMap;
use std::fmt;

use meshproof_input::{Entries, Problem, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A text with the name under which it is shown.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// The rules of a project: `meshproof.yaml`.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Project {
    /// Rule packs, each with its version or channel: `rust@stable`, `release@1`.
    #[serde(default)]
    pub extends: Vec<Spanned<String>>,
    /// Who answers for checkpoints of this file that name nobody.
    pub owner: Option<String>,
    /// Values of parameters: `PACK.NAME`, or `NAME` for checkpoints of this file.
    #[serde(default)]
    pub parameters: Entries<String, Given>,
    /// Checkpoints of this project's own.
    #[serde(default)]
    pub checkpoints: Entries<String, Checkpoint>,
    /// Rules that may be broken for a time.
    #[serde(default)]
    pub waivers: Vec<Spanned<Waiver>>,
}

/// A rule pack: `pack.yaml`.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackFile {
    /// Its name.
    pub pack: Spanned<String>,
    /// Its version, from 1.
    pub version: u32,
    /// Names that stand for this version: `stable`.
    #[serde(default)]
    pub channels: Vec<String>,
    /// What it holds.
    pub about: String,
    /// Who answers for its rules.
    pub owner: String,
    /// What projects may set.
    #[serde(default)]
    pub parameters: Entries<String, Parameter>,
    /// Its checkpoints.
    pub checkpoints: Entries<String, Checkpoint>,
}

/// What a project may set.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameter {
    /// What it is for.
    pub about: String,
    /// Its value where the project sets none; without it, every project has to.
    pub default: Option<Given>,
    /// The values that it may have; empty: any.
    #[serde(default)]
    pub one_of: Vec<String>,
}

/// A checkpoint: evidence, and the rules that it is judged by.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Checkpoint {
    /// What it is for.
    #[serde(default)]
    pub about: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Checkpoints that must have passed before.
    #[serde(default)]
    pub after: Vec<Spanned<String>>,
    /// When it applies; a checkpoint that does not is told with the reason.
    pub when: Option<Spanned<When>>,
    /// A command to run first.
    pub run: Option<Spanned<Run>>,
    /// A result to read.
    pub read: Option<Spanned<Read>>,
    /// A result of before, for limits such as `<=+10%`.
    pub baseline: Option<Spanned<Read>>,
    /// What must hold; all of it.
    #[serde(default)]
    pub rules: Vec<Spanned<Rule>>,
    /// What to type where it blocks.
    #[serde(default)]
    pub fix: String,
}

/// When a checkpoint applies. All that is said must hold.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// A file, or a pattern of files, that exists.
    pub exists: Option<Spanned<String>>,
    /// A value, or a parameter in `${…}`, that is not `off`.
    pub not_off: Option<Spanned<String>>,
    /// A variable of the environment that is set and not empty.
    pub variable: Option<Spanned<String>>,
    /// A pattern (a regular expression over the whole name) of the branch's name.
    pub branch: Option<Spanned<String>>,
}

/// A command. It runs without a shell, in the project's folder.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    /// Program and arguments, a word an item.
    pub command: Vec<Spanned<String>>,
    /// How long it may take: 90s, 10m. At most 24h.
    pub within: Option<Spanned<String>>,
    /// Variables beside those of the gate's own environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files, or patterns of files, that it has to leave; each must be there and newer than the
    /// command's start.
    #[serde(default)]
    pub artefacts: Vec<Spanned<String>>,
    /// Exit codes that are no failure; default: 0 alone.
    #[serde(default)]
    pub exits: Vec<i32>,
}

/// A result, by its kind. One of them.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Read {
    /// JUnit XML: `tests.*`, `cases`.
    pub junit: Option<Spanned<String>>,
    /// Cobertura XML: `lines.*`, and with `change: true` also `change.*`.
    pub cobertura: Option<Spanned<String>>,
    /// LCOV: as Cobertura.
    pub lcov: Option<Spanned<String>>,
    /// SARIF: `results`, `errors`, `warnings`, `notes`, `rules`.
    pub sarif: Option<Spanned<String>>,
    /// JSON, as it stands.
    pub json: Option<Spanned<String>>,
    /// CSV with a head: `rows`, a mapping each, and `count`.
    pub csv: Option<Spanned<String>>,
    /// The newest record of meshproof below a folder.
    pub record: Option<Spanned<RecordAsk>>,
    /// The repository.
    pub git: Option<Spanned<GitAsk>>,
    /// A merge request: an event or export of GitHub or GitLab, as JSON.
    pub review: Option<Spanned<String>>,
    /// For coverage: also tell the lines that the branch changed.
    #[serde(default)]
    pub change: bool,
}

/// Which record.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordAsk {
    /// Where records are.
    pub below: Spanned<String>,
    /// The command (`run`), then words or patterns that its command line has to hold, in any
    /// order: `--prove`, `*faults`.
    pub words: Vec<Spanned<String>>,
    /// Words or patterns that its command line must not hold.
    #[serde(default)]
    pub without: Vec<Spanned<String>>,
}

/// What of the repository.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GitAsk {
    /// The branch that this one is to be merged into.
    pub target: Option<Spanned<String>>,
    /// Two branches: all commits of the first must be in the second (`back.missing`).
    #[serde(default)]
    pub back: Vec<Spanned<String>>,
}

/// One thing that must hold.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Its name within the checkpoint; default: made of the value's name.
    pub id: Option<Spanned<String>>,
    /// The value that is judged: `tests.failed`, `commits.*.subject`.
    pub value: Option<Spanned<String>>,
    /// The least it may be: `1`, `80%`.
    pub at_least: Option<Spanned<Scalar>>,
    /// The most it may be.
    pub at_most: Option<Spanned<Scalar>>,
    /// What it must be.
    pub equals: Option<Spanned<Scalar>>,
    /// Limits that all hold: `<=+10%` of the baseline, `<250ms`.
    pub limits: Option<Vec<Spanned<String>>>,
    /// A regular expression that the whole text matches; every item of a list.
    pub matches: Option<Spanned<String>>,
    /// A regular expression that is found in none: not in the text, in no item of a list.
    pub matches_none: Option<Spanned<String>>,
    /// Values that must be there.
    pub present: Option<Vec<Spanned<String>>>,
    /// How old the result may be: 24h, 7d.
    pub fresh: Option<Spanned<String>>,
    /// Cases that must have run; `*` stands for any text.
    pub ran: Option<Vec<Spanned<String>>>,
    /// A condition in CEL over the values.
    pub cel: Option<Spanned<String>>,
    /// The unit of a value that says none itself.
    pub unit: Option<Spanned<String>>,
    /// A list may be empty.
    #[serde(default)]
    pub may_be_empty: bool,
    /// Show places only, not what stands there: for secrets.
    #[serde(default)]
    pub secret: bool,
    /// What to type where it does not hold; default: that of the checkpoint.
    #[serde(default)]
    pub fix: String,
}

/// A rule that may be broken for a time.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Waiver {
    /// The rule's id: `rust/format/exit`.
    pub rule: Spanned<String>,
    /// Who answers for it.
    pub owner: Spanned<String>,
    /// Why.
    pub reason: Spanned<String>,
    /// The last day on which it holds (UTC): 2026-12-31.
    pub expires: Spanned<String>,
    /// The codes of blocks that it covers; default: `not-held` alone, so that a lost result is
    /// not taken for a failure that is known.
    #[serde(default)]
    pub codes: Vec<Spanned<String>>,
}

/// One value, as text: `80%`, `3`, `true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalar(pub String);

/// The value of a parameter: one, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// One.
    One(String),
    /// Some.
    Many(Vec<String>),
}

impl Given {
    /// As it is shown.
    pub fn shown(&self) -> String {
        match self {
            Given::One(text) => text.clone(),
            Given::Many(items) => format!("[{}]", items.join(", ")),
        }
    }
}

struct Words {
    lists: bool,
}

impl<'de> Visitor<'de> for Words {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lists {
            true => "a text, a number or a list of them",
            false => "a text or a number",
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
        Ok(Given::One(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Given, E> {
        Ok(Given::One(truth.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Given, E> {
        Ok(Given::One(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Given, E> {
        Ok(Given::One(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Given, E> {
        Ok(Given::One(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given, A::Error> {
        if !self.lists {
            return Err(de::Error::custom(
                "expected a text or a number, found a list",
            ));
        }
        let mut all = Vec::new();
        while let Some(Scalar(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Given::Many(all))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Words { lists: false })? {
            Given::One(text) => Ok(Scalar(text)),
            Given::Many(_) => Err(de::Error::custom("expected one value, found a list")),
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words { lists: true })
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl JsonSchema for Given {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Given".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number", "boolean", "array"],
            "items": { "type": ["string", "number", "boolean"] },
        })
    }
}

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Source {
        Source {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Reads it.
    pub fn parse<T: de::DeserializeOwned>(&self) -> Result<T, Problem> {
        meshproof_input::parse(&self.name, &self.text)
    }

    /// The line, from 1, of a byte.
    pub fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The JSON schema of `meshproof.yaml`.
pub fn schema() -> String {
    meshproof_input::schema::<Project>("The gate of a project: meshproof.yaml")
}

/// The JSON schema of `pack.yaml`.
pub fn pack_schema() -> String {
    meshproof_input::schema::<PackFile>("A rule pack: pack.yaml")
}
