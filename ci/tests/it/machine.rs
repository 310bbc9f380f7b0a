//! The world of a machine: real commands, real git, real files and records.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use meshproof_ci::check::check;
use meshproof_ci::edge::Machine;
use meshproof_ci::file::Source;
use meshproof_ci::outcome::{Outcome, State};
use meshproof_ci::pack::{Snapshot, shipped};
use meshproof_record::store::{self, Ending, Writer};
use meshproof_record::verdict::{Claim, End, Policy, Verdict, exit_code};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

#[expect(clippy::disallowed_methods, reason = "git makes what is judged")]
fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
}

/// What the gate says of a folder: exit code, blocks, all of it.
fn told(folder: &Path, rules: &str, target: Option<&str>) -> (u8, Vec<String>, Outcome) {
    let packs = Snapshot::load(0, &shipped()).expect("they prove themselves");
    let gate = meshproof_ci::compile(&Source::new("meshproof.yaml", rules), &packs)
        .unwrap_or_else(|problem| panic!("{problem} (line {:?})", problem.line()));
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).expect("a folder");
    let machine = Machine::new(folder.to_owned(), target.map(str::to_owned), Some(logs));
    let outcome = check(&gate, &machine, 2, &|| machine.is_stopped(), &|_| {});
    let blocks = outcome
        .checkpoints
        .iter()
        .flat_map(|it| it.blocks())
        .map(|(ruling, block)| format!("{} {}", ruling.rule, block.code.word()));
    let blocks = blocks.collect();
    let code = exit_code(&outcome.claims(), End::Finished, &Policy::USUAL);
    (code, blocks, outcome)
}

fn of_command(words: &str, more: &str) -> String {
    format!("owner: team\ncheckpoints:\n  one:\n    run: {{command: {words}{more}}}\n")
}

#[track_caller]
fn check_command(words: &str, more: &str, code: u8, block: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, blocks, outcome) = told(folder.path(), &of_command(words, more), None);
    assert_eq!(blocks, block, "{outcome:#?}");
    assert_eq!(seen, code, "{outcome:#?}");
}

#[test]
fn commands_end_as_they_end() {
    check_command("[\"true\"]", "", 0, &[]);
    check_command("[\"false\"]", "", 1, &["one/exit not-held"]);
    check_command("[sh, -c, exit 3]", ", exits: [0, 3]", 0, &[]);
    check_command("[sh, -c, kill -9 $$]", "", 3, &["one/exit command"]);
    check_command("[no-such-program]", "", 3, &["one/exit command"]);
    check_command(
        "[\"true\"]",
        ", artefacts: [out.*]",
        3,
        &["one/artefacts missing"],
    );
    check_command(
        "[touch, out.a]",
        ", artefacts: [out.*]",
        3,
        &["one/artefacts empty"],
    );
    check_command("[sh, -c, echo x > out.a]", ", artefacts: [out.*]", 0, &[]);
    check_command(
        "[mkdir, out.a]",
        ", artefacts: [out.*]",
        3,
        &["one/artefacts unreadable"],
    );
    check_command(
        "[mkfifo, out.a]",
        ", artefacts: [out.*]",
        3,
        &["one/artefacts unreadable"],
    );
    check_command("[sh, -c, 'test \"$A\" = b']", ", env: {A: b}", 0, &[]);
}

/// A command that hangs, with a child that does not end when it is asked to, and one that holds
/// the output.
#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "mkfifo fifo; sh -c 'trap \"\" TERM; echo $$ > pid; while :; do read -r x < fifo; done' & \
                  echo it begins; wait";
    let words = serde_json::json!(["sh", "-c", script]).to_string();
    let rules = of_command(&words, ", within: 1s");
    let (code, blocks, outcome) = told(folder.path(), &rules, None);
    assert_eq!((code, blocks), (1, vec!["one/exit time-out".to_owned()]));
    let judged = outcome.checkpoints.first().expect("one");
    assert!(judged.took_ms < 60_000, "{} ms", judged.took_ms);
    // Where the machine is slow, it may not have come to its child.
    if let Ok(pid) = fs::read_to_string(folder.path().join("pid")) {
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        ends(pid.expect("an id"));
    }
}

