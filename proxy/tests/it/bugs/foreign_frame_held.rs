//! A frame of a protocol that is not served is held as if it were the front of a large one.

use meshproof_proxy::config::Speaks;
use meshproof_proxy::core::Side;
use meshproof_proxy::{Bug, Bugs};

use crate::core::rig::{Rig, call_tr, settings};

/// Connections that are closed when a TR frame comes where only BOLT is served, and whether the
/// log says why.
fn closed(bugs: Bugs) -> (usize, bool) {
    let mut settings = settings();
    settings.inbound = vec![Speaks::Bolt];
    let mut rig = Rig::new(settings, bugs);
    let client = rig.client(Side::Inbound);
    rig.send(client, &call_tr(1, 0));
    rig.pass_ms(60_000);
    (rig.closed.len(), !rig.events().is_empty())
}

#[test]
fn the_client_waits_for_nothing() {
    assert_eq!(closed(Bugs::NONE), (1, true));
    assert_eq!(closed(Bugs::NONE.with(Bug::ForeignFrameHeld)), (0, false));
}
