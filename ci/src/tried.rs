//! One rule, tried on a result.

use serde_json::Value;

use crate::gate::{Shown, Test, Wanted};
use crate::judge::holds_empty;
use crate::measure::{Limit, Measure, Unit};
use crate::outcome::Code;
use crate::value::{Name, shape, shown};
use crate::world::Absent;

/// Items of a list that are shown.
const SHOWN_MAX: usize = 5;

/// A result, read.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// Its values.
    pub(crate) facts: Value,
    /// When it was made.
    pub(crate) made_unix_ns: Option<i128>,
    /// Where it is.
    pub(crate) place: String,
}

/// What a rule came to.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// The value seen.
    pub(crate) seen: String,
    /// The value wanted.
    pub(crate) wanted: String,
    /// Why it blocks.
    pub(crate) block: Option<(Code, String)>,
    /// File and line that it is about.
    pub(crate) place: Option<(String, usize)>,
}

impl Tried {
    pub(crate) fn held(seen: impl Into<String>, wanted: impl Into<String>) -> Tried {
        Tried {
            seen: seen.into(),
            wanted: wanted.into(),
            block: None,
            place: None,
        }
    }

    pub(crate) fn block(
        code: Code,
        seen: impl Into<String>,
        wanted: impl Into<String>,
        why: impl Into<String>,
    ) -> Tried {
        let why = meshproof_record::report::text::tame(&why.into(), 600);
        Tried {
            block: Some((code, why)),
            ..Tried::held(seen, wanted)
        }
    }
}

/// Tries a rule.
pub(crate) fn tried(
    test: &Test,
    evidence: &Evidence,
    baseline: Option<&Result<Evidence, Absent>>,
    now: i128,
) -> Tried {
    let facts = &evidence.facts;
    let made = match test {
        Test::Limits {
            name,
            limits,
            unit,
            empty,
        } => limited(name, limits, *unit, holds_empty(*empty), facts, baseline),
        Test::Equals { name, wanted } => equals(name, wanted, facts),
        Test::Texts {
            name,
            pattern,
            written,
            wanted,
            empty,
            shown,
        } => texts(name, facts, holds_empty(*empty), |text| match wanted {
            Wanted::Every => pattern.is_match(text),
            Wanted::None => !pattern.is_match(text),
        })
        .map(|seen| told(seen, *wanted, written, *shown)),
        Test::Present(names) => present(names, facts),
        Test::Fresh(ms) => Ok(fresh(*ms, evidence, now)),
        Test::Ran(patterns) => ran(patterns, facts),
        Test::Cel(condition) => Ok(match condition.holds(facts) {
            Ok(true) => Tried::held(condition.seen(facts), condition.text()),
            Ok(false) => {
                let seen = condition.seen(facts);
                let why = format!("the condition is false: {}; {seen}", condition.text());
                Tried::block(Code::NotHeld, seen, condition.text(), why)
            }
            Err(error) => {
                let why = format!("the condition has no answer: {error}");
                Tried::block(Code::Condition, "no answer", condition.text(), why)
            }
        }),
    };
    made.unwrap_or_else(|tried| tried)
}

/// The values of a name, or why there are none.
fn values<'a>(name: &Name, facts: &'a Value) -> Result<Vec<&'a Value>, Tried> {
    name.find(facts).map_err(|nothing| {
        let wanted = format!("a value `{}`", name.text());
        Tried::block(Code::NoValue, "nothing", wanted, nothing.why)
    })
}

fn one<'a>(name: &Name, facts: &'a Value) -> Result<&'a Value, Tried> {
    match values(name, facts)?.as_slice() {
        [one] => Ok(one),
        many => {
            let why = format!("`{}` are {} values, one is judged", name.text(), many.len());
            Err(Tried::block(Code::Type, "many", "one value", why))
        }
    }
}

/// A value as a measure.
fn measure(value: &Value, unit: Unit) -> Option<Measure> {
    match value {
        Value::Number(number) => Measure::new(number.as_f64()?, unit),
        // A number in quotes is a number only where it says its unit.
        Value::String(text) => Measure::parse(text).filter(|it| it.unit != Unit::NONE),
        _ => None,
    }
}

