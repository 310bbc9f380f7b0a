//! `meshproof replay` and `meshproof stub`, on the capture of real SOFARPC calls.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use assert_cmd::Command;
use assert_cmd::cargo::CommandCargoExt;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;

fn capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures/sofarpc_bolt_hessian2.pcap")
}

/// Replays into a fresh record; its exit code, what it printed, its record.
fn replay(folder: &Path, name: &str, args: &[&str]) -> (i32, String, Record) {
    let record = folder.join(name);
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .arg("replay")
        .arg(capture())
        .arg("--record")
        .arg(&record)
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "", "nothing is drawn where nobody looks");
    (
        output.status.code().unwrap(),
        said,
        Record::open(&record).unwrap(),
    )
}

fn verdict(record: &Record, name: &str) -> Verdict {
    let claims = &record.manifest().unwrap().claims;
    let claim = claims.iter().find(|claim| claim.name == name).unwrap();
    claim.verdict
}

/// A stub as a process of its own.
struct Stub {
    child: Child,
    out: BufReader<ChildStdout>,
    port: u16,
}

impl Stub {
    fn start(capture: &Path, args: &[&str]) -> Stub {
        let mut command = std::process::Command::cargo_bin("meshproof").unwrap();
        command.arg("stub").arg(capture).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let port = line.trim_end().strip_prefix("READY ").unwrap();
        Stub {
            port: port.parse().unwrap(),
            child,
            out,
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGTERM; the exit code and what was seen.
    fn stop(mut self) -> (i32, serde_json::Value) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        (code, serde_json::from_str(&rest).unwrap())
    }
}

#[test]
fn against_its_own_stubs_a_capture_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, record) = replay(folder.path(), "run", &["--stub"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("PASS"), "{said}");
    let manifest = record.manifest().unwrap();
    let ledger = manifest.replay.as_ref().unwrap();
    assert_eq!(
        (ledger.recorded, ledger.sent, ledger.oneway, ledger.compared),
        (4, 4, 1, 3)
    );
    assert_eq!(manifest.inputs.len(), 1);
    let rows: Vec<_> = record.rows().unwrap().map(Result::unwrap).collect();
    let methods: Vec<&str> = rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(methods, ["hello", "place", "notifyOneway", "boom"]);
    assert!(rows.iter().all(|row| row.differences.is_empty()));
    // A record is never mixed with another.
    let again = Command::cargo_bin("meshproof")
        .unwrap()
        .arg("replay")
        .arg(capture())
        .args(["--stub", "--record"])
        .arg(record.folder())
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2));
}

/// TR: ids within a Hessian object, a one-way, a heartbeat; the stub gives the recorded answers.
#[test]
fn tr_passes_against_its_own_stub() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .arg("replay")
        .arg(capture().with_file_name("tr_hessian_stub.pcap"))
        .args(["--stub", "--record"])
        .arg(&record)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let record = Record::open(&record).unwrap();
    let ledger = record.manifest().unwrap().replay.clone().unwrap();
    assert_eq!(
        (ledger.recorded, ledger.sent, ledger.oneway, ledger.compared),
        (5, 4, 1, 3)
    );
    assert_eq!(ledger.skipped.get("heartbeat"), Some(&1));
    let rows: Vec<_> = record.rows().unwrap().map(Result::unwrap).collect();
    assert!(rows.iter().all(|row| row.protocol == "tr"));
    assert!(rows.iter().all(|row| row.differences.is_empty()));
}

#[test]
fn one_changed_byte_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.pcap");
    let mut bytes = fs::read(capture()).unwrap();
    // The answer of `place` gives the list of hosts back: the last place where they stand.
    let at = find_last(&bytes, b"10.15.246.182:12200");
    bytes[at] = b'9';
    fs::write(&changed, bytes).unwrap();
    let stub = Stub::start(&changed, &[]);
    let (code, said, record) = replay(folder.path(), "run", &["--to", &stub.address()]);
    let (stub_code, seen) = stub.stop();
    assert_eq!(code, 1, "{said}");
    assert_eq!(verdict(&record, "functional"), Verdict::Fail);
    let rows: Vec<_> = record.rows().unwrap().map(Result::unwrap).collect();
    let differing: Vec<_> = rows
        .iter()
        .filter(|row| !row.differences.is_empty())
        .collect();
    let [row] = differing.as_slice() else {
        panic!("{differing:?}")
    };
    assert_eq!(row.method, "place");
    let difference = &row.differences[0];
    assert!(difference.path.starts_with("body."), "{difference:?}");
    assert!(
        difference
            .recorded
            .as_ref()
            .unwrap()
            .contains("10.15.246.182")
    );
    assert!(
        difference
            .observed
            .as_ref()
            .unwrap()
            .contains("90.15.246.182")
    );
    assert!(said.contains(&difference.path), "{said}");
    assert_eq!((stub_code, seen["exact"].as_u64()), (0, Some(3)));
}

