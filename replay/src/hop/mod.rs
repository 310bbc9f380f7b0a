//! What a sidecar changed between two capture points, field by field, against what it may change.
//!
//! - [`load`]: the exchanges of one capture point.
//! - [`pairs`]: which exchange behind the sidecar is which one in front of it.
//! - [`fields`]: where the two part.
//! - [`rules`]: what may change, from a file that a person wrote.
//!
//! Heartbeats, goaways and what is said to the application API end at a sidecar; they are counted
//! and not compared.
//!
//! **Invariant:** pure but for [`load`], which reads captures. Time decides only which of several
//! equal exchanges is which: the clocks of two capture points need not agree.
//!
//! **Limits:** [`CHANGES_MAX`] different changes, [`EXAMPLES_MAX`] examples of each; what comes
//! after is counted.

mod fields;
mod load;
mod pairs;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use meshproof_record::case::HopChange;
use meshproof_record::report::text::count;
use meshproof_record::verdict::{Claim, Verdict};
use serde::Serialize;

use crate::exchange::Exchange;
use fields::Found;

pub use load::{Seen, read};
pub use rules::{Rules, schema};

/// Different changes that are told; more are counted in [`Report::left_out`].
pub const CHANGES_MAX: usize = 10_000;

/// Examples of one change.
pub const EXAMPLES_MAX: usize = 3;

/// What became of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is there behind the sidecar only.
    Added,
    /// It is there in front of the sidecar only.
    Removed,
    /// It has another value.
    Changed,
    /// It has another value, and the right one for what else has changed: a checksum.
    Follows,
}

impl Change {
    /// The word in every output.
    pub fn name(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
            Change::Follows => "follows",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One change, of however many exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Where: `request.id`, `response.header.x`, `exchange.order`, …
    pub field: String,
    /// What became of it.
    pub change: Change,
    /// Whether the rules allow it.
    pub allowed: bool,
    /// The rule that allows it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How often.
    pub times: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// One exchange in which a field changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// `service.method`, as far as it is known.
    pub call: String,
    /// First packet of the exchange in front of the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_packet: Option<u64>,
    /// First packet of the exchange behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_packet: Option<u64>,
    /// The value in front of the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What stands between two capture points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of this structure.
    pub schema: u32,
    /// What was shown.
    pub verdict: Verdict,
    /// One sentence, with numbers.
    pub why: String,
    /// Calls and one-ways in front of the sidecar.
    pub before: u64,
    /// Calls and one-ways behind it.
    pub after: u64,
    /// Those that are the same ones.
    pub matched: u64,
    /// Of these, by what they were found: `trace`, `arguments`, …
    pub matched_by: BTreeMap<&'static str, u64>,
    /// Matched exchanges of which nothing changed that needs a rule.
    pub untouched: u64,
    /// Every change, those that are not allowed first.
    pub changes: Vec<Changed>,
    /// What was not compared, by reason: `heartbeat`, `goaway`, `mesh-api`, `cut`.
    pub left_out: BTreeMap<String, u64>,
}

/// Matches the exchanges of two capture points and says where they part.
///
/// `PASS`: every change is allowed. `FAIL`: one is not. `INVALID`: nothing could be matched.
pub fn compare(before: Seen, after: Seen, rules: &Rules) -> Report {
    let mut left_out = BTreeMap::new();
    for (reason, count) in before.left_out.iter().chain(&after.left_out) {
        *left_out.entry(reason.clone()).or_insert(0) += count;
    }
    let paired = pairs::match_all(&before.exchanges, &after.exchanges);
    let mut book = Book {
        rules,
        changes: BTreeMap::new(),
        overflow: 0,
    };
    let mut matched_by = BTreeMap::new();
    let mut untouched = 0;
    for pair in &paired.pairs {
        *matched_by.entry(pair.by).or_insert(0) += 1;
        let found = fields::compare(pair.before, pair.after);
        let mut touched = false;
        for found in found {
            touched |= !rules::is_inherent(&found.field, found.change);
            book.note(found, Some(pair.before), Some(pair.after));
        }
        untouched += u64::from(!touched);
    }
    for lost in &paired.only_before {
        book.note(Found::exchange(Change::Removed), Some(lost), None);
    }
    for added in &paired.only_after {
        book.note(Found::exchange(Change::Added), None, Some(added));
    }
    for (before, after) in pairs::out_of_order(&paired.pairs) {
        let found = Found {
            field: "exchange.order".to_owned(),
            change: Change::Changed,
            before: None,
            after: None,
        };
        book.note(found, Some(before), Some(after));
    }
    if book.overflow > 0 {
        left_out.insert("changes".to_owned(), book.overflow);
    }
    let mut changes: Vec<Changed> = book.changes.into_values().collect();
    changes.sort_by(|one, other| {
        let key = |it: &Changed| (it.allowed, std::cmp::Reverse(it.times));
        key(one)
            .cmp(&key(other))
            .then_with(|| (&one.field, one.change).cmp(&(&other.field, other.change)))
    });
    let matched = paired.pairs.len() as u64;
    let (verdict, why) = verdict(matched, book.overflow, &changes);
    Report {
        schema: 1,
        verdict,
        why,
        before: before.exchanges.len() as u64,
        after: after.exchanges.len() as u64,
        matched,
        matched_by,
        untouched,
        changes,
        left_out,
    }
}

fn verdict(matched: u64, overflow: u64, changes: &[Changed]) -> (Verdict, String) {
    /// Changes that the sentence names.
    const NAMED: usize = 3;
    let compared = count(matched, "exchange", "exchanges");
    let forbidden: Vec<&Changed> = changes.iter().filter(|it| !it.allowed).collect();
    if !forbidden.is_empty() {
        let named: Vec<String> = forbidden
            .iter()
            .take(NAMED)
            .map(|it| match it.field.as_str() {
                "exchange" => match it.change {
                    Change::Removed => format!("{} went in and did not come out", it.times),
                    _ => format!("{} came out and did not go in", it.times),
                },
                field => format!("{field} {} in {}", it.change, it.times),
            })
            .collect();
        let more = match forbidden.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let why = format!(
            "{} not allowed, {compared} matched: {}{more}",
            count(forbidden.len() as u64, "change is", "changes are"),
            named.join(", ")
        );
        return (Verdict::Fail, why);
    }
    if matched == 0 {
        let why = "no exchange of the one capture is one of the other: nothing was compared";
        return (Verdict::Invalid, why.to_owned());
    }
    if overflow > 0 {
        let why = format!("{compared} matched, but {overflow} changes are beyond the limit");
        return (Verdict::Invalid, why);
    }
    let allowed = count(changes.len() as u64, "kind of change", "kinds of change");
    (
        Verdict::Pass,
        format!("{compared} matched, {allowed}, each allowed"),
    )
}

impl Report {
    /// What the comparison shows, as a claim of a run.
    pub fn claim(&self, name: &str) -> Claim {
        Claim::new(name, self.verdict, &self.why)
    }

