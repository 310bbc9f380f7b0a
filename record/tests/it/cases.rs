//! Reports of matrices and suites.

use std::path::Path;

use meshproof_record::case::{Case, CaseKind};
use meshproof_record::event::Event;
use meshproof_record::report::cases::compare::{Turn, compare};
use meshproof_record::report::cases::github;
use meshproof_record::report::terminal::{Colour, Style, summary};
use meshproof_record::report::{View, html, json, junit};
use meshproof_record::store::{Record, Writer};
use meshproof_record::verdict::{Claim, Policy, Verdict};

use super::case_samples::{Mesh, matrix, suite};
use super::samples;

const PLAIN: Style = Style {
    colour: Colour::None,
    width: 100,
};

fn made(make: impl FnOnce(&Path)) -> View {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    make(&record);
    let mut view = View::of(&Record::open(&record).unwrap()).unwrap();
    view.folder = "meshproof-runs/one".into();
    view
}

fn failing() -> View {
    made(|folder| matrix(folder, 180, Mesh::TrBoltMixed))
}

#[test]
fn a_failing_matrix_names_its_cause_first() {
    let text = summary(&failing(), PLAIN);
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with(
            "FAIL  client.mesh=reference ∧ providers=[bolt,tr]: Invalid protocol header:1 in the log"
        ),
        "{text}"
    );
    let again = text.lines().find(|line| line.trim().starts_with("again: "));
    let again = again.expect("what runs one of them again");
    assert!(
        again.contains("meshproof matrix mixed-mesh --cell c"),
        "{again}"
    );
    assert!(text.contains("59 of 60 triples of client.mesh, providers, registry_order ran"));
    assert!(text.contains("not run: c0180, the budget of 60 s was used up"));
}

#[test]
fn a_suite_lists_its_stories_and_groups_what_is_wrong() {
    let view = made(suite);
    let text = summary(&view, PLAIN);
    let of_it = |start: &str| {
        let lines = text
            .lines()
            .filter(|line| line.trim_start().starts_with(start));
        lines.count()
    };
    assert_eq!(of_it("FAIL         heartbeat-lost"), 1, "{text}");
    assert_eq!(of_it("PASS         vip-both-forms"), 1, "{text}");
    assert_eq!(of_it("UNSUPPORTED  upgrade-under-load"), 1, "{text}");
    let cases = view.cases.unwrap();
    assert_eq!(cases.causes.len(), 1);
    assert_eq!(cases.causes[0].cases, ["heartbeat-lost"]);
    assert_eq!(cases.of("heartbeat-lost").unwrap().steps.len(), 3);
}

/// Failures without a blame are one cause when their sentences differ in numbers only.
#[test]
fn sentences_that_differ_in_numbers_are_one_cause() {
    let view = made(|folder| {
        let mut writer = Writer::create(folder, samples::start(&["meshproof"])).unwrap();
        for (n, why) in [
            "3 of 20 answers differ",
            "14 of 20 answers differ",
            "port 12200 refused",
        ]
        .into_iter()
        .enumerate()
        {
            let case = Case {
                id: format!("s{n}"),
                kind: CaseKind::Scenario,
                about: String::new(),
                choices: Vec::new(),
                verdict: Verdict::Fail,
                claims: vec![Claim::new("answers", Verdict::Fail, why)],
                took_ns: 5,
                rerun: String::new(),
                evidence: Vec::new(),
            };
            writer.event(1, Event::CaseEnded { case }).unwrap();
        }
        // Begun, and never over.
        let case = "s9".to_owned();
        writer.event(2, Event::CaseStarted { case }).unwrap();
        writer.flush().unwrap();
    });
    let cases = view.cases.as_ref().unwrap();
    let causes: Vec<(&str, usize)> = cases
        .causes
        .iter()
        .map(|cause| (cause.evidence.as_str(), cause.cases.len()))
        .collect();
    assert_eq!(
        causes,
        [
            ("answers: 3 of 20 answers differ", 2),
            ("answers: port 12200 refused", 1)
        ]
    );
    assert_eq!(cases.open, ["s9"]);
    assert_eq!(view.verdict, Verdict::Invalid, "it was cut off");
    let xml = junit::junit(&[view]);
    assert!(
        xml.contains("the run was cut off before this case was over"),
        "{xml}"
    );
}

#[test]
fn two_thousand_cells_stay_below_two_megabytes_and_hostile_lines_stay_text() {
    let view = made(|folder| matrix(folder, 2_000, Mesh::TrBoltMixed));
    let page = html::html(std::slice::from_ref(&view), view.verdict);
    assert!(page.len() <= 2 << 20, "{} bytes", page.len());
    assert_eq!(view.cases.as_ref().unwrap().ended.len(), 2_000);
    // The element of the data, that of the script, and no third one out of a log line.
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains('\u{1b}'));
    // The name of a language is no address that is asked for.
    let named = page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(
        page.matches("http").count(),
        named + page.matches("http-equiv").count()
    );
}

#[test]
fn programs_get_every_case() {
    let view = failing();
    let policy = Policy::USUAL;
    let text = json::json(std::slice::from_ref(&view), view.verdict, 1, &policy);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases = &told["records"][0]["cases"];
    assert_eq!(cases["cases"].as_array().unwrap().len(), 180);
    assert_eq!(
        cases["causes"][0]["because"],
        "client.mesh=reference ∧ providers=[bolt,tr]"
    );
    let failed = cases["totals"]["FAIL"].as_u64().unwrap();
    assert!(failed > 0);
    let xml = junit::junit(&[view]);
    let failures = format!("failures=\"{}\"", failed + 1);
    assert!(
        xml.contains(&failures),
        "{failures}: the cells and the claim"
    );
    assert!(xml.contains("client.mesh=reference"));
}

#[test]
fn annotations_have_no_line_of_their_own() {
    let text = github::annotations(&[failing()]);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("::error title=FAIL mixed-mesh%3A "),
        "{text}"
    );
    assert!(text.contains("%0Aagain: meshproof matrix"), "{text}");
    let summary = github::summary(&[made(suite)]);
    assert!(
        summary.starts_with("## FAIL step 3: 12200 of pod server"),
        "{summary}"
    );
    assert!(summary.contains("| FAIL | step 3:"), "{summary}");
}

#[test]
fn two_runs_are_compared_case_by_case() {
    let right = made(|folder| matrix(folder, 180, Mesh::Right));
    let wrong = failing();
    let failed = wrong.cases.as_ref().unwrap().totals()[0].1;
    let worse = compare(&right, &wrong);
    assert_eq!(worse.verdict, Verdict::Fail);
    assert_eq!(worse.totals()[0], (Turn::NewlyWrong, failed));
    let better = compare(&wrong, &right);
    assert_eq!(better.verdict, Verdict::Pass);
    assert_eq!(better.totals()[0], (Turn::Mended, failed));
    let fewer = made(|folder| matrix(folder, 90, Mesh::Right));
    let less = compare(&right, &fewer);
    assert_eq!(
        (less.verdict, less.totals()[0]),
        (Verdict::Fail, (Turn::Missing, 90))
    );
    assert_eq!(compare(&fewer, &right).verdict, Verdict::Pass);
    let text = compare(&right, &wrong).text(PLAIN);
    assert!(
        text.starts_with("FAIL  ") && text.contains("\nnewly wrong  "),
        "{text}"
    );
    let other = made(suite);
    assert_eq!(compare(&other, &right).both, 0);
}
