//! What the reports say, and what they never do.

use std::path::Path;

use jiff::Timestamp;
use meshproof_record::event::Event;
use meshproof_record::ledger::ReplayLedger;
use meshproof_record::report::terminal::{Colour, Style, summary, table};
use meshproof_record::report::{View, html, json, junit};
use meshproof_record::row::{ExchangeRow, Outcome};
use meshproof_record::store::{Ending, Record, Writer};
use meshproof_record::verdict::{Claim, End, Policy, Verdict};

use super::samples;

const PLAIN: Style = Style {
    colour: Colour::None,
    width: 100,
};

/// The view of a folder, under a name that is the same everywhere.
fn view(folder: &Path) -> View {
    let mut view = View::of(&Record::open(folder).unwrap()).unwrap();
    view.folder = "meshproof-runs/01KAR3T0000000000000000000".into();
    view
}

fn sample(sample: &samples::Sample) -> View {
    let folder = tempfile::tempdir().unwrap();
    samples::write(folder.path(), sample);
    view(folder.path())
}

/// A record of a handful of exchanges, one of each fate.
fn small() -> View {
    let folder = tempfile::tempdir().unwrap();
    let start = samples::start(&["meshproof", "replay", "small.pcap"]);
    let mut writer = Writer::create(folder.path(), start).unwrap();
    let rows = rows_of_each_fate();
    for row in &rows {
        writer.row(row).unwrap();
    }
    let finding = Event::Finding {
        name: "loose-match".into(),
        text: "exchange 1: no recorded response has these arguments, took the next in order".into(),
    };
    writer.event(5_000, finding).unwrap();
    let ledger = ReplayLedger {
        recorded: 6,
        sent: 4,
        refused: [("writes denied".into(), 1)].into(),
        skipped: [("heartbeat".into(), 1)].into(),
        answered: 2,
        timed_out: 1,
        lost: [("reset".into(), 1)].into(),
        compared: 2,
        ..ReplayLedger::default()
    };
    let why = "1 of 2 compared answers differs, 1 timed out, 1 lost";
    let mut known = Claim::new(
        "zone routing",
        Verdict::Known,
        "until 2027-01-31, see the list",
    );
    known.flaky = true;
    let ending = Ending {
        now: Timestamp::constant(1_763_887_000, 0),
        at_ns: 14_000_000,
        end: End::Finished,
        claims: vec![
            Claim::new("functional", Verdict::Fail, why),
            Claim::new("ledger", Verdict::Pass, "all sums close"),
            known,
        ],
        capture: None,
        replay: Some(ledger),
        latency: None,
        lateness: None,
    };
    writer.finish(ending).unwrap();
    view(folder.path())
}

fn rows_of_each_fate() -> Vec<ExchangeRow> {
    let with = |exchange, outcome, reason: Option<&str>| ExchangeRow {
        outcome,
        reason: reason.map(String::from),
        answered_ns: None,
        observed: None,
        compared: false,
        ..samples::row(exchange, "place")
    };
    let mut differs = samples::row(2, "place");
    differs.differences = vec![samples::difference(
        "body.appResponse.amount",
        Some("42"),
        Some("43"),
    )];
    let mut skipped = with(6, Outcome::Skipped, Some("heartbeat"));
    skipped.sent_ns = None;
    let mut refused = with(5, Outcome::Refused, Some("writes denied"));
    refused.sent_ns = None;
    vec![
        samples::row(1, "hello"),
        differs,
        with(3, Outcome::TimedOut, None),
        with(4, Outcome::Lost, Some("reset")),
        refused,
        skipped,
    ]
}

