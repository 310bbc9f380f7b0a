//! Calls from a pod, and what came back.

use std::time::Duration;

/// What kind of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// A request and its answer.
    Sync,
    /// A request without an answer.
    Oneway,
    /// The method throws: the exception is the right answer.
    Exception,
    /// The provider is slower than the time-out: the time-out is the right answer.
    Timeout,
    /// A heartbeat of the client, answered by whoever is next.
    Heartbeat,
    /// A body of 1 MiB each way.
    Large,
}

/// Protocol of a client that may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speech {
    /// BOLT v1.
    BoltV1,
    /// BOLT v2.
    BoltV2,
    /// BOLT v2 with CRC.
    BoltV2Crc,
    /// TR.
    Tr,
}

/// Calls from one pod.
#[derive(Clone, Debug)]
pub struct Call {
    /// The pod that calls: through its sidecar where it has one, else by the config center.
    pub from: String,
    /// What kind.
    pub style: Style,
    /// In what; none: what sidecar or config center say.
    pub speech: Option<Speech>,
    /// How many.
    pub count: u64,
    /// Over so many connections.
    pub connections: usize,
    /// A VIP or address to call, in either form, in place of the service.
    pub vip: Option<String>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Call {
    /// `count` plain calls from a pod.
    pub fn new(from: &str, count: u64) -> Call {
        Call {
            from: from.to_owned(),
            style: Style::Sync,
            speech: None,
            count,
            connections: 1,
            vip: None,
            timeout: Duration::from_secs(3),
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Calls that were sent.
    pub sent: u64,
    /// Calls with the outcome that belongs to them.
    pub right: u64,
    /// The others by outcome: `timeout` 3, `status 6` 1.
    pub wrong: Vec<(String, u64)>,
    /// The first thing that was wrong, in words.
    pub first: Option<String>,
}
