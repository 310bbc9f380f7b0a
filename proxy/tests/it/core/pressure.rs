//! Back-pressure: nobody is read for whom too much waits elsewhere, both ways.

use meshproof_proxy::Bugs;
use meshproof_proxy::core::{Conn, Side};
use meshproof_wire::bolt::{Version, status};

use super::rig::{Rig, call, call_within, id, response, settings};

const BUFFERED: usize = 10_000;

fn rig() -> Rig {
    let mut settings = settings();
    settings.limits.buffered_bytes = BUFFERED;
    settings.upstream.connections = 1;
    Rig::new(settings, Bugs::NONE)
}

fn sorted(mut conns: Vec<Conn>) -> Vec<Conn> {
    conns.sort();
    conns
}

#[test]
fn a_server_that_reads_slowly_stops_its_clients() {
    let mut rig = rig();
    let (client, upstream) = rig.pair(Version::V1);
    let other = rig.client(Side::Inbound);
    rig.writes = false;
    rig.send(client, &call(Version::V1, 2, &[1; 9000]));
    assert!(rig.paused.is_empty());
    rig.send(client, &call(Version::V1, 3, &[1; 9000]));
    assert_eq!(rig.paused, [client]);
    // Who does not feed it is not stopped before it does.
    rig.send(other, &call(Version::V1, 1, b"small"));
    assert_eq!(sorted(rig.paused.clone()), sorted(vec![client, other]));
    rig.write(upstream, 9000);
    rig.pump();
    assert_eq!(rig.paused.len(), 2, "read again only when half is left");
    rig.write(upstream, 9000);
    rig.pump();
    assert!(rig.paused.is_empty());
}

#[test]
fn a_client_that_reads_slowly_stops_its_server_and_itself() {
    let mut rig = rig();
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(
        client,
        &[call(Version::V1, 2, b"a"), call(Version::V1, 3, b"b")].concat(),
    );
    let asked = rig.frames(upstream);
    rig.writes = false;
    for frame in &asked {
        rig.send(upstream, &response(Version::V1, id(frame), &[1; 6000]));
    }
    assert_eq!(sorted(rig.paused.clone()), sorted(vec![client, upstream]));
    rig.write(client, usize::MAX);
    rig.pump();
    assert!(rig.paused.is_empty());
    assert_eq!(rig.core.census().buffered_bytes, 0);
}

#[test]
fn who_reads_nothing_while_others_wait_is_closed() {
    let mut rig = rig();
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(client, &call_within(Version::V1, 2, 60_000, b"a"));
    let asked = rig.frames(upstream);
    rig.writes = false;
    rig.send(
        upstream,
        &response(Version::V1, id(&asked[0]), &[1; 20_000]),
    );
    rig.pass_ms(2000);
    // Slow, and yet alive.
    rig.write(client, 1);
    rig.pass_ms(2999);
    assert!(rig.closed.is_empty());
    rig.pass_ms(1);
    assert_eq!(rig.closed, [client]);
    assert_eq!(rig.metrics.stuck.value(), 1);
    assert!(
        rig.paused.iter().all(|conn| *conn == client),
        "the server is read again"
    );
}

#[test]
fn what_waits_for_a_connect_is_bounded() {
    let mut rig = rig();
    let client = rig.client(Side::Inbound);
    for number in 1..=3 {
        rig.core
            .received(client, &call(Version::V1, number, &[1; 9000]), rig.now);
    }
    rig.pump();
    assert_eq!(rig.paused, [client]);
    let answer = rig.frames(client);
    assert_eq!(
        (id(&answer[0]), answer[0].head.status),
        (3, Some(status::SERVER_THREADPOOL_BUSY))
    );
    let upstream = rig.connect();
    assert_eq!(rig.frames(upstream).len(), 2);
    assert!(rig.paused.is_empty());
}

#[test]
fn the_end_of_who_blocks_frees_who_is_blocked() {
    let mut rig = rig();
    let (client, upstream) = rig.pair(Version::V1);
    rig.writes = false;
    rig.send(client, &call(Version::V1, 3, &[1; 20_000]));
    assert_eq!(rig.paused, [client]);
    rig.end(upstream);
    assert!(rig.paused.is_empty());
}
