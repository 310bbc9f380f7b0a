//! Streams made of frames, damage and gaps.

use meshproof_wire::bolt::{Build, Command, Version, cmdcode, encode_headers, heartbeat};
use meshproof_wire::check;
use meshproof_wire::decoder::{Account, Decoded, Decoder, Detail, Limits, Start};
use meshproof_wire::detect::Verdict;
use meshproof_wire::mesh_api::Operation;
use meshproof_wire::tr::{self, Connection, Direction};
use meshproof_wire::{RequestId, http};
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::V1),
        (1..=2_u8, any::<u8>()).prop_map(|(ver1, switch)| Version::V2 { ver1, switch }),
    ]
}

fn command() -> impl Strategy<Value = (Command, u16)> {
    prop_oneof![
        any::<i32>().prop_map(|timeout_ms| (Command::Request { timeout_ms }, cmdcode::REQUEST)),
        any::<i32>().prop_map(|timeout_ms| (Command::Oneway { timeout_ms }, cmdcode::REQUEST)),
        any::<u16>().prop_map(|status| (Command::Response { status }, cmdcode::RESPONSE)),
        any::<u16>().prop_map(|code| (Command::Request { timeout_ms: -1 }, code)),
    ]
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let headers = prop::collection::vec(("[a-z.]{1,9}", "\\PC{0,9}"), 0..4);
    let content = prop::collection::vec(any::<u8>(), 0..300);
    (
        version(),
        command(),
        any::<(u32, u8)>(),
        "[a-zA-Z.]{0,30}",
        headers,
        content,
    )
        .prop_map(
            |(version, (command, cmdcode), (id, codec), class, headers, content)| {
                let build = Build {
                    version,
                    command,
                    cmdcode,
                    id,
                    codec,
                    class: class.as_bytes(),
                    headers: &encode_headers(headers),
                    content: &content,
                };
                build.encode().unwrap().to_vec()
            },
        )
}

fn tr_frame() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        Just(b"\x05hello".to_vec()),
    ];
    let id = prop_oneof![any::<u64>(), any::<u32>().prop_map(u64::from), 0..40_u64];
    let parts = (id, any::<(bool, Option<i32>)>(), "[a-zA-Z.]{0,30}", content);
    parts.prop_map(|(id, (two_way, result), class, content)| {
        let id = RequestId(id);
        let connection = match (result, two_way) {
            (Some(result), _) => Connection::Response {
                id,
                host: "10.1.2.3:12200",
                result,
                error_message: two_way.then_some("\u{4e2d} it broke"),
                error_stack: None,
            },
            (None, true) => Connection::Request {
                id,
                direction: Direction::Twoway,
            },
            (None, false) => Connection::Request {
                id,
                direction: Direction::Oneway,
            },
        };
        let build = tr::Build {
            connection,
            class: class.as_bytes(),
            content: &content,
        };
        build.encode().unwrap().to_vec()
    })
}

/// Messages of the application API, and some that are not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![
        4 => prop::sample::select(Operation::ALL.to_vec()).prop_map(|it| it.path().to_owned()),
        1 => "/[a-z/]{0,20}",
    ];
    let body = prop_oneof![Just("{\"success\":true}".to_owned()), "\\PC{0,60}"];
    let request = (path, body.clone()).prop_map(|(path, body)| {
        http::request("POST", &path, "h:1", "text/plain", body.as_bytes())
    });
    let response = (
        prop::sample::select(vec![100_u16, 200, 204, 404]),
        body.clone(),
    )
        .prop_map(|(status, body)| http::response(status, "text/plain", body.as_bytes()));
    let chunked = prop::collection::vec(body, 0..4).prop_map(|chunks| {
        let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            out.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    });
    prop_oneof![request, response, chunked]
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec(any::<u8>(), 0..10);
    let piece = prop_oneof![9 => message(), 1 => damage];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => frame(),
        6 => tr_frame(),
        1 => message(),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(0..3_u8, 0..40),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_stream_keeps_the_properties(bytes in stream()) {
        check::bolt(&bytes);
    }

    #[test]
    fn any_stream_keeps_the_properties_of_tr(bytes in stream()) {
        check::tr(&bytes);
    }

    #[test]
    fn any_messages_keep_the_properties(bytes in messages()) {
        check::http(&bytes);
        check::mesh_api(&bytes);
    }

    #[test]
    fn frames_of_tr_come_out_as_they_went_in(frames in prop::collection::vec(tr_frame(), 1..6)) {
        let (decoded, account) = run(&frames.concat(), Start::Beginning);
        let whole: Vec<_> = decoded.into_iter().map(|it| it.frame.unwrap().bytes).collect();
        prop_assert_eq!(&whole, &frames);
        prop_assert_eq!(account.framed, account.total());
    }

    #[test]
    fn any_front_is_read(bytes in prop::collection::vec(0..4_u8, 0..30)) {
        check::bolt_head(&bytes);
    }

    #[test]
    fn frames_in_a_row_come_out_as_they_went_in(frames in prop::collection::vec(frame(), 1..6)) {
        // The first frame makes the stream a BOLT stream, whatever those behind it are.
        let frames = [vec![heartbeat(Version::V1, 1).to_vec()], frames].concat();
        let (decoded, account) = run(&frames.concat(), Start::Beginning);
        let whole: Vec<_> = decoded.into_iter().map(|it| it.frame.unwrap().bytes).collect();
        prop_assert_eq!(&whole, &frames);
        prop_assert_eq!(account.framed, account.total());
    }
}

