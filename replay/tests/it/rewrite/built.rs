//! Conversations built for one purpose each.

use std::path::Path;

use meshproof_replay::pipeline::{Options, read};
use meshproof_replay::stream::Direction;
use meshproof_wire::bolt::{Version, encode_headers};
use meshproof_wire::hessian::Document;
use meshproof_wire::{Crc, Frame};
use proptest::prelude::*;

use super::build::{
    ACK, By, Conversation, FIN, PSH, Segment, checksums_hold, frame, request, write,
};
use super::{Raw, content, map, open, raw, rewritten};

const CLIENT: &str = "10.15.0.1:40000";
const SERVER: &str = "10.15.0.2:12200";
const GROW: &str = "apps: {small: a-name-that-is-much-longer-than-before}\n";
const SHRINK: &str = "apps: {a-name-that-is-much-longer-than-before: small}\n";

fn v2_crc() -> Version {
    Version::V2 { ver1: 2, switch: 1 }
}

fn text(frame: &Frame, path: &str) -> String {
    let (document, findings) = Document::parse(frame.content());
    assert_eq!(findings, []);
    let node = document.find(path).expect("the path");
    document.text(node).expect("a text").to_owned()
}

/// Rewrites, and checks that every packet is sound.
fn made(conversation: &Conversation, text: &str, folder: &Path) -> Vec<Raw> {
    let input = conversation.write(folder);
    let (out, _) = rewritten(&input, &map(text), folder, "out.pcapng");
    let packets = raw(&out);
    for packet in &packets {
        if packet.data.len() == packet.orig_len as usize {
            assert!(checksums_hold(&packet.data), "{:02x?}", packet.data);
        }
    }
    packets
}

fn out(folder: &Path) -> super::Content {
    content(&folder.join("out.pcapng"))
}

fn seq(packet: &Raw) -> u32 {
    u32::from_be_bytes(packet.data[38..42].try_into().expect("four bytes"))
}

fn ack(packet: &Raw) -> u32 {
    u32::from_be_bytes(packet.data[42..46].try_into().expect("four bytes"))
}

fn payload(packet: &Raw) -> &[u8] {
    &packet.data[34 + usize::from(packet.data[46] >> 4) * 4..]
}

#[test]
fn a_string_that_crosses_31_characters_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (short, long) = ("x".repeat(31), "y".repeat(32));
    for (from, to) in [(&short, &long), (&long, &short)] {
        let bytes = request(Version::V1, 1, &[], &[("name", from), ("other", "stays")]);
        let mut conversation = Conversation::new(CLIENT, SERVER);
        conversation.open().send(By::Client, 0, &bytes, 0);
        made(
            &conversation,
            &format!("strings: [{{from: {from}, to: {to}}}]\n"),
            folder.path(),
        );
        let content = out(folder.path());
        let frame = &content.frames[&(40000, Direction::ToAcceptor)][0];
        assert_eq!(text(frame, "[0].name"), *to);
        assert_eq!(text(frame, "[0].other"), "stays");
        // One byte of length up to 31 units, `S` and two bytes beyond.
        let growth = if to.len() == 32 { 3 } else { -3 };
        assert_eq!(frame.bytes.len() as i64 - bytes.len() as i64, growth);
    }
}

/// The segments of one stream, each acknowledged, in the cut given.
fn sent(bytes: &[u8], cut: &[usize]) -> Conversation {
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    let mut at = 0;
    for end in cut.iter().copied().chain([bytes.len()]) {
        conversation.send(By::Client, at as u32, &bytes[at..end], 0);
        conversation.send(By::Server, 0, b"", end as u32);
        at = end;
    }
    conversation
}

fn place(bytes: &[u8], word: &str) -> usize {
    bytes
        .windows(word.len())
        .position(|window| window == word.as_bytes())
        .expect("the word")
}

