//! A small release from beginning to end: real commands leave real records, and the page made of
//! them says ship; then one thing after the other is missing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::environment::up;

const PROGRAM: &str = env!("CARGO_BIN_EXE_meshproof");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");

const RULES: &str = r#"
extends: [release@stable]
owner: payments
parameters:
  release.stories: 2
  # Other tests run beside this one.
  release.slower: <=+10000%
  release.fewer: '>=-90%'
"#;

/// A matrix of two cells.
const MATRIX: &str = "\
matrix: pair
about: with and without a sidecar
axes:
  client: {mesh: [none, reference]}
  server: {mesh: [reference]}
  providers: [[bolt-v1]]
";

#[expect(clippy::disallowed_methods, reason = "the program as a user starts it")]
fn meshproof(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

#[track_caller]
fn works(folder: &Path, arguments: &[&str]) {
    let (code, said) = meshproof(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
}

/// A server that ends with the test.
struct Echo(Child);

impl Echo {
    #[expect(clippy::disallowed_methods, reason = "the program as a user starts it")]
    fn start() -> (Echo, String) {
        let mut child = Command::new(PROGRAM)
            .args(["fixture", "echo", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("READY ").unwrap().to_owned();
        (Echo(child), format!("127.0.0.1:{port}"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The release, as values: exit code and page.
fn release(folder: &Path, more: &[&str]) -> (i32, Value, String) {
    let page = folder.join("page.json");
    let arguments = [
        "gate",
        "release",
        "--version",
        "1.4.0",
        "--json",
        "page.json",
    ];
    let (code, said) = meshproof(folder, &[&arguments[..], more].concat());
    let page = fs::read(page).unwrap_or_else(|error| panic!("{error}: {said}"));
    (code, serde_json::from_slice(&page).unwrap(), said)
}

fn standing<'a>(page: &'a Value, area: &str) -> &'a str {
    let areas = page["areas"].as_array().unwrap();
    let found = areas.iter().find(|it| it["name"] == area);
    found.unwrap()["standing"].as_str().unwrap()
}

fn codes(page: &Value) -> Vec<&str> {
    let reasons = page["reasons"].as_array().unwrap();
    reasons
        .iter()
        .map(|it| it["code"].as_str().unwrap())
        .collect()
}

/// The folder of the record whose command line has this word.
fn record_of(folder: &Path, word: &str) -> PathBuf {
    let runs = fs::read_dir(folder.join("meshproof-runs")).unwrap();
    let mut found = runs.map(|entry| entry.unwrap().path()).filter(|path| {
        let Ok(text) = fs::read(path.join("manifest.json")) else {
            return false;
        };
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        let line = manifest["start"]["command_line"].as_array().unwrap();
        line.iter().any(|it| it == word)
    });
    found.next().unwrap()
}

#[test]
fn a_small_release_from_real_commands_to_a_page() {
    if up(&meshproof_harness::Topology::new(["trial"], None)).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("meshproof.yaml"), RULES).unwrap();
    fs::write(at.join("pair.yaml"), MATRIX).unwrap();
    let (code, page, said) = release(at, &[]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(page["answer"], "do-not-ship");
    for area in page["areas"].as_array().unwrap() {
        assert_eq!(area["standing"], "not-run", "{area}");
        assert!(!area["owner"].as_str().unwrap().is_empty());
    }

    works(at, &["run", "oneway", "log-level"]);
    works(at, &["run", "oneway", "--prove"]);
    fs::create_dir(at.join("few-faults")).unwrap();
    let story = "faults/answers-lost-relay.yaml";
    fs::copy(format!("{SHIPPED}/{story}"), at.join("few-faults/one.yaml")).unwrap();
    works(at, &["run", "few-faults"]);
    works(at, &["matrix", "pair.yaml"]);
    let capture = format!("{SHIPPED}/captures/sofarpc.pcapng");
    works(at, &["replay", &capture, "--stub"]);
    let (_echo, address) = Echo::start();
    let load = [
        "fixture",
        "load",
        "--to",
        &address,
        "--rate",
        "200",
        "--seconds",
        "1",
    ];
    let (code, said) = meshproof(at, &load);
    assert_eq!(code, 0, "{said}");
    fs::create_dir(at.join("bench")).unwrap();
    fs::write(at.join("bench/result.json"), said.trim()).unwrap();
    fs::write(at.join("bench/baseline.json"), said.trim()).unwrap();
    let fleet = r#"{"stragglers": 0, "problem_versions": 0}"#;
    fs::write(at.join("fleet.json"), fleet).unwrap();
    fs::write(at.join("known.csv"), "name,owner,days_left\nlink,ann,30\n").unwrap();

    let forms = [
        "--html",
        "ship.html",
        "--md",
        "ship.md",
        "--record",
        "meshproof-runs/shipped",
    ];
    let (code, page, told) = release(at, &forms);
    assert_eq!((code, &page["answer"]), (0, &"ship".into()), "{told}");
    assert_eq!(page["sentence"], "8 of 8 areas shown");
    let html = fs::read_to_string(at.join("ship.html")).unwrap();
    assert!(
        html.contains("SHIP") && html.contains("tests.ran 2"),
        "{html}"
    );
    // From its record, the same page comes again.
    let from = [
        "gate",
        "release",
        "--from",
        "meshproof-runs/shipped",
        "--html",
        "b.html",
    ];
    works(
        at,
        &[&from[..], &["--md", "b.md", "--json", "b.json"]].concat(),
    );
    assert_eq!(fs::read_to_string(at.join("b.html")).unwrap(), html);
    let same = |a: &str, b: &str| fs::read(at.join(a)).unwrap() == fs::read(at.join(b)).unwrap();
    assert!(same("ship.md", "b.md") && same("page.json", "b.json"));

    // The matrix is gone, and the release before is found among the records.
    fs::remove_dir_all(record_of(at, "pair.yaml")).unwrap();
    let (code, page, _) = release(at, &["--previous", "meshproof-runs"]);
    assert_eq!((code, standing(&page, "matrix")), (3, "not-run"));
    assert_eq!(codes(&page), ["not-run"]);
    let against = &page["difference"]["against"];
    assert_eq!(against["label"], "1.4.0");
    assert_eq!(against["verdicts"][0]["name"], "release/matrix");
    works(at, &["matrix", "pair.yaml"]);

    // Slower than is allowed.
    let slow: Value = serde_json::from_str(said.trim()).unwrap();
    let slow = slow["p99_ms"].as_f64().unwrap() * 1_000.0 + 1.0;
    let slow = format!(r#"{{"p99_ms": {slow}, "per_second": 200}}"#);
    let kept = fs::read(at.join("bench/result.json")).unwrap();
    fs::write(at.join("bench/result.json"), slow).unwrap();
    let (code, page, _) = release(at, &[]);
    assert_eq!((code, standing(&page, "performance")), (1, "fail"));
    assert_eq!(codes(&page), ["not-held"]);
    fs::write(at.join("bench/result.json"), kept).unwrap();

    // A waiver that expired blocks, whatever else is well.
    let waiver = "waivers: [{rule: release/fleet/stragglers, owner: bob, reason: old, expires: 2026-01-01}]\n";
    fs::write(at.join("meshproof.yaml"), format!("{RULES}{waiver}")).unwrap();
    let (code, page, _) = release(at, &[]);
    assert_eq!((code, codes(&page)), (1, vec!["waiver-expired"]));
    // Evidence that is too old.
    let stale = format!("{RULES}  release.age: 1ms\n");
    fs::write(at.join("meshproof.yaml"), stale).unwrap();
    let (code, page, _) = release(at, &[]);
    assert_eq!((code, standing(&page, "replay")), (3, "invalid"));
    assert!(codes(&page).iter().all(|code| *code == "stale"), "{page}");
    fs::write(at.join("meshproof.yaml"), RULES).unwrap();

    // A run that was cut off is no evidence, and no older one stands in for it.
    fs::remove_file(record_of(at, "few-faults").join("manifest.json")).unwrap();
    let (code, page, _) = release(at, &[]);
    assert_eq!((code, standing(&page, "faults")), (3, "invalid"));
    assert_eq!(codes(&page), ["unreadable"]);
}

#[test]
fn without_anything_to_judge_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rules = "owner: a\ncheckpoints:\n  one: {run: {command: ['true']}}\n";
    fs::write(at.join("meshproof.yaml"), rules).unwrap();
    let (code, page, said) = release(at, &["--html", "page.html"]);
    assert_eq!((code, &page["answer"]), (3, &"not-applicable".into()));
    assert!(
        said.contains("the rules extend no pack `release`"),
        "{said}"
    );
    let html = fs::read_to_string(at.join("page.html")).unwrap();
    assert!(html.contains("NOT APPLICABLE"), "{html}");
    // A page cannot be made of what is none.
    let (code, said) = meshproof(at, &["gate", "release", "--from", "meshproof.yaml"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("is no release"), "{said}");
}
