//! What people and programs read of an outcome: functions of it alone.

mod explain;
mod github;
mod junit;
mod markdown;
mod page;
mod release;
mod sarif;
mod terminal;

pub use explain::explain;
pub(crate) use explain::rules;
pub use github::annotations;
pub use junit::junit;
pub use markdown::{markdown, summary_markdown};
pub use page::page;
pub use release::release;
pub use sarif::sarif;
pub use terminal::{Colour, block, line, sentence, summary};

use crate::outcome::Outcome;
use crate::release::Release;

/// The outcome for programs (`schema: 1`), with verdict and exit code.
pub fn json(outcome: &Outcome, verdict: &str, exit: u8) -> String {
    let mut document = serde_json::json!({
        "schema": outcome.schema,
        "verdict": verdict,
        "exit": exit,
    });
    if let (Some(members), Ok(serde_json::Value::Object(more))) =
        (document.as_object_mut(), serde_json::to_value(outcome))
    {
        members.extend(more);
    }
    format!("{document:#}\n")
}

/// The release for programs (`schema: 1`); the next one is compared with it.
pub fn release_json(release: &Release) -> String {
    // Every key is a text, so nothing in it cannot be written.
    let text = serde_json::to_string_pretty(release).unwrap_or_default();
    format!("{text}\n")
}

/// Milliseconds as people say them: `300ms`, `90s`, `24h`.
pub fn millis(ms: u64) -> String {
    match ms {
        ms if ms >= 48 * 3_600_000 => format!("{}d", ms / 86_400_000),
        ms if ms >= 2 * 3_600_000 => format!("{}h", ms / 3_600_000),
        ms if ms >= 120_000 => format!("{}min", ms / 60_000),
        ms if ms >= 10_000 => format!("{}s", ms / 1_000),
        ms if ms >= 1_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        ms => format!("{ms}ms"),
    }
}

/// An age in nanoseconds as people say it.
pub fn age(ns: i128) -> String {
    millis(u64::try_from(ns.max(0) / 1_000_000).unwrap_or(u64::MAX))
}
