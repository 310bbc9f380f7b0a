//! The release for a terminal.

use std::fmt::Write as _;

use super::page::{facts, moved, since};
use crate::release::{Release, Standing};

/// Lines of each kind of difference.
const MOVED_MAX: usize = 6;

/// What `meshproof gate release` prints.
pub fn release(release: &Release) -> String {
    let mut out = String::new();
    let version = release.version.as_deref().unwrap_or_default();
    let head = format!("{} {version}", release.answer.word());
    let _ = writeln!(out, "{}: {}", head.trim(), release.sentence);
    for reason in &release.reasons {
        let _ = writeln!(
            out,
            "\n{} [{}]\n  {}\n  rule    {}\n  owner   {}",
            reason.rules.join(", "),
            reason.code.word(),
            reason.why,
            reason.written,
            reason.owner
        );
        for fix in &reason.fixes {
            let _ = writeln!(out, "  fix     {fix}");
        }
    }
    if !release.areas.is_empty() {
        out.push('\n');
    }
    for area in &release.areas {
        let age = match (area.standing, area.age.as_str()) {
            (Standing::Off | Standing::NotReached, _) | (_, "") => String::new(),
            (_, age) => format!("  ({age} old, {})", area.place),
        };
        let _ = writeln!(
            out,
            "{:<12} {:<14} {}{age}",
            area.standing.word(),
            area.name,
            area.figures
        );
    }
    if !release.others.is_empty() {
        let _ = writeln!(out, "{}", release.others);
    }
    for one in &release.waivers {
        let _ = writeln!(
            out,
            "waiver       {} {} ({}, {}): {}",
            one.rule,
            one.term(),
            one.expires,
            one.owner,
            one.reason
        );
    }
    let (since, said) = since(&release.difference);
    let _ = writeln!(out, "\n{since}: {said}");
    for (title, lines, more) in moved(&release.difference, MOVED_MAX) {
        let _ = writeln!(out, "  {}", title.to_lowercase());
        for (name, text) in lines {
            let _ = writeln!(out, "    {name} {text}");
        }
        if more > 0 {
            let _ = writeln!(out, "    {more} more");
        }
    }
    for note in &release.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let facts: Vec<String> = facts(release)
        .into_iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let _ = writeln!(out, "\n{}", facts.join(" · "));
    out
}
