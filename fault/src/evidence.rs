//! What shows that a fault was one, and that nothing is left of it.

use std::fmt;

use meshproof_record::verdict::{Claim, Verdict};
use meshproof_sys::clock::Nanos;
use serde::{Deserialize, Serialize};

/// Times of a schedule that are told one by one.
const TIMES_TOLD: usize = 20;

/// What met a fault, by the kernel's counters or on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was counted, one for each rule or thing.
    pub counts: Vec<Count>,
    /// Where nothing was met: what may be the reason.
    pub reasons: Vec<String>,
    /// When it came into force, in nanoseconds of the monotonic clock.
    pub since_ns: u64,
    /// When it ended, likewise; none: it is in force.
    pub until_ns: Option<u64>,
    /// Why it ended, where it has.
    pub ending: Option<Ending>,
    /// Of a fault with a schedule: each time that it was in force and is over.
    #[serde(default)]
    pub occurrences: Vec<Occurred>,
}

/// One time that a fault with a schedule was in force. Times are nanoseconds of the monotonic
/// clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurred {
    /// When it was to begin.
    pub due_ns: u64,
    /// When it began.
    pub from_ns: u64,
    /// When it was over.
    pub until_ns: u64,
    /// How many met it.
    pub met: u64,
    /// It was healed before its time.
    pub cut_short: bool,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What is counted: `packets dropped, INPUT, ipv4`.
    pub what: String,
    /// How many met the fault.
    pub met: u64,
}

/// Why a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It was healed by whoever had asked for it.
    Healed,
    /// Its time was over.
    Limit,
    /// The run ended.
    RunGone,
    /// The run was silent for too long: it is stopped, or hangs.
    RunSilent,
    /// The keeper was told to end by a signal.
    Told,
}

impl Ending {
    /// What follows `it ended because`.
    pub fn because(self) -> &'static str {
        match self {
            Ending::Healed => "it was healed",
            Ending::Limit => "its time was over",
            Ending::RunGone => "the run ended",
            Ending::RunSilent => "the run was silent",
            Ending::Told => "its keeper was told to end",
        }
    }
}

impl Evidence {
    /// How many packets, frames or whatever it is met the fault.
    pub fn met(&self) -> u64 {
        self.counts.iter().map(|count| count.met).sum()
    }

    /// Nothing met it, or nothing met it one of the times: it was none.
    pub fn is_empty(&self) -> bool {
        self.met() == 0 || !self.unmet().is_empty()
    }

    /// Times that nothing met, counted from 1. One that was cut short may have had no time to.
    fn unmet(&self) -> Vec<usize> {
        let all = self.occurrences.iter().enumerate();
        all.filter(|(_, one)| one.met == 0 && !one.cut_short)
            .map(|(n, _)| n + 1)
            .collect()
    }

    /// The times, in words; none: it has no schedule.
    fn times(&self) -> Option<String> {
        let late_ns = |one: &Occurred| one.from_ns.saturating_sub(one.due_ns);
        let late_ns = self.occurrences.iter().map(late_ns).max()?;
        let met: Vec<String> = self
            .occurrences
            .iter()
            .take(TIMES_TOLD)
            .map(|one| one.met.to_string())
            .collect();
        let more = match self.occurrences.len() > TIMES_TOLD {
            true => ", …",
            false => "",
        };
        Some(format!(
            "in force {} times (met {}{more}), late by {} ms at most",
            self.occurrences.len(),
            met.join(", "),
            late_ns / 1_000_000
        ))
    }

    /// How long it was in force until `now`, in nanoseconds.
    pub fn in_force_ns(&self, now: Nanos) -> u64 {
        self.until_ns.unwrap_or(now.0).saturating_sub(self.since_ns)
    }

    /// The claim that the fault was one: `PASS` where something met it, else `INVALID`.
    pub fn claim(&self, fault: &str) -> Claim {
        let name = format!("fault effect: {fault}");
        if self.is_empty() {
            let unmet: Vec<String> = self.unmet().iter().map(usize::to_string).collect();
            let mut why = match self.met() {
                0 => format!("0 of {} counters moved", self.counts.len()),
                _ => format!(
                    "nothing met it at time {} of its schedule",
                    unmet.join(", ")
                ),
            };
            if let Some(times) = self.times() {
                why.push_str("; ");
                why.push_str(&times);
            }
            for reason in &self.reasons {
                why.push_str("; ");
                why.push_str(reason);
            }
            return Claim::new(name, Verdict::Invalid, why);
        }
        let told = self.counts.iter().filter(|count| count.met > 0);
        let told: Vec<String> = told.map(Count::to_string).chain(self.times()).collect();
        Claim::new(name, Verdict::Pass, told.join("; "))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.met, self.what)
    }
}

/// What is left after healing. It was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// What is left, and should not be.
    pub left: Vec<Leftover>,
    /// What was looked at: `4 tables of iptables-nft`.
    pub looked_at: Vec<String>,
}

/// One thing that is left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// What kind of thing: `rule`, `qdisc`, `link`, `task`, `mount`, `journal`.
    pub kind: String,
    /// The thing, in the words of the tool that shows it.
    pub what: String,
    /// Whose it seems to be: `meshproof`, the name of another tool, `unknown`.
    pub whose: String,
    /// How it can be taken away.
    pub advice: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.kind, self.whose, self.what)
    }
}

impl Residue {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The claim that nothing is left: `PASS`, or `FAIL` with what is.
    pub fn claim(&self, fault: &str) -> Claim {
        let name = format!("residue: {fault}");
        match self.left.as_slice() {
            [] => {
                let why = format!("nothing is left in {}", self.looked_at.join(", "));
                Claim::new(name, Verdict::Pass, why)
            }
            left => {
                let told: Vec<String> = left.iter().map(Leftover::to_string).collect();
                let why = format!("{} left behind: {}", left.len(), told.join("; "));
                Claim::new(name, Verdict::Fail, why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_nothing_met_is_invalid() {
        let mut evidence = Evidence {
            counts: vec![Count {
                what: "packets dropped".into(),
                met: 0,
            }],
            reasons: vec!["no live flow matches".into()],
            ..Evidence::default()
        };
        let claim = evidence.claim("mute");
        assert_eq!(claim.verdict, Verdict::Invalid);
        assert_eq!(claim.why, "0 of 1 counters moved; no live flow matches");
        evidence.counts[0].met = 3;
        let claim = evidence.claim("mute");
        assert_eq!(
            (claim.verdict, claim.why.as_str()),
            (Verdict::Pass, "3 packets dropped")
        );
    }

    #[test]
    fn what_is_left_fails() {
        let mut residue = Residue {
            looked_at: vec!["4 tables of iptables-nft".into()],
            ..Residue::default()
        };
        let claim = residue.claim("mute");
        assert_eq!(claim.verdict, Verdict::Pass);
        residue.left.push(Leftover {
            kind: "rule".into(),
            what: "-A INPUT -j MP-x".into(),
            whose: "meshproof".into(),
            advice: String::new(),
        });
        let claim = residue.claim("mute");
        assert_eq!(claim.verdict, Verdict::Fail);
        assert_eq!(
            claim.why,
            "1 left behind: rule of meshproof: -A INPUT -j MP-x"
        );
    }
}
