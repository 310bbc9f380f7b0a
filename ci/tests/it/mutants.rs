//! Mutants of rules, results and configuration: none of them may pass.
//!
//! Each takes the project that passes and breaks one thing. A mutant that passes is a hole in the
//! gate.

use meshproof_ci::outcome::Code;
use meshproof_ci::world::{Absent, Ending};
use serde_json::{Value, json};

use super::project::{FILES, NOW_NS, Project, RULES};

const HOUR_NS: i128 = 3_600_000_000_000;

/// A mutant: what was broken, the project, and a word that must be among what it says.
struct Mutant {
    name: String,
    project: Project,
    says: &'static str,
}

fn mutant(
    name: impl Into<String>,
    says: &'static str,
    change: impl FnOnce(&mut Project),
) -> Mutant {
    let mut project = Project::whole();
    change(&mut project);
    Mutant {
        name: name.into(),
        project,
        says,
    }
}

/// None of them passes, and each says why with its code.
fn none_passes(mutants: Vec<Mutant>, least: usize) {
    assert!(mutants.len() >= least, "{} mutants", mutants.len());
    let mut wrong = Vec::new();
    for mutant in &mutants {
        let (code, said) = mutant.project.told();
        let is_said = said.iter().any(|it| it.contains(mutant.says));
        if ![1, 2, 3].contains(&code) || said.is_empty() || !is_said {
            wrong.push(format!(
                "{}: exit {code}, {said:?}, not {}",
                mutant.name, mutant.says
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        mutants.len()
    );
}

fn text(path: &str) -> &'static str {
    let found = FILES.iter().find(|(name, _)| *name == path);
    found.expect("a file of the project").1
}

/// Files of results, without what only has to be there and what is compared with.
fn results() -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = ["out/program", "before/speed.json"];
    FILES
        .into_iter()
        .filter(move |(path, _)| !others.contains(path))
}

#[test]
fn results_that_are_lost_or_damaged_block() {
    let mut all = Vec::new();
    for (path, whole) in FILES {
        let is_baseline = path.starts_with("before");
        let or = |says| if is_baseline { "baseline" } else { says };
        all.push(mutant(format!("{path}: missing"), or("missing"), |it| {
            it.world.files.remove(path);
        }));
        all.push(mutant(format!("{path}: no bytes"), or("empty"), |it| {
            it.world.file(path, "", 0)
        }));
        if path == "out/program" {
            continue;
        }
        all.push(mutant(format!("{path}: blank"), or("empty"), |it| {
            it.world.file(path, " \n", 0)
        }));
        let bad = [
            ("an error page", "<html><body>502 Bad Gateway</body></html>"),
            ("one word", "OK"),
            ("zeros", "\0\0\0\0"),
            ("null", "null"),
            ("an empty mapping", "{}"),
            ("an empty list", "[]"),
            ("JSON of another", r#"{"status": "passed"}"#),
        ];
        for (name, content) in bad {
            all.push(mutant(format!("{path}: {name}"), "", |it| {
                it.world.file(path, content, 0)
            }));
        }
        all.push(mutant(
            format!("{path}: not UTF-8"),
            or("unreadable"),
            |it| {
                it.world.file(path, whole, 0);
                let seen = it.world.files.get_mut(path).expect("it was put there");
                seen.bytes.push(0xff);
            },
        ));
        if path != "out/lcov.info" {
            // Coverage of two runs adds up; everything else is one document.
            all.push(mutant(format!("{path}: twice"), "", |it| {
                it.world.file(path, &format!("{whole}\n{whole}"), 0);
            }));
        }
    }
    none_passes(all, 80);
}

#[test]
fn results_that_are_cut_short_block() {
    let mut all = Vec::new();
    for (path, whole) in results() {
        for cut in (0..whole.len()).filter(|at| whole.is_char_boundary(*at)) {
            let (front, rest) = whole.split_at(cut);
            if rest.trim().is_empty() {
                continue;
            }
            all.push(mutant(format!("{path}: cut at {cut}"), "", |it| {
                it.world.file(path, front, 0);
            }));
        }
    }
    none_passes(all, 500);
}

#[test]
fn results_of_another_time_block() {
    let mut all = Vec::new();
    for (path, whole) in FILES {
        let is_dated = !matches!(
            path,
            "before/speed.json" | "out/review.json" | "out/cobertura.xml"
        );
        if is_dated {
            all.push(mutant(format!("{path}: of last week"), "stale", |it| {
                it.world.file(path, whole, 168 * HOUR_NS);
            }));
            all.push(mutant(format!("{path}: a second too old"), "stale", |it| {
                it.world.file(path, whole, HOUR_NS + 1_000_000_000);
            }));
        }
        if path != "out/program" {
            let says = if path.starts_with("before") {
                "baseline"
            } else {
                "future"
            };
            all.push(mutant(format!("{path}: of tomorrow"), says, |it| {
                it.world.file(path, whole, -24 * HOUR_NS);
            }));
        }
    }
    let junit = text("out/junit.xml");
    for (name, stamp, says) in [
        ("states last week", "2026-11-10T00:00:00Z", "stale"),
        ("states next year", "2027-11-10T00:00:00Z", "future"),
        ("states nonsense", "yesterday", "unreadable"),
    ] {
        let stamped = junit.replace("name='suite'", &format!("name='suite' timestamp='{stamp}'"));
        all.push(mutant(format!("the suite {name}"), says, |it| {
            it.world.file("out/junit.xml", &stamped, 0);
        }));
    }
    all.push(mutant("the record is two days old", "stale", |it| {
        let (_, facts) = it.world.records.first_mut().expect("a record");
        facts.as_mut().expect("it can be read").made_unix_ns = Some(NOW_NS - 48 * HOUR_NS);
    }));
    all.push(mutant("the record is of tomorrow", "future", |it| {
        let (_, facts) = it.world.records.first_mut().expect("a record");
        facts.as_mut().expect("it can be read").made_unix_ns = Some(NOW_NS + 24 * HOUR_NS);
    }));
    all.push(mutant("the record does not say when", "stale", |it| {
        let (_, facts) = it.world.records.first_mut().expect("a record");
        facts.as_mut().expect("it can be read").made_unix_ns = None;
    }));
    none_passes(all, 15);
}

#[test]
fn results_that_say_something_else_block() {
    let table: &[(&str, &str, &str, &str)] = &[
        (
            "out/junit.xml",
            "name='one'/>",
            "name='one'><failure/></testcase>",
            "not-held",
        ),
        (
            "out/junit.xml",
            "name='one'/>",
            "name='one'><error/></testcase>",
            "not-held",
        ),
        (
            "out/junit.xml",
            "name='one'/>",
            "name='one'><skipped/></testcase>",
            "case-not-run",
        ),
        (
            "out/junit.xml",
            "name='one'/>",
            "name='other'/>",
            "case-not-run",
        ),
        (
            "out/junit.xml",
            "testsuites tests='2'",
            "testsuites tests='3'",
            "unreadable",
        ),
        (
            "out/junit.xml",
            "<testcase classname='suite' name='two'/>",
            "",
            "unreadable",
        ),
        ("out/lcov.info", "DA:2,1", "DA:2,0", "not-held"),
        ("out/lcov.info", "DA:2,1", "DA:2,x", "unreadable"),
        ("out/cobertura.xml", "hits='2'", "hits='0'", "not-held"),
        ("out/cobertura.xml", "hits='2'", "hit='2'", "unreadable"),
        (
            "out/cobertura.xml",
            "<line number='1' hits='2'/>",
            "",
            "empty",
        ),
        (
            "out/scan.sarif",
            "\"results\": []",
            "\"results\": [{\"level\": \"error\"}]",
            "not-held",
        ),
        (
            "out/scan.sarif",
            "\"results\": []",
            "\"findings\": []",
            "unreadable",
        ),
        (
            "out/scan.sarif",
            "\"name\": \"scanner\"",
            "\"name\": \"other\"",
            "not-held",
        ),
        ("out/scan.sarif", "2.1.0", "3.0.0", "unreadable"),
        ("out/speed.json", "\"p99_ms\"", "\"p99\"", "no-value"),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": null",
            "no-value",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": \"105\"",
            "type",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": \"105%\"",
            "unit",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": \"105s\"",
            "not-held",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": [105]",
            "type",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": NaN",
            "unreadable",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": 111",
            "not-held",
        ),
        (
            "out/speed.json",
            "\"p99_ms\": 105",
            "\"p99_ms\": 105, \"p99_ms\": 1",
            "unreadable",
        ),
        ("out/speed.json", "\"20ms\"", "20", "unit"),
        ("out/speed.json", "\"20ms\"", "\"20\"", "type"),
        ("out/speed.json", "\"20ms\"", "\"20MiB\"", "unit"),
        ("out/speed.json", "\"20ms\"", "\"20s\"", "not-held"),
        ("out/speed.json", "\"quiet\"", "\"busy\"", "not-held"),
        ("out/speed.json", "\"quiet\"", "[\"quiet\"]", "type"),
        (
            "out/speed.json",
            "\"calls\": 1000",
            "\"calls\": 999",
            "not-held",
        ),
        (
            "out/speed.json",
            "\"calls\": 1000",
            "\"calls\": \"1000\"",
            "condition",
        ),
        ("out/speed.json", "\"lost\": 0", "\"lost\": 1", "not-held"),
        (
            "out/speed.json",
            "\"lost\": 0",
            "\"losses\": 0",
            "condition",
        ),
        (
            "out/speed.json",
            "\"seed\": \"7\"",
            "\"seed\": \"\"",
            "empty",
        ),
        ("out/speed.json", "\"seed\"", "\"sead\"", "no-value"),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99_ms\": 0",
            "baseline",
        ),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99_ms\": -1",
            "baseline",
        ),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99\": 100",
            "baseline",
        ),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99_ms\": \"fast\"",
            "baseline",
        ),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99_ms\": \"100\"",
            "baseline",
        ),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99_ms\": \"100%\"",
            "unit",
        ),
        (
            "before/speed.json",
            "\"p99_ms\": 100",
            "\"p99_ms\": 90",
            "not-held",
        ),
        ("out/table.csv", "owner", "keeper", "no-value"),
        ("out/table.csv", "bob", "", "no-value"),
        ("out/table.csv", "c,cat,1", "c,cat,0", "not-held"),
        ("out/table.csv", "c,cat,1", "c,cat,soon", "type"),
        ("out/table.csv", "c,cat,1", "c,cat", "unreadable"),
        ("out/table.csv", "\nc,cat,1", "", "not-held"),
        (
            "out/table.csv",
            "name,owner,left",
            "name,left,left",
            "unreadable",
        ),
        ("out/review.json", "\"bob\"", "\"ann\"", "not-held"),
        ("out/review.json", "APPROVED", "COMMENTED", "not-held"),
        (
            "out/review.json",
            "APPROVED",
            "CHANGES_REQUESTED",
            "not-held",
        ),
        (
            "out/review.json",
            "\"commit_id\": \"abc\"",
            "\"commit_id\": \"old\"",
            "not-held",
        ),
        ("out/review.json", "\"reviews\"", "\"review\"", "no-value"),
        ("out/review.json", "pull_request", "push", "unreadable"),
    ];
    let mut all = Vec::new();
    for (path, from, to, says) in table {
        let whole = text(path);
        assert!(whole.contains(from), "{path} holds {from}");
        all.push(mutant(format!("{path}: {from} is {to}"), says, |it| {
            it.world.file(path, &whole.replacen(from, to, 1), 0);
        }));
    }
    none_passes(all, 55);
}

