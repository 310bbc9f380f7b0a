//! Rule packs. A pack carries fixtures: what its checkpoints must block and what they must let
//! pass. One whose own fixtures fail is refused.

use std::collections::{BTreeMap, BTreeSet};

use meshproof_input::{Entries, Problem, Spanned, suggestion};
use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::file::{Given, PackFile, Source};
use crate::judge::judge;
use crate::memory::Memory;
use crate::outcome::{Judged, State};
use crate::world::{Ending, Facts};

/// When fixtures are judged: a day like any other, so that they come out the same for ever.
const FIXTURE_NOW_NS: i128 = 1_795_000_000_000_000_000;
/// Most packs of a snapshot.
const PACKS_MAX: usize = 200;

/// A rule pack.
#[derive(Clone, Debug)]
pub struct Pack {
    /// What is written.
    pub file: PackFile,
    /// As text.
    pub source: Source,
}

impl Pack {
    /// `rust`.
    pub fn name(&self) -> &str {
        &self.file.pack.value
    }

    /// `rust@1`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name(), self.file.version)
    }
}

/// Every pack that a gate may extend, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts the changes; 0 for the packs that are part of the program.
    pub generation: u64,
    packs: Vec<Pack>,
}

/// A pack as text, with its fixtures.
#[derive(Clone, Debug)]
pub struct Written {
    /// `pack.yaml`.
    pub pack: Source,
    /// `fixtures.yaml`.
    pub fixtures: Source,
}

/// One fixture.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fixture {
    /// The checkpoint that is judged.
    pub checkpoint: Spanned<String>,
    /// Parameters of the pack.
    #[serde(default)]
    pub parameters: BTreeMap<String, Given>,
    /// Files, by path.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How old files are, where they are not of this moment: 3d.
    #[serde(default)]
    pub ages: BTreeMap<String, String>,
    /// Variables of the environment.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// What the repository says.
    pub git: Option<Value>,
    /// What the newest record says.
    pub record: Option<Value>,
    /// Exit code of the command.
    pub exit: Option<i32>,
    /// What must come of it.
    pub expect: Spanned<Expected>,
    /// For `blocked`: the rules that block, each with its code; no others.
    #[serde(default)]
    pub blocks: Entries<String, String>,
}

/// What must come of a fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Every rule holds.
    Passed,
    /// A rule blocks.
    Blocked,
    /// It does not apply.
    NotApplicable,
}

impl Snapshot {
    /// Takes packs, each when its own fixtures come out as they say.
    pub fn load(generation: u64, written: &[Written]) -> Result<Snapshot, Problem> {
        let mut packs: Vec<Pack> = Vec::new();
        for one in written {
            let pack = Pack {
                file: one.pack.parse()?,
                source: one.pack.clone(),
            };
            let twice = packs.iter().any(|it| it.label() == pack.label());
            if twice || packs.len() >= PACKS_MAX {
                let span = pack.file.pack.span;
                let message = match twice {
                    true => format!("the pack {} is there twice", pack.label()),
                    false => format!("there are more than {PACKS_MAX} packs"),
                };
                let (name, text) = (&one.pack.name, &one.pack.text);
                return Err(Problem::at(name, text, span, "pack::twice", message, ""));
            }
            prove(&pack, &one.fixtures)?;
            packs.push(pack);
        }
        Ok(Snapshot { generation, packs })
    }

    /// The packs.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// The pack of `NAME@VERSION` or `NAME@CHANNEL`. The error is a message and what to type.
    pub fn find(&self, wanted: &str) -> Result<&Pack, (String, String)> {
        let (name, which) = wanted.split_once('@').unwrap_or((wanted, ""));
        let known: BTreeSet<&str> = self.packs.iter().map(Pack::name).collect();
        let known: Vec<&str> = known.into_iter().collect();
        if !known.contains(&name) {
            let help = match suggestion(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the packs are {}", known.join(", ")),
            };
            return Err((format!("there is no pack `{name}`"), help));
        }
        let of_name: Vec<&Pack> = self.packs.iter().filter(|it| it.name() == name).collect();
        let fits = |pack: &&&Pack| {
            pack.file.version.to_string() == which
                || pack.file.channels.iter().any(|it| it == which)
        };
        // A channel that stands at two versions means the newer.
        let found = of_name.iter().filter(fits).max_by_key(|it| it.file.version);
        found.copied().ok_or_else(|| {
            let ways: Vec<String> = of_name
                .iter()
                .flat_map(|pack| {
                    let version = pack.file.version.to_string();
                    std::iter::once(version).chain(pack.file.channels.iter().cloned())
                })
                .map(|which| format!("{name}@{which}"))
                .collect();
            let message = match which {
                "" => format!("`{name}` says no version"),
                which => format!("there is no version or channel `{which}` of the pack `{name}`"),
            };
            (message, format!("write {}", ways.join(" or ")))
        })
    }
}

