//! Request ids are not remapped on a shared upstream connection.

use meshproof_proxy::core::Side;
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::Version;

use crate::core::rig::{Rig, call, id, response, settings};

/// What two clients get that ask for themselves under the same id.
fn contents(bugs: Bugs) -> [Vec<u8>; 2] {
    let mut settings = settings();
    settings.upstream.connections = 1;
    let mut rig = Rig::new(settings, bugs);
    let clients = [rig.client(Side::Inbound), rig.client(Side::Inbound)];
    rig.send(clients[0], &call(Version::V1, 1, b"zero"));
    rig.send(clients[1], &call(Version::V1, 1, b"one"));
    let upstream = rig.connect();
    for frame in rig.frames(upstream) {
        rig.send(
            upstream,
            &response(Version::V1, id(&frame), frame.content()),
        );
    }
    clients.map(|client| {
        let frames = rig.frames(client);
        frames
            .iter()
            .flat_map(|frame| frame.content().to_vec())
            .collect()
    })
}

#[test]
fn a_client_gets_the_answer_of_another() {
    assert_eq!(contents(Bugs::NONE), [b"zero".to_vec(), b"one".to_vec()]);
    let mixed = contents(Bugs::NONE.with(Bug::IdCollision));
    assert_eq!(mixed, [b"".to_vec(), b"zero".to_vec()]);
}