fn run(bytes: &[u8], start: Start) -> (Vec<Decoded<()>>, Account) {
    let mut decoded = Vec::new();
    let mut decoder = Decoder::new(start, Detail::Frames, Limits::USUAL);
    decoder.feed((), bytes, &mut |it| decoded.push(it));
    decoder.finish(&mut |it| decoded.push(it));
    (decoded, decoder.account())
}

/// A request of 1000 bytes.
fn request(id: u32) -> Vec<u8> {
    let build = Build {
        version: Version::V1,
        command: Command::Request { timeout_ms: 3000 },
        cmdcode: cmdcode::REQUEST,
        id,
        codec: 1,
        class: b"com.example.Order",
        headers: b"",
        content: &[b'x'; 1000 - 22 - 17],
    };
    build.encode().unwrap().to_vec()
}

fn requests(count: u32) -> Vec<u8> {
    (1..=count).flat_map(request).collect()
}

/// Feeds 20 requests of 1000 bytes without the bytes of `lost`; expects ids (and what they miss).
#[track_caller]
fn lose(lost: std::ops::Range<usize>, expect: &str, account: Account) {
    let bytes = requests(20);
    let mut found = Vec::new();
    let mut sink = |it: Decoded<u64>| {
        assert!(
            it.first <= it.offset && it.offset < it.first + 500,
            "{it:?}"
        );
        found.push(match it.missing {
            0 => it.head.id.to_string(),
            missing => format!("{}-{missing}", it.head.id),
        });
    };
    let mut decoder = Decoder::new(Start::Beginning, Detail::Heads, Limits::USUAL);
    for (part, base) in [(&bytes[..lost.start], 0), (&bytes[lost.end..], lost.end)] {
        for (number, piece) in part.chunks(500).enumerate() {
            decoder.feed((base + number * 500) as u64, piece, &mut sink);
        }
        if base == 0 {
            decoder.gap(lost.len() as u64, &mut sink);
        }
    }
    decoder.finish(&mut sink);
    assert_eq!(found.join(" "), expect);
    assert_eq!(decoder.account(), account);
}

#[test]
fn gaps() {
    let rest = "5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20";
    let account = |framed, skipped, incomplete| Account {
        framed,
        skipped,
        incomplete,
        foreign: 0,
    };
    // Within a body: the end is known.
    lose(
        2300..2700,
        &format!("1 2 3-400 4 {rest}"),
        account(19_000, 0, 600),
    );
    // To a frame's end, exactly.
    lose(
        2300..3000,
        &format!("1 2 3-700 4 {rest}"),
        account(19_000, 0, 300),
    );
    // Over a frame's end: the rest of what the next head announced is passed over.
    lose(
        2300..3300,
        &format!("1 2 3-700 {rest}"),
        account(18_000, 700, 300),
    );
    // Over whole frames.
    lose(
        2300..4000,
        &format!("1 2 3-700 {rest}"),
        account(18_000, 0, 300),
    );
    lose(2000..4000, &format!("1 2 {rest}"), account(18_000, 0, 0));
    // Within a head: that frame cannot be told of.
    lose(
        2010..2012,
        &format!("1 2 4 {rest}"),
        account(19_000, 988, 10),
    );
    lose(0..3500, rest, account(16_000, 500, 0));
    // The first byte only.
    lose(0..1, &format!("2 3 4 {rest}"), account(19_000, 999, 0));
}

