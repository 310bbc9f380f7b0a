//! The release page: every kind of answer, and that nothing in it is more than text.

use meshproof_ci::check::check;
use meshproof_ci::file::Source;
use meshproof_ci::memory::Memory;
use meshproof_ci::outcome::{Code, Outcome};
use meshproof_ci::pack::{Snapshot, shipped};
use meshproof_ci::release::{About, Answer, Change, Difference, Earlier, Release, Standing, Term};
use meshproof_ci::report;
use meshproof_ci::world::{Absent, Facts};
use meshproof_record::verdict::{End, Policy, exit_code};
use serde_json::{Value, json};

/// 2026-11-24 05:30:00 UTC.
pub(super) const NOW_NS: i128 = 1_795_498_200_000_000_000;
pub(super) const HOUR_NS: i128 = 3_600_000_000_000;

pub(super) const RULES: &str = "extends: [release@stable]\nowner: payments\n";

/// Everything that the pack asks for, as it should be.
pub(super) fn world() -> Memory {
    let mut world = Memory::new(NOW_NS);
    let mut record = |line: &[&str], values: Value| {
        let facts = Facts {
            values,
            made_unix_ns: Some(NOW_NS - 2 * HOUR_NS),
            place: format!("meshproof-runs/{}", line.join("-")),
        };
        let line = line.iter().map(|word| (*word).to_owned()).collect();
        world.records.push((line, Ok(facts)));
    };
    let told = |ran: u64| json!({"planned": ran, "ran": ran, "passed": ran, "open": 0});
    record(
        &["run", "scenarios"],
        json!({"verdict": "PASS", "exit": 0, "seed": 7, "tests": told(31)}),
    );
    record(
        &["run", "scenarios", "--prove"],
        json!({"verdict": "PASS", "tests": told(240)}),
    );
    record(
        &["run", "scenarios/faults"],
        json!({"verdict": "PASS", "tests": told(27)}),
    );
    record(
        &["matrix", "mixed-mesh"],
        json!({"verdict": "PASS", "certificate": {"missing": 0, "ran": 412, "planned": 412}}),
    );
    record(
        &["replay", "calls.pcap"],
        json!({"verdict": "PASS", "replay": {"differing": 0, "calls": 612}}),
    );
    let speed = r#"{"p99_ms": 12.5, "per_second": 20100}"#;
    world.file("bench/result.json", speed, HOUR_NS);
    world.file("bench/baseline.json", speed, 900 * HOUR_NS);
    let fleet = r#"{"stragglers": 0, "problem_versions": 0}"#;
    world.file("fleet.json", fleet, HOUR_NS);
    world.file("known.csv", "name,owner,days_left\na,ann,30\n", HOUR_NS);
    world
}

fn outcome(rules: &str, world: &Memory) -> Outcome {
    let packs = Snapshot::load(0, &shipped()).expect("they prove themselves");
    let gate = meshproof_ci::compile(&Source::new("meshproof.yaml", rules), &packs);
    let gate = gate.unwrap_or_else(|problem| panic!("{problem}"));
    check(&gate, world, 2, &|| false, &|_| {})
}

fn release_of(outcome: Outcome, earlier: &Earlier) -> Release {
    let exit = exit_code(&outcome.claims(), End::Finished, &Policy::USUAL);
    let about = About {
        version: Some("1.4.0".to_owned()),
        commit: Some("main 1a2b3c4d5e6f".to_owned()),
        record: "meshproof-runs/gate".to_owned(),
        pack: "release".to_owned(),
        exit,
    };
    Release::of(outcome, about, earlier)
}

pub(super) fn release(rules: &str, world: &Memory) -> Release {
    release_of(outcome(rules, world), &Earlier::NotAsked)
}

/// Every form that people read.
fn forms(release: &Release) -> [String; 3] {
    [
        report::page(release),
        report::markdown(release),
        report::release(release),
    ]
}

