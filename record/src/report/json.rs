//! `report --json`: the summary for other programs. Schema 1; fields are added, never changed.

use serde::Serialize;
use serde_json::{Value, json};

use super::cases;
use super::view::{Kept, View};
use crate::histogram::Histogram;
use crate::verdict::{Policy, Verdict};

/// Quantiles told of each distribution.
pub(super) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// One document for any number of records, in the order given.
pub fn json(views: &[View], verdict: Verdict, exit_code: u8, policy: &Policy<'_>) -> String {
    let records: Vec<Value> = views.iter().map(|view| one(view, policy)).collect();
    let document = json!({
        "schema": 1,
        "verdict": verdict,
        "exit_code": exit_code,
        "records": records,
    });
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

fn one(view: &View, policy: &Policy<'_>) -> Value {
    let methods: Vec<Value> = view
        .methods
        .iter()
        .map(|method| {
            json!({
                "service": method.service,
                "method": method.method,
                "sent": method.sent,
                "answered": method.answered,
                "compared": method.compared,
                "differing": method.differing,
                "timed_out": method.timed_out,
                "lost": method.lost,
                "missing": method.missing,
                "refused": method.refused,
                "latency": quantiles(Some(&method.latency)),
            })
        })
        .collect();
    let differences: Vec<Value> = view
        .groups
        .iter()
        .map(|group| {
            let examples: Vec<Value> = group
                .examples
                .iter()
                .map(|example| {
                    json!({
                        "exchange": example.exchange,
                        "recorded": example.recorded,
                        "observed": example.observed,
                    })
                })
                .collect();
            json!({
                "service": group.service,
                "method": group.method,
                "path": group.path,
                "judged": group.judged == Kept::Judged,
                "count": group.count,
                "examples": examples,
            })
        })
        .collect();
    let refusals: Vec<Value> = view
        .refusals
        .iter()
        .map(|refusal| {
            json!({
                "reason": refusal.reason,
                "target": refusal.target,
                "call": refusal.name,
                "count": refusal.count,
            })
        })
        .collect();
    let findings: Vec<Value> = view
        .findings
        .iter()
        .map(|finding| json!({"name": finding.name, "text": finding.text, "count": finding.count}))
        .collect();
    json!({
        "record": view.folder,
        "run": view.start.as_ref().map(|start| &start.run),
        "version": view.start.as_ref().map(|start| &start.version),
        "command_line": view.start.as_ref().map(|start| &start.command_line),
        "seed": view.start.as_ref().map(|start| start.seed),
        "started": view.start.as_ref().map(|start| &start.started),
        "ended": view.ended.as_ref().map(|(at, _)| at),
        "elapsed_ns": view.ended.as_ref().map(|(_, ns)| ns),
        "cut_off": view.is_cut_off(),
        "end": value(&view.end),
        "verdict": view.verdict,
        "exit_code": view.exit_code(policy),
        "claims": value(&view.claims),
        "inputs": value(&view.inputs),
        "replay": value(&view.replay),
        "capture": value(&view.capture),
        "latency": quantiles(view.latency.as_ref()),
        "lateness": quantiles(view.lateness.as_ref()),
        "differing": view.differing,
        "missing": view.missing_timed_out + view.missing_lost,
        "methods": methods,
        "methods_left_out": view.methods_left_out,
        "differences": differences,
        "differences_left_out": view.groups_left_out,
        "refusals": refusals,
        "findings": findings,
        "notes": view.notes,
        "cases": view.cases.as_ref().map(cases::json::cases),
    })
}

pub(super) fn value<T: Serialize>(value: &T) -> Value {
    // Plain data with string keys: nothing in it can fail to be JSON.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn quantiles(histogram: Option<&Histogram>) -> Value {
    let Some(histogram) = histogram.filter(|histogram| histogram.count > 0) else {
        return Value::Null;
    };
    let mut out = json!({
        "count": histogram.count,
        "min_ns": histogram.min_ns,
        "mean_ns": histogram.mean_ns,
        "max_ns": histogram.max_ns,
    });
    for (name, quantile) in QUANTILES {
        out[format!("{name}_ns")] = json!(histogram.quantile_ns(quantile));
    }
    out
}