fn limited(
    name: &Name,
    limits: &[Limit],
    unit: Unit,
    may_be_empty: bool,
    facts: &Value,
    baseline: Option<&Result<Evidence, Absent>>,
) -> Result<Tried, Tried> {
    let all: Vec<String> = limits.iter().map(Limit::to_string).collect();
    let wanted = format!("{} {}", name.text(), all.join(" and "));
    let values = values(name, facts)?;
    if values.is_empty() && !may_be_empty {
        let why = format!(
            "`{}` is an empty list: there is nothing to judge",
            name.text()
        );
        return Err(Tried::block(Code::Empty, "nothing", wanted, why));
    }
    let count = values.len();
    let mut worst: Option<Measure> = None;
    let mut beside: Option<Measure> = None;
    for value in values {
        let Some(measure) = measure(value, unit) else {
            let why = format!("`{}` is {}: {}", name.text(), shape(value), shown(value));
            return Err(Tried::block(Code::Type, shown(value), wanted, why));
        };
        for limit in limits {
            let before = match limit.is_relative() {
                true => Some(self::before(name, unit, &wanted, measure, baseline)?),
                false => None,
            };
            beside = before.or(beside);
            let Some(bound) = limit.bound(before) else {
                let before = before.map_or("nothing".to_owned(), |it| it.to_string());
                let why = format!("the baseline is {before}: `{limit}` says nothing against it");
                return Err(Tried::block(
                    Code::Baseline,
                    measure.to_string(),
                    wanted,
                    why,
                ));
            };
            let Some(ordering) = measure.compare(bound) else {
                let why = format!(
                    "`{}` is {measure}, {}, and the limit is {bound}, {}: they cannot be compared",
                    name.text(),
                    measure.unit.dimension,
                    bound.unit.dimension
                );
                return Err(Tried::block(Code::Unit, measure.to_string(), wanted, why));
            };
            if !limit.comparison.holds(ordering) {
                let against = before.map_or(String::new(), |before| {
                    format!(" (baseline {before}, so {bound})")
                });
                let why = format!("`{}` is {measure}, wanted {limit}{against}", name.text());
                let seen = match before {
                    Some(before) => format!("{measure}, baseline {before}"),
                    None => measure.to_string(),
                };
                return Err(Tried::block(Code::NotHeld, seen, wanted, why));
            }
        }
        worst = Some(measure);
    }
    let seen = match (count, worst, beside) {
        (1, Some(measure), Some(before)) => format!("{measure}, baseline {before}"),
        (1, Some(measure), None) => measure.to_string(),
        (count, ..) => format!("{count} values"),
    };
    Ok(Tried::held(seen, wanted))
}

/// The same value of the baseline.
fn before(
    name: &Name,
    unit: Unit,
    wanted: &str,
    measure_now: Measure,
    baseline: Option<&Result<Evidence, Absent>>,
) -> Result<Measure, Tried> {
    let bad = |why: String| Tried::block(Code::Baseline, measure_now.to_string(), wanted, why);
    let evidence = match baseline {
        Some(Ok(evidence)) => evidence,
        Some(Err(absent)) => {
            let code = absent.code.word();
            return Err(bad(format!("the baseline ({code}): {}", absent.why)));
        }
        None => return Err(bad("there is no baseline".to_owned())),
    };
    let values = name
        .find(&evidence.facts)
        .map_err(|nothing| bad(format!("the baseline {}: {}", evidence.place, nothing.why)))?;
    match values.as_slice() {
        [value] => measure(value, unit).ok_or_else(|| {
            bad(format!(
                "the baseline of `{}` is {}",
                name.text(),
                shape(value)
            ))
        }),
        many => Err(bad(format!(
            "the baseline has {} values of `{}`, one is compared with",
            many.len(),
            name.text()
        ))),
    }
}

fn equals(name: &Name, wanted: &str, facts: &Value) -> Result<Tried, Tried> {
    let value = one(name, facts)?;
    let told = format!("{} == {wanted}", name.text());
    let same = match value {
        Value::String(text) => text == wanted,
        Value::Bool(truth) => truth.to_string() == wanted,
        Value::Number(number) => {
            let unit = Unit::of_name(name.text());
            let ordering = Measure::parse(wanted)
                .zip(number.as_f64().and_then(|it| Measure::new(it, unit)))
                .and_then(|(wanted, seen)| seen.compare(wanted));
            match ordering {
                Some(ordering) => ordering.is_eq(),
                None => {
                    let why = format!(
                        "`{}` is {number}, which `{wanted}` cannot be compared with",
                        name.text()
                    );
                    return Err(Tried::block(Code::Unit, number.to_string(), told, why));
                }
            }
        }
        other => {
            let why = format!("`{}` is {}: {}", name.text(), shape(other), shown(other));
            return Err(Tried::block(Code::Type, shown(other), told, why));
        }
    };
    if same {
        return Ok(Tried::held(shown(value), told));
    }
    let why = format!("`{}` is {}, wanted {wanted}", name.text(), shown(value));
    Err(Tried::block(Code::NotHeld, shown(value), told, why))
}

/// Texts, and those of them that do not hold.
struct Texts {
    name: String,
    count: usize,
    wrong: Vec<String>,
}

fn texts(
    name: &Name,
    facts: &Value,
    may_be_empty: bool,
    holds: impl Fn(&str) -> bool,
) -> Result<Texts, Tried> {
    let wanted = format!("texts `{}`", name.text());
    let mut texts = Texts {
        name: name.text().to_owned(),
        count: 0,
        wrong: Vec::new(),
    };
    for value in values(name, facts)? {
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for item in items {
            let Value::String(text) = item else {
                let why = format!("`{}` holds {}: {}", name.text(), shape(item), shown(item));
                return Err(Tried::block(Code::Type, shown(item), wanted, why));
            };
            texts.count += 1;
            if !holds(text) {
                texts.wrong.push(text.clone());
            }
        }
    }
    if texts.count == 0 && !may_be_empty {
        let why = format!(
            "`{}` is an empty list: there is nothing to judge",
            name.text()
        );
        return Err(Tried::block(Code::Empty, "nothing", wanted, why));
    }
    Ok(texts)
}