fn standing(release: &Release, name: &str) -> Standing {
    let found = release.areas.iter().find(|area| area.name == name);
    found
        .unwrap_or_else(|| panic!("{name} is an area"))
        .standing
}

/// Takes the world that ships, breaks one thing, and says what is told of it.
#[track_caller]
fn check_block(
    area: &str,
    wanted: Standing,
    rule: &str,
    code: Code,
    exit: u8,
    change: impl FnOnce(&mut Memory),
) {
    let mut world = world();
    change(&mut world);
    let told = release(RULES, &world);
    assert_eq!(told.answer, Answer::DoNotShip, "{:?}", told.reasons);
    assert_eq!(told.exit, exit);
    assert_eq!(standing(&told, area), wanted);
    let reason = told.reasons.first().expect("a reason");
    assert_eq!(
        (reason.rules.as_slice(), reason.code),
        (&[rule.to_owned()][..], code)
    );
    assert_eq!(reason.owner, "release-manager");
    assert_eq!(reason.fixes.len(), 1);
    let others = told.areas.iter().filter(|it| it.name != area);
    for other in others {
        assert_eq!(other.standing, Standing::Pass, "{}", other.name);
    }
    for form in forms(&told) {
        assert!(form.contains("DO NOT SHIP"), "{form}");
        assert!(form.contains(wanted.word()), "{form}");
        assert!(form.contains(code.word()), "{form}");
        assert!(form.contains("release-manager"), "{form}");
    }
}

pub(super) fn record_of<'a>(world: &'a mut Memory, word: &str) -> &'a mut Result<Facts, Absent> {
    let mut all = world.records.iter_mut();
    let found = all.find(|(line, _)| line.last().is_some_and(|it| it == word));
    &mut found.expect("a record").1
}

pub(super) fn facts_of<'a>(world: &'a mut Memory, word: &str) -> &'a mut Facts {
    record_of(world, word).as_mut().expect("facts")
}

#[test]
fn all_that_is_asked_for_ships() {
    let told = release(RULES, &world());
    assert_eq!(told.answer, Answer::Ship, "{:?}", told.reasons);
    assert_eq!(told.exit, 0);
    let names: Vec<&str> = told.areas.iter().map(|it| it.name.as_str()).collect();
    let wanted = [
        "scenarios",
        "prove",
        "matrix",
        "replay",
        "faults",
        "performance",
        "fleet",
        "known",
    ];
    assert_eq!(names, wanted);
    assert_eq!(told.sentence, "8 of 8 areas shown");
    assert!(told.not_run.is_empty() && told.reasons.is_empty());
    let suite = told.areas.first().expect("an area");
    assert_eq!(suite.figures, "tests.ran 31 · tests.open 0");
    assert_eq!(suite.age, "2h");
    assert_eq!(suite.place, "meshproof-runs/run-scenarios");
    for form in forms(&told) {
        assert!(form.contains("SHIP 1.4.0"), "{form}");
        assert!(form.contains("2026-11-24 05:30:00 UTC"), "{form}");
    }
}

#[test]
fn every_kind_of_block_is_told() {
    check_block(
        "faults",
        Standing::Fail,
        "release/faults/verdict",
        Code::NotHeld,
        1,
        |world| facts_of(world, "scenarios/faults").values["verdict"] = "FAIL".into(),
    );
    check_block(
        "matrix",
        Standing::NotRun,
        "release/matrix/result",
        Code::NotRun,
        3,
        |world| world.records.retain(|(line, _)| line[0] != "matrix"),
    );
    check_block(
        "replay",
        Standing::Invalid,
        "release/replay/fresh",
        Code::Stale,
        3,
        |world| facts_of(world, "calls.pcap").made_unix_ns = Some(NOW_NS - 30 * HOUR_NS),
    );
    check_block(
        "prove",
        Standing::Invalid,
        "release/prove/result",
        Code::Unreadable,
        3,
        |world| {
            let why = "meshproof-runs/x: the run was cut off: it has no manifest";
            *record_of(world, "--prove") = Err(Absent::new(Code::Unreadable, why));
        },
    );
    check_block(
        "fleet",
        Standing::NotRun,
        "release/fleet/result",
        Code::Missing,
        3,
        |world| {
            world.files.remove("fleet.json");
        },
    );
    check_block(
        "performance",
        Standing::Fail,
        "release/performance/p99_ms",
        Code::NotHeld,
        1,
        |world| {
            let slow = r#"{"p99_ms": 14.1, "per_second": 20100}"#;
            world.file("bench/result.json", slow, HOUR_NS);
        },
    );
}

