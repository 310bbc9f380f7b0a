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
  sample-pool.GZ00A.alipay.net: other-pool.z8.test.net
  sample-server-vip.alipay.net: host-1.test.net
apps: {sample: offline, sample-client: c1, sample-server: s1, target-app: t1}
zones: {zone1: z9, GZ00A: z8}
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

    /// With the offline mesh of these captures; none where this machine runs none.
    fn of(captures: &[&str], more: &[&str]) -> Option<Bench> {
        let bench = runs().then(Bench::new)?;
        bench.make("offline", captures, more);
        Some(bench)
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
    let both = [
        "sofarpc_bolt_hessian2.pcap",
        "sofarpc_bolt_url_appName.pcap",
    ];
    let Some(bench) = Bench::of(&both, &[]) else {
        return;
    };
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
    let Some(bench) = Bench::of(&["mesh_vip_legacy.pcap"], &[]) else {
        return;
    };
    bench.passes("offline", &[], &["functional", "ledger", "subscriptions"]);
    let said = bench.fails("offline", "vip-legacy-form", "subscriptions");
    assert!(said.contains("?_TIMEOUT=3000"), "{said}");
}

#[test]
fn a_real_bolt_v2_capture_with_crc_enters_at_12200() {
    let captures = ["bolt_v2_pipeline_crc.pcap", "bolt_v2_heartbeat.pcap"];
    let Some(bench) = Bench::of(&captures, &["--side", "inbound"]) else {
        return;
    };
    bench.passes("offline", &[], &["functional", "ledger", "heartbeats"]);
    bench.fails("offline", "crc-dropped", "functional");
    bench.fails("offline", "reply-version", "heartbeats");
}

#[test]
fn clients_that_share_a_connection_get_their_own_answers() {
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
    let Some(bench) = Bench::of(&captures, &["--side", "inbound"]) else {
        return;
    };
    bench.passes("offline", &[], &["functional", "ledger"]);
    bench.fails("offline", "id-collision", "functional");
}

#[test]
fn two_builds_are_compared() {
    let Some(bench) = Bench::of(&["sofarpc_bolt_hessian2.pcap"], &[]) else {
        return;
    };
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
    // The comparison has a record of its own, and what is told is made from it.
    let claims = told["records"][0]["claims"].as_array().unwrap();
    let verdict = |name: &str| {
        let found = claims.iter().find(|claim| claim["name"] == name);
        found.map(|claim| claim["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("old.functional").as_deref(), Some("PASS"));
    assert_eq!(verdict("new.functional").as_deref(), Some("FAIL"));
    // The bug is an answer too many: what is compared is alike.
    assert_eq!(verdict("builds").as_deref(), Some("PASS"));
    let root = PathBuf::from(bench.path("other"));
    for build in ["old", "new"] {
        let record = root.join(build);
        assert!(Record::open(&record).unwrap().manifest().is_some());
    }
    let record = Record::open(&root).unwrap();
    assert!(record.manifest().is_some());
    let compared = record.rows().unwrap().map(Result::unwrap);
    assert_eq!(compared.filter(|row| row.compared).count(), 3);
    let hops = std::fs::read(root.join("artefacts/hops.json")).unwrap();
    let hops: Value = serde_json::from_slice(&hops).unwrap();
    assert_eq!(hops["builds"], serde_json::json!(["old", "new"]));
    assert_eq!(hops["reports"].as_array().map(Vec::len), Some(2));
    // Every report is made again from it.
    let (code, said) = meshproof(&["report", root.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("new.functional"), "{said}");
    let two = format!("reference={own}");
    let (code, said) = meshproof(&["replay", "--through", &folder, "--sut", &two, "--sut", &two]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("two builds are called `reference`"), "{said}");
}

#[test]
fn loopback_addresses_do_where_namespaces_do_not() {
    let bench = Bench::new();
    bench.make("offline", &["sofarpc_bolt_hessian2.pcap"], &[]);
    let (code, said, found) = bench.replayed("offline", &["--backend", "process"]);
    assert_eq!(code, 0, "{said}");
    for claim in ["functional", "ledger", "subscriptions"] {
        assert_eq!(found.get(claim), Some(&Verdict::Pass), "{claim}: {said}");
    }
    // What cannot be seen there is said.
    assert_eq!(found.get("escapes"), Some(&Verdict::Unsupported), "{said}");
    assert!(said.contains("hop-not-seen"), "{said}");
    let bug = ["--backend", "process", "--bug", "oneway-answered"];
    let (code, said, found) = bench.replayed("offline", &bug);
    assert_eq!(code, 1, "{said}");
    assert_eq!(found.get("functional"), Some(&Verdict::Fail), "{said}");
    // These flags are about a sidecar that is started.
    let (code, said) = meshproof(&["replay", "c.pcap", "--stub", "--backend", "process"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--backend needs --through"), "{said}");
}

#[test]
fn recorded_tr_is_replayed_on_both_sides() {
    for side in ["outbound", "inbound"] {
        let captures = ["tr_hessian_stub.pcap"];
        let Some(bench) = Bench::of(&captures, &["--side", side]) else {
            return;
        };
        bench.passes("offline", &[], &["functional", "ledger", "heartbeats"]);
        bench.fails("offline", "oneway-answered", "functional");
    }
}

/// Real MOSN in the place of the sidecar that a folder was made for: what it carries is answered,
/// what it does not is said, and its own defects are found.
#[test]
fn real_mosn_is_tried_with_what_it_carries() {
    let Some(binary) = std::env::var_os("MESHPROOF_REAL_MOSN") else {
        return skipped("needs MESHPROOF_REAL_MOSN=BINARY, a build of MOSN 1.6.1");
    };
    let mosn = format!("mosn={}", Path::new(&binary).display());
    let mosn = ["--sut", &mosn];
    let captures = ["sofarpc_bolt_hessian2.pcap"];
    for side in ["outbound", "inbound"] {
        let Some(bench) = Bench::of(&captures, &["--side", side]) else {
            return;
        };
        // Its streams are served side by side: requests of one connection overtake each other.
        let rules = bench.path("rules.yaml");
        std::fs::write(&rules, "may: [{field: exchange.order}]\n").unwrap();
        let more = [&mosn[..], &["--rules", &rules]].concat();
        let (code, said, found) = bench.replayed("offline", &more);
        assert_eq!(code, 0, "{side}: {said}");
        assert_eq!(found.get("functional"), Some(&Verdict::Pass), "{said}");
        let subscriptions = match side {
            "outbound" => Some(&Verdict::Unsupported),
            _ => None,
        };
        assert_eq!(found.get("subscriptions"), subscriptions, "{said}");
    }
    let Some(bench) = Bench::of(&["tr_hessian_stub.pcap"], &[]) else {
        return;
    };
    let (code, said, _) = bench.replayed("offline", &mosn);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("4 calls in TR"), "{said}");
}

#[test]
fn a_failing_replay_is_shrunk_to_what_matters_and_runs_anywhere() {
    let both = [
        "sofarpc_bolt_hessian2.pcap",
        "sofarpc_bolt_url_appName.pcap",
    ];
    let Some(bench) = Bench::of(&both, &[]) else {
        return;
    };
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
        "--map",
        &bench.path("map.yaml"),
        "--original",
        &capture("sofarpc_bolt_hessian2.pcap"),
        "--record",
        &record,
    ]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("shrunk: "), "{said}");
    assert!(said.contains("audited for "), "{said}");
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
