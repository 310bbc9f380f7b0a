//! Real captures become offline meshes, and are replayed through them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;
use serde_json::Value;

use crate::peer::skipped;

fn capture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    let path = folder.join(name);
    path.to_str().unwrap().to_owned()
}

fn meshproof(args: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap(), said)
}

/// Whether this machine has namespaces; said aloud where it has none.
fn runs() -> bool {
    use meshproof_harness::netns::Options;
    use meshproof_harness::{Netns, Topology};
    let program = vec![env!("CARGO_BIN_EXE_meshproof").into()];
    match Netns::up_with(&Topology::new(["one"], None), &Options { program }) {
        Err(meshproof_harness::Error::Unsupported { missing, advice }) => {
            skipped(&format!("needs {missing}: {advice}"));
            false
        }
        _ => true,
    }
}

/// A folder with offline meshes and records.
struct Bench {
    folder: tempfile::TempDir,
}

/// Everything that names the deployment in which the captures were taken.
const MAP: &str = "\
networks: {10.15.0.0/16: 10.77.0.0/16}
vips:
  sample-pool.zone1.alipay.net: offline-pool.z9.test.net
  sample-server-vip.alipay.net: host-1.test.net
apps: {sample: offline, sample-client: c1, target-app: t1}
zones: {zone1: z9}
";

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("map.yaml"), MAP).unwrap();
        Bench { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Makes an offline mesh; what was said of it.
    fn made(&self, name: &str, captures: &[&str], more: &[&str]) -> (i32, String) {
        let (map, output) = (self.path("map.yaml"), self.path(name));
        let captures: Vec<String> = captures.iter().map(|it| capture(it)).collect();
        let mut args = vec!["env", "from-capture", "--map", &map, "-o", &output];
        args.extend(captures.iter().map(String::as_str));
        args.extend(more);
        meshproof(&args)
    }

    fn make(&self, name: &str, captures: &[&str], more: &[&str]) {
        let (code, said) = self.made(name, captures, more);
        assert_eq!(code, 0, "{said}");
    }

    /// Replays through it; exit code, output, verdicts by claim.
    fn replayed(&self, name: &str, more: &[&str]) -> (i32, String, BTreeMap<String, Verdict>) {
        let record = self.path(&format!(
            "{name}-record-{}",
            more.join("_").replace('/', "_")
        ));
        let folder = self.path(name);
        let mut args = vec!["replay", "--through", &folder, "--record", &record];
        args.extend(more);
        let (code, said) = meshproof(&args);
        let claims = Record::open(Path::new(&record))
            .ok()
            .and_then(|record| record.manifest().map(|it| it.claims.clone()))
            .unwrap_or_default();
        let claims = claims.into_iter().map(|it| (it.name, it.verdict));
        (code, said, claims.collect())
    }

    #[track_caller]
    fn passes(&self, name: &str, more: &[&str], claims: &[&str]) {
        let (code, said, found) = self.replayed(name, more);
        assert_eq!(code, 0, "{said}");
        for claim in claims {
            assert_eq!(found.get(*claim), Some(&Verdict::Pass), "{claim}: {said}");
        }
        assert_eq!(found.get("escapes"), Some(&Verdict::Pass), "{said}");
        assert_eq!(found.get("hop"), Some(&Verdict::Pass), "{said}");
    }

    /// It must fail by this claim.
    #[track_caller]
    fn fails(&self, name: &str, bug: &str, claim: &str) -> String {
        let (code, said, found) = self.replayed(name, &["--bug", bug]);
        assert_eq!(code, 1, "{bug}: {said}");
        assert_eq!(found.get(claim), Some(&Verdict::Fail), "{bug}: {said}");
        assert_eq!(found.get("ledger"), Some(&Verdict::Pass), "{bug}: {said}");
        said
    }
}

#[test]
fn a_real_sofarpc_capture_passes_through_a_right_sidecar_and_not_through_a_wrong_one() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let both = [
        "sofarpc_bolt_hessian2.pcap",
        "sofarpc_bolt_url_appName.pcap",
    ];
    bench.make("offline", &both, &[]);
    // Nothing of the original deployment is in the folder.
    for file in ["topology.yaml", "offline.yaml"] {
        let text = std::fs::read_to_string(bench.folder.path().join("offline").join(file)).unwrap();
        for original in ["10.15.", "sample-client", "zone1"] {
            assert!(!text.contains(original), "{file} holds {original}: {text}");
        }
    }
    bench.passes("offline", &[], &["functional", "ledger", "subscriptions"]);
    bench.fails("offline", "oneway-answered", "functional");
}

#[test]
fn a_legacy_vip_is_subscribed_as_it_was_recorded() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    bench.make("offline", &["mesh_vip_legacy.pcap"], &[]);
    bench.passes("offline", &[], &["functional", "ledger", "subscriptions"]);
    let said = bench.fails("offline", "vip-legacy-form", "subscriptions");
    assert!(said.contains("?_TIMEOUT=3000"), "{said}");
}

#[test]
fn a_real_bolt_v2_capture_with_crc_enters_at_12200() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let captures = ["bolt_v2_pipeline_crc.pcap", "bolt_v2_heartbeat.pcap"];
    bench.make("offline", &captures, &["--side", "inbound"]);
    bench.passes("offline", &[], &["functional", "ledger", "heartbeats"]);
    bench.fails("offline", "crc-dropped", "functional");
    bench.fails("offline", "reply-version", "heartbeats");
}

