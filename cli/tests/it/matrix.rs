//! Matrices: the shipped one, its blame, and other backends and users.

use std::path::Path;

use meshproof_record::case::Blame;
use meshproof_record::event::Event;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;
use serde_json::Value;

use crate::peer::{command, skipped};

const OWN: &str = env!("CARGO_BIN_EXE_meshproof");

/// The mixed fleet in a few cells: what the historic bugs need, and their neighbours.
pub(crate) const SMALL: &str = "\
matrix: small
axes:
  client: {mesh: [none, reference]}
  providers: [[bolt-v1], [bolt-v1, tr]]
  registry_order: [as-is, reversed]
require:
  - size(providers) > 1 || registry_order == \"as-is\"
cover: {strength: 3, seed: 1}
cell: {calls: 16, budget: 60s}
";

/// One run of a matrix: its exit code and its record.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) told: String,
    folder: tempfile::TempDir,
}

impl Run {
    /// Behind whatever is to stand in front of the program.
    pub(crate) fn of(front: &[&str], matrix: &str, arguments: &[&str]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        // An ordinary user writes into it too.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let file = folder.path().join("small.yaml");
        std::fs::write(&file, matrix).unwrap();
        let record = folder.path().join("record");
        let words: Vec<&str> = front.iter().copied().chain([OWN, "matrix"]).collect();
        let output = command(words[0])
            .args(&words[1..])
            .arg(&file)
            .arg("--record")
            .arg(&record)
            .args(arguments)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        Run {
            code: output.status.code().unwrap_or(-1),
            told,
            folder,
        }
    }

    fn record(&self) -> Record {
        Record::open(&self.folder.path().join("record")).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let record = self.record();
        let events = record.events().unwrap();
        events.map(|entry| entry.unwrap().event).collect()
    }

    pub(crate) fn blames(&self) -> Vec<Blame> {
        let blamed = |event| match event {
            Event::Blamed { blame } => Some(blame),
            _ => None,
        };
        self.events().into_iter().filter_map(blamed).collect()
    }

    /// This machine has no namespaces for us: said aloud.
    pub(crate) fn is_unsupported(&self) -> bool {
        if self.code == 4 {
            skipped(&format!("needs namespaces: {}", self.told));
        }
        self.code == 4
    }
}

#[test]
fn a_mixed_fleet_passes_and_its_cells_leave_nothing_in_the_record() {
    let run = Run::of(&[], SMALL, &[]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 0, "{}", run.told);
    let ended = run.events().into_iter().filter_map(|event| match event {
        Event::CaseEnded { case } => Some(case),
        _ => None,
    });
    let ended: Vec<_> = ended.collect();
    assert_eq!(ended.len(), 6, "{}", run.told);
    for case in &ended {
        assert_eq!(case.verdict, Verdict::Pass, "{case:?}");
        assert!(case.evidence.is_empty(), "{case:?}");
        for claim in ["apps", "answers", "ledger"] {
            let found = case.claims.iter().find(|one| one.name == claim).unwrap();
            assert_eq!(found.verdict, Verdict::Pass, "{found:?}");
        }
    }
    let record = run.folder.path().join("record");
    assert!(!record.join("cells").exists(), "the scratch folder is left");
}

