//! `meshproof report`.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use meshproof_record::event::Event;
use meshproof_record::manifest::{Machine, SCHEMA, Start};
use meshproof_record::store::{Ending, Writer};
use meshproof_record::verdict::{Claim, End, Lacking, Verdict};

/// Leaves a record with one claim; none of its end when there is no claim.
fn record(folder: &Path, name: &str, claim: Option<Claim>, end: End) -> PathBuf {
    let folder = folder.join(name);
    let start = Start {
        schema: SCHEMA,
        run: "01KAR3T0000000000000000000".into(),
        version: "0.1.0".into(),
        command_line: vec!["meshproof".into(), "replay".into(), "a b.pcap".into()],
        seed: 7,
        started: "2026-11-23T08:36:12Z".into(),
        machine: Machine::default(),
    };
    let mut writer = Writer::create(&folder, start).unwrap();
    let finding = Event::Finding {
        name: "bad-crc".into(),
        text: "frame 3".into(),
    };
    writer.event(1, finding).unwrap();
    writer.flush().unwrap();
    let Some(claim) = claim else { return folder };
    let ending = Ending {
        now: "2026-11-23T08:36:24Z".parse().unwrap(),
        at_ns: 12_000_000_000,
        end,
        claims: vec![claim],
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).unwrap();
    folder
}

fn claim(verdict: Verdict) -> Claim {
    Claim::new("functional", verdict, "1 of 2 compared answers differs")
}

fn meshproof(args: &[&str], records: &[&Path]) -> (i32, String, String) {
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .arg("report")
        .args(records)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_exit_code_is_that_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let lacks = Claim::unsupported("residue", Lacking::Machine, "no namespaces");
    for (name, claim, end, code) in [
        ("pass", Some(claim(Verdict::Pass)), End::Finished, 0),
        ("known", Some(claim(Verdict::Known)), End::Finished, 0),
        ("fail", Some(claim(Verdict::Fail)), End::Finished, 1),
        ("invalid", Some(claim(Verdict::Invalid)), End::Finished, 3),
        ("cut-off", None, End::Finished, 3),
        ("lacks", Some(lacks), End::Finished, 4),
        ("stopped", Some(claim(Verdict::Pass)), End::Interrupted, 130),
    ] {
        let made = record(folder.path(), name, claim, end);
        let (told, stdout, stderr) = meshproof(&[], &[&made]);
        assert_eq!((told, stderr.as_str()), (code, ""), "{name}");
        assert!(!stdout.contains('\u{1b}'), "no colours into a pipe");
        let (told, ..) = meshproof(&["--allow-unsupported"], &[&made]);
        assert_eq!(told, if code == 4 { 0 } else { code }, "{name}");
    }
    let all = ["pass", "fail", "invalid"].map(|name| folder.path().join(name));
    let all: Vec<&Path> = all.iter().map(PathBuf::as_path).collect();
    let (code, stdout, _) = meshproof(&[], &all);
    assert_eq!(code, 1);
    assert!(stdout.ends_with("FAIL         3 records\n"), "{stdout}");
}

#[test]
fn each_form_goes_where_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let made = record(
        folder.path(),
        "fail",
        Some(claim(Verdict::Fail)),
        End::Finished,
    );
    let [page, xml] = ["r.html", "r.xml"].map(|name| folder.path().join(name));
    let args = [
        "--html",
        page.to_str().unwrap(),
        "--junit",
        xml.to_str().unwrap(),
    ];
    let (code, stdout, _) = meshproof(&[args.as_slice(), &["--json", "-"]].concat(), &[&made]);
    assert_eq!(code, 1);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(told["verdict"], "FAIL");
    assert_eq!(told["records"][0]["findings"][0]["name"], "bad-crc");
    assert!(
        fs::read_to_string(&page)
            .unwrap()
            .contains("1 of 2 compared answers differs")
    );
    assert!(fs::read_to_string(&xml).unwrap().contains("failures=\"1\""));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "the record, the page, the XML: {left:?}");
}

#[test]
fn wrong_use_is_told_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = meshproof(&[], &[folder.path()]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("no record here, neither manifest.json"),
        "{stderr}"
    );
    let made = record(
        folder.path(),
        "pass",
        Some(claim(Verdict::Pass)),
        End::Finished,
    );
    let (code, _, stderr) = meshproof(&["--json", "-", "--html", "-"], &[&made]);
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    let (code, _, stderr) = meshproof(&["--html", "/nowhere/r.html"], &[&made]);
    assert_eq!(code, 2);
    assert!(stderr.contains("/nowhere/r.html"), "{stderr}");
    let (code, ..) = meshproof(&[], &[]);
    assert_eq!(code, 2);
}