#[test]
fn a_frame_grows_and_shrinks_over_a_segment_border() {
    let folder = tempfile::tempdir().expect("a folder");
    for (word, rule) in [
        ("small", GROW),
        ("a-name-that-is-much-longer-than-before", SHRINK),
    ] {
        let one = request(v2_crc(), 1, &[("app", word)], &[("app", word)]);
        let bytes = [one.clone(), request(Version::V1, 2, &[], &[("k", "v")])].concat();
        let border = place(&bytes, word) + 2;
        let packets = made(&sent(&bytes, &[border, one.len() - 1]), rule, folder.path());
        let content = out(folder.path());
        let frames = &content.frames[&(40000, Direction::ToAcceptor)];
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].crc(), Crc::Ok);
        assert_ne!(frames[0].headers().get("app"), Some(word));
        assert_eq!(
            frames[0].headers().get("app"),
            Some(text(&frames[0], "[0].app").as_str())
        );
        assert_eq!(&frames[1].bytes[..], &bytes[one.len()..]);
        // Each acknowledgement covers exactly what was sent before it.
        let pairs: Vec<&Raw> = packets[3..].iter().collect();
        for pair in pairs.chunks(2) {
            assert_eq!(
                seq(pair[0]).wrapping_add(payload(pair[0]).len() as u32),
                ack(pair[1])
            );
        }
        // And what was cut is where it was: the first part of the word ends its segment.
        assert_eq!(payload(&packets[3]).len(), border);
    }
}

#[test]
fn copies_of_a_grown_segment_follow_in_any_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = request(Version::V1, 1, &[("app", "small")], &[("app", "small")]);
    let word = place(&bytes, "small");
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    conversation.send(By::Client, 0, &bytes, 0);
    // The same again, then in three parts that cut the word, out of order.
    conversation.send(By::Client, 0, &bytes, 0);
    conversation.send(By::Client, word as u32 + 3, &bytes[word + 3..], 0);
    conversation.send(By::Client, 0, &bytes[..word + 1], 0);
    conversation.send(By::Client, word as u32 + 1, &bytes[word + 1..word + 3], 0);
    let fin = Segment {
        offset: bytes.len() as u32,
        flags: FIN | ACK,
        ..Segment::default()
    };
    conversation.segment(By::Client, &fin);
    let packets = made(&conversation, GROW, folder.path());
    let base = seq(&packets[3]);
    let stream = payload(&packets[3]).to_vec();
    assert!(stream.len() > bytes.len());
    for packet in &packets[4..8] {
        let at = seq(packet).wrapping_sub(base) as usize;
        let bytes = payload(packet);
        assert_eq!(bytes, &stream[at..at + bytes.len()]);
    }
    let covered: usize = packets[5..8]
        .iter()
        .map(|packet| payload(packet).len())
        .sum();
    assert_eq!(covered, stream.len(), "the parts still make the whole");
    assert_eq!(
        seq(&packets[8]).wrapping_sub(base) as usize,
        stream.len(),
        "the FIN follows"
    );
    assert_eq!(
        out(folder.path()).frames[&(40000, Direction::ToAcceptor)].len(),
        1
    );
}

#[test]
fn blocks_of_selective_acknowledgements_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = request(Version::V1, 1, &[("app", "small")], &[]);
    let second = request(Version::V1, 2, &[("app", "small")], &[]);
    let bytes = [first.clone(), second.clone()].concat();
    let (cut, end) = (first.len() as u32, bytes.len() as u32);
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    conversation.send(By::Client, cut, &second, 0);
    let mut options = vec![1, 1, 5, 10];
    options.extend(conversation.seq(By::Client, cut).to_be_bytes());
    options.extend(conversation.seq(By::Client, end).to_be_bytes());
    let selective = Segment {
        flags: ACK,
        options,
        ..Segment::default()
    };
    conversation.segment(By::Server, &selective);
    conversation.send(By::Client, 0, &first, 0);
    conversation.send(By::Server, 0, b"", end);
    let packets = made(&conversation, GROW, folder.path());
    let edge = |at: usize| {
        u32::from_be_bytes(
            packets[4].data[58 + at..62 + at]
                .try_into()
                .expect("four bytes"),
        )
    };
    assert_eq!(
        edge(0),
        seq(&packets[3]),
        "the left edge is where the segment begins"
    );
    assert_eq!(
        edge(4),
        seq(&packets[3]).wrapping_add(payload(&packets[3]).len() as u32),
        "the right edge is where it ends"
    );
    assert_eq!(
        ack(&packets[6]),
        edge(4),
        "the last acknowledgement covers all"
    );
    assert_eq!(
        seq(&packets[5]).wrapping_add(payload(&packets[5]).len() as u32),
        edge(0),
        "the late segment fills the hole"
    );
}

