//! Stories as they are typed: plans, verdicts, proofs, what failed told again.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use meshproof_record::case::{Case, CaseKind};
use meshproof_record::event::Event;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;

use crate::environment::up;
use crate::peer::{command, skipped};

pub(crate) fn meshproof(args: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, text(&output.stdout), text(&output.stderr))
}

/// The cases of a record, as they ended.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let record = Record::open(folder).unwrap();
    let ended = record
        .events()
        .unwrap()
        .filter_map(|entry| match entry.unwrap().event {
            Event::CaseEnded { case } => Some(case),
            _ => None,
        });
    ended.collect()
}

/// Whether this machine has namespaces; says so where it has not.
fn has_namespaces() -> bool {
    use meshproof_harness::Topology;
    up(&Topology::new(["trial"], None)).is_some()
}

#[test]
fn a_plan_is_numbered_and_nothing_runs() {
    let (code, out, _) = meshproof(&["run", "heartbeat-lost", "recovery-order", "--plan"]);
    assert_eq!(code, 0);
    assert!(out.contains("heartbeat-lost: "), "{out}");
    assert!(out.contains("  1. call 20 times from client"), "{out}");
    assert!(out.contains("[door] never for 3s"), "{out}");
}

#[test]
fn what_is_wrong_with_a_story_is_shown_with_line_and_help() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("story.yaml");
    let text = "scenario: it\nabout: a\ntopology: pair\nsteps:\n  - call: {from: clinet}\n";
    std::fs::write(&file, text).unwrap();
    let (code, _, err) = meshproof(&["run", file.to_str().unwrap()]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("unknown pod `clinet`"), "{err}");
    assert!(err.contains("did you mean `client`?"), "{err}");
    assert!(err.contains("call: {from: clinet}"), "{err}");
    let (code, _, err) = meshproof(&["run", "hartbeat-lost"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("did you mean `heartbeat-lost`?"), "{err}");
}

