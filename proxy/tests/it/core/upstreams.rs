//! Upstream connections: who shares them, when they are asked, left and closed.

use meshproof_proxy::Bugs;
use meshproof_proxy::config::Sharing;
use meshproof_proxy::core::{Event, Side};
use meshproof_proxy::metrics::Outcome;
use meshproof_wire::Kind;
use meshproof_wire::bolt::{Version, heartbeat_ack, status};

use super::rig::{Rig, address, call, call_within, goaway, id, oneway, response, settings};

fn with(sharing: Sharing, connections: usize) -> Rig {
    let mut settings = settings();
    settings.upstream.sharing = sharing;
    settings.upstream.connections = connections;
    Rig::new(settings, Bugs::NONE)
}

#[test]
fn clients_share_connections_up_to_the_bound_and_keep_to_theirs() {
    let mut rig = with(Sharing::Multiplexed, 2);
    let clients: Vec<_> = (0..6).map(|_| rig.client(Side::Inbound)).collect();
    for client in &clients {
        rig.send(*client, &call(Version::V1, 1, b"hello"));
    }
    assert_eq!(rig.connects.len(), 2);
    let upstreams = [rig.connect(), rig.connect()];
    let sent = upstreams.map(|conn| rig.frames(conn));
    assert_eq!([sent[0].len(), sent[1].len()], [3, 3]);
    for client in &clients {
        rig.send(*client, &call(Version::V1, 2, b"again"));
    }
    assert_eq!(upstreams.map(|conn| rig.frames(conn).len()), [3, 3]);
    assert!(rig.connects.is_empty());
}

#[test]
fn each_version_has_connections_of_its_own() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let client = rig.client(Side::Inbound);
    let v2 = Version::V2 { ver1: 1, switch: 1 };
    for version in [
        Version::V1,
        v2,
        Version::V2_CRC,
        Version::V2_PLAIN,
        Version::V1,
    ] {
        rig.send(client, &call(version, 1, b"hello"));
    }
    assert_eq!(rig.connects.len(), 3);
}

#[test]
fn the_same_id_of_two_clients_stays_apart() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let clients = [rig.client(Side::Inbound), rig.client(Side::Inbound)];
    rig.send(clients[0], &call(Version::V1, 7, b"zero"));
    rig.send(clients[1], &call(Version::V1, 7, b"one"));
    let upstream = rig.connect();
    let asked = rig.frames(upstream);
    assert_ne!(asked[0].head.id, asked[1].head.id);
    for frame in asked.iter().rev() {
        rig.send(upstream, &response(Version::V1, id(frame), frame.content()));
    }
    assert_eq!(rig.bytes(clients[0]), response(Version::V1, 7, b"zero"));
    assert_eq!(rig.bytes(clients[1]), response(Version::V1, 7, b"one"));
}

#[test]
fn a_server_may_ask_the_one_client_behind_its_connection() {
    for sharing in [Sharing::Multiplexed, Sharing::PerClient] {
        let mut rig = with(sharing, 1);
        let (client, upstream) = rig.pair(Version::V1);
        rig.send(upstream, &call(Version::V1, 3649, b"push"));
        rig.send(upstream, &oneway(Version::V1, 3650, b"note"));
        let asked = rig.frames(client);
        assert_eq!(
            asked.iter().map(|f| f.head.kind).collect::<Vec<_>>(),
            [Kind::Request, Kind::Oneway]
        );
        rig.send(client, &response(Version::V1, id(&asked[0]), b"taken"));
        assert_eq!(rig.bytes(upstream), response(Version::V1, 3649, b"taken"));
        let census = rig.core.census();
        assert_eq!((census.flights, census.in_flight), (0, 0));
    }
}

#[test]
fn a_server_that_asks_when_two_clients_share_is_refused() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (_, upstream) = rig.pair(Version::V2_CRC);
    let second = rig.client(Side::Inbound);
    rig.send(second, &call(Version::V2_CRC, 1, b"hello"));
    rig.bytes(upstream);
    rig.send(upstream, &call(Version::V2_CRC, 5, b"push"));
    let refused = &rig.frames(upstream)[0];
    assert_eq!(
        (id(refused), refused.head.status),
        (5, Some(status::NO_PROCESSOR))
    );
    assert_eq!(rig.metrics.server_requests_refused.value(), 1);
    assert!(rig.bytes(second).is_empty());
}

#[test]
fn what_a_client_answers_to_the_predecessor_is_for_nobody_behind_the_successor() {
    let mut rig = Rig::usual();
    let from = address("10.0.0.9:4000");
    let client = rig.core.adopted(Side::Inbound, from, &[], rig.now);
    rig.send(client, &call(Version::V1, 1, b"first"));
    let upstream = rig.connect();
    rig.bytes(upstream);
    rig.send(upstream, &call(Version::V1, 9, b"push"));
    let asked = id(&rig.frames(client)[0]);
    // The predecessor's first request had this id.
    rig.send(client, &response(Version::V1, 1, b"late"));
    assert!(rig.bytes(upstream).is_empty());
    rig.send(client, &response(Version::V1, asked, b"mine"));
    assert_eq!(rig.bytes(upstream), response(Version::V1, 9, b"mine"));
}

#[test]
fn a_client_that_never_answers_servers_is_asked_no_more() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V1);
    for round in 0..30 {
        for number in 0..100 {
            let push = call_within(Version::V1, round * 100 + number, 10, b"push");
            rig.send(upstream, &push);
        }
        rig.pass_ms(20);
        rig.bytes(client);
        rig.bytes(upstream);
    }
    let unanswered = rig.core.census().unanswered;
    assert!((1024..1200).contains(&unanswered), "{unanswered}");
    assert_eq!(rig.metrics.server_requests_refused.value(), 3000 - 1100);
    // Its own calls go on.
    rig.send(client, &call(Version::V1, 7, b"own"));
    assert_eq!(rig.frames(upstream)[0].content(), b"own");
}

