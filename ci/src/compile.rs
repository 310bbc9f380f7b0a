//! `meshproof.yaml` and the packs that it extends become one gate, or a problem with its place.

use std::collections::BTreeMap;

use meshproof_input::{Entries, Problem, Span, Spanned, suggestion};

use crate::file::{self, Given, Project, Source};
use crate::gate::{CHECKPOINTS_MAX, Checkpoint, Gate, RULES_MAX, Setting, Waiver};
use crate::outcome::Code;
use crate::pack::{Pack, Snapshot};
use crate::scope::Scope;

/// A checkpoint whose neighbours are not looked up yet.
struct Draft {
    checkpoint: Checkpoint,
    /// Which scope it is written in.
    scope: usize,
    /// What has to pass before, as written.
    after: Vec<Spanned<String>>,
    /// Where its name stands.
    span: Span,
}

/// Merges the rules of a project with those of its packs.
pub fn compile(source: &Source, packs: &Snapshot) -> Result<Gate, Problem> {
    let project: Project = source.parse()?;
    let mut extended: Vec<&Pack> = Vec::new();
    let at = |span, code, message: String, help: String| {
        Problem::at(&source.name, &source.text, span, code, message, help)
    };
    for wanted in &project.extends {
        let pack = packs
            .find(&wanted.value)
            .map_err(|(message, help)| at(wanted.span, "gate::pack", message, help))?;
        if extended.iter().any(|before| before.name() == pack.name()) {
            let message = format!("the pack `{}` is extended twice", pack.name());
            let help = "keep one of the two".to_owned();
            return Err(at(wanted.span, "gate::pack", message, help));
        }
        extended.push(pack);
    }
    let mut scopes: Vec<Scope<'_>> = Vec::new();
    let mut settings = Vec::new();
    for (pack, wanted) in extended.iter().zip(&project.extends) {
        let scope = pack_scope(source, &project, pack, packs, wanted.span, &mut settings)?;
        scopes.push(scope);
    }
    let own = own_scope(source, &project, &extended, packs, &mut settings)?;
    let mut drafts = Vec::new();
    for (at, (pack, scope)) in extended.iter().zip(&scopes).enumerate() {
        let owner = Some(pack.file.owner.as_str());
        draft_all(
            scope,
            at,
            &pack.file.checkpoints,
            pack.name(),
            owner,
            &mut drafts,
        )?;
    }
    let owner = project.owner.as_deref();
    draft_all(
        &own,
        scopes.len(),
        &project.checkpoints,
        "",
        owner,
        &mut drafts,
    )?;
    scopes.push(own);
    if drafts.is_empty() {
        let message = "there is no checkpoint";
        let help = "add `extends: [rust@stable]`, or `checkpoints:` of your own";
        return Err(Problem::of_file(
            &source.name,
            "gate::nothing",
            message,
            help,
        ));
    }
    let checkpoints = link(drafts, &scopes)?;
    let Some(own) = scopes.last() else {
        return Err(Problem::of_file(
            &source.name,
            "gate::nothing",
            "no rules",
            "",
        ));
    };
    let waivers = waivers(own, &project.waivers, &checkpoints)?;
    Ok(Gate {
        checkpoints,
        waivers,
        packs: extended.iter().map(|pack| pack.label()).collect(),
        generation: packs.generation,
        parameters: settings,
    })
}

/// The parameters of a pack: what the project sets, else what the pack does.
fn pack_scope<'a>(
    source: &Source,
    project: &Project,
    pack: &'a Pack,
    packs: &Snapshot,
    wanted: Span,
    settings: &mut Vec<Setting>,
) -> Result<Scope<'a>, Problem> {
    let mut scope = Scope {
        source: &pack.source,
        pack: Some(pack.label()),
        generation: packs.generation,
        parameters: BTreeMap::new(),
    };
    let outer = Scope {
        source,
        pack: None,
        generation: packs.generation,
        parameters: BTreeMap::new(),
    };
    for (name, parameter) in &pack.file.parameters {
        let full = format!("{}.{}", pack.name(), name.value);
        let set = project.parameters.iter().find(|(key, _)| key.value == full);
        let (value, origin) = match (set, &parameter.default) {
            (Some((key, value)), _) => {
                one_of(&outer, &full, value, &parameter.one_of)?;
                (value.value.clone(), outer.origin(key.span))
            }
            (None, Some(default)) => (default.clone(), scope.origin(name.span)),
            (None, None) => {
                return Err(outer.problem(
                    wanted,
                    "gate::parameter",
                    format!("the pack needs the parameter `{full}`: {}", parameter.about),
                    format!("add `{full}: …` below `parameters:`"),
                ));
            }
        };
        settings.push(Setting {
            name: full,
            value: value.shown(),
            origin,
        });
        scope.parameters.insert(name.value.clone(), value);
    }
    Ok(scope)
}

