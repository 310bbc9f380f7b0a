//! JUnit XML: the cases, and what its suites say of their number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::xml::{Part, walk};
use super::{empty, text, unreadable};
use crate::outcome::Code;
use crate::world::{Absent, Seen};

/// Cases read of all files together, at most.
const CASES_MAX: usize = 500_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Result_ {
    Passed,
    Failed,
    Errored,
    Skipped,
}

struct Case {
    name: String,
    result: Result_,
    flaky: bool,
}

/// Reads JUnit files as one: `tests.{total,ran,passed,failed,errors,skipped,flaky}`, `failing`,
/// `cases`. The oldest time that a suite states is `stated_unix_ms`.
///
/// A suite that says how many cases it has, and has fewer, was cut short. A result without cases
/// is empty; one where each was skipped shows nothing.
pub fn junit(files: &[Seen]) -> Result<Value, Absent> {
    let mut cases: Vec<Case> = Vec::new();
    let mut stated: Option<i64> = None;
    for seen in files {
        let before = cases.len();
        one(seen, &mut cases, &mut stated)?;
        if cases.len() == before {
            return Err(empty(seen, "test case"));
        }
        if cases.len() > CASES_MAX {
            let why = format!("there are more than {CASES_MAX} test cases");
            return Err(Absent::new(Code::TooLarge, why));
        }
    }
    let count = |result| cases.iter().filter(|case| case.result == result).count();
    let (passed, failed) = (count(Result_::Passed), count(Result_::Failed));
    let (errors, skipped) = (count(Result_::Errored), count(Result_::Skipped));
    if cases.len() == skipped {
        let why = format!("all {skipped} test cases were skipped: none ran");
        return Err(Absent::new(Code::NothingRan, why));
    }
    let failing: Vec<&str> = cases
        .iter()
        .filter(|case| matches!(case.result, Result_::Failed | Result_::Errored))
        .map(|case| case.name.as_str())
        .collect();
    let ran: Vec<&str> = cases
        .iter()
        .filter(|case| case.result != Result_::Skipped)
        .map(|case| case.name.as_str())
        .collect();
    let mut facts = json!({
        "tests": {
            "total": cases.len(),
            "ran": cases.len() - skipped,
            "passed": passed,
            "failed": failed,
            "errors": errors,
            "skipped": skipped,
            "flaky": cases.iter().filter(|case| case.flaky).count(),
        },
        "failing": failing,
        "cases": ran,
    });
    if let (Some(ms), Some(members)) = (stated, facts.as_object_mut()) {
        members.insert("stated_unix_ms".to_owned(), Value::from(ms));
    }
    Ok(facts)
}

fn one(seen: &Seen, cases: &mut Vec<Case>, stated: &mut Option<i64>) -> Result<(), Absent> {
    let text = text(seen, "JUnit XML")?;
    let mut open: Option<Case> = None;
    // What each open suite says of its cases, and where they began.
    let mut suites: Vec<(Option<usize>, usize)> = Vec::new();
    let mut is_first = true;
    let walked = walk(text, |part| {
        match part {
            Part::Open(name, attributes) => {
                if is_first && !matches!(name, "testsuites" | "testsuite") {
                    return Err(format!("its root is <{name}>, expected <testsuites>"));
                }
                is_first = false;
                match (name, open.as_mut()) {
                    ("testsuite" | "testsuites", _) => {
                        suites.push((said(attributes)?, cases.len()));
                        note_time(attributes, stated)?;
                    }
                    ("testcase", None) => open = Some(begun(attributes)?),
                    ("testcase", Some(_)) => {
                        return Err("a test case stands within another".to_owned());
                    }
                    ("failure", Some(case)) => case.result = Result_::Failed,
                    ("error", Some(case)) if case.result != Result_::Failed => {
                        case.result = Result_::Errored;
                    }
                    ("skipped", Some(case)) if case.result == Result_::Passed => {
                        case.result = Result_::Skipped;
                    }
                    ("flakyFailure" | "flakyError" | "rerunFailure" | "rerunError", Some(case)) => {
                        case.flaky = true;
                    }
                    _ => {}
                }
            }
            Part::Close("testcase") => cases.extend(open.take()),
            Part::Close("testsuite" | "testsuites") => {
                if let Some((Some(said), from)) = suites.pop()
                    && said != cases.len() - from
                {
                    let there = cases.len() - from;
                    return Err(format!("a suite says {said} tests and holds {there}"));
                }
            }
            Part::Close(_) => {}
        }
        Ok(())
    });
    walked.map_err(|why| unreadable(seen, "JUnit XML", why))
}

