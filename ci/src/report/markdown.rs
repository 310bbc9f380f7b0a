//! Markdown for comments on merge requests and summaries of steps: tables of GitHub and GitLab.
//!
//! Names and sentences come from results that anybody may have written: whatever Markdown, HTML,
//! mentions, references or links would make of them is taken away, and they stay readable.

use std::fmt::Write as _;

use meshproof_record::report::text::{count, tame};
use meshproof_record::verdict::Verdict;

use super::page::{facts, moved, since};
use super::terminal::sentence;
use crate::outcome::{Judged, Outcome, State};
use crate::release::{Answer, Release, Term};

/// Lines of each table.
const LINES_MAX: usize = 30;
/// Lines of each kind of difference.
const MOVED_MAX: usize = 10;
/// Characters of one cell.
const CELL_CHARS_MAX: usize = 300;

/// Rules and commands of one reason.
const CODES_MAX: usize = 6;

/// Between a sign and what would make it a mention, a reference or a link: it has no width.
const JOINER: char = '\u{2060}';

/// Text that shows as it is, on one line, within a table.
fn plain(text: &str) -> String {
    let tamed = tame(text, CELL_CHARS_MAX);
    let mut out = String::with_capacity(tamed.len() + 16);
    let mut chars = tamed.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // `@name`, `#12`, `!12`, `%12`, `https://`, `www.`.
            '@' | '#' | '!' | '%' | ':' => {
                out.push(c);
                let next = chars.peek().copied().unwrap_or(' ');
                if !next.is_whitespace() && (c != ':' || next == '/') {
                    out.push(JOINER);
                }
            }
            '.' if out.ends_with("www") || out.ends_with("WWW") => {
                out.push(JOINER);
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Text to be copied, as code, on one line, within a table.
fn code(text: &str) -> String {
    let tamed = tame(text, CELL_CHARS_MAX);
    if tamed.trim().is_empty() {
        return String::new();
    }
    let mut longest = 0;
    let mut run = 0;
    for c in tamed.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    // A table takes a bar even out of code.
    format!("{fence}{space}{}{space}{fence}", tamed.replace('|', "\\|"))
}

/// Several of them, a line each.
fn codes(texts: &[String]) -> String {
    let all = texts.iter().take(CODES_MAX).map(|it| code(it));
    let mut lines: Vec<String> = all.collect();
    if let Some(left) = texts.len().checked_sub(CODES_MAX).filter(|it| *it > 0) {
        lines.push(format!("and {left} more"));
    }
    lines.join("<br>")
}

/// A word that is no text of others.
fn strong(word: &str) -> String {
    format!("**{word}**")
}

/// The release.
pub fn markdown(release: &Release) -> String {
    let mut out = String::new();
    let sign = match release.answer {
        Answer::Ship => "✅",
        Answer::DoNotShip => "⛔",
        Answer::NotApplicable => "⚪",
    };
    let version = release.version.as_deref().unwrap_or_default();
    let _ = writeln!(
        out,
        "## {sign} {} {}\n\n{}\n",
        release.answer.word(),
        plain(version),
        plain(&release.sentence)
    );
    if !release.reasons.is_empty() {
        let _ = writeln!(
            out,
            "| Rule | What is wrong | Owner | What to type |\n|---|---|---|---|"
        );
        for it in release.reasons.iter().take(LINES_MAX) {
            let _ = writeln!(
                out,
                "| {} {}<br>{} | {}<br><sub>{}</sub> | {} | {} |",
                strong(it.verdict.word()),
                it.code.word(),
                codes(&it.rules),
                plain(&it.why),
                plain(&it.written),
                plain(&it.owner),
                codes(&it.fixes)
            );
        }
        more(&mut out, release.reasons.len());
    }
    if !release.areas.is_empty() {
        let _ = writeln!(
            out,
            "| Area | Verdict | Figures | Age | Evidence |\n|---|---|---|---|---|"
        );
        for it in release.areas.iter().take(LINES_MAX) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                plain(&it.name),
                strong(it.standing.word()),
                plain(&it.figures),
                plain(&it.age),
                code(&it.place)
            );
        }
        more(&mut out, release.areas.len());
    }
    if !release.others.is_empty() {
        let _ = writeln!(out, "{}.\n", plain(&release.others));
    }
    not_run(&mut out, release);
    waivers(&mut out, release);
    difference(&mut out, release);
    for note in release.notes.iter().take(LINES_MAX) {
        let _ = writeln!(out, "- {}", plain(note));
    }
    let facts: Vec<String> = facts(release)
        .into_iter()
        .map(|(name, value)| format!("{name} {}", plain(&value)))
        .collect();
    let _ = writeln!(out, "\n<sub>{}</sub>", facts.join(" · "));
    out
}

