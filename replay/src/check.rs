//! Properties that hold for any bytes at all: called by tests with bytes that they make, and by
//! the fuzz targets with bytes that nobody would think of.

use std::io::Cursor;

use crate::capture::{Captures, Error, Packets, Writer};
use crate::map::Map;
use crate::packet::{self, Parsed};
use crate::rewrite;

/// Reads `bytes` as a capture.
///
/// # Panics
///
/// When one of these does not hold:
/// - a packet's number counts from 1, its length on the wire is no less than what was captured;
/// - the ranges of a segment lie within its packet;
/// - the end stays the end;
/// - what was read, written as pcapng and read again, is the same, without a finding of damage.
pub fn capture(bytes: &[u8]) {
    let Ok(mut captures) = open(bytes.to_vec()) else {
        return;
    };
    let Ok(mut writer) = Writer::new(Vec::new()) else {
        return;
    };
    let mut seen = Vec::new();
    // Bytes in memory give no error of the operating system.
    while let Ok(Some(packet)) = captures.next() {
        assert_eq!(packet.number, seen.len() as u64 + 1, "numbers");
        assert!(packet.orig_len as usize >= packet.data.len(), "lengths");
        if let Parsed::Tcp(segment) = packet::parse(packet.link, packet.data, packet.orig_len) {
            assert!(
                packet.data.get(segment.payload.clone()).is_some(),
                "payload"
            );
            assert!(packet.data.get(segment.options).is_some(), "options");
            assert!(segment.payload_len as usize >= segment.payload.len(), "cut");
        }
        assert!(writer.write(&packet).is_ok(), "writing to memory");
        seen.push((
            packet.at_ns,
            packet.link,
            packet.orig_len,
            packet.data.to_vec(),
        ));
    }
    assert!(matches!(captures.next(), Ok(None)), "the end");
    let written = writer.finish().unwrap_or_default();
    let again = open(written);
    assert!(again.is_ok(), "what was written is a capture");
    let Ok(mut again) = again else {
        return;
    };
    for (at_ns, link, orig_len, data) in seen {
        let next = again.next();
        assert!(matches!(next, Ok(Some(_))), "written and gone");
        if let Ok(Some(packet)) = next {
            assert_eq!(
                (packet.at_ns, packet.link, packet.orig_len, packet.data),
                (at_ns, link, orig_len, &data[..])
            );
        }
    }
    assert!(matches!(again.next(), Ok(None)), "more than was written");
}

/// Reads `bytes` as a rewrite map.
///
/// # Panics
///
/// When one of these does not hold:
/// - a map that is refused says so with a message;
/// - a map that is accepted, turned round twice, is the same map;
/// - a map that is accepted rewrites a text (without end or panic).
pub fn map(bytes: &[u8]) {
    let map = match meshproof_input::text("map.yaml", bytes.to_vec())
        .and_then(|text| Map::parse("map.yaml", &text))
    {
        Ok(map) => map,
        Err(problem) => {
            assert!(!problem.to_string().is_empty());
            return;
        }
    };
    if let Ok(back) = map.inverse() {
        let there = back.inverse().expect("an inverse has an inverse");
        assert_eq!(there, map);
    }
    rewrite::check_texts(&map);
}

/// A map that reaches packets, header maps and bodies, with changes of length.
const MAP: &str = "networks: {0.0.0.0/1: 128.0.0.0/1}\n\
    apps: {sample-client: c, sample-server: a-name-that-is-longer-than-it-was}\n\
    vips: {sample-pool.zone1.alipay.net: offline-pool.z9.a-much-longer-domain.test}\n\
    strings: [{pattern: '[ae]', to: 'oo'}]\n\
    redact: {key: long enough, fields: [hosts]}\n";

/// Reads `bytes` as a capture and rewrites it.
///
/// # Panics
///
/// When one of these does not hold:
/// - every packet read is accounted for;
/// - no frame loses its structure;
/// - what was written can be read again, packet by packet.
pub fn rewrite(bytes: &[u8]) {
    let open = || open(bytes.to_vec());
    let (Ok(mut first), Ok(mut second)) = (open(), open()) else {
        return;
    };
    for text in [
        MAP,
        "networks: {0.0.0.0/1: 128.0.0.0/1}\nkeep: [mac, foreign, non-tcp, undecodable]\n",
    ] {
        let map = Map::parse("map", text).expect("the map is good");
        let mut out = Writer::new(Vec::new()).expect("memory");
        let Ok(summary) = rewrite::rewrite_read_twice(&mut first, &mut second, &map, &mut out)
        else {
            return;
        };
        assert!(summary.closes(), "{summary:?}");
        assert_eq!(summary.findings.get("rewrite-unsound"), None);
        let out = out.finish().expect("memory");
        let mut again = self::open(out).expect("a capture");
        let mut packets = 0;
        while let Ok(Some(_)) = again.next() {
            packets += 1;
        }
        assert_eq!(packets, summary.packets.written);
        let (Ok(next), Ok(after)) = (open(), open()) else {
            return;
        };
        (first, second) = (next, after);
    }
}

fn open(bytes: Vec<u8>) -> Result<Captures, Error> {
    Captures::from_reader("bytes", Cursor::new(bytes))
}
