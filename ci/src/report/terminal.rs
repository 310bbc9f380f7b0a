//! The outcome for people: a line for each checkpoint, a paragraph for each block.

use std::fmt::Write as _;

use meshproof_record::report::text::{count, tame};

use super::millis;
use crate::outcome::{Block, Judged, Outcome, Ruling, State};

/// Last lines of a command that are shown.
const TAIL_LINES_MAX: usize = 12;

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// By escape sequences.
    Ansi,
    /// Not.
    None,
}

impl Colour {
    fn paint(self, state: &State, text: &str) -> String {
        let code = match state {
            State::Passed => "32",
            State::Waived => "33",
            State::Blocked | State::NotReached(_) => "31",
            State::NotApplicable(_) => "2",
        };
        match self {
            Colour::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::None => text.to_owned(),
        }
    }
}

/// One line: what the checkpoint came to, and in short why.
pub fn line(judged: &Judged, colour: Colour) -> String {
    let word = format!("{:<14}", judged.state.word());
    let why = match &judged.state {
        State::Passed => {
            let rules = count(judged.rulings.len() as u64, "rule holds", "rules hold");
            match judged.command.is_empty() {
                true => rules,
                false => format!("{rules}, {}", millis(judged.took_ms)),
            }
        }
        State::Waived => {
            let waived: Vec<String> = judged
                .waived()
                .map(|(ruling, _, it)| {
                    format!("{} until {} ({})", ruling.rule, it.expires, it.owner)
                })
                .collect();
            waived.join(", ")
        }
        State::Blocked => {
            let blocks = judged.blocks().count() as u64;
            let rules = count(blocks, "rule blocks", "rules block");
            let codes: Vec<&str> = judged.blocks().map(|(_, it)| it.code.word()).collect();
            format!("{rules}: {}", codes.join(", "))
        }
        State::NotApplicable(why) | State::NotReached(why) => why.clone(),
    };
    let why = tame(&why, 200);
    format!(
        "{} {:<28} {why}\n",
        colour.paint(&judged.state, &word),
        judged.id
    )
}

/// Everything that a person needs to mend one block.
pub fn block(ruling: &Ruling, block: &Block) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} [{}]", ruling.rule, block.code.word());
    let _ = writeln!(out, "  {}", block.why);
    let lines = [
        ("rule", ruling.origin.to_string()),
        ("seen", ruling.seen.clone()),
        ("wanted", ruling.wanted.clone()),
        ("owner", block.owner.clone()),
        ("fix", block.fix.clone()),
    ];
    for (name, text) in lines {
        if !text.is_empty() {
            let _ = writeln!(out, "  {name:<7} {}", tame(&text, 400));
        }
    }
    out
}

/// What follows the lines: every block, waivers past their day, notes, and the whole in one
/// sentence.
pub fn summary(outcome: &Outcome, verdict: &str) -> String {
    let mut out = String::new();
    for judged in &outcome.checkpoints {
        for (ruling, it) in judged.blocks() {
            let _ = write!(out, "\n{}", block(ruling, it));
        }
        if judged.blocks().next().is_some() && !judged.tail.is_empty() {
            let lines: Vec<&str> = judged.tail.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES_MAX);
            for line in lines.iter().skip(from) {
                let _ = writeln!(out, "  | {}", tame(line, 200));
            }
        }
        if judged.blocks().next().is_some() && !judged.log.is_empty() {
            let _ = writeln!(out, "  all of it: {}", judged.log);
        }
    }
    for ruling in &outcome.expired {
        if let Some(it) = &ruling.block {
            let _ = write!(out, "\n{}", block(ruling, it));
        }
    }
    for judged in &outcome.checkpoints {
        for (ruling, it, waiver) in judged.waived() {
            let _ = writeln!(
                out,
                "\nwaived: {} [{}] until {} by {}: {}\n  {}",
                ruling.rule,
                it.code.word(),
                waiver.expires,
                waiver.owner,
                waiver.reason,
                it.why
            );
        }
    }
    for note in &outcome.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    let _ = writeln!(out, "\n{}", sentence(outcome, verdict));
    out
}

/// `FAIL: 2 of 9 checkpoints block, 1 is not reached, 3 do not apply`.
pub fn sentence(outcome: &Outcome, verdict: &str) -> String {
    let of = |wanted: fn(&State) -> bool| {
        let all = outcome.checkpoints.iter();
        all.filter(|judged| wanted(&judged.state)).count() as u64
    };
    let all = count(
        outcome.checkpoints.len() as u64,
        "checkpoint",
        "checkpoints",
    );
    if outcome.is_not_applicable() {
        return format!("not applicable: none of {all} applies here, so nothing was judged");
    }
    let mut parts = vec![format!(
        "{} of {all} passed",
        of(|state| *state == State::Passed)
    )];
    let others = [
        (of(|state| *state == State::Waived), "waived"),
        (of(|state| *state == State::Blocked), "blocked"),
        (
            of(|state| matches!(state, State::NotReached(_))),
            "not reached",
        ),
        (
            of(|state| matches!(state, State::NotApplicable(_))),
            "not applicable",
        ),
        (outcome.expired.len() as u64, "waivers expired"),
    ];
    for (number, word) in others {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    format!("{verdict}: {}", parts.join(", "))
}