/// A record that cannot be read may be that of any area: one reason, and all of its rules.
#[test]
fn one_cause_is_one_reason() {
    let mut world = world();
    for word in ["scenarios", "--prove", "mixed-mesh"] {
        let why = "meshproof-runs/x cannot be read";
        *record_of(&mut world, word) = Err(Absent::new(Code::Unreadable, why));
    }
    let told = release(RULES, &world);
    let [reason] = told.reasons.as_slice() else {
        panic!("{:?}", told.reasons);
    };
    assert_eq!((reason.rules.len(), reason.fixes.len()), (3, 3));
    assert!(
        told.sentence
            .starts_with("3 rules block; 5 of 8 areas shown")
    );
}

/// The suite of faults and the proof are no evidence for the suite of stories.
#[test]
fn a_record_stands_for_its_own_area_alone() {
    let mut without = world();
    drop(without.records.remove(0));
    let told = release(RULES, &without);
    assert_eq!(standing(&told, "scenarios"), Standing::NotRun);
    assert_eq!(standing(&told, "prove"), Standing::Pass);
    assert_eq!(standing(&told, "faults"), Standing::Pass);
}

#[test]
fn waivers_are_told_by_the_days_that_they_have_left() {
    let waivers = "waivers:
  - {rule: release/faults/verdict, owner: ann, reason: one is known, expires: 2026-12-01}
  - {rule: release/fleet/stragglers, owner: bob, reason: two pods are old, expires: 2027-03-01}
";
    let mut world = world();
    facts_of(&mut world, "scenarios/faults").values["verdict"] = "FAIL".into();
    let told = release(&format!("{RULES}{waivers}"), &world);
    assert_eq!(told.answer, Answer::Ship, "{:?}", told.reasons);
    assert_eq!(standing(&told, "faults"), Standing::Waived);
    assert_eq!(
        told.sentence,
        "8 of 8 areas shown, 1 by a waiver, 1 waiver ends within 14 days"
    );
    let [soon, later] = told.waivers.as_slice() else {
        panic!("{:?}", told.waivers);
    };
    assert_eq!((soon.term, soon.covers), (Term::Soon(7), true));
    assert_eq!((later.term, later.covers), (Term::InForce(97), false));
    for form in forms(&told) {
        assert!(form.contains("ends in 7 days"), "{form}");
    }
    let over = waivers.replace("2026-12-01", "2026-11-23");
    let told = release(&format!("{RULES}{over}"), &world);
    assert_eq!((told.answer, told.exit), (Answer::DoNotShip, 1));
    assert_eq!(told.waivers[0].term, Term::Expired);
    let codes: Vec<Code> = told.reasons.iter().map(|it| it.code).collect();
    assert!(codes.contains(&Code::WaiverExpired), "{codes:?}");
    let today = waivers.replace("2026-12-01", "2026-11-24");
    let told = release(&format!("{RULES}{today}"), &world);
    assert_eq!(told.waivers[0].term(), "ends today");
}

