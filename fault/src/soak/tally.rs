//! What kills came to.

use serde::Serialize;

use super::Kind;

/// Leftovers that are told in full.
const TOLD_MAX: usize = 10;

/// What the kills of one kind, or of one pair of kinds, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Of which kinds.
    pub kinds: Vec<&'static str>,
    /// Why it cannot be done here; then nothing else is said.
    pub lacking: Option<String>,
    /// Runs that were killed.
    pub kills: u64,
    /// Of these, together with their keepers.
    pub together: u64,
    /// Of all, when everything was in force.
    pub in_force: u64,
    /// Of all, while it was put in force: a keeper had a plan, and not all was in force.
    pub midway: u64,
    /// What was left was listed, and taken away when it was told to be.
    pub listed_and_healed: u64,
    /// Kills after which something was left.
    pub left: u64,
    /// What that was, of the first few.
    pub told: Vec<String>,
    /// From a kill until nothing was left of the run, its keepers and what they held, in
    /// nanoseconds; sorted.
    pub vanished_ns: Vec<u64>,
    /// A run that was stopped with SIGSTOP: from its fault's beginning to its end by the time
    /// limit, in nanoseconds.
    pub stopped_ns: Option<u64>,
}

impl Tally {
    pub(super) fn of(kinds: &[Kind]) -> Tally {
        Tally {
            kinds: kinds.iter().map(|kind| kind.name).collect(),
            ..Tally::default()
        }
    }

    pub(super) fn leftover(&mut self, what: String) {
        self.left += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }

    /// How long so many of a hundred took at most, in nanoseconds; 0 where there were none.
    pub fn vanished_within(&self, percent: usize) -> u64 {
        let last = self.vanished_ns.len().saturating_sub(1);
        let at = (self.vanished_ns.len() * percent / 100).min(last);
        self.vanished_ns.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_hundred() {
        let mut tally = Tally::default();
        assert_eq!(tally.vanished_within(50), 0);
        tally.vanished_ns = (1..=200).collect();
        let shares = [0, 50, 99, 100].map(|percent| tally.vanished_within(percent));
        assert_eq!(shares, [1, 101, 199, 200]);
        for number in 0..20 {
            tally.leftover(format!("{number}"));
        }
        assert_eq!((tally.left, tally.told.len()), (20, TOLD_MAX));
    }
}
