//! Headers: every way in which a segment is wrapped, and what is wrong with some.

use meshproof_replay::capture::Link;
use meshproof_replay::packet::{Flags, Parsed, Segment, Seq, parse};
use proptest::prelude::*;

const PAYLOAD: &[u8] = b"payload";

/// A TCP header with `options` words of options.
fn tcp(options: usize) -> Vec<u8> {
    let mut head = vec![0x2f, 0xac, 0xa3, 0x5c, 1, 2, 3, 4, 5, 6, 7, 8];
    head.extend([(5 + options as u8) << 4, 0x18, 0x10, 0x00, 0, 0, 0, 0]);
    head.resize(20 + options * 4, 1);
    head
}

fn ipv4(options: usize, protocol: u8, body: &[u8]) -> Vec<u8> {
    let len = 20 + options * 4;
    let mut head = vec![0x45 + options as u8, 0];
    head.extend(((len + body.len()) as u16).to_be_bytes());
    head.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 1, 2, 3, 10, 9, 8, 7]);
    head.resize(len, 1);
    [head, body.to_vec()].concat()
}

fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut head = vec![0x60, 0, 0, 0];
    head.extend((body.len() as u16).to_be_bytes());
    head.extend([next, 64]);
    head.extend([0xfd; 16]);
    head.extend([0xfe; 16]);
    [head, body.to_vec()].concat()
}

fn ethernet(tags: &[u16], ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut head = vec![2; 12];
    for tag in tags {
        head.extend(tag.to_be_bytes());
        head.extend([0, 5]);
    }
    head.extend(ethertype.to_be_bytes());
    [head, body.to_vec()].concat()
}

fn segment(options: usize) -> Vec<u8> {
    [tcp(options), PAYLOAD.to_vec()].concat()
}

#[track_caller]
fn is_tcp(link: Link, data: &[u8], orig_len: usize) -> Segment {
    match parse(link, data, orig_len as u32) {
        Parsed::Tcp(segment) => segment,
        other => panic!("{other:?}"),
    }
}

/// The segment is found with every field right.
#[track_caller]
fn check(link: Link, data: &[u8]) {
    let segment = is_tcp(link, data, data.len());
    assert_eq!((segment.src.port(), segment.dst.port()), (12204, 41820));
    assert_eq!(
        (segment.seq, segment.ack),
        (Seq(0x0102_0304), Seq(0x0506_0708))
    );
    assert_eq!((segment.flags, segment.window), (Flags(0x18), 4096));
    assert_eq!(&data[segment.payload.clone()], PAYLOAD);
    assert_eq!(segment.payload_len as usize, PAYLOAD.len());
    assert_eq!(segment.options, segment.tcp_at + 20..segment.payload.start);
    assert!(data[segment.options].iter().all(|byte| *byte == 1));
    assert_eq!(data[segment.tcp_at..][..2], [0x2f, 0xac]);
    match data[segment.ip_at] >> 4 {
        4 => assert_eq!(segment.src.to_string(), "10.1.2.3:12204"),
        _ => assert!(segment.dst.to_string().starts_with("[fefe:")),
    }
    // Cut anywhere by a snaplen: what is there is found, or the headers are cut.
    for cut in 0..data.len() {
        match parse(link, &data[..cut], data.len() as u32) {
            Parsed::Tcp(cut_one) => {
                assert_eq!(cut_one.payload.len(), cut - segment.payload.start);
                assert_eq!(cut_one.payload_len, segment.payload_len);
            }
            other => {
                assert!(cut < segment.payload.start, "{cut}: {other:?}");
                assert!(
                    matches!(other, Parsed::Malformed { .. }),
                    "{cut}: {other:?}"
                );
            }
        }
    }
}

