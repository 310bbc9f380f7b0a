//! What changes in Hessian.

use std::ops::Range;

use meshproof_wire::hessian::{self, Document, NodeId, Role, Value, Writer};

use super::frame::{Change, Editor, zeros};
use super::shape;
use super::text::{Hits, Place, Rules};
use crate::map::{Path, Step};

/// Every string and key of a body follows the rules; of other values only personal ones change.
pub(super) fn changes(editor: &mut Editor<'_>) -> Vec<Change> {
    let Editor {
        rules,
        keep,
        frame,
        part,
        hits,
        notes,
    } = editor;
    let at = part.range.start;
    let content = frame.bytes.get(part.range.clone()).unwrap_or_default();
    let (document, _) = Document::parse(content);
    let mut made: Vec<Change> = Vec::new();
    let mut texts: Vec<(NodeId, String)> = Vec::new();
    walk(&document, part.name, |path, role, node| {
        let place = Place { path, header: None };
        match document.value(node) {
            Value::String(text) => {
                let new = match role {
                    Role::Key => rules.key(place, text, hits),
                    _ => rules.text(place, text, hits),
                };
                if let Some(new) = new {
                    notes.inexact += u64::from(!document.is_exact(node));
                    texts.push((node, new));
                }
            }
            Value::Opaque => {
                let range = document.range(node);
                notes.body_bytes += range.len() as u64;
                if !keep.undecodable {
                    made.push(zeros(range));
                }
            }
            Value::Binary(bytes) => {
                if let Some(new) = binary(rules, place, bytes, hits) {
                    made.push(written(document.range(node), |writer| {
                        writer.binary(&new);
                    }));
                }
            }
            // An envelope holds the frame's id.
            _ if part.role == shape::Role::Envelope => {}
            other => {
                let Some(pseudonyms) = rules.redacts(place).filter(|_| role == Role::Value) else {
                    return;
                };
                let range = document.range(node);
                match other {
                    Value::Int(value) => {
                        let (min, max) = (i64::from(i32::MIN), i64::from(i32::MAX));
                        let new = pseudonyms.number(i64::from(value), min, max);
                        made.push(written(range, |writer| {
                            writer.int(i32::try_from(new).unwrap_or_default());
                        }));
                    }
                    Value::Long(value) => {
                        let new = pseudonyms.number(value, i64::MIN, i64::MAX);
                        made.push(written(range, |writer| {
                            writer.long(new);
                        }));
                    }
                    Value::Date(value) => {
                        let new = pseudonyms.number(value, i64::MIN, i64::MAX);
                        made.push(written(range, |writer| {
                            writer.date(new);
                        }));
                    }
                    Value::Double(value) => {
                        // The digits in front of the point; what is behind it goes.
                        let new = pseudonyms.number(value as i64, i64::MIN, i64::MAX);
                        made.push(written(range, |writer| {
                            writer.double(new as f64);
                        }));
                    }
                    Value::Bool(_) => notes.not_redacted += 1,
                    _ => {}
                }
            }
        }
    });
    // Only strings of this document, each once: there is nothing to fail.
    if let Ok(edits) = hessian::edit(&document, &texts) {
        made.extend(edits.into_iter().map(|edit| Change {
            range: edit.range,
            bytes: edit.bytes,
        }));
    } else {
        notes.unsound += 1;
        made = vec![zeros(0..content.len())];
    }
    made.sort_by_key(|change| change.range.start);
    made.into_iter()
        .map(|change| Change {
            range: change.range.start + at..change.range.end + at,
            bytes: change.bytes,
        })
        .collect()
}

/// Bytes that are text, such as JSON in a byte array, follow the rules for text.
fn binary(rules: &Rules, place: Place<'_>, bytes: &[u8], hits: &mut Hits) -> Option<Vec<u8>> {
    if let Some(pseudonyms) = rules.redacts(place) {
        return (!bytes.is_empty()).then(|| pseudonyms.bytes(bytes));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    rules.text(place, text, hits).map(String::into_bytes)
}

fn written(range: Range<usize>, write: impl FnOnce(&mut Writer)) -> Change {
    let mut writer = Writer::new();
    write(&mut writer);
    Change {
        range,
        bytes: writer.finish(),
    }
}

/// Visits every value and key of a body with its path, without recursion. A key has the path of
/// the map that it stands in, and so has what stands in a key.
///
/// Paths begin with `name`, where it is not empty, and else with the number of the top-level value.
pub(super) fn walk(document: &Document, name: &str, mut visit: impl FnMut(&Path, Role, NodeId)) {
    struct Due {
        node: NodeId,
        role: Role,
        depth: usize,
        steps: Vec<Step>,
    }
    let mut path = Path::default();
    let mut stack: Vec<Due> = document
        .roots()
        .iter()
        .enumerate()
        .rev()
        .map(|(index, node)| Due {
            node: *node,
            role: Role::Value,
            depth: 0,
            steps: vec![match name {
                "" => Step::Index(index),
                name => Step::Name(name.to_owned()),
            }],
        })
        .collect();
    while let Some(due) = stack.pop() {
        path.0.truncate(due.depth);
        path.0.extend(due.steps);
        let depth = path.0.len();
        visit(&path, due.role, due.node);
        let first = stack.len();
        let mut push = |node: &NodeId, role, steps| {
            stack.push(Due {
                node: *node,
                role,
                depth,
                steps,
            });
        };
        match document.value(due.node) {
            Value::List { items, .. } => {
                for (index, item) in items.iter().enumerate() {
                    push(item, due.role, vec![Step::Index(index)]);
                }
            }
            Value::Map { entries, .. } => {
                for entry in entries.chunks(2) {
                    let Some(key) = entry.first() else {
                        continue;
                    };
                    push(key, Role::Key, Vec::new());
                    if let Some(value) = entry.get(1) {
                        push(value, due.role, key_name(document, *key));
                    }
                }
            }
            Value::Instance { names, fields, .. } => {
                for (at, field) in fields.iter().enumerate() {
                    let name = names.get(at).and_then(|name| document.text(*name));
                    push(field, due.role, steps_of(name.unwrap_or_default()));
                }
            }
            Value::Remote { .. } => {
                for child in document.children(due.node) {
                    push(child, due.role, Vec::new());
                }
            }
            _ => {}
        }
        if let Some(pushed) = stack.get_mut(first..) {
            pushed.reverse();
        }
    }
}

fn key_name(document: &Document, key: NodeId) -> Vec<Step> {
    match document.value(key) {
        Value::String(text) => steps_of(text),
        Value::Int(value) => vec![Step::Name(value.to_string())],
        Value::Long(value) => vec![Step::Name(value.to_string())],
        Value::Bool(value) => vec![Step::Name(value.to_string())],
        _ => vec![Step::Name("?".to_owned())],
    }
}

/// A name with dots is several steps, as header keys are.
fn steps_of(name: &str) -> Vec<Step> {
    name.split('.')
        .map(|part| Step::Name(part.to_owned()))
        .collect()
}

/// Whether two bodies have the same structure. Characters that Java would not have written so are
/// written as Java does.
pub(super) fn is_same(old: &[u8], new: &[u8]) -> bool {
    let (old, old_findings) = Document::parse(old);
    let (new, new_findings) = Document::parse(new);
    old.len() == new.len()
        && old.roots().len() == new.roots().len()
        && new_findings.len() <= old_findings.len()
}