fn said(attributes: &BTreeMap<String, String>) -> Result<Option<usize>, String> {
    let Some(text) = attributes.get("tests") else {
        return Ok(None);
    };
    let number = text.trim().parse();
    number
        .map(Some)
        .map_err(|_| format!("`tests` is `{text}`, expected a number"))
}

fn begun(attributes: &BTreeMap<String, String>) -> Result<Case, String> {
    let Some(name) = attributes.get("name").filter(|name| !name.is_empty()) else {
        return Err("a test case has no name".to_owned());
    };
    let name = match attributes.get("classname").filter(|it| !it.is_empty()) {
        Some(class) => format!("{class}::{name}"),
        None => name.clone(),
    };
    // Some writers say it here and not by an element.
    let skipped = attributes
        .get("status")
        .is_some_and(|status| matches!(status.as_str(), "skipped" | "notrun" | "disabled"));
    Ok(Case {
        name,
        result: if skipped {
            Result_::Skipped
        } else {
            Result_::Passed
        },
        flaky: false,
    })
}

fn note_time(
    attributes: &BTreeMap<String, String>,
    stated: &mut Option<i64>,
) -> Result<(), String> {
    let Some(text) = attributes.get("timestamp").filter(|it| !it.is_empty()) else {
        return Ok(());
    };
    // Without an offset it is somebody's local time: it says nothing that can be judged.
    let with_offset: Result<jiff::Timestamp, _> = text.parse();
    if let Ok(at) = with_offset {
        let ms = at.as_millisecond();
        *stated = Some(stated.map_or(ms, |before| before.min(ms)));
        return Ok(());
    }
    match text.parse::<jiff::civil::DateTime>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`timestamp` is `{text}`, expected a time")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Code>) {
        let read = junit(&[seen("a.xml", text)]).map_err(|absent| absent.code);
        let shown = read.map(|facts| {
            let tests = |name: &str| facts["tests"][name].to_string();
            [
                "total", "ran", "passed", "failed", "errors", "skipped", "flaky",
            ]
            .map(tests)
            .join(" ")
        });
        assert_eq!(shown.as_deref().map_err(|code| *code), expected, "{text}");
    }

    #[test]
    fn cases_are_counted_and_not_believed() {
        let whole = "<testsuites tests='4'><testsuite name='s' tests='4'>\
            <testcase name='a'/><testcase name='b'><failure/></testcase>\
            <testcase name='c'><error/></testcase><testcase name='d'><skipped/></testcase>\
            </testsuite></testsuites>";
        check(whole, Ok("4 3 1 1 1 1 0"));
        check(
            &whole.replace("'4'><testcase", "'5'><testcase"),
            Err(Code::Unreadable),
        );
        check(&whole.replace("</testsuites>", ""), Err(Code::Unreadable));
        check(
            "<testsuite><testcase name='a'><flakyFailure/></testcase></testsuite>",
            Ok("1 1 1 0 0 0 1"),
        );
        check("<testsuite tests='0'></testsuite>", Err(Code::Empty));
        check("<testsuites/>", Err(Code::Empty));
        check("", Err(Code::Empty));
        check(
            "<testsuite><testcase name='a'><skipped/></testcase></testsuite>",
            Err(Code::NothingRan),
        );
        check(
            "<testsuite><testcase name='a' status='notrun'/></testsuite>",
            Err(Code::NothingRan),
        );
        check("<testsuite><testcase/></testsuite>", Err(Code::Unreadable));
        check("<coverage/>", Err(Code::Unreadable));
        check(
            "<testsuite tests='many'><testcase name='a'/></testsuite>",
            Err(Code::Unreadable),
        );
        check(
            "<testsuite timestamp='soon'><testcase name='a'/></testsuite>",
            Err(Code::Unreadable),
        );
    }

    #[test]
    fn a_failure_is_not_taken_back_by_what_follows() {
        let text = "<testsuite><testcase name='a'><failure/><skipped/></testcase>\
                    <testcase name='b'><error/><skipped/></testcase></testsuite>";
        check(text, Ok("2 2 0 1 1 0 0"));
    }

    #[test]
    fn the_oldest_time_counts() {
        let text = "<testsuites><testsuite timestamp='2026-11-24T02:00:00Z'><testcase name='a'/></testsuite>\
                    <testsuite timestamp='2026-11-24T01:00:00+00:00'><testcase name='b'/></testsuite></testsuites>";
        let facts = junit(&[seen("a.xml", text)]).expect("it is whole");
        let ms: jiff::Timestamp = "2026-11-24T01:00:00Z".parse().expect("a time");
        assert_eq!(facts["stated_unix_ms"], Value::from(ms.as_millisecond()));
    }
}
