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