/// Judges the fixtures of a pack.
fn prove(pack: &Pack, source: &Source) -> Result<(), Problem> {
    let fixtures: Entries<String, Fixture> = source.parse()?;
    let mut shown: BTreeSet<(String, bool)> = BTreeSet::new();
    for (name, fixture) in &fixtures {
        let judged = run(pack, source, fixture)?;
        let wrong = compare(&fixture.value, &judged);
        if let Some(wrong) = wrong {
            return Err(Problem::at(
                &source.name,
                &source.text,
                fixture.value.expect.span,
                "pack::fixture",
                format!("the fixture `{}` of {} {wrong}", name.value, pack.label()),
                "a pack whose own fixtures fail is refused: mend the rule or the fixture",
            ));
        }
        match fixture.value.expect.value {
            Expected::Passed => shown.insert((fixture.value.checkpoint.value.clone(), true)),
            Expected::Blocked => shown.insert((fixture.value.checkpoint.value.clone(), false)),
            Expected::NotApplicable => true,
        };
    }
    for (name, _) in &pack.file.checkpoints {
        for (passes, word) in [(true, "passes"), (false, "is blocked")] {
            if !shown.contains(&(name.value.clone(), passes)) {
                let message = format!("no fixture of `{}` {word}", name.value);
                let help = format!("add one to {}", source.name);
                let (file, text) = (&pack.source.name, &pack.source.text);
                return Err(Problem::at(
                    file,
                    text,
                    name.span,
                    "pack::unproved",
                    message,
                    help,
                ));
            }
        }
    }
    Ok(())
}

fn run(pack: &Pack, source: &Source, fixture: &Spanned<Fixture>) -> Result<Judged, Problem> {
    let it = &fixture.value;
    let parameters: serde_json::Map<String, Value> = it
        .parameters
        .iter()
        .map(|(name, given)| {
            let value = match given {
                Given::One(text) => json!(text),
                Given::Many(items) => json!(items),
            };
            (format!("{}.{name}", pack.name()), value)
        })
        .collect();
    let project = json!({"extends": [pack.label()], "parameters": parameters});
    let alone = Snapshot {
        generation: 0,
        packs: vec![pack.clone()],
    };
    // YAML reads JSON.
    let gate = crate::compile(&Source::new(&source.name, project.to_string()), &alone)?;
    let id = format!("{}/{}", pack.name(), it.checkpoint.value);
    let Some(checkpoint) = gate.checkpoints.iter().find(|one| one.id == id) else {
        let message = format!("the pack has no checkpoint `{}`", it.checkpoint.value);
        let (file, text, span) = (&source.name, &source.text, it.checkpoint.span);
        return Err(Problem::at(file, text, span, "pack::fixture", message, ""));
    };
    let mut world = Memory::new(FIXTURE_NOW_NS);
    for (path, text) in &it.files {
        let age = it.ages.get(path).map(String::as_str).unwrap_or("0s");
        let age = crate::measure::Measure::parse(age).and_then(crate::measure::Measure::millis);
        world.file(path, text, i128::from(age.unwrap_or(0)) * 1_000_000);
    }
    world.variables.clone_from(&it.variables);
    world.git.clone_from(&it.git);
    if let (Some(values), Some(crate::gate::From::Record(question))) =
        (&it.record, checkpoint.read.as_ref().map(|read| &read.from))
    {
        let facts = Facts {
            values: values.clone(),
            made_unix_ns: Some(FIXTURE_NOW_NS),
            place: "the record of the fixture".to_owned(),
        };
        world.records.push((question.words.clone(), Ok(facts)));
    }
    if let Some(code) = it.exit {
        world.ending = Ending::Exit(code);
    }
    Ok(judge(checkpoint, &[], &world))
}

/// What is not as the fixture says.
fn compare(fixture: &Fixture, judged: &Judged) -> Option<String> {
    let expected = matches!(
        (fixture.expect.value, &judged.state),
        (Expected::Passed, State::Passed)
            | (Expected::NotApplicable, State::NotApplicable(_))
            | (Expected::Blocked, State::Blocked)
    );
    let blocks: BTreeMap<&str, &str> = judged
        .blocks()
        .map(|(ruling, block)| {
            let front = format!("{}/", judged.id);
            let rule = ruling.rule.strip_prefix(front.as_str());
            (rule.unwrap_or(&ruling.rule), block.code.word())
        })
        .collect();
    if !expected {
        let why: Vec<&str> = judged
            .blocks()
            .map(|(_, block)| block.why.as_str())
            .collect();
        return Some(format!("is {}: {}", judged.state.word(), why.join("; ")));
    }
    let wanted: BTreeMap<&str, &str> = fixture
        .blocks
        .iter()
        .map(|(rule, code)| (rule.value.as_str(), code.value.as_str()))
        .collect();
    if fixture.expect.value == Expected::Blocked && wanted != blocks {
        return Some(format!(
            "is blocked by {blocks:?}, and should be by {wanted:?}"
        ));
    }
    None
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$((
            $name,
            include_str!(concat!("../packs/", $name, "/pack.yaml")),
            include_str!(concat!("../packs/", $name, "/fixtures.yaml")),
        )),*]
    };
}

/// The packs that are part of the program: name, `pack.yaml`, `fixtures.yaml`.
const SHIPPED: &[(&str, &str, &str)] = shipped![
    "code-review",
    "commit-style",
    "git-flow",
    "go",
    "java",
    "release",
    "rust"
];

/// The packs that are part of the program, as text.
pub fn shipped() -> Vec<Written> {
    SHIPPED
        .iter()
        .map(|(name, pack, fixtures)| Written {
            pack: Source::new(format!("packs/{name}/pack.yaml"), *pack),
            fixtures: Source::new(format!("packs/{name}/fixtures.yaml"), *fixtures),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_proves_itself() {
        let packs = Snapshot::load(0, &shipped()).unwrap_or_else(|problem| {
            panic!(
                "{problem} (line {:?}): {:?}",
                problem.line(),
                problem.help_text()
            )
        });
        assert_eq!(packs.packs().len(), SHIPPED.len());
    }
}
