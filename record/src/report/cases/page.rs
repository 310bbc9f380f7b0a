//! The cases of a run as part of the HTML page: causes, coverage and stories as plain HTML, cells
//! as data for the script of the page.
//!
//! Size: 2,000 cells with a dozen axes are about 150 kB; explanations of failures are taken in
//! until [`DETAIL_BYTES_MAX`] are full, and what is left out is said.

use askama::Template;
use serde_json::{Value, json};

use super::super::chart::{self, Series};
use super::super::html::Badge;
use super::super::text::{self, duration, thousands};
use super::{Cases, Told, conjunction, coverage_line};
use crate::case::{CaseKind, Detail};
use crate::histogram::Recorder;
use crate::verdict::Verdict;

/// Bytes of explanations in one page.
const DETAIL_BYTES_MAX: usize = 1_100_000;
/// Bytes of the explanation of one case; of a longer one, frames and log lines are left out.
const DETAIL_OF_ONE_BYTES_MAX: usize = 160_000;
/// Cells in one page; the record has them all.
const CELLS_MAX: usize = 8_000;
/// Causes shown.
const CAUSES_MAX: usize = 40;
/// Cases named of one cause.
const NAMED_MAX: usize = 24;
/// Stories shown, with their steps.
const STORIES_MAX: usize = 300;

#[derive(Template)]
#[template(path = "cases.html")]
struct Page {
    id: String,
    name: String,
    noun: String,
    totals: Vec<(Badge, String)>,
    open: String,
    causes: Vec<CauseLine>,
    causes_more: usize,
    coverage: Vec<CoverageLine>,
    coverage_note: String,
    not_run: Vec<(String, String)>,
    stories: Vec<Story>,
    stories_more: usize,
    has_cells: bool,
    left_out: String,
    plot: Option<String>,
    data: String,
}

struct CauseLine {
    verdict: Badge,
    because: Vec<(String, String)>,
    minimal: bool,
    evidence: String,
    count: String,
    cases: Vec<String>,
    more: usize,
    rerun: String,
}

struct CoverageLine {
    text: String,
    share: String,
    full: bool,
}

struct Story {
    verdict: Badge,
    id: String,
    about: String,
    why: String,
    took: String,
    steps: Vec<StepLine>,
    rerun: String,
    open: bool,
}

struct StepLine {
    verdict: Badge,
    number: u32,
    text: String,
    why: String,
    took: String,
}

/// The part of the page that shows the cases; `id` is that of its section.
pub(in super::super) fn page(cases: &Cases, id: &str) -> String {
    let (data, left_out) = data(cases);
    let stories: Vec<&Told> = cases
        .ended
        .iter()
        .filter(|told| told.case.kind == CaseKind::Scenario)
        .collect();
    let certificate = cases.certificate.as_ref();
    let page = Page {
        id: id.to_owned(),
        name: cases.name.clone(),
        noun: cases.noun(cases.ended.len() as u64),
        totals: cases
            .totals()
            .into_iter()
            .map(|(verdict, count)| (Badge::of(verdict), thousands(count)))
            .collect(),
        open: match cases.open.len() {
            0 => String::new(),
            n => format!(
                "{} had begun and not ended when the record did: {}",
                cases.noun(n as u64),
                text::tame(&cases.open.join(", "), 400)
            ),
        },
        causes: cases.causes.iter().take(CAUSES_MAX).map(|cause| cause_line(cases, cause)).collect(),
        causes_more: cases.causes.len().saturating_sub(CAUSES_MAX),
        coverage: certificate
            .map(|certificate| certificate.covered.iter().map(coverage).collect())
            .unwrap_or_default(),
        coverage_note: certificate.map_or_else(String::new, |certificate| {
            format!(
                "{} of {} planned ran; seed {}. Counted by a verifier that shares nothing with the generator of the cells.",
                thousands(certificate.ran),
                cases.noun(certificate.planned),
                certificate.seed
            )
        }),
        not_run: certificate
            .map(|certificate| {
                let lines = certificate.not_run.iter().take(NAMED_MAX);
                lines
                    .map(|one| (text::tame(&one.case, 80), text::tame(&one.why, 300)))
                    .collect()
            })
            .unwrap_or_default(),
        stories: stories.iter().take(STORIES_MAX).map(|told| story(told)).collect(),
        stories_more: stories.len().saturating_sub(STORIES_MAX),
        has_cells: cases.ended.iter().any(|told| told.case.kind != CaseKind::Scenario),
        left_out,
        plot: plot(cases),
        data,
    };
    // Writing to memory cannot fail, and the template calls nothing that can.
    page.render().unwrap_or_default()
}

