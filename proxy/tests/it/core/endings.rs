//! Closing, draining, handing over.

use meshproof_proxy::Bugs;
use meshproof_proxy::core::{Command, Side};
use meshproof_wire::Kind;
use meshproof_wire::bolt::{Version, status};

use super::rig::{Rig, address, call, call_tr, call_within, id, oneway, response, settings};

#[test]
fn a_lost_app_closes_inbound_clients_when_they_are_idle_and_leaves_outbound_alone() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V2_CRC);
    let outbound = rig.client(Side::Outbound);
    rig.send(client, &call(Version::V2_CRC, 2, b"in flight"));
    let asked = id(&rig.frames(upstream)[0]);
    rig.command(Command::CloseInbound);
    let told = rig.frames(client);
    assert_eq!(told[0].head.kind, Kind::Goaway);
    assert_eq!(told[0].bytes[..3], [2, 2, 1], "in the client's version");
    assert_eq!(
        rig.core
            .accepted(Side::Inbound, address("10.0.0.8:1"), rig.now),
        None
    );
    rig.pass_ms(1000);
    assert!(rig.closed.is_empty());
    rig.send(upstream, &response(Version::V2_CRC, asked, b"done"));
    assert_eq!(rig.bytes(client), response(Version::V2_CRC, 2, b"done"));
    rig.pass_ms(500);
    assert_eq!(rig.closed, [upstream, client]);
    rig.command(Command::OpenInbound);
    rig.client(Side::Inbound);
    assert!(rig.bytes(outbound).is_empty());
    assert_eq!(rig.drained, 0);
}

#[test]
fn what_a_client_sent_before_it_read_the_notice_is_served() {
    let mut rig = Rig::usual();
    let (client, left) = rig.pair(Version::V1);
    rig.command(Command::CloseInbound);
    rig.bytes(client);
    rig.pass_ms(150);
    rig.send(client, &call(Version::V1, 2, b"crossed it"));
    let upstream = rig.connect();
    let asked = id(&rig.frames(upstream)[0]);
    rig.send(upstream, &response(Version::V1, asked, b"served"));
    assert_eq!(rig.bytes(client), response(Version::V1, 2, b"served"));
    rig.pass_ms(150);
    assert_eq!(rig.closed, [left]);
    rig.pass_ms(150);
    assert_eq!(rig.closed, [left, client]);
}

#[test]
fn what_a_lost_app_was_asked_is_waited_for_and_nothing_else_goes_that_way() {
    let mut rig = Rig::usual();
    let (client, stalled) = rig.pair(Version::V1);
    rig.send(client, &call(Version::V1, 2, b"in flight"));
    let asked = id(&rig.frames(stalled)[0]);
    rig.command(Command::CloseInbound);
    // It crossed the notice: it waits for a connect that the lost app does not answer.
    rig.send(client, &call(Version::V1, 3, b"waits"));
    let (lost, _) = rig.connects.remove(0);
    rig.command(Command::OpenInbound);
    assert_eq!(rig.closed, [lost], "a connect of before is not waited for");
    let fresh = rig.connect();
    assert_eq!(rig.frames(fresh)[0].content(), b"waits");
    rig.send(client, &call(Version::V1, 4, b"new"));
    assert_eq!(rig.frames(fresh)[0].content(), b"new");
    assert!(rig.connects.is_empty() && rig.frames(stalled).is_empty());
    // TCP brings what it held back.
    rig.bytes(client);
    rig.send(stalled, &response(Version::V1, asked, b"late"));
    assert_eq!(rig.bytes(client), response(Version::V1, 2, b"late"));
    rig.pass_ms(1);
    assert_eq!(rig.closed, [lost, stalled]);
}

#[test]
fn tr_has_no_notice_and_is_closed_when_idle() {
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    rig.send(client, &call_tr(5, 300));
    let upstream = rig.connect();
    rig.command(Command::CloseInbound);
    assert!(rig.bytes(client).is_empty());
    rig.pass_ms(299);
    assert!(rig.closed.is_empty());
    rig.pass_ms(300);
    assert!(!rig.bytes(client).is_empty());
    assert_eq!(rig.closed, [client, upstream]);
}

