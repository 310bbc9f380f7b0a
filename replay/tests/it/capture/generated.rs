//! Generated captures: all that is there is found, and nothing else.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use meshproof_fixtures::generate::{Plan, Truth, generate};
use meshproof_replay::capture::Captures;
use meshproof_replay::pipeline::{self, Options, Outcome, Visitor};
use meshproof_replay::stream::{Direction, Flow, Mark};
use meshproof_wire::Kind;
use meshproof_wire::decoder::Decoded;

/// Frames by what the truth calls them; the value says whether all bytes are there.
fn sent(lines: &[u8]) -> HashMap<String, bool> {
    std::str::from_utf8(lines)
        .unwrap()
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(key, whole)| (key.to_owned(), whole == "whole"))
        .collect()
}

#[derive(Default)]
struct Found(Vec<String>);

impl Visitor for Found {
    fn frame(&mut self, flow: &Arc<Flow>, direction: Direction, frame: &Decoded<Mark>) {
        if frame.missing > 0 {
            return;
        }
        let kind = match frame.head.kind {
            Kind::Request => "request",
            Kind::Oneway => "oneway",
            Kind::Response => "response",
            Kind::Heartbeat => "heartbeat",
            Kind::HeartbeatAck => "heartbeat-ack",
            other => panic!("nobody sent {other:?}"),
        };
        self.0.push(format!(
            "{flow} {} {direction} {kind} {} {}",
            flow.connection, frame.head.id, frame.head.len
        ));
    }
}

fn make(plan: &Plan) -> (Vec<u8>, Truth, HashMap<String, bool>) {
    let (mut capture, mut lines) = (Vec::new(), Vec::new());
    let truth = generate(plan, &mut capture, &mut lines).unwrap();
    let sent = sent(&lines);
    assert_eq!(sent.len() as u64, truth.frames_sent.total, "each line once");
    (capture, truth, sent)
}

fn read(capture: Vec<u8>, options: &Options) -> (Outcome, Vec<String>) {
    let mut captures = Captures::from_reader("generated", Cursor::new(capture)).unwrap();
    let mut found = Found::default();
    let outcome = pipeline::read(&mut captures, options, &mut found).unwrap();
    assert_eq!(captures.findings(), []);
    outcome.ledger.check().unwrap();
    (outcome, found.0)
}

#[test]
fn without_loss_every_frame_is_found() {
    let plan = Plan {
        capture_bytes: 3 << 20,
        // Far more disorder than real traffic has.
        reorder: 0.1,
        retransmit: 0.1,
        ..Plan::default()
    };
    let (capture, truth, sent) = make(&plan);
    assert_eq!(make(&plan).0, capture, "the same plan, the same bytes");
    assert!(sent.values().all(|whole| *whole));
    assert_eq!(truth.frames_sent, truth.frames_whole);
    let (outcome, found) = read(capture, &Options::HEADS);
    assert_eq!(found.len(), sent.len());
    for key in &found {
        assert!(sent.contains_key(key), "nobody sent {key}");
    }
    let frames = outcome.ledger.frames;
    let expected = truth.frames_sent;
    assert_eq!(
        (
            frames.requests,
            frames.oneways,
            frames.responses,
            frames.heartbeats
        ),
        (
            expected.requests,
            expected.oneways,
            expected.responses,
            expected.heartbeats
        )
    );
    assert_eq!(outcome.ledger.packets.total, truth.packets);
    assert_eq!(outcome.ledger.bytes.payload, truth.payload_bytes);
    assert_eq!(outcome.ledger.bytes.framed, expected.bytes);
    assert_eq!(outcome.ledger.gaps, []);
}

/// A parser that stops at a gap keeps 76 to 85 %.
#[test]
fn with_loss_and_starts_in_mid_stream_nearly_every_whole_frame_is_found_and_none_is_wrong() {
    for seed in 1..=3 {
        let plan = Plan {
            capture_bytes: 6 << 20,
            seed,
            loss: 0.0005,
            midstream: 0.3,
            ..Plan::default()
        };
        let (capture, truth, sent) = make(&plan);
        assert!(truth.segments.missing > 0 && truth.midstream_connections > 5);
        let (_, found) = read(capture, &Options::FRAMES);
        let mut right = 0;
        for key in &found {
            match sent.get(key) {
                Some(true) => right += 1,
                wrong => panic!("{key}: {wrong:?}"),
            }
        }
        let whole = truth.frames_whole.total;
        assert!(
            right * 1000 >= whole * 995,
            "seed {seed}: {right} of {whole} frames"
        );
    }
}
