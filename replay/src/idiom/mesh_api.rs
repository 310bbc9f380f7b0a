//! The application API of a sidecar: JSON over HTTP.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use meshproof_wire::http::Start;
use meshproof_wire::mesh_api::{self, Answer, Call, Operation};
use meshproof_wire::{Frame, RequestId};

use super::{Asked, Idiom, Told};

pub(super) struct MeshApi;

/// Which operation a request asks for; `None` of an answer, and of other paths.
pub(crate) fn operation(request: &Frame) -> Option<Operation> {
    mesh_api::operation(&mesh_api::message(request).ok()?.head).ok()
}

/// What an answer says; `None` where its body is no such JSON.
pub(crate) fn answer(response: &Frame) -> Option<Answer> {
    let (_, answer) = mesh_api::answer(response).ok()?;
    Some(answer)
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
        let message = mesh_api::message(request).ok()?;
        let Start::Request { target, .. } = &message.head.start else {
            return None;
        };
        let Ok(call) = Call::of(&message) else {
            // Of what is not known, the path is told.
            let path = target.split('?').next().unwrap_or_default();
            return Some(Asked {
                method: Some(path.to_owned()),
                ..Asked::default()
            });
        };
        Some(Asked {
            service: call.service().map(str::to_owned),
            method: Some(call.operation().name().to_owned()),
            app: call.app().map(str::to_owned),
            vip: call.target().map(str::to_owned),
            ..Asked::default()
        })
    }

    fn argument_hash(&self, request: &Frame) -> u64 {
        let body = mesh_api::message(request).map(|message| message.body);
        let hash = blake3::hash(&body.unwrap_or_default());
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
        answer.encode().into()
    }
}
