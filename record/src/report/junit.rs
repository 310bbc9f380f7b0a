//! JUnit XML: one suite a record; one case for each claim, and one for each method that was
//! called.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::view::{Example, Kept, Method, View};
use super::{cases, text};
use crate::verdict::{Claim, Verdict};

/// Places of difference listed in the failure of one method.
const PLACES_MAX: usize = 20;

/// One XML document for any number of records.
pub fn junit(views: &[View]) -> String {
    let mut report = Report::new("meshproof");
    report.add_test_suites(views.iter().map(suite));
    // Writing XML to memory fails only where its names are no XML names; ours are constants.
    report.to_string().unwrap_or_default()
}

fn suite(view: &View) -> TestSuite {
    let mut suite = TestSuite::new(view.folder.as_str());
    if let Some((_, elapsed_ns)) = &view.ended {
        suite.set_time(Duration::from_nanos(*elapsed_ns));
    }
    if let Some(start) = &view.start {
        suite.add_property(("run", start.run.as_str()));
        suite.add_property(("version", start.version.as_str()));
        suite.add_property(("seed", start.seed.to_string().as_str()));
        suite.add_property(("command", text::shell(&start.command_line).as_str()));
    }
    suite.add_test_cases(view.claims.iter().map(claim));
    suite.add_test_cases(view.cases.iter().flat_map(cases::junit::test_cases));
    suite.add_test_cases(view.methods.iter().map(|one| method(view, one)));
    if !view.notes.is_empty() {
        suite.set_system_err(view.notes.join("\n"));
    }
    suite
}

fn claim(claim: &Claim) -> TestCase {
    let status = match claim.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        // JUnit's error is "could not be tried properly", which is what INVALID says.
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Invalid => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Unsupported | Verdict::Known => TestCaseStatus::skipped(),
    };
    let mut case = TestCase::new(claim.name.as_str(), told(status, claim.verdict, &claim.why));
    case.set_classname("claim");
    if claim.verdict == Verdict::Pass {
        case.set_system_out(claim.why.as_str());
    }
    if claim.flaky {
        case.add_property(("flaky", "true"));
    }
    case
}

fn told(mut status: TestCaseStatus, verdict: Verdict, why: &str) -> TestCaseStatus {
    if verdict != Verdict::Pass {
        status.set_type(verdict.word());
        status.set_message(why);
    }
    status
}

fn method(view: &View, method: &Method) -> TestCase {
    let mut wrong = Vec::new();
    if method.differing > 0 {
        wrong.push(text::differ(method.differing, method.compared));
    }
    // A call that has no answer in the capture either is as recorded.
    if method.missing > 0 {
        wrong.push(format!(
            "{} timed out or lost, though an answer is recorded",
            text::count(method.missing, "call", "calls")
        ));
    }
    let status = if !wrong.is_empty() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type("FAIL");
        status.set_message(wrong.join(", "));
        status.set_description(places(view, method));
        status
    } else if method.sent == 0 {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("refused: {}", text::thousands(method.refused)));
        status
    } else {
        TestCaseStatus::success()
    };
    let mut case = TestCase::new(method.name(), status);
    case.set_classname("method");
    if method.latency.count > 0 {
        case.set_time(Duration::from_nanos(method.latency.mean_ns));
    }
    case
}

/// Where its answers differ, one place after the other.
fn places(view: &View, method: &Method) -> String {
    let mut out = String::new();
    let groups: Vec<_> = view
        .groups
        .iter()
        .filter(|group| group.judged == Kept::Judged)
        .filter(|group| group.service == method.service && group.method == method.method)
        .collect();
    for group in groups.iter().take(PLACES_MAX) {
        let answers = text::count(group.count, "answer", "answers");
        let _ = writeln!(out, "{} ({answers})", group.path);
        for example in &group.examples {
            let _ = writeln!(out, "  {}", line(example));
        }
    }
    if groups.len() > PLACES_MAX {
        let _ = writeln!(out, "… and {} more places", groups.len() - PLACES_MAX);
    }
    out
}

fn line(example: &Example) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".into());
    format!(
        "exchange {}: recorded {}, observed {}",
        example.exchange,
        value(&example.recorded),
        value(&example.observed)
    )
}
