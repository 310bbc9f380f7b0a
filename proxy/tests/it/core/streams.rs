//! Bytes as they come: cut anywhere, foreign, damaged, too long.

use meshproof_proxy::Bugs;
use meshproof_proxy::config::Speaks;
use meshproof_proxy::core::{Event, Side};
use meshproof_wire::bolt::{Version, cmdcode, status};

use super::rig::{Rig, call, call_tr, id, oneway, response, settings};

#[test]
fn frames_cut_anywhere_go_through() {
    let bytes: Vec<u8> = [
        call(Version::V1, 1, b"first").to_vec(),
        oneway(Version::V2_CRC, 2, b"second").to_vec(),
        call_tr(3, 0),
        call(Version::V2_PLAIN, 4, &[7; 300]).to_vec(),
    ]
    .concat();
    for step in 1..=bytes.len() {
        let mut rig = Rig::usual();
        let client = rig.client(Side::Inbound);
        for piece in bytes.chunks(step) {
            rig.send(client, piece);
        }
        assert_eq!(rig.connects.len(), 3, "one for each version");
        let mut lens = Vec::new();
        for _ in 0..3 {
            let upstream = rig.connect();
            lens.push(rig.bytes(upstream).len());
        }
        // Our first ids are as long as those that the client used.
        assert_eq!(lens.iter().sum::<usize>(), bytes.len(), "{step}");
        assert_eq!(rig.core.census().in_flight, 3);
    }
}

/// Bytes that must close the connection as soon as they have come; nothing reaches the app.
#[track_caller]
fn refused(side: Side, served: &[Speaks], bytes: &[u8]) -> Event {
    let mut settings = settings();
    settings.inbound = served.to_vec();
    settings.outbound = served.to_vec();
    let mut rig = Rig::new(settings, Bugs::NONE);
    let client = rig.client(side);
    rig.send(client, bytes);
    assert_eq!(rig.closed, [client]);
    assert!(rig.bytes(client).is_empty() && rig.connects.is_empty());
    let counted = rig.metrics.foreign.value() + rig.metrics.damaged.value();
    assert_eq!((counted, rig.core.census().connections), (1, 0));
    rig.events().remove(0)
}

#[test]
fn what_is_not_served_is_refused_at_its_first_byte() {
    let both = [Speaks::Bolt, Speaks::Tr];
    for bytes in [
        &b"\xda"[..],
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\0",
        b"\x01\x07",
        b"\x02\x03",
        b"\x0d\x02",
    ] {
        for side in [Side::Inbound, Side::Outbound] {
            let event = refused(side, &both, bytes);
            assert!(
                matches!(event, Event::Foreign { side: Some(s), .. } if s == side),
                "{event}"
            );
        }
    }
    refused(Side::Inbound, &[Speaks::Bolt], b"\x0d");
    refused(Side::Outbound, &[Speaks::Tr], b"\x01");
    let event = refused(Side::Inbound, &[Speaks::Bolt], &call_tr(1, 0));
    assert_eq!(
        event.to_string(),
        "10.0.0.9:4000 speaks no served protocol and was closed: \
         first byte 13, which looks like tr; served: BOLT"
    );
}

#[test]
fn an_unknown_command_is_foreign() {
    let mut bytes = call(Version::V1, 1, b"").to_vec();
    bytes[2..4].copy_from_slice(&77u16.to_be_bytes());
    let event = refused(Side::Inbound, &[Speaks::Bolt], &bytes);
    assert!(
        event.to_string().ends_with("BOLT command 77 of type 1"),
        "{event}"
    );
    // A known command of the wrong type: an answer with the command of a request.
    let mut bytes = response(Version::V1, 1, b"").to_vec();
    bytes[2..4].copy_from_slice(&cmdcode::REQUEST.to_be_bytes());
    refused(Side::Inbound, &[Speaks::Bolt], &bytes);
}

