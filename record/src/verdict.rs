//! Claims and verdicts, and the exit code that follows from them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was shown of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Shown, with evidence.
    Pass,
    /// Shown not to hold.
    Fail,
    /// The run cannot support a verdict.
    Invalid,
    /// The system under test or this machine cannot do it; see [`Claim::lacking`].
    Unsupported,
    /// Fails as a dated, owned entry predicts.
    Known,
}

impl Verdict {
    /// The word in every output.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Invalid => "INVALID",
            Verdict::Unsupported => "UNSUPPORTED",
            Verdict::Known => "KNOWN",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Who lacks what an `UNSUPPORTED` claim needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lacking {
    /// The system under test lacks a capability.
    Sut,
    /// This machine cannot run it.
    Machine,
}

/// One thing that a run asserts, and what was shown of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What is claimed: `functional`, `latency`, `ledger`, …
    pub name: String,
    /// What was shown.
    pub verdict: Verdict,
    /// One sentence: why this verdict, with the numbers.
    pub why: String,
    /// For `UNSUPPORTED`: who lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<Lacking>,
    /// Failed, then passed on retry; the verdict stays `FAIL`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
}

impl Claim {
    /// A claim with this verdict.
    pub fn new(name: impl Into<String>, verdict: Verdict, why: impl Into<String>) -> Claim {
        Claim {
            name: name.into(),
            verdict,
            why: why.into(),
            lacking: None,
            flaky: false,
        }
    }

    /// A claim that could not be tried, and who lacks what it needs.
    pub fn unsupported(name: impl Into<String>, lacking: Lacking, why: impl Into<String>) -> Claim {
        Claim {
            lacking: Some(lacking),
            ..Claim::new(name, Verdict::Unsupported, why)
        }
    }

    fn ran(&self) -> bool {
        self.verdict != Verdict::Unsupported
    }

    fn lacks_machine(&self) -> bool {
        self.verdict == Verdict::Unsupported && self.lacking == Some(Lacking::Machine)
    }
}

/// The whole is the worst of its parts: `FAIL` > `INVALID` > `PASS`.
///
/// `KNOWN` and `UNSUPPORTED` beside a `PASS` change nothing; alone they are the verdict. A run
/// that claims nothing is `INVALID`.
pub fn overall(claims: &[Claim]) -> Verdict {
    let severity = [
        Verdict::Fail,
        Verdict::Invalid,
        Verdict::Pass,
        Verdict::Known,
        Verdict::Unsupported,
    ];
    severity
        .into_iter()
        .find(|verdict| claims.iter().any(|claim| claim.verdict == *verdict))
        .unwrap_or(Verdict::Invalid)
}

/// Exit code: no `FAIL` or `INVALID`, and something was shown.
pub const EXIT_PASS: u8 = 0;
/// Exit code: something was shown not to hold.
pub const EXIT_FAIL: u8 = 1;
/// Exit code: wrong use, or input that cannot be read.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the run supports no verdict, or nothing ran.
pub const EXIT_INVALID: u8 = 3;
/// Exit code: everything, or something required, is unsupported by this machine.
pub const EXIT_UNSUPPORTED: u8 = 4;
/// Exit code: stopped by Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What follows when this machine cannot run what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnsupported {
    /// Exit 4.
    Exit4,
    /// Exit 0, as `--allow-unsupported` asks.
    Allow,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It did all it set out to do.
    Finished,
    /// Ctrl-C; what was shown until then is in the record.
    Interrupted,
}

/// What a whole must hold beyond the absence of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Names of claims that must have run: one that is absent makes the whole `INVALID`, one
    /// that is `UNSUPPORTED` stands for the whole.
    pub required: &'a [&'a str],
    /// What follows when this machine cannot run what was asked.
    pub on_unsupported: OnUnsupported,
}

impl Policy<'static> {
    /// Requires nothing by name; exits 4 where this machine can run nothing.
    pub const USUAL: Policy<'static> = Policy {
        required: &[],
        on_unsupported: OnUnsupported::Exit4,
    };
}

