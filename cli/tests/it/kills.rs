//! Runs that are killed with SIGKILL leave nothing: a few of them here, many in `make soak`.

use std::path::Path;

use crate::environment::as_nobody;
use crate::peer::{command, skipped};

#[test]
fn what_is_killed_at_a_random_moment_leaves_nothing() {
    // Each kind of run with each kind of victim, for root and for an ordinary user.
    soak("kill-soak.sh");
}

#[test]
fn faults_whose_runs_are_killed_leave_nothing() {
    let fronts = [Some(Vec::new()), as_nobody()];
    for front in fronts.into_iter().flatten() {
        let mut words: Vec<&str> = front;
        words.push(env!("CARGO_BIN_EXE_meshproof"));
        let sample = "fault soak --kills 3 --pairs 20 --pair-kills 1 --json";
        words.extend(sample.split(' '));
        let output = command(words[0]).args(&words[1..]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(4) {
            return skipped(&String::from_utf8_lossy(&output.stderr));
        }
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{wrong}");
        let mut in_force = 0;
        for line in said.lines() {
            let tally: serde_json::Value = serde_json::from_str(line).unwrap();
            // Tools of iptables may be missing.
            if tally["lacking"].is_null() {
                assert!(tally["kills"].as_u64() >= Some(1), "{line}");
                assert_eq!(tally["left"], 0, "{line}");
                in_force += tally["in_force"].as_u64().unwrap();
            }
        }
        assert!(said.lines().count() >= 34 && in_force > 0, "{said}");
    }
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
