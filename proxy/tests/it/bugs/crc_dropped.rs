//! A BOLT v2 frame with a CRC goes on without its four bytes and with its switch set.

use meshproof_proxy::core::Side;
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::Version;

use crate::core::rig::{Rig, call, settings};

/// What the app gets of two calls: whether it is two calls again.
fn arrives(bugs: Bugs) -> bool {
    let mut rig = Rig::new(settings(), bugs);
    let client = rig.client(Side::Inbound);
    let calls = [1, 2]
        .map(|id| call(Version::V2_CRC, id, b"hello"))
        .concat();
    rig.send(client, &calls);
    let upstream = rig.connect();
    rig.bytes(upstream) == calls
}

#[test]
fn the_peer_eats_the_next_frame() {
    assert!(arrives(Bugs::NONE));
    assert!(!arrives(Bugs::NONE.with(Bug::CrcDropped)));
}
