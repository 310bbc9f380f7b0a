//! Whatever is planted is found; what is clean stays clean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{Audit, Encoding, Needles, Original, Report};
use crate::capture::{Error, Link, Packet, Packets};
use crate::map::{HeaderRule, Host, Map, Matches, PathPattern, Rule, StringRule};

/// Packets made by a test.
#[derive(Clone, Default)]
struct Made {
    packets: Vec<Vec<u8>>,
    next: usize,
}

impl Packets for Made {
    fn next(&mut self) -> Result<Option<Packet<'_>>, Error> {
        let number = self.next as u64 + 1;
        self.next += 1;
        Ok(self.packets.get(number as usize - 1).map(|data| Packet {
            number,
            at_ns: number * 1_000,
            link: Link::RawIp,
            source: 0,
            data,
            orig_len: data.len() as u32,
        }))
    }
}

const CLIENT: [u8; 4] = [172, 20, 7, 1];
const SERVER: [u8; 4] = [172, 20, 7, 2];

fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

fn tcp(src: ([u8; 4], u16), dst: ([u8; 4], u16), seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(src.1.to_be_bytes());
    segment.extend(dst.1.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    ipv4(src.0, dst.0, 6, &segment)
}

/// A stream from client to server, cut into segments of the given lengths in turn.
fn stream(bytes: &[u8], lengths: &[usize]) -> Made {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 12_200));
    let mut packets = vec![tcp(client, server, 99, 0x02, b"")];
    let (mut seq, mut rest) = (100u32, bytes);
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let len = (*lengths.next().expect("a cycle")).clamp(1, rest.len());
        let (payload, left) = rest.split_at(len);
        packets.push(tcp(client, server, seq, 0x18, payload));
        seq = seq.wrapping_add(len as u32);
        rest = left;
    }
    Made { packets, next: 0 }
}

/// xorshift: a test needs places that differ, not randomness.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.roll() >> 32) as u8).collect()
    }
}

fn rule<T>(from: T, to: T, line: usize) -> Rule<T> {
    Rule { from, to, line }
}

fn host(name: &str) -> Host {
    Host {
        name: name.to_owned(),
        port: None,
    }
}

fn map() -> Map {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let socket = |text: &str| text.parse::<SocketAddr>().expect("an endpoint");
    let network = |text: &str| text.parse().expect("a network");
    Map {
        networks: vec![rule(network("10.15.0.0/16"), network("192.168.0.0/16"), 1)],
        addresses: vec![
            rule(ip("100.88.246.182"), ip("192.0.2.7"), 2),
            rule(ip("2400:cb00:2048:1::6814:f6b6"), ip("2001:db8::7"), 3),
        ],
        endpoints: vec![rule(socket("11.33.55.77:12200"), socket("192.0.2.8:1"), 4)],
        vips: vec![rule(
            host("trade-pool.gz00b.alipay.net"),
            host("vip.offline.test"),
            5,
        )],
        apps: vec![rule("tradecore".to_owned(), "app-one".to_owned(), 6)],
        zones: vec![
            rule("gz00b".to_owned(), "zone-one".to_owned(), 7),
            rule("rz".to_owned(), "zone-two".to_owned(), 8),
        ],
        strings: vec![StringRule {
            at: None,
            matches: Matches::Whole("Grüße an 李四".to_owned()),
            to: "x".to_owned(),
            line: 9,
        }],
        ..Map::default()
    }
}

fn audit(needles: &Needles, packets: &Made) -> Report {
    let mut audit = Audit::new(needles).expect("few needles");
    audit
        .packets(&mut packets.clone())
        .expect("packets of a test");
    audit.finish()
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn unicode(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect()
}

fn hex(bytes: &[u8], separator: &str) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(separator)
}

/// A form of a needle: its encoding's name and its bytes.
type Form = (Encoding, Vec<u8>);