#[test]
fn damage_is_passed_over() {
    let garbage = [0x41; 333];
    let bytes = [requests(2), garbage.to_vec(), requests(5)].concat();
    let (decoded, account) = run(&bytes, Start::Beginning);
    assert_eq!(decoded.len(), 7);
    assert_eq!((account.framed, account.skipped), (7000, 333));

    // A length beyond the limit.
    let mut bytes = requests(6);
    bytes[2018..2022].copy_from_slice(&[0xff; 4]);
    let (decoded, account) = run(&bytes, Start::Beginning);
    assert_eq!(decoded.len(), 5);
    assert_eq!((account.framed, account.skipped), (5000, 1000));
}

#[test]
fn an_end_within_a_frame_cuts_it() {
    let bytes = requests(2);
    let (decoded, account) = run(&bytes[..1300], Start::Beginning);
    assert_eq!((decoded.len(), decoded[1].missing), (2, 700));
    assert_eq!((account.framed, account.incomplete), (1000, 300));
    let (decoded, account) = run(&bytes[..1010], Start::Beginning);
    assert_eq!(decoded.len(), 1);
    assert_eq!((account.framed, account.incomplete), (1000, 10));
}

#[test]
fn a_stream_of_nothing_known_is_foreign() {
    let mut decoder = Decoder::new(Start::MidStream, Detail::Heads, Limits::USUAL);
    for _ in 0..100 {
        decoder.feed((), &[0x17, 3, 3, 0, 1, 0x80, 0x99, 1], &mut |_| {
            panic!("no frame")
        });
    }
    decoder.finish(&mut |_| panic!("no frame"));
    assert_eq!(
        (decoder.verdict(), decoder.account().foreign),
        (Verdict::Tls, 800)
    );

    // Past the limit frames are not looked for any more.
    let mut decoder = Decoder::new(Start::MidStream, Detail::Heads, Limits::USUAL);
    let limit = usize::try_from(Limits::USUAL.detect_bytes_max).unwrap();
    decoder.feed((), &vec![b'a'; limit], &mut |_| panic!("no frame"));
    decoder.feed((), &requests(5), &mut |_| panic!("no frame"));
    assert_eq!(decoder.verdict(), Verdict::Unknown);
    assert_eq!(decoder.account().foreign, limit as u64 + 5000);
}

#[test]
fn a_frame_too_long_to_be_held_is_found() {
    let limits = Limits {
        resync_bytes_max: 2000,
        ..Limits::USUAL
    };
    let long = Build {
        version: Version::V1,
        command: Command::Response { status: 0 },
        cmdcode: cmdcode::RESPONSE,
        id: 9,
        codec: 1,
        class: b"com.example.Report",
        headers: b"",
        content: &[b'x'; 9000],
    };
    let bytes = [
        vec![b'x'; 700],
        long.encode().unwrap().to_vec(),
        requests(1),
    ]
    .concat();
    let mut found = Vec::new();
    let mut decoder = Decoder::new(Start::MidStream, Detail::Heads, limits);
    for piece in bytes.chunks(100) {
        decoder.feed((), piece, &mut |it| found.push(it.head.id.0));
    }
    assert_eq!(found, [9, 1]);
    assert_eq!(decoder.account().skipped, 700);

    // A false head that announces as much must not hide the frames within.
    let mut false_head = long.encode().unwrap().to_vec();
    false_head.truncate(50);
    let bytes = [vec![b'x'; 700], false_head, requests(12)].concat();
    let limits = Limits {
        resync_bytes_max: 5000,
        ..limits
    };
    let mut found = Vec::new();
    let mut decoder = Decoder::new(Start::MidStream, Detail::Heads, limits);
    decoder.feed((), &bytes, &mut |it| found.push(it.head.id.0));
    assert_eq!(found, (1..=12).collect::<Vec<_>>());
}
