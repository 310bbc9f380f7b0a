//! The heartbeat story by a relay: the app lives, and its answers are lost on the way.

use std::time::Duration;

use meshproof_harness::mesh::{Between, Call, Mesh, Setting};
use meshproof_harness::relay::{Direction, Harm, Rule, Sort};
use meshproof_harness::watch::{Port, Presence, Pushes};
use meshproof_harness::{Backend, Error};
use meshproof_sys::clock::Nanos;

use crate::environment::{LONG, as_nobody};
use crate::loopback::denied;
use crate::peer::skipped;

const PAIR: &str = include_str!("../../../scenarios/topologies/pair.yaml");
const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

/// Heartbeat answers of the app are dropped; the service must go, 12200 must close, and both must
/// come back when the answers do. None where this machine lacks what the backend wants.
fn story(backend: Option<Backend>, front: &[&str]) -> Option<()> {
    let own = env!("CARGO_BIN_EXE_meshproof");
    let setting = Setting {
        backend,
        program: front.iter().chain([&own]).map(Into::into).collect(),
        relays: vec![("server".to_owned(), Between::SidecarAndApp)],
        ..Setting::default()
    };
    let mesh = match Mesh::up(&crate::mesh::spec(PAIR), &setting) {
        Ok(mesh) => mesh,
        Err(Error::Unsupported { missing, advice }) => {
            skipped(&format!("needs {missing}: {advice}"));
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let calls = |count| {
        let called = mesh.call(&Call::new("client", count)).unwrap();
        assert!(called.is_right() && called.sent == count, "{called:?}");
    };
    calls(20);
    let relay = mesh.relay("server", Between::SidecarAndApp).unwrap();
    let answers = |account: &meshproof_harness::relay::Account| {
        let count = account.frames(Direction::Back, Sort::Heartbeat);
        (count >= 2).then_some(count)
    };
    relay.until(LONG, answers).expect("two heartbeats answered");
    assert_eq!(relay.account().frames(Direction::Forth, Sort::Request), 20);

    let environment = mesh.environment();
    let service = mesh.place("server").unwrap().inbound;
    let center = mesh.center().unwrap();
    let pushes = Pushes::watch(environment, "client", center, &[SERVICE]).unwrap();
    pushes
        .lists(service, Presence::There, Nanos(0), LONG)
        .unwrap();
    std::thread::scope(|scope| {
        let port = Port::watch(scope, environment, "client", service);
        port.turns(Presence::There, Nanos(0), LONG).unwrap();
        let dropped = Nanos::now();
        let rule = relay
            .put(Rule {
                sorts: vec![Sort::Heartbeat],
                direction: Some(Direction::Back),
                ..Rule::new(Harm::Drop)
            })
            .unwrap();
        let (gone, _) = pushes
            .lists(service, Presence::Gone, dropped, LONG)
            .expect("the config center forgets the pod");
        port.turns(Presence::Gone, dropped, LONG)
            .expect("12200 refuses");
        // Not before three answers were missed: T + (N-1)*I.
        let took = Duration::from_nanos(gone.since(dropped));
        assert!(took >= Duration::from_millis(700), "{took:?}");
        let healed = Nanos::now();
        let evidence = relay.heal(rule).unwrap();
        assert!(evidence.harmed >= 3, "{evidence:?}");
        port.turns(Presence::There, healed, LONG)
            .expect("12200 takes connections again");
        pushes
            .lists(service, Presence::There, healed, LONG)
            .expect("the config center learns of the pod");
    });
    // The app has seen and answered it all: nothing but the relay stood in between.
    calls(20);
    mesh.down().unwrap();
    Some(())
}

#[test]
fn lost_heartbeat_answers_isolate_a_pod_of_loopback() {
    story(Some(Backend::Process), &[]).unwrap();
}

#[test]
fn lost_heartbeat_answers_isolate_a_pod_of_namespaces() {
    story(Some(Backend::Netns), &[]);
}

#[test]
fn where_namespaces_are_denied_the_story_is_the_same() {
    let Some(denied) = denied("unshare,mount,setns,user-namespace") else {
        return;
    };
    // Nobody asks for a backend: it is the one that is left.
    let front = [as_nobody().unwrap_or_default(), denied].concat();
    story(None, &front).unwrap();
}

/// Between two sidecars, and between two apps that have none, a relay stands on the port of
/// production: it sees every call and harms what it is told to.
#[test]
fn a_relay_stands_between_sidecars_and_where_there_are_none() {
    let bare = PAIR
        .replace("    sidecar: reference\n", "")
        .replace("  client:\n", "  client: {}\n");
    for (topology, surplus) in [(PAIR, 0), (&bare, 20)] {
        let setting = |backend| Setting {
            backend: Some(backend),
            program: vec![env!("CARGO_BIN_EXE_meshproof").into()],
            relays: vec![("server".to_owned(), Between::SidecarAndSidecar)],
            ..Setting::default()
        };
        let spec = crate::mesh::spec(topology);
        // A pod of loopback has one address, and it is taken.
        match Mesh::up(&spec, &setting(Backend::Process)) {
            Err(Error::Unsupported { missing, .. }) => assert!(missing.contains("12200")),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("two listeners on one address"),
        }
        let mesh = match Mesh::up(&spec, &setting(Backend::Netns)) {
            Ok(mesh) => mesh,
            Err(Error::Unsupported { missing, advice }) => {
                return skipped(&format!("needs {missing}: {advice}"));
            }
            Err(error) => panic!("{error}"),
        };
        let calls = |surplus: u64| {
            let called = mesh.call(&Call::new("client", 20)).unwrap();
            assert_eq!((called.right, called.surplus), (20, surplus), "{called:?}");
        };
        calls(0);
        let relay = mesh.relay_at("server", 12200).unwrap();
        let requests = relay.account().frames(Direction::Forth, Sort::Request);
        assert_eq!(requests, 20);
        let twice = relay
            .put(Rule {
                sorts: vec![Sort::Response],
                direction: Some(Direction::Back),
                ..Rule::new(Harm::Duplicate)
            })
            .unwrap();
        // A sidecar keeps what comes twice to itself; an app has nobody to do that for it.
        calls(surplus);
        assert_eq!(relay.heal(twice).unwrap().harmed, 20);
        mesh.down().unwrap();
    }
}
