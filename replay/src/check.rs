//! Properties that hold for any bytes at all: called by tests with bytes that they make, and by
//! the fuzz targets with bytes that nobody would think of.

use std::io::Cursor;

use crate::capture::{Captures, Error, Packets, Writer};
use crate::packet::{self, Parsed};

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

fn open(bytes: Vec<u8>) -> Result<Captures, Error> {
    Captures::from_reader("bytes", Cursor::new(bytes))
}