/// Every form that text can take.
fn forms_of_text(text: &str) -> Vec<Form> {
    let mut forms = vec![
        (Encoding::Text, format!(" {text} ").into_bytes()),
        (
            Encoding::Text,
            format!("\"{}\"", text.to_ascii_uppercase()).into_bytes(),
        ),
        (Encoding::Utf16Le, utf16(text, u16::to_le_bytes)),
        (Encoding::Utf16Be, utf16(text, u16::to_be_bytes)),
    ];
    if !text.is_ascii() {
        return forms;
    }
    if text.contains(['.', ':', '-']) {
        forms.push((
            Encoding::UrlEscaped,
            format!("?u={}&", percent(text)).into_bytes(),
        ));
        let twice = percent(&percent(text));
        forms.push((Encoding::UrlEscaped, format!("?u={twice}&").into_bytes()));
    }
    forms.push((
        Encoding::Escaped,
        format!("\"{}\"", unicode(text)).into_bytes(),
    ));
    forms.push((
        Encoding::Hex,
        format!("<{}>", hex(text.as_bytes(), "")).into_bytes(),
    ));
    let upper = hex(text.as_bytes(), "").to_uppercase();
    forms.push((Encoding::Hex, format!("<{upper}>").into_bytes()));
    for before in ["", "/", "/ ", "/ ~"] {
        let text = format!("{before}{text} >?");
        forms.push((
            Encoding::Base64,
            format!("\"{}\"", STANDARD.encode(&text)).into_bytes(),
        ));
        let url = URL_SAFE_NO_PAD.encode(&text);
        forms.push((Encoding::Base64, format!("\"{url}\"").into_bytes()));
    }
    forms
}

/// Every form that an IPv4 address can take besides text.
fn forms_of_v4(address: Ipv4Addr) -> Vec<Form> {
    let octets = address.octets();
    let mut reversed = octets;
    reversed.reverse();
    let mapped = Ipv6Addr::from_bits(0xffff_0000_0000 | u128::from(address.to_bits()));
    let mut forms = vec![
        (Encoding::Packed, octets.to_vec()),
        (Encoding::PackedReversed, reversed.to_vec()),
        (Encoding::MappedV6, mapped.octets().to_vec()),
        (Encoding::Text, format!("<::ffff:{address}>").into_bytes()),
        (
            Encoding::Hex,
            format!("<{}>", hex(&octets, "")).into_bytes(),
        ),
        (
            Encoding::Hex,
            format!("<{}>", hex(&octets, "").to_uppercase()).into_bytes(),
        ),
        (
            Encoding::Hex,
            format!("<0x{}>", hex(&octets, "")).into_bytes(),
        ),
        (
            Encoding::Hex,
            format!("<{}1795423443918{}>", hex(&octets, ""), "10018173").into_bytes(),
        ),
        (
            Encoding::HexInside,
            format!("<fe{}01>", hex(&octets, "")).into_bytes(),
        ),
        (
            Encoding::Decimal,
            format!("<{}>", address.to_bits()).into_bytes(),
        ),
        (
            Encoding::Base64Packed,
            format!(
                "<{}>",
                STANDARD.encode([&[1, 2][..], &octets, &[3, 4]].concat())
            )
            .into_bytes(),
        ),
    ];
    for separator in [":", "-", " ", ", 0x"] {
        let pairs = hex(&octets, separator);
        forms.push((Encoding::HexSeparated, format!("<{pairs}>").into_bytes()));
    }
    if octets[0] >= 128 {
        let negative = address.to_bits() as i32;
        forms.push((Encoding::Decimal, format!("<{negative}>").into_bytes()));
    }
    forms
}

fn plants() -> Vec<(&'static str, Vec<Form>)> {
    let v4: Ipv4Addr = Ipv4Addr::new(100, 88, 246, 182);
    let inside: Ipv4Addr = Ipv4Addr::new(10, 15, 232, 248);
    let v6: Ipv6Addr = "2400:cb00:2048:1::6814:f6b6".parse().expect("an address");
    let with_text = |text: &str, more: Vec<Form>| [forms_of_text(text), more].concat();
    vec![
        (
            "100.88.246.182",
            with_text("100.88.246.182", forms_of_v4(v4)),
        ),
        (
            "10.15.0.0/16",
            with_text("10.15.232.248", forms_of_v4(inside)),
        ),
        (
            "2400:cb00:2048:1::6814:f6b6",
            with_text(
                "2400:cb00:2048:1::6814:f6b6",
                vec![
                    (Encoding::PackedV6, v6.octets().to_vec()),
                    (
                        Encoding::Hex,
                        format!("<{}>", hex(&v6.octets(), "")).into_bytes(),
                    ),
                    (
                        Encoding::Text,
                        b"<2400:cb00:2048:0001:0000:0000:6814:f6b6>".to_vec(),
                    ),
                    (
                        Encoding::Text,
                        b"[2400:CB00:2048:1:0:0:6814:F6B6]:80".to_vec(),
                    ),
                    (
                        Encoding::Text,
                        b"<2400:cb00:2048:1::104.20.246.182>".to_vec(),
                    ),
                ],
            ),
        ),
        (
            "11.33.55.77:12200",
            with_text(
                "11.33.55.77:12200",
                vec![(Encoding::Packed, vec![11, 33, 55, 77, 0x2f, 0xa8])],
            ),
        ),
        (
            "trade-pool.gz00b.alipay.net",
            forms_of_text("trade-pool.gz00b.alipay.net"),
        ),
        ("tradecore", forms_of_text("tradecore")),
        ("gz00b", forms_of_text("gz00b")),
        (
            "rz",
            vec![
                (Encoding::Text, b"zone=rz&".to_vec()),
                (Encoding::Text, b"\0\0\0\x02rz\0\0".to_vec()),
                (Encoding::Text, b"\0\x02rzN".to_vec()),
            ],
        ),
        ("Grüße an 李四", forms_of_text("Grüße an 李四")),
    ]
}

