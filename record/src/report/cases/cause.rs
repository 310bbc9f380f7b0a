//! Failures grouped by cause: one line for what one mistake broke.

use std::collections::BTreeMap;

use super::{Cases, Told, conjunction};
use crate::verdict::Verdict;

/// One cause and the cases that it spoilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FAIL` or `INVALID`.
    pub verdict: Verdict,
    /// The smallest combination of axis values, as far as the run found one; else empty.
    pub because: String,
    /// Whether every value of it was shown to be needed.
    pub minimal: bool,
    /// What was seen.
    pub evidence: String,
    /// The cases, in the order of the plan.
    pub cases: Vec<String>,
    /// What runs the quickest of them again.
    pub rerun: String,
}

impl Cause {
    /// `client.mesh=reference ∧ providers=[bolt,tr]: Invalid protocol header:1`.
    pub fn sentence(&self) -> String {
        match self.because.as_str() {
            "" => self.evidence.clone(),
            because => format!("{because}: {}", self.evidence),
        }
    }
}

/// By the run's own blame first; what that leaves by its first claim that does not hold, numbers
/// left out of account.
pub(super) fn causes(cases: &Cases) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    let wrong: Vec<&Told> = cases
        .ended
        .iter()
        .filter(|told| matches!(told.case.verdict, Verdict::Fail | Verdict::Invalid))
        .collect();
    let mut blamed: Vec<&str> = Vec::new();
    for blame in &cases.blames {
        let of_it: Vec<&Told> = wrong
            .iter()
            .copied()
            .filter(|told| blame.fails.contains(&told.case.id))
            .collect();
        blamed.extend(of_it.iter().map(|told| told.case.id.as_str()));
        causes.push(Cause {
            verdict: Verdict::Fail,
            because: conjunction(&blame.because),
            minimal: blame.minimal,
            evidence: blame.evidence.clone(),
            cases: blame.fails.clone(),
            rerun: quickest(&of_it),
        });
    }
    let mut groups: BTreeMap<(u8, String), Vec<&Told>> = BTreeMap::new();
    for told in wrong {
        if blamed.contains(&told.case.id.as_str()) {
            continue;
        }
        let rank = u8::from(told.case.verdict == Verdict::Invalid);
        let (_, why) = first_wrong(told);
        groups
            .entry((rank, without_numbers(&why)))
            .or_default()
            .push(told);
    }
    let mut rest: Vec<Cause> = groups
        .into_values()
        .filter_map(|group| {
            let first = group.first()?;
            let (name, why) = first_wrong(first);
            let evidence = match name.as_str() {
                "" => why,
                name => format!("{name}: {why}"),
            };
            Some(Cause {
                verdict: first.case.verdict,
                because: String::new(),
                minimal: false,
                evidence,
                cases: group.iter().map(|told| told.case.id.clone()).collect(),
                rerun: quickest(&group),
            })
        })
        .collect();
    rest.sort_by_key(|cause| usize::MAX - cause.cases.len());
    causes.extend(rest);
    causes.sort_by_key(|cause| cause.verdict != Verdict::Fail);
    causes
}

fn first_wrong(told: &Told) -> (String, String) {
    let of = |verdict| {
        let holds = |claim: &&crate::verdict::Claim| claim.verdict == verdict;
        told.case.claims.iter().find(holds)
    };
    match of(Verdict::Fail).or_else(|| of(Verdict::Invalid)) {
        Some(claim) => (claim.name.clone(), claim.why.clone()),
        None => (String::new(), "no claim says why".into()),
    }
}

/// What is the same in sentences that differ in their numbers only.
fn without_numbers(why: &str) -> String {
    let mut out = String::with_capacity(why.len());
    for c in why.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

fn quickest(group: &[&Told]) -> String {
    group
        .iter()
        .min_by_key(|told| told.case.took_ns)
        .map(|told| told.case.rerun.clone())
        .unwrap_or_default()
}
