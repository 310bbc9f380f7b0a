//! What stands where a frame must begin, by protocol.

use crate::bolt;
use crate::detect;
use crate::http::{self, Framing, Start};
use crate::mesh_api;
use crate::protocol::{Head, Kind, Protocol, RequestId};
use crate::tr;

/// What the front of some bytes is.
pub(super) enum Step {
    /// A frame of known length. `certain` says whether it would do as the first of a stream.
    Head { head: Head, certain: bool },
    /// So far the front of a frame, of this many bytes in all.
    Need(usize),
    /// So far the front of a frame; the next line break may tell more.
    NeedLine,
    /// A message whose end shows only when it comes. `head.len` is that of its head.
    Endless(Head),
    /// No frame.
    Malformed,
}

/// How HTTP is taken, where it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Http {
    /// Messages so far: what their ids count from.
    pub(super) messages: u64,
    /// The stream was found to be one of the application API.
    pub(super) settled: bool,
    /// Answers of the application API are expected.
    pub(super) answers: bool,
}

/// Heads are limited, bodies are frames and limited as such.
pub(super) const LIMITS: http::Limits = http::Limits::ENDLESS;

/// Reads the front of `input`.
#[inline(always)]
pub(super) fn step(input: &[u8], http: &Http) -> Step {
    match input.first() {
        Some(1 | 2) => match bolt::Head::parse(input) {
            bolt::Step::Head(parsed) => Step::Head {
                certain: detect::is_bolt(&parsed),
                head: Head::from(&parsed),
            },
            bolt::Step::Need(needed) => Step::Need(needed),
            bolt::Step::Malformed(_) => Step::Malformed,
        },
        Some(13) if !http.settled => step_tr(input),
        Some(_) => step_http(input, http),
        None => Step::Need(1),
    }
}

#[inline(never)]
fn step_tr(input: &[u8]) -> Step {
    match tr::Parts::front(input) {
        tr::Front::Parts(parts) => Step::Head {
            certain: parts.head.reserved == 0,
            head: Head::from(&parts),
        },
        tr::Front::Need(needed) => Step::Need(needed),
        tr::Front::Malformed(_) => Step::Malformed,
    }
}

#[cold]
fn step_http(input: &[u8], http: &Http) -> Step {
    if !http.settled {
        let is_answer = http.answers && detect::is_answer(input);
        match if is_answer {
            Some(true)
        } else {
            mesh_api::begins(input)
        } {
            Some(true) => {}
            Some(false) if http.answers && detect::may_be_answer(input) => {
                return Step::Need(input.len() + 1);
            }
            Some(false) => return Step::Malformed,
            None => return Step::Need(input.len() + 1),
        }
    }
    let parsed = match http::Head::parse(input, &LIMITS) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Step::NeedLine,
        Err(_) => return Step::Malformed,
    };
    let (kind, status) = match parsed.start {
        Start::Request { .. } => (Kind::Request, None),
        // Go on, an answer follows: of no exchange.
        Start::Response {
            status: status @ 100..=199,
        } => (Kind::Unknown, Some(status)),
        Start::Response { status } => (Kind::Response, Some(status)),
    };
    let mut head = Head {
        protocol: Protocol::MeshApi,
        kind,
        id: RequestId(http.messages + u64::from(kind != Kind::Unknown)),
        len: parsed.len as u64,
        codec: 0,
        timeout_ms: None,
        status,
    };
    match parsed.framing {
        Framing::Length(len) => {
            head.len = head.len.saturating_add(len);
            Step::Head {
                head,
                certain: true,
            }
        }
        Framing::Chunked | Framing::UntilClose => Step::Endless(head),
    }
}
