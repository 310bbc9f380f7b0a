//! Captures through the rewriter.

mod build;
mod built;
mod judge;
mod protocols;
mod real;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshproof_replay::capture::{Captures, Inputs, Link, Packets, Writer};
use meshproof_replay::map::Map;
use meshproof_replay::pipeline::{self, Options, Visitor};
use meshproof_replay::rewrite::{Limits, Summary, rewrite};
use meshproof_replay::stream::{Direction, Flow, Mark};
use meshproof_wire::Frame;
use meshproof_wire::decoder::Decoded;

/// A packet as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Raw {
    at_ns: u64,
    link: Link,
    data: Vec<u8>,
    orig_len: u32,
}

/// Streams and frames of a capture, by the opener's port and direction.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    streams: BTreeMap<(u16, Direction), Vec<u8>>,
    frames: BTreeMap<(u16, Direction), Vec<Frame>>,
    cut: usize,
}

impl Visitor for Content {
    fn bytes(&mut self, flow: &Arc<Flow>, direction: Direction, _: u64, bytes: &[u8]) {
        self.streams
            .entry((flow.opener.port(), direction))
            .or_default()
            .extend_from_slice(bytes);
    }

    fn frame(&mut self, flow: &Arc<Flow>, direction: Direction, decoded: &Decoded<Mark>) {
        match &decoded.frame {
            Some(frame) => self
                .frames
                .entry((flow.opener.port(), direction))
                .or_default()
                .push(frame.clone()),
            None => self.cut += 1,
        }
    }
}

fn open(path: &Path) -> Captures {
    Captures::open(&Inputs::of([path])).expect("a capture")
}

fn raw(path: &Path) -> Vec<Raw> {
    let mut captures = open(path);
    let mut all = Vec::new();
    while let Some(packet) = captures.next().expect("a packet") {
        all.push(Raw {
            at_ns: packet.at_ns,
            link: packet.link,
            data: packet.data.to_vec(),
            orig_len: packet.orig_len,
        });
    }
    all
}

/// Reads a capture; its ledger must close and nothing may be missing.
fn content(path: &Path) -> Content {
    let mut content = Content::default();
    let outcome = pipeline::read(&mut open(path), &Options::FRAMES, &mut content).expect("packets");
    outcome.ledger.check().expect("the ledger closes");
    assert_eq!(
        outcome.ledger.findings.get("conflicting-overlap"),
        None,
        "copies differ"
    );
    content
}

#[track_caller]
fn map(text: &str) -> Map {
    Map::parse("map.yaml", text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Rewrites into `name` of `folder`.
fn rewritten(input: &Path, map: &Map, folder: &Path, name: &str) -> (PathBuf, Summary) {
    let path = folder.join(name);
    let mut writer = Writer::new(std::fs::File::create(&path).expect("a file")).expect("a header");
    let summary =
        rewrite(&mut open(input), map, Limits::USUAL, &mut writer).expect("a rewritten capture");
    writer.finish().expect("a file");
    assert!(summary.closes(), "{summary:?}");
    assert_eq!(summary.findings.get("rewrite-unsound"), None);
    (path, summary)
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/captures")
        .join(name)
        .with_extension("pcap")
}

/// Captures of protocols that are decoded.
const KNOWN: [&str; 15] = [
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
    "tr_hessian_stub",
];

/// Captures of protocols that are not.
const FOREIGN: [&str; 1] = ["dubbo_hessian2"];
