//! The story of the app that falls silent, as the config center, the kernel and a client see it.

use std::io::{Read, Write};
use std::net::TcpStream;

use meshproof_proxy::edge::Ending;
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::{self, Step, Version};
use meshproof_wire::registry::Push;

use super::{LIMIT, Rig, SERVICE, http, until};

/// The config center is waited for as long as the test holds it back.
const SETTINGS: &str = "heartbeat: {interval: 300ms, timeout: 300ms, misses: 3}\n\
                        timeouts: {config_center: 60s}\n";

fn provided(rig: &Rig) -> Vec<String> {
    let Push { providers, .. } = rig.registry.lookup(SERVICE);
    providers.into_iter().map(|one| one.address).collect()
}

#[test]
fn off_the_config_center_then_closed_and_listening_before_registered() {
    let rig = Rig::start(Bugs::NONE, SETTINGS);
    let at = rig.sidecar.addresses();
    assert_eq!(rig.app.heartbeats(), 0, "nothing is published yet");
    rig.publish();
    rig.until_registry_saw("register", 1);
    assert_eq!(provided(&rig), [at.inbound.to_string()]);
    // Before anybody has called.
    until("a heartbeat", || rig.app.heartbeats() > 1);
    // A client that stays; the answer shows that it was accepted.
    let mut client = TcpStream::connect(at.inbound).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.write_all(&bolt::heartbeat(Version::V1, 7)).unwrap();
    let mut ack = [0; 20];
    client.read_exact(&mut ack).unwrap();

    rig.gate.hold();
    rig.app.mute(true);
    rig.until_registry_saw("deregister", 1);
    assert!(provided(&rig).is_empty());
    // It does not know yet that it is off, and has not closed.
    assert!(rig.accepts());
    rig.gate.release();
    until("the end of 12200", || !rig.accepts());
    // The client is told, and then left.
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    let Step::Head(head) = bolt::Head::parse(&rest) else {
        panic!("no frame: {rest:?}");
    };
    assert_eq!(head.cmdcode, 100, "GoAway");
    assert_eq!(rest.len() as u64, head.frame_len());
    assert_eq!(http(at.admin, "GET", "/health", "").0, 503);
    // It goes on asking.
    let asked = rig.app.heartbeats();
    until("more heartbeats", || rig.app.heartbeats() > asked + 1);

    rig.gate.hold();
    rig.app.mute(false);
    rig.until_registry_saw("register", 2);
    // It does not know yet that it is on, and listens.
    assert!(rig.accepts());
    rig.gate.release();
    until("service", || http(at.admin, "GET", "/health", "").0 == 200);
    assert_eq!(provided(&rig), [at.inbound.to_string()]);
}

#[test]
fn with_the_bug_the_config_center_knows_before_12200_listens() {
    let rig = Rig::start(Bugs::NONE.with(Bug::RegisterBeforeListen), SETTINGS);
    rig.publish();
    rig.until_registry_saw("register", 1);
    rig.app.mute(true);
    until("the end of 12200", || !rig.accepts());
    rig.gate.hold();
    rig.app.mute(false);
    rig.until_registry_saw("register", 2);
    assert!(!rig.accepts());
    rig.gate.release();
    until("12200", || rig.accepts());
}

#[test]
fn the_graceful_end_goes_off_the_config_center_first() {
    let rig = Rig::start(Bugs::NONE, SETTINGS);
    rig.publish();
    rig.until_registry_saw("register", 1);
    rig.gate.hold();
    rig.sidecar.drain();
    rig.until_registry_saw("deregister", 1);
    assert!(rig.accepts());
    rig.gate.release();
    let Rig { sidecar, .. } = rig;
    let inbound = sidecar.addresses().inbound;
    assert_eq!(sidecar.wait(), Ending::Drained);
    assert!(TcpStream::connect(inbound).is_err());
}
