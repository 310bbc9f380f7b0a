//! Cases: what a suite or a matrix is made of, and what was seen of each.
//!
//! A case is one scenario or one cell of a matrix. Its steps, its timeline and its end are events;
//! what is needed to understand a failure ([`Detail`]) is an artefact of its own, kept only then.

use serde::{Deserialize, Serialize};

use crate::verdict::{Claim, Verdict};

/// What a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// A story of a scenario file.
    Scenario,
    /// A cell of a matrix.
    Cell,
    /// A scenario against one seeded bug.
    Proof,
}

/// One value of one axis: `client.mesh` = `reference`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Choice {
    /// The axis, dotted.
    pub axis: String,
    /// The value as it is written: `none`, `[tr,bolt]`.
    pub value: String,
}

/// An axis with all its values, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// Its name, dotted.
    pub name: String,
    /// Its values as they are written.
    pub values: Vec<String>,
}

/// How well the cells cover the axes; made by a verifier that shares no code with the generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// One line for each strength that was asked for.
    pub covered: Vec<Coverage>,
    /// Cells that were planned.
    pub planned: u64,
    /// Cells that ran.
    pub ran: u64,
    /// Cells that did not, and why.
    pub not_run: Vec<NotRun>,
    /// Seed of the plan.
    pub seed: u64,
}

/// Tuples of one strength.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// t: how many axes a tuple has.
    pub strength: u32,
    /// Over these axes; empty: over all.
    pub axes: Vec<String>,
    /// Tuples that the constraints allow.
    pub possible: u64,
    /// Of these, in a planned cell.
    pub planned: u64,
    /// Of these, in a cell that ran.
    pub ran: u64,
}

/// A cell that did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRun {
    /// The cell.
    pub case: String,
    /// Why.
    pub why: String,
}

/// A failing matrix in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// The smallest combination of values that explains the failures.
    pub because: Vec<Choice>,
    /// What was seen, shortest form: `Invalid protocol header:1` in the log of server-1.
    pub evidence: String,
    /// Cells that fail and hold the combination.
    pub fails: Vec<String>,
    /// Cells that differ from a failing one in one axis of the combination, and pass.
    pub checked: Vec<String>,
    /// Whether every value of the combination was shown to be needed, and all cells with it fail.
    pub minimal: bool,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Nanoseconds since the case began.
    pub at_ns: u64,
    /// Who saw it: `process`, `registry`, `socket`, `caller`, `wire`, `admin`, `log`, `harness`.
    pub seen_by: String,
    /// What.
    pub what: String,
}

/// A step of a case, when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub number: u32,
    /// As a reader would say it: `call 20 times from client`.
    pub text: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, with numbers.
    pub why: String,
    /// When it began, in nanoseconds since the case began.
    pub from_ns: u64,
    /// How long it took, in nanoseconds.
    pub took_ns: u64,
}

/// A case that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its id: a scenario's name, a cell's `c012`, a proof's `SCENARIO+BUG`.
    pub id: String,
    /// What it is.
    pub kind: CaseKind,
    /// One sentence.
    pub about: String,
    /// Of a cell: its values. Of a scenario: site, suts.
    pub choices: Vec<Choice>,
    /// The worst of the claims.
    pub verdict: Verdict,
    /// What was shown.
    pub claims: Vec<Claim>,
    /// How long it took, in nanoseconds.
    pub took_ns: u64,
    /// What runs it again.
    pub rerun: String,
    /// Files of evidence, relative to the record's `artefacts/`.
    pub evidence: Vec<String>,
}

/// What is needed to understand a failed case: `artefacts/<case>/detail.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The case.
    pub case: String,
    /// The pods, for a drawing.
    pub pods: Vec<DrawnPod>,
    /// Decoded frames in order.
    pub frames: Vec<FrameSeen>,
    /// What the config center answered and pushed, in order.
    pub registry: Vec<RegistrySaid>,
    /// On one clock.
    pub timeline: Vec<Moment>,
    /// The last lines of every program.
    pub logs: Vec<LogLines>,
    /// The request ledger in words and numbers: `sent` 100, `lost` 1 …
    pub ledger: Vec<(String, u64)>,
    /// What a sidecar changed, field by field.
    pub changes: Vec<HopChange>,
    /// Frames, lines and moments that were left out for size.
    pub left_out: u64,
}

/// A pod in a drawing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its sidecar: `reference`, `mosn`; empty: none.
    pub sidecar: String,
    /// What runs in it: `app tr`, `config center`.
    pub runs: Vec<String>,
}

/// One frame on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSeen {
    /// Nanoseconds since the case began.
    pub at_ns: u64,
    /// The pod at which it was captured.
    pub at: String,
    /// Who sent it: a pod's name, or an address.
    pub from: String,
    /// Who was to get it.
    pub to: String,
    /// The port that tells the hop: 12200, 12220, 12199.
    pub port: u16,
    /// `bolt-v1`, `bolt-v2`, `tr`.
    pub protocol: String,
    /// `request`, `response`, `oneway`, `heartbeat`, `goaway`.
    pub kind: String,
    /// The request id.
    pub id: u64,
    /// What it says in a few words: `SampleService.hello`, `status 7`.
    pub what: String,
}

/// One answer or push of the config center.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrySaid {
    /// Nanoseconds since the case began.
    pub at_ns: u64,
    /// `answer`, `push`.
    pub how: String,
    /// To whom.
    pub to: String,
    /// The service.
    pub service: String,
    /// The addresses in the order in which they were given, with protocols.
    pub providers: Vec<String>,
}

/// The last lines of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// Where it runs.
    pub pod: String,
    /// What it is: `sidecar`, `app`.
    pub program: String,
    /// Its lines.
    pub lines: Vec<String>,
}

/// One thing that a sidecar changed between two capture points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopChange {
    /// Where: `request.id`, `request.headers.x`.
    pub field: String,
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
    /// How many exchanges changed so.
    pub times: u64,
    /// Whether it may.
    pub allowed: bool,
}