#[test]
fn ipv6_headers_and_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = request(
        v2_crc(),
        1,
        &[("peer", "[fd00:1::2]:12200")],
        &[("url", "bolt://[fd00:1::2]:12200?x=fd00:1::3")],
    );
    let mut conversation = Conversation::new("[fd00:1::1]:40000", "[fd00:1::2]:12200");
    conversation.open().send(By::Client, 0, &bytes, 0);
    conversation.send(By::Server, 0, b"", bytes.len() as u32);
    let rule = "networks: {'fd00:1::/32': 'fd00:99::/32'}\n";
    let packets = made(&conversation, rule, folder.path());
    for packet in &packets {
        for at in [22, 38] {
            assert_eq!(packet.data[at..at + 4], [0xfd, 0, 0, 0x99]);
        }
    }
    let content = out(folder.path());
    let frame = &content.frames[&(40000, Direction::ToAcceptor)][0];
    assert_eq!(frame.headers().get("peer"), Some("[fd00:99::2]:12200"));
    assert_eq!(
        text(frame, "[0].url"),
        "bolt://[fd00:99::2]:12200?x=fd00:99::3"
    );
    assert_eq!(frame.crc(), Crc::Ok);
}

#[test]
fn ports_follow_a_rule_for_endpoints() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = request(Version::V1, 1, &[("to", SERVER)], &[("to", "10.15.0.2:99")]);
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open().send(By::Client, 0, &bytes, 0);
    let rule = "endpoints: {10.15.0.2:12200: 127.0.0.1:13200}\naddresses: {10.15.0.2: 127.0.0.9}\n";
    let packets = made(&conversation, rule, folder.path());
    assert_eq!(packets[0].data[30..34], [127, 0, 0, 1]);
    assert_eq!(packets[0].data[36..38], 13200u16.to_be_bytes());
    let content = out(folder.path());
    let frame = &content.frames[&(40000, Direction::ToAcceptor)][0];
    assert_eq!(frame.headers().get("to"), Some("127.0.0.1:13200"));
    assert_eq!(text(frame, "[0].to"), "127.0.0.9:99");
}

#[test]
fn a_header_map_that_does_not_fit_any_more_empties_its_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let many: Vec<(String, &str)> = (0..3000).map(|n| (format!("k{n}"), "small")).collect();
    let headers = encode_headers(many.iter().map(|(key, value)| (key.as_str(), *value)));
    assert!(headers.len() < 65_536);
    let one = frame(v2_crc(), 1, &headers, b"N");
    let two = request(Version::V1, 2, &[("app", "small")], &[]);
    let bytes = [one, two].concat();
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    for (n, part) in bytes.chunks(1400).enumerate() {
        conversation.send(By::Client, n as u32 * 1400, part, 0);
    }
    let input = conversation.write(folder.path());
    let (path, summary) = rewritten(&input, &map(GROW), folder.path(), "out");
    assert_eq!(summary.findings["header-map-overflow"], 1);
    assert_eq!(summary.frames.emptied, 1);
    let content = content(&path);
    let frames = &content.frames[&(40000, Direction::ToAcceptor)];
    assert_eq!(frames.len(), 2);
    assert!(frames[0].headers().is_empty() && frames[0].content().is_empty());
    assert_eq!((frames[0].head.id.0, frames[0].crc()), (1, Crc::Ok));
    assert!(
        frames[1]
            .headers()
            .get("app")
            .expect("an app")
            .starts_with("a-name")
    );
}

