//! Annotations and a step summary for GitHub's actions.

use std::fmt::Write as _;

use super::super::text::{duration, tame, thousands};
use super::super::view::View;
use super::Cases;
use crate::verdict::Verdict;

/// Annotations of one run; GitHub shows ten of a kind for each step.
const ANNOTATIONS_MAX: usize = 10;
/// Rows of a table in the summary.
const ROWS_MAX: usize = 50;

/// `::error …` lines, one for each cause; for runs without cases, one for each claim.
pub fn annotations(views: &[View]) -> String {
    let mut out = String::new();
    for view in views {
        let mut lines: Vec<(Verdict, String, String)> = Vec::new();
        match &view.cases {
            Some(cases) => lines.extend(cases.causes.iter().map(|cause| {
                let again = match cause.rerun.as_str() {
                    "" => String::new(),
                    rerun => format!("\nagain: {rerun}"),
                };
                let count = cases.noun(cause.cases.len() as u64);
                let title = format!("{}: {count}", cases.name);
                (cause.verdict, title, format!("{}{again}", cause.sentence()))
            })),
            None => lines.extend(
                view.claims
                    .iter()
                    .filter(|claim| matches!(claim.verdict, Verdict::Fail | Verdict::Invalid))
                    .map(|claim| (claim.verdict, claim.name.clone(), claim.why.clone())),
            ),
        }
        for (verdict, title, text) in lines.into_iter().take(ANNOTATIONS_MAX) {
            let _ = writeln!(
                out,
                "::error title={}::{}",
                property(&format!("{verdict} {title}")),
                data(&text)
            );
        }
        if view.verdict == Verdict::Pass {
            let _ = writeln!(out, "::notice title=PASS::{}", data(&view.sentence()));
        }
    }
    out
}

/// Markdown for `$GITHUB_STEP_SUMMARY`.
pub fn summary(views: &[View]) -> String {
    let mut out = String::new();
    for view in views {
        let _ = writeln!(out, "## {} {}\n", view.verdict, markdown(&view.sentence()));
        if let Some(cases) = &view.cases {
            of_cases(&mut out, cases);
        } else {
            let _ = writeln!(out, "| verdict | claim | why |\n|---|---|---|");
            for claim in view.claims.iter().take(ROWS_MAX) {
                let (name, why) = (markdown(&claim.name), markdown(&claim.why));
                let _ = writeln!(out, "| {} | {name} | {why} |", claim.verdict);
            }
        }
        out.push('\n');
    }
    out
}

fn of_cases(out: &mut String, cases: &Cases) {
    let totals: Vec<String> = cases
        .totals()
        .into_iter()
        .map(|(verdict, count)| format!("{} {verdict}", thousands(count)))
        .collect();
    let all = cases.noun(cases.ended.len() as u64);
    let _ = writeln!(out, "{all}: {}\n", totals.join(", "));
    if !cases.causes.is_empty() {
        let _ = writeln!(
            out,
            "| verdict | cause | cases | again |\n|---|---|---|---|"
        );
        for cause in cases.causes.iter().take(ROWS_MAX) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                cause.verdict,
                markdown(&cause.sentence()),
                thousands(cause.cases.len() as u64),
                code(&cause.rerun),
            );
        }
        out.push('\n');
    }
    if let Some(certificate) = &cases.certificate {
        for coverage in &certificate.covered {
            let _ = writeln!(out, "- {}", markdown(&super::coverage_line(coverage)));
        }
        out.push('\n');
    }
    let slowest = cases.ended.iter().max_by_key(|told| told.case.took_ns);
    if let Some(told) = slowest {
        let (id, took) = (markdown(&told.case.id), duration(told.case.took_ns));
        let _ = writeln!(out, "Slowest: {id}, {took}");
    }
}

/// The escapes that workflow commands know, for what stands behind `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// For a property, which ends at a comma or a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text that is shown as it is in a table of Markdown.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in tame(text, 600).chars() {
        if matches!(
            c,
            '|' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '\\' | '#' | '!' | '~' | '&'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn code(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("`{}`", text.replace('`', "'").replace('|', "\\|")),
    }
}
