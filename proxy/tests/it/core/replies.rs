//! Answers that the sidecar makes itself: in the client's protocol and version, with the right
//! status, at the right time, and to nobody else.

use meshproof_proxy::core::{Command, Side};
use meshproof_proxy::metrics::Outcome;
use meshproof_wire::bolt::{Version, status};
use meshproof_wire::{Kind, RequestId, tr};

use super::rig::{Rig, call, call_tr, call_within, hex, id, oneway, response, settings};
use meshproof_proxy::Bugs;

const V2_VER1: Version = Version::V2 { ver1: 1, switch: 1 };

/// What a client of each version reads when there is no provider.
#[track_caller]
fn check(version: Version, expect: &str) {
    let mut rig = Rig::usual();
    let client = rig.client(Side::Outbound);
    rig.send(client, &call(version, 0x0102_0304, b"hello"));
    assert_eq!(hex(&rig.bytes(client)), expect.replace(' ', ""));
    assert_eq!(rig.outcome(Side::Outbound, Outcome::NoUpstream), 1);
}

#[test]
fn byte_for_byte_in_every_version() {
    check(
        Version::V1,
        "01 00 0002 01 01020304 01 0006 0000 0000 00000000",
    );
    check(
        V2_VER1,
        "02 01 00 0002 01 01020304 01 01 0006 0000 0000 00000000",
    );
    check(
        Version::V2_PLAIN,
        "02 02 00 0002 01 01020304 01 00 0006 0000 0000 00000000",
    );
    // zlib's CRC-32 of the 22 bytes before it.
    check(
        Version::V2_CRC,
        "02 02 00 0002 01 01020304 01 01 0006 0000 0000 00000000 73c85cb5",
    );
}

#[test]
fn in_tr_it_is_a_connection_response_with_a_result() {
    for long in [1, 15, 16, 300, 1 << 20, 1 << 40, (-5_i64) as u64] {
        let mut rig = Rig::usual();
        let client = rig.client(Side::Outbound);
        rig.send(client, &call_tr(long, 0));
        let bytes = rig.bytes(client);
        let parts = tr::Parts::of(&bytes).unwrap();
        assert_eq!((parts.kind, parts.id), (Kind::Response, RequestId(long)));
        let answer = tr::answer(&bytes[parts.connection]).unwrap();
        assert_eq!(answer.result, i32::from(status::NO_PROCESSOR));
        assert_eq!(
            answer.error_message.as_deref(),
            Some("no provider could be reached")
        );
    }
}

#[test]
fn heartbeats_are_answered_on_every_leg_and_never_passed_on() {
    for version in [Version::V1, V2_VER1, Version::V2_PLAIN] {
        let mut rig = Rig::usual();
        let (client, upstream) = rig.pair(version);
        for leg in [client, upstream] {
            rig.send(leg, &meshproof_wire::bolt::heartbeat(version, 77));
            let ack = meshproof_wire::bolt::heartbeat_ack(version, 77);
            // The switch of a heartbeat is off, whatever that of requests.
            assert_eq!(rig.bytes(leg), ack);
        }
        assert!(rig.bytes(client).is_empty() && rig.bytes(upstream).is_empty());
        assert_eq!(rig.metrics.heartbeats_answered.value(), 2);
    }
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    rig.send(client, &tr::heartbeat(RequestId(1 << 33)));
    let bytes = rig.bytes(client);
    let parts = tr::Parts::of(&bytes).unwrap();
    assert_eq!(
        (parts.kind, parts.id),
        (Kind::HeartbeatAck, RequestId(1 << 33))
    );
    assert!(rig.connects.is_empty());
}

