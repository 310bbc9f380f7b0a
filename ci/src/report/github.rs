//! Annotations for GitHub's actions: one for each block, at the place that it is about.

use std::fmt::Write as _;

use crate::outcome::{Judged, Outcome};

/// Annotations of one kind that GitHub shows for a step.
const ANNOTATIONS_MAX: usize = 10;

/// `::error …` lines.
pub fn annotations(outcome: &Outcome) -> String {
    let blocks = outcome.checkpoints.iter().flat_map(Judged::blocks);
    let expired = outcome
        .expired
        .iter()
        .filter_map(|ruling| Some((ruling, ruling.block.as_ref()?)));
    let mut out = String::new();
    for (ruling, block) in blocks.chain(expired).take(ANNOTATIONS_MAX) {
        let (file, line) = match &block.place {
            Some((file, line)) => (file.as_str(), *line),
            None => (ruling.origin.file.as_str(), ruling.origin.line),
        };
        let fix = match block.fix.as_str() {
            "" => String::new(),
            fix => format!("\nfix: {fix}"),
        };
        let title = format!("{} [{}]", ruling.rule, block.code.word());
        let text = format!(
            "{} (owner {}, rule at {}){fix}",
            block.why, block.owner, ruling.origin
        );
        let _ = writeln!(
            out,
            "::error file={},line={line},title={}::{}",
            property(file),
            property(&title),
            data(&text)
        );
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
