//! An upstream connection whose peer vanished without a word is kept and used for good.

use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::Version;

use crate::core::rig::{Rig, call, settings};

/// Whether a call reaches a server that is there, ten seconds after the one before vanished.
fn reached(bugs: Bugs) -> bool {
    let mut rig = Rig::new(settings(), bugs);
    let (client, vanished) = rig.pair(Version::V1);
    rig.pass_ms(10_000);
    rig.bytes(vanished);
    rig.send(client, &call(Version::V1, 2, b"hello"));
    let reached = !rig.connects.is_empty();
    let into_the_void = !rig.bytes(vanished).is_empty();
    assert_ne!(reached, into_the_void);
    reached
}

#[test]
fn calls_go_into_it() {
    assert!(reached(Bugs::NONE));
    assert!(!reached(Bugs::NONE.with(Bug::HalfOpenLeak)));
}