/// Whether a report names a needle in an encoding. Four bytes of a network are weighed: listed as
/// chance is found, too.
#[track_caller]
fn assert_found(report: &Report, needle: &str, encoding: Encoding, what: &str) {
    let is = |found: &&super::Found| found.needle == needle && found.encoding == encoding;
    let weighed = needle.contains('/')
        && matches!(
            encoding,
            Encoding::Packed
                | Encoding::PackedReversed
                | Encoding::Base64Packed
                | Encoding::HexInside
                | Encoding::HexSeparated
                | Encoding::Hex
                | Encoding::Decimal
        );
    let found = report.findings.iter().find(is);
    let listed = report.chance.iter().find(is).filter(|_| weighed);
    assert!(
        found.or(listed).is_some(),
        "{needle} as {encoding:?} ({what}) is missing in {report:#?}"
    );
}

#[test]
fn every_needle_in_every_form_at_any_place_is_found() {
    let needles = Needles::new(&map(), None);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for (needle, forms) in plants() {
        for (encoding, form) in forms {
            // Bytes that can be no part of a form stand around it.
            let before = (dice.roll() % 600) as usize;
            let mut bytes = dice.bytes(before);
            bytes.extend([0x01, 0xff, 0x02, 0x01]);
            bytes.extend(&form);
            bytes.extend([0xff, 0x01, 0xff]);
            let after = (dice.roll() % 600) as usize;
            bytes.extend(dice.bytes(after));
            let lengths = [
                (dice.roll() % 9) as usize + 1,
                1 + (dice.roll() % 40) as usize,
            ];
            let report = audit(&needles, &stream(&bytes, &lengths));
            let shown = String::from_utf8_lossy(&form).into_owned();
            assert_found(&report, needle, encoding, &shown);
        }
    }
}

#[test]
fn a_stream_in_one_piece_gives_each_hit_once() {
    let needles = Needles::new(&map(), None);
    let mut bytes = vec![b'.'; 100_000];
    for at in [0, 5_000, 16_380, 50_000, 99_980] {
        bytes[at..at + 14].copy_from_slice(b"100.88.246.182");
    }
    for lengths in [&[60_000][..], &[1448], &[7]] {
        let report = audit(&needles, &stream(&bytes, lengths));
        let counts: Vec<(String, u64)> = report
            .findings
            .iter()
            .map(|found| (found.needle.clone(), found.count))
            .collect();
        assert_eq!(counts, [("100.88.246.182".to_owned(), 5)], "{lengths:?}");
        let offsets: Vec<u64> = report.findings[0]
            .places
            .iter()
            .map(|place| place.offset)
            .collect();
        assert_eq!(offsets, [0, 5_000, 16_380, 50_000, 99_980]);
    }
}

#[test]
fn random_bytes_are_clean() {
    let needles = Needles::new(&map(), None);
    for seed in 1..5 {
        let bytes = Dice(seed * 0x1234_5678_9abc).bytes(300_000);
        let report = audit(&needles, &stream(&bytes, &[1448]));
        assert!(report.is_clean(), "{:#?}", report.findings);
        // A /16 is hit by chance some four times in each order; that is said.
        assert!(!report.chance.is_empty());
        assert!(report.chance.iter().all(|found| found.expected > 1.0));
    }
}

#[test]
fn bounds_of_words() {
    let needles = Needles::new(&map(), None);
    for (text, clean) in [
        ("gz00b", false),
        ("xgz00b", true),
        ("gz00bx", true),
        ("gz00b-2", true),
        ("gz00b1", true),
        ("zone:gz00b.", false),
        ("berzerk rz", true),
        ("a=rz,b", false),
        ("tradecore2x", false),
        ("tradecore-2", false),
        ("my-tradecore", true),
        ("1.100.88.246.182", true),
        ("100.88.246.1823", true),
        ("100.88.246.182.", false),
        ("version 11.33.55.77", true),
        ("11.33.55.77:1220", true),
        ("11.33.55.77:122000", true),
        ("zone-one app-one vip.offline.test 192.168.3.4", true),
    ] {
        let report = audit(&needles, &stream(text.as_bytes(), &[3]));
        assert_eq!(report.is_clean(), clean, "{text}: {:#?}", report.findings);
    }
}

