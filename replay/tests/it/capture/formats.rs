//! One table per format: what is read from what.

use expect_test::{Expect, expect};
use meshproof_replay::capture::{Beside, Packets};

use super::build::{Order, Pcap, PcapNg, gzip, zstd};
use super::{open_bytes, render};

#[track_caller]
fn check(bytes: Vec<u8>, expect: Expect) {
    expect.assert_eq(&render(&mut open_bytes(bytes.clone()).unwrap()));
    // Compression changes nothing, nor does a second member or frame behind the first.
    let whole = render(&mut open_bytes(bytes.clone()).unwrap());
    let (front, back) = bytes.split_at(bytes.len() / 2);
    for compressed in [
        gzip(&bytes),
        zstd(&bytes),
        [gzip(front), gzip(back)].concat(),
        [zstd(front), zstd(back)].concat(),
    ] {
        assert_eq!(render(&mut open_bytes(compressed).unwrap()), whole);
    }
}

#[test]
fn classic_files_of_both_orders_and_resolutions() {
    for order in [Order::Big, Order::Little] {
        check(
            Pcap::new(order, 0xa1b2_c3d4, 1)
                .packet(1, 5, b"a")
                .packet(2, 999_999, b"bc")
                .bytes,
            expect![[r#"
                1 1.000005000 Ethernet A "a" of 1
                2 2.999999000 Ethernet A "bc" of 2
            "#]],
        );
        check(
            Pcap::new(order, 0xa1b2_3c4d, 113)
                .packet(1, 5, b"a")
                .packet(4_294_967_295, 999_999_999, b"")
                .bytes,
            expect![[r#"
                1 1.000000005 LinuxSll A "a" of 1
                2 4294967295.999999999 LinuxSll A "" of 0
            "#]],
        );
    }
}

#[test]
fn records_with_an_interface_number() {
    let file = Pcap::new(Order::Little, 0xa1b2_cd34, 1)
        .record([1, 0, 1, 1], &[0; 8])
        .bytes;
    check(
        [file, b"x".to_vec()].concat(),
        expect![[r#"
            1 1.000000000 Ethernet A "x" of 1
        "#]],
    );
}

#[test]
fn snaplen_and_odd_lengths() {
    check(
        Pcap::usual()
            .record([1, 0, 2, 1500], b"ab")
            // Shorter on the wire than captured: some writers do that.
            .record([2, 0, 3, 1], b"cde")
            .bytes,
        expect![[r#"
            1 1.000000000 Ethernet A "ab" of 1500
            2 2.000000000 Ethernet A "cde" of 3
        "#]],
    );
}

#[test]
fn link_types() {
    for (number, name) in [
        (0, "Null"),
        (1, "Ethernet"),
        (12, "RawIp"),
        (101, "RawIp"),
        (108, "Loop"),
        (228, "RawIp"),
        (229, "RawIp"),
        (276, "LinuxSll2"),
        // A frame check sequence of 4 bytes, told in the upper bits.
        (0x2400_0001, "Ethernet"),
    ] {
        let file = Pcap::new(Order::Little, 0xa1b2_c3d4, number).packet(0, 0, b"x");
        let text = render(&mut open_bytes(file.bytes).unwrap());
        assert_eq!(text, format!("1 0.000000000 {name} A \"x\" of 1\n"));
    }
    check(
        Pcap::new(Order::Big, 0xa1b2_c3d4, 147)
            .packet(0, 0, b"x")
            .bytes,
        expect![[r#"
            1 0.000000000 Other(147) A "x" of 1
            test: byte 20, packet 0: link type 147 is not known [capture-unknown-link]
        "#]],
    );
}

#[test]
fn pcapng_of_both_orders() {
    for order in [Order::Big, Order::Little] {
        check(
            PcapNg::new(order)
                .interface(1, 0, &[])
                .interface(276, 0, &[(9, &[9])])
                .packet(0, 5, b"micro")
                .packet(1, 6_000, b"nano")
                .old_packet(0, 7, b"old")
                .bytes,
            expect![[r#"
                1 0.000005000 Ethernet A "micro" of 5
                2 0.000006000 LinuxSll2 A "nano" of 4
                3 0.000007000 Ethernet A "old" of 3
            "#]],
        );
    }
}

#[test]
fn resolutions_and_offsets_of_time() {
    let second = PcapNg::new(Order::Little)
        .clock(0, 0)
        .clock(3, 100)
        .clock(9, -1)
        .clock(12, 0)
        .clock(28, 0)
        .clock(29, 0)
        .clock(0x80 | 1, 0)
        .clock(0x80 | 64, 0)
        .clock(0x80 | 127, 0)
        .packet(0, 1, b"seconds")
        .packet(1, 1, b"ms, 100 s later")
        .packet(2, 1_000_000_002, b"ns, 1 s earlier")
        .packet(3, 7_999, b"ps")
        .packet(4, u64::MAX, b"10^-28")
        .packet(5, u64::MAX, b"10^-29")
        .packet(6, 3, b"halves")
        .packet(7, 1 << 63, b"2^-64")
        .packet(8, u64::MAX, b"2^-127")
        .packet(0, u64::MAX, b"the end of time");
    check(
        second.bytes,
        expect![[r#"
            1 1.000000000 Ethernet A "seconds" of 7
            2 100.001000000 Ethernet A "ms, 100 s later" of 15
            3 0.000000002 Ethernet A "ns, 1 s earlier" of 15
            4 0.000000007 Ethernet A "ps" of 2
            5 0.000000001 Ethernet A "10^-28" of 6
            6 0.000000000 Ethernet A "10^-29" of 6
            7 1.500000000 Ethernet A "halves" of 6
            8 0.500000000 Ethernet A "2^-64" of 5
            9 0.000000000 Ethernet A "2^-127" of 6
            10 18446744073.709551615 Ethernet A "the end of time" of 15
            test: byte 612, packet 3: time steps back by 100000999998 ns (5 times) [capture-time-backwards]
        "#]],
    );
}

#[test]
fn sections_start_anew_with_an_order_of_their_own() {
    check(
        PcapNg::new(Order::Big)
            .interface(1, 0, &[])
            .packet(0, 1, b"big")
            .section(Order::Little)
            .interface(101, 0, &[])
            .packet(0, 2, b"little")
            .section(Order::Big)
            .packet(0, 3, b"no interface here")
            .interface(1, 0, &[])
            .packet(0, 4, b"here")
            .bytes,
        expect![[r#"
            1 0.000001000 Ethernet A "big" of 3
            2 0.000002000 RawIp A "little" of 6
            3 0.000004000 Ethernet A "here" of 4
            test: byte 200, packet 3: interface 0 was not described [capture-unknown-interface]
        "#]],
    );
}

#[test]
fn simple_packets_have_no_time_and_no_captured_length() {
    check(
        PcapNg::new(Order::Little)
            .interface(1, 4, &[])
            .packet(0, 9, b"abc")
            .simple_packet(3, b"def")
            .simple_packet(1500, b"ghij")
            .bytes,
        expect![[r#"
            1 0.000009000 Ethernet A "abc" of 3
            2 0.000009000 Ethernet A "def" of 3
            3 0.000009000 Ethernet A "ghij" of 1500
            test: byte 84, packet 2: the packet has no time (2 times) [capture-no-time]
        "#]],
    );
}

#[test]
fn other_blocks_are_passed_over() {
    let large = vec![7; 3 << 20];
    check(
        PcapNg::new(Order::Little)
            .block(4, b"names")
            .block(10, &large)
            .interface(1, 0, &[])
            .block(0x0bad, b"custom")
            .block(0x1234, b"unknown")
            .block(0x1234, b"unknown")
            .block(0x99, b"another")
            .packet(0, 1, b"x")
            .block(5, b"statistics")
            .bytes,
        expect![[r#"
            1 0.000001000 Ethernet A "x" of 1
            test: byte 3145828, packet 1: block type 0x1234 is not known (2 times) [capture-unknown-block]
            test: byte 3145868, packet 1: block type 0x99 is not known [capture-unknown-block]
        "#]],
    );
}

#[test]
fn packets_larger_than_the_buffer() {
    let large: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    let mut file = PcapNg::new(Order::Little).interface(1, 0, &[]);
    for n in 0..20 {
        file = file.packet(0, n, &large[..200_000 - n as usize * 7_777]);
    }
    let huge = vec![9; 3_000_000];
    file = file.packet(0, 20, &huge).packet(0, 21, b"small");
    let mut captures = open_bytes(file.bytes).unwrap();
    let mut lens = Vec::new();
    use meshproof_replay::capture::Packets as _;
    while let Some(packet) = captures.next().unwrap() {
        if packet.number <= 20 {
            assert_eq!(packet.data, &large[..packet.data.len()]);
        }
        lens.push(packet.data.len());
    }
    assert_eq!(lens.len(), 22);
    assert_eq!(lens[20..], [3_000_000, 5]);
    assert_eq!(captures.findings(), []);
}

#[test]
fn what_is_no_packet_is_counted() {
    for order in [Order::Big, Order::Little] {
        let two = |n: u16| match order {
            Order::Big => n.to_be_bytes(),
            Order::Little => n.to_le_bytes(),
        };
        // Two comments and the flags of a packet, behind five bytes of data and their padding.
        let mut body = vec![0; 12];
        for half in match order {
            Order::Big => [0, 5, 0, 5],
            Order::Little => [5, 0, 5, 0],
        } {
            body.extend(two(half));
        }
        body.extend(b"hello\0\0\0");
        for (code, value) in [(1, &b"abc\0"[..]), (2, &[0; 4]), (1, b"ab\0\0"), (0, b"")] {
            body.extend(two(code));
            body.extend(two(value.len() as u16));
            body.extend(value);
        }
        let bytes = PcapNg::new(order)
            .clock(9, 0)
            .block(6, &body)
            .packet(0, 1, b"plain")
            .block(4, &[0; 4])
            .block(5, &[0; 8])
            .bytes;
        let mut captures = open_bytes(bytes).unwrap();
        while captures.next().unwrap().is_some() {}
        assert_eq!(
            captures.beside(),
            Beside {
                comments: 2,
                // The name of the interface, and the flags.
                options: 2,
                name_blocks: 1,
                other_blocks: 1,
            },
            "{order:?}"
        );
    }
}