#[test]
fn every_way_to_wrap_a_segment() {
    for options in [0, 1, 3, 10] {
        let segment = segment(options);
        for ip_options in [0, 1, 10] {
            let packet = ipv4(ip_options, 6, &segment);
            check(Link::Ethernet, &ethernet(&[], 0x0800, &packet));
            check(Link::Ethernet, &ethernet(&[0x8100], 0x0800, &packet));
            check(
                Link::Ethernet,
                &ethernet(&[0x88a8, 0x8100], 0x0800, &packet),
            );
            check(Link::RawIp, &packet);
            check(Link::Null, &[&[2, 0, 0, 0], &packet[..]].concat());
            check(Link::Loop, &[&[0, 0, 0, 2], &packet[..]].concat());
            let sll = [&[0; 14][..], &[8, 0], &packet].concat();
            check(Link::LinuxSll, &sll);
            let sll2 = [&[8, 0][..], &[0; 18], &packet].concat();
            check(Link::LinuxSll2, &sll2);
        }
        let hop_by_hop = [&[6, 1][..], &[0; 14], &segment].concat();
        let authentication = [&[0, 4][..], &[0; 22], &hop_by_hop].concat();
        let alone = [&[51, 0, 0, 0, 1, 2, 3, 4][..], &authentication].concat();
        for packet in [
            ipv6(6, &segment),
            ipv6(0, &hop_by_hop),
            ipv6(51, &authentication),
            ipv6(44, &alone),
        ] {
            check(Link::Ethernet, &ethernet(&[], 0x86dd, &packet));
            check(Link::RawIp, &packet);
            check(Link::Null, &[&[24, 0, 0, 0], &packet[..]].concat());
        }
    }
}

#[test]
fn padding_is_no_payload() {
    let mut data = ethernet(&[], 0x0800, &ipv4(0, 6, &tcp(0)));
    data.resize(60, 0);
    let segment = is_tcp(Link::Ethernet, &data, 60);
    assert_eq!((segment.payload, segment.payload_len), (54..54, 0));
    let mut data = ethernet(&[0x8100], 0x86dd, &ipv6(6, &segment_of_three()));
    data.resize(100, 0);
    let segment = is_tcp(Link::Ethernet, &data, 100);
    assert_eq!(&data[segment.payload], b"abc");
}

fn segment_of_three() -> Vec<u8> {
    [tcp(0), b"abc".to_vec()].concat()
}

#[test]
fn a_total_length_of_0_is_offload() {
    for link in [Link::Ethernet, Link::LinuxSll] {
        let mut packet = ipv4(0, 6, &segment(0));
        packet[2..4].fill(0);
        let data = match link {
            Link::Ethernet => ethernet(&[], 0x0800, &packet),
            _ => [&[0; 14][..], &[8, 0], &packet].concat(),
        };
        let found = is_tcp(link, &data, data.len());
        assert_eq!(&data[found.payload], PAYLOAD);
        // Cut by the snaplen as well.
        let found = is_tcp(link, &data, data.len() + 100_000);
        assert_eq!(found.payload_len as usize, PAYLOAD.len() + 100_000);
    }
    let mut packet = ipv6(6, &segment(0));
    packet[4..6].fill(0);
    let found = is_tcp(Link::RawIp, &packet, packet.len());
    assert_eq!(&packet[found.payload], PAYLOAD);
}

#[test]
fn what_is_no_segment() {
    let non_tcp = |link, data: &[u8]| match parse(link, data, data.len() as u32) {
        Parsed::NonTcp { addresses } => addresses.map(|(src, dst)| format!("{src}>{dst}")),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        non_tcp(Link::Ethernet, &ethernet(&[], 0x0806, &[0; 28])),
        None
    );
    assert_eq!(
        non_tcp(Link::Ethernet, &ethernet(&[0x8100], 46, &[0; 46])),
        None
    );
    assert_eq!(non_tcp(Link::Other(147), b"anything"), None);
    assert_eq!(non_tcp(Link::Null, &[7, 0, 0, 0, 1, 2]), None);
    let udp = ethernet(&[], 0x0800, &ipv4(0, 17, &[0; 40]));
    assert_eq!(
        non_tcp(Link::Ethernet, &udp).as_deref(),
        Some("10.1.2.3>10.9.8.7")
    );
    assert!(non_tcp(Link::RawIp, &ipv6(58, &[0; 8])).is_some());
    assert!(
        non_tcp(Link::RawIp, &ipv6(50, &[0; 40])).is_some(),
        "encrypted"
    );

    for flags in [[0x20, 0], [0, 1], [0x1f, 0xff]] {
        let mut packet = ipv4(0, 6, &segment(0));
        packet[6..8].copy_from_slice(&flags);
        let data = ethernet(&[], 0x0800, &packet);
        assert_eq!(
            parse(Link::Ethernet, &data, data.len() as u32),
            Parsed::Fragment
        );
    }
    for offset in [[0, 1], [0, 8], [0xff, 0xf8]] {
        let body = [&[6, 0][..], &offset, &[0; 4], &segment(0)].concat();
        let packet = ipv6(44, &body);
        assert_eq!(
            parse(Link::RawIp, &packet, packet.len() as u32),
            Parsed::Fragment
        );
    }
}

