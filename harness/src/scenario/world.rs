//! What a story is told on: everything that its steps do and its probes look at.
//!
//! The mesh is one; tests have another, whose time is short and whose answers are known.

use std::time::Duration;

use meshproof_record::case::Moment;
use meshproof_sys::clock::Nanos;

use super::account::Account;
use super::model::{
    Call, Fault, FrameEvent, LogLevel, Program, RawOutcome, RegistryOrder, Replay, Subscribe,
    VipOrder,
};
use super::probe::Probe;
use super::value::Scalar;
use crate::{Error, Escapes};

/// What one look at something has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether it is as the probe says.
    pub(crate) holds: bool,
    /// What was found, with numbers.
    pub(crate) found: String,
}

impl Look {
    pub(crate) fn new(holds: bool, found: impl Into<String>) -> Look {
        Look {
            holds,
            found: found.into(),
        }
    }
}

/// What came of the calls of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    /// Calls that were to be made.
    pub(crate) calls: u64,
    /// Calls by outcome.
    pub(crate) outcomes: Vec<(String, u64)>,
    /// Answers to nothing that was asked, or a second time.
    pub(crate) surplus: u64,
    /// The first outcome that is not the one that belongs to the call, in words.
    pub(crate) first: Option<String>,
    /// How often the apps of pods saw these calls.
    pub(crate) seen_by: Vec<(String, u64)>,
    /// Median time from send to answer, in microseconds.
    pub(crate) p50_us: u64,
    /// 99th percentile of it.
    pub(crate) p99_us: u64,
}

/// What a subscription was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Addresses.
    Providers(Vec<String>),
    /// Why there are none.
    Refused(String),
}

/// Before or after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// It has not arrived.
    Before,
    /// It has, and the next one has not.
    After,
}

impl Edge {
    /// The word in every output.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Edge::Before => "before",
            Edge::After => "after",
        }
    }
}

/// Frames that are counted until one comes, which is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Armed {
    /// On a leg of this pod.
    pub(crate) pod: String,
    /// To this port.
    pub(crate) port: u16,
    /// The rule of the relay.
    pub(crate) rule: u64,
    /// Before it or after it.
    pub(crate) edge: Edge,
    /// The frame.
    pub(crate) nth: u64,
}

/// What a story is told on.
pub(crate) trait World: Sync {
    /// Calls, and waits until every call has its end. `step` numbers the step.
    fn call(&self, call: &Call, step: u32, limit: Duration) -> Result<Answered, Error>;
    /// Asks the application API of a pod's sidecar.
    fn subscribe(&self, ask: &Subscribe) -> Result<Told, Error>;
    /// Sends bytes and waits for what comes of them.
    fn send(
        &self,
        from: &str,
        to: &str,
        port: u16,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<RawOutcome, Error>;
    /// Replays recorded requests; whether nothing differed, and what did.
    fn replay(&self, replay: &Replay, limit: Duration) -> Result<Look, Error>;
    /// Counts frames from here on, and holds the one that is meant.
    fn arm(&self, frame: &FrameEvent, edge: Edge) -> Result<Armed, Error>;
    /// Waits until it has come; whether it has.
    fn came(&self, armed: &Armed, limit: Duration) -> Result<bool, Error>;
    /// Lets go of what is held.
    fn disarm(&self, armed: &Armed) -> Result<(), Error>;
    /// Something goes wrong.
    fn fault(&self, fault: &Fault) -> Result<(), Error>;
    /// It is well again.
    fn heal(&self, fault: &Fault) -> Result<(), Error>;
    /// A successor takes over.
    fn upgrade(&self, pod: &str, to: Option<&str>) -> Result<(), Error>;
    /// A sidecar moves in.
    fn meshify(&self, pod: &str, sidecar: Option<&str>) -> Result<(), Error>;
    /// It moves out.
    fn demesh(&self, pod: &str) -> Result<(), Error>;
    /// Changes the log level of a sidecar.
    fn set_log_level(&self, pod: &str, level: &LogLevel) -> Result<(), Error>;
    /// Changes the configuration of a sidecar while it runs.
    fn set_config(&self, pod: &str, changes: &[(String, Scalar)]) -> Result<(), Error>;
    /// Ends a program and starts it again.
    fn restart(&self, pod: &str, program: Program) -> Result<(), Error>;
    /// Tells the config center how to behave.
    fn registry(&self, order: &RegistryOrder) -> Result<(), Error>;
    /// Tells the VIP name service how to behave.
    fn vip(&self, order: &VipOrder) -> Result<(), Error>;
    /// Keeps the packets of a pod from here on.
    fn record(&self, pod: &str, port: Option<u16>) -> Result<(), Error>;
    /// Looks; `since` is when the step began that asks.
    fn look(&self, probe: &Probe, since: Nanos) -> Result<Look, Error>;
    /// The account of all calls until now. `allowed` says of the calls of a step which outcomes
    /// it allows.
    fn account(&self, allowed: &dyn Fn(u32) -> Vec<String>) -> Result<Account, Error>;
    /// Packets that tried to leave.
    fn escapes(&self) -> Result<Escapes, Error>;
    /// What programs, sockets and the config center were seen to do, in order, beside the steps.
    fn timeline(&self) -> Vec<Moment>;
}
