//! What became of each request, and of the run.

use meshproof_record::ledger::ReplayLedger;
use meshproof_wire::Frame;

use super::plan::{Fate, Plan, Skip};

/// Why a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// The peer reset it.
    Reset,
    /// The peer closed it.
    Closed,
}

impl Loss {
    /// The name of the ledger's bucket.
    pub fn name(self) -> &'static str {
        match self {
            Loss::Reset => "reset",
            Loss::Closed => "closed",
        }
    }
}

/// Why a planned request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unsent {
    /// The run was stopped before.
    Interrupted,
    /// The target accepted no connection, again and again.
    Unreachable,
}

impl Unsent {
    /// The name of the ledger's bucket, among those that are skipped.
    pub fn name(self) -> &'static str {
        match self {
            Unsent::Interrupted => "interrupted",
            Unsent::Unreachable => "unreachable",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It was not sent.
    Unsent(Unsent),
    /// It was sent, and no answer is expected.
    Oneway,
    /// It was answered in time.
    Answered,
    /// It was not answered in time.
    TimedOut {
        /// Answered later all the same.
        late: Late,
    },
    /// Its connection went before the answer came.
    Lost(Loss),
}

/// Whether an answer came after the time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Late {
    /// It came.
    Came,
    /// It did not.
    Never,
}

/// What became of one request, and when. Times are nanoseconds after the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub end: End,
    /// When it was meant to be sent; without a schedule, when it was handed to its connection.
    pub intended_ns: u64,
    /// When its last byte was handed to the kernel.
    pub sent_ns: Option<u64>,
    /// When its answer was whole.
    pub answered_ns: Option<u64>,
    /// Its answer, in time or late.
    pub observed: Option<Frame>,
}

impl Outcome {
    /// How late it was sent.
    pub fn lateness_ns(&self) -> Option<u64> {
        self.sent_ns
            .map(|sent| sent.saturating_sub(self.intended_ns))
    }

    /// How long its answer took, from the intended time on: a request that waited for its turn
    /// waited for the system under test.
    pub fn latency_ns(&self) -> Option<u64> {
        match self.end {
            End::Answered => self
                .answered_ns
                .map(|answered| answered.saturating_sub(self.intended_ns)),
            _ => None,
        }
    }
}

/// Things worth telling that are in no sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests written, counted as they were written.
    pub sent: u64,
    /// Answers that nobody asked for.
    pub surplus: u64,
    /// Answers after the time-out.
    pub late: u64,
    /// Heartbeats that the engine sent on idle connections.
    pub heartbeats_sent: u64,
    /// Those that were answered.
    pub heartbeats_answered: u64,
    /// Heartbeats of the server that the engine answered.
    pub heartbeats_of_server: u64,
    /// Requests of the server; nobody answers them.
    pub server_requests: u64,
    /// Goaways of the server.
    pub goaways: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Those that replaced one which was lost or said goaway.
    pub reopened: u64,
    /// Attempts to connect that failed.
    pub refused_connects: u64,
    /// Bytes of the server that are no frame of a known protocol and kind.
    pub unreadable_bytes: u64,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Everything was done.
    Finished,
    /// Somebody asked it to stop.
    Interrupted,
}

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Run {
    /// One for each of [`Plan::sends`].
    pub outcomes: Vec<Outcome>,
    /// Beside the sums.
    pub counters: Counters,
    /// How it came to its end.
    pub stop: Stop,
    /// From the start to the last send, in nanoseconds.
    pub span_ns: u64,
    /// From the start to the end, in nanoseconds.
    pub elapsed_ns: u64,
}

/// Whether an answer was compared with what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It was.
    Yes,
    /// The capture holds no whole answer to compare with.
    No,
}

/// The account of a replay. `compared` says for each answered request whether it was compared.
///
/// What was not sent although it was meant to be is skipped as `interrupted` or `unreachable`.
pub fn ledger(plan: &Plan, run: &Run, mut compared: impl FnMut(usize) -> Compared) -> ReplayLedger {
    let mut ledger = ReplayLedger {
        recorded: plan.items.len() as u64,
        sent: run.counters.sent,
        late: run.counters.late,
        surplus: run.counters.surplus,
        ..ReplayLedger::default()
    };
    for item in &plan.items {
        let bucket = match item.fate {
            Fate::Send(_) => continue,
            Fate::Ask(_) => ledger.skipped.entry(Skip::MeshApi.name().into()),
            Fate::Refused(why) => ledger.refused.entry(why.name().into()),
            Fate::Skipped(why) => ledger.skipped.entry(why.name().into()),
        };
        *bucket.or_insert(0) += 1;
    }
    for (at, outcome) in run.outcomes.iter().enumerate() {
        match outcome.end {
            End::Unsent(why) => *ledger.skipped.entry(why.name().into()).or_insert(0) += 1,
            End::Oneway => ledger.oneway += 1,
            End::TimedOut { .. } => ledger.timed_out += 1,
            End::Lost(why) => *ledger.lost.entry(why.name().into()).or_insert(0) += 1,
            End::Answered => {
                ledger.answered += 1;
                match compared(at) {
                    Compared::Yes => ledger.compared += 1,
                    Compared::No => ledger.not_comparable += 1,
                }
            }
        }
    }
    ledger
}