#[test]
fn what_is_off_is_told_and_all_off_is_nothing_to_judge() {
    let areas = [
        "scenarios",
        "prove",
        "matrix",
        "replay",
        "faults",
        "performance",
        "fleet",
    ];
    let off = |areas: &[&str]| {
        let lines: String = areas
            .iter()
            .map(|area| format!("  release.{area}: \"off\"\n"))
            .collect();
        format!("{RULES}parameters:\n{lines}")
    };
    let told = release(&off(&areas), &world());
    assert_eq!(told.answer, Answer::Ship);
    assert_eq!(told.sentence, "1 of 8 areas shown, 7 not asked for");
    assert_eq!(told.not_run.len(), 7);
    let told = release(&off(&[&areas[..], &["known"]].concat()), &world());
    assert_eq!((told.answer, told.exit), (Answer::NotApplicable, 3));
    for form in forms(&told) {
        assert!(form.contains("NOT APPLICABLE"), "{form}");
        assert!(form.contains("nothing to judge: 8 areas of"), "{form}");
    }
    let none = "owner: payments\ncheckpoints:\n  a: {run: {command: [a]}}\n";
    let told = release(none, &world());
    assert_eq!((told.answer, told.exit), (Answer::NotApplicable, 3));
    assert!(
        told.sentence.contains("extend no pack `release`"),
        "{}",
        told.sentence
    );
    // A block is told, whatever else there is.
    let mut failing = world();
    failing.ending = meshproof_ci::world::Ending::Exit(1);
    let told = release(none, &failing);
    assert_eq!((told.answer, told.exit), (Answer::DoNotShip, 1));
}

#[test]
fn what_is_not_as_in_the_release_before_is_told() {
    let before = outcome(RULES, &world());
    let earlier = Earlier::Found {
        label: "1.3.0".to_owned(),
        outcome: Box::new(before),
    };
    let same = release_of(outcome(RULES, &world()), &earlier);
    assert!(same.difference.is_none(), "{:?}", same.difference);
    let mut now = world();
    facts_of(&mut now, "scenarios").values["tests"]["ran"] = 24.into();
    let speed = r#"{"p99_ms": 13.1, "per_second": 20000}"#;
    now.file("bench/result.json", speed, HOUR_NS);
    now.records.retain(|(line, _)| line[0] != "matrix");
    let rules = format!("{RULES}parameters: {{release.age: 12h, release.stories: 20}}\n");
    let told = release_of(outcome(&rules, &now), &earlier);
    let Difference::Against {
        label,
        verdicts,
        figures,
        rules,
        packs,
        ..
    } = &told.difference
    else {
        panic!("{:?}", told.difference);
    };
    assert_eq!(label, "1.3.0");
    assert!(packs.is_none());
    let verdicts: Vec<(&str, &str, &str)> = verdicts
        .iter()
        .map(|it| (it.name.as_str(), it.before.as_str(), it.now.as_str()))
        .collect();
    assert_eq!(verdicts, [("release/matrix", "PASS", "NOT RUN")]);
    let figures: Vec<(&str, String)> = figures
        .iter()
        .map(|it| (it.name.as_str(), it.text()))
        .collect();
    let wanted = [
        ("release/scenarios tests.ran", "31 → 24 (-23 %)"),
        ("release/performance p99_ms", "12.500 → 13.100 (+4.8 %)"),
        ("release/performance per_second", "20100 → 20000 (-0.5 %)"),
    ];
    assert_eq!(figures, wanted.map(|(name, text)| (name, text.to_owned())));
    let other = |rule: &str, was: &str, is: &str| Change::Other {
        rule: rule.to_owned(),
        before: was.to_owned(),
        now: is.to_owned(),
    };
    assert_eq!(rules.len(), 9, "{rules:?}");
    let stories = other(
        "release/scenarios/tests.ran",
        "tests.ran >= 10",
        "tests.ran >= 20",
    );
    assert!(rules.contains(&stories), "{rules:?}");
    let age = other(
        "release/known/fresh",
        "no older than 24h",
        "no older than 12h",
    );
    assert!(rules.contains(&age), "{rules:?}");
    for form in forms(&told) {
        assert!(form.contains("Since 1.3.0"), "{form}");
    }
    let none = Earlier::None("none was shipped".to_owned());
    let told = release_of(outcome(RULES, &world()), &none);
    for form in forms(&told) {
        assert!(form.contains("none was shipped."), "{form}");
    }
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let mut told = release(RULES, &world());
    let text = report::release_json(&told);
    let again: Release = serde_json::from_str(&text).expect("it is its own form");
    assert_eq!(report::release_json(&again), text);
    assert_eq!(forms(&again), forms(&told));
    // What the rules and results hold is one thing, how long it took another.
    let second = release(RULES, &world());
    assert_eq!(forms(&second), forms(&told));
    told.version = None;
    assert_ne!(forms(&second), forms(&told));
}