#[test]
fn commands_repositories_and_records_that_say_no_block() {
    let mut all = Vec::new();
    for (ending, says) in [
        (Ending::Exit(1), "exit not-held"),
        (Ending::Exit(101), "exit not-held"),
        (Ending::Exit(-1), "exit not-held"),
        (Ending::Signal(9), "exit command"),
        (Ending::TimeOut, "exit time-out"),
        (
            Ending::NotStarted("no such file".to_owned()),
            "exit command",
        ),
        (Ending::Stopped, "exit stopped"),
    ] {
        all.push(mutant(format!("{ending:?}"), says, |it| {
            it.world.ending = ending.clone()
        }));
    }
    all.push(mutant("no repository", "missing", |it| it.world.git = None));
    let members = [
        "branch",
        "clean",
        "tracked",
        "commits",
        "changes",
        "added_lines",
    ];
    for name in members {
        all.push(mutant(
            format!("git does not tell {name}"),
            "no-value",
            |it| {
                let git = it.world.git.as_mut().and_then(Value::as_object_mut);
                git.expect("a mapping").remove(name);
            },
        ));
    }
    let said: [(&str, Value, &str); 10] = [
        ("branch", json!("my/stuff"), "not-held"),
        ("branch", json!("x/feature/y"), "not-held"),
        ("branch", json!(""), "not-held"),
        ("clean", json!(false), "not-held"),
        ("tracked", json!([]), "empty"),
        ("tracked", json!(["a.pem"]), "not-held"),
        ("commits", json!([]), "empty"),
        ("commits", json!([{"subject": "wip"}]), "not-held"),
        ("commits", json!([{"title": "a: b"}]), "no-value"),
        ("changes", json!({"lines": 501}), "not-held"),
    ];
    for (name, value, says) in said {
        all.push(mutant(format!("git: {name} is {value}"), says, |it| {
            let git = it.world.git.as_mut().and_then(Value::as_object_mut);
            git.expect("a mapping").insert(name.to_owned(), value);
        }));
    }
    all.push(mutant("no record", "not-run", |it| {
        it.world.records.clear()
    }));
    all.push(mutant("a record of other words", "not-run", |it| {
        it.world.records.first_mut().expect("a record").0.pop();
    }));
    for code in [Code::Unreadable, Code::NothingRan, Code::Empty] {
        all.push(mutant(
            format!("the newest record: {}", code.word()),
            code.word(),
            |it| {
                let words = it.world.records.first().expect("a record").0.clone();
                it.world
                    .records
                    .push((words, Err(Absent::new(code, "so it is"))));
            },
        ));
    }
    let values = [
        json!({"verdict": "FAIL", "tests": {"ran": 10}, "cases": ["heartbeat-lost"]}),
        json!({"verdict": "INVALID", "tests": {"ran": 10}, "cases": ["heartbeat-lost"]}),
        json!({"verdict": "KNOWN", "tests": {"ran": 10}, "cases": ["heartbeat-lost"]}),
        json!({"verdict": "pass", "tests": {"ran": 10}, "cases": ["heartbeat-lost"]}),
        json!({"tests": {"ran": 10}, "cases": ["heartbeat-lost"]}),
        json!({"verdict": "PASS", "tests": {"ran": 9}, "cases": ["heartbeat-lost"]}),
        json!({"verdict": "PASS", "tests": {"ran": 10}, "cases": []}),
        json!({"verdict": "PASS", "tests": {"ran": 10}}),
        json!({"verdict": "PASS"}),
        json!(null),
    ];
    for value in values {
        all.push(mutant(
            format!("the record says {value}"),
            "stories/",
            |it| {
                let (_, facts) = it.world.records.first_mut().expect("a record");
                facts.as_mut().expect("it can be read").values = value;
            },
        ));
    }
    none_passes(all, 38);
}