#[test]
fn the_terminal_summary_reads_well() {
    insta::assert_snapshot!("terminal_small", summary(&small(), PLAIN));
    let narrow = Style {
        colour: Colour::Ansi,
        width: 60,
    };
    insta::assert_snapshot!(
        "terminal_fail_narrow_colour",
        summary(&sample(&samples::FAIL), narrow)
    );
    insta::assert_snapshot!("terminal_pass", summary(&sample(&samples::PASS), PLAIN));
    insta::assert_snapshot!(
        "terminal_invalid",
        summary(&sample(&samples::INVALID), PLAIN)
    );
    insta::assert_snapshot!(
        "terminal_cut_off",
        summary(&sample(&samples::CUT_OFF), PLAIN)
    );
    let views = [small(), sample(&samples::PASS)];
    insta::assert_snapshot!("terminal_table", table(&views, Verdict::Fail, PLAIN));
}

#[test]
fn the_page_of_a_small_record() {
    let page = html::html(&[small()], Verdict::Fail);
    let style = page.find("<style>").unwrap()..page.find("</style>").unwrap();
    let page = page.replace(&page[style], "<style>");
    insta::assert_snapshot!("page_small", page);
}

#[test]
fn the_page_reaches_for_nothing() {
    for view in [small(), sample(&samples::FAIL), sample(&samples::CUT_OFF)] {
        check_self_contained(&html::html(&[view], Verdict::Fail));
    }
}

#[track_caller]
fn check_self_contained(page: &str) {
    for reach in [
        "http:",
        "https:",
        "src=",
        "srcset",
        "@import",
        "url(",
        "<script",
        "<link",
        "<iframe",
        "<img",
        "<object",
        "<base",
        "javascript:",
        " on",
    ] {
        let at = page.find(reach);
        let near = at.map(|at| page[at..].chars().take(60).collect::<String>());
        // Words in sentences and in CSS may begin with "on"; attributes have "=" behind.
        if reach == " on" {
            let handler = page.match_indices(" on").any(|(at, _)| {
                page[at + 3..]
                    .trim_start_matches(char::is_alphabetic)
                    .starts_with('=')
            });
            assert!(!handler, "an event handler");
        } else {
            assert_eq!(near, None, "{reach}");
        }
    }
    for (at, _) in page.match_indices("href=") {
        assert!(page[at..].starts_with("href=\"#"), "{}", &page[at..at + 40]);
    }
}

/// 8,000 exchanges, far beyond every limit of a report, in which everything that a peer can name is different and hostile.
#[test]
fn a_hostile_record_makes_a_small_and_harmless_page() {
    let folder = tempfile::tempdir().unwrap();
    samples::write_hostile(folder.path(), 8_000);
    let view = view(folder.path());
    assert_eq!((view.rows, view.differing), (8_000, 8_000));
    assert!(view.groups_left_out > 0 && view.methods_left_out > 0);
    let page = html::html(std::slice::from_ref(&view), Verdict::Fail);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    for raw in ["<script", "<img", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(raw), "{raw:?}");
    }
    let text = summary(&view, PLAIN);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    let xml = junit::junit(std::slice::from_ref(&view));
    quick_junit::Report::deserialize_from_str(&xml).unwrap();
}

#[test]
fn junit_is_read_back_by_its_own_parser() {
    let view = small();
    let xml = junit::junit(std::slice::from_ref(&view));
    insta::assert_snapshot!("junit_small", xml);
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let suite = report.test_suites.first().unwrap();
    assert_eq!(suite.tests, view.claims.len() + view.methods.len());
    assert_eq!((suite.failures, suite.errors), (2, 0));
}

#[test]
fn json_is_stable() {
    let view = small();
    let code = view.exit_code(&Policy::USUAL);
    let text = json::json(&[view], Verdict::Fail, code, &Policy::USUAL);
    insta::assert_snapshot!("json_small", text);
}

