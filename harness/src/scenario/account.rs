//! The request ledger over a whole story: every call that was made is answered and seen once, or
//! its loss is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use meshproof_record::verdict::{Claim, Verdict};

/// What does not close is named, so many at most.
const NAMED_MAX: usize = 20;

/// A call, as its caller tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// The step that made it.
    pub(crate) step: u32,
    /// Its trace id.
    pub(crate) trace: String,
    /// What became of it.
    pub(crate) outcome: String,
    /// Whether that is what belongs to it.
    pub(crate) right: bool,
    /// A call without an answer.
    pub(crate) oneway: bool,
}

/// A call, as a server tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Where its app runs.
    pub(crate) pod: String,
    /// Its trace id.
    pub(crate) trace: String,
    /// Whether something was answered, or nothing was to be.
    pub(crate) answered: bool,
}

/// The account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Calls that were made.
    pub(crate) calls: u64,
    /// Seen once, and with the outcome that belongs to them.
    pub(crate) closed: u64,
    /// Not closed, in a way that their step allows: named there, and seen once at most.
    pub(crate) allowed: u64,
    /// No app saw them.
    pub(crate) lost: u64,
    /// Seen more than once.
    pub(crate) doubled: u64,
    /// Seen, and not answered, or not rightly.
    pub(crate) unanswered: u64,
    /// Answered rightly, and no app has answered them.
    pub(crate) invented: u64,
    /// Trace ids that apps saw and nobody sent.
    pub(crate) strays: u64,
    /// What does not close, and where it was lost.
    pub(crate) named: Vec<String>,
}

impl Account {
    /// Joins what callers and apps tell, by trace id. `allowed` says which outcomes beside the
    /// right one the step of a call allows.
    pub(crate) fn of(
        made: &[Made],
        seen: &[Sighting],
        allowed: &dyn Fn(u32) -> Vec<String>,
    ) -> Account {
        let mut sightings: BTreeMap<&str, Vec<&Sighting>> = BTreeMap::new();
        for sighting in seen {
            sightings.entry(&sighting.trace).or_default().push(sighting);
        }
        let mut account = Account::default();
        let mut outcomes: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for call in made {
            let may = outcomes
                .entry(call.step)
                .or_insert_with(|| allowed(call.step).into_iter().collect());
            let seen = sightings.remove(&call.trace[..]).unwrap_or_default();
            account.enter(call, &seen, may.contains(&call.outcome));
        }
        for (trace, seen) in sightings {
            account.strays += 1;
            let pod = seen.first().map_or("", |seen| &seen.pod);
            account.name(format!(
                "{trace}: the app of {pod} saw it, and nobody sent it"
            ));
        }
        account
    }

    fn enter(&mut self, call: &Made, seen: &[&Sighting], may: bool) {
        self.calls += 1;
        let (trace, step, outcome) = (&call.trace, call.step, &call.outcome);
        let pods: Vec<&str> = seen.iter().map(|seen| &seen.pod[..]).collect();
        match seen {
            [_, _, ..] => {
                self.doubled += 1;
                self.name(format!(
                    "{trace} of step {step}: seen {} times, by {}; the caller: {outcome}",
                    seen.len(),
                    pods.join(", ")
                ));
            }
            [seen] if call.right && (seen.answered || call.oneway) => self.closed += 1,
            [seen] if call.right => {
                self.invented += 1;
                self.name(format!(
                    "{trace} of step {step}: the caller has an answer, and the app of {} gave \
                     none",
                    seen.pod
                ));
            }
            _ if may => self.allowed += 1,
            [] => {
                self.lost += 1;
                self.name(format!(
                    "{trace} of step {step}: lost between the caller and the apps; the caller: \
                     {outcome}"
                ));
            }
            [seen] => {
                self.unanswered += 1;
                let answered = match seen.answered {
                    true => "which answered: lost on the way back",
                    false => "which did not answer",
                };
                self.name(format!(
                    "{trace} of step {step}: seen by the app of {}, {answered}; the caller: \
                     {outcome}",
                    seen.pod
                ));
            }
        }
    }

    fn name(&mut self, line: String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(line);
        }
    }

    /// Whether nothing is lost, doubled, unanswered, invented or astray.
    pub(crate) fn closes(&self) -> bool {
        self.closed + self.allowed == self.calls && self.strays == 0
    }

    /// The claim over the whole story.
    pub(crate) fn claim(&self) -> Option<Claim> {
        if self.calls == 0 && self.strays == 0 {
            return None;
        }
        let verdict = match self.closes() {
            true => Verdict::Pass,
            false => Verdict::Fail,
        };
        let mut why = self.to_string();
        if let Some(first) = self.named.first() {
            why = format!("{why}; {first}");
        }
        Some(Claim::new("ledger", verdict, why))
    }

    /// In words and numbers, for a report.
    pub(crate) fn rows(&self) -> Vec<(String, u64)> {
        let rows = [
            ("calls", self.calls),
            ("closed", self.closed),
            ("allowed", self.allowed),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("unanswered", self.unanswered),
            ("invented", self.invented),
            ("strays", self.strays),
        ];
        rows.map(|(name, count)| (name.to_owned(), count)).to_vec()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls: {} closed", self.calls, self.closed)?;
        for (name, count) in self.rows().iter().skip(2) {
            if *count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(made: &[(&str, &str)], seen: &[(&str, bool)], expected: &str) {
        let made: Vec<Made> = made
            .iter()
            .map(|(trace, outcome)| Made {
                step: 1,
                trace: (*trace).to_owned(),
                outcome: (*outcome).to_owned(),
                right: ["ok", "sent"].contains(outcome),
                oneway: *outcome == "sent",
            })
            .collect();
        let seen: Vec<Sighting> = seen
            .iter()
            .map(|(trace, answered)| Sighting {
                pod: "server".to_owned(),
                trace: (*trace).to_owned(),
                answered: *answered,
            })
            .collect();
        let account = Account::of(&made, &seen, &|_| vec!["timeout".to_owned()]);
        assert_eq!(account.to_string(), expected, "{:?}", account.named);
        let whole = !["lost", "doubled", "unanswered", "invented", "strays"]
            .iter()
            .any(|word| expected.contains(word));
        assert_eq!(account.closes(), whole);
    }

    #[test]
    fn every_call_has_one_place() {
        check(
            &[("a", "ok"), ("b", "sent")],
            &[("a", true), ("b", false)],
            "2 calls: 2 closed",
        );
        check(&[("a", "ok")], &[], "1 calls: 0 closed, 1 lost");
        check(
            &[("a", "ok")],
            &[("a", true), ("a", true)],
            "1 calls: 0 closed, 1 doubled",
        );
        // What a step allows is no loss; seen twice it is.
        check(&[("a", "timeout")], &[], "1 calls: 0 closed, 1 allowed");
        check(
            &[("a", "timeout")],
            &[("a", false)],
            "1 calls: 0 closed, 1 allowed",
        );
        check(
            &[("a", "timeout")],
            &[("a", false), ("a", false)],
            "1 calls: 0 closed, 1 doubled",
        );
        check(
            &[("a", "closed")],
            &[("a", true)],
            "1 calls: 0 closed, 1 unanswered",
        );
        check(
            &[("a", "ok")],
            &[("a", false)],
            "1 calls: 0 closed, 1 invented",
        );
        check(
            &[("a", "ok")],
            &[("a", true), ("x", true)],
            "1 calls: 1 closed, 1 strays",
        );
    }
}