/// Waits for the end of a process that was killed.
#[track_caller]
fn ends(pid: Pid) {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let limit = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
    assert_eq!(ready, Ok(1), "the process {pid:?} is still there");
}

#[test]
fn what_a_command_says_is_kept_and_its_end_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = of_command("[sh, -c, 'seq 1 100000; exit 1']", "");
    let (_, _, outcome) = told(folder.path(), &rules, None);
    let judged = outcome.checkpoints.first().expect("one");
    assert!(judged.tail.ends_with("99999\n100000\n"), "{}", judged.tail);
    assert!(judged.tail.len() <= 8 << 10);
    let log = fs::read_to_string(&judged.log).expect("all of it");
    assert_eq!(log.lines().count(), 100_000);
}

const OF_GIT: &str = r#"
extends: [git-flow@1, commit-style@1]
parameters: {git-flow.back-merge: "off", git-flow.into-main: 'feature/.+'}
"#;

/// A repository with a branch that may be merged.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    git(at, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(at.join("a.txt"), "one\n").expect("a file");
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "-m", "all: a start"]);
    git(at, &["checkout", "--quiet", "-b", "feature/one"]);
    fs::write(at.join("a.txt"), "one\ntwo\n").expect("a file");
    git(at, &["commit", "--quiet", "-am", "text: a second line"]);
    folder
}

#[test]
fn branches_and_commits_are_judged() {
    let folder = repository();
    let at = folder.path();
    assert_eq!(told(at, OF_GIT, Some("main")).1, Vec::<String>::new());
    git(
        at,
        &["commit", "--quiet", "--allow-empty", "-m", "Fixed it"],
    );
    let (code, blocks, _) = told(at, OF_GIT, Some("main"));
    assert_eq!(
        (code, blocks),
        (
            1,
            vec!["commit-style/subject/commits.subject not-held".to_owned()]
        )
    );
    git(at, &["branch", "--quiet", "-m", "stuff"]);
    let (_, blocks, _) = told(at, OF_GIT, Some("main"));
    assert!(
        blocks.contains(&"git-flow/names/branch not-held".to_owned()),
        "{blocks:?}"
    );
    assert!(
        blocks.contains(&"git-flow/into/main not-held".to_owned()),
        "{blocks:?}"
    );
    git(at, &["tag", "final"]);
    let (_, blocks, _) = told(at, OF_GIT, Some("main"));
    assert!(
        blocks.contains(&"git-flow/tags/tags not-held".to_owned()),
        "{blocks:?}"
    );
    let (code, blocks, _) = told(at, OF_GIT, Some("elsewhere"));
    assert_eq!(code, 3, "{blocks:?}");
    assert!(
        blocks.iter().all(|it| it.ends_with("/result missing")),
        "{blocks:?}"
    );
}

#[test]
fn coverage_is_of_the_lines_that_the_branch_adds() {
    let folder = repository();
    let at = folder.path();
    let rules = "owner: team\ncheckpoints:\n  one:\n    read: {lcov: lcov.info, change: true}\n    \
                 rules: [{fresh: 1h}, {value: change.percent, at-least: 100%}]\n";
    fs::write(
        at.join("lcov.info"),
        "SF:a.txt\nDA:1,0\nDA:2,1\nend_of_record\n",
    )
    .expect("a file");
    assert_eq!(told(at, rules, Some("main")).1, Vec::<String>::new());
    fs::write(
        at.join("lcov.info"),
        "SF:a.txt\nDA:1,1\nDA:2,0\nend_of_record\n",
    )
    .expect("a file");
    assert_eq!(
        told(at, rules, Some("main")).1,
        ["one/change.percent not-held"]
    );
    assert_eq!(told(at, rules, None).1, ["one/result no-value"]);
}

