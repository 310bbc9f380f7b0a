//! What happens in a run, as it happens: the lines of `events.jsonl`.

use serde::{Deserialize, Serialize};

use crate::case::{Axis, Blame, Case, Certificate, Choice, Moment, Step};
use crate::difference::Difference;
use crate::manifest::{Input, Start};
use crate::spread::Spread;
use crate::verdict::{Claim, End, Verdict};

/// One event and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Nanoseconds since the run's start.
    pub at_ns: u64,
    /// What happened.
    pub event: Event,
}

/// Everything that a run tells of itself while it runs.
///
/// `exchange` is [`crate::row::ExchangeRow::exchange`]; `link` numbers the run's own connections
/// from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first event of every run; [`crate::store::Writer::create`] writes it.
    RunStarted {
        /// Who runs what.
        start: Start,
    },
    /// A file was read.
    InputRead {
        /// Which, and its hash.
        input: Input,
    },
    /// The guard refused to send a request.
    Refused {
        /// Which exchange.
        exchange: u64,
        /// Bucket of the ledger: `target not in map`, `writes denied`.
        reason: String,
        /// Where it would have gone.
        target: String,
        /// Service of the request, as far as it is known.
        service: String,
        /// Method of the request, as far as it is known.
        method: String,
    },
    /// A connection to the target is open.
    ConnectionOpened {
        /// Its number.
        link: u64,
        /// Address and port.
        target: String,
    },
    /// A connection went, and not by our doing.
    ConnectionLost {
        /// Its number.
        link: u64,
        /// `reset`, `closed`, or what the system said.
        reason: String,
        /// Requests that were waiting for an answer on it.
        waiting: u64,
    },
    /// A request was written to its connection.
    Sent {
        /// Which exchange.
        exchange: u64,
        /// On which connection.
        link: u64,
        /// When it should have been written, in nanoseconds since the run's start; absent where
        /// the pace names no time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        intended_ns: Option<u64>,
    },
    /// Its answer is here.
    Answered {
        /// Which exchange.
        exchange: u64,
    },
    /// No answer in time.
    TimedOut {
        /// Which exchange.
        exchange: u64,
        /// The time-out.
        timeout_ms: u64,
    },
    /// Its connection went before the answer came.
    Lost {
        /// Which exchange.
        exchange: u64,
        /// `reset`, `closed`.
        reason: String,
    },
    /// The answer came after the time-out.
    Late {
        /// Which exchange.
        exchange: u64,
    },
    /// Recorded and observed response differ.
    Differed {
        /// Which exchange.
        exchange: u64,
        /// Service of the request.
        service: String,
        /// Method of the request.
        method: String,
        /// Judged differences in all.
        count: u64,
        /// The first of them.
        first: Difference,
    },
    /// An answer that nobody asked for.
    Surplus {
        /// On which connection.
        link: u64,
        /// The id that it carries.
        id: u64,
    },
    /// The pace could not be held; said once each time lateness begins.
    PaceLost {
        /// How late the send was, in nanoseconds.
        late_ns: u64,
    },
    /// Something worth telling that is in no sum.
    Finding {
        /// Its name: `bad-crc`, `loose-match`, …
        name: String,
        /// One sentence.
        text: String,
    },
    /// Cases are about to run: a suite or a matrix.
    Planned {
        /// The name of the suite or matrix.
        name: String,
        /// The axes; none of a suite.
        axes: Vec<Axis>,
        /// Every case in the order of its id, with its values.
        cases: Vec<(String, Vec<Choice>)>,
    },
    /// A case began.
    CaseStarted {
        /// Its id.
        case: String,
    },
    /// A step of a case is over.
    Stepped {
        /// The case.
        case: String,
        /// The step.
        step: Step,
    },
    /// Something of a case's timeline.
    Seen {
        /// The case.
        case: String,
        /// The line.
        moment: Moment,
    },
    /// A case is over.
    CaseEnded {
        /// All of it.
        case: Case,
    },
    /// How well the cells cover the axes.
    Certified {
        /// By the verifier.
        certificate: Certificate,
    },
    /// Failures that have one cause.
    Blamed {
        /// The cause.
        blame: Blame,
    },
    /// Moments of many trials were held against a law.
    Spread {
        /// They, and the law.
        spread: Spread,
    },
    /// A claim was judged.
    Claimed {
        /// The claim.
        claim: Claim,
    },
    /// The last event of a run that was not cut off.
    RunEnded {
        /// How it ended.
        end: End,
        /// The whole.
        verdict: Verdict,
    },
}
