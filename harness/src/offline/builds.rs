//! Two builds of a sidecar over the same stubs: their answers, and what each changes.

use std::collections::BTreeSet;

use meshproof_record::report::text::count;
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_replay::diff::{Noise, RecordDiff, diff_records};
use meshproof_replay::engine::tell;

use super::through::Through;

/// What two builds have not in common.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Answers, exchange by exchange.
    pub answers: RecordDiff,
    /// Claims: `builds`, and `build-hops` where both hops were seen.
    pub claims: Vec<Claim>,
}

/// Compares a replay through one build with the same replay through another.
pub fn compare(names: [&str; 2], old: &Through, new: &Through, noise: &Noise) -> Compared {
    let rows = |it: &Through| -> Vec<_> { tell::rows(&it.plan, &it.run, &it.judged).collect() };
    let answers = diff_records(rows(old), rows(new), noise);
    let [one, other] = names;
    let mut claim = answers.claim();
    claim.name = "builds".to_owned();
    claim.why = format!("{one} and {other}: {}", claim.why);
    let mut claims = vec![claim];
    if let (Some(before), Some(after)) = (&old.hop, &new.hop) {
        let kinds = |report: &meshproof_replay::hop::Report| -> BTreeSet<String> {
            let all = report.kinds().into_keys();
            all.map(|(field, change)| format!("{field} {change}"))
                .collect()
        };
        let (left, right) = (kinds(before), kinds(after));
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| -> Vec<String> {
            these.difference(those).cloned().collect()
        };
        let told = |name: &str, only: &[String]| match only {
            [] => None,
            _ => Some(format!("only {name} has {}", only.join(", "))),
        };
        let differ: Vec<String> = [
            told(one, &only(&left, &right)),
            told(other, &only(&right, &left)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let kinds = count(left.len() as u64, "kind of change", "kinds of change");
        claims.push(match differ.is_empty() {
            true => Claim::new(
                "build-hops",
                Verdict::Pass,
                format!("{one} and {other} change the same: {kinds}"),
            ),
            false => Claim::new("build-hops", Verdict::Fail, differ.join("; ")),
        });
    }
    Compared { answers, claims }
}
