//! `meshproof rewrite`.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

fn meshproof(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("meshproof").expect("the program");
    command.current_dir(folder).env("NO_COLOR", "1");
    command
}

fn capture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/captures/sofarpc_bolt_hessian2.pcap")
        .canonicalize()
        .expect("a capture")
}

/// Propose, rewrite, audit: the way of the documentation, from end to end.
#[test]
fn a_proposed_map_is_accepted_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    meshproof(folder.path())
        .args(["rewrite", "--propose", "-o", "map.yaml"])
        .arg(capture())
        .assert()
        .code(0);
    let output = meshproof(folder.path())
        .args(["rewrite", "--map", "map.yaml", "-o", "out.pcapng"])
        .args(["--format", "json"])
        .arg(capture())
        .assert()
        .code(0)
        .get_output()
        .stdout
        .clone();
    let summary: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(summary["packets"]["read"], 23);
    assert_eq!(summary["packets"]["written"], 23);
    assert_eq!(summary["frames"]["emptied"], 0);
    meshproof(folder.path())
        .args(["audit", "out.pcapng", "--map", "map.yaml", "--original"])
        .arg(capture())
        .assert()
        .code(0);
    // What is left out of the map is found.
    let map = fs::read_to_string(folder.path().join("map.yaml")).expect("a map");
    let lacking: String = map
        .lines()
        .filter(|line| !line.contains("10.15.232.248"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(folder.path().join("lacking.yaml"), lacking).expect("a map");
    meshproof(folder.path())
        .args(["rewrite", "--map", "lacking.yaml", "-o", "out.pcapng"])
        .arg(capture())
        .assert()
        .code(0);
    meshproof(folder.path())
        .args(["audit", "out.pcapng", "--map", "map.yaml"])
        .assert()
        .code(1);
}

#[track_caller]
fn refused(map: &str, says: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("map.yaml"), map).expect("a map");
    let stderr = meshproof(folder.path())
        .args(["rewrite", "--map", "map.yaml", "-o", "out.pcapng"])
        .arg(capture())
        .assert()
        .code(2)
        .get_output()
        .stderr
        .clone();
    let stderr = String::from_utf8_lossy(&stderr);
    for words in says {
        assert!(stderr.contains(words), "{words} is not in\n{stderr}");
    }
    assert!(!folder.path().join("out.pcapng").exists(), "partial output");
}

#[test]
fn a_bad_map_is_refused_with_line_and_suggestion() {
    refused(
        "netwroks: {}\n",
        &["map.yaml:1:1", "did you mean `networks`?"],
    );
    refused(
        "apps:\n  a: b\n  b: c\n",
        &["map.yaml:2:6", "lies inside the original"],
    );
    refused(
        "networks: {10.15.0.0/16: 10.99.0.0/24}\n",
        &["map.yaml:1", "help:", "10.99.0.0/16\n"],
    );
}

#[test]
fn the_capture_itself_is_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("c.pcap");
    fs::copy(capture(), &copy).expect("a copy");
    fs::write(folder.path().join("map.yaml"), "apps: {a: b}\n").expect("a map");
    meshproof(folder.path())
        .args(["rewrite", "c.pcap", "--map", "map.yaml", "-o", "./c.pcap"])
        .assert()
        .code(2);
    assert_eq!(fs::read(copy).ok(), fs::read(capture()).ok());
    // Nor is the map.
    meshproof(folder.path())
        .args(["rewrite", "c.pcap", "--map", "map.yaml", "-o", "./map.yaml"])
        .assert()
        .code(2);
    let map = fs::read_to_string(folder.path().join("map.yaml"));
    assert_eq!(map.ok().as_deref(), Some("apps: {a: b}\n"));
}

/// Rewrites two captures with some flags; answers packets written, and packets not selected.
fn taken(folder: &Path, map: &str, flags: &[&str]) -> (u64, u64) {
    fs::write(folder.join("map.yaml"), map).expect("a map");
    let other = capture().with_file_name("bolt_v1_basic.pcap");
    let output = meshproof(folder)
        .args(["rewrite", "--map", "map.yaml", "-o", "out.pcapng"])
        .args(["--format", "json"])
        .args(flags)
        .arg(capture())
        .arg(other)
        .assert()
        .code(0)
        .get_output()
        .stdout
        .clone();
    let summary: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let packets = &summary["packets"];
    (
        number(&packets["written"]),
        number(&packets["dropped"]["not-selected"]),
    )
}

#[test]
fn a_part_is_taken_by_time_and_by_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for map in ["{}\n", "addresses: {10.15.232.248: 198.18.0.1}\n"] {
        let (all, none) = taken(folder, map, &[]);
        assert_eq!((all > 23, none), (true, 0));
        let sofa = ["--where", "method == 'hello'"];
        assert_eq!(taken(folder, map, &sofa), (23, all - 23), "{map}");
        // What was taken holds the whole connection, other methods too.
        let listed = meshproof(folder)
            .args(["ls", "out.pcapng", "--format", "jsonl"])
            .assert()
            .code(0)
            .get_output()
            .stdout
            .clone();
        let listed = String::from_utf8(listed).expect("text");
        assert!(listed.contains("\"method\":\"boom\""), "{listed}");
        let (early, late) = (
            taken(folder, map, &["--to", "+0.000001s"]),
            taken(folder, map, &["--from", "+0.000001s"]),
        );
        assert_eq!(early, (1, all - 1), "{map}");
        assert_eq!(late, (all - 1, 1), "{map}");
        assert_eq!(
            taken(folder, map, &["--where", "method == 'no-such'"]).0,
            0,
            "{map}"
        );
        assert_eq!(taken(folder, map, &["--sample", "100%"]).0, all, "{map}");
    }
    meshproof(folder)
        .args(["rewrite", "--propose", "--to", "+1s"])
        .arg(capture())
        .assert()
        .code(2);
}
