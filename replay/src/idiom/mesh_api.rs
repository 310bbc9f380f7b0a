//! The application API of a sidecar: JSON over HTTP.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use meshproof_wire::mesh_api::{Answer, Operation};
use meshproof_wire::{Frame, RequestId};
use serde_json::Value;

use super::message::Message;
use super::{Asked, Idiom, Told};

pub(super) struct MeshApi;

/// Which operation a request asks for; `None` of an answer, and of other paths.
pub(crate) fn operation(request: &Frame) -> Option<Operation> {
    Operation::of_path(&parts(request)?.0)
}

/// What an answer says; `None` where its body is no such JSON.
pub(crate) fn answer(response: &Frame) -> Option<Answer> {
    serde_json::from_slice(&body(response)?).ok()
}

/// The `p` option of an address as a subscription gives it: the code of the protocol by which the
/// app will call.
pub(crate) fn protocol_code(entry: &str) -> Option<&str> {
    let (_, options) = entry.split_once('?')?;
    options
        .split('&')
        .find_map(|option| option.strip_prefix("p="))
}

/// The name of a protocol code.
pub(crate) fn protocol_name(code: Option<&str>) -> String {
    match code {
        Some("1") => "bolt".to_owned(),
        Some("13") => "tr".to_owned(),
        Some(other) => format!("protocol {other}"),
        None => "no protocol".to_owned(),
    }
}

impl Idiom for MeshApi {
    fn asked(&self, request: &Frame) -> Option<Asked> {
        let (path, body) = parts(request)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let app = body.get("appName").or_else(|| {
            let provider = body.get("providerMetaInfo")?;
            provider.get("appName")
        });
        Some(Asked {
            service: text(body.get("serviceName")),
            method: Some(match Operation::of_path(&path) {
                Some(operation) => operation.name().to_owned(),
                None => path,
            }),
            app: text(app),
            vip: text(body.get("targetAppAddress")),
            ..Asked::default()
        })
    }

    fn argument_hash(&self, request: &Frame) -> u64 {
        let hash = blake3::hash(&body(request).unwrap_or_default());
        let front = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(front)
    }

    fn method_of_body(&self, _: &Frame) -> Option<String> {
        None
    }

    fn told(&self, response: &Frame) -> Told {
        let answer = answer(response);
        Told {
            status: response.head.status.map(|code| self.status(code)),
            exception: Some(answer.as_ref().is_none_or(|answer| !answer.success)),
            host: None,
            datas: answer.and_then(|answer| answer.datas),
        }
    }

    /// 200 is success, as the real client has it; others by number.
    fn status(&self, code: u16) -> Cow<'static, str> {
        match code {
            200 => Cow::Borrowed("success"),
            other => Cow::Owned(format!("http-{other}")),
        }
    }

    fn codec(&self, _: u8) -> Cow<'static, str> {
        Cow::Borrowed("json")
    }

    fn heartbeat(&self, _: &Frame, _: RequestId) -> Option<Bytes> {
        None
    }

    fn heartbeat_ack(&self, _: &Frame, _: SocketAddr) -> Option<Bytes> {
        None
    }

    fn readdressed(&self, answer: &Frame, _: &Frame) -> Bytes {
        answer.bytes.clone()
    }

    fn refusal(&self, _: &Frame, why: &str) -> Bytes {
        let answer = Answer {
            error_message: why.to_owned(),
            ..Answer::default()
        };
        let body = serde_json::to_string(&answer).unwrap_or_default();
        let len = body.len();
        Bytes::from(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
        ))
    }
}

/// The body, put together where it came in chunks.
fn body(frame: &Frame) -> Option<Vec<u8>> {
    let pieces = Message::of(&frame.bytes)?.pieces();
    let bytes = |piece| frame.bytes.get(piece).unwrap_or_default();
    Some(pieces.into_iter().flat_map(bytes).copied().collect())
}

/// Path and body of a request.
fn parts(request: &Frame) -> Option<(String, Vec<u8>)> {
    let target = Message::of(&request.bytes)?.target(&request.bytes)?;
    let target = std::str::from_utf8(request.bytes.get(target)?).ok()?;
    let path = target.split(['?', '#']).next()?;
    Some((path.to_owned(), body(request)?))
}