#[test]
fn headers_and_packets_that_are_no_tcp() {
    let needles = Needles::new(&map(), None);
    let inside = [10, 15, 1, 2];
    let inner = tcp((inside, 1), (SERVER, 2), 0, 2, b"");
    let icmp = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &inner].concat();
    let udp = [&[0, 53, 0, 53, 0, 30, 0, 0][..], b" at tradecore today"].concat();
    for (what, packet, encoding) in [
        (
            "source",
            tcp((inside, 1), (SERVER, 2), 0, 2, b""),
            Encoding::Header,
        ),
        (
            "destination",
            tcp((CLIENT, 1), (inside, 2), 0, 2, b""),
            Encoding::Header,
        ),
        (
            "udp",
            ipv4(inside, SERVER, 17, b"12345678"),
            Encoding::Header,
        ),
        ("icmp", ipv4(CLIENT, SERVER, 1, &icmp), Encoding::Packed),
        (
            "endpoint",
            tcp(([11, 33, 55, 77], 12_200), (SERVER, 1), 0, 2, b""),
            Encoding::Header,
        ),
        ("payload", ipv4(CLIENT, SERVER, 17, &udp), Encoding::Text),
    ] {
        let made = Made {
            packets: vec![packet],
            next: 0,
        };
        let report = audit(&needles, &made);
        let encodings: Vec<Encoding> = report.findings.iter().map(|found| found.encoding).collect();
        assert_eq!(encodings, [encoding], "{what}: {report:#?}");
    }
}

#[test]
fn a_retransmitted_copy_is_searched_too() {
    let needles = Needles::new(&map(), None);
    let (client, server) = ((CLIENT, 40_000), (SERVER, 12_200));
    let made = Made {
        packets: vec![
            tcp(client, server, 99, 0x02, b""),
            tcp(client, server, 100, 0x18, b"-- something --"),
            tcp(client, server, 100, 0x18, b"-- tradecore --"),
        ],
        next: 0,
    };
    let report = audit(&needles, &made);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].places[0].packet, Some(3));
    assert_eq!(report.findings[0].places[0].part, "packet");
}

#[test]
fn what_equals_a_replacement_is_exempt() {
    let mut map = map();
    map.addresses.push(rule(
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([127, 0, 0, 2]),
        20,
    ));
    map.apps
        .push(rule("app-one".to_owned(), "tradecore".to_owned(), 21));
    map.vips
        .push(rule(host("offline"), host("offline.net"), 22));
    let needles = Needles::new(&map, None);
    let report = audit(&needles, &stream(b" tradecore offline.net 127.0.0.1", &[9]));
    // What a rule of the map names is searched for, be it loopback.
    let found: Vec<&str> = report.findings.iter().map(|f| f.needle.as_str()).collect();
    assert_eq!(found, ["127.0.0.1"]);
    let exempt: Vec<(&str, u64)> = report
        .exempt
        .iter()
        .map(|exempted| (exempted.exempt.needle.as_str(), exempted.count))
        .collect();
    assert_eq!(exempt, [("tradecore", 0), ("app-one", 0), ("offline", 1)]);
}

#[test]
fn comments_and_names_of_a_file() {
    let needles = Needles::new(&map(), None);
    let block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let len = (12 + padded) as u32;
        let mut block = Vec::new();
        block.extend(kind.to_le_bytes());
        block.extend(len.to_le_bytes());
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(len.to_le_bytes());
        block
    };
    let section = [
        &0x1a2b_3c4du32.to_le_bytes()[..],
        &[1, 0, 0, 0],
        &[0xff; 8],
        b"\x01\0\x12\0seen by tradecore.\0\0",
    ]
    .concat();
    let names = b"\x01\0\x09\0\x0a\x0f\x01\x02host\0\0\0\0";
    let packet = [
        &[0; 12][..],
        &[9, 0, 0, 0, 9, 0, 0, 0],
        b"tradecore\0\0\0",
        b"\x01\0\x05\0gz00b\0\0\0\0\0\0\0",
    ]
    .concat();
    let file = [
        block(0x0a0d_0d0a, &section),
        block(4, names),
        block(6, &packet),
    ]
    .concat();
    let mut audit = Audit::new(&needles).expect("few needles");
    audit
        .blocks("a.pcapng", &file[..])
        .expect("memory can be read");
    // Cut anywhere it ends quietly.
    for cut in 0..file.len() {
        Audit::new(&needles)
            .expect("few needles")
            .blocks("a.pcapng", &file[..cut])
            .expect("memory can be read");
    }
    let report = audit.finish();
    let found: Vec<(&str, u64)> = report
        .findings
        .iter()
        .chain(&report.chance)
        .map(|found| (found.needle.as_str(), found.places[0].offset))
        .collect();
    assert_eq!(
        found,
        [("tradecore", 36), ("gz00b", 124), ("10.15.0.0/16", 64)]
    );
}