#[test]
fn a_server_is_told_when_the_client_it_asked_is_gone_or_silent() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(upstream, &call(Version::V1, 1, b"push"));
    rig.pass_ms(3000);
    assert_eq!(rig.frames(upstream)[0].head.status, Some(status::TIMEOUT));
    rig.send(upstream, &call(Version::V1, 2, b"push"));
    rig.end(client);
    let told = &rig.frames(upstream)[0];
    assert_eq!(
        (id(told), told.head.status),
        (2, Some(status::CONNECTION_CLOSED))
    );
    assert_eq!(rig.core.census().flights, 0);
}

#[test]
fn after_goaway_nothing_new_goes_there_and_it_is_closed_when_empty() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (client, old) = rig.pair(Version::V1);
    rig.send(client, &call(Version::V1, 2, b"before"));
    let before = id(&rig.frames(old)[0]);
    rig.send(old, &goaway(Version::V1));
    assert!(rig.closed.is_empty());
    rig.send(client, &call(Version::V1, 3, b"after"));
    let new = rig.connect();
    assert_eq!((rig.frames(new).len(), rig.bytes(old).len()), (1, 0));
    rig.send(old, &response(Version::V1, before, b"answer"));
    assert_eq!(rig.bytes(client), response(Version::V1, 2, b"answer"));
    assert_eq!(rig.closed, [old]);
    assert!(matches!(rig.events()[..], [Event::Goaway { .. }]));
}

#[test]
fn a_silent_connection_is_asked_and_closed_when_it_does_not_answer() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (client, upstream) = rig.pair(Version::V2_CRC);
    // Idle for 5 s, then a heartbeat that is answered.
    rig.pass_ms(4999);
    assert!(rig.bytes(upstream).is_empty());
    rig.pass_ms(1);
    let asked = rig.frames(upstream);
    assert_eq!(asked[0].head.kind, Kind::Heartbeat);
    rig.send(upstream, &heartbeat_ack(Version::V2_PLAIN, id(&asked[0])));
    rig.pass_ms(4999);
    assert!(rig.bytes(upstream).is_empty());
    // The next one is not: closed after 1 s more, and who waits is told.
    rig.pass_ms(1);
    assert_eq!(rig.frames(upstream)[0].head.kind, Kind::Heartbeat);
    rig.send(client, &call(Version::V2_CRC, 9, b"into the void"));
    rig.pass_ms(999);
    assert!(rig.closed.is_empty());
    rig.pass_ms(1);
    assert_eq!(rig.closed, [upstream]);
    assert_eq!(rig.metrics.half_open.value(), 1);
    assert_eq!(
        rig.frames(client)[0].head.status,
        Some(status::CONNECTION_CLOSED)
    );
    // The next call opens another one.
    rig.send(client, &call(Version::V2_CRC, 10, b"again"));
    assert_eq!(rig.connects.len(), 1);
}

#[test]
fn answers_count_as_signs_of_life() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (client, upstream) = rig.pair(Version::V1);
    for number in 10..40 {
        rig.send(client, &call(Version::V1, number, b"hello"));
        let asked = rig.frames(upstream);
        assert!(asked.iter().all(|frame| frame.head.kind == Kind::Request));
        rig.send(upstream, &response(Version::V1, id(&asked[0]), b"hello"));
        rig.pass_ms(1000);
    }
    assert!(rig.closed.is_empty());
}

#[test]
fn a_connection_that_nobody_uses_is_closed() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (client, upstream) = rig.pair(Version::V1);
    rig.end(client);
    for _ in 0..59 {
        rig.pass_ms(1000);
        for frame in rig.frames(upstream) {
            rig.send(upstream, &heartbeat_ack(Version::V1, id(&frame)));
        }
    }
    assert!(rig.closed.is_empty());
    rig.pass_ms(1000);
    assert_eq!(rig.closed, [upstream]);
    assert_eq!(rig.core.census().pools, 0);
}

#[test]
fn a_client_of_its_own_connection_takes_it_along() {
    let mut rig = with(Sharing::PerClient, 1);
    let (client, upstream) = rig.pair(Version::V1);
    rig.end(client);
    assert_eq!(rig.closed, [upstream]);
    // One that waits for an answer is kept until it has come.
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(client, &call(Version::V1, 2, b"hello"));
    let asked = id(&rig.frames(upstream)[0]);
    rig.end(client);
    assert!(!rig.closed.contains(&upstream));
    rig.send(upstream, &response(Version::V1, asked, b"for nobody"));
    assert!(rig.closed.contains(&upstream));
    assert_eq!(rig.outcome(Side::Inbound, Outcome::Cancelled), 1);
}

#[test]
fn a_connection_on_which_too_much_was_never_answered_is_left() {
    let mut rig = with(Sharing::Multiplexed, 1);
    let (client, upstream) = rig.pair(Version::V1);
    let calls: Vec<u8> = (1..=1025)
        .flat_map(|n| call(Version::V1, n, b"x").to_vec())
        .collect();
    rig.send(client, &calls);
    rig.send(upstream, &meshproof_wire::bolt::heartbeat(Version::V1, 1));
    rig.pass_ms(3000);
    assert_eq!(rig.frames(client).len(), 1025);
    assert_eq!(rig.closed, [upstream]);
    assert_eq!(rig.core.census().unanswered, 0);
}
