//! Two builds of a sidecar over the same stubs: their answers, and what each changes.

use std::collections::{BTreeMap, BTreeSet};

use meshproof_record::event::Event;
use meshproof_record::report::text::count;
use meshproof_record::row::ExchangeRow;
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_replay::diff::{Noise, Pair, RecordDiff, diff_records};
use meshproof_replay::engine::tell;
use meshproof_replay::hop;
use serde::Serialize;

use super::through::Through;

/// What two builds have not in common.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Answers, exchange by exchange.
    pub answers: RecordDiff,
    /// What each changes, where both hops were seen.
    pub hops: Option<Hops>,
    /// Claims: those of each build under its name, `builds`, and `build-hops` where both hops were
    /// seen.
    pub claims: Vec<Claim>,
    /// Every exchange, the first build's answer as what was recorded.
    pub rows: Vec<ExchangeRow>,
}

/// What two builds change.
#[derive(Clone, Debug, Serialize)]
pub struct Hops {
    /// Of this structure.
    pub schema: u32,
    /// The builds, in order.
    pub builds: [String; 2],
    /// What each changes.
    pub reports: [hop::Report; 2],
    /// Kinds of change that only one of them has.
    pub only: [Vec<String>; 2],
}

impl Compared {
    /// What is worth telling, in the order in which a record has it: answers that differ, kinds of
    /// change that one build has alone, the claims.
    pub fn events(&self) -> Vec<Event> {
        let differing = self.answers.pairs.iter().filter(|pair| pair.differs());
        let differed = differing.filter_map(|pair| {
            let mut judged = pair.differences.iter().filter(|it| it.judged);
            let first = judged.next()?.clone();
            Some(Event::Differed {
                exchange: pair.second,
                service: pair.service.clone(),
                method: pair.method.clone(),
                count: 1 + judged.count() as u64,
                first,
            })
        });
        let hops = self.hops.iter().flat_map(|hops| {
            let sides = hops.builds.iter().zip(&hops.only);
            sides.flat_map(|(name, only)| {
                only.iter().map(move |change| Event::Finding {
                    name: "build-hop".to_owned(),
                    text: format!("only {name} has {change}"),
                })
            })
        });
        let claims = self.claims.iter().cloned();
        let claims = claims.map(|claim| Event::Claimed { claim });
        differed.chain(hops).chain(claims).collect()
    }
}

/// The exchanges of the second build, each with the answer of the first as what was recorded.
fn rows(old: Vec<ExchangeRow>, new: Vec<ExchangeRow>, answers: &RecordDiff) -> Vec<ExchangeRow> {
    let mut first: BTreeMap<u64, ExchangeRow> =
        old.into_iter().map(|row| (row.exchange, row)).collect();
    let pairs: BTreeMap<u64, &Pair> = answers.pairs.iter().map(|it| (it.second, it)).collect();
    new.into_iter()
        .map(|row| {
            let pair = pairs.get(&row.exchange);
            // One capture gives the same numbers in both.
            let before = first.remove(&pair.map_or(row.exchange, |pair| pair.first));
            let recorded = before.and_then(|before| before.observed);
            let compared = recorded.is_some() && row.observed.is_some();
            ExchangeRow {
                compared,
                answer_recorded: recorded.is_some(),
                recorded,
                differences: pair
                    .map(|pair| pair.differences.clone())
                    .unwrap_or_default(),
                ..row
            }
        })
        .collect()
}

/// Compares a replay through one build with the same replay through another.
pub fn compare(names: [&str; 2], old: &Through, new: &Through, noise: &Noise) -> Compared {
    let told =
        |it: &Through| -> Vec<ExchangeRow> { tell::rows(&it.plan, &it.run, &it.judged).collect() };
    let (before_rows, after_rows) = (told(old), told(new));
    let answers = diff_records(
        before_rows.iter().cloned(),
        after_rows.iter().cloned(),
        noise,
    );
    let [one, other] = names;
    let mut claim = answers.claim();
    claim.name = "builds".to_owned();
    claim.why = format!("{one} and {other}: {}", claim.why);
    let mut claims: Vec<Claim> = Vec::new();
    for (name, through) in [(one, old), (other, new)] {
        claims.extend(through.judged.claims.iter().map(|claim| Claim {
            name: format!("{name}.{}", claim.name),
            ..claim.clone()
        }));
    }
    claims.push(claim);
    let mut hops = None;
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
        let both = [only(&left, &right), only(&right, &left)];
        let differ: Vec<String> = names
            .iter()
            .zip(&both)
            .filter(|(_, only)| !only.is_empty())
            .map(|(name, only)| format!("only {name} has {}", only.join(", ")))
            .collect();
        hops = Some(Hops {
            schema: 1,
            builds: names.map(str::to_owned),
            reports: [before.clone(), after.clone()],
            only: both,
        });
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
    let rows = rows(before_rows, after_rows, &answers);
    Compared {
        answers,
        hops,
        claims,
        rows,
    }
}
