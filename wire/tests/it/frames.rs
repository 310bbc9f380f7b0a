//! The BOLT frames of the captures.

use bytes::Bytes;
use meshproof_wire::{Frame, bolt};

use crate::captures::{folder, streams};

/// Every frame of a capture, stream by stream.
pub(crate) fn frames(name: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    for stream in streams(name) {
        let bytes = Bytes::from(stream.bytes);
        let mut at = 0;
        while at < bytes.len() {
            let bolt::Step::Head(head) = bolt::Head::parse(&bytes[at..]) else {
                panic!("{name}: no frame at {at} of {}", stream.src);
            };
            let end = at + head.frame_len() as usize;
            frames.push(Frame::parse(bytes.slice(at..end)).expect("a whole frame"));
            at = end;
        }
    }
    frames
}

/// The captures that speak BOLT.
pub(crate) fn bolt_captures() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder of captures")
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter(|name| name.starts_with("bolt_") || name.starts_with("sofa"))
        .filter_map(|name| name.strip_suffix(".pcap").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 8, "captures are missing: {names:?}");
    names
}
