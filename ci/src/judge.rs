//! One checkpoint, judged: its command runs, its result is read, its rules are tried.
//!
//! **Invariant:** a checkpoint passes where every rule was tried on a value and holds. Whatever
//! is not there, old, empty or unreadable blocks, with a code of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::gate::{Checkpoint, Empty, From, Kind, Of, Read, Rule, Run, Waiver, When};
use crate::outcome::{Block, Code, FIGURES_MAX, Judged, Origin, Ruling, Shown, State, Waived};
use crate::read;
use crate::tried::{Evidence, Tried, tried};
use crate::world::{Absent, Command, Ending, GitQuestion, Ran, Seen, World};

/// How far behind a command's start a file that it made may seem to be, in nanoseconds: the clock
/// that stamps files ticks more slowly.
const TICK_NS: i128 = 20_000_000;
/// How far ahead of the gate's clock a result may be, in nanoseconds.
const AHEAD_NS: i128 = 60_000_000_000;

/// How deep a number may stand to be told.
const FIGURES_DEPTH_MAX: usize = 4;
/// Numbers that measure nothing.
const NO_FIGURES: [&str; 3] = ["exit", "seed", "stated_unix_ms"];

/// Judges a checkpoint whose time has come.
pub fn judge(checkpoint: &Checkpoint, waivers: &[Waiver], world: &dyn World) -> Judged {
    let mut judged = Judged {
        id: checkpoint.id.clone(),
        about: checkpoint.about.clone(),
        owner: checkpoint.owner.clone(),
        origin: checkpoint.origin.clone(),
        state: State::Blocked,
        rulings: Vec::new(),
        command: Vec::new(),
        took_ms: 0,
        tail: String::new(),
        log: String::new(),
        shown: None,
    };
    let maker = Maker {
        checkpoint,
        waivers,
        now: world.now_unix_ns(),
    };
    match applies(&checkpoint.when, world) {
        Ok(None) => {}
        Ok(Some(reason)) => {
            judged.state = State::NotApplicable(reason);
            return judged;
        }
        Err(absent) => {
            let tried = Tried::block(absent.code, "nothing", "an answer", absent.why);
            judged
                .rulings
                .push(maker.implied("when", &checkpoint.origin, tried));
            return judged;
        }
    }
    let mut began = None;
    let mut is_over = false;
    if let Some(run) = &checkpoint.run {
        let ran = world.run(&Command {
            checkpoint: checkpoint.id.clone(),
            words: run.words.clone(),
            within_ms: run.within_ms,
            env: run.env.clone(),
        });
        judged.command.clone_from(&run.words);
        judged.took_ms = ran.took_ms;
        began = Some(ran.began_unix_ns);
        let exit = exit(run, &ran);
        let is_well = exit.block.is_none();
        // What was not begun or was killed has left nothing to judge.
        is_over = !matches!(ran.ending, Ending::Exit(_));
        judged
            .rulings
            .push(maker.implied("exit", &run.origin, exit));
        if is_well && !run.artefacts.is_empty() {
            let artefacts = artefacts(run, ran.began_unix_ns, world);
            judged
                .rulings
                .push(maker.implied("artefacts", &run.origin, artefacts));
        }
        judged.tail = ran.tail;
        judged.log = ran.log;
    }
    if !is_over {
        result(checkpoint, &maker, began, world, &mut judged);
    }
    judged.state = state(&judged);
    if judged.state == State::Passed {
        judged.tail.clear();
    }
    judged
}

/// A checkpoint that is never judged: what comes before it blocks, or the gate was stopped.
pub(crate) fn not_reached(checkpoint: &Checkpoint, why: String) -> Judged {
    Judged {
        id: checkpoint.id.clone(),
        about: checkpoint.about.clone(),
        owner: checkpoint.owner.clone(),
        origin: checkpoint.origin.clone(),
        state: State::NotReached(why),
        rulings: Vec::new(),
        command: Vec::new(),
        took_ms: 0,
        tail: String::new(),
        log: String::new(),
        shown: None,
    }
}

