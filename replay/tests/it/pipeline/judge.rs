//! What a pass finds against what two others found in the same captures: the decoder that wrote
//! the `.json` beside each of them, and tshark.

use std::collections::BTreeMap;
use std::path::Path;

use meshproof_replay::capture::Inputs;
use meshproof_replay::exchange::{Exchange, Listing, Outcome as Ending};
use meshproof_replay::pipeline::Options;
use meshproof_replay::stream::Direction;
use meshproof_wire::{Crc, Kind};
use serde_json::Value;

use super::{captures, pass};

/// The captures of protocols that are decoded.
const KNOWN: [&str; 14] = [
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
];

fn model(name: &str) -> Value {
    let path = captures().join(name).with_extension("json");
    let text = std::fs::read_to_string(&path).expect("a model beside the capture");
    serde_json::from_str(&text).expect("JSON")
}

fn inputs(name: &str) -> Inputs {
    Inputs::of([captures().join(name).with_extension("pcap")])
}

fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {value}"))
}

/// A frame's place: port of the client, direction, stream offset.
type Place = (u64, &'static str, u64);

/// What the model says of a frame, in the words of a listing.
fn told(frame: &Value) -> (Place, BTreeMap<String, Value>) {
    let crc = match frame.get("crc_ok").and_then(Value::as_bool) {
        None => "absent",
        Some(true) => "ok",
        Some(false) => "bad",
    };
    let kind = match (
        number(frame, "cmdcode"),
        frame["type"].as_str().expect("a type"),
    ) {
        (0, "request") => "heartbeat",
        (0, _) => "heartbeat-ack",
        (_, kind) => kind,
    };
    let dir = if frame["dir"] == "c2s" { "c2s" } else { "s2c" };
    let place = (number(frame, "conn_port"), dir, number(frame, "off"));
    let timeout = frame["timeout"].as_i64().filter(|ms| *ms >= 0);
    let fields = [
        ("kind", Value::from(kind)),
        ("id", frame["id"].clone()),
        ("bytes", frame["total"].clone()),
        ("class", frame["class"].clone()),
        ("headers", frame["headers"].clone()),
        ("timeout_ms", timeout.map_or(Value::Null, Value::from)),
        ("status", frame["status"].clone()),
        ("crc", Value::from(crc)),
        ("codec", frame["codec"].clone()),
    ];
    (place, fields.map(|(k, v)| (k.to_owned(), v)).into())
}

#[track_caller]
fn check(name: &str) {
    let model = model(name);
    let (seen, outcome) = pass(&inputs(name), &Options::FRAMES);

    let expected: BTreeMap<_, _> = model["frames"]
        .as_array()
        .expect("frames")
        .iter()
        .map(told)
        .collect();
    let mut found = BTreeMap::new();
    for (flow, direction, decoded) in &seen.frames {
        let frame = decoded.frame.as_ref().expect("the frame is whole");
        let dir = match direction {
            Direction::ToAcceptor => "c2s",
            Direction::ToOpener => "s2c",
        };
        let kind = match decoded.head.kind {
            Kind::Request => "request",
            Kind::Oneway => "oneway",
            Kind::Response => "response",
            Kind::Heartbeat => "heartbeat",
            Kind::HeartbeatAck => "heartbeat-ack",
            Kind::Goaway => "goaway",
            Kind::Unknown => "unknown",
        };
        let crc = match frame.crc() {
            Crc::Absent => "absent",
            Crc::Ok => "ok",
            Crc::Bad => "bad",
        };
        let headers: serde_json::Map<String, Value> = frame
            .headers()
            .texts()
            .map(|(key, value)| (key, Value::from(value)))
            .collect();
        let fields = [
            ("kind", Value::from(kind)),
            ("id", Value::from(decoded.head.id.0)),
            ("bytes", Value::from(decoded.head.len)),
            ("class", Value::from(frame.class())),
            ("headers", Value::from(headers)),
            ("timeout_ms", Value::from(decoded.head.timeout_ms)),
            ("status", Value::from(decoded.head.status)),
            ("crc", Value::from(crc)),
            ("codec", Value::from(decoded.head.codec)),
        ];
        let place = (u64::from(flow.opener.port()), dir, decoded.offset);
        let twice = found.insert(
            place,
            BTreeMap::from(fields.map(|(k, v)| (k.to_owned(), v))),
        );
        assert!(twice.is_none(), "{name}: two frames at {place:?}");
    }
    assert_eq!(found.len(), expected.len(), "{name}: number of frames");
    for (place, expected) in &expected {
        assert_eq!(found.get(place), Some(expected), "{name}: {place:?}");
    }

    let ledger = &outcome.ledger;
    assert_eq!(ledger.packets.total, number(&model, "packets"), "{name}");
    // There, requests counts one-ways too and heartbeats both directions.
    let frames = &ledger.frames;
    assert_eq!(
        frames.requests + frames.oneways,
        number(&model, "requests"),
        "{name}"
    );
    assert_eq!(frames.responses, number(&model, "responses"), "{name}");
    assert_eq!(frames.heartbeats, number(&model, "heartbeats"), "{name}");
    assert_eq!(frames.cut, 0, "{name}");
    let streams = model["streams"].as_array().expect("streams");
    let bytes: u64 = streams.iter().map(|stream| number(stream, "bytes")).sum();
    assert_eq!(ledger.bytes.framed, bytes, "{name}");
    assert_eq!(
        ledger.bytes.payload - ledger.bytes.duplicate,
        bytes,
        "{name}"
    );
    assert_eq!(ledger.gaps, [], "{name}");
    assert!(ledger.findings.is_empty(), "{name}: {:?}", ledger.findings);

    // Every request of these captures was answered, every answer was asked for.
    for exchange in &seen.exchanges {
        let is_settled = matches!(exchange.outcome, Ending::Answered | Ending::Oneway);
        assert!(is_settled, "{name}: {:?}", exchange.outcome);
    }
    let halves = |half: fn(&Exchange) -> bool| seen.exchanges.iter().filter(|e| half(e)).count();
    assert_eq!(
        halves(|e| e.request.is_some()) + halves(|e| e.response.is_some()),
        expected.len(),
        "{name}"
    );

    // Heads alone give the same account and the same heads at the same places.
    let (heads, quick) = pass(&inputs(name), &Options::HEADS);
    assert_eq!(&quick.ledger, ledger, "{name}");
    let place = |(flow, direction, decoded): &(std::sync::Arc<_>, _, _)| {
        let flow: &meshproof_replay::stream::Flow = flow;
        let decoded: &meshproof_wire::decoder::Decoded<_> = decoded;
        (flow.id, *direction, decoded.offset, decoded.head)
    };
    assert!(
        heads
            .frames
            .iter()
            .map(place)
            .eq(seen.frames.iter().map(place)),
        "{name}"
    );
}

#[test]
fn agrees_with_the_models() {
    for name in KNOWN {
        check(name);
    }
}

#[test]
fn every_capture_of_a_known_protocol_is_judged() {
    let mut known: Vec<String> = std::fs::read_dir(captures())
        .expect("the folder of captures")
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".pcap").map(str::to_owned))
        .filter(|name| name.starts_with("bolt") || name.starts_with("sofa"))
        .filter(|name| !name.contains("lossy"))
        .collect();
    known.sort();
    assert_eq!(known, KNOWN);
}

