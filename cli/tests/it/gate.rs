//! `meshproof gate` on a real repository, with real commands.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

pub(crate) const RULES: &str = r#"
extends: [git-flow@1, commit-style@stable]
owner: team
parameters:
  git-flow.back-merge: "off"
  git-flow.into-main: 'feature/.+'
checkpoints:
  unit:
    run:
      command: [sh, -euc, 'echo "one test"; cp junit.in out.xml']
      within: 60s
    read: {junit: out.xml}
    rules:
      - {value: tests.failed, at-most: 0}
      - {value: tests.ran, at-least: 1}
      - {ran: ["suite::one"]}
  package:
    after: [unit]
    run: {command: [sh, -euc, 'echo done > out.pkg'], artefacts: [out.pkg]}
"#;

const JUNIT: &str =
    "<testsuite name='suite' tests='1'><testcase classname='suite' name='one'/></testsuite>";

#[expect(clippy::disallowed_methods, reason = "git itself is the judge")]
pub(crate) fn git(folder: &Path, arguments: &[&str]) {
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

/// A repository with a branch that may be merged.
pub(crate) fn project(rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    git(at, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(at.join("meshproof.yaml"), rules).expect("a file");
    fs::write(at.join("junit.in"), JUNIT).expect("a file");
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "-m", "all: a start"]);
    git(at, &["checkout", "--quiet", "-b", "feature/one"]);
    fs::write(at.join("a.txt"), "one\n").expect("a file");
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "-m", "text: a first line"]);
    folder
}

/// The gate of a folder, as JSON: the exit code and the document.
fn gate(folder: &Path, more: &[&str]) -> (i32, Value, String) {
    let output = assert_cmd::Command::cargo_bin("meshproof")
        .expect("the program")
        .current_dir(folder)
        .args(["gate", "check", "--format", "json"])
        .args(more)
        .env_remove("GITHUB_BASE_REF")
        .env_remove("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
        .env_remove("CHANGE_TARGET")
        .output()
        .expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().expect("an exit code"), document, err)
}

/// Every block of a document: `RULE CODE`.
fn blocks(document: &Value) -> Vec<String> {
    let checkpoints = document["checkpoints"].as_array().expect("checkpoints");
    let rulings = checkpoints
        .iter()
        .filter_map(|it| it["rulings"].as_array())
        .flatten();
    rulings
        .filter_map(|ruling| {
            let code = ruling["block"]["code"].as_str()?;
            Some(format!("{} {code}", ruling["rule"].as_str()?))
        })
        .collect()
}

fn state<'a>(document: &'a Value, id: &str) -> &'a Value {
    let checkpoints = document["checkpoints"].as_array().expect("checkpoints");
    let found = checkpoints.iter().find(|it| it["id"] == id);
    &found.unwrap_or_else(|| panic!("{id} is judged: {document}"))["state"]
}

#[test]
fn a_change_that_keeps_the_rules_passes_and_leaves_a_record() {
    let folder = project(RULES);
    let more = [
        "--target", "main", "--junit", "g.xml", "--sarif", "g.sarif", "--record", "r",
    ];
    let (code, document, err) = gate(folder.path(), &more);
    assert_eq!(code, 0, "{document:#} {err}");
    assert_eq!(document["verdict"], "PASS");
    assert_eq!(state(&document, "unit"), "passed");
    assert_eq!(state(&document, "package"), "passed");
    assert_eq!(blocks(&document), Vec::<String>::new());
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a report");
    assert!(text("g.xml").contains("git-flow/names/branch"));
    let sarif: Value = serde_json::from_str(&text("g.sarif")).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"], serde_json::json!([]));
    assert_eq!(text("r/artefacts/unit.log"), "one test\n");
    let manifest: Value = serde_json::from_str(&text("r/manifest.json")).expect("JSON");
    assert_eq!(manifest["verdict"], "PASS");
}