#[test]
fn a_time_out_is_answered_at_its_time_and_the_late_answer_dropped() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V2_CRC);
    rig.send(client, &call_within(Version::V2_CRC, 9, 250, b"slow"));
    let late = id(&rig.frames(upstream)[0]);
    rig.pass_ms(249);
    assert!(rig.bytes(client).is_empty());
    rig.pass_ms(1);
    let answer = &rig.frames(client)[0];
    assert_eq!((id(answer), answer.head.status), (9, Some(status::TIMEOUT)));
    assert_eq!(rig.outcome(Side::Inbound, Outcome::TimedOut), 1);
    rig.send(upstream, &response(Version::V2_CRC, late, b"too late"));
    assert!(rig.bytes(client).is_empty());
    assert_eq!(rig.metrics.late_answers.value(), 1);
    assert_eq!(rig.core.census().unanswered, 0);
}

#[test]
fn the_frame_names_the_time_out_else_the_configuration_and_a_route_bounds_it() {
    // Named in the frame, bound by the route, configured; what is kept.
    for (named, bound, kept) in [
        (250, None, 250),
        (0, None, 3000),
        (-1, None, 3000),
        (5000, Some(700), 700),
        (250, Some(700), 250),
        (0, Some(700), 700),
        (0, Some(9000), 3000),
    ] {
        let mut rig = Rig::usual();
        rig.providers_within(&["10.0.0.1:12200"], bound);
        let client = rig.client(Side::Outbound);
        rig.send(client, &call_within(Version::V1, 1, named, b"slow"));
        rig.connect();
        rig.pass_ms(kept - 1);
        assert!(rig.bytes(client).is_empty(), "{named} {bound:?}");
        rig.pass_ms(1);
        assert_eq!(rig.frames(client).len(), 1, "{named} {bound:?}");
    }
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    rig.send(client, &call_tr(1, 400));
    rig.connect();
    rig.pass_ms(399);
    assert!(rig.bytes(client).is_empty());
    rig.pass_ms(1);
    assert!(!rig.bytes(client).is_empty());
}

#[test]
fn one_ways_get_nothing_whatever_happens_to_them() {
    let mut rig = Rig::usual();
    let client = rig.client(Side::Outbound);
    rig.send(client, &oneway(Version::V1, 1, b"nobody"));
    rig.providers(&["10.0.0.1:12200"]);
    rig.send(client, &oneway(Version::V1, 1, b"refused"));
    rig.refuse();
    rig.providers(&["10.0.0.2:12200"]);
    rig.send(client, &oneway(Version::V1, 1, b"taken"));
    let upstream = rig.connect();
    let frames = rig.frames(upstream);
    assert_eq!((frames.len(), frames[0].content()), (1, &b"taken"[..]));
    // A server that answers it all the same.
    rig.send(upstream, &response(Version::V1, id(&frames[0]), b"thanks"));
    rig.pass_ms(10_000);
    assert!(rig.bytes(client).is_empty());
    assert_eq!(rig.outcome(Side::Outbound, Outcome::NoUpstream), 2);
    assert_eq!(rig.outcome(Side::Outbound, Outcome::Oneway), 1);
    assert_eq!(rig.core.census().flights, 0);
}

#[test]
fn limits_are_answered_as_overload() {
    let mut tight = settings();
    tight.limits.in_flight = 3;
    tight.limits.in_flight_per_connection = 2;
    let mut rig = Rig::new(tight, Bugs::NONE);
    let (one, other) = (rig.client(Side::Inbound), rig.client(Side::Inbound));
    for number in 1..=3 {
        rig.send(one, &call(Version::V1, number, b"one"));
    }
    let refused = rig.frames(one);
    let overload = Some(status::SERVER_THREADPOOL_BUSY);
    assert_eq!((id(&refused[0]), refused[0].head.status), (3, overload));
    rig.send(other, &call(Version::V1, 1, b"other"));
    assert!(rig.bytes(other).is_empty());
    rig.send(other, &call(Version::V1, 2, b"other"));
    assert_eq!(rig.frames(other)[0].head.status, overload);
    assert_eq!(rig.outcome(Side::Inbound, Outcome::Overload), 2);
    // One-ways are not in flight.
    rig.send(one, &oneway(Version::V1, 4, b"passes"));
    let upstreams = [rig.connect(), rig.connect()];
    assert_eq!(upstreams.map(|conn| rig.frames(conn).len()), [3, 1]);
}

