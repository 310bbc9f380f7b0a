//! Names of values within evidence: `tests.failed`, `commits.*.subject`, `claims.'a b'.verdict`.

use meshproof_input::suggestion;
use serde_json::Value;

/// Most steps of a name.
const STEPS_MAX: usize = 16;

/// The name of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Each,
}

/// Why there is no such value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nothing {
    /// What was found instead, and a name that is near.
    pub why: String,
}

impl Name {
    /// Reads a name; a part in single quotes may hold dots. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Name, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let (step, after) = match rest.strip_prefix('\'') {
                Some(quoted) => {
                    let (name, after) = quoted
                        .split_once('\'')
                        .ok_or_else(|| format!("`{text}` has a quote that is not closed"))?;
                    (Step::Member(name.to_owned()), after)
                }
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    let (name, after) = rest.split_at(end);
                    match name {
                        "*" => (Step::Each, after),
                        name => (Step::Member(name.to_owned()), after),
                    }
                }
            };
            if step == Step::Member(String::new()) {
                return Err(format!("`{text}` has an empty part"));
            }
            steps.push(step);
            if steps.len() > STEPS_MAX {
                return Err(format!("the name has more than {STEPS_MAX} parts"));
            }
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => break,
                None => return Err(format!("`{text}` goes on behind a quote without a dot")),
            }
        }
        Ok(Name {
            text: text.to_owned(),
            steps,
        })
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it stands for every item of a list.
    pub fn is_of_many(&self) -> bool {
        self.steps.contains(&Step::Each)
    }

    /// The values of this name: one, or with `*` one for each item (none where the list is empty).
    pub fn find<'a>(&self, facts: &'a Value) -> Result<Vec<&'a Value>, Nothing> {
        let mut here = vec![facts];
        let mut walked = String::new();
        for step in &self.steps {
            let mut next = Vec::with_capacity(here.len());
            for value in here {
                match (step, value) {
                    (Step::Each, Value::Array(items)) => next.extend(items),
                    (Step::Each, Value::Object(members)) => next.extend(members.values()),
                    (Step::Member(name), Value::Object(members)) => match members.get(name) {
                        Some(Value::Null) | None => {
                            return Err(self.nothing(name, members, &walked));
                        }
                        Some(value) => next.push(value),
                    },
                    (_, value) => {
                        let why = format!(
                            "`{}` goes through `{walked}`, which is {}",
                            self.text,
                            shape(value)
                        );
                        return Err(Nothing { why });
                    }
                }
            }
            if !walked.is_empty() {
                walked.push('.');
            }
            walked.push_str(match step {
                Step::Each => "*",
                Step::Member(name) => name,
            });
            here = next;
        }
        Ok(here)
    }

    fn nothing(
        &self,
        name: &str,
        members: &serde_json::Map<String, Value>,
        walked: &str,
    ) -> Nothing {
        const NAMED_MAX: usize = 8;
        let known: Vec<&str> = members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, _)| name.as_str())
            .collect();
        let there = match suggestion(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there is nothing".to_owned(),
            None => {
                let more = known.len().saturating_sub(NAMED_MAX);
                let shown: Vec<&str> = known.into_iter().take(NAMED_MAX).collect();
                let more = match more {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                format!("there are {}{more}", shown.join(", "))
            }
        };
        let within = match walked {
            "" => String::new(),
            walked => format!(" in `{walked}`"),
        };
        Nothing {
            why: format!("there is no `{name}`{within}; {there}"),
        }
    }
}

/// What people call a JSON value.
pub fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A value in one short line, tamed for terminals.
pub fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 120;
    let text = match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    };
    meshproof_record::report::text::tame(&text, CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(name: &str, expected: Result<&str, &str>) {
        let facts = json!({
            "tests": {"failed": 0, "run time": 3, "a.b": true, "gone": null},
            "commits": [{"subject": "one"}, {"subject": "two"}],
            "none": [],
        });
        let name = Name::parse(name).expect("a name");
        let found = name.find(&facts);
        match (found, expected) {
            (Ok(values), Ok(expected)) => {
                let values: Vec<String> = values.into_iter().map(Value::to_string).collect();
                assert_eq!(values.join(" "), expected, "{}", name.text());
            }
            (Err(nothing), Err(part)) => assert!(nothing.why.contains(part), "{}", nothing.why),
            (found, _) => panic!("{}: {found:?}", name.text()),
        }
    }

    #[test]
    fn names_find_values() {
        check("tests.failed", Ok("0"));
        check("tests.'a.b'", Ok("true"));
        check("tests.run time", Ok("3"));
        check("commits.*.subject", Ok("\"one\" \"two\""));
        check("none.*.subject", Ok(""));
        check("tests.failled", Err("did you mean `failed`?"));
        check("tests.gone", Err("no `gone` in `tests`"));
        check("tests.failed.more", Err("a number"));
        check("x", Err("there are tests, commits, none"));
        check("tests.failed.*", Err("a number"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "a..b", ".a", "a.", "'a", "'a'b", "a.''"] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
    }
}