#[test]
fn a_client_that_goes_on_after_the_notice_is_read_no_more_in_the_end() {
    let mut rig = Rig::usual();
    let (client, left) = rig.pair(Version::V1);
    rig.command(Command::CloseInbound);
    rig.bytes(client);
    rig.send(client, &call(Version::V1, 500, b"still here"));
    let upstream = rig.connect();
    for number in 0..110 {
        rig.send(client, &call(Version::V1, number, b"still here"));
        for frame in rig.frames(upstream) {
            if frame.head.kind == Kind::Request {
                rig.send(upstream, &response(Version::V1, id(&frame), b"served"));
            }
        }
        rig.pass_ms(100);
        if rig.closed.len() > 1 {
            break;
        }
    }
    assert_eq!(rig.closed, [left, client]);
}

#[test]
fn a_drain_refuses_waits_and_tells() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V1);
    let idle = rig.client(Side::Outbound);
    rig.send(client, &call(Version::V1, 2, b"in flight"));
    let asked = id(&rig.frames(upstream)[0]);
    rig.command(Command::Drain);
    for side in [Side::Inbound, Side::Outbound] {
        assert_eq!(
            rig.core.accepted(side, address("10.0.0.8:1"), rig.now),
            None
        );
    }
    rig.pass_ms(300);
    assert_eq!((rig.closed.clone(), rig.drained), (vec![idle], 0));
    rig.send(upstream, &response(Version::V1, asked, b"done"));
    rig.pass_ms(300);
    assert!(rig.closed.contains(&client));
    assert_eq!(rig.drained, 1);
}

#[test]
fn what_outlasts_the_drain_is_answered_before_its_end() {
    let mut settings = settings();
    settings.timeouts.drain.0 = 1000;
    // With an isolation before it, whose clock goes on; after a hand-over that nobody takes.
    for before in [None, Some(Command::CloseInbound), Some(Command::HandOver)] {
        let mut rig = Rig::new(settings.clone(), Bugs::NONE);
        let (client, upstream) = rig.pair(Version::V1);
        rig.send(client, &call_within(Version::V1, 2, 60_000, b"slow"));
        rig.send(upstream, &call(Version::V1, 1, b"push"));
        let begun = before.is_some();
        let isolated = matches!(before, Some(Command::CloseInbound));
        if let Some(command) = before {
            rig.command(command);
            rig.pass_ms(100);
        }
        rig.command(Command::Drain);
        rig.bytes(client);
        rig.pass_ms(if begun { 350 } else { 450 });
        assert!(rig.paused.is_empty());
        rig.pass_ms(200);
        assert_eq!(rig.paused, [client]);
        assert!(rig.bytes(client).is_empty());
        rig.pass_ms(300);
        let answer = &rig.frames(client)[0];
        assert_eq!(
            (id(answer), answer.head.status),
            (2, Some(status::CONNECTION_CLOSED))
        );
        // The app's connection goes as well where nothing new was to be sent on it.
        assert_eq!(
            (rig.closed.len(), rig.drained),
            (1 + usize::from(isolated), 1)
        );
    }
}

#[test]
fn who_is_handed_over_to_one_that_sends_its_clients_away_is_sent_away() {
    let from = address("10.0.0.9:4000");
    for command in [Command::CloseInbound, Command::Drain] {
        let mut rig = Rig::usual();
        rig.command(command);
        let call = call(Version::V1, 3, b"in flight");
        let adopted = rig.core.adopted(Side::Inbound, from, &call, rig.now);
        let upstream = rig.connect();
        assert_eq!(rig.frames(adopted)[0].head.kind, Kind::Goaway);
        let asked = id(&rig.frames(upstream)[0]);
        rig.send(upstream, &response(Version::V1, asked, b"done"));
        assert_eq!(rig.bytes(adopted), response(Version::V1, 3, b"done"));
        rig.pass_ms(300);
        assert_eq!(rig.closed, [adopted]);
    }
}

#[test]
fn being_sent_away_again_does_not_keep_a_client() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V1);
    for _ in 0..4 {
        rig.command(Command::CloseInbound);
        rig.pass_ms(100);
    }
    assert_eq!(rig.closed, [upstream, client]);
}

#[test]
fn a_drain_with_nobody_there_is_over_at_once() {
    let mut rig = Rig::usual();
    rig.command(Command::Drain);
    assert_eq!(rig.drained, 1);
    rig.command(Command::Drain);
    assert_eq!(rig.drained, 1);
}