#[test]
fn rules_that_are_broken_or_say_nothing_are_no_gate() {
    let table: &[(&str, &str, &str)] = &[
        (RULES, "", "gate::nothing"),
        (RULES, "# nothing\n", "gate::nothing"),
        (RULES, "checkpoints: {}", "gate::nothing"),
        (RULES, "extends: []", "gate::nothing"),
        (RULES, "extends: [rust@stable]", "gate::pack"),
        ("owner: team", "", "gate::owner"),
        ("owner: team", "owner: ''", "gate::owner"),
        ("checkpoints:", "checkpoint:", "input::unknown_key"),
        ("at-most: 0}", "at-moust: 0}", "input::unknown_key"),
        ("at-most: 0}", "at-most: }", "gate::"),
        ("at-most: 0}", "at-most: none}", "gate::limit"),
        ("at-most: 0}", "at-most: 0, at-least: 0}", "gate::rule"),
        (
            "value: tests.failed, at-most: 0",
            "value: tests.failed",
            "gate::rule",
        ),
        (
            "value: tests.failed, at-most: 0",
            "at-most: 0",
            "gate::rule",
        ),
        ("value: tests.failed", "value: tests..failed", "gate::value"),
        ("value: tests.failed", "value: tests.failled", "no-value"),
        ("value: tests.failed", "value: test.failed", "no-value"),
        ("value: tests.failed", "value: tests", "type"),
        (
            "value: tests.errors",
            "value: tests.failed",
            "gate::rule_id",
        ),
        ("at-least: 2}", "at-least: 3}", "not-held"),
        (
            "- {fresh: 1h}\n      - {value: lines",
            "- {value: lines",
            "gate::fresh",
        ),
        ("fresh: 1h", "fresh: 1", "gate::time"),
        ("fresh: 1h", "fresh: soon", "gate::time"),
        ("fresh: 1h", "fresh: 1MiB", "gate::time"),
        ("fresh: 24h", "fresh: 30m", "stale"),
        (
            "ran: [\"suite::one\", \"suite::t*\"]",
            "ran: []",
            "gate::rule",
        ),
        ("\"suite::t*\"", "\"suite::three\"", "case-not-run"),
        ("present: [seed]", "present: []", "gate::rule"),
        (
            "limits: [\"<=+10%\", \"<250ms\"]",
            "limits: []",
            "gate::limit",
        ),
        ("\"<250ms\"", "\"<250\"", "gate::unit"),
        ("\"<250ms\"", "\"<250%\"", "gate::unit"),
        ("\"<250ms\"", "\"<105ms\"", "not-held"),
        ("\"<250ms\"", "\"250ms\"", "gate::limit"),
        ("\"<=+10%\"", "\"<=+4%\"", "not-held"),
        ("\"<=+10%\"", "\"<=+10\"", "gate::unit"),
        (
            "    baseline: {json: before/speed.json}\n",
            "",
            "gate::baseline",
        ),
        (
            "json: before/speed.json",
            "json: before/other.json",
            "baseline",
        ),
        ("at-most: 100ms", "at-most: 100", "unit"),
        ("at-most: 100ms", "at-most: 100parsecs", "gate::limit"),
        ("at-most: 100ms", "at-most: 10ms", "not-held"),
        (
            "calls >= 1000 && lost == 0",
            "calls >= 1000 &&",
            "gate::condition",
        ),
        (
            "calls >= 1000 && lost == 0",
            "calls = 1000",
            "gate::condition",
        ),
        ("calls >= 1000 && lost == 0", "calls", "condition"),
        ("calls >= 1000 && lost == 0", "true", "gate::condition"),
        ("calls >= 1000 && lost == 0", "", "gate::empty"),
        ("calls >= 1000 && lost == 0", "cals >= 1000", "condition"),
        ("\"feature/.+\"", "\"feature/(.+\"", "gate::pattern"),
        ("\"feature/.+\"", "\"\"", "gate::empty"),
        ("\"feature/.+\"", "\"feature\"", "not-held"),
        ("after: [build]", "after: [biuld]", "gate::after"),
        ("after: [build]", "after: [coverage]", "gate::circle"),
        ("after: [build]", "after: [unit]", "gate::circle"),
        ("command: [make]", "command: []", "gate::command"),
        ("command: [make]", "command: make", "input::wrong_type"),
        ("within: 5m", "within: 0s", "gate::time"),
        ("within: 5m", "within: 25h", "gate::time"),
        (
            "run: {command: [make], within: 5m, artefacts: [out/program]}",
            "about: x",
            "gate::no_evidence",
        ),
        (
            "artefacts: [out/program]",
            "artefacts: [out/other]",
            "missing",
        ),
        ("read: {sarif: out/scan.sarif}", "read: {}", "gate::read"),
        (
            "read: {sarif: out/scan.sarif}",
            "read: {sarif: out/scan.sarif, json: x}",
            "gate::read",
        ),
        (
            "read: {sarif: out/scan.sarif}",
            "read: {sarif: ''}",
            "gate::empty",
        ),
        (
            "read: {sarif: out/scan.sarif}",
            "read: {sarif: 'out/[scan'}",
            "gate::path",
        ),
        (
            "read: {sarif: out/scan.sarif}",
            "read: {sarif: out/scan.json}",
            "missing",
        ),
        (
            "read: {sarif: out/scan.sarif}",
            "read: {sarif: out/scan.sarif, change: true}",
            "gate::read",
        ),
        ("words: [run, all]", "words: []", "gate::record"),
        ("words: [run, all]", "words: [run, some]", "not-run"),
        ("${least}", "${leest}", "gate::parameter"),
        ("${least}", "${least", "gate::parameter"),
        ("least: 80%", "least: 101%", "not-held"),
        ("least: 80%", "least: [80%]", "gate::parameter"),
        ("least: 80%", "least: ''", "gate::limit"),
        ("least: 80%", "least: 80%, rust.least: 3", "gate::parameter"),
        ("  build:", "  unit:", "input::duplicate_key"),
        ("  build:", "  'bu ild':", "gate::name"),
        (
            "expires: 2027-01-01",
            "expires: 2026-11-01",
            "waiver-expired",
        ),
        ("expires: 2027-01-01", "expires: soon", "gate::waiver"),
        ("expires: 2027-01-01", "expires: 2027-02-30", "gate::waiver"),
        ("expires: 2027-01-01", "expires: never", "gate::waiver"),
        (", expires: 2027-01-01", "", "input::missing_key"),
        ("rule: classes/fresh", "rule: classes/fersh", "gate::waiver"),
        ("rule: classes/fresh", "rule: '*'", "gate::waiver"),
        ("owner: ann", "owner: ''", "gate::waiver"),
        (
            "reason: the clock of the builder",
            "reason: ' '",
            "gate::waiver",
        ),
        (
            "reason: the clock of the builder",
            "reason: x, codes: [all]",
            "gate::waiver",
        ),
        (
            "reason: the clock of the builder",
            "reason: x, codes: [not-reached]",
            "gate::waiver",
        ),
        (
            "owner: team",
            "owner: team\nowner: other",
            "input::duplicate_key",
        ),
        ("owner: team", "owner: [team", "input::"),
        ("owner: team", "\towner: team", "input::"),
    ];
    let mut all = Vec::new();
    for (from, to, says) in table {
        assert!(RULES.contains(from), "the rules hold {from}");
        all.push(mutant(format!("{from:.60} is {to}"), says, |it| {
            it.rules = RULES.replacen(from, to, 1);
        }));
    }
    none_passes(all, 80);
}

