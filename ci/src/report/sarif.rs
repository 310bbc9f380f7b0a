//! SARIF 2.1.0: a result for each block, at the place that it is about, else where its rule is
//! written.

use serde_json::{Value, json};

use crate::outcome::{Block, Judged, Outcome, Ruling};

/// One document.
pub fn sarif(outcome: &Outcome) -> String {
    let waived = outcome.checkpoints.iter().flat_map(Judged::waived);
    let blocks = outcome.checkpoints.iter().flat_map(Judged::blocks);
    let expired = outcome
        .expired
        .iter()
        .filter_map(|ruling| Some((ruling, ruling.block.as_ref()?)));
    let all: Vec<(&Ruling, &Block)> = blocks
        .chain(expired)
        .chain(waived.map(|(ruling, block, _)| (ruling, block)))
        .collect();
    let mut rules: Vec<Value> = Vec::new();
    for (ruling, _) in &all {
        let known = rules.iter().any(|rule| rule["id"] == json!(ruling.rule));
        if !known {
            rules.push(json!({
                "id": ruling.rule,
                "shortDescription": {"text": ruling.wanted},
                "properties": {"written": ruling.origin.to_string()},
            }));
        }
    }
    let results: Vec<Value> = all
        .iter()
        .map(|(ruling, block)| result(ruling, block))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "meshproof gate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    });
    format!("{document:#}\n")
}

fn result(ruling: &Ruling, block: &Block) -> Value {
    let (file, line) = match &block.place {
        Some((file, line)) => (file.as_str(), *line),
        None => (ruling.origin.file.as_str(), ruling.origin.line),
    };
    let mut text = format!("{} (owner {})", block.why, block.owner);
    if !block.fix.is_empty() {
        text.push_str(" fix: ");
        text.push_str(&block.fix);
    }
    let mut result = json!({
        "ruleId": ruling.rule,
        "level": "error",
        "message": {"text": text},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": file},
            "region": {"startLine": line.max(1)},
        }}],
        "properties": {
            "code": block.code.word(),
            "seen": ruling.seen,
            "wanted": ruling.wanted,
            "written": ruling.origin.to_string(),
        },
    });
    if let (Some(waiver), Some(members)) = (&block.waiver, result.as_object_mut()) {
        let justification = format!(
            "{} until {}: {}",
            waiver.owner, waiver.expires, waiver.reason
        );
        let suppression = json!([{"kind": "external", "justification": justification}]);
        members.insert("suppressions".to_owned(), suppression);
    }
    result
}
