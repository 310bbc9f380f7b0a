//! Calls of one client or a few, and what they get.

use meshproof_proxy::core::Side;
use meshproof_wire::bolt::Version;

use super::rig::{Rig, call, id, response};

#[test]
fn a_call_goes_through_and_its_answer_comes_back_under_its_own_id() {
    for version in [
        Version::V1,
        Version::V2_CRC,
        Version::V2_PLAIN,
        Version::V2 { ver1: 1, switch: 1 },
    ] {
        let mut rig = Rig::usual();
        let client = rig.client(Side::Inbound);
        let asked = call(version, 0xffff_fff0, b"hello");
        rig.send(client, &asked);
        let upstream = rig.connect();
        let seen = rig.frames(upstream);
        assert_eq!(seen.len(), 1);
        assert_eq!(
            seen[0]
                .with_id(meshproof_wire::RequestId(0xffff_fff0))
                .bytes,
            asked
        );
        rig.send(upstream, &response(version, id(&seen[0]), b"world"));
        assert_eq!(rig.bytes(client), response(version, 0xffff_fff0, b"world"));
        assert_eq!(rig.core.census().flights, 0);
    }
}