#[test]
fn a_block_says_which_rule_where_it_is_written_and_what_to_type() {
    let folder = project(RULES);
    git(
        folder.path(),
        &["commit", "--quiet", "--allow-empty", "-m", "Fixed it"],
    );
    let output = assert_cmd::Command::cargo_bin("meshproof")
        .expect("the program")
        .current_dir(folder.path())
        .args(["gate", "check", "--target", "main", "--github"])
        .env("NO_COLOR", "1")
        .output()
        .expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{out}");
    for part in [
        "BLOCKED        commit-style/subject",
        "commit-style/subject/commits.subject [not-held]",
        "1 of 2 do not match",
        "Fixed it",
        "(commit-style@1, generation 0)",
        "packs/commit-style/pack.yaml:",
        "owner   maintainers",
        "git rebase -i",
        "::error file=packs/commit-style/pack.yaml,line=",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn a_failure_is_told_with_its_output_and_what_follows_is_not_reached() {
    let folder = project(&RULES.replace("cp junit.in out.xml", "exit 7"));
    let (code, document, err) = gate(folder.path(), &["--target", "main"]);
    assert_eq!(code, 1, "{document:#} {err}");
    assert_eq!(blocks(&document), ["unit/exit not-held"]);
    assert_eq!(
        state(&document, "package")["not-reached"],
        "unit is BLOCKED"
    );
    let unit = document["checkpoints"].as_array().expect("a list");
    let unit = unit
        .iter()
        .find(|it| it["id"] == "unit")
        .expect("it is told");
    assert_eq!(unit["tail"], "one test\n");
}

#[test]
fn an_old_result_is_not_taken_for_a_new_one() {
    let folder = project(&RULES.replace("cp junit.in out.xml", "true"));
    let result = folder.path().join("out.xml");
    fs::write(&result, JUNIT).expect("a file");
    let file = fs::File::options()
        .write(true)
        .open(&result)
        .expect("it is there");
    let hour_ago =
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    file.set_modified(hour_ago).expect("its time is set");
    let (code, document, _) = gate(folder.path(), &["--target", "main"]);
    assert_eq!(code, 3, "{document:#}");
    assert_eq!(blocks(&document), ["unit/result stale"]);
}

#[test]
fn without_a_branch_to_merge_into_nothing_is_guessed() {
    let folder = project(RULES);
    let (code, document, _) = gate(folder.path(), &[]);
    assert_eq!(code, 3, "{document:#}");
    let blocks = blocks(&document);
    assert!(
        blocks.contains(&"commit-style/subject/commits.subject no-value".to_owned()),
        "{blocks:?}"
    );
    let (code, document, _) = gate(folder.path(), &["--target", "elsewhere"]);
    assert_eq!(code, 3, "{document:#}");
}

#[test]
fn rules_that_are_wrong_are_shown_with_line_and_suggestion() {
    let folder = project(&RULES.replace("at-most: 0", "at-moust: 0"));
    let (code, document, err) = gate(folder.path(), &[]);
    assert_eq!((code, document), (2, Value::Null), "{err}");
    for part in [
        "unknown key `at-moust`",
        "did you mean `at-most`?",
        "meshproof.yaml:14",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn nothing_to_judge_is_no_pass() {
    let rules = "owner: team\ncheckpoints:\n  one:\n    when: {exists: nowhere}\n    run: {command: [\"true\"]}\n";
    let folder = project(rules);
    let (code, document, _) = gate(folder.path(), &[]);
    assert_eq!(code, 3, "{document:#}");
    assert_eq!(
        state(&document, "one")["not-applicable"],
        "there is no nowhere"
    );
}

#[test]
fn ten_thousand_lines_of_rules_are_read() {
    let mut rules = "owner: team\ncheckpoints:\n".to_owned();
    for number in 0..1_500 {
        rules.push_str(&format!(
            "  c{number}:\n    read: {{json: r.json}}\n    rules:\n      - {{fresh: 1h}}\n      - {{value: a, at-most: 0}}\n      - {{value: b, equals: x}}\n      - {{id: c, cel: \"a == 0\"}}\n"
        ));
    }
    let folder = project(&rules);
    fs::write(folder.path().join("r.json"), r#"{"a": 0, "b": "x"}"#).expect("a file");
    let (code, document, err) = gate(folder.path(), &[]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        document["checkpoints"].as_array().map(Vec::len),
        Some(1_500)
    );
}

/// The rules that this repository is held to can be read, and name what they should.
#[test]
fn this_repository_has_rules() {
    let output = assert_cmd::Command::cargo_bin("meshproof")
        .expect("the program")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["gate", "explain"])
        .output()
        .expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for part in [
        "code-review/size",
        "meshproof.yaml:",
        "forbidden/names",
        "git-flow.names",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

/// Rules that judge the record of an earlier gate.
const OF_RECORDS: &str = r#"
owner: team
checkpoints:
  before:
    read: {record: {below: runs, words: [gate, check]}}
    rules:
      - {fresh: 24h}
      - {value: verdict, equals: PASS}
      - {value: claims.'git-flow/names'.verdict, equals: PASS}
"#;

#[test]
fn a_record_is_evidence_while_it_is_whole_and_the_newest() {
    let folder = project(RULES);
    let at = folder.path();
    fs::write(at.join("records.yaml"), OF_RECORDS).expect("a file");
    let of_records = ["--file", "records.yaml", "--record", "here"];
    let judged = |code: i32, block: &[&str]| {
        let _ = fs::remove_dir_all(at.join("here"));
        let (seen, document, err) = gate(at, &of_records);
        assert_eq!(blocks(&document), block, "{document:#} {err}");
        assert_eq!(seen, code, "{document:#} {err}");
    };
    judged(3, &["before/result not-run"]);
    let (code, ..) = gate(at, &["--target", "main", "--record", "runs/1"]);
    assert_eq!(code, 0);
    judged(0, &[]);
    let manifest = at.join("runs/1/manifest.json");
    let whole = fs::read_to_string(&manifest).expect("a manifest");
    let (front, _) = whole.split_at(whole.len() / 2);
    fs::write(&manifest, front).expect("a file");
    judged(3, &["before/result unreadable"]);
    fs::remove_file(&manifest).expect("it was there");
    judged(3, &["before/result unreadable"]);
    // A later one that is damaged is not passed over for an older one that passed.
    fs::write(&manifest, &whole).expect("a file");
    judged(0, &[]);
    fs::create_dir_all(at.join("runs/2")).expect("a folder");
    fs::write(at.join("runs/2/manifest.json"), "{\"schema\": 1,").expect("a file");
    judged(3, &["before/result unreadable"]);
}

#[test]
fn a_rule_that_is_changed_in_the_packs_changes_no_project() {
    let folder = project("extends: [commit-style@stable]\n");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/packs/commit-style");
    let pack = folder.path().join("packs/commit-style");
    fs::create_dir_all(&pack).expect("a folder");
    let write = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(Path::new(shipped).join(name)).expect("a pack");
        assert!(text.contains(from), "{name} holds {from}");
        fs::write(pack.join(name), text.replace(from, to)).expect("a file");
    };
    let more = ["--target", "main", "--packs", "packs"];
    write("pack.yaml", "default: 120", "default: 12");
    write("fixtures.yaml", "longest: 20", "longest: 10");
    let (code, _, err) = gate(folder.path(), &more);
    assert_eq!(code, 2, "a pack whose own fixtures fail is refused: {err}");
    assert!(err.contains("`good` of commit-style@1 is BLOCKED"), "{err}");
    write("pack.yaml", "default: 120", "default: 16");
    write("fixtures.yaml", "longest: 20", "longest: 3");
    let text = fs::read_to_string(pack.join("fixtures.yaml")).expect("it is there");
    let short = text.replace("wire/bolt: accept class names of no length", "wire: names");
    fs::write(pack.join("fixtures.yaml"), short).expect("a file");
    let (code, document, err) = gate(folder.path(), &more);
    assert_eq!(code, 1, "{err}");
    assert_eq!(blocks(&document), ["commit-style/subject/length not-held"]);
    assert_eq!(document["generation"], 1);
    let text = fs::read_to_string(pack.join("pack.yaml")).expect("it is there");
    fs::write(
        pack.join("pack.yaml"),
        text.replace("default: 16", "default: 40"),
    )
    .expect("a file");
    let (code, document, err) = gate(folder.path(), &more);
    assert_eq!(code, 0, "{document:#} {err}");
}