fn state(judged: &Judged) -> State {
    if judged.rulings.is_empty() || judged.blocks().next().is_some() {
        State::Blocked
    } else if judged.waived().next().is_some() {
        State::Waived
    } else {
        State::Passed
    }
}

/// Reads the result and tries the rules on it.
fn result(
    checkpoint: &Checkpoint,
    maker: &Maker<'_>,
    began: Option<i128>,
    world: &dyn World,
    judged: &mut Judged,
) {
    // A failure that is waived takes nothing else along.
    let failed = judged.blocks().next().is_some();
    let evidence = match &checkpoint.read {
        Some(read) => {
            let evidence = evidence(read, began, maker.now, world);
            match evidence {
                Ok(evidence) => {
                    let seen = evidence.place.clone();
                    judged.shown = Some(shown(&evidence));
                    judged.rulings.push(maker.implied(
                        "result",
                        &read.origin,
                        Tried::held(seen, "a result that can be read"),
                    ));
                    evidence
                }
                // A command that failed is told as that.
                Err(absent) if failed && absent.code == Code::Missing => return,
                Err(absent) => {
                    let tried = Tried::block(
                        absent.code,
                        "nothing",
                        "a result that can be read",
                        absent.why,
                    );
                    judged
                        .rulings
                        .push(maker.implied("result", &read.origin, tried));
                    return;
                }
            }
        }
        None => Evidence {
            facts: serde_json::json!({ "took_ms": judged.took_ms }),
            made_unix_ns: began,
            place: "the command".to_owned(),
        },
    };
    let baseline = checkpoint
        .baseline
        .as_ref()
        .map(|read| self::evidence(read, None, maker.now, world));
    for rule in &checkpoint.rules {
        let tried = tried(&rule.test, &evidence, baseline.as_ref(), maker.now);
        judged.rulings.push(maker.ruling(rule, tried));
    }
}

/// What of a result is told beside the rules.
fn shown(evidence: &Evidence) -> Shown {
    let ms = |ns: i128| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    let mut figures = Vec::new();
    numbers("", &evidence.facts, &mut figures);
    Shown {
        place: evidence.place.clone(),
        made_unix_ms: evidence.made_unix_ns.map(ms),
        figures,
    }
}

/// The numbers of a mapping by name, in its order; lists are left out.
fn numbers(front: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(members) if front.matches('.').count() < FIGURES_DEPTH_MAX => {
            for (name, member) in members {
                let name = match front {
                    "" => name.clone(),
                    front => format!("{front}.{name}"),
                };
                numbers(&name, member, found);
            }
        }
        Value::Number(number) if found.len() < FIGURES_MAX && !NO_FIGURES.contains(&front) => {
            found.extend(number.as_f64().map(|it| (front.to_owned(), it)));
        }
        _ => {}
    }
}

/// `None` where the checkpoint applies, else why it does not.
fn applies(when: &When, world: &dyn World) -> Result<Option<String>, Absent> {
    if let Some((written, value)) = &when.not_off
        && value.trim().eq_ignore_ascii_case("off")
    {
        return Ok(Some(format!("{written} is off")));
    }
    if let Some(pattern) = &when.exists
        && !world.exists(pattern)
    {
        return Ok(Some(format!("there is no {pattern}")));
    }
    if let Some(name) = &when.variable
        && world.variable(name).is_none_or(|value| value.is_empty())
    {
        return Ok(Some(format!("the variable {name} is not set")));
    }
    if let Some(pattern) = &when.branch {
        let git = world.git(&GitQuestion::default())?;
        let branch = git.values.get("branch").and_then(Value::as_str);
        let Some(branch) = branch else {
            let why = "no branch is checked out, and nothing names it";
            return Err(Absent::new(Code::NoValue, why));
        };
        if !pattern.is_match(branch) {
            return Ok(Some(format!("the branch is {branch}")));
        }
    }
    Ok(None)
}