#[test]
fn clients_that_share_a_connection_get_their_own_answers() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    // More clients than the sidecar opens connections: they share.
    let captures = [
        "bolt_v1_basic.pcap",
        "bolt_v1_pipeline.pcap",
        "bolt_v1_exception.pcap",
        "bolt_v1_noprocessor.pcap",
        "bolt_v1_heartbeat.pcap",
        "sofarpc_bolt_hessian2.pcap",
        "sofarpc_bolt_url_appName.pcap",
    ];
    bench.make("offline", &captures, &["--side", "inbound"]);
    bench.passes("offline", &[], &["functional", "ledger"]);
    bench.fails("offline", "id-collision", "functional");
}

#[test]
fn two_builds_are_compared() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    bench.make("offline", &["sofarpc_bolt_hessian2.pcap"], &[]);
    let own = env!("CARGO_BIN_EXE_meshproof");
    // A build that has a bug: the same program behind a script.
    let wrong = bench.path("wrong");
    let script = format!("#!/bin/sh\nexec {own} \"$@\" --bug oneway-answered\n");
    std::fs::write(&wrong, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrong, mode).unwrap();
    let folder = bench.path("offline");
    let compare = |old: &str, new: &str, name: &str| -> (i32, Value) {
        let (old, new) = (format!("old={old}"), format!("new={new}"));
        let record = bench.path(name);
        let (code, said) = meshproof(&[
            "replay",
            "--through",
            &folder,
            "--sut",
            &old,
            "--sut",
            &new,
            "--record",
            &record,
            "--format",
            "json",
        ]);
        let told = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        (code, told)
    };
    let (code, told) = compare(own, own, "same");
    assert_eq!(code, 0, "{told:#}");
    let (code, told) = compare(own, &wrong, "other");
    assert_eq!(code, 1, "{told:#}");
    let claims = told["claims"].as_array().unwrap();
    let verdict = |name: &str| {
        let found = claims.iter().find(|claim| claim["name"] == name);
        found.map(|claim| claim["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("old.functional").as_deref(), Some("PASS"));
    assert_eq!(verdict("new.functional").as_deref(), Some("FAIL"));
    for build in ["old", "new"] {
        let record = PathBuf::from(bench.path("other")).join(build);
        assert!(Record::open(&record).unwrap().manifest().is_some());
    }
}

#[test]
fn a_failing_replay_is_shrunk_to_what_matters_and_runs_anywhere() {
    if !runs() {
        return;
    }
    let bench = Bench::new();
    let both = [
        "sofarpc_bolt_hessian2.pcap",
        "sofarpc_bolt_url_appName.pcap",
    ];
    bench.make("offline", &both, &[]);
    let (folder, small, record) = (
        bench.path("offline"),
        bench.path("small"),
        bench.path("record"),
    );
    let (code, said) = meshproof(&[
        "replay",
        "--through",
        &folder,
        "--bug",
        "oneway-answered",
        "--shrink",
        &small,
        "--record",
        &record,
    ]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("shrunk: "), "{said}");
    // Only the one-way matters.
    let (code, listed) = meshproof(&["ls", &format!("{small}/capture.pcapng"), "--format", "json"]);
    assert_eq!(code, 0, "{listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let calls: Vec<&str> = listed["exchanges"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["kind"] != "mesh-api")
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(calls, ["oneway"], "{said}");
    // It fails elsewhere as well, and a right sidecar does not.
    let elsewhere = bench.path("elsewhere");
    std::fs::rename(&small, &elsewhere).unwrap();
    bench.fails("elsewhere", "oneway-answered", "functional");
    let scenario = std::fs::read_to_string(format!("{elsewhere}/scenario.yaml")).unwrap();
    assert!(
        scenario.contains("/capture.pcapng\", from: client}"),
        "{scenario}"
    );
}

#[test]
fn what_fits_no_mesh_is_said() {
    let bench = Bench::new();
    let (code, said) = bench.made("plain", &["bolt_v1_basic.pcap"], &["--side", "outbound"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no call that enters outbound"), "{said}");
    assert!(!bench.folder.path().join("plain/topology.yaml").exists());
    // A rule that misses: the audit of the original's peers finds them.
    std::fs::write(bench.path("map.yaml"), "apps: {sample-client: c1}\n").unwrap();
    let (code, said) = bench.made("left", &["sofarpc_bolt_hessian2.pcap"], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("FAIL"), "{said}");
    assert!(!bench.folder.path().join("left/capture.pcapng").exists());
    // A folder that is none.
    let (code, said) = meshproof(&["replay", "--through", &bench.path("nowhere")]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("offline.yaml"), "{said}");
}

/// Both hops of a call of the capture of a pod, as `hop` shows them.
#[test]
fn hop_shows_what_a_sidecar_changed_between_two_ports_of_one_capture() {
    let both = capture("mesh_vip_legacy.pcap");
    let args = [
        "hop", &both, &both, "--before", "outbound", "--after", "inbound",
    ];
    let (code, said) = meshproof(&[&args[..], &["--format", "json"]].concat());
    assert_eq!(code, 0, "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["matched"], &report["untouched"]),
        (&6.into(), &6.into())
    );
    let fields: Vec<&str> = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["field"].as_str().unwrap())
        .collect();
    assert!(fields.contains(&"exchange.connection"), "{fields:?}");
    // The same file on both sides compares nothing.
    let (code, said) = meshproof(&["hop", &both, &both]);
    assert_eq!(code, 2, "{said}");
    // Two captures that have nothing in common support no verdict.
    let other = capture("bolt_v1_noprocessor.pcap");
    let (code, said) = meshproof(&["hop", &both, &other, "--before", "outbound"]);
    assert_ne!(code, 0, "{said}");
}
