//! Records of meshproof as evidence: the newest that fits.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use meshproof_record::report::View;
use meshproof_record::store::Record;
use meshproof_record::verdict::{End, Policy, Verdict};
use serde_json::{Map, Value, json};

use crate::outcome::Code;
use crate::world::{Absent, Facts, RecordQuestion};

/// Most folders that are looked at.
const FOLDERS_MAX: usize = 10_000;
/// Cases that are listed.
const CASES_MAX: usize = 50_000;

/// The newest record whose command line is the one asked for. One that was cut off, or that cannot be
/// read and is newer, blocks: an older one must not stand in for it.
pub(super) fn newest(root: &Path, question: &RecordQuestion) -> Result<Facts, Absent> {
    let below = root.join(&question.below);
    let none = |why: String| Absent::new(Code::NotRun, why);
    let entries = fs::read_dir(&below).map_err(|error| {
        none(format!(
            "no record of {question}: {}: {error}",
            question.below
        ))
    })?;
    let mut found: Option<(i128, Record)> = None;
    let mut unreadable: Option<(i128, String)> = None;
    for (count, entry) in entries.enumerate() {
        let Ok(entry) = entry else { continue };
        if count >= FOLDERS_MAX {
            let why = format!("{} holds more than {FOLDERS_MAX} records", question.below);
            return Err(Absent::new(Code::TooLarge, why));
        }
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let changed = entry.metadata().and_then(|it| it.modified());
        let changed = changed.map_or(0, super::unix_ns);
        let opened = Record::open(&path);
        let started = opened.as_ref().ok().and_then(Record::start).cloned();
        match (opened, started) {
            (Ok(record), Some(start)) => {
                let line = start.command_line.get(1..).unwrap_or_default();
                let fits = question.fits(line);
                let at = unix_ns(&start.started).unwrap_or(changed);
                if fits && found.as_ref().is_none_or(|(newest, _)| at > *newest) {
                    found = Some((at, record));
                }
            }
            (opened, _) => {
                let why = match opened {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("{}: its start is damaged", path.display()),
                };
                if unreadable
                    .as_ref()
                    .is_none_or(|(newest, ..)| changed > *newest)
                {
                    unreadable = Some((changed, why));
                }
            }
        }
    }
    if let Some((changed, why)) = unreadable
        && found.as_ref().is_none_or(|(newest, _)| changed > *newest)
    {
        let why = format!("the newest record cannot be read: {why}");
        return Err(Absent::new(Code::Unreadable, why));
    }
    let Some((_, record)) = found else {
        let below = &question.below;
        return Err(none(format!(
            "there is no record of {question} below {below}"
        )));
    };
    facts(&record)
}

fn unix_ns(text: &str) -> Option<i128> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond)
}

fn facts(record: &Record) -> Result<Facts, Absent> {
    let place = record.folder();
    let place = place
        .strip_prefix(".")
        .unwrap_or(place)
        .display()
        .to_string();
    let bad = |why: String| Absent::new(Code::Unreadable, format!("{place}: {why}"));
    let Some(manifest) = record.manifest() else {
        return Err(bad("the run was cut off: it has no manifest".to_owned()));
    };
    let made = unix_ns(&manifest.ended)
        .ok_or_else(|| bad(format!("`{}` is no time of its end", manifest.ended)))?;
    if manifest.end == End::Interrupted {
        return Err(bad("the run was stopped".to_owned()));
    }
    if manifest.claims.is_empty() {
        let why = format!("{place} claims nothing");
        return Err(Absent::new(Code::Empty, why));
    }
    let view = View::of(record).map_err(|error| bad(error.to_string()))?;
    if view.verdict == Verdict::Unsupported {
        let why = format!("{place}: all of it was UNSUPPORTED: nothing ran");
        return Err(Absent::new(Code::NothingRan, why));
    }
    let mut values = Map::new();
    values.insert("verdict".into(), view.verdict.word().into());
    values.insert("exit".into(), view.exit_code(&Policy::USUAL).into());
    values.insert("notes".into(), view.notes.clone().into());
    if let Some(start) = &view.start {
        values.insert("version".into(), start.version.as_str().into());
        values.insert("command".into(), start.command_line.clone().into());
        values.insert("seed".into(), start.seed.into());
    }
    let claims: Map<String, Value> = view
        .claims
        .iter()
        .map(|claim| {
            (
                claim.name.clone(),
                json!({"verdict": claim.verdict.word(), "why": claim.why}),
            )
        })
        .collect();
    values.insert("claims".into(), claims.into());
    values.insert(
        "flaky".into(),
        view.claims.iter().filter(|it| it.flaky).count().into(),
    );
    if let Some(cases) = &view.cases {
        of_cases(cases, &mut values);
    }
    let ms = |ns: u64| ns as f64 / 1e6;
    if let Some(latency) = &view.latency {
        let of = |quantile| latency.supported_quantile_ns(quantile).map(ms);
        let told = json!({"p50_ms": of(0.5), "p99_ms": of(0.99), "max_ms": ms(latency.max_ns)});
        values.insert("latency".into(), told);
    }
    if view.replay.is_some() {
        let told = json!({"differing": view.differing, "calls": view.rows});
        values.insert("replay".into(), told);
    }
    Ok(Facts {
        values: Value::Object(values),
        made_unix_ns: Some(made),
        place,
    })
}

fn of_cases(cases: &meshproof_record::report::Cases, values: &mut Map<String, Value>) {
    let of = |verdict: Verdict| {
        let all = cases.ended.iter();
        all.filter(|told| told.case.verdict == verdict).count()
    };
    let ran: Vec<Value> = cases
        .ended
        .iter()
        .filter(|told| told.case.verdict != Verdict::Unsupported)
        .map(|told| told.case.id.as_str().into())
        .take(CASES_MAX)
        .collect();
    let told = json!({
        "planned": cases.planned.len(), "ended": cases.ended.len(), "open": cases.open.len(),
        "passed": of(Verdict::Pass), "failed": of(Verdict::Fail), "invalid": of(Verdict::Invalid),
        "known": of(Verdict::Known), "unsupported": of(Verdict::Unsupported), "ran": ran.len(),
    });
    values.insert("tests".into(), told);
    values.insert("cases".into(), ran.into());
    if let Some(certificate) = &cases.certificate {
        let lines: Vec<Value> = certificate
            .covered
            .iter()
            .map(|it| json!({"strength": it.strength, "possible": it.possible, "ran": it.ran}))
            .collect();
        let missing: u64 = certificate
            .covered
            .iter()
            .map(|it| it.possible.saturating_sub(it.ran))
            .sum();
        let told = json!({
            "covered": lines, "missing": missing, "planned": certificate.planned,
            "ran": certificate.ran, "not_run": certificate.not_run.len(),
        });
        values.insert("certificate".into(), told);
    }
}
