//! A project whose gate passes, with a checkpoint for each kind of result.

use meshproof_ci::check::check;
use meshproof_ci::file::Source;
use meshproof_ci::gate::Gate;
use meshproof_ci::memory::Memory;
use meshproof_ci::outcome::Outcome;
use meshproof_ci::pack::Snapshot;
use meshproof_ci::world::Facts;
use meshproof_record::verdict::{End, Policy, exit_code};
use serde_json::json;
use std::sync::OnceLock;

/// A day like any other.
pub(super) const NOW_NS: i128 = 1_795_000_000_000_000_000;

/// The rules.
pub(super) const RULES: &str = r#"
owner: team
parameters: {least: 80%}
checkpoints:
  build:
    run: {command: [make], within: 5m, artefacts: [out/program]}
  unit:
    after: [build]
    run: {command: [make, unit]}
    read: {junit: out/junit.xml}
    rules:
      - {value: tests.failed, at-most: 0}
      - {value: tests.errors, at-most: 0}
      - {value: tests.ran, at-least: 2}
      - {value: tests.skipped, at-most: 0}
      - {ran: ["suite::one", "suite::t*"]}
  coverage:
    after: [unit]
    read: {lcov: out/lcov.info, change: true}
    rules:
      - {fresh: 1h}
      - {value: lines.percent, at-least: 60%}
      - {value: change.percent, at-least: "${least}"}
  classes:
    read: {cobertura: out/cobertura.xml}
    rules:
      - {fresh: 1h}
      - {value: lines.percent, at-least: 60%}
  scan:
    read: {sarif: out/scan.sarif}
    rules:
      - {fresh: 1h}
      - {value: errors, at-most: 0}
      - {id: tool, value: tools, matches: scanner}
  speed:
    read: {json: out/speed.json}
    baseline: {json: before/speed.json}
    rules:
      - {fresh: 1h}
      - {id: p99, value: p99_ms, limits: ["<=+10%", "<250ms"]}
      - {value: p50, at-most: 100ms}
      - {value: host, equals: quiet}
      - {id: whole, cel: "calls >= 1000 && lost == 0"}
      - {present: [seed]}
  table:
    read: {csv: out/table.csv}
    rules:
      - {fresh: 1h}
      - {value: count, at-least: 3}
      - {value: rows.*.left, at-least: 1}
      - {id: owners, present: [rows.*.owner]}
  stories:
    read: {record: {below: runs, words: [run, all]}}
    rules:
      - {fresh: 24h}
      - {value: verdict, equals: PASS}
      - {value: tests.ran, at-least: 10}
      - {ran: [heartbeat-lost]}
  branch:
    read: {git: {target: main}}
    rules:
      - {value: branch, matches: "feature/.+"}
      - {value: commits.*.subject, matches: "[a-z/]+: .+"}
      - {value: changes.lines, at-most: 500}
      - {value: tracked, matches-none: "\\.pem$"}
      - {value: clean, equals: true}
  review:
    read: {review: out/review.json}
    rules:
      - {value: approval_count, at-least: 1}
      - {value: self_approvals, at-most: 0}
      - {id: objections, cel: "size(objections) == 0"}
waivers:
  - {rule: classes/fresh, owner: ann, reason: the clock of the builder, expires: 2027-01-01}
"#;

/// What is in its files.
pub(super) const FILES: [(&str, &str); 9] = [
    ("out/program", "\u{7f}ELF"),
    (
        "out/junit.xml",
        "<?xml version='1.0'?><testsuites tests='2'><testsuite name='suite' tests='2'>\
         <testcase classname='suite' name='one'/><testcase classname='suite' name='two'/>\
         </testsuite></testsuites>",
    ),
    (
        "out/lcov.info",
        "SF:src/a.rs\nDA:1,1\nDA:2,1\nDA:3,0\nLF:3\nLH:2\nend_of_record\n",
    ),
    (
        "out/cobertura.xml",
        "<coverage><class filename='a'><lines><line number='1' hits='2'/></lines></class></coverage>",
    ),
    (
        "out/scan.sarif",
        r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "scanner"}}, "results": []}]}"#,
    ),
    (
        "out/speed.json",
        r#"{"p99_ms": 105, "p50": "20ms", "host": "quiet", "calls": 1000, "lost": 0, "seed": "7"}"#,
    ),
    ("before/speed.json", r#"{"p99_ms": 100, "p50": "20ms"}"#),
    (
        "out/table.csv",
        "name,owner,left\na,ann,3\nb,bob,9\nc,cat,1",
    ),
    (
        "out/review.json",
        r#"{"pull_request": {"title": "t", "user": {"login": "ann"}, "head": {"ref": "x", "sha": "abc"},
            "base": {"ref": "main"}}, "reviews": [{"user": {"login": "bob"}, "state": "APPROVED", "commit_id": "abc"}]}"#,
    ),
];

/// The rules and the world that they are tried in.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) rules: String,
    pub(super) world: Memory,
}

impl Project {
    /// The one that passes.
    pub(super) fn whole() -> Project {
        let mut world = Memory::new(NOW_NS);
        for (path, text) in FILES {
            world.file(path, text, 0);
        }
        world.git = Some(json!({
            "branch": "feature/x", "clean": true, "tracked": ["src/a.rs"],
            "commits": [{"subject": "wire/bolt: a thing"}],
            "changes": {"lines": 12}, "added_lines": {"src/a.rs": [1, 2]},
        }));
        let facts = Facts {
            values: json!({"verdict": "PASS", "tests": {"ran": 10}, "cases": ["heartbeat-lost"]}),
            made_unix_ns: Some(NOW_NS - 3_600_000_000_000),
            place: "runs/one".to_owned(),
        };
        let words = ["run", "all"].map(str::to_owned);
        world.records.push((words.to_vec(), Ok(facts)));
        Project {
            rules: RULES.to_owned(),
            world,
        }
    }

    /// What the gate says, or why its rules cannot be read.
    pub(super) fn outcome(&self) -> Result<Outcome, String> {
        let compiled = |rules: &str| {
            meshproof_ci::compile(&Source::new("meshproof.yaml", rules), &Snapshot::default())
                .map_err(|problem| format!("{}: {problem}", problem.code_name()))
        };
        if self.rules == RULES {
            // Most mutants leave them alone.
            static GATE: OnceLock<Gate> = OnceLock::new();
            let gate = GATE.get_or_init(|| compiled(RULES).expect("the rules are rules"));
            return Ok(check(gate, &self.world, 1, &|| false, &|_| {}));
        }
        Ok(check(
            &compiled(&self.rules)?,
            &self.world,
            2,
            &|| false,
            &|_| {},
        ))
    }

    /// The exit code, and every code that blocks, or that of the problem.
    pub(super) fn told(&self) -> (u8, Vec<String>) {
        match self.outcome() {
            Err(problem) => (2, vec![problem]),
            Ok(outcome) => {
                let blocks = outcome.checkpoints.iter().flat_map(|it| it.blocks());
                let mut codes: Vec<String> = blocks
                    .map(|(ruling, block)| format!("{} {}", ruling.rule, block.code.word()))
                    .collect();
                codes.extend(
                    outcome
                        .expired
                        .iter()
                        .map(|it| format!("{} waiver-expired", it.rule)),
                );
                let code = exit_code(&outcome.claims(), End::Finished, &Policy::USUAL);
                (code, codes)
            }
        }
    }
}

#[test]
fn the_project_passes() {
    assert_eq!(Project::whole().told(), (0, Vec::new()));
}