#[test]
fn a_segment_past_the_limit_of_ip_becomes_two_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "z".repeat(30_000);
    let bytes = request(Version::V1, 1, &[], &[("a", &long), ("b", &long)]);
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open().send(By::Client, 0, &bytes, 0);
    conversation.send(By::Server, 0, b"", bytes.len() as u32);
    let rule = "strings: [{pattern: 'z{100}', to: 'a longer one of 104 characters aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}]\n";
    let packets = made(&conversation, rule, folder.path());
    assert_eq!(packets.len(), 6);
    let (first, second) = (&packets[3], &packets[4]);
    assert_eq!(first.data.len() - 14, 65_535);
    assert_eq!(first.data[47] & PSH, 0);
    assert_eq!(second.data[47] & PSH, PSH);
    assert_eq!(
        seq(first).wrapping_add(payload(first).len() as u32),
        seq(second)
    );
    assert_eq!(
        seq(second).wrapping_add(payload(second).len() as u32),
        ack(&packets[5])
    );
    assert_eq!(
        out(folder.path()).frames[&(40000, Direction::ToAcceptor)].len(),
        1
    );
}

#[test]
fn wrong_checksums_stay_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = request(Version::V1, 1, &[("app", "small")], &[]);
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open().send(By::Client, 0, &bytes, 0);
    for packet in &mut conversation.packets {
        packet[50] ^= 0x55;
    }
    let input = conversation.write(folder.path());
    let rule = format!("{GROW}networks: {{10.15.0.0/16: 10.99.0.0/16}}\n");
    let (path, summary) = rewritten(&input, &map(&rule), folder.path(), "out");
    assert_eq!(summary.findings["tcp-checksum-wrong-before"], 4);
    assert!(
        raw(&path)
            .iter()
            .all(|packet| !checksums_hold(&packet.data))
    );
    let (path, _) = rewritten(
        &path,
        &map(&rule).inverse().expect("an inverse"),
        folder.path(),
        "back",
    );
    let tcp: Vec<_> = raw(&path)
        .iter()
        .map(|packet| packet.data[14..].to_vec())
        .collect();
    let was: Vec<_> = conversation
        .packets
        .iter()
        .map(|data| data[14..].to_vec())
        .collect();
    assert_eq!(tcp, was);
}

/// What is cut, skipped or not decodable becomes zeros of the same length.
#[test]
fn what_is_not_understood_is_blanked_unless_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = request(Version::V1, 1, &[("app", "small")], &[]);
    let opaque = frame(Version::V1, 2, b"", b"\x05hello\xffsmall secret");
    let cut = request(
        Version::V1,
        3,
        &[("app", "small")],
        &[("k", "a secret of the small")],
    );
    let bytes = [&good[..], &opaque, &cut[..cut.len() - 9]].concat();
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open().send(By::Client, 0, &bytes, 0);
    let packets = made(&conversation, GROW, folder.path());
    let stream = payload(&packets[3]);
    let grown = stream.len() - bytes.len();
    assert!(grown > 0);
    assert!(
        !stream.windows(6).any(|window| window == b"secret"),
        "it is blanked"
    );
    // Of the cut frame the fixed head stays, so that it stays one.
    let rest = &stream[good.len() + grown + opaque.len()..];
    assert_eq!(rest[..22], cut[..22]);
    assert_eq!(rest[22..], vec![0; cut.len() - 9 - 22]);
    let ledger = |name: &str| {
        let mut captures = open(&folder.path().join(name));
        read(&mut captures, &Options::FRAMES, &mut ())
            .expect("memory")
            .ledger
    };
    let (before, after) = (ledger("in.pcapng"), ledger("out.pcapng"));
    assert_eq!(after.frames, before.frames);
    assert_eq!(after.frames.cut, 1);
    assert_eq!(after.bytes.incomplete, before.bytes.incomplete);
    assert_eq!(after.bytes.skipped, 0);
    let rule = format!("{GROW}keep: [undecodable]\n");
    let packets = made(&conversation, &rule, folder.path());
    assert_eq!(
        payload(&packets[3])[good.len() + grown..],
        bytes[good.len()..]
    );
}