fn find_last(bytes: &[u8], text: &[u8]) -> usize {
    let mut windows = bytes.windows(text.len());
    windows.rposition(|window| window == text).unwrap()
}

#[test]
fn an_address_that_nobody_listed_is_refused_and_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, record) = replay(folder.path(), "run", &["--to", "10.77.1.1:12200"]);
    assert_eq!(code, 3, "{said}");
    let ledger = record.manifest().unwrap().replay.as_ref().unwrap();
    assert_eq!((ledger.sent, ledger.refused["not_a_target"]), (0, 4));
    assert!(said.contains("10.77.1.1:12200"), "{said}");
    // The recorded server is a peer in production; --allow-target is not enough for it.
    let args = [
        "--to",
        "10.15.246.182:12200",
        "--allow-target",
        "10.0.0.0/8",
    ];
    let (code, _, record) = replay(folder.path(), "peer", &args);
    let ledger = record.manifest().unwrap().replay.as_ref().unwrap();
    assert_eq!((code, ledger.refused["production_peer"]), (3, 4));
}

#[test]
fn writes_are_refused_where_the_map_denies_them() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.yaml");
    fs::write(
        &map,
        "targets:\n  - network: 127.0.0.1/32\n    owner: us\n    writes: deny\n",
    )
    .unwrap();
    let stub = Stub::start(&capture(), &[]);
    let args = ["--to", &stub.address(), "--map", map.to_str().unwrap()];
    let (code, said, record) = replay(folder.path(), "run", &args);
    let (_, seen) = stub.stop();
    let ledger = record.manifest().unwrap().replay.as_ref().unwrap();
    // `place` and `notifyOneway` write; `hello` reads and `boom` stays on this machine.
    assert_eq!((ledger.sent, ledger.refused["write"]), (2, 2), "{said}");
    assert_eq!(verdict(&record, "targets"), Verdict::Pass);
    assert_eq!((code, seen["oneways"].as_u64()), (0, Some(0)));
}

#[test]
fn what_was_not_recorded_is_told_by_the_stub() {
    let folder = tempfile::tempdir().unwrap();
    let other = capture().with_file_name("sofarpc_bolt_url_appName.pcap");
    let report = folder.path().join("seen.json");
    let stub = Stub::start(&other, &["--report", report.to_str().unwrap()]);
    let (code, ..) = replay(folder.path(), "run", &["--to", &stub.address()]);
    let (stub_code, seen) = stub.stop();
    assert_eq!((code, stub_code), (1, 3));
    assert!(!seen["unmatched"].as_object().unwrap().is_empty());
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(written, seen);
}

#[test]
fn a_part_of_the_calls_is_taken_and_the_rest_counted() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--stub", "--where", "method == \"hello\""];
    let (code, said, record) = replay(folder.path(), "run", &args);
    let ledger = record.manifest().unwrap().replay.as_ref().unwrap();
    assert_eq!(
        (ledger.compared, ledger.skipped["filtered"]),
        (1, 3),
        "{said}"
    );
    assert_eq!(code, 0);
}

#[test]
fn a_call_that_was_seen_twice_is_sent_once() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let sources = ["client", "server"].map(|name| format!("{name}={}", capture().display()));
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .args([
            "replay",
            "--stub",
            "--source",
            &sources[0],
            "--source",
            &sources[1],
        ])
        .arg("--record")
        .arg(&record)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let record = Record::open(&record).unwrap();
    let ledger = record.manifest().unwrap().replay.as_ref().unwrap();
    assert_eq!((ledger.recorded, ledger.sent), (8, 4));
    assert_eq!(ledger.skipped["duplicate_hop"], 4);
}

#[test]
fn an_interrupt_drains_and_leaves_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = std::process::Command::cargo_bin("meshproof").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    command
        .arg("replay")
        .arg(capture())
        .args(["--to", &address]);
    command.args(["--timeout", "100ms", "--window", "1", "--record"]);
    let mut child = command.arg(&record).stdout(Stdio::null()).spawn().unwrap();
    // It waits for an answer that does not come.
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let record = Record::open(&record).unwrap();
    let ledger = record.manifest().unwrap().replay.as_ref().unwrap();
    assert_eq!(ledger.check(), []);
    assert!(ledger.timed_out >= 1, "{ledger:?}");
}

#[test]
fn wrong_use_is_said() {
    for (args, expected) in [
        (&["--pace", "fast", "--stub"][..], "is no pace"),
        (&["--to", "server:12200"], "names are not resolved"),
        (&["--to", "127.0.0.1:1", "--stub"], "cannot be used with"),
        (&[], "required"),
        (
            &["--to", "127.0.0.1:1", "--allow-target", "x"],
            "is no network",
        ),
        (&["--stub", "--noise", "/nowhere"], "/nowhere"),
    ] {
        let output = Command::cargo_bin("meshproof")
            .unwrap()
            .arg("replay")
            .arg(capture())
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}
