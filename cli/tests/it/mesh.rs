//! Meshes of a topology: brought up, called, changed while they run, judged from outside.

use std::time::Duration;

use meshproof_harness::Error;
use meshproof_harness::mesh::{Call, Called, Mesh, MeshSpec, Setting, Style};

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
    let Some(mesh) = up(PAIR, &setting()) else {
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