#[test]
fn fields_of_a_frame_have_paths() {
    use meshproof_wire::bolt;
    let body = body_with_chunks();
    let headers = bolt::encode_headers([("app", "tradecore"), ("zone", "rz"), ("other", "q")]);
    let frame = bolt_request(&headers, &body);
    let mut map = map();
    map.headers.push(HeaderRule {
        key: "other".to_owned(),
        from: "q".to_owned(),
        to: "p".to_owned(),
        line: 30,
    });
    map.strings.push(StringRule {
        at: Some(PathPattern("args[0]".to_owned())),
        matches: Matches::Pattern("^1[0-9]{10}$".to_owned()),
        to: "x".to_owned(),
        line: 31,
    });
    let needles = Needles::new(&map, None);
    let report = audit(&needles, &stream(&frame, &[100]));
    let mut found: Vec<(String, String)> = report
        .findings
        .iter()
        .flat_map(|found| {
            found.places.iter().map(|place| {
                (
                    found.needle.clone(),
                    place.field.clone().unwrap_or_default(),
                )
            })
        })
        .collect();
    found.sort();
    let expected = [
        ("/^1[0-9]{10}$/ at args[0]", "args[0]"),
        ("other=q", "headers.other"),
        ("rz", "headers.zone"),
        ("tradecore", "[0]"),
        ("tradecore", "headers.app"),
    ];
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(needle, field)| (needle.as_str(), field.as_str()))
        .collect();
    assert_eq!(found, expected);
}

/// A list whose first item is a string in two chunks with a needle across the cut; then an
/// argument.
fn body_with_chunks() -> Vec<u8> {
    let mut body = b"V\x6e\x01s\x00\x05tradeS\x00\x04corez".to_vec();
    body.extend(b"\x0b13912345678");
    body
}

/// A BOLT v1 request around a header map and a body.
fn bolt_request(headers: &[u8], body: &[u8]) -> Vec<u8> {
    let class = b"com.alipay.sofa.rpc.core.request.SofaRequest";
    let mut frame = vec![1, 1, 0, 1, 1, 0, 0, 0, 7, 1, 0, 0, 0x0b, 0xb8];
    frame.extend((class.len() as u16).to_be_bytes());
    frame.extend((headers.len() as u16).to_be_bytes());
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(class);
    frame.extend(headers);
    frame.extend(body);
    frame
}

#[test]
fn the_original_tells_what_to_search_for() {
    use meshproof_wire::bolt;
    let headers = bolt::encode_headers([
        ("app", "shop-web"),
        (
            "rpc_trace_context.sofaTraceId",
            "0b2137371795423443918100181",
        ),
        ("rpc_req_baggage.targetZone", "RZ55A"),
        ("service", "com.example.Shop:1.0"),
    ]);
    let body = b"\x1emarket-pool.rz77.alipay.net:80\x10http://11.9.9.9/";
    let frame = bolt_request(&headers, body);
    let original = stream(&frame, &[64]);
    let read = Original::read(&mut original.clone(), &Map::default()).expect("packets of a test");
    let needles = Needles::new(&Map::default(), Some(&read));
    let mut shown: Vec<String> = needles
        .iter()
        .map(|needle| format!("{} {}", needle.kind.name(), needle.what))
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            "address 11.33.55.55",
            "address 11.9.9.9",
            "address 172.20.7.1",
            "address 172.20.7.2",
            "app shop-web",
            "vip market-pool.rz77.alipay.net",
            "zone RZ55A",
            "zone rz77",
        ]
    );
    let report = audit(&needles, &original);
    let mut found: Vec<&str> = report
        .findings
        .iter()
        .map(|found| found.needle.as_str())
        .collect();
    found.dedup();
    assert_eq!(found.len(), 8, "{report:#?}");
}