#[test]
fn a_client_is_handed_over_when_idle_with_the_front_of_its_frame() {
    let mut rig = Rig::usual();
    let (busy, upstream) = rig.pair(Version::V1);
    let idle = rig.client(Side::Outbound);
    let front = &call(Version::V1, 3, b"half")[..30];
    rig.send(busy, &[&call(Version::V1, 2, b"whole"), front].concat());
    let asked = id(&rig.frames(upstream)[0]);
    rig.command(Command::HandOver);
    assert_eq!(rig.released, [(idle, Side::Outbound, vec![])]);
    rig.writes = false;
    rig.send(upstream, &response(Version::V1, asked, b"done"));
    assert_eq!(rig.released.len(), 1, "its answer is not written");
    rig.write(busy, usize::MAX);
    rig.pump();
    assert_eq!(rig.released[1], (busy, Side::Inbound, front.to_vec()));
    assert_eq!(rig.bytes(busy), response(Version::V1, 2, b"done"));
    assert_eq!(rig.drained, 1);
    assert!(rig.closed.is_empty());

    // The other side of it.
    let mut heir = Rig::usual();
    let adopted = heir
        .core
        .adopted(Side::Inbound, address("10.0.0.9:4000"), front, heir.now);
    heir.send(adopted, &call(Version::V1, 3, b"half")[30..]);
    let upstream = heir.connect();
    assert_eq!(heir.frames(upstream)[0].content(), b"half");
}

#[test]
fn a_client_that_is_never_idle_is_read_no_more_so_that_it_gets_idle() {
    let mut rig = Rig::usual();
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(client, &call(Version::V1, 2, b"one"));
    rig.command(Command::HandOver);
    rig.pass_ms(299);
    assert!(rig.paused.is_empty());
    rig.pass_ms(100);
    assert_eq!(rig.paused, [client]);
    let asked = id(&rig.frames(upstream)[0]);
    rig.send(upstream, &response(Version::V1, asked, b"done"));
    assert_eq!(rig.released.len(), 1);
}

#[test]
fn what_outlasts_the_drain_is_answered_and_handed_over() {
    let mut settings = settings();
    settings.timeouts.drain.0 = 1000;
    let mut rig = Rig::new(settings, Bugs::NONE);
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(client, &call_within(Version::V1, 2, 60_000, b"slow"));
    rig.send(upstream, &call(Version::V1, 1, b"push"));
    rig.bytes(client);
    rig.command(Command::HandOver);
    rig.pass_ms(1000);
    assert!(rig.released.is_empty());
    rig.pass_ms(400);
    assert_eq!(
        rig.frames(client)[0].head.status,
        Some(status::CONNECTION_CLOSED)
    );
    assert_eq!(rig.released.len(), 1);
    assert_eq!(rig.drained, 1);
}

#[test]
fn a_hand_over_is_over_only_when_one_ways_are_written() {
    let mut rig = Rig::usual();
    let client = rig.client(Side::Inbound);
    rig.send(client, &oneway(Version::V1, 2, b"waits for the connect"));
    rig.command(Command::HandOver);
    assert_eq!((rig.released.len(), rig.drained), (1, 0));
    let upstream = rig.connect();
    assert_eq!(rig.frames(upstream).len(), 1);
    assert_eq!(rig.drained, 1);
}

#[test]
fn who_comes_during_a_hand_over_is_handed_over() {
    let mut rig = Rig::usual();
    let _stays = rig.pair(Version::V1);
    rig.command(Command::HandOver);
    let late = rig.client(Side::Inbound);
    rig.pump();
    assert_eq!(rig.released[1].0, late);
}

#[test]
fn the_limit_of_connections_is_per_side() {
    let mut settings = settings();
    settings.limits.connections = 2;
    let mut rig = Rig::new(settings, Bugs::NONE);
    let first = rig.client(Side::Inbound);
    rig.client(Side::Inbound);
    rig.client(Side::Outbound);
    assert_eq!(
        rig.core
            .accepted(Side::Inbound, address("10.0.0.8:1"), rig.now),
        None
    );
    assert_eq!(rig.metrics.refused[0].value(), 1);
    assert!(rig.events()[0].to_string().contains("limit of connections"));
    rig.end(first);
    rig.client(Side::Inbound);
}