#[test]
fn a_frame_over_the_limit_is_refused_by_its_head_and_nothing_is_set_aside_for_it() {
    let mut head = call(Version::V1, 1, b"").to_vec();
    head[18..22].copy_from_slice(&u32::MAX.to_be_bytes());
    let event = refused(Side::Inbound, &[Speaks::Bolt], &head[..22]);
    assert!(matches!(event, Event::Damaged { .. }), "{event}");

    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    head[18..22].copy_from_slice(&(15u32 << 20).to_be_bytes());
    rig.send(client, &head[..22]);
    assert!(rig.closed.is_empty());
    assert_eq!(rig.core.census().buffered_bytes, 22);
}

#[test]
fn a_large_frame_goes_through_in_pieces() {
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    let body = vec![0x5a; 5 << 20];
    for piece in call(Version::V2_CRC, 1, &body).chunks(60_000) {
        rig.send(client, piece);
    }
    let upstream = rig.connect();
    let sent = rig.frames(upstream);
    assert_eq!((sent.len(), sent[0].content().len()), (1, body.len()));
    assert_eq!(sent[0].crc(), meshproof_wire::Crc::Ok);
    assert_eq!(rig.core.census().buffered_bytes, 0);
}

#[test]
fn a_wrong_crc_closes_its_connection_and_goes_nowhere() {
    let mut bytes = call(Version::V2_CRC, 1, b"hello").to_vec();
    bytes[40] ^= 1;
    let event = refused(Side::Inbound, &[Speaks::Bolt], &bytes);
    assert!(matches!(event, Event::Damaged { .. }), "{event}");

    // From a server: who waits is told, in its own version.
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V2_CRC);
    rig.send(client, &call(Version::V2_CRC, 6, b"hello"));
    let asked = id(&rig.frames(upstream)[0]);
    let mut bytes = response(Version::V2_CRC, asked, b"world").to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    rig.send(upstream, &bytes);
    assert_eq!(rig.closed, [upstream]);
    let told = &rig.frames(client)[0];
    assert_eq!(
        (id(told), told.head.status),
        (6, Some(status::CONNECTION_CLOSED))
    );
    assert_eq!(rig.metrics.damaged.value(), 1);
}

#[test]
fn a_crc_is_there_only_where_version_and_switch_both_say_so() {
    // An answer without one to a request with one, as real servers answer exceptions.
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V2_CRC);
    rig.send(client, &call(Version::V2_CRC, 6, b"hello"));
    let asked = id(&rig.frames(upstream)[0]);
    rig.send(upstream, &response(Version::V2_PLAIN, asked, b"world"));
    assert_eq!(rig.bytes(client), response(Version::V2_PLAIN, 6, b"world"));
    // The switch without the version: no CRC, so that the next frame starts at once.
    let odd = Version::V2 { ver1: 1, switch: 1 };
    let (client, upstream) = rig.pair(odd);
    let two = [call(odd, 8, b"a"), call(odd, 9, b"b")].concat();
    rig.send(client, &two);
    assert_eq!(rig.bytes(upstream).len(), two.len());
}

#[test]
fn tr_ids_of_every_length_come_back() {
    let ids = [
        0,
        15,
        16,
        2047,
        2048,
        262_143,
        262_144,
        1 << 31,
        u64::MAX,
        1 << 63,
    ];
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    for long in ids {
        rig.send(client, &call_tr(long, 0));
    }
    let upstream = rig.connect();
    let bytes = rig.bytes(upstream);
    let mut at = &bytes[..];
    let mut answers = Vec::new();
    while let meshproof_wire::tr::Front::Parts(parts) = meshproof_wire::tr::Parts::front(at) {
        answers.push(super::rig::response_tr(parts.id.0));
        at = &at[parts.head.frame_len() as usize..];
        if at.is_empty() {
            break;
        }
    }
    assert_eq!(answers.len(), ids.len());
    answers.reverse();
    for answer in &answers {
        rig.send(upstream, answer);
    }
    let expect: Vec<u8> = ids
        .iter()
        .rev()
        .flat_map(|id| super::rig::response_tr(*id))
        .collect();
    assert_eq!(rig.bytes(client), expect);
}
