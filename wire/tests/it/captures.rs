//! The streams of the captures in `fixtures/captures`, put together simply: these captures have
//! Ethernet, IPv4 and no hole, so ordering segments by sequence number is all there is to do.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

/// One direction of one connection.
pub(crate) struct Stream {
    /// Sender.
    pub(crate) src: SocketAddrV4,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures")
}

/// What must be found in a capture.
pub(crate) fn model(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// All streams with payload.
pub(crate) fn streams(name: &str) -> Vec<Stream> {
    let file = std::fs::read(folder().join(format!("{name}.pcap"))).unwrap();
    assert_eq!(
        file[..4],
        [0xd4, 0xc3, 0xb2, 0xa1],
        "little-endian, microseconds"
    );
    let mut segments: BTreeMap<(SocketAddrV4, SocketAddrV4), BTreeMap<u32, &[u8]>> =
        BTreeMap::new();
    let mut first_seq = BTreeMap::new();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let ip = &rest[16 + 14..16 + len];
        rest = &rest[16 + len..];
        if ip[0] >> 4 != 4 || ip[9] != 6 {
            continue;
        }
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let tcp = &ip[usize::from(ip[0] & 15) * 4..total];
        let address = |at: usize, port: usize| {
            let ip = Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
            SocketAddrV4::new(ip, u16::from_be_bytes([tcp[port], tcp[port + 1]]))
        };
        let key = (address(12, 0), address(16, 2));
        let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        if tcp[13] & 2 != 0 {
            first_seq.insert(key, seq.wrapping_add(1));
        }
        let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
        if !payload.is_empty() {
            let at = seq.wrapping_sub(first_seq[&key]);
            segments.entry(key).or_default().insert(at, payload);
        }
    }
    let stream = |((src, _), segments): (_, BTreeMap<u32, &[u8]>)| {
        let mut bytes: Vec<u8> = Vec::new();
        for (at, payload) in segments {
            let at = at as usize;
            assert!(at <= bytes.len(), "{name} has a hole");
            let new = payload.get(bytes.len() - at..).unwrap_or(&[]);
            bytes.extend_from_slice(new);
        }
        Stream { src, bytes }
    };
    segments.into_iter().map(stream).collect()
}