#[test]
fn other_packets_are_left_out_unless_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    // The TCP header as UDP: ports, then a length and a checksum.
    let mut udp = conversation.packets[0].clone();
    udp[23] = 17;
    let mut arp = vec![2; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut fragment = conversation.packets[0].clone();
    fragment[20..22].copy_from_slice(&[0x20, 0]);
    let packets = [vec![udp, arp, fragment], conversation.packets].concat();
    let input = write(folder.path(), "in", &packets, usize::MAX);
    let rule = "networks: {10.15.0.0/16: 10.99.0.0/16}\n";
    let (path, summary) = rewritten(&input, &map(rule), folder.path(), "out");
    assert_eq!(summary.packets.dropped["non-tcp"], 2);
    assert_eq!(summary.packets.dropped["fragment"], 1);
    assert_eq!(raw(&path).len(), 3);
    let rule = format!("{rule}keep: [non-tcp, undecodable]\n");
    let (path, summary) = rewritten(&input, &map(&rule), folder.path(), "out");
    assert!(summary.packets.dropped.is_empty());
    let kept = raw(&path);
    assert_eq!(kept[0].data[26..34], [10, 99, 0, 1, 10, 99, 0, 2]);
    assert_eq!(kept[1].data[..12], [0; 12], "link addresses are blanked");
    assert_eq!(kept[2].data[26..34], [10, 99, 0, 1, 10, 99, 0, 2]);
}

/// The first segment is not in the capture, and the acknowledgement says so before another comes.
#[test]
fn a_stream_that_begins_with_a_gap() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = request(Version::V1, 1, &[("app", "small")], &[]);
    let two = request(Version::V1, 2, &[("app", "small")], &[("app", "small")]);
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    conversation.send(By::Server, 0, b"", one.len() as u32);
    // A millisecond each, until nobody expects the segment to come late any more.
    for _ in 0..200 {
        conversation.send(By::Server, 0, b"", one.len() as u32);
    }
    conversation.send(By::Client, one.len() as u32, &two, 0);
    let packets = made(&conversation, GROW, folder.path());
    let last = packets.last().expect("packets");
    assert!(payload(last).len() > two.len());
    let content = out(folder.path());
    let frames = &content.frames[&(40000, Direction::ToAcceptor)];
    assert_eq!(frames.len(), 1);
    assert_eq!(
        frames[0].headers().get("app"),
        Some("a-name-that-is-much-longer-than-before")
    );
    assert_eq!(
        text(&frames[0], "[0].app"),
        "a-name-that-is-much-longer-than-before"
    );
}

#[test]
fn packets_cut_by_the_snaplen() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = request(Version::V1, 1, &[("app", "small")], &[]);
    let two = request(
        Version::V1,
        2,
        &[("app", "small")],
        &[("k", &"v".repeat(300))],
    );
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open().send(By::Client, 0, &one, 0);
    conversation.send(By::Client, one.len() as u32, &two, 0);
    conversation.send(By::Server, 0, b"", (one.len() + two.len()) as u32);
    conversation.snaplen = 54 + one.len();
    let packets = made(&conversation, GROW, folder.path());
    let grown = payload(&packets[3]).len() - one.len();
    assert!(grown > 0);
    let cut = &packets[4];
    assert_eq!(
        cut.data.len(),
        54 + one.len(),
        "what was captured of it stays"
    );
    assert_eq!(cut.orig_len as usize, 54 + two.len());
    assert_eq!(payload(cut)[..22], two[..22], "the fixed head stays");
    assert!(
        payload(cut)[22..].iter().all(|byte| *byte == 0),
        "the rest of a cut frame is blanked"
    );
    assert_eq!(out(folder.path()).cut, 1);
    assert_eq!(ack(&packets[5]), seq(cut).wrapping_add(two.len() as u32));
}

