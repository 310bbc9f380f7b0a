//! Calls in flight when the new process takes over are never answered.

use meshproof_proxy::core::{Command, Side};
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::Version;

use crate::core::rig::{Rig, address, call, id, response, settings};

/// A call is in flight when a successor takes over: how often the app sees it, and how many
/// answers the client gets.
pub(super) fn upgraded(bugs: Bugs) -> (usize, usize) {
    let mut old = Rig::new(settings(), bugs);
    let client = old.client(Side::Inbound);
    old.send(client, &call(Version::V1, 7, b"once"));
    let app = old.connect();
    let asked = old.frames(app);
    let mut seen = asked.len();
    old.command(Command::HandOver);
    for frame in &asked {
        old.send(app, &response(Version::V1, id(frame), b"done"));
    }
    let mut answers = old.frames(client).len();
    let (_, side, unread) = old.released.pop().expect("the client is handed over");
    assert!(old.released.is_empty());

    let mut new = Rig::new(settings(), bugs);
    let peer = address("10.0.0.9:4000");
    let client = new.core.adopted(side, peer, &unread, new.now);
    new.pump();
    if !new.connects.is_empty() {
        let app = new.connect();
        for frame in new.frames(app) {
            seen += 1;
            new.send(app, &response(Version::V1, id(&frame), b"done"));
        }
    }
    answers += new.frames(client).len();
    (seen, answers)
}

#[test]
fn the_client_waits_for_ever() {
    assert_eq!(upgraded(Bugs::NONE), (1, 1));
    assert_eq!(upgraded(Bugs::NONE.with(Bug::UpgradeDrops)), (1, 0));
}
