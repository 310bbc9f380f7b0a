//! The whole job as a user does it: a real capture to a rewritten one, a replay and a verdict;
//! against the reference app, one that lies, and the real SOFARPC server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use assert_cmd::Command;
use assert_cmd::cargo::CommandCargoExt;
use meshproof_record::difference::Difference;
use meshproof_record::ledger::ReplayLedger;
use meshproof_record::store::Record;

use crate::peer::{RealServer, class_path, skipped};

fn capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures/sofarpc_bolt_hessian2.pcap")
}

/// Runs the program; its exit code and what it printed.
#[track_caller]
fn meshproof(args: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String) {
    let mut command = Command::cargo_bin("meshproof").unwrap();
    for arg in args {
        command.arg(arg.as_ref());
    }
    let output = command.output().unwrap();
    let code = output.status.code().unwrap();
    let mut said = String::from_utf8(output.stdout).unwrap();
    if code != 0 {
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (code, said)
}

/// The reference app as a process; it ends when this is dropped.
struct App {
    child: Child,
    address: String,
}

impl App {
    fn start(args: &[&str]) -> App {
        let mut command = std::process::Command::cargo_bin("meshproof").unwrap();
        command.args(["fixture", "app"]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let port = line.trim_end().strip_prefix("READY ").unwrap();
        App {
            address: format!("127.0.0.1:{port}"),
            child,
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replays to `address`; the exit code, the ledger and the differences that were judged.
#[track_caller]
fn replay(address: &str) -> (i32, ReplayLedger, Vec<(String, Difference)>) {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let (code, said) = meshproof(&[
        &"replay",
        &capture(),
        &"--to",
        &address,
        &"--record",
        &record,
    ]);
    let record = Record::open(&record).unwrap_or_else(|why| panic!("{why}\n{said}"));
    let ledger = record.manifest().unwrap().replay.clone().unwrap();
    let mut judged = Vec::new();
    for row in record.rows().unwrap() {
        let row = row.unwrap();
        let method = row.method.clone();
        judged.extend(
            row.differences
                .into_iter()
                .filter(|difference| difference.judged)
                .map(|difference| (method.clone(), difference)),
        );
    }
    (code, ledger, judged)
}

#[test]
fn the_reference_app_answers_as_recorded() {
    let app = App::start(&[]);
    let (code, ledger, judged) = replay(&app.address);
    assert_eq!(judged, []);
    assert_eq!((ledger.compared, ledger.oneway, code), (3, 1, 0));
}

#[test]
fn one_changed_field_is_named_with_both_values() {
    let app = App::start(&["--field", "place.amount=1"]);
    let (code, ledger, judged) = replay(&app.address);
    let wanted = Difference {
        path: "body.appResponse.amount".into(),
        recorded: Some("700".into()),
        observed: Some("1".into()),
        judged: true,
    };
    assert_eq!(judged, [("place".to_owned(), wanted)]);
    assert_eq!((ledger.compared, code), (3, 1));
}

#[test]
fn answers_under_each_others_id_are_caught() {
    let app = App::start(&["--swap-ids"]);
    let (code, _, judged) = replay(&app.address);
    assert_eq!(code, 1);
    assert!(!judged.is_empty());
}

#[test]
fn answers_in_another_order_are_legal() {
    let app = App::start(&["--reorder", "3"]);
    let (code, ledger, judged) = replay(&app.address);
    assert_eq!(judged, []);
    assert_eq!((ledger.compared, code), (3, 0));
}

#[test]
fn real_sofarpc_answers_as_recorded() {
    let class_path = match class_path() {
        Ok(class_path) => class_path,
        Err(why) => return skipped(why),
    };
    let real = RealServer::start(class_path);
    // On a busy machine a cold JVM takes longer for its first answers than the recorded time-out
    // allows: the first run only warms it.
    let _ = replay(&real.address.to_string());
    let (code, ledger, judged) = replay(&real.address.to_string());
    assert_eq!(judged, []);
    assert_eq!((ledger.compared, ledger.oneway, code), (3, 1, 0));
}

#[test]
fn a_rewritten_capture_is_audited_and_replays_with_nothing_to_tell() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.yaml");
    let offline = folder.path().join("offline.pcapng");
    let (code, proposed) = meshproof(&[&"rewrite", &capture(), &"--propose"]);
    assert_eq!(code, 0, "{proposed}");
    std::fs::write(&map, proposed).unwrap();
    let (code, _) = meshproof(&[&"rewrite", &capture(), &"--map", &map, &"-o", &offline]);
    assert_eq!(code, 0);

    let audit: &[&dyn AsRef<std::ffi::OsStr>] = &[
        &"audit",
        &offline,
        &"--map",
        &map,
        &"--original",
        &capture(),
    ];
    assert_eq!(meshproof(audit).0, 0);
    // The audit can fail: the capture as it was does not pass it.
    let unchanged: &[&dyn AsRef<std::ffi::OsStr>] = &[
        &"audit",
        &capture(),
        &"--map",
        &map,
        &"--original",
        &capture(),
    ];
    assert_eq!(meshproof(unchanged).0, 1);

    let record = folder.path().join("record");
    let (code, said) = meshproof(&[&"replay", &offline, &"--stub", &"--record", &record]);
    assert_eq!(code, 0, "{said}");
    let page = folder.path().join("report.html");
    assert_eq!(meshproof(&[&"report", &record, &"--html", &page]).0, 0);
    assert!(std::fs::read_to_string(page).unwrap().contains("PASS"));
}
