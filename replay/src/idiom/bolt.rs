//! BOLT, and SOFARPC on top of it.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use meshproof_wire::bolt::{self, Build, Command, Version, cmdcode, status};
use meshproof_wire::{Frame, Protocol, RequestId, hessian, sofarpc};

use super::{Asked, Idiom, Told};

pub(super) struct Bolt;

/// What SOFABolt 1.6.11 answers with when a processor fails.
pub(super) const EXCEPTION: &str = "com.alipay.remoting.rpc.exception.RpcServerException";

impl Idiom for Bolt {
    fn asked(&self, request: &Frame) -> Option<Asked> {
        sofarpc::request(request).map(Asked::from)
    }

    fn argument_hash(&self, request: &Frame) -> u64 {
        sofarpc::argument_hash(request)
    }

    /// A sidecar goes by the header map, a real SOFARPC server invokes what the body says.
    fn method_of_body(&self, request: &Frame) -> Option<String> {
        let build = Build {
            headers: b"",
            ..Build::of(request)?
        };
        let bare = Frame::parse(build.encode().ok()?).ok()?;
        sofarpc::request(&bare)?.method
    }

    fn told(&self, response: &Frame) -> Told {
        Told {
            status: response.head.status.map(|code| self.status(code)),
            exception: Some(sofarpc::is_exception(response)),
            ..Told::default()
        }
    }

    fn status(&self, code: u16) -> Cow<'static, str> {
        match status::name(code) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("status-{code}")),
        }
    }

    fn codec(&self, code: u8) -> Cow<'static, str> {
        match code {
            sofarpc::CODEC_HESSIAN => Cow::Borrowed("hessian2"),
            other => Cow::Owned(format!("codec-{other}")),
        }
    }

    fn heartbeat(&self, like: &Frame, id: RequestId) -> Option<Bytes> {
        Some(bolt::heartbeat(version(like), id.0 as u32))
    }

    fn heartbeat_ack(&self, heartbeat: &Frame, _: SocketAddr) -> Option<Bytes> {
        let id = heartbeat.head.id.0 as u32;
        Some(bolt::heartbeat_ack(version(heartbeat), id))
    }

    fn readdressed(&self, answer: &Frame, request: &Frame) -> Bytes {
        let id = request.head.id;
        if answer.head.protocol == request.head.protocol {
            return answer.with_id(id).bytes;
        }
        let other = Build::of(answer).map(|build| Build {
            version: version(request),
            id: id.0 as u32,
            ..build
        });
        // Its parts fitted their length fields before; these are the same in both versions.
        match other.and_then(|build| build.encode().ok()) {
            Some(bytes) => bytes,
            None => answer.with_id(id).bytes,
        }
    }

    fn refusal(&self, request: &Frame, why: &str) -> Bytes {
        let content = exception(why);
        let RequestId(id) = request.head.id;
        let build = Build {
            version: version(request),
            command: Command::Response {
                status: status::SERVER_EXCEPTION,
            },
            cmdcode: cmdcode::RESPONSE,
            id: id as u32,
            codec: sofarpc::CODEC_HESSIAN,
            class: EXCEPTION.as_bytes(),
            headers: b"",
            content: &content,
        };
        // A service name as long as a header map may be still fits the content.
        build.encode().unwrap_or_default()
    }
}

impl From<sofarpc::Request> for Asked {
    fn from(request: sofarpc::Request) -> Asked {
        Asked {
            service: request.service,
            method: request.method,
            app: request.app,
            trace: request.trace,
            rpc_id: request.rpc_id,
            vip: request.vip,
        }
    }
}

fn version(frame: &Frame) -> Version {
    match (frame.parts(), frame.head.protocol) {
        (Some(parts), _) => parts.head.version,
        (None, Protocol::BoltV2) => Version::V2_PLAIN,
        (None, _) => Version::V1,
    }
}

/// The exception of [`EXCEPTION`] in Hessian, with a message and no stack.
pub(super) fn exception(why: &str) -> Vec<u8> {
    let mut body = hessian::Writer::new();
    body.object(
        EXCEPTION,
        &[
            "detailMessage",
            "cause",
            "stackTrace",
            "suppressedExceptions",
        ],
    );
    body.string(why);
    body.null();
    let end = body.list(Some("[java.lang.StackTraceElement"), Some(0));
    body.end_list(end);
    body.null();
    body.finish()
}