fn cause_line(cases: &Cases, cause: &super::Cause) -> CauseLine {
    let because = cases
        .blames
        .iter()
        .find(|blame| !cause.because.is_empty() && conjunction(&blame.because) == cause.because);
    CauseLine {
        verdict: Badge::of(cause.verdict),
        because: because
            .map(|blame| {
                let pairs = blame.because.iter();
                pairs
                    .map(|it| (it.axis.clone(), it.value.clone()))
                    .collect()
            })
            .unwrap_or_default(),
        minimal: cause.minimal,
        evidence: cause.evidence.clone(),
        count: cases.noun(cause.cases.len() as u64),
        cases: cause.cases.iter().take(NAMED_MAX).cloned().collect(),
        more: cause.cases.len().saturating_sub(NAMED_MAX),
        rerun: cause.rerun.clone(),
    }
}

fn coverage(coverage: &crate::case::Coverage) -> CoverageLine {
    let share = coverage.ran as f64 / coverage.possible.max(1) as f64 * 100.0;
    CoverageLine {
        text: coverage_line(coverage),
        share: format!("{:.2}", share.clamp(0.0, 100.0)),
        full: coverage.ran == coverage.possible,
    }
}

fn story(told: &Told) -> Story {
    let case = &told.case;
    let wanted = |claim: &&crate::verdict::Claim| claim.verdict == case.verdict;
    let why = match case.verdict {
        Verdict::Pass => String::new(),
        _ => case
            .claims
            .iter()
            .find(wanted)
            .map(|claim| claim.why.clone())
            .unwrap_or_default(),
    };
    Story {
        verdict: Badge::of(case.verdict),
        id: case.id.clone(),
        about: case.about.clone(),
        why,
        took: duration(case.took_ns),
        steps: told
            .steps
            .iter()
            .map(|step| StepLine {
                verdict: Badge::of(step.verdict),
                number: step.number,
                text: step.text.clone(),
                why: step.why.clone(),
                took: duration(step.took_ns),
            })
            .collect(),
        rerun: case.rerun.clone(),
        open: case.verdict == Verdict::Fail,
    }
}

/// How long cases took, as the latencies of a replay are drawn.
fn plot(cases: &Cases) -> Option<String> {
    let mut took = Recorder::default();
    for told in &cases.ended {
        took.record(told.case.took_ns);
    }
    let took = took.finish();
    let series = [Series {
        name: "time of a case",
        class: "s1",
        values: &took,
    }];
    chart::percentiles("Time of cases by percentile", chart::HEIGHT, &series)
}

/// Everything that the script draws from, and what was left out for size.
fn data(cases: &Cases) -> (String, String) {
    let mut budget = DETAIL_BYTES_MAX;
    let mut without_detail = 0u64;
    let shown = cases.ended.iter().take(CELLS_MAX);
    let axes = axes(cases);
    let cells: Vec<Value> = shown
        .map(|told| {
            let places: Vec<Value> = axes
                .iter()
                .map(|(name, values)| {
                    let chosen = told.case.choices.iter().find(|choice| choice.axis == *name);
                    let at = chosen
                        .and_then(|choice| values.iter().position(|value| *value == choice.value));
                    at.map_or(Value::Null, |at| json!(at))
                })
                .collect();
            let mut cell = json!({
                "i": told.case.id,
                "v": told.case.verdict.word(),
                "t": told.case.took_ns / 1_000,
                "a": places,
            });
            let plain = told.case.verdict == Verdict::Pass && told.case.kind == CaseKind::Cell;
            if !plain {
                let more = explained(told);
                let bytes = more.to_string().len();
                if bytes <= budget {
                    budget -= bytes;
                    cell["m"] = more;
                } else {
                    without_detail += 1;
                    cell["m"] = json!({ "claims": claims(told), "rerun": told.case.rerun });
                }
            }
            cell
        })
        .collect();
    let axes: Vec<Value> = axes
        .iter()
        .map(|(name, values)| json!({ "n": name, "v": values }))
        .collect();
    let data = json!({ "name": cases.name, "axes": axes, "cells": cells });
    let mut left_out = Vec::new();
    if cases.ended.len() > CELLS_MAX || cases.left_out > 0 {
        let n = (cases.ended.len().saturating_sub(CELLS_MAX)) as u64 + cases.left_out;
        left_out.push(format!("{} are in the record alone", cases.noun(n)));
    }
    if without_detail > 0 {
        left_out.push(format!(
            "the wire, logs and timeline of {} are in the record alone, to keep this page small",
            cases.noun(without_detail)
        ));
    }
    (script_safe(&data.to_string()), left_out.join("; "))
}

