//! JUnit XML: a suite for each checkpoint, a case for each of its rules.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::outcome::{Block, Judged, Outcome, Ruling, State};
use meshproof_record::verdict::Verdict;

/// One XML document.
pub fn junit(outcome: &Outcome) -> String {
    let mut report = Report::new("meshproof gate");
    report.add_test_suites(outcome.checkpoints.iter().map(suite));
    if !outcome.expired.is_empty() {
        let mut suite = TestSuite::new("waivers");
        suite.add_test_cases(outcome.expired.iter().map(|ruling| case("waivers", ruling)));
        report.add_test_suite(suite);
    }
    // Writing XML to memory fails only where its names are no XML names; ours are constants.
    report.to_string().unwrap_or_default()
}

fn suite(judged: &Judged) -> TestSuite {
    let mut suite = TestSuite::new(judged.id.as_str());
    suite.set_time(Duration::from_millis(judged.took_ms));
    suite.add_property(("owner", judged.owner.as_str()));
    suite.add_property(("written", judged.origin.to_string().as_str()));
    match &judged.state {
        State::NotApplicable(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("not applicable: {why}"));
            suite.add_test_case(named(&judged.id, "applies", status));
        }
        State::NotReached(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("not-reached");
            status.set_message(why.as_str());
            suite.add_test_case(named(&judged.id, "reached", status));
        }
        State::Passed | State::Waived | State::Blocked => {
            suite.add_test_cases(judged.rulings.iter().map(|it| case(&judged.id, it)));
        }
    }
    if !judged.tail.is_empty() {
        suite.set_system_out(judged.tail.as_str());
    }
    suite
}

fn case(checkpoint: &str, ruling: &Ruling) -> TestCase {
    let status = match &ruling.block {
        None => TestCaseStatus::success(),
        Some(block) if block.waiver.is_some() => {
            let mut status = TestCaseStatus::skipped();
            status.set_type("waived");
            status.set_message(block.why.as_str());
            status
        }
        Some(block) => blocked(ruling, block),
    };
    named(checkpoint, &ruling.rule, status)
}

fn blocked(ruling: &Ruling, block: &Block) -> TestCaseStatus {
    let kind = match block.code.verdict() {
        Verdict::Fail => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(block.code.word());
    status.set_message(block.why.as_str());
    status.set_description(super::block(ruling, block));
    status
}

fn named(checkpoint: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(checkpoint);
    case
}