/// What a name or a message of a result may try.
const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</table></main><h1>SHIP</h1>",
    "| **SHIP** | a |\n| b | c |",
    "[here](https://evil.example) ![x](http://evil.example/x.png)",
    "@everyone #1 !2 www.evil.example",
    "`` ` ``` code",
    "\u{1b}[2J\u{202e}tricks",
    "&lt;b&gt; {{ 7 * 7 }} <!-- -->",
];

/// Markdown without its code spans, found as CommonMark finds them: from a run of backticks that
/// no backslash takes away to the next run of the same length.
fn without_code(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown;
    while let Some(at) = rest.find('`') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let run = after.len() - after.trim_start_matches('`').len();
        if before.ends_with('\\') {
            out.push('`');
            rest = &after[1..];
            continue;
        }
        let mut from = run;
        let end = loop {
            let Some(next) = after[from..].find('`').map(|at| at + from) else {
                break None;
            };
            let length = after[next..].len() - after[next..].trim_start_matches('`').len();
            if length == run {
                break Some(next + length);
            }
            from = next + length;
        };
        let end = end.unwrap_or_else(|| panic!("a code span has no end: {after}"));
        assert!(
            !after[..end].contains('\n'),
            "a code span is longer than its line: {after}"
        );
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[test]
fn text_of_results_stays_text() {
    for hostile in HOSTILE {
        let mut world = world();
        let facts = facts_of(&mut world, "scenarios/faults");
        facts.values["verdict"] = hostile.into();
        facts.place = format!("runs/{hostile}");
        let why = format!("it said {hostile}");
        *record_of(&mut world, "--prove") = Err(Absent::new(Code::Unreadable, why));
        let earlier = Earlier::Found {
            label: hostile.to_owned(),
            outcome: Box::new(outcome(RULES, &self::world())),
        };
        let told = release_of(outcome(RULES, &world), &earlier);
        assert_eq!(told.answer, Answer::DoNotShip);
        let [page, markdown, _] = forms(&told);
        let plain = forms(&release(RULES, &self::world()))[0].clone();
        for tag in [
            "<script", "<img", "<h1", "<!--", "</main", "\u{1b}", "\u{202e}",
        ] {
            assert_eq!(
                page.matches(tag).count(),
                plain.matches(tag).count(),
                "{tag} of {hostile}: {page}"
            );
            let text = without_code(&markdown);
            assert!(!text.contains(tag), "{tag} of {hostile}: {text}");
        }
        for live in [
            "](http",
            "@everyone",
            "#1 ",
            "!2 ",
            "www.evil",
            "| **SHIP**",
        ] {
            let text = without_code(&markdown);
            assert!(!text.contains(live), "{live} of {hostile}: {text}");
        }
        // A row is a row: as many bars as its head, bars of others behind a backslash.
        let mut bars = 0;
        for line in markdown.lines() {
            let here = line
                .replace("\\\\", "")
                .replace("\\|", "")
                .matches('|')
                .count();
            match (line.starts_with('|'), line.contains("|---|")) {
                (true, true) => bars = here,
                (true, false) if bars > 0 => assert_eq!(here, bars, "{line}"),
                (true, false) => {}
                (false, _) => bars = 0,
            }
        }
    }
}
