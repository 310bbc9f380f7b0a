//! The summary for a terminal.

use std::fmt::Write as _;

use super::cases;
use super::json::QUANTILES;
use super::text::{self, thousands};
use super::view::{Example, Group, Kept, View};
use crate::histogram::Histogram;
use crate::ledger::ReplayLedger;
use crate::verdict::{Claim, End, Verdict};

/// Places of difference shown.
const PLACES_MAX: usize = 5;
/// Refusals and findings shown of each.
const KINDS_MAX: usize = 5;
/// Narrower than this, lines break anyway.
const WIDTH_MIN: usize = 40;

const NO_BREAK: char = '\u{a0}';

/// Whether to write colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours, beside the words and never instead of them.
    Ansi,
    /// Words only.
    None,
}

/// How to write for one terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to write colours.
    pub colour: Colour,
    /// Columns; sentences wrap here.
    pub width: usize,
}

impl Style {
    pub(super) fn paint(self, codes: &str, text: &str) -> String {
        match self.colour {
            Colour::Ansi => format!("\u{1b}[{codes}m{text}\u{1b}[0m"),
            Colour::None => text.to_owned(),
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn verdict(self, verdict: Verdict, columns: usize) -> String {
        let codes = match verdict {
            Verdict::Pass => "1;32",
            Verdict::Fail => "1;31",
            Verdict::Invalid => "1;33",
            Verdict::Unsupported => "1;2",
            Verdict::Known => "1;35",
        };
        let word = self.paint(codes, verdict.word());
        let pad = columns.saturating_sub(verdict.word().len());
        format!("{word}{:pad$}", "")
    }

    /// Writes words from column `indent` on, breaking at the width; a no-break space stays within
    /// its word.
    pub(super) fn wrap(self, out: &mut String, first: usize, indent: usize, sentence: &str) {
        let width = self.width.max(WIDTH_MIN);
        let mut column = first;
        let mut fresh = true;
        for word in sentence.split(' ') {
            let columns = word.chars().count();
            if !fresh && column + 1 + columns > width {
                let _ = write!(out, "\n{:indent$}", "");
                column = indent;
                fresh = true;
            }
            if !fresh {
                out.push(' ');
                column += 1;
            }
            out.push_str(&word.replace(NO_BREAK, " "));
            column += columns;
            fresh = false;
        }
        out.push('\n');
    }
}

/// The summary of one record.
pub fn summary(view: &View, style: Style) -> String {
    let mut out = String::new();
    let word = view.verdict.word().len();
    out.push_str(&style.verdict(view.verdict, word + 2));
    style.wrap(&mut out, word + 2, word + 2, &view.sentence());
    if let Some(cases) = &view.cases {
        cases::terminal::show(&mut out, cases, style);
    }
    claims(&mut out, view, style);
    if let Some(replay) = &view.replay {
        ledger(&mut out, replay, view, style);
    }
    times(&mut out, view, style);
    differences(&mut out, view, style);
    refusals(&mut out, view, style);
    findings(&mut out, view, style);
    for note in &view.notes {
        out.push('\n');
        out.push_str(&style.bold("Note "));
        style.wrap(&mut out, 5, 5, note);
    }
    next(&mut out, view, style);
    out
}

/// The summary of several records: a line each, then the whole.
pub fn table(views: &[View], verdict: Verdict, style: Style) -> String {
    let mut out = String::new();
    for view in views {
        let folder = text::tame(&view.folder, 120);
        let _ = writeln!(
            out,
            "{}{}",
            style.verdict(view.verdict, 13),
            style.bold(&folder)
        );
        let _ = write!(out, "{:13}", "");
        style.wrap(&mut out, 13, 13, &view.sentence());
    }
    let _ = writeln!(
        out,
        "\n{}{}",
        style.verdict(verdict, 13),
        text::count(views.len() as u64, "record", "records")
    );
    out
}

pub(super) fn heading(out: &mut String, style: Style, title: &str, more: &str) {
    let _ = write!(out, "\n{}", style.bold(title));
    if !more.is_empty() {
        let _ = write!(out, "  {}", style.dim(more));
    }
    out.push('\n');
}

fn claims(out: &mut String, view: &View, style: Style) {
    if view.claims.is_empty() {
        return;
    }
    out.push('\n');
    let names = view.claims.iter().map(|claim| claim.name.chars().count());
    let names = names.max().unwrap_or(0).min(24);
    for claim in &view.claims {
        let indent = 2 + 13 + names + 2;
        let _ = write!(
            out,
            "  {}{:names$}  ",
            style.verdict(claim.verdict, 13),
            claim.name
        );
        let flaky = if claim.flaky { " (flaky)" } else { "" };
        style.wrap(out, indent, indent, &format!("{}{flaky}", claim.why));
    }
}

/// The sums, each part by name; parts of nothing are left out.
fn ledger(out: &mut String, ledger: &ReplayLedger, view: &View, style: Style) {
    let whole = if view.is_cut_off() {
        "as far as the run came"
    } else {
        ""
    };
    heading(out, style, "Ledger", whole);
    let named = |name: &str, buckets: &std::collections::BTreeMap<String, u64>| {
        let total: u64 = buckets.values().fold(0, |sum, n| sum.saturating_add(*n));
        let parts: Vec<String> = buckets
            .iter()
            .map(|(name, n)| format!("{} {}", text::tame(name, 60), thousands(*n)))
            .collect();
        if parts.is_empty() {
            format!("{name} {}", thousands(total))
        } else {
            format!("{name} {} ({})", thousands(total), parts.join(", "))
        }
    };
    let plain = |name: &str, n: u64| format!("{name} {}", thousands(n));
    let unasked = ledger.timed_out.saturating_sub(view.missing_timed_out);
    let timed_out = match unasked {
        0 => plain("timed out", ledger.timed_out),
        n => format!(
            "{} ({} as no answer is recorded)",
            plain("timed out", ledger.timed_out),
            thousands(n)
        ),
    };
    let mut sums = vec![
        (
            "recorded",
            ledger.recorded,
            vec![
                plain("sent", ledger.sent),
                named("refused", &ledger.refused),
                named("skipped", &ledger.skipped),
            ],
        ),
        (
            "sent",
            ledger.sent,
            vec![
                plain("answered", ledger.answered),
                plain("oneway", ledger.oneway),
                timed_out,
                named("lost", &ledger.lost),
            ],
        ),
        (
            "answered",
            ledger.answered,
            vec![
                plain("compared", ledger.compared),
                plain("not comparable", ledger.not_comparable),
            ],
        ),
    ];
    if let Some(api) = &ledger.mesh_api {
        sums.push((
            "mesh api",
            api.recorded,
            vec![
                plain("succeeded", api.succeeded),
                plain("failed", api.failed),
                plain("left out", api.left_out),
            ],
        ));
    }
    let digits = thousands(ledger.recorded).len();
    for (name, total, parts) in sums {
        let _ = write!(out, "  {name:<9}{:>digits$} = ", thousands(total));
        let indent = 2 + 9 + digits + 3;
        let terms: Vec<String> = parts
            .iter()
            .map(|term| term.replace(' ', &NO_BREAK.to_string()))
            .collect();
        let sum = terms.join(&format!(" +{NO_BREAK}"));
        style.wrap(out, indent, indent, &sum);
    }
    let _ = writeln!(
        out,
        "  {}",
        style.dim(&format!(
            "beside the sums: late {}, surplus {}",
            thousands(ledger.late),
            thousands(ledger.surplus)
        ))
    );
}

fn times(out: &mut String, view: &View, style: Style) {
    let lines: Vec<(&str, &Histogram)> = [
        ("latency", view.latency.as_ref()),
        ("lateness", view.lateness.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, histogram)| Some((name, histogram?)))
    .filter(|(_, histogram)| histogram.count > 0)
    .collect();
    if lines.is_empty() {
        return;
    }
    let mut head = format!("{:11}", "");
    for (name, _) in QUANTILES {
        let name = if name == "p999" { "p99.9" } else { name };
        let _ = write!(head, "{name:>10}");
    }
    let _ = write!(head, "{:>10}", "max");
    let _ = write!(out, "\n{}{}\n", style.bold("Time"), style.dim(&head[4..]));
    for (name, histogram) in lines {
        let _ = write!(out, "  {name:<9}");
        for (_, quantile) in QUANTILES {
            let _ = write!(out, "{:>10}", quantile_text(histogram, quantile));
        }
        let _ = writeln!(out, "{:>10}", text::duration(histogram.max_ns));
    }
}

/// A quantile, or a dash where there are too few values to speak of it.
pub(super) fn quantile_text(histogram: &Histogram, quantile: f64) -> String {
    match histogram.supported_quantile_ns(quantile) {
        Some(ns) => text::duration(ns),
        None => "–".into(),
    }
}

fn differences(out: &mut String, view: &View, style: Style) {
    let judged: Vec<&Group> = view
        .groups
        .iter()
        .filter(|group| group.judged == Kept::Judged)
        .collect();
    let shown = view.groups.len() - judged.len();
    if judged.is_empty() && shown == 0 {
        return;
    }
    let more = format!(
        "{} in {}",
        text::count(view.differing, "answer", "answers"),
        text::count(judged.len() as u64, "place", "places")
    );
    heading(out, style, "Differences", &more);
    for group in judged.iter().take(PLACES_MAX) {
        let answers = text::count(group.count, "answer", "answers");
        let _ = writeln!(out, "  {}  {answers}", style.bold(&group.name()));
        if let Some(example) = group.examples.first() {
            let exchange = format!("first in exchange {}", thousands(example.exchange));
            let _ = writeln!(out, "    {}  {}", group.path, style.dim(&exchange));
            sides(out, example, style);
        }
    }
    if judged.len() > PLACES_MAX {
        let more = text::count(
            (judged.len() - PLACES_MAX) as u64,
            "more place",
            "more places",
        );
        let _ = writeln!(out, "  … and {more}");
    }
    if shown > 0 {
        let places = text::count(shown as u64, "more place differs", "more places differ");
        let _ = writeln!(
            out,
            "  {}",
            style.dim(&format!("{places}, shown in the page and not judged"))
        );
    }
}

fn sides(out: &mut String, example: &Example, style: Style) {
    let room = style.width.max(WIDTH_MIN).saturating_sub(22);
    let blank = String::new();
    let (recorded, observed) = text::excerpts(
        example.recorded.as_ref().unwrap_or(&blank),
        example.observed.as_ref().unwrap_or(&blank),
        room,
    );
    for (side, value, codes) in [
        (
            "recorded",
            example.recorded.is_some().then_some(recorded),
            "36",
        ),
        (
            "observed",
            example.observed.is_some().then_some(observed),
            "33",
        ),
    ] {
        let value = match value {
            Some(value) => style.paint(codes, &value),
            None => style.dim("(absent)"),
        };
        let _ = writeln!(out, "      {side}  {value}");
    }
}

fn refusals(out: &mut String, view: &View, style: Style) {
    if view.refusals.is_empty() {
        return;
    }
    let total = view.refusals.iter().map(|refusal| refusal.count).sum();
    heading(
        out,
        style,
        "Refused",
        &text::count(total, "request", "requests"),
    );
    for refusal in view.refusals.iter().take(KINDS_MAX) {
        let _ = writeln!(
            out,
            "  {} × {} to {}: {}",
            thousands(refusal.count),
            refusal.name,
            refusal.target,
            refusal.reason
        );
    }
    if view.refusals.len() > KINDS_MAX {
        let _ = writeln!(
            out,
            "  … and {} more kinds",
            view.refusals.len() - KINDS_MAX
        );
    }
}

fn findings(out: &mut String, view: &View, style: Style) {
    if view.findings.is_empty() {
        return;
    }
    heading(out, style, "Findings", "");
    for finding in view.findings.iter().take(KINDS_MAX) {
        let lead = format!("  {} × {}", thousands(finding.count), finding.name);
        out.push_str(&lead);
        if finding.text.is_empty() {
            out.push('\n');
        } else {
            out.push_str(": ");
            style.wrap(out, lead.chars().count() + 2, 6, &finding.text);
        }
    }
    if view.findings.len() > KINDS_MAX {
        let _ = writeln!(
            out,
            "  … and {} more kinds",
            view.findings.len() - KINDS_MAX
        );
    }
}

/// What to type now, each with its reason.
pub(super) fn steps(view: &View) -> Vec<(&'static str, String)> {
    let folder = text::shell(std::slice::from_ref(&view.folder));
    let mut steps = vec![(
        "every number, plot and difference in one page",
        format!("meshproof report {folder} --html report.html"),
    )];
    if view.differing > 0 {
        steps.push((
            "the exchanges that differ, with their differences",
            format!(
                "zstdcat {folder}/exchanges.jsonl.zst | jq 'select(.differences) | {{exchange, method, differences}}'"
            ),
        ));
    }
    if let Some(command) = view.command() {
        let late = |claim: &Claim| claim.name == "latency" && claim.verdict == Verdict::Invalid;
        let why = if view.is_cut_off() || view.end == End::Interrupted {
            "run it again, to the end"
        } else if view.claims.iter().any(late) {
            "run it again, on a machine that does nothing else"
        } else {
            "run it again"
        };
        steps.push((why, text::tame(&command, 400)));
    }
    steps
}

fn next(out: &mut String, view: &View, style: Style) {
    heading(out, style, "Next", "");
    for (why, command) in steps(view) {
        let _ = writeln!(out, "  {}", style.dim(&format!("# {why}")));
        let _ = writeln!(out, "  {command}");
    }
}
