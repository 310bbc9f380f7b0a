//! An exchange as it is listed: `ls --format json`, and the fields that `--where` knows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meshproof_wire::Crc;
use serde::Serialize;

use super::{Exchange, Half};
use crate::idiom::{self, Told};

/// The version of the listing's format.
pub const SCHEMA: u32 = 1;

/// One exchange, field by field as the contract names them. What was not seen is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// `opener>acceptor`.
    pub flow: String,
    /// Counts connections of the same ends, from 1.
    pub connection: u32,
    /// `inbound`, `outbound`, `app`, `direct`, `unknown`.
    pub hop: &'static str,
    /// `bolt-v1`, `bolt-v2`, `tr`, `mesh-api`.
    pub protocol: &'static str,
    /// `call`, `oneway`, `heartbeat`, `goaway`, `mesh-api`.
    pub kind: &'static str,
    /// `client`, `server`, `unknown`.
    pub from: &'static str,
    /// The id on the wire.
    pub id: u64,
    /// The service that is called.
    pub service: Option<String>,
    /// The method that is called.
    pub method: Option<String>,
    /// The app that calls.
    pub app: Option<String>,
    /// The trace id.
    pub trace: Option<String>,
    /// The VIP or address that a subscription names; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// The frame that asked.
    pub request: Option<Asked>,
    /// The frame that answered.
    pub response: Option<Answered>,
    /// `answered`, `oneway`, `unanswered`, `orphan-response`.
    pub outcome: &'static str,
    /// The response came after the request's time-out.
    pub late: bool,
}

/// The frame that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// What both sides have.
    #[serde(flatten)]
    pub frame: Listed,
    /// The time-out, in milliseconds.
    pub timeout_ms: Option<u32>,
    /// `absent`, `ok`, `bad`; null where the frame was not looked at.
    pub crc: Option<&'static str>,
}

/// The frame that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// What both sides have.
    #[serde(flatten)]
    pub frame: Listed,
    /// The status by name; `status-N` where the number is not known.
    pub status: Option<Cow<'static, str>>,
    /// The status as it stands on the wire.
    pub status_code: Option<u16>,
    /// Whether the answer is an exception, of whatever layer; null where the frame was not
    /// looked at.
    pub exception: Option<bool>,
    /// `absent`, `ok`, `bad`; null where the frame was not looked at.
    pub crc: Option<&'static str>,
    /// The server's own address, where the protocol carries it (TR); else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The addresses that a subscription gives; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datas: Option<Vec<String>>,
}

/// What both sides of an exchange have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// 1-based number of the packet that holds the first byte.
    pub packet: u64,
    /// Its time, in nanoseconds since the capture's first packet.
    pub at_ns: u64,
    /// Stream offset of the first byte.
    pub offset: u64,
    /// Length of the frame.
    pub bytes: u64,
    /// Bytes of it that the capture lacks; left out where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Class of the content; empty where there is no content.
    pub class: Option<String>,
    /// The serializer: `hessian2`, `json`, or `codec-N`.
    pub codec: Cow<'static, str>,
    /// The header map; of a key that stands twice the last value.
    pub headers: Option<BTreeMap<String, String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Listing {
    /// The view of an exchange. Class, headers and what follows from them need the frames.
    pub fn of(exchange: &Exchange) -> Listing {
        let call = exchange
            .request
            .as_ref()
            .and_then(|half| half.frame.as_ref())
            .and_then(idiom::asked)
            .unwrap_or_default();
        Listing {
            flow: exchange.flow.to_string(),
            connection: exchange.flow.connection,
            hop: exchange.hop.name(),
            protocol: exchange.protocol.name(),
            kind: exchange.kind.name(),
            from: exchange.from.name(),
            id: exchange.id.0,
            service: call.service,
            method: call.method,
            app: call.app,
            trace: call.trace,
            vip: call.vip,
            request: exchange.request.as_ref().map(|half| Asked {
                frame: Listed::of(half),
                timeout_ms: half.head.timeout_ms,
                crc: crc(half),
            }),
            response: exchange.response.as_ref().map(Answered::of),
            outcome: exchange.outcome.name(),
            late: exchange.late,
        }
    }
}

impl Answered {
    fn of(half: &Half) -> Answered {
        let idiom = idiom::of(half.head.protocol);
        let told = match &half.frame {
            Some(frame) => idiom.told(frame),
            None => Told {
                status: half.head.status.map(|code| idiom.status(code)),
                ..Told::default()
            },
        };
        Answered {
            frame: Listed::of(half),
            status: told.status,
            status_code: half.head.status,
            exception: told.exception,
            crc: crc(half),
            host: told.host,
            datas: told.datas,
        }
    }
}

impl Listed {
    fn of(half: &Half) -> Listed {
        let frame = half.frame.as_ref();
        Listed {
            packet: half.mark.packet,
            at_ns: half.mark.at_ns,
            offset: half.offset,
            bytes: half.head.len,
            missing: half.missing,
            class: frame.map(|f| String::from_utf8_lossy(f.class_bytes()).into_owned()),
            codec: idiom::of(half.head.protocol).codec(half.head.codec),
            headers: frame.map(|frame| frame.headers().texts().collect()),
        }
    }
}

fn crc(half: &Half) -> Option<&'static str> {
    half.frame.as_ref().map(|_| match half.crc {
        Crc::Absent => "absent",
        Crc::Ok => "ok",
        Crc::Bad => "bad",
    })
}

/// A time in nanoseconds since the Unix epoch, as `start` of the listing gives it: UTC with nine
/// digits of a second.
pub fn timestamp(ns: u64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(at) => format!("{at:.9}"),
        // Nanoseconds in 64 bits end before the calendar does.
        Err(_) => ns.to_string(),
    }
}
