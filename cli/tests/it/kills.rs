//! Runs that are killed with SIGKILL leave nothing: a few of them here, many in `make soak`.

use std::path::Path;

use crate::peer::{command, skipped};

#[test]
fn what_is_killed_at_a_random_moment_leaves_nothing() {
    // Each kind of run with each kind of victim, for root and for an ordinary user.
    soak("kill-soak.sh");
}

#[test]
fn faults_whose_run_is_killed_at_a_random_moment_are_healed() {
    soak("fault-soak.sh");
}

#[track_caller]
fn soak(script: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scripts")
        .join(script);
    let output = command("bash")
        .arg(script)
        .args(["16", env!("CARGO_BIN_EXE_meshproof")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = said.lines().find(|line| line.starts_with("SKIPPED: ")) {
        return skipped(line.trim_start_matches("SKIPPED: "));
    }
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    assert!(said.contains(" 0 left something behind"), "{said}{wrong}");
}
