//! The cases of a run as JUnit test cases.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus};

use super::super::text::duration;
use super::{Cases, Told, conjunction};
use crate::case::CaseKind;
use crate::verdict::{Claim, Verdict};

/// One test case for each case that is over, and an error for each that was cut off.
pub(in super::super) fn test_cases(cases: &Cases) -> Vec<TestCase> {
    let mut all: Vec<TestCase> = cases.ended.iter().map(|told| one(cases, told)).collect();
    for id in &cases.open {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type(Verdict::Invalid.word());
        status.set_message("the run was cut off before this case was over");
        let mut case = TestCase::new(id.as_str(), status);
        case.set_classname(cases.name.as_str());
        all.push(case);
    }
    all
}

fn one(cases: &Cases, told: &Told) -> TestCase {
    let case = &told.case;
    let wanted = |claim: &&Claim| claim.verdict == case.verdict;
    let why = case
        .claims
        .iter()
        .find(wanted)
        .map(|claim| claim.why.as_str());
    let mut status = match case.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Invalid => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Unsupported | Verdict::Known => TestCaseStatus::skipped(),
    };
    if case.verdict != Verdict::Pass {
        status.set_type(case.verdict.word());
        status.set_message(why.unwrap_or("no claim says why"));
        if matches!(case.verdict, Verdict::Fail | Verdict::Invalid) {
            status.set_description(described(told));
        }
    }
    let name = match case.kind {
        CaseKind::Cell => format!("{}: {}", case.id, conjunction(&case.choices)),
        CaseKind::Scenario | CaseKind::Proof => case.id.clone(),
    };
    let mut junit = TestCase::new(name, status);
    junit.set_classname(cases.name.as_str());
    junit.set_time(Duration::from_nanos(case.took_ns));
    if case.claims.iter().any(|claim| claim.flaky) {
        junit.add_property(("flaky", "true"));
    }
    junit
}

fn described(told: &Told) -> String {
    let mut out = String::new();
    for claim in &told.case.claims {
        let _ = writeln!(
            out,
            "{:<12} {}: {}",
            claim.verdict.word(),
            claim.name,
            claim.why
        );
    }
    for step in &told.steps {
        let _ = writeln!(
            out,
            "step {} {:<8} {}: {} ({})",
            step.number,
            step.verdict.word(),
            step.text,
            step.why,
            duration(step.took_ns)
        );
    }
    if !told.case.rerun.is_empty() {
        let _ = writeln!(out, "again: {}", told.case.rerun);
    }
    for path in &told.case.evidence {
        let _ = writeln!(out, "evidence: artefacts/{path}");
    }
    out
}
