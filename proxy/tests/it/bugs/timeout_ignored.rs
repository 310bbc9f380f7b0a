//! The time-out in the frame is not kept.

use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::Version;

use crate::core::rig::{Rig, call_within, settings};

/// Whether a caller that gives a silent provider 300 ms knows after a minute that it is over.
fn told(bugs: Bugs) -> bool {
    let mut rig = Rig::new(settings(), bugs);
    let (client, upstream) = rig.pair(Version::V1);
    rig.send(client, &call_within(Version::V1, 2, 300, b"slow"));
    for _ in 0..60 {
        rig.pass_ms(1000);
        // The provider is there: its heartbeats are answered.
        for frame in rig.frames(upstream) {
            let id = crate::core::rig::id(&frame);
            rig.send(
                upstream,
                &meshproof_wire::bolt::heartbeat_ack(Version::V1, id),
            );
        }
    }
    !rig.bytes(client).is_empty()
}

#[test]
fn a_slow_provider_holds_its_caller() {
    assert!(told(Bugs::NONE));
    assert!(!told(Bugs::NONE.with(Bug::TimeoutIgnored)));
}
