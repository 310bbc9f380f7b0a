//! Some answers to heartbeats are lost on one connection, and nothing else is, however many
//! business frames pass beside them.
//!
//! `MESHPROOF_EXACT_FRAMES` says how many; `scripts/exact-frames.sh` sends 100,000 in each protocol.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use meshproof_wire::bolt::Version;
use meshproof_wire::{Kind, RequestId};

use super::*;
use crate::flips::app::App;
use crate::flips::talk::{Heard, Talk, Tongue};

/// Business frames of each protocol: requests and answers.
const FRAMES: u64 = 2_000;

/// Requests that are sent at once, with a heartbeat in their middle.
const BATCH: u64 = 25;

const PATIENCE: Duration = Duration::from_secs(60);

fn dialer() -> Dialer {
    Box::new(|to, limit| {
        TcpStream::connect_timeout(&to, limit).map_err(Error::io("connecting to an app"))
    })
}

fn listen() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

fn talk(to: SocketAddr) -> Talk {
    Talk::new(TcpStream::connect(to).unwrap()).unwrap()
}

/// The ids of the next answers, in the order in which they come: so many.
fn heard(talk: &mut Talk, count: usize) -> Vec<(Kind, RequestId)> {
    let ids = (0..count).map(|at| match talk.hear(PATIENCE) {
        Heard::Frame(frame) => (frame.head.kind, frame.head.id),
        other => panic!("{other:?} in place of answer {at} of {count}"),
    });
    ids.collect()
}

/// Sends a batch: requests, a heartbeat in their midst, requests; the ids of what must be answered.
fn batch(tongue: Tongue, first: u64, requests: u64) -> (Vec<u8>, Vec<u64>) {
    let mut bytes = Vec::new();
    let mut ids = Vec::new();
    for at in 0..requests {
        let id = first + at;
        if at == requests / 2 {
            bytes.extend_from_slice(&tongue.heartbeat(heartbeat_of(first)));
            ids.push(heartbeat_of(first).into());
        }
        bytes.extend_from_slice(&tongue.request(id as u32, &format!("case {id}"), 60_000));
        ids.push(id);
    }
    (bytes, ids)
}

/// The id of the heartbeat of a batch: none of a request.
fn heartbeat_of(first: u64) -> u32 {
    0x4000_0000 + first as u32
}

fn exact(tongue: Tongue) {
    let frames = std::env::var("MESHPROOF_EXACT_FRAMES").ok();
    let frames: u64 = frames.map_or(FRAMES, |text| text.parse().unwrap());
    let app = App::start(listen(), dialer()).unwrap();
    let relay = Relay::start(Leg {
        name: "sidecar to app".into(),
        listener: listen(),
        to: app.at(),
        dial: dialer(),
    })
    .unwrap();
    let mut this = talk(relay.at());
    // The other one is the second connection that the relay carries.
    this.say(&batch(tongue, 1, 1).0);
    heard(&mut this, 2);
    let mut other = talk(relay.at());
    other.say(&batch(tongue, 1, 1).0);
    heard(&mut other, 2);
    let loss = relay
        .put(Rule {
            sorts: vec![Sort::Heartbeat],
            direction: Some(Direction::Back),
            connection: Some(1),
            first: 3,
            last: Some(5),
            ..Rule::new(Harm::Drop)
        })
        .unwrap();
    let batches = (frames / 2).div_ceil(BATCH);
    for number in 1..=batches {
        let (bytes, mut ids) = batch(tongue, 1 + number * BATCH, BATCH);
        other.say(&bytes);
        this.say(&bytes);
        let all: Vec<u64> = heard(&mut other, ids.len())
            .into_iter()
            .map(|(_, id)| id.0)
            .collect();
        assert_eq!(all, ids, "the connection beside it");
        if (3..=5).contains(&number) {
            ids.retain(|id| *id < 0x4000_0000);
        }
        let came: Vec<u64> = heard(&mut this, ids.len())
            .into_iter()
            .map(|(_, id)| id.0)
            .collect();
        assert_eq!(came, ids, "batch {number}");
    }
    let healed = relay.heal(loss).unwrap();
    let lost = Class {
        direction: Direction::Back,
        protocol: tongue.protocol(),
        sort: Sort::Heartbeat,
    };
    assert_eq!(
        healed.harmed_of.into_iter().collect::<Vec<_>>(),
        [(lost, 3)]
    );
    for (direction, sort) in [
        (Direction::Forth, Sort::Request),
        (Direction::Back, Sort::Response),
    ] {
        let class = Class {
            direction,
            sort,
            ..lost
        };
        // On both connections.
        assert_eq!(healed.came_of[&class], 2 * batches * BATCH, "{class}");
    }
    assert_eq!(healed.met, batches);
    println!(
        "{:?}: 3 answers to heartbeats lost, 0 of {} business frames on the same connection",
        tongue,
        2 * batches * BATCH
    );
}

#[test]
fn heartbeat_answers_3_to_5_are_lost_and_no_business_frame_of_bolt_v1() {
    exact(Tongue::Bolt(Version::V1));
}

#[test]
fn heartbeat_answers_3_to_5_are_lost_and_no_business_frame_of_bolt_v2() {
    exact(Tongue::Bolt(Version::V2_CRC));
}

#[test]
fn heartbeat_answers_3_to_5_are_lost_and_no_business_frame_of_tr() {
    exact(Tongue::Tr);
}