#[test]
fn what_follows_a_block_is_not_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "owner: team\ncheckpoints:\n  a: {run: {command: ['false']}}\n  \
                 b: {after: [a], run: {command: [touch, b]}}\n  \
                 c: {after: [b], run: {command: [touch, c]}}\n  d: {run: {command: ['true']}}\n";
    let (code, _, outcome) = told(folder.path(), rules, None);
    let states: Vec<&State> = outcome.checkpoints.iter().map(|it| &it.state).collect();
    assert_eq!(code, 1);
    assert_eq!(states.first(), Some(&&State::Blocked));
    assert_eq!(
        states.get(1),
        Some(&&State::NotReached("a is BLOCKED".to_owned()))
    );
    assert_eq!(
        states.get(2),
        Some(&&State::NotReached("b is not reached".to_owned()))
    );
    assert_eq!(states.get(3), Some(&&State::Passed));
    assert!(!folder.path().join("b").exists() && !folder.path().join("c").exists());
}

const OF_RECORDS: &str = r#"
owner: team
checkpoints:
  one:
    read: {record: {below: runs, words: [run, all]}}
    rules:
      - {fresh: 24h}
      - {value: verdict, equals: PASS}
      - {value: claims.ledger.verdict, equals: PASS}
"#;

#[expect(
    clippy::disallowed_methods,
    reason = "records have the time of the wall"
)]
fn timestamp() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).expect("a day of this age")
}

fn record(folder: &Path, words: &[&str], verdict: Verdict) {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let start = store::start("0", words, 1, timestamp());
    let writer = Writer::create(folder, start).expect("a record");
    let ending = Ending {
        now: timestamp(),
        at_ns: 1,
        end: End::Finished,
        claims: vec![Claim::new("ledger", verdict, "so it is")],
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).expect("it is written");
}

#[test]
fn a_record_is_evidence_while_it_is_whole_and_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let runs = at.join("runs");
    let blocks = || told(at, OF_RECORDS, None).1;
    assert_eq!(blocks(), ["one/result not-run"]);
    record(&runs.join("other"), &["meshproof", "ls"], Verdict::Pass);
    assert_eq!(blocks(), ["one/result not-run"]);
    record(&runs.join("1"), &["meshproof", "run", "all"], Verdict::Pass);
    assert_eq!(blocks(), Vec::<String>::new());
    let manifest = runs.join("1/manifest.json");
    let whole = fs::read_to_string(&manifest).expect("a manifest");
    let (front, _) = whole.split_at(whole.len() / 2);
    fs::write(&manifest, front).expect("a file");
    assert_eq!(blocks(), ["one/result unreadable"]);
    // A run that was cut off.
    fs::remove_file(&manifest).expect("it was there");
    assert_eq!(blocks(), ["one/result unreadable"]);
    fs::write(&manifest, &whole).expect("a file");
    assert_eq!(blocks(), Vec::<String>::new());
    // A later one that failed, or cannot be read, is not passed over for one that passed.
    record(&runs.join("2"), &["meshproof", "run", "all"], Verdict::Fail);
    assert_eq!(
        blocks(),
        ["one/verdict not-held", "one/claims.ledger.verdict not-held"]
    );
    fs::remove_dir_all(runs.join("2")).expect("it was there");
    fs::create_dir_all(runs.join("3")).expect("a folder");
    fs::write(runs.join("3/manifest.json"), "{\"schema\": 1,").expect("a file");
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let handle = fs::File::open(runs.join("3")).expect("a folder");
    handle.set_modified(later).expect("its time is set");
    assert_eq!(blocks(), ["one/result unreadable"]);
}

/// What this repository is held to can be read, and names what it should.
#[test]
fn this_repository_has_rules() {
    let rules = include_str!("../../../meshproof.yaml");
    let packs = Snapshot::load(0, &shipped()).expect("they prove themselves");
    let gate = meshproof_ci::compile(&Source::new("meshproof.yaml", rules), &packs);
    let gate = gate.unwrap_or_else(|problem| panic!("{problem} (line {:?})", problem.line()));
    let ids: Vec<&str> = gate.checkpoints.iter().map(|it| it.id.as_str()).collect();
    for id in [
        "git-flow/names",
        "commit-style/subject",
        "code-review/size",
        "forbidden",
    ] {
        assert!(ids.contains(&id), "{ids:?}");
    }
}
