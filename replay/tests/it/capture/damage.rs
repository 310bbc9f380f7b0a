//! What is broken is a finding or one clear error, and never a panic.

use expect_test::{Expect, expect};
use meshproof_replay::capture::{Captures, Inputs, Packets, What};
use proptest::prelude::*;

use super::build::{Order, Pcap, PcapNg, gzip, zstd};
use super::{fixture, open_bytes, render};

#[track_caller]
fn check(bytes: Vec<u8>, expect: Expect) {
    expect.assert_eq(&render(&mut open_bytes(bytes).unwrap()));
}

#[track_caller]
fn check_error(bytes: &[u8], expect: Expect) {
    let Err(error) = open_bytes(bytes.to_vec()) else {
        panic!("was opened");
    };
    expect.assert_eq(&error.to_string());
}

#[test]
fn no_capture_is_one_clear_error() {
    check_error(
        b"",
        expect![
            "test: the file is empty; expected a pcap or pcapng header (was the capture stopped before its first flush?)"
        ],
    );
    check_error(
        b"ab",
        expect![
            "test: byte 0: expected a pcap or pcapng magic number, found 6162; give a file written by tcpdump or Wireshark"
        ],
    );
    check_error(
        b"\x7fELF and more",
        expect![
            "test: byte 0: expected a pcap or pcapng magic number, found 7f454c46; give a file written by tcpdump or Wireshark"
        ],
    );
    check_error(
        &Pcap::usual().bytes[..20],
        expect![
            "test: byte 20: expected a header of 24 bytes, found 20; the file was cut off; copy it again"
        ],
    );
    check_error(
        &PcapNg::new(Order::Big).bytes[..20],
        expect![
            "test: byte 0: expected a pcapng section header, but the file ends after 20 of 28 bytes; the header is damaged; copy the file again"
        ],
    );
    let mut version = Pcap::usual().bytes;
    version[4] = 9;
    check_error(
        &version,
        expect![
            "test: byte 4: expected pcap version 2, found 9; the header is damaged; copy the file again"
        ],
    );
    let mut version = PcapNg::new(Order::Little).bytes;
    version[12] = 9;
    check_error(
        &version,
        expect![
            "test: byte 0: expected a pcapng section header, but the section is not of pcapng version 1; the header is damaged; copy the file again"
        ],
    );
    let mut order = PcapNg::new(Order::Little).bytes;
    order[8] = 9;
    check_error(
        &order,
        expect![
            "test: byte 0: expected a pcapng section header, but the section header has no byte-order magic; the header is damaged; copy the file again"
        ],
    );
    check_error(
        b"\x1f\x8b\x08 not really",
        expect![
            "test: byte 0: expected compressed data, found damage: invalid gzip header; copy the file again"
        ],
    );
    check_error(
        b"\x28\xb5\x2f\xfd not really",
        expect![
            "test: byte 0: expected compressed data, found damage: Data corruption detected; copy the file again"
        ],
    );
    check_error(
        &gzip(b"text"),
        expect![
            "test: byte 0: expected a pcap or pcapng magic number, found 74657874; give a file written by tcpdump or Wireshark"
        ],
    );
}

#[test]
fn a_missing_file_is_named() {
    for inputs in [
        Inputs::default(),
        Inputs::of(["/nowhere/x.pcap"]),
        Inputs::of(["/nowhere/*.pcap"]),
        Inputs::of(["/nowhere/[.pcap"]),
    ] {
        assert!(Captures::open(&inputs).is_err());
    }
    let Err(error) = Captures::open(&Inputs::of(["/nowhere/*.pcap"])) else {
        panic!("was opened");
    };
    expect!["/nowhere/*.pcap: no file matches; expected at least one pcap or pcapng file"]
        .assert_eq(&error.to_string());
}

