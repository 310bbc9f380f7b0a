//! Frames as the simulated clients and servers make and read them.

use meshproof_wire::bolt::{self, Build, Version, cmdcode, encode_headers};
use meshproof_wire::hessian::Writer;
use meshproof_wire::{Crc, Frame, Kind, RequestId, tr};

use super::super::rig::SERVICE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Bolt(Version),
    Tr,
}

pub(super) const ALL: [Speaks; 5] = [
    Speaks::Bolt(Version::V1),
    Speaks::Bolt(Version::V2 { ver1: 1, switch: 1 }),
    Speaks::Bolt(Version::V2_CRC),
    Speaks::Bolt(Version::V2_PLAIN),
    Speaks::Tr,
];

/// A frame that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) speaks: Speaks,
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) failed: bool,
    pub(super) payload: String,
}

pub(super) fn request(
    speaks: Speaks,
    id: u64,
    kind: Kind,
    timeout_ms: u32,
    payload: &str,
) -> Vec<u8> {
    let oneway = kind == Kind::Oneway;
    let timeout = timeout_ms as i32;
    match speaks {
        Speaks::Bolt(version) => {
            let command = match oneway {
                true => bolt::Command::Oneway { timeout_ms: -1 },
                false => bolt::Command::Request {
                    timeout_ms: timeout,
                },
            };
            let headers = encode_headers([("app", "sim"), ("service", SERVICE)]);
            encode(version, command, cmdcode::REQUEST, id, &headers, payload)
        }
        Speaks::Tr => {
            let direction = match oneway {
                true => tr::Direction::Oneway,
                false => tr::Direction::Twoway,
            };
            let connection = tr::Connection::Request {
                id: RequestId(id),
                direction,
            };
            let class = b"com.alipay.sofa.rpc.core.request.SofaRequest";
            encode_tr(connection, class, &sofa_request(timeout_ms, payload))
        }
    }
}

pub(super) fn response(speaks: Speaks, id: u64, payload: &str) -> Vec<u8> {
    match speaks {
        Speaks::Bolt(version) => {
            let command = bolt::Command::Response { status: 0 };
            encode(version, command, cmdcode::RESPONSE, id, b"", payload)
        }
        Speaks::Tr => {
            let connection = tr::Connection::Response {
                id: RequestId(id),
                host: "10.0.0.1:12200",
                result: 0,
                error_message: None,
                error_stack: None,
            };
            encode_tr(connection, b"com.example.Answer", payload.as_bytes())
        }
    }
}

pub(super) fn heartbeat(speaks: Speaks, id: u64) -> Vec<u8> {
    match speaks {
        Speaks::Bolt(version) => bolt::heartbeat(version, id as u32).to_vec(),
        Speaks::Tr => tr::heartbeat(RequestId(id)).to_vec(),
    }
}

pub(super) fn heartbeat_ack(speaks: Speaks, id: u64) -> Vec<u8> {
    match speaks {
        Speaks::Bolt(version) => bolt::heartbeat_ack(version, id as u32).to_vec(),
        Speaks::Tr => tr::heartbeat_ack(RequestId(id), "10.0.0.1:12200").to_vec(),
    }
}

/// `None` for TR, which has no such frame.
pub(super) fn goaway(speaks: Speaks, id: u64) -> Option<Vec<u8>> {
    let Speaks::Bolt(version) = speaks else {
        return None;
    };
    let command = bolt::Command::Request { timeout_ms: 0 };
    Some(encode(version, command, cmdcode::GOAWAY, id, b"", ""))
}

fn encode(
    version: Version,
    command: bolt::Command,
    cmdcode: u16,
    id: u64,
    headers: &[u8],
    payload: &str,
) -> Vec<u8> {
    let build = Build {
        version,
        command,
        cmdcode,
        id: id as u32,
        codec: 1,
        class: b"peer.Msg",
        headers,
        content: payload.as_bytes(),
    };
    build.encode().unwrap().to_vec()
}

fn encode_tr(connection: tr::Connection<'_>, class: &[u8], content: &[u8]) -> Vec<u8> {
    let build = tr::Build {
        connection,
        class,
        content,
    };
    build.encode().unwrap().to_vec()
}

pub(in super::super) fn sofa_request(timeout_ms: u32, payload: &str) -> Vec<u8> {
    let fields = [
        "targetAppName",
        "methodName",
        "targetServiceUniqueName",
        "requestProps",
        "methodArgSigs",
    ];
    let mut writer = Writer::new();
    writer.object("com.alipay.sofa.rpc.core.request.SofaRequest", &fields);
    writer.null().string("place").string(SERVICE).map(None);
    writer.string("rpc_trace_context").map(None);
    writer
        .string("zproxyTimeout")
        .string(&timeout_ms.to_string());
    writer.end_map().end_map().null().string(payload);
    writer.finish()
}

/// Takes the frame at the front of `bytes`, where it is whole. Everything that the core writes is
/// frames.
pub(super) fn cut(bytes: &mut Vec<u8>) -> Option<Read> {
    match bytes.first()? {
        13 => cut_tr(bytes),
        _ => cut_bolt(bytes),
    }
}

fn cut_bolt(bytes: &mut Vec<u8>) -> Option<Read> {
    let head = match bolt::Head::parse(bytes) {
        bolt::Step::Head(head) => head,
        bolt::Step::Need(_) => return None,
        bolt::Step::Malformed(why) => panic!("the core wrote no frame: {why}"),
    };
    let len = head.frame_len() as usize;
    if bytes.len() < len {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..len).collect();
    let frame = Frame::parse(frame.into()).unwrap();
    assert_ne!(frame.crc(), Crc::Bad);
    Some(Read {
        speaks: Speaks::Bolt(head.version),
        kind: frame.head.kind,
        id: frame.head.id.0,
        failed: frame.head.status.is_some_and(|status| status != 0),
        payload: payload(frame.content()),
    })
}

fn cut_tr(bytes: &mut Vec<u8>) -> Option<Read> {
    let parts = match tr::Parts::front(bytes) {
        tr::Front::Parts(parts) => parts,
        tr::Front::Need(_) => return None,
        tr::Front::Malformed(why) => panic!("the core wrote no frame: {why}"),
    };
    let len = parts.head.frame_len() as usize;
    if bytes.len() < len {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..len).collect();
    Some(Read {
        speaks: Speaks::Tr,
        kind: parts.kind,
        id: parts.id.0,
        failed: parts.result.is_some_and(|result| result != 0),
        payload: payload(&frame[parts.content]),
    })
}

/// What stands between two marks; empty where there is none.
fn payload(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let Some((_, rest)) = text.split_once("<#") else {
        return String::new();
    };
    let (payload, _) = rest.split_once("#>").expect("a payload ends");
    format!("<#{payload}#>")
}

/// Whether two versions are of one connection class.
pub(super) fn alike(a: Speaks, b: Speaks) -> bool {
    match (a, b) {
        (Speaks::Bolt(Version::V2 { ver1: a, .. }), Speaks::Bolt(Version::V2 { ver1: b, .. })) => {
            a == b
        }
        _ => a == b,
    }
}
