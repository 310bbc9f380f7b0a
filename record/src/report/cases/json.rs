//! The cases of a run for programs.

use serde_json::{Value, json};

use super::super::json::value;
use super::{Cases, conjunction};

/// Part of `report --json`.
pub(in super::super) fn cases(cases: &Cases) -> Value {
    let totals: serde_json::Map<String, Value> = cases
        .totals()
        .into_iter()
        .map(|(verdict, count)| (verdict.word().to_owned(), json!(count)))
        .collect();
    let ended: Vec<Value> = cases
        .ended
        .iter()
        .map(|told| {
            let mut one = value(&told.case);
            if !told.steps.is_empty() {
                one["steps"] = value(&told.steps);
            }
            one
        })
        .collect();
    let causes: Vec<Value> = cases
        .causes
        .iter()
        .map(|cause| {
            json!({
                "verdict": cause.verdict,
                "because": cause.because,
                "minimal": cause.minimal,
                "evidence": cause.evidence,
                "cases": cause.cases,
                "rerun": cause.rerun,
            })
        })
        .collect();
    let blames: Vec<Value> = cases
        .blames
        .iter()
        .map(|blame| {
            let mut one = value(blame);
            one["because_text"] = json!(conjunction(&blame.because));
            one
        })
        .collect();
    json!({
        "name": cases.name,
        "axes": value(&cases.axes),
        "planned": cases.planned.len(),
        "totals": totals,
        "open": cases.open,
        "left_out": cases.left_out,
        "certificate": value(&cases.certificate),
        "causes": causes,
        "blames": blames,
        "cases": ended,
    })
}