#[test]
fn absurd_lengths() {
    check(
        Pcap::usual()
            .packet(1, 0, b"ok")
            .record([2, 0, u32::MAX, u32::MAX], b"rest")
            .bytes,
        expect![[r#"
            1 1.000000000 Ethernet A "ok" of 2
            test: byte 42, packet 2: the record claims 4294967295 bytes, more than 262144; what follows is not read [capture-absurd-length]
        "#]],
    );
    check(
        Pcap::usual().record([2, 0, 262_145, 262_145], b"").bytes,
        expect![[r#"
            test: byte 24, packet 1: the record claims 262145 bytes, more than 262144; what follows is not read [capture-absurd-length]
        "#]],
    );
    let mut block = PcapNg::new(Order::Little)
        .interface(1, 0, &[])
        .packet(0, 1, b"ok")
        .packet(0, 2, b"gone");
    let at = block.bytes.len() - 32;
    block.bytes[at..at + 4].copy_from_slice(&0xffff_fffcu32.to_le_bytes());
    check(
        block.bytes,
        expect![[r#"
        1 0.000001000 Ethernet A "ok" of 2
        test: byte 84, packet 2: the record claims 4294967292 bytes, more than 4259840; what follows is not read [capture-absurd-length]
    "#]],
    );
}

#[test]
fn lengths_that_contradict_each_other() {
    let file = || {
        PcapNg::new(Order::Little)
            .interface(1, 0, &[])
            .packet(0, 1, b"kept")
            .packet(0, 2, b"gone")
    };
    let last = file().bytes.len() - 36;
    for (at, byte) in [(4, 6), (4, 12), (4, 37), (20, 200), (32, 40)] {
        let mut bytes = file().bytes;
        bytes[last + at] = byte;
        let mut captures = open_bytes(bytes).unwrap();
        let text = render(&mut captures);
        assert_eq!(text.lines().count(), 2, "{at} {byte}: {text}");
        assert!(text.contains("[capture-bad-block]"), "{at} {byte}: {text}");
    }
}

#[test]
fn times_that_are_none() {
    check(
        Pcap::usual()
            .packet(5, 2_000_000, b"a")
            .packet(6, 0, b"b")
            .packet(3, 0, b"c")
            .packet(2, 0, b"d")
            .bytes,
        expect![[r#"
            1 7.000000000 Ethernet A "a" of 1
            2 6.000000000 Ethernet A "b" of 1
            3 3.000000000 Ethernet A "c" of 1
            4 2.000000000 Ethernet A "d" of 1
            test: byte 24, packet 1: the fraction of the time is a second or more [capture-bad-time]
            test: byte 57, packet 2: time steps back by 1000000000 ns (3 times) [capture-time-backwards]
        "#]],
    );
}

/// A small file of each format.
fn samples() -> [Vec<u8>; 3] {
    [
        Pcap::usual()
            .packet(1, 0, b"abc")
            .packet(2, 0, b"")
            .packet(3, 0, b"defg")
            .bytes,
        PcapNg::new(Order::Little)
            .clock(9, 1)
            .packet(0, 1, b"abc")
            .block(0x77, b"what")
            .packet(0, 2, b"")
            .bytes,
        PcapNg::new(Order::Big)
            .interface(1, 0, &[])
            .simple_packet(3, b"abc")
            .old_packet(0, 2, b"de")
            .section(Order::Little)
            .interface(1, 0, &[])
            .packet(0, 2, b"fgh")
            .bytes,
    ]
}

/// Reads what can be read: each packet as it comes, or what is wrong.
fn packets(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<What>), String> {
    let mut captures = open_bytes(bytes.to_vec()).map_err(|error| error.to_string())?;
    let mut packets = Vec::new();
    while let Some(packet) = captures.next().map_err(|error| error.to_string())? {
        assert!(packet.orig_len as usize >= packet.data.len());
        packets.push(packet.data.to_vec());
    }
    let findings = captures.findings().into_iter().map(|f| f.what).collect();
    Ok((packets, findings))
}

#[test]
fn a_cut_at_every_byte_is_an_error_a_finding_or_an_end() {
    for sample in samples() {
        let (whole, _) = packets(&sample).unwrap();
        let mut seen = 0;
        for cut in 0..sample.len() {
            for bytes in [sample[..cut].to_vec(), gzip(&sample[..cut])] {
                let Ok((some, findings)) = packets(&bytes) else {
                    assert_eq!(seen, 0, "an error behind the header, at {cut}");
                    continue;
                };
                assert_eq!(some[..], whole[..some.len()], "at {cut}");
                let cut_found = findings.iter().any(|w| matches!(w, What::Cut { .. }));
                assert!(
                    cut_found || is_boundary(&sample, cut),
                    "silence at {cut}: {findings:?}"
                );
                seen = seen.max(some.len());
            }
        }
        assert!(seen < whole.len());
    }
}

/// Whether a record or block starts at this offset.
fn is_boundary(sample: &[u8], at: usize) -> bool {
    let le = |at: usize| u32::from_le_bytes(sample[at..at + 4].try_into().unwrap()) as usize;
    let be = |at: usize| u32::from_be_bytes(sample[at..at + 4].try_into().unwrap()) as usize;
    if sample[0] == 0xd4 {
        let mut next = 24;
        while next < at {
            next += 16 + le(next + 8);
        }
        return next == at;
    }
    let mut next = 0;
    let mut big = false;
    while next < at {
        if sample[next..].starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            big = sample[next + 8] == 0x1a;
        }
        next += if big { be(next + 4) } else { le(next + 4) };
    }
    next == at
}

#[test]
fn compressed_data_cut_or_damaged_in_the_middle() {
    let mut file = Pcap::usual();
    for n in 0..6000u32 {
        let noise: Vec<u8> = (0..100u32)
            .map(|i| (n.wrapping_mul(2_654_435_761).wrapping_add(i * i * 40_503) >> 13) as u8)
            .collect();
        file = file.packet(n, 0, &noise);
    }
    for compressed in [gzip(&file.bytes), zstd(&file.bytes)] {
        let (whole, none) = packets(&compressed).unwrap();
        assert_eq!((whole.len(), none.len()), (6000, 0));
        let half = &compressed[..compressed.len() / 2];
        let (some, findings) = packets(half).unwrap();
        assert!(some.len() < 6000);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let mut flipped = compressed.clone();
        for byte in &mut flipped[compressed.len() / 2..][..64] {
            *byte ^= 0xff;
        }
        // What comes out of damaged deflate data may look like damage of the capture itself.
        let (some, findings) = packets(&flipped).unwrap();
        assert!(some.len() <= 6000 && !findings.is_empty(), "{findings:?}");
    }
}

#[test]
fn a_cut_real_capture_keeps_what_was_whole() {
    let bytes = std::fs::read(fixture("bolt_v1_basic.pcap")).unwrap();
    let (whole, _) = packets(&bytes).unwrap();
    let (some, findings) = packets(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(some[..], whole[..whole.len() - 1]);
    assert!(matches!(findings[..], [What::Cut { .. }]), "{findings:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_flipped_do_not_panic(which in 0usize..3, flips in prop::collection::vec((0usize..200, any::<u8>()), 1..6)) {
        let mut sample = samples()[which].clone();
        for (at, byte) in flips {
            let at = at % sample.len();
            sample[at] = byte;
        }
        meshproof_replay::check::capture(&sample);
    }

    #[test]
    fn any_bytes_do_not_panic(which in 0usize..3, tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = samples()[which][..28].to_vec();
        bytes.extend(tail);
        meshproof_replay::check::capture(&bytes);
    }
}
