//! Sites without a config center: who is called stands in configurations.

use meshproof_harness::mesh::{Call, End, Mesh, Part, Setting};
use meshproof_harness::site::Site;
use meshproof_harness::watch::Presence;
use meshproof_harness::{Backend, Error};
use meshproof_record::verdict::{Lacking, Verdict};

use crate::environment::LONG;
use crate::matrix::{Run, SMALL};
use crate::mesh::{setting, up};
use crate::scenario::{cases, meshproof};

const BACKENDS: [&str; 2] = ["netns", "process"];

/// Nobody registers; one server knows TR alone, and its neighbour BOLT alone has a version of its
/// own.
const FLEET: &str = "\
topology: fleet
registry_order: reversed
pods:
  client: {sidecar: reference}
  bare: {}
  old: {app: {speaks: old}}
  new: {sidecar: reference, app: {speaks: new, versions: [\"1.0\", \"2.0\"]}}
";

#[track_caller]
fn check(mesh: &Mesh, from: &str, version: &str, protocol: &str) {
    let call = Call {
        version: version.to_owned(),
        ..Call::new(from, 12)
    };
    let called = mesh.call(&call).unwrap();
    assert!(called.is_right(), "{from} {version}: {called:?}");
    assert_eq!(called.protocol, protocol, "{from} {version}");
}

#[test]
fn a_mesh_without_a_config_center_calls_by_configured_addresses() {
    for backend in [Backend::Netns, Backend::Process] {
        let setting = Setting {
            backend: Some(backend),
            site: Site::shipped("static-addresses").unwrap(),
            ..setting()
        };
        let Some(mesh) = up(FLEET, &setting) else {
            continue;
        };
        // One provider knows TR alone, so a sidecar has all called in it; without one each is
        // called in what it knows, in the order of the configuration.
        check(&mesh, "client", "1.0", "tr");
        check(&mesh, "client", "2.0", "bolt-v1");
        check(&mesh, "bare", "1.0", "bolt-v1");
        let nobody = mesh.call(&Call {
            version: "3.0".to_owned(),
            ..Call::new("bare", 1)
        });
        let told = nobody.unwrap_err().to_string();
        assert!(told.contains("nobody provides version 3.0"), "{told}");
        // What ends comes back where it was.
        mesh.restart("new", Part::Sidecar, End::Kill).unwrap();
        mesh.restart("new", Part::App, End::Kill).unwrap();
        mesh.stands("new", Presence::There, LONG).unwrap();
        check(&mesh, "client", "1.0", "tr");
        // What asks a config center is refused, by the name of the site.
        for refused in [
            mesh.center().map(drop),
            mesh.restart_service("registry"),
            mesh.demesh("new").map(drop),
            mesh.order_registry("{}"),
        ] {
            let told = refused.unwrap_err().to_string();
            assert!(
                told.contains("site static-addresses has no config center"),
                "{told}"
            );
        }
        // Nor does one run: nothing is drawn of it, and no log is its own.
        let drawn = mesh.drawn().unwrap();
        assert!(drawn.iter().all(|pod| pod.name != "registry"), "{drawn:?}");
        let logs = mesh.logs().unwrap();
        let mut center = logs.iter().filter(|log| log.program == "config center");
        assert!(center.next().is_none(), "{logs:?}");
        let ledger = mesh.ledger().unwrap();
        assert!(ledger.closes() && ledger.calls == 48, "{ledger:?}");
    }
}

#[test]
fn a_peer_that_asks_a_config_center_is_told_that_there_is_none() {
    let text = "topology: asks\npods:\n  server:\n    peers:\n      - name: p\n        \
                command: [sh, -c, \"echo {{registry}}\"]\n        ready: exit\n";
    let setting = Setting {
        site: Site::shipped("static-addresses").unwrap(),
        ..setting()
    };
    match Mesh::up(&crate::mesh::spec(text), &setting) {
        Err(Error::Unsupported { missing, .. }) => crate::peer::skipped(&missing),
        Err(error) => {
            let told = error.to_string();
            let expected = "`{{registry}}` has no value here; this site has no config center";
            assert!(told.contains(expected), "{told}");
        }
        Ok(_) => panic!("the peer was told of a config center"),
    }
}

#[test]
fn a_story_is_told_where_it_says_and_others_say_what_the_site_lacks() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("run");
        let record = record.to_str().unwrap();
        let (code, out, err) = meshproof(&[
            "run",
            "without-center",
            "--backend",
            backend,
            "--record",
            record,
        ]);
        if code == 4 {
            crate::peer::skipped(&err);
            continue;
        }
        assert_eq!(code, 0, "{out}{err}");
        let case = cases(record.as_ref()).remove(0);
        let site = case.choices.iter().find(|choice| choice.axis == "site");
        assert_eq!(site.unwrap().value, "static-addresses");
    }
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let (_, out, err) = meshproof(&[
        "run",
        "meshify",
        "heartbeat-lost",
        "center-stale",
        "replay-sofarpc",
        "--site",
        "static-addresses",
        "--record",
        record.to_str().unwrap(),
    ]);
    let told = ["meshify", "probe registry", "config center", "peer stub"];
    let cases = cases(&record);
    assert_eq!(cases.len(), told.len(), "{out}{err}");
    for case in cases {
        if case.claims[0].lacking == Some(Lacking::Machine) {
            crate::peer::skipped(&case.claims[0].why);
            continue;
        }
        assert_eq!(case.verdict, Verdict::Unsupported, "{case:#?}");
        let claim = &case.claims[0];
        assert_eq!(claim.lacking, Some(Lacking::Sut), "{claim:?}");
        let start = "site static-addresses lacks `config_center`";
        assert!(claim.why.starts_with(start), "{claim:?}");
        assert!(told.iter().any(|it| claim.why.contains(it)), "{claim:?}");
    }
}

#[test]
fn a_matrix_runs_without_a_config_center_and_leaves_out_its_restart() {
    let matrix = SMALL.replace(
        "require:\n",
        "  restart: [none, app, sidecar, registry]\nrequire:\n  \
         - restart != \"sidecar\" || client.mesh != \"none\"\n",
    );
    let matrix = matrix.replace("strength: 3", "strength: 2");
    for backend in BACKENDS {
        let site = ["--site", "static-addresses", "--backend", backend];
        let run = Run::of(&[], &matrix, &site);
        if run.is_unsupported() {
            continue;
        }
        assert_eq!(run.code, 0, "{}", run.told);
        let why = "restart=registry, static-addresses has no config center to restart";
        assert!(run.told.contains(why), "{}", run.told);
        let blamed = Run::of(
            &[],
            SMALL,
            &[&site[..], &["--bug", "tr-bolt-mixed"]].concat(),
        );
        assert_eq!(blamed.code, 1, "{}", blamed.told);
        let blames = blamed.blames();
        let combination = format!("{:?}", blames[0]);
        assert!(
            combination.contains("registry_order") && combination.contains("client.mesh"),
            "{combination}"
        );
    }
}

#[test]
fn what_is_about_a_config_center_alone_is_refused_before_it_begins() {
    let site = ["--site", "static-addresses"];
    for (words, expected) in [
        (
            &["matrix", "mixed-mesh", "--in-process"][..],
            "leave --in-process out",
        ),
        (&["matrix", "replayed", "--plan"][..], "--site ant-like"),
        (&["bench", "heartbeat"][..], "--site ant-like"),
    ] {
        let (code, out, err) = meshproof(&[words, &site[..]].concat());
        assert_eq!(code, 2, "{out}{err}");
        let told = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.contains("static-addresses has no config center") || told.contains("none"),
            "{told}"
        );
        assert!(told.contains(expected), "{told}");
    }
}
