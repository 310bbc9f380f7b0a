//! TR, and SOFARPC on top of it.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use meshproof_wire::tr::{self, Build, Connection, serializer};
use meshproof_wire::{Frame, RequestId, sofarpc};

use super::bolt::{EXCEPTION, exception};
use super::{Asked, Idiom, Told};

pub(super) struct Tr;

/// The result of an answer that the server could not give. What real servers say there is not
/// known, except that 0 is success.
const FAILED: i32 = 1;

impl Idiom for Tr {
    fn asked(&self, request: &Frame) -> Option<Asked> {
        sofarpc::request(request).map(Asked::from)
    }

    fn argument_hash(&self, request: &Frame) -> u64 {
        sofarpc::argument_hash(request)
    }

    /// There is no other place that names one.
    fn method_of_body(&self, request: &Frame) -> Option<String> {
        sofarpc::request(request)?.method
    }

    fn told(&self, response: &Frame) -> Told {
        Told {
            status: response.head.status.map(|code| self.status(code)),
            exception: Some(sofarpc::is_exception(response)),
            host: connection(response).and_then(|answer| answer.host),
            datas: None,
        }
    }

    fn status(&self, code: u16) -> Cow<'static, str> {
        match code {
            0 => Cow::Borrowed("success"),
            other => Cow::Owned(format!("result-{other}")),
        }
    }

    fn codec(&self, code: u8) -> Cow<'static, str> {
        match code {
            serializer::HESSIAN => Cow::Borrowed("hessian"),
            serializer::JAVA => Cow::Borrowed("java"),
            serializer::TOP => Cow::Borrowed("top"),
            serializer::HESSIAN2 => Cow::Borrowed("hessian2"),
            other => Cow::Owned(format!("codec-{other}")),
        }
    }

    fn heartbeat(&self, _: &Frame, id: RequestId) -> Option<Bytes> {
        Some(tr::heartbeat(id))
    }

    fn heartbeat_ack(&self, heartbeat: &Frame, host: SocketAddr) -> Option<Bytes> {
        Some(tr::heartbeat_ack(heartbeat.head.id, &host.to_string()))
    }

    fn readdressed(&self, answer: &Frame, request: &Frame) -> Bytes {
        answer.with_id(request.head.id).bytes
    }

    fn refusal(&self, request: &Frame, why: &str) -> Bytes {
        let content = exception(why);
        let build = Build {
            connection: Connection::Response {
                id: request.head.id,
                host: "",
                result: FAILED,
                error_message: Some(why),
                error_stack: None,
            },
            class: EXCEPTION.as_bytes(),
            content: &content,
        };
        // A class and a sentence fit.
        build.encode().unwrap_or_default()
    }
}

/// What the connection object of an answer says.
pub(crate) fn connection(response: &Frame) -> Option<tr::Answer> {
    let parts = response.tr_parts()?;
    tr::answer(response.bytes.get(parts.connection)?)
}
