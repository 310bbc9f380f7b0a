//! `meshproof audit` and `meshproof schema`.

use std::path::Path;

use assert_cmd::Command;
use expect_test::{Expect, expect};

const CAPTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/captures/sofarpc_bolt_url_appName.pcap"
);

fn meshproof(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("meshproof")
        .expect("the program")
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .args(args)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code().expect("an exit code"),
        text(output.stdout),
        text(output.stderr),
    )
}

#[track_caller]
fn check(map: &str, args: &[&str], code: i32, expect: Expect) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("map.yaml"), map).expect("a file");
    let (got, out, err) = meshproof(folder.path(), &[&["audit"], args].concat());
    let shown: String = (out + &err)
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    assert_eq!(got, code, "{shown}");
    expect.assert_eq(&shown);
}

#[test]
fn what_is_found_is_shown_with_its_place() {
    check(
        "apps: {target-app: other, sample-client: c}\naddresses: {127.0.0.1: 127.0.0.2}\n",
        &[CAPTURE, "--map", "map.yaml"],
        1,
        expect![[r#"
            FAIL  3 found, of 3 originals of the map and 0 more of the original capture
            searched 10 packets (1743 bytes), 1067 stream bytes, 2 frames with 35 fields, 0 bytes of other blocks

             needle         kind     from        as      times  where
             127.0.0.1      address  map line 2  packed  1      packet 6 header: .....i...y....B........;..k{-..
             target-app     app      map line 1  text    2      packet 4 headers.sofa_head_target_app: target-app
                                                                packet 4 targetAppName: target-app
             sample-client  app      map line 1  text    2      packet 4 headers.app: sample-client
                                                                packet 4 requestProps.app: sample-client
        "#]],
    );
}

#[test]
fn nothing_found() {
    check(
        "apps: {some-other-app: other}\n",
        &[CAPTURE, "--map", "map.yaml"],
        0,
        expect![[r#"
            PASS  0 found, of 1 originals of the map and 0 more of the original capture
            searched 10 packets (1743 bytes), 1067 stream bytes, 2 frames with 35 fields, 0 bytes of other blocks
        "#]],
    );
}

#[test]
fn wrong_use() {
    check(
        "",
        &[CAPTURE],
        2,
        expect![[r#"
        error: the following required arguments were not provided:
          --map <MAP>

        Usage: meshproof audit --map <MAP> <CAPTURE>...

        For more information, try '--help'.
    "#]],
    );
    check(
        "ap: {}\n",
        &[CAPTURE, "--map", "map.yaml"],
        2,
        expect![[r#"
            input::unknown_key

              × unknown key `ap`
               ╭─[map.yaml:1:1]
             1 │ ap: {}
               · ─┬
               ·  ╰── not known here
               ╰────
              help: did you mean `apps`?

        "#]],
    );
    check(
        "",
        &["map.yaml", "--map", "map.yaml"],
        2,
        expect![[r#"
        meshproof: map.yaml: the file is empty; expected a pcap or pcapng header (was the capture stopped before its first flush?)
    "#]],
    );
}

#[test]
fn json_is_a_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["audit", CAPTURE, "--original", CAPTURE, "--format", "json"];
    let (code, out, _) = meshproof(folder.path(), &args);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["schema"], 1);
    assert_eq!(report["verdict"], "FAIL");
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|found| {
        found["needle"] == "10.15.232.248"
            && found["encoding"] == "hex"
            && found["places"][0]["field"] == "headers.rpc_trace_context.sofaTraceId"
    }));
}

#[test]
fn schemas_are_json() {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, key) in [
        ("rewrite-map", "networks"),
        ("map", "networks"),
        ("noise", "noise"),
        ("gate", "checkpoints"),
        ("pack", "checkpoints"),
    ] {
        let (code, out, _) = meshproof(folder.path(), &["schema", kind]);
        assert_eq!(code, 0);
        let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema["properties"][key].is_object(), "{schema}");
    }
}

/// A capture with a header and no packet.
const NO_PACKET: &[u8] = &[
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
];

#[track_caller]
fn not_everything_searched(map: &str, capture: &[u8], args: &[&str], why: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("map.yaml"), map).expect("a file");
    std::fs::write(folder.path().join("out.pcap"), capture).expect("a file");
    let all = [&["audit", "out.pcap", "--map", "map.yaml"], args].concat();
    let (code, out, _) = meshproof(folder.path(), &all);
    assert_eq!(code, 3, "{out}");
    assert!(out.starts_with("INVALID"), "{out}");
    assert!(out.contains(why), "{out}");
    let (code, out, _) = meshproof(folder.path(), &[&all[..], &["--format", "json"]].concat());
    assert_eq!(code, 3, "{out}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["verdict"], "INVALID");
}

#[test]
fn where_not_everything_was_searched_nothing_passes() {
    let whole = std::fs::read(CAPTURE).expect("a capture");
    let map = "apps: {some-other-app: other}\n";
    not_everything_searched(map, NO_PACKET, &[], "the capture holds no packet");
    not_everything_searched("{}\n", &whole, &[], "there was nothing to search for");
    let cut = whole.get(..whole.len() - 7).expect("most of it");
    not_everything_searched(map, cut, &[], "the file ends after");
    let redact = format!("{map}redact: {{key: a long secret, fields: [mobile]}}\n");
    not_everything_searched(&redact, &whole, &[], "give it with --original");
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pcap");
    std::fs::write(&empty, NO_PACKET).expect("a file");
    let empty = empty.to_str().expect("text");
    not_everything_searched(map, &whole, &["--original", empty], "the original capture");
}
