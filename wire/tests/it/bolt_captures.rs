//! Real BOLT streams against the models beside them.

use meshproof_wire::bolt::{Build, Command, Version};
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use meshproof_wire::detect::Verdict;
use meshproof_wire::{Crc, Frame, Kind};
use serde_json::{Map, Value, json};

use crate::captures::{model, streams};

pub(crate) fn decode(bytes: &[u8], piece: usize) -> (Decoder<()>, Vec<(u64, Frame)>) {
    let mut frames = Vec::new();
    let mut decoder = Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL);
    let mut sink = |decoded: meshproof_wire::decoder::Decoded<()>| {
        assert_eq!(decoded.missing, 0);
        frames.push((decoded.offset, decoded.frame.unwrap()));
    };
    for piece in bytes.chunks(piece) {
        decoder.feed((), piece, &mut sink);
    }
    decoder.finish(&mut sink);
    (decoder, frames)
}

/// The fields of a frame under the names that the models use.
fn describe(offset: u64, frame: &Frame) -> Map<String, Value> {
    let head = frame.parts().unwrap().head;
    let headers: Map<String, Value> = frame
        .headers()
        .texts()
        .map(|(key, value)| (key, value.into()))
        .collect();
    assert_eq!(frame.headers().damage(), None);
    let mut fields = json!({
        "off": offset,
        "proto": match head.version { Version::V1 => "boltv1", Version::V2 { .. } => "boltv2" },
        "cmdcode": head.cmdcode,
        "ver2": head.ver2,
        "id": head.id,
        "codec": head.codec,
        "hdr": head.fixed_len(),
        "classlen": head.class_len,
        "headerlen": head.header_len,
        "contentlen": frame.content().len(),
        "class": frame.class(),
        "headers": headers,
        "total": frame.bytes.len(),
    });
    let (name, extra, value) = match head.command {
        Command::Response { status } => ("response", "status", i64::from(status)),
        Command::Request { timeout_ms } => ("request", "timeout", i64::from(timeout_ms)),
        Command::Oneway { timeout_ms } => ("oneway", "timeout", i64::from(timeout_ms)),
    };
    fields["type"] = name.into();
    fields[extra] = value.into();
    if let Version::V2 { ver1, switch } = head.version {
        fields["ver1"] = ver1.into();
        fields["switch"] = switch.into();
    }
    if frame.crc() != Crc::Absent {
        fields["crc_ok"] = (frame.crc() == Crc::Ok).into();
    }
    let Value::Object(fields) = fields else {
        unreachable!("made as an object");
    };
    fields
}

#[track_caller]
fn check(name: &str) {
    let model = model(name);
    let expected = model["frames"].as_array().unwrap();
    let client_ports: Vec<_> = expected.iter().map(|frame| &frame["conn_port"]).collect();
    let mut seen = 0;
    let mut heartbeats = 0;
    for stream in streams(name) {
        let port = json!(stream.src.port());
        let from_client = client_ports.contains(&&port);
        let (decoder, frames) = decode(&stream.bytes, usize::MAX);
        assert_eq!(decoder.account().framed, stream.bytes.len() as u64);
        assert!(matches!(decoder.verdict(), Verdict::Known(_)));
        for piece in [1, 7, 1000] {
            assert_eq!(
                decode(&stream.bytes, piece).1,
                frames,
                "{name} in pieces of {piece}"
            );
        }
        for (offset, frame) in &frames {
            let fields = describe(*offset, frame);
            let agrees = |expected: &&Value| {
                let same_side = (expected["dir"] == "c2s") == from_client
                    && (!from_client || expected["conn_port"] == port);
                same_side && fields.iter().all(|(key, value)| &expected[key] == value)
            };
            assert!(
                expected.iter().any(|expected| agrees(&expected)),
                "{name}: {fields:?}"
            );
            seen += 1;
            heartbeats += u64::from(matches!(
                frame.head.kind,
                Kind::Heartbeat | Kind::HeartbeatAck
            ));
            // The same bytes again, from the parts alone.
            let encoded = Build::of(frame).unwrap().encode().unwrap();
            assert_eq!(encoded, frame.bytes, "{name} at {offset}");
        }
    }
    assert_eq!(seen, expected.len(), "{name}");
    assert_eq!(model["heartbeats"], heartbeats, "{name}");
}

#[test]
fn every_bolt_capture_is_what_its_model_says() {
    for name in [
        "bolt_v1_basic",
        "bolt_v1_exception",
        "bolt_v1_heartbeat",
        "bolt_v1_large_1MiB_mtu1500",
        "bolt_v1_noprocessor",
        "bolt_v1_pipeline",
        "bolt_v2_heartbeat",
        "bolt_v2_pipeline_crc",
        "bolt_v2_ver1_basic",
        "bolt_v2_ver2_nocrc",
        "bolt_v2_ver2crc_basic",
        "sofaregistry_pub_sub",
        "sofarpc_bolt_hessian2",
        "sofarpc_bolt_url_appName",
    ] {
        check(name);
    }
}

#[test]
fn other_protocols_are_named_and_not_decoded() {
    for stream in streams("dubbo_hessian2") {
        for piece in [1, usize::MAX] {
            let (decoder, frames) = decode(&stream.bytes, piece);
            assert_eq!((decoder.verdict(), frames.len()), (Verdict::Dubbo, 0));
            assert_eq!(decoder.account().foreign, stream.bytes.len() as u64);
        }
    }
}

#[test]
fn a_start_anywhere_finds_the_next_frame() {
    let stream = streams("bolt_v1_pipeline").remove(0);
    let (_, frames) = decode(&stream.bytes, usize::MAX);
    for start in (0..stream.bytes.len()).step_by(13) {
        let mut found = Vec::new();
        let mut decoder = Decoder::new(Start::MidStream, Detail::Frames, Limits::USUAL);
        let mut sink = |decoded: meshproof_wire::decoder::Decoded<()>| {
            found.push((decoded.offset + start as u64, decoded.frame.unwrap()));
        };
        decoder.feed((), &stream.bytes[start..], &mut sink);
        decoder.finish(&mut sink);
        let from = frames.partition_point(|(offset, _)| *offset < start as u64);
        assert_eq!(found, frames[from..], "from {start}");
    }
}