/// The planned axes; of a run that planned none, those that its cases name.
fn axes(cases: &Cases) -> Vec<(String, Vec<String>)> {
    let mut axes: Vec<(String, Vec<String>)> = cases
        .axes
        .iter()
        .map(|axis| (axis.name.clone(), axis.values.clone()))
        .collect();
    for choice in cases.ended.iter().flat_map(|told| &told.case.choices) {
        match axes.iter_mut().find(|(name, _)| *name == choice.axis) {
            Some((_, values)) if values.contains(&choice.value) => {}
            Some((_, values)) => values.push(choice.value.clone()),
            None => axes.push((choice.axis.clone(), vec![choice.value.clone()])),
        }
    }
    axes
}

fn claims(told: &Told) -> Vec<Value> {
    let claims = told.case.claims.iter();
    claims
        .map(|claim| json!([claim.verdict.word(), claim.name, claim.why]))
        .collect()
}

fn explained(told: &Told) -> Value {
    let steps: Vec<Value> = told
        .steps
        .iter()
        .map(|step| {
            json!([
                step.number,
                step.verdict.word(),
                step.text,
                step.why,
                step.took_ns / 1_000
            ])
        })
        .collect();
    let mut out = json!({
        "claims": claims(told),
        "rerun": told.case.rerun,
        "about": told.case.about,
        "evidence": told.case.evidence,
    });
    if !steps.is_empty() {
        out["steps"] = json!(steps);
    }
    if let Some(detail) = &told.detail {
        out["detail"] = of_detail(detail);
    } else if !told.timeline.is_empty() {
        out["detail"] = json!({ "timeline": told.timeline });
    }
    out
}

/// The explanation, with its longest lists halved until it fits.
fn of_detail(detail: &Detail) -> Value {
    let mut detail = tamed(detail);
    loop {
        let value = serde_json::to_value(&detail).unwrap_or(Value::Null);
        if value.to_string().len() <= DETAIL_OF_ONE_BYTES_MAX {
            return value;
        }
        let mut cut = 0;
        // The end of a story is what explains it.
        let halve = |len: usize| len / 2;
        let frames = halve(detail.frames.len());
        cut += frames;
        detail.frames.drain(..frames);
        let moments = halve(detail.timeline.len());
        cut += moments;
        detail.timeline.drain(..moments);
        let said = halve(detail.registry.len());
        cut += said;
        detail.registry.drain(..said);
        for log in &mut detail.logs {
            let lines = halve(log.lines.len());
            cut += lines;
            log.lines.drain(..lines);
        }
        detail.left_out = detail.left_out.saturating_add(cut as u64);
        if cut == 0 {
            // Names alone fill it: nothing of it is fit to be shown.
            return json!({ "case": detail.case, "left_out": detail.left_out });
        }
    }
}

/// Text from wires and logs, made fit for a person's eyes.
fn tamed(detail: &Detail) -> Detail {
    let mut detail = detail.clone();
    let tame = |text: &mut String, most: usize| *text = text::tame(text, most);
    for pod in &mut detail.pods {
        tame(&mut pod.name, 80);
        tame(&mut pod.address, 80);
        tame(&mut pod.sidecar, 80);
        pod.runs.iter_mut().for_each(|it| tame(it, 120));
    }
    for frame in &mut detail.frames {
        for text in [
            &mut frame.at,
            &mut frame.from,
            &mut frame.to,
            &mut frame.protocol,
            &mut frame.kind,
        ] {
            tame(text, 80);
        }
        tame(&mut frame.what, 160);
    }
    for said in &mut detail.registry {
        for text in [&mut said.how, &mut said.to, &mut said.service] {
            tame(text, 160);
        }
        said.providers.iter_mut().for_each(|it| tame(it, 120));
    }
    for moment in &mut detail.timeline {
        tame(&mut moment.seen_by, 40);
        tame(&mut moment.what, 400);
    }
    for log in &mut detail.logs {
        tame(&mut log.pod, 80);
        tame(&mut log.program, 80);
        log.lines.iter_mut().for_each(|it| tame(it, 400));
    }
    for (name, _) in &mut detail.ledger {
        tame(name, 120);
    }
    for change in &mut detail.changes {
        for text in [&mut change.field, &mut change.before, &mut change.after] {
            tame(text, 200);
        }
    }
    detail
}

/// JSON within a script element: no text in it can end the element or begin a comment.
fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}
