//! The table in words: condensed, byte by byte, and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};

use super::case::{Outcome, Speech, Way};
use super::{Row, Table};

/// Rows of one version and way.
fn parts(table: &Table) -> BTreeMap<(Speech, Way), Vec<&Row>> {
    let mut parts: BTreeMap<(Speech, Way), Vec<&Row>> = BTreeMap::new();
    for row in &table.rows {
        let key = (row.place.speech, row.place.way);
        parts.entry(key).or_default().push(row);
    }
    parts
}

/// One line on each version and way, and what speaks against the sidecar.
pub fn summary(table: &Table) -> String {
    let mut out = String::new();
    for ((speech, way), rows) in parts(table) {
        let mut all: BTreeMap<Outcome, u64> = BTreeMap::new();
        for row in &rows {
            for (outcome, (times, _)) in &row.outcomes {
                *all.entry(*outcome).or_default() += times;
            }
        }
        let told: Vec<String> = all
            .iter()
            .map(|(outcome, times)| format!("{times} {outcome}"))
            .collect();
        let cases: u64 = all.values().sum();
        let _ = writeln!(
            out,
            "{} {}: {} bytes, {cases} frames: {}",
            speech.word(),
            way.word(),
            rows.len(),
            told.join("; ")
        );
    }
    let _ = writeln!(out, "good calls beside it: {}", table.good);
    let against = table.against();
    let verdict = match against.as_slice() {
        [] => "no hang, no crash, no wrong answer".to_owned(),
        against => against.join("\n"),
    };
    let _ = writeln!(
        out,
        "{verdict}: {} frames in {:.1} s, backend {}",
        table.cases(),
        table.took.as_secs_f64(),
        table.backend
    );
    out
}

/// Byte by outcome, a table for each version and way.
pub fn markdown(table: &Table) -> String {
    let mut out = String::from("# Header flips\n\n");
    out.push_str(&summary(table));
    for ((speech, way), rows) in parts(table) {
        let columns: BTreeSet<Outcome> = rows
            .iter()
            .flat_map(|row| row.outcomes.keys().copied())
            .collect();
        let _ = write!(
            out,
            "\n## {} {}\n| byte | field |",
            speech.word(),
            way.word()
        );
        for column in &columns {
            let _ = write!(out, " {column} |");
        }
        let _ = write!(out, "\n|---:|---|{}\n", "---:|".repeat(columns.len()));
        for row in rows {
            let _ = write!(out, "| {} | {} |", row.place.byte, row.place.field());
            for column in &columns {
                let _ = match row.outcomes.get(column) {
                    Some((times, _)) => write!(out, " {times} |"),
                    None => write!(out, " |"),
                };
            }
            out.push('\n');
        }
    }
    out
}

/// Everything, schema 1.
pub fn json(table: &Table) -> Value {
    let rows: Vec<Value> = table.rows.iter().map(row).collect();
    json!({
        "schema": 1,
        "cases": table.cases(),
        "took_ms": u64::try_from(table.took.as_millis()).unwrap_or(u64::MAX),
        "backend": table.backend,
        "good": {
            "sent": table.good.sent,
            "right": table.good.right,
            "wrong": table.good.wrong,
            "lost": table.good.lost,
            "first": table.good.first,
        },
        "died": table.died,
        "against": table.against(),
        "rows": rows,
    })
}

fn row(row: &Row) -> Value {
    let outcomes: Vec<Value> = row
        .outcomes
        .iter()
        .map(|(outcome, (times, mask))| {
            json!({"outcome": outcome.to_string(), "values": times, "example_mask": mask})
        })
        .collect();
    json!({
        "version": row.place.speech.word(),
        "of": row.place.way.word(),
        "byte": row.place.byte,
        "field": row.place.field(),
        "outcomes": outcomes,
    })
}
