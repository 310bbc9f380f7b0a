//! Damaged headers against the reference sidecar: a sample of the whole table.

use std::process::Command;

use serde_json::Value;

/// Three bits of every third byte, in every version, both ways; and a record of it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the program is what is tried")]
fn a_sidecar_stands_whatever_byte_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    let program = || Command::new(env!("CARGO_BIN_EXE_meshproof"));
    let out = program()
        .args([
            "fault", "flips", "--step", "3", "--lanes", "3", "--format", "json",
        ])
        .args(["--mask", "1", "--mask", "64", "--mask", "255", "--record"])
        .arg(&record)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stdout);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{told}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let table: Value = serde_json::from_str(&told).unwrap();
    // 8 + 7 bytes of version 1, and twice 8 + 8 of version 2, three values each.
    assert_eq!(table["cases"], 3 * (8 + 7 + 2 * (8 + 8)), "{told}");
    assert_eq!(table["good"]["sent"], table["good"]["right"], "{told}");
    assert!(table["good"]["sent"].as_u64() > Some(0), "{told}");
    let came = |version: &str, of: &str, byte: u64, outcome: &str| {
        let rows = table["rows"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["version"] == version && row["of"] == of && row["byte"] == byte);
        let outcomes = row.unwrap_or(&Value::Null)["outcomes"].as_array().unwrap();
        assert!(
            outcomes.iter().any(|it| it["outcome"] == outcome),
            "{version} {of} {byte}: {outcomes:?}"
        );
    };
    // No protocol, a codec that is the app's business, another id.
    came("bolt-v1", "request", 0, "closed");
    came("bolt-v1", "request", 9, "passed on");
    came("bolt-v1", "request", 6, "passed on");
    came("bolt-v1", "answer", 6, "timed out by deadline (status 7)");
    // What has a checksum is never passed on with damage.
    came("bolt-v2-crc", "request", 9, "closed");

    let page = folder.path().join("flips.html");
    let made = program()
        .arg("report")
        .arg(&record)
        .arg("--html")
        .arg(&page)
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("what the sidecar did") && page.contains("timed out by deadline"));
}
