//! `meshproof diff`.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use meshproof_record::manifest::{Machine, SCHEMA, Start};
use meshproof_record::row::{ExchangeRow, Outcome, Response};
use meshproof_record::store::{Ending, Writer};
use meshproof_record::verdict::End;

/// Leaves a record of one exchange, answered with this header.
fn record(folder: &Path, name: &str, zone: &str) -> PathBuf {
    let folder = folder.join(name);
    let start = Start {
        schema: SCHEMA,
        run: "01KAR3T0000000000000000000".into(),
        version: "0.1.0".into(),
        command_line: vec!["meshproof".into()],
        seed: 7,
        started: "2026-11-23T08:36:12Z".into(),
        machine: Machine::default(),
    };
    let mut writer = Writer::create(&folder, start).unwrap();
    let row = ExchangeRow {
        exchange: 1,
        flow: "10.1.2.3:41820>10.9.8.7:12200".into(),
        connection: 1,
        id: 1,
        protocol: "bolt-v1".into(),
        kind: "call".into(),
        service: "com.example.Shop:1.0".into(),
        method: "buy".into(),
        arguments: "00".into(),
        trace: None,
        target: None,
        intended_ns: None,
        sent_ns: None,
        answered_ns: None,
        outcome: Outcome::Answered,
        reason: None,
        late: false,
        compared: false,
        answer_recorded: true,
        recorded: None,
        observed: Some(Response {
            protocol: "bolt-v1".into(),
            codec: 1,
            status: Some(0),
            class: "com.example.Reply".into(),
            headers: [("zone".to_owned(), zone.to_owned())].into(),
            body: Default::default(),
        }),
        differences: Vec::new(),
    };
    writer.row(&row).unwrap();
    let ending = Ending {
        now: "2026-11-23T08:36:24Z".parse().unwrap(),
        at_ns: 12_000_000_000,
        end: End::Finished,
        claims: Vec::new(),
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).unwrap();
    folder
}

#[track_caller]
fn check(records: [&Path; 2], args: &[&str], code: i32, expect: &str) {
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .arg("diff")
        .args(records)
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!((output.status.code(), text.as_str()), (Some(code), expect));
}

#[test]
fn two_records() {
    let folder = tempfile::tempdir().unwrap();
    let one = record(folder.path(), "one", "zone1");
    let same = record(folder.path(), "same", "zone1");
    let other = record(folder.path(), "other", "zone\u{1b}[2");
    check(
        [&one, &same],
        &[],
        0,
        "PASS records: 1 answer compared, no difference\n",
    );
    let expect = "exchange 1  com.example.Shop:1.0.buy\n  headers.zone\n    \
        recorded  zone1\n    observed  zone\\u{1b}[2\n\
        FAIL records: 1 exchange differs, 1 answer compared\n";
    check([&one, &other], &[], 1, expect);

    let noise = folder.path().join("noise.yaml");
    fs::write(&noise, "noise: [{path: headers.zone, method: buy}]\n").unwrap();
    let expect = "exchange 1  com.example.Shop:1.0.buy\n  headers.zone  (not judged)\n    \
        recorded  zone1\n    observed  zone\\u{1b}[2\n\
        PASS records: 1 answer compared, no judged difference (1 differs in noise or stack frames only)\n";
    check(
        [&one, &other],
        &["--noise", noise.to_str().unwrap()],
        0,
        expect,
    );

    fs::write(&noise, "noise: [{path: '*'}]\n").unwrap();
    let expect = "INVALID records: 1 answer compared, but the noise file leaves nothing to judge\n";
    let blind = ["--noise", noise.to_str().unwrap()];
    check([&one, &same], &blind, 3, expect);

    // Exchanges that were taken away are missed.
    let manifest = fs::read_to_string(same.join("manifest.json")).unwrap();
    let more = manifest.replace("\"exchanges\": 1", "\"exchanges\": 2");
    fs::write(same.join("manifest.json"), more).unwrap();
    let expect = format!(
        "note: {}: 1 exchanges are there, and its manifest tells of 2\n\
         INVALID records: 1 answer compared, no difference, but not all of the records could be read\n",
        same.display()
    );
    check([&one, &same], &[], 3, &expect);

    // A run that was cut off supports no pass.
    fs::remove_file(same.join("manifest.json")).unwrap();
    let expect = format!(
        "note: {}: the run was cut off\n\
         INVALID records: 1 answer compared, no difference, but not all of the records could be read\n",
        same.display()
    );
    check([&one, &same], &[], 3, &expect);
}
