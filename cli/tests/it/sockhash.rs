//! Exact frames of connections that stand, where no relay is: the sidecar of a mesh misses an
//! answer to its heartbeats, and nothing else is lost.

use std::time::Duration;

use meshproof_fault::{Error, Fault, Scene, Spec, Way};
use meshproof_harness::Backend;
use meshproof_harness::environment::{Command, Environment, Ready};
use meshproof_harness::ground::InPod;
use meshproof_harness::mesh::{Call, Setting};
use meshproof_harness::watch::{Presence, Pushes};
use meshproof_sys::clock::Nanos;

use crate::environment::LONG;
use crate::peer::skipped;

const PAIR: &str = include_str!("../../../scenarios/topologies/pair.yaml");
const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

/// Segments that were sent again in a pod, all in all.
fn sent_again(environment: &dyn Environment, pod: &str) -> u64 {
    let cat = Command::program("cat", ["/proc/net/snmp"]).ready(Ready::Done);
    let said = environment.start(pod, cat).unwrap();
    let tcp: Vec<Vec<String>> = said
        .lines()
        .iter()
        .filter_map(|line| line.text.strip_prefix("Tcp: ").map(str::to_owned))
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect();
    let [names, numbers] = &tcp[..] else {
        panic!("{tcp:?}");
    };
    let at = names.iter().position(|name| name == "RetransSegs").unwrap();
    numbers[at].parse().unwrap()
}

#[test]
fn an_answer_is_lost_and_nothing_else() {
    let setting = Setting {
        backend: Some(Backend::Netns),
        ..crate::mesh::setting()
    };
    let Some(mesh) = crate::mesh::up(PAIR, &setting) else {
        return;
    };
    let calls = |count| {
        let called = mesh.call(&Call::new("client", count)).unwrap();
        assert!(called.is_right() && called.sent == count, "{called:?}");
    };
    // Until somebody has called, no connection but that of the heartbeats stands.
    calls(20);
    let environment = mesh.environment();
    let service = mesh.place("server").unwrap().inbound;
    let center = mesh.center().unwrap();
    let pushes = Pushes::watch(environment, "client", center, &[SERVICE]).unwrap();
    pushes
        .lists(service, Presence::There, Nanos(0), LONG)
        .unwrap();
    let text = "{kind: drop, frame: heartbeat, from: app, port: 12199, nth: 3, last: 5, \
                protocol: bolt}";
    let fault = Fault {
        spec: Spec::parse("fault.yaml", text).unwrap(),
        scene: Scene {
            run: "run".into(),
            lease: "three".into(),
            process: None,
            control: None,
        },
    };
    let pod = InPod {
        environment,
        pod: "server",
    };
    let standby = match fault.preflight(&pod) {
        Err(Error::Unsupported { missing, advice }) => {
            return skipped(&format!("needs {missing}: {advice}"));
        }
        other => other.unwrap(),
    };
    if standby.plan().way == Way::Relay {
        return skipped(&format!("needs {:?}", standby.plan().passed_over));
    }
    assert_eq!(standby.plan().way, Way::Sockhash);
    assert!(standby.plan().flows_all >= 1, "{:?}", standby.plan());
    let before = sent_again(environment, "server");
    let mut lease = standby.apply(Duration::from_secs(3600)).unwrap();
    // Business goes on between the heartbeats, judged by the same program.
    calls(20);
    let until = Nanos::now() + LONG;
    while lease.evidence().unwrap().is_empty() {
        assert!(Nanos::now() < until, "{:?}", lease.evidence());
    }
    calls(20);
    let healed = lease.heal().unwrap();
    assert!(healed.residue.is_empty(), "{healed:?}");
    // The third is lost; whoever misses one asks on a new connection, which the fault does not
    // know.
    assert_eq!(healed.evidence.met(), 1, "{healed:?}");
    let why = healed.evidence.claim("three").why;
    println!("{why}");
    assert!(
        !why.contains("in pieces") && !why.contains("begin"),
        "{why}"
    );
    assert_eq!(sent_again(environment, "server"), before);
    calls(20);
    // One miss is no loss.
    pushes
        .lists(service, Presence::There, Nanos(0), LONG)
        .unwrap();
    mesh.down().unwrap();
}
