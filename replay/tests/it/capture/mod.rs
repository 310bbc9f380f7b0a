//! Capture files: formats, order, damage, writing.

mod build;
mod corpus;
mod damage;
mod formats;
mod generated;
mod judge;
mod order;
mod packets;
mod writing;

use std::fmt::Write as _;
use std::path::PathBuf;

use meshproof_replay::capture::{Captures, Error, Inputs, Packets};

/// A capture of the repository.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/captures")
        .join(name)
}

/// All captures of the repository.
pub(crate) fn fixtures() -> Vec<PathBuf> {
    let inputs = Inputs::of([fixture("*.pcap")]);
    let captures = Captures::open(&inputs).unwrap();
    let files: Vec<PathBuf> = captures.files().map(PathBuf::from).collect();
    assert!(files.len() > 10);
    files
}

/// Every packet on a line, then every finding.
fn render(captures: &mut Captures) -> String {
    let mut out = String::new();
    while let Some(packet) = captures.next().unwrap() {
        let text: String = packet.data.iter().map(|byte| char::from(*byte)).collect();
        writeln!(
            out,
            "{} {}.{:09} {:?} {} {:?} of {}",
            packet.number,
            packet.at_ns / 1_000_000_000,
            packet.at_ns % 1_000_000_000,
            packet.link,
            captures_source(packet.source),
            text,
            packet.orig_len
        )
        .unwrap();
    }
    // The end stays the end.
    assert!(captures.next().unwrap().is_none());
    for finding in captures.findings() {
        let path = finding.path.file_name().unwrap().to_string_lossy();
        let text = finding.to_string();
        let (_, text) = text.split_once(": ").unwrap();
        writeln!(out, "{path}: {text} [{}]", finding.what.name()).unwrap();
    }
    out
}

fn captures_source(source: u16) -> char {
    char::from(b'A' + source as u8)
}

fn open_bytes(bytes: Vec<u8>) -> Result<Captures, Error> {
    Captures::from_reader("test", std::io::Cursor::new(bytes))
}
