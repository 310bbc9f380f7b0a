//! The cases of a run for a terminal: causes first, then coverage, then what was slow.

use std::fmt::Write as _;

use super::super::terminal::{Style, heading};
use super::super::text::{self, duration, thousands};
use super::{Cases, Told, coverage_line};
use crate::case::CaseKind;
use crate::verdict::Verdict;

/// Causes shown.
const CAUSES_MAX: usize = 10;
/// Cases named of one cause.
const NAMED_MAX: usize = 8;
/// Slow cases shown.
const SLOW_MAX: usize = 3;
/// Scenarios are listed one by one up to this many.
const LISTED_MAX: usize = 60;

/// Below the verdict sentence.
pub(in super::super) fn show(out: &mut String, cases: &Cases, style: Style) {
    causes(out, cases, style);
    let list = cases.ended.len() <= LISTED_MAX
        && cases
            .ended
            .iter()
            .any(|told| told.case.kind != CaseKind::Cell);
    if list {
        listed(out, cases, style);
    }
    if let Some(certificate) = &cases.certificate {
        let more = format!(
            "{} of {} planned ran, seed {}",
            thousands(certificate.ran),
            cases.noun(certificate.planned),
            certificate.seed
        );
        heading(out, style, "Coverage", &more);
        for coverage in &certificate.covered {
            let _ = writeln!(out, "  {}", coverage_line(coverage));
        }
        for not_run in certificate.not_run.iter().take(NAMED_MAX) {
            let why = format!(
                "  not run: {}, {}",
                not_run.case,
                text::tame(&not_run.why, 200)
            );
            style.wrap(out, 0, 11, &why);
        }
        if certificate.not_run.len() > NAMED_MAX {
            let more = certificate.not_run.len() - NAMED_MAX;
            let _ = writeln!(out, "  … and {} not run", thousands(more as u64));
        }
    }
    totals(out, cases, style);
}

fn causes(out: &mut String, cases: &Cases, style: Style) {
    if cases.causes.is_empty() {
        return;
    }
    let more = text::count(cases.causes.len() as u64, "cause", "causes");
    heading(out, style, "What is wrong", &more);
    for cause in cases.causes.iter().take(CAUSES_MAX) {
        let _ = write!(out, "  {}", style.verdict(cause.verdict, 9));
        let because = match cause.because.as_str() {
            "" => String::new(),
            because if cause.minimal => format!("{because}: "),
            because => format!("{because} (not shown to be the smallest): "),
        };
        style.wrap(out, 11, 11, &format!("{because}{}", cause.evidence));
        let named: Vec<&str> = cause
            .cases
            .iter()
            .take(NAMED_MAX)
            .map(String::as_str)
            .collect();
        let more = match cause.cases.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            n => format!(" and {} more", thousands(n as u64)),
        };
        let line = format!(
            "{:11}{}: {}{more}",
            "",
            cases.noun(cause.cases.len() as u64),
            named.join(", ")
        );
        style.wrap(out, 0, 13, &line);
        if !cause.rerun.is_empty() {
            let _ = writeln!(
                out,
                "{:11}{}",
                "",
                style.dim(&format!("again: {}", cause.rerun))
            );
        }
    }
    if cases.causes.len() > CAUSES_MAX {
        let more = (cases.causes.len() - CAUSES_MAX) as u64;
        let _ = writeln!(
            out,
            "  … and {}",
            text::count(more, "more cause", "more causes")
        );
    }
}

fn listed(out: &mut String, cases: &Cases, style: Style) {
    heading(out, style, "Cases", "");
    let width = cases.ended.iter().map(|told| told.case.id.chars().count());
    let width = width.max().unwrap_or(0).min(48);
    for told in &cases.ended {
        let case = &told.case;
        let _ = write!(
            out,
            "  {}{:width$}  ",
            style.verdict(case.verdict, 13),
            case.id
        );
        let _ = write!(out, "{:>8}  ", duration(case.took_ns));
        let indent = 2 + 13 + width + 2 + 8 + 2;
        style.wrap(out, indent, indent, &of_one(told));
    }
}

/// Why a case is as it is; of one that passes, what it is about.
fn of_one(told: &Told) -> String {
    let case = &told.case;
    let wanted = |claim: &&crate::verdict::Claim| claim.verdict == case.verdict;
    match case.verdict {
        Verdict::Pass => case.about.clone(),
        _ => case
            .claims
            .iter()
            .find(wanted)
            .map_or_else(|| case.about.clone(), |claim| claim.why.clone()),
    }
}

fn totals(out: &mut String, cases: &Cases, style: Style) {
    let parts: Vec<String> = cases
        .totals()
        .into_iter()
        .map(|(verdict, count)| format!("{} {}", thousands(count), verdict.word()))
        .collect();
    let mut line = format!(
        "{} over: {}",
        cases.noun(cases.ended.len() as u64),
        parts.join(", ")
    );
    if !cases.open.is_empty() {
        line.push_str(&format!(
            "; {} cut off",
            cases.noun(cases.open.len() as u64)
        ));
    }
    if cases.left_out > 0 {
        line.push_str(&format!(
            "; {} more in the record",
            thousands(cases.left_out)
        ));
    }
    out.push('\n');
    style.wrap(out, 0, 2, &line);
    let mut slow: Vec<&Told> = cases.ended.iter().collect();
    slow.sort_by_key(|told| u64::MAX - told.case.took_ns);
    let slow: Vec<String> = slow
        .into_iter()
        .take(SLOW_MAX)
        .map(|told| format!("{} {}", told.case.id, duration(told.case.took_ns)))
        .collect();
    if !slow.is_empty() {
        let line = format!("slowest: {}", slow.join(", "));
        let _ = writeln!(out, "{}", style.dim(&line));
    }
}