fn more(out: &mut String, all: usize) {
    match all.saturating_sub(LINES_MAX) {
        0 => out.push('\n'),
        left => {
            let _ = writeln!(out, "\n{left} more are in the record.\n");
        }
    }
}

fn not_run(out: &mut String, release: &Release) {
    if release.not_run.is_empty() {
        return;
    }
    let _ = writeln!(out, "**Not run**\n");
    for it in release.not_run.iter().take(LINES_MAX) {
        let _ = writeln!(out, "- {}: {}", plain(&it.area), plain(&it.why));
    }
    out.push('\n');
}

fn waivers(out: &mut String, release: &Release) {
    if release.waivers.is_empty() {
        return;
    }
    let _ = writeln!(out, "| Waiver | Ends | Owner | Reason |\n|---|---|---|---|");
    for it in release.waivers.iter().take(LINES_MAX) {
        let term = match it.term {
            Term::Expired | Term::Soon(_) => strong(&it.term()),
            Term::InForce(_) => it.term(),
        };
        let _ = writeln!(
            out,
            "| {} | {term}, {} | {} | {} |",
            code(&it.rule),
            plain(&it.expires),
            plain(&it.owner),
            plain(&it.reason)
        );
    }
    more(out, release.waivers.len());
}

fn difference(out: &mut String, release: &Release) {
    let (since, said) = since(&release.difference);
    let _ = writeln!(out, "**{}**\n\n{}\n", plain(&since), plain(&said));
    for (title, lines, left) in moved(&release.difference, MOVED_MAX) {
        let _ = writeln!(out, "- {title}");
        for (name, text) in lines {
            let _ = writeln!(out, "  - {} {}", code(&name), plain(&text));
        }
        if left > 0 {
            let _ = writeln!(out, "  - {left} more are in the record");
        }
    }
}

/// The outcome of a gate, for the summary of a step.
pub fn summary_markdown(outcome: &Outcome, verdict: Verdict, exit: u8) -> String {
    let mut out = String::new();
    let sign = match exit {
        0 => "✅",
        _ if outcome.is_not_applicable() => "⚪",
        _ => "⛔",
    };
    let _ = writeln!(
        out,
        "## {sign} Gate\n\n{}\n",
        plain(&sentence(outcome, verdict.word()))
    );
    let blocks: Vec<_> = outcome
        .checkpoints
        .iter()
        .flat_map(Judged::blocks)
        .map(|(ruling, _)| ruling)
        .chain(&outcome.expired)
        .collect();
    if !blocks.is_empty() {
        let _ = writeln!(
            out,
            "| Rule | What is wrong | Owner | What to type |\n|---|---|---|---|"
        );
    }
    for ruling in blocks.iter().take(LINES_MAX) {
        let Some(block) = &ruling.block else { continue };
        let _ = writeln!(
            out,
            "| {}<br>{} | {}<br><sub>{}</sub> | {} | {} |",
            code(&ruling.rule),
            block.code.word(),
            plain(&block.why),
            plain(&ruling.origin.to_string()),
            plain(&block.owner),
            code(&block.fix)
        );
    }
    if !blocks.is_empty() {
        more(&mut out, blocks.len());
    }
    let others = outcome
        .checkpoints
        .iter()
        .filter(|judged| judged.state != State::Blocked);
    let lines: Vec<String> = others
        .take(LINES_MAX)
        .map(|judged| {
            let why = match &judged.state {
                State::NotApplicable(why) | State::NotReached(why) => format!(": {why}"),
                _ => format!(": {}", count(judged.rulings.len() as u64, "rule", "rules")),
            };
            format!(
                "- {} {}{}",
                code(&judged.id),
                judged.state.word(),
                plain(&why)
            )
        })
        .collect();
    if !lines.is_empty() {
        let _ = writeln!(
            out,
            "<details><summary>What else was judged</summary>\n\n{}\n</details>",
            lines.join("\n")
        );
    }
    out
}
