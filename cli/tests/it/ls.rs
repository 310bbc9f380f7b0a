//! `meshproof ls`.

use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures")
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ls(args: &[&str]) -> Ran {
    let output = Command::cargo_bin("meshproof")
        .expect("the program")
        .current_dir(captures())
        .env_remove("NO_COLOR")
        .arg("ls")
        .args(args)
        .output()
        .expect("it runs");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn json(args: &[&str]) -> Value {
    let ran = ls(args);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("one JSON document")
}

#[test]
fn json_has_the_fields_of_the_contract() {
    let all = json(&["--format", "json", "sofarpc_bolt_hessian2.pcap"]);
    let keys: Vec<_> = all.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["schema", "start", "exchanges", "spoken", "ledger"]);
    assert_eq!(all["schema"], 1);
    let start = all["start"].as_str().expect("a time");
    assert_eq!(
        start.len(),
        "2026-11-23T08:36:12.123456789Z".len(),
        "{start}"
    );
    let exchanges = all["exchanges"].as_array().expect("a list");
    assert_eq!(exchanges.len(), 4);
    for exchange in exchanges {
        assert_eq!(exchange["service"], "com.alipay.demo.SampleService:1.0");
        assert_eq!(exchange["from"], "client");
        assert_eq!(exchange["connection"], 1);
    }
    let oneway = exchanges
        .iter()
        .find(|exchange| exchange["kind"] == "oneway")
        .expect("a one-way");
    assert_eq!(oneway["response"], Value::Null);
    assert_eq!(oneway["outcome"], "oneway");
    let keys: Vec<_> = all["ledger"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(keys, ["packets", "bytes", "frames", "gaps", "findings"]);
    assert_eq!(all["ledger"]["frames"]["total"], 7);
}

#[test]
fn jsonl_is_one_exchange_a_line_and_the_ledger_last() {
    let ran = ls(&["--format", "jsonl", "bolt_v1_heartbeat.pcap"]);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let (last, exchanges) = lines.split_last().expect("lines");
    assert_eq!(last["ledger"]["frames"]["heartbeats"], 16);
    assert_eq!(exchanges.len(), 9);
    let heartbeats = exchanges
        .iter()
        .filter(|e| e["kind"] == "heartbeat")
        .count();
    assert_eq!(heartbeats, 8);
}

#[test]
fn the_ledger_alone_is_that_of_the_listing() {
    for name in [
        "sofaregistry_pub_sub.pcap",
        "bolt_v1_large_1MiB_mtu1500.pcap",
    ] {
        let all = json(&["--format", "json", name]);
        let only = json(&["--format", "json", "--ledger", name]);
        assert_eq!(all["ledger"], only["ledger"], "{name}");
        assert_eq!(only.get("exchanges"), None);
    }
}

#[test]
fn a_table_for_people() {
    let ran = ls(&["sofaregistry_pub_sub.pcap"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].contains("PACKET") && lines[0].ends_with("OUTCOME"));
    assert!(lines[3].contains("ReceivedData") && lines[3].ends_with("success, from server"));
    expect_test::expect![[r#"
        packets  24 = 24 tcp
        bytes    2308 = 2308 framed
        frames   6 = 3 requests + 3 responses
        gaps     none
        flows    2 = 2 bolt-v1"#]]
    .assert_eq(&lines[5..].join("\n"));
    assert!(
        !ran.stdout.contains('\u{1b}'),
        "no colour where there is no terminal"
    );
}

#[test]
fn what_is_not_decoded_is_named_with_advice() {
    let ran = ls(&["dubbo_hessian2.pcap"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("dubbo: 1 flows,"), "{}", ran.stderr);

    // A TLS handshake in place of a request.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tls.pcap");
    let mut file = std::fs::read(captures().join("bolt_v1_exception.pcap")).expect("a capture");
    let head = [1, 1, 0, 1, 1, 0, 0, 0, 1];
    let hello = [0x16, 3, 1, 0, 0x31, 1, 0, 0, 0x2d];
    let places: Vec<usize> = (0..file.len())
        .filter(|&at| file[at..].starts_with(&head))
        .collect();
    assert_eq!(places.len(), 1, "one request");
    file[places[0]..places[0] + hello.len()].copy_from_slice(&hello);
    let answer: Vec<usize> = (0..file.len())
        .filter(|&at| file[at..].starts_with(&[1, 0, 0, 2, 1, 0, 0, 0, 1]))
        .collect();
    file[answer[0]..answer[0] + hello.len()].copy_from_slice(&hello);
    std::fs::write(&path, file).expect("written");
    let ran = ls(&[path.to_str().expect("a path")]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("tls: 1 flows"), "{}", ran.stderr);
    assert!(ran.stderr.contains("port 12199"), "{}", ran.stderr);
    assert!(ran.stdout.contains("1293 foreign"), "{}", ran.stdout);
}

#[test]
fn selections() {
    let ids = |args: &[&str]| -> Vec<u64> {
        let args = [&["--format", "json", "sofarpc_bolt_hessian2.pcap"], args].concat();
        let all = json(&args);
        let exchanges = all["exchanges"].as_array().expect("a list");
        exchanges.iter().filter_map(|e| e["id"].as_u64()).collect()
    };
    assert_eq!(ids(&["--where", "method == 'boom'"]), [4]);
    assert_eq!(ids(&["--from", "+2.4s"]), [4]);
    assert_eq!(ids(&["--hop", "inbound", "--to", "+2s"]), [1]);
    assert!(ids(&["--hop", "outbound"]).is_empty());
    assert_eq!(ids(&["--sample", "100%"]), [1, 2, 3, 4]);
}

#[test]
fn two_capture_points_list_each_call_once() {
    let all = json(&[
        "--source",
        "client=bolt_v1_basic.pcap",
        "--source",
        "server=bolt_v1_basic.pcap",
        "--format",
        "json",
    ]);
    let exchanges = all["exchanges"].as_array().expect("a list");
    assert_eq!(exchanges.len(), 5);
    for exchange in exchanges {
        let sightings = exchange["sightings"].as_array().expect("a list");
        assert_eq!(sightings[0]["source"], "client");
        assert_eq!(sightings[1]["source"], "server");
    }
    assert_eq!(all["sources"][1]["offset_ns"], 0);
}

#[track_caller]
fn refused(args: &[&str], expect: &[&str]) {
    let ran = ls(args);
    assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
    assert_eq!(ran.stdout, "", "{args:?}");
    for part in expect {
        assert!(ran.stderr.contains(part), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn wrong_use_says_what_to_do() {
    refused(&[], &["CAPTURE"]);
    refused(&["no-such.pcap"], &["no-such.pcap", "No such file"]);
    refused(
        &["bolt_v1_basic.json"],
        &["bolt_v1_basic.json", "magic number"],
    );
    refused(
        &["bolt_v1_basic.pcap", "--where", "late && metod == 'x'"],
        &[
            "no field `metod`",
            "did you mean `method`?",
            "late && metod",
        ],
    );
    refused(&["bolt_v1_basic.pcap", "--where", "late &&"], &["--where"]);
    refused(&["bolt_v1_basic.pcap", "--hop", "middle"], &["inbound"]);
    refused(&["bolt_v1_basic.pcap", "--from", "noon"], &["+1.5s"]);
    refused(&["bolt_v1_basic.pcap", "--sample", "2"], &["5%"]);
    refused(&["--source", "a.pcap"], &["NAME=GLOB"]);
}

#[test]
fn a_capture_that_is_cut_is_a_finding() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.pcap");
    let file = std::fs::read(captures().join("sofarpc_bolt_hessian2.pcap")).expect("a capture");
    std::fs::write(&path, &file[..file.len() - 100]).expect("written");
    let ran = ls(&[path.to_str().expect("a path")]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("cut.pcap: byte"), "{}", ran.stderr);
}