fn one_of(
    scope: &Scope<'_>,
    name: &str,
    value: &Spanned<Given>,
    allowed: &[String],
) -> Result<(), Problem> {
    let given: Vec<&String> = match &value.value {
        Given::One(text) => vec![text],
        Given::Many(items) => items.iter().collect(),
    };
    let strange = given
        .into_iter()
        .find(|text| !allowed.is_empty() && !allowed.contains(text));
    let Some(strange) = strange else {
        return Ok(());
    };
    let known: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let help = match suggestion(strange, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", known.join(", ")),
    };
    let message = format!("`{name}` cannot be `{strange}`");
    Err(scope.problem(value.span, "gate::parameter", message, help))
}

/// The parameters of the project's own checkpoints; those of packs must be known there.
fn own_scope<'a>(
    source: &'a Source,
    project: &Project,
    extended: &[&Pack],
    packs: &Snapshot,
    settings: &mut Vec<Setting>,
) -> Result<Scope<'a>, Problem> {
    let mut scope = Scope {
        source,
        pack: None,
        generation: packs.generation,
        parameters: BTreeMap::new(),
    };
    for (key, value) in &project.parameters {
        let Some((pack, name)) = key.value.split_once('.') else {
            settings.push(Setting {
                name: key.value.clone(),
                value: value.value.shown(),
                origin: scope.origin(key.span),
            });
            scope
                .parameters
                .insert(key.value.clone(), value.value.clone());
            continue;
        };
        let known: Vec<&str> = extended.iter().map(|pack| pack.name()).collect();
        let Some(found) = extended.iter().find(|it| it.name() == pack) else {
            let help = match suggestion(pack, &known) {
                Some(near) => format!("did you mean `{near}.{name}`?"),
                None => format!("extended are: {}", known.join(", ")),
            };
            let message = format!(
                "`{}` is a parameter of a pack that is not extended",
                key.value
            );
            return Err(scope.problem(key.span, "gate::parameter", message, help));
        };
        let known: Vec<&str> = found
            .file
            .parameters
            .iter()
            .map(|(name, _)| name.value.as_str())
            .collect();
        if !known.contains(&name) {
            let help = match suggestion(name, &known) {
                Some(near) => format!("did you mean `{pack}.{near}`?"),
                None => format!("its parameters are {}", known.join(", ")),
            };
            let message = format!("the pack `{pack}` has no parameter `{name}`");
            return Err(scope.problem(key.span, "gate::parameter", message, help));
        }
    }
    Ok(scope)
}

/// The checkpoints of one scope.
fn draft_all(
    scope: &Scope<'_>,
    scope_at: usize,
    written: &Entries<String, file::Checkpoint>,
    pack: &str,
    owner: Option<&str>,
    drafts: &mut Vec<Draft>,
) -> Result<(), Problem> {
    for (name, checkpoint) in written {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.value.is_empty() || !name.value.chars().all(plain) {
            let message = format!("`{}` is no name of a checkpoint", name.value);
            let help = "use letters, digits, - and _";
            return Err(scope.problem(name.span, "gate::name", message, help));
        }
        let id = match pack {
            "" => name.value.clone(),
            pack => format!("{pack}/{}", name.value),
        };
        let owner = checkpoint.value.owner.as_deref().or(owner);
        let Some(owner) = owner.filter(|owner| !owner.trim().is_empty()) else {
            let message = format!("nobody answers for the checkpoint `{id}`");
            let help = "add `owner: …` to it, or to the file";
            return Err(scope.problem(name.span, "gate::owner", message, help));
        };
        drafts.push(Draft {
            checkpoint: crate::draft::checkpoint(scope, name, &checkpoint.value, &id, owner)?,
            scope: scope_at,
            after: checkpoint.value.after.clone(),
            span: name.span,
        });
        if drafts.len() > CHECKPOINTS_MAX {
            let message = format!("there are more than {CHECKPOINTS_MAX} checkpoints");
            return Err(scope.problem(name.span, "gate::too_many", message, ""));
        }
    }
    let rules: usize = drafts.iter().map(|it| it.checkpoint.rules.len()).sum();
    if rules > RULES_MAX {
        let message = format!("there are {rules} rules, more than {RULES_MAX}");
        return Err(Problem::of_file(
            &scope.source.name,
            "gate::too_many",
            message,
            "",
        ));
    }
    Ok(())
}

