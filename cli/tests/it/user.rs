//! What an ordinary user has of faults: all of them inside of an environment, and outside of it
//! a reason for each that is not to be had.

use std::process::Output;

use crate::environment::as_nobody;
use crate::peer::{command, skipped};

/// `meshproof` as an ordinary user; none: nobody can be one here.
fn meshproof(words: &[&str]) -> Option<Output> {
    let front = as_nobody()?;
    let mut command = command(front[0]);
    command
        .args(&front[1..])
        .arg(env!("CARGO_BIN_EXE_meshproof"));
    Some(command.args(words).output().unwrap())
}

#[test]
fn an_ordinary_user_is_shown_the_loss_of_an_app_by_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    // Whoever runs it is not who made the folder.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let record = record.to_str().unwrap();
    let words = ["run", "faults", "--allow-unsupported", "--record", record];
    let Some(output) = meshproof(&[&words[..], &["--format", "json"]].concat()) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{wrong}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let claims = said["records"][0]["claims"].as_array().unwrap();
    let passed = claims.iter().filter(|claim| claim["verdict"] == "PASS");
    if passed.count() == 0 {
        return skipped(&format!("needs namespaces: {claims:?}"));
    }
    for claim in claims {
        let verdict = &claim["verdict"];
        // Where a tool is missing, that is said.
        assert!(
            verdict == "PASS" || (verdict == "UNSUPPORTED" && claim["lacking"] == "machine"),
            "{claim}"
        );
    }
}

#[test]
fn what_an_ordinary_user_may_not_is_told_with_its_reason() {
    let own = std::process::id().to_string();
    for (fault, lacking) in [
        ("{kind: drop, port: 12199, way: nft-owner}", "CAP_NET_ADMIN"),
        ("{kind: cut}", "CAP_NET_ADMIN"),
        (
            "{kind: drop, port: 12199, way: iptables-nft}",
            "iptables-nft",
        ),
        (
            "{kind: drop, port: 12199, way: iptables-legacy}",
            "iptables-legacy",
        ),
        // Of a process that is another user's.
        ("{kind: pause}", "the right to trace process"),
        ("{kind: descriptors}", "a look at its descriptors"),
    ] {
        let words = ["fault", "plan", fault, "--host", "--process", &own];
        let Some(output) = meshproof(&words) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{fault}: {said}");
        assert!(said.contains("UNSUPPORTED(machine): "), "{fault}: {said}");
        assert!(said.contains(lacking), "{fault}: {said}");
    }
}