#[test]
fn a_story_holds_and_fails_with_its_bug_and_both_are_in_the_record() {
    if !has_namespaces() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let (code, out, err) = meshproof(&[
        "run",
        "foreign-bytes",
        "versions",
        "--prove",
        "--bug",
        "foreign-frame-held",
        "--bug",
        "crc-dropped",
        "--record",
        record.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("foreign-frame-held  C."), "{out}");
    assert!(out.contains("crc-dropped         .C"), "{out}");
    let cases = cases(&record);
    assert_eq!(cases.len(), 4, "{cases:#?}");
    for case in &cases {
        assert_eq!(case.verdict, Verdict::Pass, "{case:#?}");
        let proof = case.kind == CaseKind::Proof;
        let first = &case.claims[0];
        assert_eq!(first.name == "caught", proof, "{case:#?}");
    }
}

#[test]
fn a_story_that_fails_leaves_evidence_and_is_told_again() {
    if !has_namespaces() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("never-so.yaml");
    let text = "scenario: never-so\nabout: the port of a pod that serves is closed\ntopology: pair\n\
                steps:\n  - call: {from: client, count: 5}\n\
                \x20 - eventually: {within: 50ms, all: [{port: {pod: server, number: 12200, is: closed}}]}\n\
                \x20 - call: {from: client}\n";
    std::fs::write(&file, text).unwrap();
    let record = folder.path().join("run");
    let told = |args: &[&str], record: &Path| {
        let record = record.to_str().unwrap();
        meshproof(&[args, &["--record", record]].concat())
    };
    let (code, out, err) = told(&["run", file.to_str().unwrap()], &record);
    assert_eq!(code, 1, "{out}{err}");
    let ended = cases(&record);
    let [case] = ended.as_slice() else {
        panic!("{ended:#?}");
    };
    let why = &case.claims[0].why;
    assert!(why.starts_with("step 2 of 3: not within"), "{why}");
    assert!(why.ends_with(":12200 is open"), "{why}");
    // Of calls that were made the account closes all the same.
    let ledger = case.claims.iter().find(|claim| claim.name == "ledger");
    assert_eq!(ledger.unwrap().why, "5 calls: 5 closed");
    for file in &case.evidence {
        assert!(record.join("artefacts").join(file).is_file(), "{file}");
    }
    let has = |end: &str| case.evidence.iter().any(|file| file.ends_with(end));
    assert!(has("detail.json") && has("sidecar.log"), "{case:#?}");

    let again = folder.path().join("again");
    let (code, _, err) = told(&["run", "--failed", record.to_str().unwrap()], &again);
    assert_eq!(code, 1, "{err}");
    assert_eq!(cases(&again).len(), 1);
}

#[test]
fn a_mesh_that_is_kept_is_found_used_and_ended() {
    if !has_namespaces() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = "scenario: never-so\nabout: the port of a pod that serves is closed\ntopology: pair\n\
                steps:\n  - eventually: {within: 50ms, all: [{port: {pod: server, number: 12200, is: closed}}]}\n";
    std::fs::write(folder.path().join("never-so.yaml"), text).unwrap();
    let here = |args: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_meshproof"));
        command.args(args).current_dir(folder.path());
        command
    };
    let said = |args: &[&str]| {
        let output = here(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for by_enter in [true, false] {
        let record = format!("kept-{by_enter}");
        let mut run = here(&["run", "never-so.yaml", "--keep", "--record", &record])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(run.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("Enter ends it") {
            line.clear();
            assert_ne!(told.read_line(&mut line).unwrap(), 0, "it did not stay");
        }
        assert_eq!(line, "Enter ends it, or: meshproof env down never-so\n");
        let listed = said(&["env", "ls"]);
        assert!(listed.starts_with("never-so  "), "{listed}");
        let name = [
            "env", "exec", "--env", "never-so", "client", "--", "hostname",
        ];
        assert_eq!(said(&name), "client\n");
        let mut keys = run.stdin.take().unwrap();
        match by_enter {
            true => keys.write_all(b"\n").unwrap(),
            false => assert_eq!(said(&["env", "down"]), "never-so has ended\n"),
        }
        assert_eq!(run.wait().unwrap().code(), Some(1));
        drop(keys);
        assert_eq!(said(&["env", "ls"]), "");
        let left = std::fs::read_dir(folder.path().join("meshproof-runs")).unwrap();
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn what_the_machine_cannot_do_is_said_and_is_exit_4() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("needs.yaml");
    let text = "scenario: needs\nabout: it needs packets\ntopology: pair\nneeds: [capture]\n\
                steps:\n  - call: {from: client}\n";
    std::fs::write(&file, text).unwrap();
    let record = folder.path().join("run");
    let (code, out, err) = meshproof(&[
        "run",
        file.to_str().unwrap(),
        "--backend",
        "process",
        "--record",
        record.to_str().unwrap(),
    ]);
    assert_eq!(code, 4, "{out}{err}");
    let ended = cases(&record);
    assert_eq!(ended[0].verdict, Verdict::Unsupported, "{ended:#?}");
}

#[test]
fn the_suite_of_faults_is_in_the_binary_and_in_its_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/faults");
    for suite in ["faults", "scenarios/faults", folder] {
        let (code, out, err) = meshproof(&["run", suite, "--plan"]);
        assert_eq!(code, 0, "{suite}: {err}");
        let rule = "fault silence: drop packets from the app, port 12199, pod server, by nft-owner";
        assert!(out.contains(rule), "{suite}: {out}");
        let relay = "drop heartbeats from the app on the leg to 12199 of server";
        assert!(out.contains(relay), "{suite}: {out}");
    }
}

#[test]
fn a_bug_is_caught_behind_rules_for_packets_and_no_other_bug_is_asked_for() {
    if !has_namespaces() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let (code, out, err) = meshproof(&[
        "run",
        "answers-lost-nft-owner",
        "--prove",
        "--record",
        record.to_str().unwrap(),
    ]);
    let ended = cases(&record);
    if ended
        .iter()
        .all(|case| case.verdict == Verdict::Unsupported)
    {
        return skipped("needs nftables with owners");
    }
    assert_eq!(code, 0, "{out}{err}");
    // Once as it is, and once with each bug of the heartbeat family.
    assert_eq!(ended.len(), 5, "{ended:#?}");
    assert!(out.contains("4 of 4 bugs are caught"), "{out}");
}

#[test]
fn a_fault_that_meets_nothing_makes_a_story_invalid() {
    if !has_namespaces() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inert.yaml");
    let told = |heal: &str, name: &str| {
        let text = format!(
            "scenario: inert\nabout: rules for a port where nobody is\ntopology: pair\n\
             needs: [filter]\nsteps:\n  \
             - fault: {{id: silence, kind: drop, pod: server, port: 4711}}\n{heal}"
        );
        std::fs::write(&file, text).unwrap();
        let record = folder.path().join(name);
        let to = record.to_str().unwrap();
        let (code, out, err) = meshproof(&["run", file.to_str().unwrap(), "--record", to]);
        let case = cases(&record).remove(0);
        if case.verdict != Verdict::Unsupported {
            assert_eq!(code, 3, "{out}{err}");
            assert_eq!(case.verdict, Verdict::Invalid, "{case:#?}");
            let why = &case.claims[0].why;
            assert!(why.contains("fault `silence` met nothing: 0 of "), "{why}");
            let timeline = record.join("artefacts/inert/timeline.txt");
            let timeline = std::fs::read_to_string(timeline).unwrap();
            assert!(timeline.contains("silence: rule: "), "{timeline}");
            assert!(timeline.contains("nothing is left in"), "{timeline}");
        }
    };
    told("  - heal: silence\n", "healed");
    // The end of the story heals it, too.
    told("", "ended");
}