#[test]
fn connections_that_would_become_one_are_kept_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut packets = Vec::new();
    for client in ["10.15.0.1:40000", "10.15.0.3:40000"] {
        let mut conversation = Conversation::new(client, SERVER);
        let bytes = request(Version::V1, 1, &[("app", "small")], &[("who", client)]);
        conversation.open().send(By::Client, 0, &bytes, 0);
        packets.extend(conversation.packets);
    }
    let input = write(folder.path(), "in", &packets, usize::MAX);
    let rule = "many-to-one: true\naddresses: {10.15.0.1: 127.0.0.1, 10.15.0.3: 127.0.0.1}\n";
    let (path, summary) = rewritten(&input, &map(rule), folder.path(), "out");
    assert_eq!(summary.findings["opener-port-moved"], 1);
    let content = content(&path);
    assert_eq!(content.streams.len(), 2);
    for frame in content.frames.values().flatten() {
        assert_eq!(text(frame, "[0].who"), "127.0.0.1:40000");
    }
}

#[test]
fn options_and_trailers_that_nobody_knows_are_blanked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut conversation = Conversation::new(CLIENT, SERVER);
    conversation.open();
    // An option of kind 254 with the address of a client, as load balancers put in.
    let toa = Segment {
        flags: ACK,
        options: vec![254, 8, 0x9c, 0x40, 10, 15, 0, 77],
        ..Segment::default()
    };
    conversation.segment(By::Client, &toa);
    let mut last = conversation.packets.pop().expect("a packet");
    last.extend([10, 15, 0, 77]);
    conversation.packets.push(last);
    let packets = made(&conversation, GROW, folder.path());
    let last = &packets[3];
    assert_eq!(last.data[54..62], [1; 8]);
    assert_eq!(last.data[62..], [0; 4]);
    let rule = format!("{GROW}keep: [undecodable, mac]\n");
    let packets = made(&conversation, &rule, folder.path());
    assert_eq!(packets[3].data, conversation.packets[3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever the cut, the order and the copies of segments: the rewritten capture holds the
    /// frames that the rewritten stream holds.
    #[test]
    fn any_cut_order_and_copies_give_the_same_frames(
        cuts in prop::collection::vec(1usize..900, 0..8),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        copies in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes: Vec<u8> = (1..=6)
            .flat_map(|id| {
                let version = if id % 2 == 0 { v2_crc() } else { Version::V1 };
                request(version, id, &[("app", "small")], &[("app", "small"), ("b", "c")])
            })
            .collect();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces: Vec<(usize, usize)> =
            cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for (a, b) in copies {
            let (a, b) = (a.index(bytes.len()), b.index(bytes.len()));
            pieces.push((a.min(b), a.max(b) + 1));
        }
        for (n, index) in order.into_iter().enumerate() {
            let len = pieces.len();
            pieces.swap(n % len, index.index(len));
        }
        let mut conversation = Conversation::new(CLIENT, SERVER);
        conversation.open();
        for (from, to) in pieces {
            conversation.send(By::Client, from as u32, &bytes[from..to], 0);
        }
        made(&conversation, GROW, folder.path());
        let content = out(folder.path());
        let frames = &content.frames[&(40000, Direction::ToAcceptor)];
        prop_assert_eq!(frames.len(), 6);
        for frame in frames {
            let app = text(frame, "[0].app");
            prop_assert!(app.starts_with("a-name"));
            let headers = frame.headers();
            prop_assert_eq!(headers.get("app"), Some(app.as_str()));
            prop_assert_ne!(frame.crc(), Crc::Bad);
        }
    }
}

/// A head that claims more than a frame may have is told, and what follows is blanked.
#[test]
fn a_frame_that_claims_two_gibibytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = request(Version::V1, 1, &[("app", "small")], &[]);
    let mut huge = request(Version::V1, 2, &[], &[("k", "a secret of the small")]);
    huge[18..22].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
    let conversation = sent(&[&good[..], &huge].concat(), &[good.len()]);
    let input = conversation.write(folder.path());
    let (path, summary) = rewritten(&input, &map(GROW), folder.path(), "out.pcapng");
    assert_eq!(summary.findings.get("frame-too-long"), Some(&1));
    let left = std::fs::read(path).expect("a file");
    assert!(!left.windows(6).any(|window| window == b"secret"));
}