#[test]
fn headers_that_contradict_themselves() {
    let usual = ethernet(&[], 0x0800, &ipv4(0, 6, &segment(0)));
    for (at, byte) in [
        (14, 0x55), // version 5
        (14, 0x44), // a header of 16 bytes
        (17, 10),   // a total length less than the header
        (17, 39),   // a total length that ends inside the TCP header
        (46, 0x40), // a TCP header of 16 bytes
        (46, 0xf0), // a TCP header longer than the packet
    ] {
        let mut data = usual.clone();
        data[at] = byte;
        let parsed = parse(Link::Ethernet, &data, data.len() as u32);
        assert!(
            matches!(parsed, Parsed::Malformed { .. }),
            "{at} {byte}: {parsed:?}"
        );
    }
    // An endless chain of extension headers.
    let chain = [0u8; 400];
    let parsed = parse(Link::RawIp, &ipv6(0, &chain), 440);
    assert!(matches!(parsed, Parsed::Malformed { .. }), "{parsed:?}");
    for link in [Link::Ethernet, Link::RawIp, Link::LinuxSll, Link::Null] {
        assert!(matches!(parse(link, &[], 0), Parsed::Malformed { .. }));
    }
}

/// The IP header tells of more bytes than there were on the wire: what there is counts, and the
/// rest is missing.
#[test]
fn a_total_length_beyond_the_packet() {
    let mut data = ethernet(&[], 0x0800, &ipv4(0, 6, &segment(0)));
    data[17] += 5;
    let found = is_tcp(Link::Ethernet, &data, data.len());
    assert_eq!(found.payload.len(), PAYLOAD.len());
    assert_eq!(found.payload_len as usize, PAYLOAD.len() + 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The fast path and the general one agree: the same packet in a wrapping that takes the
    /// general one gives the same segment, some bytes further on.
    #[test]
    fn both_paths_agree(flips in prop::collection::vec((0usize..41, any::<u8>()), 0..4), cut in 0usize..70, extra in 0u32..2000) {
        let mut packet = ipv4(0, 6, &segment(1));
        for (at, byte) in flips {
            packet[at] = byte;
        }
        packet.truncate(cut);
        let fast = ethernet(&[], 0x0800, &packet);
        let slow = [&[0; 14][..], &[8, 0], &packet].concat();
        let fast = parse(Link::Ethernet, &fast, fast.len() as u32 + extra);
        let slow = parse(Link::LinuxSll, &slow, slow.len() as u32 + extra);
        let slow = match slow {
            Parsed::Tcp(mut s) => {
                s.ip_at -= 2;
                s.tcp_at -= 2;
                s.options = s.options.start - 2..s.options.end - 2;
                s.payload = s.payload.start - 2..s.payload.end - 2;
                Parsed::Tcp(s)
            }
            other => other,
        };
        prop_assert_eq!(fast, slow);
    }

    #[test]
    fn any_bytes_give_ranges_within_the_packet(link in 0u16..300, data in prop::collection::vec(any::<u8>(), 0..120), orig in any::<u32>()) {
        for link in [Link::from_number(link), Link::Ethernet, Link::RawIp] {
            if let Parsed::Tcp(segment) = parse(link, &data, orig) {
                prop_assert!(data.get(segment.payload.clone()).is_some());
                prop_assert!(data.get(segment.options).is_some());
                prop_assert!(segment.payload_len as usize >= segment.payload.len());
            }
        }
    }
}