/// The exit code of a run: 0, 1, 3, 4 or 130. (2 belongs to runs that never began.)
pub fn exit_code(claims: &[Claim], end: End, policy: &Policy<'_>) -> u8 {
    if end == End::Interrupted {
        return EXIT_INTERRUPTED;
    }
    match overall(claims) {
        Verdict::Fail => return EXIT_FAIL,
        Verdict::Invalid => return EXIT_INVALID,
        Verdict::Pass | Verdict::Known | Verdict::Unsupported => {}
    }
    let unsupported = match policy.on_unsupported {
        OnUnsupported::Exit4 => EXIT_UNSUPPORTED,
        OnUnsupported::Allow => EXIT_PASS,
    };
    let mut lacking = false;
    for name in policy.required {
        match claims.iter().find(|claim| claim.name == *name) {
            Some(claim) if claim.lacks_machine() => lacking = true,
            Some(claim) if claim.ran() => {}
            // It did not run, and a better machine would not change that.
            Some(_) | None => return EXIT_INVALID,
        }
    }
    if lacking {
        return unsupported;
    }
    if claims.iter().any(Claim::ran) {
        return EXIT_PASS;
    }
    if claims.iter().all(Claim::lacks_machine) {
        return unsupported;
    }
    EXIT_INVALID
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(kind: &str) -> Claim {
        match kind {
            "pass" => Claim::new("pass", Verdict::Pass, ""),
            "fail" => Claim::new("fail", Verdict::Fail, ""),
            "invalid" => Claim::new("invalid", Verdict::Invalid, ""),
            "known" => Claim::new("known", Verdict::Known, ""),
            "sut" => Claim::unsupported("sut", Lacking::Sut, ""),
            "machine" => Claim::unsupported("machine", Lacking::Machine, ""),
            other => panic!("no such kind of claim: {other}"),
        }
    }

    const KINDS: [&str; 6] = ["pass", "fail", "invalid", "known", "sut", "machine"];

    #[track_caller]
    fn check(kinds: &str, required: &[&str], verdict: Verdict, code: u8, code_allowed: u8) {
        let claims: Vec<Claim> = kinds.split_whitespace().map(claim).collect();
        assert_eq!(overall(&claims), verdict, "{kinds}");
        for (on_unsupported, code) in [
            (OnUnsupported::Exit4, code),
            (OnUnsupported::Allow, code_allowed),
        ] {
            let policy = Policy {
                required,
                on_unsupported,
            };
            let told = exit_code(&claims, End::Finished, &policy);
            assert_eq!(told, code, "{kinds} {policy:?}");
            let told = exit_code(&claims, End::Interrupted, &policy);
            assert_eq!(told, 130, "{kinds} {policy:?}, Ctrl-C");
        }
    }

    #[test]
    fn the_worst_part_is_the_whole() {
        use Verdict::{Fail, Invalid, Known, Pass, Unsupported};
        check("pass", &[], Pass, 0, 0);
        check("known", &[], Known, 0, 0);
        check("pass known", &[], Pass, 0, 0);
        check("pass fail invalid", &[], Fail, 1, 1);
        check("pass invalid", &[], Invalid, 3, 3);
        check("known fail", &[], Fail, 1, 1);
        check("", &[], Invalid, 3, 3);
        check("sut", &[], Unsupported, 3, 3);
        check("machine", &[], Unsupported, 4, 0);
        check("machine machine", &[], Unsupported, 4, 0);
        check("machine sut", &[], Unsupported, 3, 3);
        check("pass machine", &[], Pass, 0, 0);
        check("known sut machine", &[], Known, 0, 0);
    }

    #[test]
    fn what_is_required_must_have_run() {
        use Verdict::{Fail, Pass};
        check("pass machine", &["machine"], Pass, 4, 0);
        check("pass sut", &["sut"], Pass, 3, 3);
        check("pass", &["latency"], Pass, 3, 3);
        check("pass machine", &["pass"], Pass, 0, 0);
        check("fail machine", &["machine"], Fail, 1, 1);
        check("pass machine", &["machine", "latency"], Pass, 3, 3);
    }

    /// Every run of up to four claims, held against the sentences of the contract.
    #[test]
    fn every_combination_keeps_the_contract() {
        let mut runs: Vec<Vec<&str>> = vec![Vec::new()];
        for _ in 0..4 {
            let longer: Vec<Vec<&str>> = runs
                .iter()
                .flat_map(|run| KINDS.map(|kind| [run.as_slice(), &[kind]].concat()))
                .collect();
            runs.extend(longer);
        }
        for run in runs {
            let claims: Vec<Claim> = run.iter().map(|kind| claim(kind)).collect();
            let has = |kind| run.contains(&kind);
            let none_bad = !has("fail") && !has("invalid");
            let all_machine = !run.is_empty() && run.iter().all(|kind| *kind == "machine");
            let code = exit_code(&claims, End::Finished, &Policy::USUAL);
            assert_eq!(
                code == 0,
                none_bad && (has("pass") || has("known")),
                "{run:?}"
            );
            assert_eq!(code == 1, has("fail"), "{run:?}");
            assert_eq!(code == 4, all_machine, "{run:?}");
            assert!([0, 1, 3, 4].contains(&code), "{run:?}");
            let allow = Policy {
                on_unsupported: OnUnsupported::Allow,
                ..Policy::USUAL
            };
            let allowed = exit_code(&claims, End::Finished, &allow);
            assert_eq!(allowed, if all_machine { 0 } else { code }, "{run:?}");
        }
    }
}