#[test]
fn the_incident_is_blamed_on_the_smallest_combination() {
    let run = Run::of(&[], SMALL, &["--bug", "tr-bolt-mixed"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{}", run.told);
    let blames = run.blames();
    let first = blames.first().expect("a cause");
    let because: Vec<String> = first
        .because
        .iter()
        .map(|choice| format!("{}={}", choice.axis, choice.value))
        .collect();
    assert_eq!(
        because,
        [
            "client.mesh=reference",
            "providers=[bolt-v1,tr]",
            "registry_order=as-is"
        ]
    );
    assert!(first.minimal, "{first:?}");
    assert!(
        first.evidence.contains("`Invalid protocol header:1`"),
        "{first:?}"
    );
    assert_eq!(blames.len(), 1, "{blames:?}");
    // It is the first line of the report.
    let line = run.told.lines().find(|line| line.starts_with("FAIL  "));
    let line = line.expect("a verdict");
    assert!(line.contains("client.mesh=reference"), "{line}");
    // What a reader needs to see it is kept.
    let cell = first.fails.first().expect("a cell");
    let detail = run.folder.path().join("record/artefacts").join(cell);
    let packets = detail.join("client.0001.pcapng").is_file();
    let detail = std::fs::read(detail.join("detail.json")).unwrap();
    let detail: Value = serde_json::from_slice(&detail).unwrap();
    assert!(detail["pods"].as_array().unwrap().len() >= 4, "{detail}");
    // On the wire: requests at both ends of a sidecar, and the answers, of which no journal tells.
    let frames = detail["frames"].as_array().unwrap();
    for (port, kind) in [(12220, "request"), (12200, "request"), (12220, "response")] {
        let is_it = |frame: &&Value| frame["port"] == port && frame["kind"] == kind;
        assert!(
            frames.iter().any(|it| is_it(&it)),
            "{port} {kind}: {detail}"
        );
    }
    assert!(packets, "{detail}");
    // The app's word on it stands beside them.
    let moments = detail["timeline"].as_array().unwrap();
    let refused = |moment: &Value| {
        let what = moment["what"].as_str().unwrap_or_default();
        what.contains("refused a frame") && what.contains("Invalid protocol header:1")
    };
    assert!(moments.iter().any(refused), "{detail}");
}

/// One provider, both sides with a sidecar: enough for each of these bugs.
fn one(providers: &str, call: &str) -> String {
    format!(
        "matrix: one\naxes:\n  client: {{mesh: [reference]}}\n  server: {{mesh: [none]}}\n  \
         providers: [[{providers}]]\n  call: [{call}]\ncell: {{calls: 16, budget: 60s}}\n"
    )
}

#[track_caller]
fn check(bug: &str, providers: &str, call: &str, evidence: &str) {
    let run = Run::of(&[], &one(providers, call), &["--bug", bug]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{bug}: {}", run.told);
    assert!(run.told.contains(evidence), "{bug}: {}", run.told);
}

#[test]
fn other_historic_bugs_show_in_a_cell() {
    check("crc-dropped", "bolt-v2-crc", "sync", "whose CRC is wrong");
    check(
        "reply-version",
        "bolt-v2",
        "timeout",
        "an answer over bolt-v1 to a call over bolt-v2",
    );
    check("id-collision", "bolt-v1", "sync", "another answer");
}

/// Causes as the first line has them.
fn causes(run: &Run) -> Vec<String> {
    let because = |blame: &Blame| {
        let choices = blame.because.iter();
        let words: Vec<_> = choices
            .map(|choice| format!("{}={}", choice.axis, choice.value))
            .collect();
        words.join(" ∧ ")
    };
    run.blames().iter().map(because).collect()
}

#[test]
fn a_cell_that_failed_enough_ends_and_ids_meet_however_many_providers_there_are() {
    let text = "\
matrix: ids
axes:
  client: {mesh: [none, reference]}
  providers: [[bolt-v1], [bolt-v1, bolt-v1]]
  call: [sync, oneway]
cover: {strength: 3, seed: 1}
cell: {calls: 20, budget: 60s}
";
    let run = Run::of(&[], text, &["--bug", "id-collision"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{}", run.told);
    assert_eq!(causes(&run), ["client.mesh=reference"], "{}", run.told);
    let ended = run.events().into_iter().filter_map(|event| match event {
        Event::CaseEnded { case } => Some(case),
        _ => None,
    });
    // What was not made is told of.
    let failed: Vec<_> = ended.filter(|case| case.verdict == Verdict::Fail).collect();
    assert_eq!(failed.len(), 4, "{}", run.told);
    for case in failed.iter().filter(|case| case.about.contains("oneway")) {
        let answers = case.claims.iter().find(|claim| claim.name == "answers");
        let why = &answers.expect("a claim").why;
        assert!(why.contains("1 acts after it were left out"), "{why}");
    }
}

#[test]
fn a_known_failure_is_no_failure_and_one_that_is_mended_is_told_of() {
    let entry = |providers: &str| {
        format!(
            "  - combination: {{client.mesh: reference, providers: [{providers}]}}\n    \
             evidence: ''\n    because: the CRC is lost\n    owner: mesh-team\n    \
             since: 2026-11-01\n    expires: 2099-12-31\n"
        )
    };
    let text = format!(
        "matrix: known\naxes:\n  client: {{mesh: [reference]}}\n  \
         providers: [[bolt-v1], [bolt-v2-crc]]\ncell: {{calls: 16, budget: 60s}}\nknown:\n{}{}",
        entry("bolt-v1"),
        entry("bolt-v2-crc"),
    );
    let run = Run::of(&[], &text, &["--bug", "crc-dropped"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 0, "{}", run.told);
    let findings = run.events().into_iter().filter_map(|event| match event {
        Event::Finding { name, text } if name == "known" => Some(text),
        _ => None,
    });
    assert_eq!(
        findings.collect::<Vec<_>>(),
        [
            "client.mesh=reference ∧ providers=[bolt-v1] no longer fails: all of its 1 cells pass; \
             take the entry of 2026-11-01 out (the CRC is lost; mesh-team)"
        ],
    );
    assert!(run.told.contains("no longer fails"), "{}", run.told);
    assert!(run.told.contains("1 KNOWN"), "{}", run.told);
}

/// Names a binary of MOSN 1.6.1.
const MOSN: &str = "MESHPROOF_REAL_MOSN";

#[test]
fn the_defects_of_real_mosn_are_blamed_and_its_version_is_an_axis() {
    let Ok(binary) = std::env::var(MOSN) else {
        skipped(&format!("needs {MOSN}=BINARY, a build of MOSN 1.6.1"));
        return;
    };
    let text = "\
matrix: mosn
axes:
  client: {mesh: [none, reference]}
  providers: [[tr], [bolt-v1], [bolt-v2], [bolt-v2-crc]]
  call: [sync, timeout]
suts: [client.mesh]
cover: {strength: 3, seed: 1}
cell: {calls: 16, budget: 60s}
needs:
  - {combination: {providers: [tr]}, capabilities: [tr]}
";
    let (new, old) = (format!("mosn={binary}"), format!("mosn-old={binary}"));
    let run = Run::of(&[], text, &["--sut", &new, "--sut", &old]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 1, "{}", run.told);
    let mut causes = causes(&run);
    causes.sort();
    assert_eq!(
        causes,
        [
            "client.mesh=mosn|mosn-old ∧ providers=[bolt-v2-crc]",
            "client.mesh=mosn|mosn-old ∧ providers=[bolt-v2] ∧ call=timeout",
        ],
        "{}",
        run.told
    );
    for evidence in [
        "an answer over bolt-v1 to a call over bolt-v2",
        "mosn lacks tr",
        "mosn-old lacks tr",
    ] {
        assert!(run.told.contains(evidence), "{evidence}: {}", run.told);
    }
}

#[test]
fn what_a_sidecar_cannot_read_it_passes_on() {
    let text = "\
matrix: written
axes:
  client: {mesh: [none, reference]}
  providers: [[bolt-v1], [bolt-v2-crc]]
  serializer: [hessian, json]
  call: [sync, exception]
cover: {strength: 3, seed: 1}
cell: {calls: 10, budget: 60s}
";
    let run = Run::of(&[], text, &[]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 0, "{}", run.told);
}

#[test]
fn every_style_and_restart_passes() {
    let all = "\
matrix: styles
axes:
  client: {mesh: [reference]}
  server: {mesh: [reference]}
  call: [oneway, exception, timeout, heartbeat, large, sync]
  restart: [none, app, sidecar, registry]
cover: {strength: 1, seed: 3}
cell: {calls: 16, budget: 120s}
";
    let run = Run::of(&[], all, &["--jobs", "2"]);
    if !run.is_unsupported() {
        assert_eq!(run.code, 0, "{}", run.told);
    }
}

#[test]
fn an_ordinary_user_and_a_machine_without_namespaces_see_the_same() {
    const FRONT: [&str; 4] = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let possible = command(FRONT[0])
        .args(&FRONT[1..])
        .args([OWN, "--version"])
        .output();
    if possible.is_ok_and(|output| output.status.success()) {
        let run = Run::of(&FRONT, SMALL, &[]);
        if !run.is_unsupported() {
            assert_eq!(run.code, 0, "as an ordinary user: {}", run.told);
        }
    } else {
        skipped("needs root and setpriv to become an ordinary user");
    }
    let run = Run::of(&[], SMALL, &["--backend", "process"]);
    assert_eq!(run.code, 0, "without namespaces: {}", run.told);
}

#[test]
fn cells_in_process_see_the_same() {
    let run = Run::of(&[], SMALL, &["--in-process"]);
    if run.is_unsupported() {
        return;
    }
    assert_eq!(run.code, 0, "{}", run.told);
    let run = Run::of(&[], SMALL, &["--in-process", "--bug", "tr-bolt-mixed"]);
    assert_eq!(run.code, 1, "{}", run.told);
    let first = run.blames().into_iter().next().expect("a cause");
    assert!(
        first.evidence.contains("Invalid protocol header:1"),
        "{first:?}"
    );
    assert_eq!(first.because.len(), 3, "{first:?}");
}

#[test]
fn a_plan_is_printed_and_a_wrong_name_explained() {
    let output = command(OWN)
        .args(["matrix", "mixed-mesh", "--plan"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let last = text.lines().last().unwrap_or_default();
    let cells: usize = last
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number of cells");
    assert!((40..=200).contains(&cells), "{last}");
    let wrong = command(OWN)
        .args(["matrix", "mixed-mehs"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("did you mean `mixed-mesh`?"), "{said}");
    assert!(!Path::new("meshproof-runs").exists(), "nothing ran");
}
