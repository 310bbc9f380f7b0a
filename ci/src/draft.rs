//! One checkpoint as it is written becomes one that can be judged.

use meshproof_input::{Problem, Span, Spanned, suggestion};
use regex::Regex;

use crate::condition::Condition;
use crate::file;
use crate::gate::{
    Checkpoint, Empty, From, Kind, Of, Read, Rule, Run, Shown, Test, WITHIN_MS_MAX,
    WITHIN_MS_USUAL, Wanted, When,
};
use crate::measure::{Bound, Comparison, Dimension, Limit, Measure, Unit};
use crate::scope::Scope;
use crate::value::Name;
use crate::world::{GitQuestion, RecordQuestion};

/// Makes a checkpoint; what comes before it is looked up by the caller.
pub(crate) fn checkpoint(
    scope: &Scope<'_>,
    name: &Spanned<String>,
    written: &file::Checkpoint,
    id: &str,
    owner: &str,
) -> Result<Checkpoint, Problem> {
    let run = written.run.as_ref().map(|it| run(scope, it)).transpose()?;
    let read_ = written
        .read
        .as_ref()
        .map(|it| read(scope, it))
        .transpose()?;
    let baseline = written
        .baseline
        .as_ref()
        .map(|it| read(scope, it))
        .transpose()?;
    if run.is_none() && read_.is_none() {
        let message = format!("the checkpoint `{id}` has nothing to judge");
        let help = "add `run:` (a command) or `read:` (a result)";
        return Err(scope.problem(name.span, "gate::no_evidence", message, help));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(written.rules.len());
    for rule in &written.rules {
        let made = self::rule(scope, rule, id, &written.fix)?;
        let implied = ["when", "exit", "artefacts", "result"];
        let taken = rules.iter().any(|before| before.id == made.id)
            || implied
                .iter()
                .any(|implied| made.id == format!("{id}/{implied}"));
        if taken {
            let message = format!("there are two rules `{}`", made.id);
            let help = "give one of them an `id:` of its own";
            return Err(scope.problem(rule.span, "gate::rule_id", message, help));
        }
        let relative = matches!(&made.test, Test::Limits { limits, .. }
            if limits.iter().any(Limit::is_relative));
        if relative && baseline.is_none() {
            let message = "a limit with a sign is relative to a baseline, and there is none";
            let help = "add `baseline:` to the checkpoint, or take the sign away";
            return Err(scope.problem(rule.span, "gate::baseline", message, help));
        }
        rules.push(made);
    }
    if let Some(read) = &written.read {
        needs_rules(scope, id, read, &rules)?;
        let made_here = run.is_some();
        let dated = matches!(
            read_.as_ref().map(|it| &it.from),
            Some(From::Files(..) | From::Record(_))
        );
        let is_review = matches!(
            read_.as_ref().map(|it| &it.from),
            Some(From::Files(Kind::Review, _))
        );
        let fresh = rules.iter().any(|rule| matches!(rule.test, Test::Fresh(_)));
        if dated && !is_review && !made_here && !fresh {
            let message = "nobody made this result here, and nothing says how old it may be";
            let help = "add `run:` with the command that makes it, or the rule `- fresh: 24h`";
            return Err(scope.problem(read.span, "gate::fresh", message, help));
        }
    }
    Ok(Checkpoint {
        id: id.to_owned(),
        about: scope.fill_at(&written.about, name.span)?,
        owner: owner.to_owned(),
        origin: scope.origin(name.span),
        after: Vec::new(),
        when: match &written.when {
            Some(when) => self::when(scope, when)?,
            None => When::default(),
        },
        run,
        read: read_,
        baseline,
        rules,
        fix: scope.fill_at(&written.fix, name.span)?,
    })
}

/// A result that no rule judges would pass by being there.
fn needs_rules(
    scope: &Scope<'_>,
    id: &str,
    read: &Spanned<file::Read>,
    rules: &[Rule],
) -> Result<(), Problem> {
    let judged = rules
        .iter()
        .any(|rule| !matches!(rule.test, Test::Fresh(_)));
    if judged {
        return Ok(());
    }
    let message = format!("the checkpoint `{id}` reads a result, and no rule judges it");
    let help = "add `rules:`, such as `- {value: tests.failed, at-most: 0}`";
    Err(scope.problem(read.span, "gate::no_rules", message, help))
}

fn when(scope: &Scope<'_>, written: &Spanned<file::When>) -> Result<When, Problem> {
    let fill = |text: &Option<Spanned<String>>| -> Result<Option<String>, Problem> {
        text.as_ref().map(|it| scope.fill_some(it)).transpose()
    };
    let branch = match &written.value.branch {
        Some(pattern) => Some(whole(scope, pattern.span, &scope.fill_some(pattern)?)?),
        None => None,
    };
    let not_off = match &written.value.not_off {
        Some(text) => Some((text.value.clone(), scope.fill(text)?)),
        None => None,
    };
    let when = When {
        exists: fill(&written.value.exists)?,
        not_off,
        variable: fill(&written.value.variable)?,
        branch,
    };
    let says_nothing = when.exists.is_none()
        && when.not_off.is_none()
        && when.variable.is_none()
        && when.branch.is_none();
    if says_nothing {
        let help = "write `exists:`, `branch:`, `variable:` or `not-off:`, or take it away";
        return Err(scope.problem(written.span, "gate::when", "this says nothing", help));
    }
    Ok(when)
}

fn run(scope: &Scope<'_>, written: &Spanned<file::Run>) -> Result<Run, Problem> {
    let words = scope.fill_list(&written.value.command)?;
    if words
        .first()
        .is_none_or(|program| program.trim().is_empty())
    {
        let help = "write program and arguments, a word an item: [cargo, test]";
        return Err(scope.problem(written.span, "gate::command", "there is no program", help));
    }
    let within_ms = match &written.value.within {
        Some(text) => {
            let ms = millis(scope, text)?;
            if ms == 0 || ms > WITHIN_MS_MAX {
                let message = format!("`{}` is no time limit", text.value);
                let help = "write more than 0 and at most 24h";
                return Err(scope.problem(text.span, "gate::time", message, help));
            }
            ms
        }
        None => WITHIN_MS_USUAL,
    };
    let mut env = written.value.env.clone();
    for value in env.values_mut() {
        *value = scope.fill_at(value, written.span)?;
    }
    let exits = match written.value.exits.as_slice() {
        [] => vec![0],
        exits => exits.to_vec(),
    };
    Ok(Run {
        origin: scope.origin(written.span),
        words,
        within_ms,
        env,
        artefacts: scope.fill_list(&written.value.artefacts)?,
        exits,
    })
}

fn read(scope: &Scope<'_>, written: &Spanned<file::Read>) -> Result<Read, Problem> {
    let it = &written.value;
    let of = match it.change {
        true => Of::Change,
        false => Of::Everything,
    };
    let files = [
        (&it.junit, Kind::Junit),
        (&it.cobertura, Kind::Cobertura(of)),
        (&it.lcov, Kind::Lcov(of)),
        (&it.sarif, Kind::Sarif),
        (&it.json, Kind::Json),
        (&it.csv, Kind::Csv),
        (&it.review, Kind::Review),
    ];
    let mut found: Vec<From> = Vec::new();
    for (path, kind) in files {
        if let Some(path) = path {
            let pattern = scope.fill_some(path)?;
            if let Err(error) = glob::Pattern::new(&pattern) {
                let message = format!("`{pattern}` is no path or pattern: {error}");
                return Err(scope.problem(path.span, "gate::path", message, ""));
            }
            found.push(From::Files(kind, pattern));
        }
    }
    if let Some(ask) = &it.record {
        let words = scope.fill_list(&ask.value.words)?;
        if words.is_empty() {
            let help = "write words of its command line: [run, all]";
            let message = "this would take any record";
            return Err(scope.problem(ask.span, "gate::record", message, help));
        }
        let without = scope.fill_list(&ask.value.without)?;
        for pattern in words.iter().chain(&without) {
            if let Err(error) = glob::Pattern::new(pattern) {
                let message = format!("`{pattern}` is no word or pattern: {error}");
                return Err(scope.problem(ask.span, "gate::record", message, ""));
            }
        }
        found.push(From::Record(RecordQuestion {
            below: scope.fill_some(&ask.value.below)?,
            words,
            without,
        }));
    }
    if let Some(ask) = &it.git {
        let back = match scope.fill_list(&ask.value.back)?.as_slice() {
            [] => None,
            [from, into] => Some((from.clone(), into.clone())),
            _ => {
                let message = "`back` is two branches: all commits of the first are in the second";
                return Err(scope.problem(ask.span, "gate::git", message, "write [main, develop]"));
            }
        };
        let target = ask
            .value
            .target
            .as_ref()
            .map(|it| scope.fill(it))
            .transpose()?;
        let target = target.filter(|target| !target.is_empty());
        found.push(From::Git(GitQuestion { target, back }));
    }
    let coverage = it.cobertura.is_some() || it.lcov.is_some();
    if it.change && !coverage {
        let message = "`change` is for coverage alone";
        return Err(scope.problem(written.span, "gate::read", message, "take it away"));
    }
    match (found.pop(), found.is_empty()) {
        (Some(from), true) => Ok(Read {
            origin: scope.origin(written.span),
            from,
        }),
        (Some(_), false) => {
            let message = "a checkpoint reads one result";
            let help = "make a checkpoint of each";
            Err(scope.problem(written.span, "gate::read", message, help))
        }
        (None, _) => {
            let help = "write one of junit, cobertura, lcov, sarif, json, csv, record, git, review";
            Err(scope.problem(written.span, "gate::read", "this reads nothing", help))
        }
    }
}

fn rule(
    scope: &Scope<'_>,
    written: &Spanned<file::Rule>,
    checkpoint: &str,
    fix: &str,
) -> Result<Rule, Problem> {
    let it = &written.value;
    let kinds = [
        ("at-least", it.at_least.is_some()),
        ("at-most", it.at_most.is_some()),
        ("equals", it.equals.is_some()),
        ("limits", it.limits.is_some()),
        ("matches", it.matches.is_some()),
        ("matches-none", it.matches_none.is_some()),
        ("present", it.present.is_some()),
        ("fresh", it.fresh.is_some()),
        ("ran", it.ran.is_some()),
        ("cel", it.cel.is_some()),
    ];
    let said: Vec<&str> = kinds
        .iter()
        .filter(|(_, is)| *is)
        .map(|(kind, _)| *kind)
        .collect();
    let kind = match said.as_slice() {
        [kind] => *kind,
        [] => {
            let known: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
            let help = format!("add one of {}", known.join(", "));
            return Err(scope.problem(
                written.span,
                "gate::rule",
                "this rule asks for nothing",
                help,
            ));
        }
        more => {
            let message = format!(
                "a rule asks for one thing, this one for {}",
                more.join(" and ")
            );
            let help = "make a rule of each, or write `limits: [...]`";
            return Err(scope.problem(written.span, "gate::rule", message, help));
        }
    };
    let by_value = !matches!(kind, "present" | "fresh" | "ran" | "cel");
    let name = match (&it.value, by_value) {
        (Some(name), true) => Some(self::name(scope, name)?),
        (None, false) => None,
        (Some(name), false) => {
            let message = format!("`{kind}` says itself what it is about");
            return Err(scope.problem(name.span, "gate::rule", message, "take `value` away"));
        }
        (None, true) => {
            let message = format!("`{kind}` of what?");
            let help = "add `value: NAME`, such as `value: tests.failed`";
            return Err(scope.problem(written.span, "gate::rule", message, help));
        }
    };
    let test = test(scope, written, kind, name.as_ref())?;
    let own = match &it.id {
        Some(id) => scope.fill_some(id)?,
        None => match (kind, &name) {
            ("cel", _) => "condition".to_owned(),
            (_, Some(name)) => name.text().replace(".*", "").replace('\'', ""),
            (kind, None) => kind.to_owned(),
        },
    };
    let fix = match it.fix.as_str() {
        "" => fix,
        own => own,
    };
    Ok(Rule {
        id: format!("{checkpoint}/{own}"),
        origin: scope.origin(written.span),
        test,
        fix: scope.fill_at(fix, written.span)?,
    })
}

fn test(
    scope: &Scope<'_>,
    written: &Spanned<file::Rule>,
    kind: &str,
    name: Option<&Name>,
) -> Result<Test, Problem> {
    let it = &written.value;
    let empty = match it.may_be_empty {
        true => Empty::Holds,
        false => Empty::Blocks,
    };
    let one_sided = [
        (&it.at_least, Comparison::AtLeast),
        (&it.at_most, Comparison::AtMost),
    ];
    if let Some(name) = name {
        for (bound, comparison) in one_sided {
            if let Some(bound) = bound {
                let text = scope.fill_at(&bound.value.0, bound.span)?;
                let measure = Measure::parse(&text).ok_or_else(|| {
                    let message = format!("`{text}` is no number with or without a unit");
                    let help = format!("units are {}", Unit::words().join(", "));
                    scope.problem(bound.span, "gate::limit", message, help)
                })?;
                let limits = vec![Limit::absolute(comparison, measure)];
                return limits_of(scope, it, name, limits, bound.span, empty);
            }
        }
        if let Some(texts) = &it.limits {
            let mut limits = Vec::new();
            for text in texts {
                let filled = scope.fill(text)?;
                limits.push(Limit::parse(&filled).ok_or_else(|| {
                    let message = format!("`{filled}` is no limit");
                    let help = "write one such as `<250ms`, `>= 80%`, `<=+10%` (of the baseline)";
                    scope.problem(text.span, "gate::limit", message, help)
                })?);
            }
            if limits.is_empty() {
                let message = "there is no limit";
                return Err(scope.problem(written.span, "gate::limit", message, ""));
            }
            return limits_of(scope, it, name, limits, written.span, empty);
        }
        if let Some(wanted) = &it.equals {
            return Ok(Test::Equals {
                name: name.clone(),
                wanted: scope.fill_at(&wanted.value.0, wanted.span)?,
            });
        }
    }
    let shown = match it.secret {
        true => Shown::Place,
        false => Shown::Text,
    };
    let texts = |pattern: Regex, written: String, wanted: Wanted| {
        name.map(|name| Test::Texts {
            name: name.clone(),
            pattern,
            written,
            wanted,
            empty,
            shown,
        })
    };
    let made = if let Some(pattern) = &it.matches {
        let filled = scope.fill_some(pattern)?;
        texts(whole(scope, pattern.span, &filled)?, filled, Wanted::Every)
    } else if let Some(pattern) = &it.matches_none {
        let filled = scope.fill_some(pattern)?;
        texts(regex(scope, pattern.span, &filled)?, filled, Wanted::None)
    } else if let Some(names) = &it.present {
        let names: Result<Vec<Name>, Problem> =
            names.iter().map(|name| self::name(scope, name)).collect();
        Some(Test::Present(some(scope, written.span, names?)?))
    } else if let Some(age) = &it.fresh {
        Some(Test::Fresh(millis(scope, age)?))
    } else if let Some(cases) = &it.ran {
        let mut patterns = Vec::new();
        for case in scope.fill_list(cases)? {
            let pattern = regex::escape(&case).replace("\\*", ".*");
            patterns.push((case, whole(scope, written.span, &pattern)?));
        }
        Some(Test::Ran(some(scope, written.span, patterns)?))
    } else if let Some(text) = &it.cel {
        Some(Test::Cel(condition(scope, text)?))
    } else {
        None
    };
    made.ok_or_else(|| {
        let message = format!("this rule asks for `{kind}` in a way that is not known");
        scope.problem(written.span, "gate::rule", message, "")
    })
}

fn some<T>(scope: &Scope<'_>, span: Span, items: Vec<T>) -> Result<Vec<T>, Problem> {
    if items.is_empty() {
        let message = "the list is empty: the rule would hold whatever happens";
        return Err(scope.problem(span, "gate::rule", message, "name at least one"));
    }
    Ok(items)
}

fn limits_of(
    scope: &Scope<'_>,
    it: &file::Rule,
    name: &Name,
    limits: Vec<Limit>,
    span: Span,
    empty: Empty,
) -> Result<Test, Problem> {
    let named = Unit::of_name(name.text());
    let unit = match &it.unit {
        Some(word) => {
            let unit = Unit::of_word(&word.value).ok_or_else(|| {
                let known = Unit::words();
                let help = match suggestion(&word.value, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("units are {}", known.join(", ")),
                };
                let message = format!("`{}` is no unit", word.value);
                scope.problem(word.span, "gate::unit", message, help)
            })?;
            if named != Unit::NONE && named != unit {
                let message = format!("the name `{}` says another unit", name.text());
                return Err(scope.problem(word.span, "gate::unit", message, "take `unit` away"));
            }
            unit
        }
        None => named,
    };
    for limit in &limits {
        let of = match limit.bound {
            Bound::Absolute(bound) | Bound::Offset(bound) => bound.unit.dimension,
            Bound::Relative(_) => continue,
        };
        // Where neither says anything, the value itself still may: "240ms".
        if unit.dimension != Dimension::Count && unit.dimension != of {
            let message = format!(
                "`{}` is {}, and the limit is {of}",
                name.text(),
                unit.dimension
            );
            let help = "write the limit with its unit: 250ms, 80%, 1MiB";
            return Err(scope.problem(span, "gate::unit", message, help));
        }
    }
    Ok(Test::Limits {
        name: name.clone(),
        limits,
        unit,
        empty,
    })
}

fn name(scope: &Scope<'_>, written: &Spanned<String>) -> Result<Name, Problem> {
    let filled = scope.fill_some(written)?;
    Name::parse(&filled).map_err(|why| {
        let help = "write a name such as tests.failed or commits.*.subject";
        scope.problem(written.span, "gate::value", why, help)
    })
}

fn regex(scope: &Scope<'_>, span: Span, pattern: &str) -> Result<Regex, Problem> {
    Regex::new(pattern).map_err(|error| {
        // The last line says what is wrong; those before draw the place.
        let said = error.to_string();
        let why = said.lines().last().unwrap_or_default();
        let why = why.trim_start_matches("error: ");
        let message = format!("this is no regular expression: {why}");
        let help = "a backslash stands in front of a sign that is meant itself: \\. \\( \\[";
        scope.problem(span, "gate::pattern", message, help)
    })
}

/// A pattern that holds for a whole text alone.
fn whole(scope: &Scope<'_>, span: Span, pattern: &str) -> Result<Regex, Problem> {
    regex(scope, span, pattern)?;
    regex(scope, span, &format!(r"\A(?:{pattern})\z"))
}

fn millis(scope: &Scope<'_>, written: &Spanned<String>) -> Result<u64, Problem> {
    let filled = scope.fill(written)?;
    let measure = Measure::parse(&filled)
        .filter(|it| it.unit.dimension == Dimension::Time && it.number >= 0.0);
    let ms = measure.and_then(Measure::millis);
    ms.ok_or_else(|| {
        let message = format!("`{filled}` is no span of time");
        let help = "write a number and a unit: 300ms, 90s, 10m, 24h, 7d";
        scope.problem(written.span, "gate::time", message, help)
    })
}

fn condition(scope: &Scope<'_>, written: &Spanned<String>) -> Result<Condition, Problem> {
    let filled = scope.fill_some(written)?;
    Condition::compile(&filled).map_err(|(why, at)| {
        // Where it stands as it reads, the place within it is shown.
        let start = [0, 1].into_iter().find_map(|quote| {
            let start = written.span.start + quote;
            let here = scope.source.text.get(start..)?;
            here.starts_with(filled.as_str()).then_some(start)
        });
        let span = match start {
            Some(start) => Span {
                start: start + at,
                len: 1,
            },
            None => written.span,
        };
        let message = format!("this is no condition: {why}");
        let help = "write CEL over the values, such as \"tests.failed == 0 && tests.ran >= 10\"";
        scope.problem(span, "gate::condition", message, help)
    })
}
