//! TR streams of real Hessian (`com.alipay.sofa:hessian` 3.5.5) against the model beside them.

use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::detect::Verdict;
use meshproof_wire::tr::{self, Build, Connection, Direction, Flag};
use meshproof_wire::{Frame, Kind, Protocol, RequestId, sofarpc};
use serde_json::{Map, Value, json};

use crate::bolt_captures::decode;
use crate::captures::{model, streams};

const NAME: &str = "tr_hessian_stub";

fn describe(offset: u64, frame: &Frame) -> Map<String, Value> {
    let parts = frame.tr_parts().unwrap();
    let head = parts.head;
    let fields = json!({
        "off": offset,
        "proto": "tr",
        "type": match head.flag { Flag::Request => "request", Flag::Response => "response" },
        "serialize": head.serializer,
        "direction": head.direction.code(),
        "reserved": head.reserved,
        "connlen": parts.connection.len(),
        "namelen": parts.class.len(),
        "applen": frame.content().len(),
        "class": frame.class(),
        "content_off": offset + parts.content.start as u64,
        "total": frame.bytes.len(),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => unreachable!("made as an object"),
    }
}

/// The frame from what was read of it.
fn built_again(frame: &Frame) -> bytes::Bytes {
    let parts = frame.tr_parts().unwrap();
    let answer = tr::answer(&frame.bytes[parts.connection.clone()]);
    let connection = match parts.head.flag {
        Flag::Request => Connection::Request {
            id: parts.id,
            direction: parts.head.direction,
        },
        Flag::Response => {
            let answer = answer.as_ref().unwrap();
            Connection::Response {
                id: parts.id,
                host: answer.host.as_deref().unwrap(),
                result: answer.result,
                error_message: answer.error_message.as_deref(),
                error_stack: answer.error_stack.as_deref(),
            }
        }
    };
    let build = Build {
        connection,
        class: frame.class_bytes(),
        content: frame.content(),
    };
    build.encode().unwrap()
}

/// Whether the client sent it, its frames with their offsets, its bytes.
type Decoded = (bool, Vec<(u64, Frame)>, Vec<u8>);

fn all_frames() -> Vec<Decoded> {
    streams(NAME)
        .into_iter()
        .map(|stream| {
            let from_client = stream.src.port() != 12201;
            let (decoder, frames) = decode(&stream.bytes, usize::MAX);
            assert_eq!(decoder.verdict(), Verdict::Known(Protocol::Tr));
            assert_eq!(decoder.account().framed, stream.bytes.len() as u64);
            (from_client, frames, stream.bytes)
        })
        .collect()
}

#[test]
fn the_capture_is_what_its_model_says() {
    let model = model(NAME);
    let expected = model["frames"].as_array().unwrap();
    let mut seen = 0;
    for (from_client, frames, bytes) in all_frames() {
        for piece in [1, 7, 100, 1000] {
            assert_eq!(decode(&bytes, piece).1, frames, "in pieces of {piece}");
        }
        for (offset, frame) in &frames {
            let fields = describe(*offset, frame);
            let agrees = |expected: &&Value| {
                (expected["dir"] == "c2s") == from_client
                    && fields.iter().all(|(key, value)| &expected[key] == value)
            };
            assert!(expected.iter().any(|it| agrees(&it)), "{fields:?}");
            assert_eq!(built_again(frame), frame.bytes, "at {offset}");
            seen += 1;
        }
    }
    assert_eq!(seen, expected.len());
}

#[test]
fn ids_kinds_and_calls() {
    let mut lines = Vec::new();
    for (from_client, frames, _) in all_frames() {
        for (_, frame) in frames {
            let request = sofarpc::request(&frame);
            let call = tr::call(frame.content());
            if let Some(request) = &request {
                let call = call.as_ref().unwrap();
                assert_eq!(call.service.as_deref(), request.service.as_deref());
                assert_eq!(call.method.as_deref(), request.method.as_deref());
                assert_eq!(call.timeout_ms, request.timeout_ms);
                assert_eq!(request.app.as_deref(), Some("sample-client"));
                let trace = "0a0fe8f81522207510925100110582";
                assert_eq!(request.trace.as_deref(), Some(trace));
                let vip = "http://sample-pool.GZ00A.alipay.net:12200?_TIMEOUT=3000";
                assert_eq!(request.vip.as_deref(), Some(vip));
            } else {
                assert_eq!(call, None);
            }
            lines.push(format!(
                "{} {:?} {} {} {:?} {:?}",
                if from_client { "client" } else { "server" },
                frame.head.kind,
                frame.head.id,
                request
                    .as_ref()
                    .and_then(|it| it.method.as_deref())
                    .unwrap_or("-"),
                request.as_ref().and_then(|it| it.timeout_ms),
                frame.head.status,
            ));
        }
    }
    lines.sort();
    let expect = [
        "client Heartbeat 1 - None None",
        "client Oneway 3 notifyOneway Some(3000) None",
        "client Request 2 hello Some(3000) None",
        "client Request 4 hello Some(3000) None",
        "client Request 5 hello Some(3000) None",
        "server HeartbeatAck 1 - None Some(0)",
        "server Response 2 - None Some(0)",
        "server Response 4 - None Some(0)",
        "server Response 5 - None Some(0)",
    ];
    assert_eq!(lines, expect);
}

#[test]
fn heartbeats_are_the_bytes_that_were_captured() {
    let mut seen = 0;
    for (_, frames, _) in all_frames() {
        for (_, frame) in frames {
            let made = match frame.head.kind {
                Kind::Heartbeat => tr::heartbeat(frame.head.id),
                Kind::HeartbeatAck => tr::heartbeat_ack(frame.head.id, "10.15.246.182:12201"),
                _ => continue,
            };
            assert_eq!(made, frame.bytes);
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn another_id_and_back() {
    for (_, frames, _) in all_frames() {
        for (_, frame) in frames {
            for id in [
                0,
                15,
                16,
                2047,
                2048,
                262_143,
                262_144,
                1 << 31,
                1 << 40,
                u64::MAX,
            ] {
                let other = frame.with_id(RequestId(id));
                assert_eq!(other.head.id, RequestId(id));
                assert_eq!(other.content(), frame.content());
                assert_eq!(other.with_id(frame.head.id), frame);
            }
        }
    }
}

#[test]
fn a_start_anywhere_finds_the_next_frame() {
    // The same frames over and over, so that some follow.
    for (_, _, once) in all_frames() {
        let bytes = once.repeat(3);
        let (_, frames) = decode(&bytes, usize::MAX);
        for start in (0..once.len()).step_by(7) {
            let mut found = Vec::new();
            let mut decoder = Decoder::new(Start::MidStream, Detail::Frames, Limits::USUAL);
            let mut sink = |decoded: meshproof_wire::decoder::Decoded<()>| {
                found.push((decoded.offset + start as u64, decoded.frame.unwrap()));
            };
            for piece in bytes[start..].chunks(333) {
                decoder.feed((), piece, &mut sink);
            }
            decoder.finish(&mut sink);
            let from = frames.partition_point(|(offset, _)| *offset < start as u64);
            assert_eq!(found, frames[from..], "from {start}");
        }
    }
}

#[test]
fn bytes_lost_anywhere_cost_the_frames_that_they_touch() {
    for (_, _, once) in all_frames() {
        let bytes = once.repeat(3);
        let (_, frames) = decode(&bytes, usize::MAX);
        for start in (0..2 * once.len()).step_by(29) {
            let lost = start..start + 60;
            let mut found = Vec::new();
            let mut decoder = Decoder::new(Start::Beginning, Detail::Heads, Limits::USUAL);
            let mut sink = |it: meshproof_wire::decoder::Decoded<()>| {
                if it.missing == 0 {
                    found.push(it.offset);
                }
            };
            decoder.feed((), &bytes[..lost.start], &mut sink);
            decoder.gap(60, &mut sink);
            decoder.feed((), &bytes[lost.end..], &mut sink);
            decoder.finish(&mut sink);
            let whole = frames.iter().filter(|(offset, frame)| {
                let end = offset + frame.bytes.len() as u64;
                end <= lost.start as u64 || *offset >= lost.end as u64
            });
            let expect: Vec<_> = whole.map(|(offset, _)| *offset).collect();
            assert_eq!(found, expect, "without {lost:?}");
            let total = (bytes.len() - 60) as u64;
            assert_eq!(decoder.account().total(), total);
        }
    }
}

/// The one real request that is known, in the folder that `MESHPROOF_REAL_TR` names. Its bytes
/// are another project's.
#[test]
fn a_real_request() {
    let Some(folder) = std::env::var_os("MESHPROOF_REAL_TR") else {
        eprintln!("SKIPPED: needs MESHPROOF_REAL_TR, a folder with tr_mosn_scene_request.bin");
        return;
    };
    let read = |name: &str| std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
    let bytes = read("tr_mosn_scene_request.bin");
    let (_, frames) = decode(&bytes, 100);
    assert_eq!(frames.len(), 1);
    let frame = &frames[0].1;
    assert_eq!(
        (frame.head.id, frame.head.kind),
        (RequestId(1), Kind::Request)
    );
    assert_eq!(built_again(frame), bytes);
    let request = sofarpc::request(frame).unwrap();
    assert_eq!(request.method.as_deref(), Some("say"));
    assert_eq!(request.app.as_deref(), Some("test"));
    let call = tr::call(frame.content()).unwrap();
    let service = "com.alipay.demo.SampleService:1.0";
    assert_eq!(call.service.as_deref(), Some(service));
    assert_eq!(call.timeout_ms, Some(3000));

    let object = read("tr_mosn_conn_request.bin");
    let made = Build {
        connection: Connection::Request {
            id: RequestId(2),
            direction: Direction::Twoway,
        },
        class: b"",
        content: b"",
    };
    assert_eq!(made.encode().unwrap()[14..], object);
    let object = read("tr_mosn_conn_response.bin");
    let made = Build {
        connection: Connection::Response {
            id: RequestId(1),
            host: "10.15.232.248:12299",
            result: 0,
            error_message: None,
            error_stack: None,
        },
        class: b"",
        content: b"",
    };
    assert_eq!(made.encode().unwrap()[14..], object);
}