#[test]
fn what_was_written_is_not_sent_again_when_its_connection_ends() {
    let mut rig = Rig::usual();
    rig.providers(&["10.0.0.1:12200", "10.0.0.2:12200"]);
    let client = rig.client(Side::Outbound);
    rig.send(client, &call(Version::V1, 5, b"written"));
    let upstream = rig.connect();
    assert_eq!(rig.frames(upstream).len(), 1);
    rig.end(upstream);
    let answer = rig.frames(client);
    assert_eq!(
        (id(&answer[0]), answer[0].head.status),
        (5, Some(status::CONNECTION_CLOSED))
    );
    assert!(rig.connects.is_empty());
    assert_eq!(rig.outcome(Side::Outbound, Outcome::Reset), 1);
}

#[test]
fn what_was_not_written_goes_to_another_provider() {
    let mut rig = Rig::usual();
    rig.providers(&["10.0.0.1:12200", "10.0.0.2:12200"]);
    let client = rig.client(Side::Outbound);
    rig.send(client, &call(Version::V1, 5, b"waits"));
    let first = rig.refuse();
    let second = rig.connects[0].1;
    assert_ne!(first, second);
    let upstream = rig.connect();
    let asked = rig.frames(upstream);
    assert_eq!(asked[0].content(), b"waits");
    rig.send(upstream, &response(Version::V1, id(&asked[0]), b"done"));
    assert_eq!(rig.bytes(client), response(Version::V1, 5, b"done"));
    assert_eq!(rig.metrics.connect_failures.value(), 1);
}

#[test]
fn where_nobody_can_be_reached_the_client_is_told() {
    let mut rig = Rig::usual();
    rig.providers(&["10.0.0.1:12200", "10.0.0.2:12200"]);
    let client = rig.client(Side::Outbound);
    rig.send(client, &call(Version::V1, 5, b"waits"));
    rig.refuse();
    // The second does not even refuse.
    rig.pass_ms(500);
    let answer = rig.frames(client);
    assert_eq!(
        (id(&answer[0]), answer[0].head.status),
        (5, Some(status::NO_PROCESSOR))
    );
    assert_eq!((rig.connects.len(), rig.closed.len()), (0, 1));
    let census = rig.core.census();
    assert_eq!((census.upstreams, census.pools, census.flights), (0, 0, 0));
}

#[test]
fn a_request_whose_time_is_up_before_the_connect_ends_is_not_sent() {
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    rig.send(client, &call_within(Version::V1, 1, 100, b"short"));
    rig.send(client, &call_within(Version::V1, 2, 400, b"long"));
    rig.pass_ms(100);
    assert_eq!(id(&rig.frames(client)[0]), 1);
    let upstream = rig.connect();
    let sent = rig.frames(upstream);
    assert_eq!((sent.len(), sent[0].content()), (1, &b"long"[..]));
}

#[test]
fn a_client_that_goes_takes_its_requests_along() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(client, &call(Version::V1, 7, b"cancelled"));
    let asked = id(&rig.frames(upstream)[0]);
    rig.end(client);
    assert_eq!(rig.outcome(Side::Inbound, Outcome::Cancelled), 1);
    assert_eq!(rig.core.census().in_flight, 0);
    // Another client in its place does not get its answer.
    let next = rig.client(Side::Inbound);
    rig.send(upstream, &response(Version::V1, asked, b"for nobody"));
    assert!(rig.bytes(next).is_empty());
    assert_eq!(rig.core.census().flights, 0);
    assert_eq!(rig.metrics.clients[0].value(), 1);
}

#[test]
fn without_routes_an_outbound_call_has_no_provider_and_inbound_ones_have_the_app() {
    let mut rig = Rig::usual();
    rig.command(Command::CloseInbound);
    rig.command(Command::OpenInbound);
    let client = rig.client(Side::Inbound);
    rig.send(client, &call(Version::V1, 1, b"hello"));
    assert_eq!(rig.connects[0].1, "127.0.0.1:12199".parse().unwrap());
}
