//! Replies that the sidecar makes itself are in the listener's BOLT version.

use meshproof_proxy::core::Side;
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::{Version, heartbeat};

use crate::core::rig::{Rig, call, settings};

/// First bytes of the answers to a call without a provider, a heartbeat and a call that times
/// out.
fn versions(bugs: Bugs, version: Version) -> [u8; 3] {
    let mut rig = Rig::new(settings(), bugs);
    let outbound = rig.client(Side::Outbound);
    rig.send(outbound, &call(version, 1, b"nobody"));
    let nobody = rig.bytes(outbound);
    rig.send(outbound, &heartbeat(version, 2));
    let beat = rig.bytes(outbound);
    let (client, _) = rig.pair(version);
    rig.send(client, &call(version, 3, b"silence"));
    rig.pass_ms(3000);
    [nobody[0], beat[0], rig.bytes(client)[0]]
}

#[test]
fn a_v2_client_gets_v1() {
    let bug = Bugs::NONE.with(Bug::ReplyVersion);
    for version in [Version::V2_CRC, Version::V2 { ver1: 1, switch: 0 }] {
        assert_eq!(versions(Bugs::NONE, version), [2, 2, 2]);
        assert_eq!(versions(bug, version), [1, 1, 1]);
    }
    assert_eq!(versions(bug, Version::V1), [1, 1, 1]);
}
