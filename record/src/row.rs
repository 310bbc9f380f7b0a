//! One exchange of a replay, with bodies: the lines of `exchanges.jsonl.zst`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::difference::Difference;

/// One exchange of the capture and what became of it in the run.
///
/// All times are nanoseconds since the run's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRow {
    /// Its number in recorded order, from 1; the same capture gives the same numbers.
    pub exchange: u64,
    /// The recorded connection, `opener>acceptor`.
    pub flow: String,
    /// Counts connections of the same addresses and ports, from 1.
    pub connection: u32,
    /// The id as recorded.
    pub id: u64,
    /// `bolt-v1`, `bolt-v2`.
    pub protocol: String,
    /// `call`, `oneway`, `heartbeat`, `goaway`.
    pub kind: String,
    /// Service; empty where it is not known.
    pub service: String,
    /// Method; empty where it is not known.
    pub method: String,
    /// Hash of the arguments, so that two records can be joined by what was asked; empty where it
    /// is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arguments: String,
    /// The trace id as recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Where it was sent to, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When it should have been sent; absent where the pace names no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intended_ns: Option<u64>,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ns: Option<u64>,
    /// When its answer was whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_ns: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
    /// For `refused`, `skipped` and `lost`: the ledger's bucket. For `answered` without a
    /// comparison: why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The answer came after the time-out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Whether recorded and observed response were compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compared: bool,
    /// The capture shows an answer in time, whole or cut: without one here, something is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_recorded: bool,
    /// The response in the capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Response>,
    /// The response in this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Response>,
    /// Where they part. Empty and `compared`: they do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

impl ExchangeRow {
    /// Whether a judged difference was found.
    pub fn differs(&self) -> bool {
        self.differences.iter().any(|difference| difference.judged)
    }

    /// Whether the capture shows an answer and this run got none.
    pub fn misses_answer(&self) -> bool {
        self.answer_recorded && matches!(self.outcome, Outcome::TimedOut | Outcome::Lost)
    }

    /// Actual minus intended send time; a send that came early is not late.
    pub fn lateness_ns(&self) -> Option<u64> {
        Some(self.sent_ns?.saturating_sub(self.intended_ns?))
    }

    /// From the intended send time (the actual one, where none was intended) to the answer.
    pub fn latency_ns(&self) -> Option<u64> {
        let from = self.intended_ns.or(self.sent_ns)?;
        Some(self.answered_ns?.saturating_sub(from))
    }
}

/// What became of an exchange in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Sent and answered.
    Answered,
    /// Sent, and no answer is expected.
    Oneway,
    /// Sent, and not answered in time.
    TimedOut,
    /// Sent, and the connection went.
    Lost,
    /// Not sent: the guard refused it.
    Refused,
    /// Not sent: left out on purpose.
    Skipped,
}

impl Outcome {
    /// The word in every output.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Oneway => "oneway",
            Outcome::TimedOut => "timed out",
            Outcome::Lost => "lost",
            Outcome::Refused => "refused",
            Outcome::Skipped => "skipped",
        }
    }
}

/// A response as it came, in the parts that a comparison reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// `bolt-v1`, `bolt-v2`.
    pub protocol: String,
    /// The serializer's code (BOLT: 1 is Hessian).
    pub codec: u8,
    /// Status of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Class name of the body.
    pub class: String,
    /// Header map. Bytes that are no UTF-8 are replaced by U+FFFD; of a key that stands twice,
    /// the last value counts.
    pub headers: BTreeMap<String, String>,
    /// The body as it came; base64 (RFC 4648, with padding) in JSON.
    pub body: Body,
}

/// The bytes of a body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a body in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Body, E> {
                let bytes = BASE64.decode(text).map_err(E::custom)?;
                Ok(Body(bytes.into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
