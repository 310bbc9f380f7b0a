//! The folder on disk: what is written comes back, whole or cut off.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use meshproof_record::event::{Entry, Event};
use meshproof_record::row::{ExchangeRow, Outcome};
use meshproof_record::store::{self, Ending, Record, StoreError, Writer};
use meshproof_record::verdict::{Claim, End, Verdict};

use super::samples;

fn ending() -> Ending {
    Ending {
        now: Timestamp::constant(1_763_887_000, 0),
        at_ns: 5_000,
        end: End::Finished,
        claims: vec![Claim::new("functional", Verdict::Pass, "all as recorded")],
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    }
}

fn rows_of_every_kind() -> Vec<ExchangeRow> {
    let mut lost = samples::row(2, "hello");
    lost.outcome = Outcome::Lost;
    lost.reason = Some("reset".into());
    lost.observed = None;
    let mut differs = samples::row(3, "place");
    differs.observed = Some(samples::response(8, b"\x00\xff\n\r"));
    differs.differences = vec![samples::difference("status", Some("success"), None)];
    vec![samples::row(1, "hello"), lost, differs]
}

fn write(folder: &Path, rows: &[ExchangeRow]) -> Writer {
    let mut writer = Writer::create(folder, samples::start(&["meshproof", "replay"])).unwrap();
    for row in rows {
        let sent = Event::Sent {
            exchange: row.exchange,
            link: 1,
            intended_ns: row.intended_ns,
        };
        writer.event(row.exchange, sent).unwrap();
        writer.row(row).unwrap();
    }
    writer
}

fn rows(record: &Record) -> (Vec<ExchangeRow>, store::Damage) {
    let mut from = record.rows().unwrap();
    let rows = from.by_ref().map(Result::unwrap).collect();
    (rows, from.damage().clone())
}

fn events(record: &Record) -> (Vec<Entry>, store::Damage) {
    let mut from = record.events().unwrap();
    let events = from.by_ref().map(Result::unwrap).collect();
    (events, from.damage().clone())
}

#[test]
fn what_is_written_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let expect = rows_of_every_kind();
    let manifest = write(folder.path(), &expect).finish(ending()).unwrap();
    let record = Record::open(folder.path()).unwrap();
    assert_eq!(record.manifest(), Some(&manifest));
    assert_eq!((manifest.events, manifest.exchanges), (5, 3));
    assert_eq!(manifest.verdict, Verdict::Pass);
    let (told, damage) = rows(&record);
    assert_eq!(told, expect);
    assert!(damage.is_none());
    let (told, damage) = events(&record);
    assert!(matches!(
        told.first().unwrap().event,
        Event::RunStarted { .. }
    ));
    assert!(matches!(told.last().unwrap().event, Event::RunEnded { .. }));
    assert_eq!(told.len(), 5);
    assert!(damage.is_none());
}

#[test]
fn records_are_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = Writer::create(folder.path(), samples::start(&[]))
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::NotEmpty { .. }));
    assert!(error.to_string().contains("is not empty: name another"));
    let entries = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1, "nothing was written");
    let file = folder.path().join("notes.txt");
    let error = Writer::create(&file, samples::start(&[])).err().unwrap();
    assert!(matches!(error, StoreError::NoFolder { .. }));
}

#[test]
fn a_run_that_was_cut_off_shows_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let expect = rows_of_every_kind();
    let mut writer = write(folder.path(), &expect);
    writer.flush().unwrap();
    drop(writer);
    assert!(!folder.path().join("manifest.json").exists());
    let record = Record::open(folder.path()).unwrap();
    assert_eq!(record.manifest(), None);
    assert_eq!(
        record.start(),
        Some(&samples::start(&["meshproof", "replay"]))
    );
    let (told, damage) = rows(&record);
    assert_eq!(told, expect);
    assert!(damage.torn, "the compressed file has no end");
}

#[test]
fn a_file_cut_anywhere_yields_its_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let expect = rows_of_every_kind();
    write(folder.path(), &expect).finish(ending()).unwrap();
    fs::remove_file(folder.path().join("manifest.json")).unwrap();
    for name in ["events.jsonl", "exchanges.jsonl.zst"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let record = Record::open(folder.path()).unwrap();
            let (told, damage) = events(&record);
            if name == "events.jsonl" {
                let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(told.len(), lines, "cut at {cut}");
                let torn = cut > 0 && whole[cut - 1] != b'\n';
                assert_eq!(damage.torn, torn, "cut at {cut}");
            }
            let (told, _) = rows(&record);
            assert!(expect.starts_with(&told), "{name} cut at {cut}");
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn damaged_lines_are_counted_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &rows_of_every_kind())
        .finish(ending())
        .unwrap();
    let path = folder.path().join("events.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = "{\"at_ns\":1,\"event\":{\"type\":\"unheard_of\"}}";
    lines[2] = "\u{0} nonsense";
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let (told, damage) = events(&Record::open(folder.path()).unwrap());
    assert_eq!((told.len(), damage.unreadable), (3, 2));
    let (line, why) = damage.first.unwrap();
    assert_eq!(line, 2);
    assert!(why.contains("unheard_of"), "{why}");
}

#[track_caller]
fn check_refused(manifest: &str, expect: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    let error = Record::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(expect), "{error}");
}

#[test]
fn what_is_no_record_is_said_to_be_none() {
    check_refused(r#"{"schema":2,"new":"shape"}"#, "record of schema 2");
    check_refused(
        "{\n\"schema\":1\n}",
        "line 3: not a manifest of schema 1: missing field",
    );
    check_refused("", "line 1: not a manifest");
    let folder = tempfile::tempdir().unwrap();
    let error = Record::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no record here"), "{error}");
    let error = Record::open(&folder.path().join("absent")).unwrap_err();
    assert!(
        error.to_string().contains("absent: No such file"),
        "{error}"
    );
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Record::open(&file).unwrap_err();
    assert!(matches!(error, StoreError::NoRecord { .. }));
}

#[test]
fn a_fresh_start_names_a_folder_of_its_own() {
    let now = Timestamp::constant(1_763_887_000, 0);
    let [one, two] = [(); 2].map(|()| store::start("0.1.0", Vec::new(), 7, now));
    assert_ne!(one.run, two.run);
    assert_eq!(one.run[..10], two.run[..10], "ids begin with the time");
    let folder = store::default_folder(&one);
    assert_eq!(folder, Path::new("meshproof-runs").join(&one.run));
    assert!(one.machine.cpus > 0);
}