fn exit(run: &Run, ran: &Ran) -> Tried {
    let wanted = match run.exits.as_slice() {
        [0] => "exit 0".to_owned(),
        exits => {
            let codes: Vec<String> = exits.iter().map(i32::to_string).collect();
            format!("exit {}", codes.join(" or "))
        }
    };
    let within = format!("{wanted} within {}", crate::report::millis(run.within_ms));
    let program = run.words.first().map_or("", String::as_str);
    match &ran.ending {
        Ending::Exit(code) if run.exits.contains(code) => {
            Tried::held(format!("exit {code}"), wanted)
        }
        Ending::Exit(code) => {
            let why = format!("the command ended with exit {code}, expected {wanted}");
            Tried::block(Code::NotHeld, format!("exit {code}"), wanted, why)
        }
        Ending::Signal(signal) => {
            let why = format!("the command was ended by signal {signal}");
            Tried::block(Code::Command, format!("signal {signal}"), wanted, why)
        }
        Ending::TimeOut => {
            let took = crate::report::millis(ran.took_ms);
            let why = format!(
                "the command was not over after {took}; it was ended with all that it started"
            );
            Tried::block(Code::TimeOut, format!("not over after {took}"), within, why)
        }
        Ending::NotStarted(reason) => {
            let why = format!("`{program}` could not be started: {reason}");
            Tried::block(Code::Command, "not started", wanted, why)
        }
        Ending::Stopped => {
            let why = "the gate was stopped while the command ran";
            Tried::block(Code::Stopped, "stopped", wanted, why)
        }
    }
}

fn artefacts(run: &Run, began: i128, world: &dyn World) -> Tried {
    let wanted = run.artefacts.join(", ");
    let mut files = 0;
    for pattern in &run.artefacts {
        match world.files(pattern) {
            Ok(found) => {
                files += found.len();
                if let Some(old) = found.iter().find(|it| it.changed_unix_ns + TICK_NS < began) {
                    let why = format!("{} is older than the command that has to make it", old.path);
                    return Tried::block(Code::Stale, &old.path, wanted, why);
                }
                if let Some(empty) = found.iter().find(|it| it.bytes.is_empty()) {
                    let why = format!("{} is empty (0 bytes)", empty.path);
                    return Tried::block(Code::Empty, &empty.path, wanted, why);
                }
            }
            Err(absent) => return Tried::block(absent.code, "nothing", wanted, absent.why),
        }
    }
    Tried::held(format!("{files} files"), wanted)
}

/// Reads a result; `began` is when the command that has to make it did.
fn evidence(
    read: &Read,
    began: Option<i128>,
    now: i128,
    world: &dyn World,
) -> Result<Evidence, Absent> {
    // Files are as old as their oldest, and as new as their newest.
    let mut newest = None;
    let mut evidence = match &read.from {
        From::Files(kind, pattern) => {
            let files = world.files(pattern)?;
            newest = files.iter().map(|it| it.changed_unix_ns).max();
            let facts = of_files(*kind, &files, world)?;
            let place = match files.as_slice() {
                [one] => one.path.clone(),
                many => format!("{} files of {pattern}", many.len()),
            };
            Evidence {
                facts,
                made_unix_ns: files.iter().map(|it| it.changed_unix_ns).min(),
                place,
            }
        }
        From::Git(question) => {
            let facts = world.git(question)?;
            Evidence {
                facts: facts.values,
                made_unix_ns: Some(now),
                place: facts.place,
            }
        }
        From::Record(question) => {
            let facts = world.record(question)?;
            Evidence {
                facts: facts.values,
                made_unix_ns: facts.made_unix_ns,
                place: facts.place,
            }
        }
    };
    let newest = newest.or(evidence.made_unix_ns);
    let stated = evidence
        .facts
        .get("stated_unix_ms")
        .and_then(Value::as_i64)
        .map(|ms| i128::from(ms) * 1_000_000);
    let ahead = [newest, stated].into_iter().flatten().max();
    if let Some(ahead) = ahead.filter(|ahead| *ahead > now + AHEAD_NS) {
        let by = crate::report::age(ahead - now);
        let why = format!(
            "{} is of {by} in the future: a clock is wrong",
            evidence.place
        );
        return Err(Absent::new(Code::Future, why));
    }
    evidence.made_unix_ns = [evidence.made_unix_ns, stated].into_iter().flatten().min();
    if let (Some(began), Some(made)) = (began, evidence.made_unix_ns) {
        // What a suite states may be rounded to seconds.
        let slack = if stated == Some(made) {
            1_000_000_000
        } else {
            TICK_NS
        };
        if made + slack < began {
            let by = crate::report::age(began - made);
            let why = format!(
                "{} is {by} older than the command that has to make it",
                evidence.place
            );
            return Err(Absent::new(Code::Stale, why));
        }
    }
    Ok(evidence)
}