#[test]
fn a_waiver_covers_what_it_names_and_nothing_else() {
    let waiver = |rule: &str, more: &str| {
        let old = "{rule: classes/fresh,";
        RULES.replace(old, &format!("{{rule: {rule}, {more}"))
    };
    let mut failing = Project::whole();
    failing.world.file(
        "out/speed.json",
        &text("out/speed.json").replace("105", "500"),
        0,
    );
    failing.rules = waiver("speed/p99", "");
    assert_eq!(failing.told(), (0, Vec::new()), "what is known passes");
    let mutants = vec![
        mutant(
            "the waiver is of another rule",
            "speed/p99 not-held",
            |it| {
                it.world = failing.world.clone();
                it.rules = waiver("speed/p50", "");
            },
        ),
        mutant(
            "the result is lost, and its failure is known",
            "missing",
            |it| {
                it.rules = waiver("speed/p99", "");
                it.world.files.remove("out/speed.json");
            },
        ),
        mutant(
            "the value is lost, and its failure is known",
            "no-value",
            |it| {
                it.rules = waiver("speed/p99", "");
                let renamed = text("out/speed.json").replace("p99_ms", "p99");
                it.world.file("out/speed.json", &renamed, 0);
            },
        ),
        mutant("the waiver is for another code", "not-held", |it| {
            it.world = failing.world.clone();
            it.rules = waiver("speed/p99", "codes: [no-value],");
        }),
        mutant(
            "the exit is known, and the result is lost",
            "missing",
            |it| {
                it.rules = waiver("unit/exit", "").replace("[make],", "[make], exits: [0, 1],");
                it.world.ending = Ending::Exit(1);
                it.world.files.remove("out/junit.xml");
            },
        ),
        mutant("the waiver ended yesterday", "waiver-expired", |it| {
            it.world = failing.world.clone();
            it.rules = waiver("speed/p99", "").replace("2027-01-01", "2026-11-17");
        }),
    ];
    none_passes(mutants, 6);
}
