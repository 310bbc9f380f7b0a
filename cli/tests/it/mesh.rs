//! Meshes of a topology: brought up, called, changed while they run, judged from outside.

use std::path::Path;
use std::time::Duration;

use meshproof_harness::mesh::call::Speech;
use meshproof_harness::mesh::{Call, Called, End, Mesh, MeshSpec, Part, Setting, Style};
use meshproof_harness::process::Exit;
use meshproof_harness::sut::Suts;
use meshproof_harness::watch::Presence;
use meshproof_harness::{Backend, Error};

use crate::environment::LONG;

/// How meshes of tests are made.
pub(crate) fn setting() -> Setting {
    Setting {
        program: vec![env!("CARGO_BIN_EXE_meshproof").into()],
        ..Setting::default()
    }
}

pub(crate) fn spec(text: &str) -> MeshSpec {
    meshproof_input::parse("topology.yaml", text).unwrap()
}

/// A mesh, unless this machine allows none: that is said aloud.
pub(crate) fn up(text: &str, setting: &Setting) -> Option<Mesh> {
    match Mesh::up(&spec(text), setting) {
        Ok(mesh) => Some(mesh),
        Err(Error::Unsupported { missing, advice }) => {
            crate::peer::skipped(&format!("needs {missing}: {advice}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn check(called: &Called, count: u64) {
    assert!(called.is_right() && called.sent == count, "{called:?}");
}

const PAIR: &str = include_str!("../../../scenarios/topologies/pair.yaml");
const MIXED: &str = include_str!("../../../scenarios/topologies/mixed-providers.yaml");

#[test]
fn every_style_of_call_comes_back_as_it_must() {
    for backend in [Backend::Netns, Backend::Process] {
        every_style(&Setting {
            backend: Some(backend),
            ..setting()
        });
    }
}

fn every_style(setting: &Setting) {
    let Some(mesh) = up(PAIR, setting) else {
        return;
    };
    for style in [
        Style::Sync,
        Style::Oneway,
        Style::Exception,
        Style::Heartbeat,
        Style::Large,
        Style::Timeout,
    ] {
        let timeout = match style {
            Style::Timeout => Duration::from_millis(200),
            _ => Duration::from_secs(20),
        };
        let called = mesh.call(&Call {
            style,
            timeout,
            ..Call::new("client", 5)
        });
        let called = called.unwrap();
        assert!(
            called.is_right() && called.sent == 5,
            "{style:?}: {called:?}"
        );
    }
    let by_name = mesh.call(&Call {
        vip: Some("http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000".into()),
        ..Call::new("client", 5)
    });
    check(&by_name.unwrap(), 5);
    mesh.down().unwrap();
}

#[test]
fn apps_without_sidecars_find_each_other() {
    let bare = "topology: bare\npods:\n  client: {}\n  old: {app: {speaks: old}}\n  \
                new: {app: {speaks: new}}\n";
    let Some(mesh) = up(bare, &setting()) else {
        return;
    };
    check(&mesh.call(&Call::new("client", 20)).unwrap(), 20);
    let told = mesh.place("clinet").unwrap_err().to_string();
    assert_eq!(
        told,
        "no pod is called `clinet`; there are client, old, new"
    );
    mesh.down().unwrap();
}

#[test]
fn a_seeded_bug_acts_and_is_told_to_nobody() {
    let bugged = Setting {
        bugs: [("client".to_owned(), vec!["tr-bolt-mixed".to_owned()])].into(),
        ..setting()
    };
    // The first provider's protocol decides: with the new one first, the old one gets BOLT.
    let text = format!("registry_order: fixed:server-new,server-old\n{MIXED}");
    for (setting, wrong) in [(setting(), false), (bugged, true)] {
        let Some(mesh) = up(&text, &setting) else {
            return;
        };
        let called = mesh.call(&Call {
            timeout: Duration::from_millis(500),
            ..Call::new("client", 10)
        });
        let called = called.unwrap();
        assert_eq!(!called.is_right(), wrong, "{called:?}");
        mesh.down().unwrap();
    }
}

/// A load that goes on until it is stopped.
fn load(mesh: &Mesh, from: &str) -> meshproof_harness::mesh::Calling {
    let load = Call {
        connections: 4,
        rate: Some(100.0),
        timeout: Duration::from_secs(20),
        reconnect: Duration::from_secs(20),
        ..Call::new(from, 1_000_000)
    };
    mesh.begin(&load).unwrap()
}

#[track_caller]
fn closes(mesh: &Mesh, called: &Called) {
    let ledger = mesh.ledger().unwrap();
    assert!(called.is_right(), "{called:?}; {}", ledger.sentence());
    assert!(
        ledger.closes() && ledger.calls >= called.sent,
        "{}",
        ledger.sentence()
    );
}

/// Another client's calls go through after it: the load has met what was done.
fn met(mesh: &Mesh, from: &str) {
    let call = Call {
        timeout: Duration::from_secs(20),
        reconnect: Duration::from_secs(20),
        ..Call::new(from, 20)
    };
    check(&mesh.call(&call).unwrap(), 20);
}

#[test]
fn a_port_changes_hands_under_load_and_no_call_is_lost() {
    let text = "topology: t\npods:\n  client: {}\n  server: {app: {speaks: bolt}}\n";
    let Some(mesh) = up(text, &setting()) else {
        return;
    };
    let load = load(&mesh, "client");
    met(&mesh, "client");
    let moved = mesh.meshify("server", "reference").unwrap();
    assert_eq!(moved.old, Exit::Code(0));
    assert!(mesh.sidecar_of("server").unwrap().is_some());
    met(&mesh, "client");
    let state = mesh.ask_admin("server", "/state").unwrap();
    assert!(state.body.contains("\"serving\""), "{}", state.body);
    let moved = mesh.demesh("server").unwrap();
    assert_eq!(moved.old, Exit::Code(0));
    met(&mesh, "client");
    assert!(
        mesh.ask_admin("server", "/state").is_err(),
        "the sidecar is gone"
    );
    closes(&mesh, &load.stop().unwrap());
    mesh.down().unwrap();
}

#[test]
fn a_sidecar_is_upgraded_under_load_and_no_call_is_lost() {
    let Some(mesh) = up(PAIR, &setting()) else {
        return;
    };
    let load = load(&mesh, "client");
    met(&mesh, "client");
    for pod in ["server", "client"] {
        let before = mesh.process(pod, Part::Sidecar).unwrap().pid();
        let handover = mesh.upgrade(pod, None).unwrap();
        assert_eq!(handover.ended().unwrap(), Exit::Code(0));
        assert_ne!(mesh.process(pod, Part::Sidecar).unwrap().pid(), before);
        met(&mesh, "client");
    }
    closes(&mesh, &load.stop().unwrap());
    mesh.down().unwrap();
}

#[test]
fn what_runs_is_killed_started_ordered_and_asked() {
    let Some(mesh) = up(PAIR, &setting()) else {
        return;
    };
    mesh.call(&Call::new("client", 5)).unwrap();
    // The app dies: its sidecar takes it off the config center; it comes back.
    assert_eq!(
        mesh.end("server", Part::App, End::Kill).unwrap(),
        Exit::Signal(9)
    );
    mesh.stands("server", Presence::Gone, LONG).unwrap();
    mesh.start("server", Part::App).unwrap();
    mesh.stands("server", Presence::There, LONG).unwrap();
    let told = mesh.start("server", Part::App).unwrap_err().to_string();
    assert_eq!(told, "the app of pod server runs already");
    // The config center forgets everything, and is told again.
    mesh.restart_service("registry").unwrap();
    mesh.stands("server", Presence::There, LONG).unwrap();
    // A sidecar is stopped in good order.
    mesh.restart("client", Part::Sidecar, End::Stop).unwrap();
    check(&mesh.call(&Call::new("client", 5)).unwrap(), 5);
    // Levels, configuration, metrics, version.
    mesh.set_log_level("client", "error").unwrap();
    let levels = mesh.ask_admin("client", "/log").unwrap().body;
    assert!(
        levels.contains("error") && !levels.contains("info"),
        "{levels}"
    );
    let text = mesh.config("client", "sidecar.yaml").unwrap();
    let text = text.replace("interval: 300ms", "interval: 400ms");
    mesh.set_config("client", "sidecar.yaml", &text).unwrap();
    mesh.reload("client").unwrap();
    let config = mesh.ask_admin("client", "/config").unwrap().body;
    assert!(config.contains("400ms"), "{config}");
    let answered = mesh.metrics("client").unwrap();
    let labels = [("side", "outbound"), ("outcome", "answered")];
    assert_eq!(answered.sum("meshproof_requests_total", &labels), Some(5.0));
    assert_eq!(mesh.version("server").unwrap(), env!("CARGO_PKG_VERSION"));
    // One call fails, and is named with its hop.
    mesh.order_app("server", "{\"mute\":\"everything\"}")
        .unwrap();
    let lost = Call {
        timeout: Duration::from_millis(300),
        ..Call::new("client", 1)
    };
    assert!(!mesh.call(&lost).unwrap().is_right());
    let ledger = mesh.ledger().unwrap();
    assert!(!ledger.closes(), "{}", ledger.sentence());
    let named = ledger.named.join("\n");
    assert!(
        named.ends_with("(lost on the way back from the app)"),
        "{named}"
    );
    // Everything of it is kept.
    let folder = tempfile::tempdir().unwrap();
    let kept = mesh.evidence(folder.path()).unwrap();
    for file in [
        "client/sidecar.log",
        "client/sidecar.yaml",
        "client/admin-state.json",
        "server/server-app-1.jsonl",
        "services/registry.jsonl",
        "timeline.txt",
    ] {
        assert!(kept.contains(&file.to_owned()), "{file} of {kept:?}");
        assert!(
            std::fs::metadata(folder.path().join(file)).unwrap().len() > 0,
            "{file}"
        );
    }
    let timeline = std::fs::read_to_string(folder.path().join("timeline.txt")).unwrap();
    for line in [
        "of pod server ended by signal 9",
        "push of com.alipay.demo",
        "logs at error",
    ] {
        assert!(timeline.contains(line), "{line} of {timeline}");
    }
    let detail = mesh.detail("case").unwrap();
    assert_eq!(detail.pods.len(), 4);
    assert!(!detail.registry.is_empty() && !detail.logs.is_empty());
    mesh.down().unwrap();
}

/// Names a binary of MOSN 1.6.1.
const MOSN: &str = "MESHPROOF_REAL_MOSN";

/// Real MOSN where a binary of it is named; that it is not is said aloud.
fn with_mosn() -> Option<Setting> {
    let Some(binary) = std::env::var_os(MOSN) else {
        crate::peer::skipped(&format!("needs {MOSN}=BINARY, a build of MOSN 1.6.1"));
        return None;
    };
    let mut suts = Suts::default();
    let binary = Path::new(&binary).display();
    suts.choose(&format!("mosn={binary}")).unwrap();
    Some(Setting {
        suts: suts.all().to_vec(),
        ..setting()
    })
}

#[test]
fn without_a_binary_it_is_said_how_to_give_one() {
    let text = "topology: t\npods:\n  client: {sidecar: mosn}\n";
    match Mesh::up(&spec(text), &setting()) {
        Ok(_) => panic!("it has no binary"),
        Err(Error::Unsupported { missing, advice }) => {
            crate::peer::skipped(&format!("needs {missing}: {advice}"));
        }
        Err(error) => assert_eq!(
            error.to_string(),
            "sidecar mosn of pod client has no binary: give it by --sut mosn=BINARY"
        ),
    }
}

#[test]
fn real_mosn_stands_in_a_pod_like_any_sidecar() {
    let Some(setting) = with_mosn() else { return };
    for (client, server) in [
        ("mosn", "mosn"),
        ("reference", "mosn"),
        ("mosn", "reference"),
    ] {
        let text = format!(
            "topology: t\npods:\n  client: {{sidecar: {client}}}\n  \
             server: {{sidecar: {server}, app: {{speaks: bolt}}}}\n"
        );
        let Some(mesh) = up(&text, &setting) else {
            return;
        };
        for style in [
            Style::Sync,
            Style::Oneway,
            Style::Exception,
            Style::Heartbeat,
        ] {
            let called = mesh.call(&Call {
                style,
                timeout: Duration::from_secs(20),
                ..Call::new("client", 10)
            });
            let called = called.unwrap();
            let is_right = called.is_right() && called.sent == 10;
            assert!(is_right, "{client} {server} {style:?}: {called:?}");
        }
        let ledger = mesh.ledger().unwrap();
        assert!(
            ledger.closes() && ledger.calls == 30,
            "{}",
            ledger.sentence()
        );
        mesh.down().unwrap();
    }
}

const BOTH_MOSN: &str = "topology: t\npods:\n  client: {sidecar: mosn}\n  \
                         server: {sidecar: mosn, app: {speaks: bolt}}\n";

fn speak(mesh: &Mesh, speech: Speech) -> Called {
    let called = mesh.call(&Call {
        speech: Some(speech),
        timeout: Duration::from_secs(2),
        ..Call::new("client", 5)
    });
    called.unwrap()
}

#[test]
fn real_mosn_is_asked_told_and_upgraded() {
    let Some(setting) = with_mosn() else { return };
    let Some(mesh) = up(BOTH_MOSN, &setting) else {
        return;
    };
    assert!(mesh.version("server").unwrap().starts_with("v1.6.1"));
    mesh.set_log_level("server", "error").unwrap();
    check(&speak(&mesh, Speech::BoltV1), 5);
    // A second process takes over; the first one lives on for half a minute.
    let before = mesh.process("server", Part::Sidecar).unwrap().pid();
    mesh.upgrade("server", None).unwrap();
    assert_ne!(mesh.process("server", Part::Sidecar).unwrap().pid(), before);
    check(&speak(&mesh, Speech::BoltV1), 5);
    mesh.down().unwrap();
}

#[test]
fn the_defects_of_real_mosn_are_seen() {
    let Some(setting) = with_mosn() else { return };
    // Replies of its own are in the listener's version: a client of BOLT v2 cannot read them.
    let Some(mesh) = up(BOTH_MOSN, &setting) else {
        return;
    };
    check(&speak(&mesh, Speech::BoltV2), 5);
    mesh.kill("server", Part::App).unwrap();
    let told = speak(&mesh, Speech::BoltV2);
    let first = told.first.clone().unwrap_or_default();
    let words = "an answer over bolt-v1 to a call over bolt-v2";
    assert!(first.contains(words), "{told:?}");
    mesh.down().unwrap();
    // The CRC of BOLT v2 is dropped, and its switch is not.
    let Some(mesh) = up(BOTH_MOSN, &setting) else {
        return;
    };
    let told = speak(&mesh, Speech::BoltV2Crc);
    assert_eq!(told.right, 0, "{told:?}");
    mesh.down().unwrap();
}