/// Looks up what has to pass before what, and refuses circles.
fn link(drafts: Vec<Draft>, scopes: &[Scope<'_>]) -> Result<Vec<Checkpoint>, Problem> {
    let ids: Vec<String> = drafts.iter().map(|it| it.checkpoint.id.clone()).collect();
    let mut after_all: Vec<Vec<usize>> = Vec::with_capacity(drafts.len());
    let scope_of = |draft: &Draft| scopes.get(draft.scope);
    for draft in &drafts {
        let mut after = Vec::new();
        for name in &draft.after {
            let near = match draft.checkpoint.id.split_once('/') {
                Some((pack, _)) => format!("{pack}/{}", name.value),
                None => name.value.clone(),
            };
            let found = ids
                .iter()
                .position(|id| *id == near)
                .or_else(|| ids.iter().position(|id| *id == name.value));
            match (found, scope_of(draft)) {
                (Some(found), _) => after.push(found),
                (None, Some(scope)) => {
                    let known: Vec<&str> = ids.iter().map(String::as_str).collect();
                    let help = match suggestion(&name.value, &known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are {}", known.join(", ")),
                    };
                    let message = format!("there is no checkpoint `{}`", name.value);
                    return Err(scope.problem(name.span, "gate::after", message, help));
                }
                (None, None) => {}
            }
        }
        after_all.push(after);
    }
    if let Some(at) = circle(&after_all)
        && let Some(draft) = drafts.get(at)
        && let Some(scope) = scope_of(draft)
    {
        let message = format!(
            "the checkpoint `{}` would have to pass before itself",
            draft.checkpoint.id
        );
        let help = "take one `after` of the circle away";
        return Err(scope.problem(draft.span, "gate::circle", message, help));
    }
    let linked = drafts.into_iter().zip(after_all);
    Ok(linked
        .map(|(draft, after)| Checkpoint {
            after,
            ..draft.checkpoint
        })
        .collect())
}

/// One that comes after itself.
fn circle(after: &[Vec<usize>]) -> Option<usize> {
    let mut left: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..after.len())
        .filter(|at| left.get(*at) == Some(&0))
        .collect();
    let mut done = 0;
    while let Some(at) = ready.pop() {
        done += 1;
        for (later, before) in after.iter().enumerate() {
            let times = before.iter().filter(|it| **it == at).count();
            if let Some(left) = left.get_mut(later).filter(|_| times > 0) {
                *left -= times;
                if *left == 0 {
                    ready.push(later);
                }
            }
        }
    }
    (done < after.len())
        .then(|| left.iter().position(|left| *left > 0))
        .flatten()
}

fn waivers(
    scope: &Scope<'_>,
    written: &[Spanned<file::Waiver>],
    checkpoints: &[Checkpoint],
) -> Result<Vec<Waiver>, Problem> {
    let ids: Vec<String> = checkpoints.iter().flat_map(Checkpoint::rule_ids).collect();
    let mut all: Vec<Waiver> = Vec::new();
    for waiver in written {
        let rule = &waiver.value.rule;
        if !ids.contains(&rule.value) {
            let known: Vec<&str> = ids.iter().map(String::as_str).collect();
            let help = match suggestion(&rule.value, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`meshproof gate explain` lists the rules".to_owned(),
            };
            let message = format!("there is no rule `{}`", rule.value);
            return Err(scope.problem(rule.span, "gate::waiver", message, help));
        }
        if all.iter().any(|before| before.rule == rule.value) {
            let message = format!("the rule `{}` is waived twice", rule.value);
            return Err(scope.problem(rule.span, "gate::waiver", message, "keep one"));
        }
        for (what, text) in [
            ("owner", &waiver.value.owner),
            ("reason", &waiver.value.reason),
        ] {
            if text.value.trim().is_empty() {
                let message = format!("a waiver without {what} is none");
                return Err(scope.problem(text.span, "gate::waiver", message, ""));
            }
        }
        let codes: Result<Vec<Code>, Problem> = waiver
            .value
            .codes
            .iter()
            .map(|it| code(scope, it))
            .collect();
        let codes = codes?;
        all.push(Waiver {
            rule: rule.value.clone(),
            owner: waiver.value.owner.value.clone(),
            reason: waiver.value.reason.value.clone(),
            expires: waiver.value.expires.value.clone(),
            over_unix_ns: day_over(scope, &waiver.value.expires)?,
            codes: if codes.is_empty() {
                vec![Code::NotHeld]
            } else {
                codes
            },
            origin: scope.origin(rule.span),
        });
    }
    Ok(all)
}

fn code(scope: &Scope<'_>, word: &Spanned<String>) -> Result<Code, Problem> {
    /// Codes that no waiver covers: what was not reached is waived where it is stuck.
    const NEVER: [Code; 3] = [Code::WaiverExpired, Code::NotReached, Code::Stopped];
    let found = Code::of_word(&word.value).filter(|code| !NEVER.contains(code));
    found.ok_or_else(|| {
        let known: Vec<&str> = Code::ALL
            .iter()
            .filter(|code| !NEVER.contains(code))
            .map(|code| code.word())
            .collect();
        let help = match suggestion(&word.value, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", known.join(", ")),
        };
        let message = format!("`{}` is no code that can be waived", word.value);
        scope.problem(word.span, "gate::waiver", message, help)
    })
}

/// The first moment behind a day, in nanoseconds since 1970.
fn day_over(scope: &Scope<'_>, day: &Spanned<String>) -> Result<i128, Problem> {
    let next = day
        .value
        .parse::<jiff::civil::Date>()
        .and_then(jiff::civil::Date::tomorrow)
        .and_then(|next| next.to_zoned(jiff::tz::TimeZone::UTC));
    match next {
        Ok(next) if day.value.len() == "2026-12-31".len() => Ok(next.timestamp().as_nanosecond()),
        _ => Err(scope.problem(
            day.span,
            "gate::waiver",
            format!("`{}` is no day", day.value),
            "write the last day on which it holds: 2026-12-31",
        )),
    }
}