    /// The changes as a record keeps them, with the first values of each.
    pub fn hop_changes(&self) -> Vec<HopChange> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        self.changes
            .iter()
            .map(|it| {
                let first = it.examples.first();
                HopChange {
                    field: it.field.clone(),
                    before: text(first.and_then(|it| it.before.as_ref())),
                    after: text(first.and_then(|it| it.after.as_ref())),
                    times: it.times,
                    allowed: it.allowed,
                }
            })
            .collect()
    }

    /// The changes by field and kind, for a comparison of two sidecars: how often each.
    pub fn kinds(&self) -> BTreeMap<(String, Change), u64> {
        let each = self.changes.iter();
        each.map(|it| ((it.field.clone(), it.change), it.times))
            .collect()
    }
}

struct Book<'a> {
    rules: &'a Rules,
    changes: BTreeMap<(String, Change), Changed>,
    overflow: u64,
}

impl Book<'_> {
    fn note(&mut self, found: Found, before: Option<&Exchange>, after: Option<&Exchange>) {
        let key = (found.field.clone(), found.change);
        if !self.changes.contains_key(&key) && self.changes.len() >= CHANGES_MAX {
            self.overflow += 1;
            return;
        }
        let rules = self.rules;
        let changed = self.changes.entry(key).or_insert_with(|| {
            let rule = rules.allows(&found.field, found.change);
            Changed {
                field: found.field.clone(),
                change: found.change,
                allowed: rule.is_some(),
                rule,
                times: 0,
                examples: Vec::new(),
            }
        });
        changed.times += 1;
        if changed.examples.len() < EXAMPLES_MAX {
            changed.examples.push(Example {
                call: before.or(after).map(pairs::called).unwrap_or_default(),
                before_packet: before.and_then(first_packet),
                after_packet: after.and_then(first_packet),
                before: found.before,
                after: found.after,
            });
        }
    }
}

fn first_packet(exchange: &Exchange) -> Option<u64> {
    let half = exchange.request.as_ref().or(exchange.response.as_ref())?;
    Some(half.mark.packet)
}