fn of_files(kind: Kind, files: &[Seen], world: &dyn World) -> Result<Value, Absent> {
    let one = || match files {
        [one] => Ok(one),
        many => {
            let why = format!("{} files fit, and one is read", many.len());
            Err(Absent::new(Code::Unreadable, why))
        }
    };
    match kind {
        Kind::Junit => read::junit(files),
        Kind::Sarif => read::sarif(files),
        Kind::Csv => read::table(files),
        Kind::Json => read::json(one()?),
        Kind::Review => read::review(one()?),
        Kind::Lcov(of) => covered(read::lcov(files)?, of, world),
        Kind::Cobertura(of) => covered(read::cobertura(files)?, of, world),
    }
}

fn covered(lines: read::Lines, of: Of, world: &dyn World) -> Result<Value, Absent> {
    if of == Of::Everything {
        return Ok(lines.facts(None));
    }
    let git = world.git(&GitQuestion::default())?;
    let Some(added) = git.values.get("added_lines").and_then(Value::as_object) else {
        let why = "the lines that the branch changed are not known: no branch to merge into; \
                   give --target";
        return Err(Absent::new(Code::NoValue, why));
    };
    let changed: BTreeMap<String, BTreeSet<u64>> = added
        .iter()
        .map(|(path, numbers)| {
            let numbers = numbers.as_array().into_iter().flatten();
            (path.clone(), numbers.filter_map(Value::as_u64).collect())
        })
        .collect();
    Ok(lines.facts(Some(&changed)))
}

/// Makes rulings: adds who answers, what to type, and the waiver where one is in force.
struct Maker<'a> {
    checkpoint: &'a Checkpoint,
    waivers: &'a [Waiver],
    now: i128,
}

impl Maker<'_> {
    /// Of a rule that follows from `run`, `read` or `when`.
    fn implied(&self, name: &str, origin: &Origin, tried: Tried) -> Ruling {
        let fix = match (self.checkpoint.fix.as_str(), &self.checkpoint.run) {
            ("", Some(run)) => meshproof_record::report::text::shell(&run.words),
            (fix, _) => fix.to_owned(),
        };
        self.made(self.checkpoint.rule_id(name), origin, &fix, tried)
    }

    fn ruling(&self, rule: &Rule, tried: Tried) -> Ruling {
        let fix = match (rule.fix.as_str(), &self.checkpoint.run) {
            ("", Some(run)) => meshproof_record::report::text::shell(&run.words),
            (fix, _) => fix.to_owned(),
        };
        self.made(rule.id.clone(), &rule.origin, &fix, tried)
    }

    fn made(&self, rule: String, origin: &Origin, fix: &str, tried: Tried) -> Ruling {
        let waiver = |code: Code| {
            let found = self.waivers.iter().find(|waiver| {
                waiver.rule == rule
                    && waiver.codes.contains(&code)
                    && self.now < waiver.over_unix_ns
            })?;
            Some(Waived {
                owner: found.owner.clone(),
                reason: found.reason.clone(),
                expires: found.expires.clone(),
                origin: found.origin.clone(),
            })
        };
        let block = tried.block.map(|(code, why)| Block {
            code,
            why,
            owner: self.checkpoint.owner.clone(),
            fix: fix.to_owned(),
            waiver: waiver(code),
            place: tried.place,
        });
        Ruling {
            rule,
            origin: origin.clone(),
            seen: tried.seen,
            wanted: tried.wanted,
            block,
        }
    }
}

/// Whether nothing at all is well for a list.
pub(crate) fn holds_empty(empty: Empty) -> bool {
    match empty {
        Empty::Holds => true,
        Empty::Blocks => false,
    }
}
