//! Capture files: formats, order, damage.

use std::path::PathBuf;

use meshproof_replay::capture::{Captures, Inputs, Packets};
use meshproof_replay::packet::{self, Parsed};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/captures")
        .join(name)
}

#[test]
fn a_real_capture_is_read_to_its_end() {
    let inputs = Inputs::of([fixture("sofarpc_bolt_hessian2.pcap")]);
    let mut captures = Captures::open(&inputs).unwrap();
    let (mut packets, mut payload) = (0, 0);
    while let Some(packet) = captures.next().unwrap() {
        packets += 1;
        assert_eq!(packet.number, packets);
        if let Parsed::Tcp(segment) = packet::parse(packet.link, packet.data, packet.orig_len) {
            payload += segment.payload.len();
        }
    }
    assert_eq!(captures.findings(), []);
    assert!(packets > 10 && payload > 1000, "{packets} {payload}");
}