#[test]
fn evidence_that_is_missing_makes_no_pass() {
    let folder = tempfile::tempdir().unwrap();
    samples::write(folder.path(), &samples::PASS);
    let rows = folder.path().join("exchanges.jsonl.zst");
    let whole = std::fs::read(&rows).unwrap();
    std::fs::write(&rows, &whole[..whole.len() / 2]).unwrap();
    let cut = view(folder.path());
    assert_eq!(cut.verdict, Verdict::Invalid);
    assert!(
        cut.sentence().contains("evidence is missing"),
        "{}",
        cut.sentence()
    );
    assert_eq!(cut.exit_code(&Policy::USUAL), 3);
    std::fs::remove_file(&rows).unwrap();
    assert_eq!(view(folder.path()).verdict, Verdict::Invalid);
}

/// What was edited by hand, or mixed from two runs, is no pass either.
#[test]
fn a_manifest_that_its_exchanges_contradict_is_no_pass() {
    for (made, from, to) in [
        (
            samples::FAIL,
            "\"verdict\": \"FAIL\"",
            "\"verdict\": \"PASS\"",
        ),
        (samples::PASS, "\"compared\": ", "\"compared\": 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        samples::write(folder.path(), &made);
        let manifest = folder.path().join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(text.contains(from), "{text:.2000}");
        std::fs::write(&manifest, text.replace(from, to)).unwrap();
        let claims = view(folder.path()).claims;
        let of_record = claims.iter().find(|claim| claim.name == "record");
        assert_eq!(
            of_record.map(|it| it.verdict),
            Some(Verdict::Invalid),
            "{claims:?}"
        );
    }
}

/// Without its manifest the account is made from the rows, and comes out the same.
#[test]
fn the_rows_alone_give_the_same_account() {
    for made in [samples::PASS, samples::FAIL, samples::INVALID] {
        let folder = tempfile::tempdir().unwrap();
        samples::write(folder.path(), &made);
        let whole = view(folder.path());
        std::fs::remove_file(folder.path().join("manifest.json")).unwrap();
        let rows = view(folder.path());
        assert_eq!(rows.replay, whole.replay);
        assert_eq!(rows.latency, whole.latency);
        assert_eq!(rows.lateness, whole.lateness);
        assert_eq!(rows.inputs, whole.inputs);
        let claims = whole.claims.as_slice();
        assert_eq!(rows.claims.split_first().unwrap().1, claims);
    }
}

#[test]
fn a_ledger_that_does_not_close_fails_whatever_was_claimed() {
    let folder = tempfile::tempdir().unwrap();
    samples::write(folder.path(), &samples::PASS);
    let path = folder.path().join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("\"recorded\": 6000,", "\"recorded\": 6001,");
    std::fs::write(&path, text).unwrap();
    let open = view(folder.path());
    assert_eq!(open.verdict, Verdict::Fail);
    assert_eq!(
        open.sentence(),
        "ledger: a sum does not close: recorded 6001 ≠ sent 5939 + refused 0 + skipped 61"
    );
    let ledgers = open.claims.iter().filter(|claim| claim.name == "ledger");
    assert_eq!(ledgers.count(), 1);
}

#[test]
fn the_run_is_made_again_into_another_folder() {
    let mut view = sample(&samples::CUT_OFF);
    for (given, expect) in [
        (
            "meshproof replay a.pcap --record out --stub",
            "meshproof replay a.pcap --stub",
        ),
        (
            "meshproof replay --record=out a.pcap",
            "meshproof replay a.pcap",
        ),
        (
            "meshproof replay a.pcap --record",
            "meshproof replay a.pcap",
        ),
    ] {
        view.start = Some(samples::start(&given.split(' ').collect::<Vec<_>>()));
        assert_eq!(view.command().as_deref(), Some(expect));
    }
}

#[test]
fn verdicts_of_the_samples() {
    for (made, verdict, code) in [
        (sample(&samples::PASS), Verdict::Pass, 0),
        (sample(&samples::FAIL), Verdict::Fail, 1),
        (sample(&samples::INVALID), Verdict::Invalid, 3),
        (sample(&samples::CUT_OFF), Verdict::Invalid, 3),
    ] {
        assert_eq!(
            (made.verdict, made.exit_code(&Policy::USUAL)),
            (verdict, code)
        );
    }
}