fn told(texts: Texts, wanted: Wanted, written: &str, how: Shown) -> Tried {
    let told = match wanted {
        Wanted::Every => format!("every {} matches {written}", texts.name),
        Wanted::None => format!("no {} has {written}", texts.name),
    };
    let Some(first) = texts.wrong.first() else {
        let seen = format!("{} texts", texts.count);
        return Tried::held(seen, told);
    };
    let place = place(first);
    let show = |text: &String| match how {
        Shown::Text => meshproof_record::report::text::tame(text, 120),
        Shown::Place => match self::place(text) {
            Some((file, line)) => format!("{file}:{line}"),
            None => "a text that is not shown".to_owned(),
        },
    };
    let mut seen: Vec<String> = texts.wrong.iter().take(SHOWN_MAX).map(show).collect();
    let more = texts.wrong.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        seen.push(format!("and {more} more"));
    }
    let seen = seen.join(", ");
    let why = match wanted {
        Wanted::Every => format!(
            "{} of {} do not match {written}: {seen}",
            texts.wrong.len(),
            texts.count
        ),
        Wanted::None => format!(
            "{} of {} are forbidden: {seen}",
            texts.wrong.len(),
            texts.count
        ),
    };
    Tried {
        place,
        ..Tried::block(Code::NotHeld, seen, told, why)
    }
}

/// `FILE:LINE` in front of a text.
fn place(text: &str) -> Option<(String, usize)> {
    let mut parts = text.splitn(3, ':');
    let file = parts.next().filter(|file| !file.is_empty())?;
    let line = parts.next()?.parse().ok()?;
    Some((file.to_owned(), line))
}

fn present(names: &[Name], facts: &Value) -> Result<Tried, Tried> {
    let wanted: Vec<&str> = names.iter().map(Name::text).collect();
    let wanted = wanted.join(", ");
    for name in names {
        let found = name.find(facts).map_err(|nothing| {
            Tried::block(Code::NoValue, "nothing", wanted.as_str(), nothing.why)
        })?;
        let nothing = |value: &&Value| match value {
            Value::String(text) => text.trim().is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Null => true,
            _ => false,
        };
        if found.is_empty() || found.iter().any(nothing) {
            let why = format!("`{}` is empty", name.text());
            return Err(Tried::block(Code::Empty, "nothing", wanted.as_str(), why));
        }
    }
    Ok(Tried::held("there", wanted))
}

fn fresh(limit_ms: u64, evidence: &Evidence, now: i128) -> Tried {
    let limit = crate::report::millis(limit_ms);
    let wanted = format!("no older than {limit}");
    let Some(made) = evidence.made_unix_ns else {
        let why = format!("{} does not say when it was made", evidence.place);
        return Tried::block(Code::Stale, "no time", wanted, why);
    };
    let age_ns = now.saturating_sub(made).max(0);
    let age = crate::report::age(age_ns);
    if age_ns > i128::from(limit_ms) * 1_000_000 {
        let why = format!("{} is {age} old, and may be {limit}", evidence.place);
        return Tried::block(Code::Stale, format!("{age} old"), wanted, why);
    }
    Tried::held(format!("{age} old"), wanted)
}

fn ran(patterns: &[(String, regex::Regex)], facts: &Value) -> Result<Tried, Tried> {
    let written: Vec<&str> = patterns.iter().map(|(case, _)| case.as_str()).collect();
    let wanted = format!("ran: {}", written.join(", "));
    let Some(cases) = facts.get("cases").and_then(Value::as_array) else {
        let why = "the result lists no cases";
        return Err(Tried::block(Code::NoValue, "nothing", wanted, why));
    };
    let names: Vec<&str> = cases.iter().filter_map(Value::as_str).collect();
    let lost: Vec<&str> = patterns
        .iter()
        .filter(|(_, pattern)| !names.iter().any(|name| pattern.is_match(name)))
        .map(|(case, _)| case.as_str())
        .collect();
    if lost.is_empty() {
        return Ok(Tried::held(format!("{} cases", names.len()), wanted));
    }
    let near = match lost
        .first()
        .and_then(|it| meshproof_input::suggestion(it, &names))
    {
        Some(near) => format!("; is `{near}` meant?"),
        None => String::new(),
    };
    let why = format!(
        "{} of {} cases did not run: {}{near}",
        lost.len(),
        patterns.len(),
        lost.join(", ")
    );
    let seen = format!("{} cases, not {}", names.len(), lost.join(", "));
    Err(Tried::block(Code::CaseNotRun, seen, wanted, why))
}