#[test]
fn other_protocols_are_foreign_and_named() {
    let name = "dubbo_hessian2";
    let (seen, outcome) = pass(&inputs(name), &Options::FRAMES);
    let model = model(name);
    let streams = model["streams"].as_array().expect("streams");
    let bytes: u64 = streams.iter().map(|stream| number(stream, "bytes")).sum();
    assert_eq!(outcome.ledger.bytes.foreign, bytes);
    assert_eq!(outcome.ledger.frames.total, 0);
    assert!(seen.exchanges.is_empty());
    let named: Vec<_> = outcome.spoken.keys().copied().collect();
    assert_eq!(named, ["dubbo"]);
}

/// The model of TR was made by another decoder; ids it does not tell.
#[test]
fn tr_agrees_with_its_model() {
    let name = "tr_hessian_stub";
    let model = model(name);
    let (seen, outcome) = pass(&inputs(name), &Options::FRAMES);
    let expected: BTreeMap<_, _> = model["frames"]
        .as_array()
        .expect("frames")
        .iter()
        .map(|frame| {
            let is_heartbeat = frame["class"] == "com.taobao.remoting.impl.ConnectionHeartBeat";
            let kind = match (frame["type"].as_str(), is_heartbeat, &frame["direction"]) {
                (Some("request"), true, _) => Kind::Heartbeat,
                (Some("response"), true, _) => Kind::HeartbeatAck,
                (Some("request"), false, Value::Number(one)) if one.as_u64() == Some(1) => {
                    Kind::Oneway
                }
                (Some("request"), ..) => Kind::Request,
                _ => Kind::Response,
            };
            let dir = frame["dir"].as_str().expect("a direction").to_owned();
            let place = (dir, number(frame, "off"));
            let class = frame["class"].as_str().map(str::to_owned);
            (
                place,
                (
                    kind,
                    class,
                    number(frame, "total"),
                    number(frame, "serialize"),
                ),
            )
        })
        .collect();
    let found: BTreeMap<_, _> = seen
        .frames
        .iter()
        .map(|(_, direction, decoded)| {
            let dir = match direction {
                Direction::ToAcceptor => "c2s".to_owned(),
                Direction::ToOpener => "s2c".to_owned(),
            };
            let head = decoded.head;
            let class = decoded.frame.as_ref().and_then(|frame| frame.class());
            let told = (
                head.kind,
                class.map(str::to_owned),
                head.len,
                u64::from(head.codec),
            );
            ((dir, decoded.offset), told)
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(outcome.ledger.check(), Ok(()));
    let bytes = &outcome.ledger.bytes;
    assert_eq!(bytes.framed, bytes.payload);
    for exchange in &seen.exchanges {
        let listing = Listing::of(exchange);
        if let Some(answer) = &listing.response {
            assert_eq!(answer.host.as_deref(), Some("10.15.246.182:12201"));
        }
        if listing.kind == "call" {
            assert_eq!(listing.method.as_deref(), Some("hello"));
            let asked = listing.request.expect("a request");
            assert_eq!(asked.timeout_ms, Some(3000));
            assert_eq!(listing.outcome, "answered");
        }
    }
}

#[test]
fn a_push_is_asked_by_the_server() {
    let (seen, _) = pass(&inputs("sofaregistry_pub_sub"), &Options::FRAMES);
    let pushed: Vec<Listing> = seen
        .exchanges
        .iter()
        .map(Listing::of)
        .filter(|listing| listing.from == "server")
        .collect();
    assert_eq!(pushed.len(), 1);
    let push = serde_json::to_value(&pushed[0]).expect("JSON");
    assert_eq!(push["id"], 3649);
    assert_eq!(push["kind"], "call");
    assert_eq!(push["outcome"], "answered");
    assert_eq!(
        push["request"]["class"],
        "com.alipay.sofa.registry.core.model.ReceivedData"
    );
    assert_eq!(push["response"]["status"], "success");
}

#[test]
fn a_call_is_listed_field_by_field() {
    let (seen, _) = pass(&inputs("sofarpc_bolt_url_appName"), &Options::FRAMES);
    let listing = serde_json::to_value(Listing::of(&seen.exchanges[0])).expect("JSON");
    let keys: Vec<_> = listing.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "flow",
            "connection",
            "hop",
            "protocol",
            "kind",
            "from",
            "id",
            "service",
            "method",
            "app",
            "trace",
            "request",
            "response",
            "outcome",
            "late"
        ]
    );
    let keys: Vec<_> = listing["request"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(
        keys,
        [
            "packet",
            "at_ns",
            "offset",
            "bytes",
            "class",
            "codec",
            "headers",
            "timeout_ms",
            "crc"
        ]
    );
    let keys: Vec<_> = listing["response"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(
        keys,
        [
            "packet",
            "at_ns",
            "offset",
            "bytes",
            "class",
            "codec",
            "headers",
            "status",
            "status_code",
            "exception",
            "crc"
        ]
    );
    assert_eq!(listing["flow"], "10.15.232.248:35308>10.15.246.182:12200");
    assert_eq!(listing["hop"], "inbound");
    assert_eq!(listing["service"], "com.alipay.demo.SampleService:1.0");
    assert_eq!(listing["method"], "hello");
    assert_eq!(listing["app"], "sample-client");
    assert_eq!(listing["trace"], "0a0fe8f8179542347102210019022");
    assert_eq!(listing["request"]["codec"], "hessian2");
    assert_eq!(listing["request"]["timeout_ms"], 3000);
    assert_eq!(
        listing["request"]["at_ns"].as_u64().map(|ns| ns > 0),
        Some(true)
    );
    assert_eq!(listing["response"]["exception"], false);
    assert_eq!(listing["response"]["status_code"], 0);
}

/// What tshark puts together of stream `index`: bytes of the client, bytes of the server.
fn follow(path: &Path, index: usize) -> Option<[Vec<u8>; 2]> {
    #[expect(clippy::disallowed_methods, reason = "tshark is a judge from outside")]
    let output = std::process::Command::new("tshark")
        .args(["-n", "-q", "-o", "tcp.reassemble_out_of_order:TRUE", "-z"])
        .arg(format!("follow,tcp,raw,{index}"))
        .arg("-r")
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut streams = [Vec::new(), Vec::new()];
    // Six lines of header; lines of the second node are indented.
    for line in text.lines().skip(6) {
        let side = usize::from(line.starts_with('\t'));
        let digits = line.trim();
        if digits.is_empty() || digits.starts_with('=') {
            continue;
        }
        for pair in digits.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).ok()?;
            streams[side].push(u8::from_str_radix(pair, 16).ok()?);
        }
    }
    Some(streams)
}

#[test]
fn agrees_with_tshark() {
    for name in KNOWN {
        let path = captures().join(name).with_extension("pcap");
        let (seen, _) = pass(&inputs(name), &Options::HEADS);
        for (flow, streams) in &seen.bytes {
            let Some(followed) = follow(&path, flow.id.0 as usize) else {
                eprintln!("SKIPPED: needs tshark");
                return;
            };
            assert_eq!(&followed, streams, "{name}: {flow}");
        }
    }
}
