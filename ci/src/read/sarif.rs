//! SARIF: how many results of which level, without those that are suppressed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{empty, unreadable};
use crate::world::{Absent, Seen};

/// Results listed by place, at most.
const PLACES_MAX: usize = 50;

/// Reads SARIF files as one: `results`, `errors`, `warnings`, `notes`, `suppressed`, `rules`,
/// `tools`, `places`. A file without a run holds nothing; a run whose tool says that it did not
/// succeed shows nothing.
pub fn sarif(files: &[Seen]) -> Result<Value, Absent> {
    let mut levels: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut rules, mut tools, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut suppressed = 0u64;
    for seen in files {
        let document = super::json(seen)?;
        let bad = |why: &str| unreadable(seen, "SARIF", why);
        if document.get("version").and_then(Value::as_str) != Some("2.1.0") {
            return Err(bad("`version` is not \"2.1.0\""));
        }
        let Some(runs) = document.get("runs").and_then(Value::as_array) else {
            return Err(bad("it has no list `runs`"));
        };
        if runs.is_empty() {
            return Err(empty(seen, "run"));
        }
        for run in runs {
            let tool = run.pointer("/tool/driver/name").and_then(Value::as_str);
            let tool = tool.ok_or_else(|| bad("a run names no tool"))?;
            tools.push(tool.to_owned());
            let invocations = run.get("invocations").and_then(Value::as_array);
            let failed = invocations.into_iter().flatten().any(|invocation| {
                invocation.get("executionSuccessful") == Some(&Value::Bool(false))
            });
            if failed {
                return Err(bad(&format!("{tool} says that it did not succeed")));
            }
            let results = run.get("results").and_then(Value::as_array);
            // Absent results mean, by the standard, that nothing was scanned.
            let results = results.ok_or_else(|| bad(&format!("{tool} has no list `results`")))?;
            for result in results {
                let rule = rule_of(result);
                let suppressions = result.get("suppressions").and_then(Value::as_array);
                let accepted = suppressions.is_some_and(|all| {
                    let accepted = |one: &Value| {
                        matches!(
                            one.get("status").and_then(Value::as_str),
                            None | Some("accepted")
                        )
                    };
                    !all.is_empty() && all.iter().all(accepted)
                });
                if accepted {
                    suppressed += 1;
                    continue;
                }
                let level = level_of(run, result, rule);
                let kept = levels.entry(level.ok_or_else(|| bad("a result has a strange level"))?);
                *kept.or_default() += 1;
                if !rules.iter().any(|known| known == rule) {
                    rules.push(rule.to_owned());
                }
                if places.len() < PLACES_MAX {
                    places.push(place_of(result, rule));
                }
            }
        }
    }
    let count = |level: &str| levels.get(level).copied().unwrap_or(0);
    Ok(json!({
        "results": levels.values().sum::<u64>(),
        "errors": count("error"), "warnings": count("warning"),
        "notes": count("note") + count("none"),
        "suppressed": suppressed, "rules": rules, "tools": tools, "places": places,
    }))
}

fn rule_of(result: &Value) -> &str {
    let id = result.get("ruleId").and_then(Value::as_str);
    let nested = || result.pointer("/rule/id").and_then(Value::as_str);
    id.or_else(nested).unwrap_or("?")
}

/// The level of a result: its own, that of its rule, or `warning`. `None` for a word that is none.
fn level_of(run: &Value, result: &Value, rule: &str) -> Option<&'static str> {
    const LEVELS: [&str; 4] = ["error", "warning", "note", "none"];
    let of_rule = || {
        let rules = run.pointer("/tool/driver/rules")?.as_array()?;
        let of_id = |one: &&Value| one.get("id").and_then(Value::as_str) == Some(rule);
        rules
            .iter()
            .find(of_id)?
            .pointer("/defaultConfiguration/level")
    };
    match result.get("level").or_else(of_rule) {
        None => Some("warning"),
        Some(level) => {
            let word = level.as_str()?;
            LEVELS.into_iter().find(|known| *known == word)
        }
    }
}

fn place_of(result: &Value, rule: &str) -> String {
    let location = result.pointer("/locations/0/physicalLocation");
    let part = |pointer: &str| location.and_then(|it| it.pointer(pointer));
    let file = part("/artifactLocation/uri").and_then(Value::as_str);
    let line = part("/region/startLine").and_then(Value::as_u64);
    match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}: {rule}"),
        (Some(file), None) => format!("{file}: {rule}"),
        _ => rule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;
    use crate::outcome::Code;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Code>) {
        let read = sarif(&[seen("s.sarif", text)]).map_err(|absent| absent.code);
        let shown = read.map(|facts| {
            ["results", "errors", "warnings", "notes", "suppressed"]
                .map(|name| facts[name].to_string())
                .join(" ")
        });
        assert_eq!(shown.as_deref().map_err(|code| *code), expected, "{text}");
    }

    #[test]
    fn results_are_counted_by_level() {
        let run = |results: &str, more: &str| {
            format!(
                r#"{{"version": "2.1.0", "runs": [{{"tool": {{"driver": {{"name": "t",
                "rules": [{{"id": "r", "defaultConfiguration": {{"level": "error"}}}}]}}}},
                {more} "results": [{results}]}}]}}"#
            )
        };
        check(&run("", ""), Ok("0 0 0 0 0"));
        check(
            &run(r#"{"ruleId": "r"}, {"ruleId": "x"}, {"level": "note"}"#, ""),
            Ok("3 1 1 1 0"),
        );
        check(
            &run(
                r#"{"ruleId": "r", "suppressions": [{"kind": "inSource"}]}"#,
                "",
            ),
            Ok("0 0 0 0 1"),
        );
        check(
            &run(
                r#"{"ruleId": "r", "suppressions": [{"status": "rejected"}]}"#,
                "",
            ),
            Ok("1 1 0 0 0"),
        );
        check(&run(r#"{"level": "bad"}"#, ""), Err(Code::Unreadable));
        check(
            &run("", r#""invocations": [{"executionSuccessful": false}],"#),
            Err(Code::Unreadable),
        );
        check(
            &run("", "").replace("\"results\"", "\"result\""),
            Err(Code::Unreadable),
        );
        check(r#"{"version": "2.1.0", "runs": []}"#, Err(Code::Empty));
        check(
            r#"{"version": "1.0.0", "runs": [{}]}"#,
            Err(Code::Unreadable),
        );
    }
}
