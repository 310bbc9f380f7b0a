//! What changes in one frame.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use meshproof_wire::Frame;
use meshproof_wire::bolt::{HeaderMap, Parts};
use meshproof_wire::hessian::{self, Document, NodeId, Role, Value, Writer};

use super::text::{Hits, Place, Rules};
use crate::map::{Keep, Path, Step};

/// Bytes of a frame that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What is replaced, from the frame's first byte.
    pub(super) range: Range<usize>,
    /// By what.
    pub(super) bytes: Vec<u8>,
}

/// What is to be done with a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// In the order of the bytes; they do not overlap.
    pub(super) changes: Vec<Change>,
    /// What was met on the way.
    pub(super) notes: Notes,
}

/// Counts of what could not be understood or done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// Header maps that contradict themselves.
    pub(super) header_damage: u64,
    /// Header values that are no text.
    pub(super) header_not_text: u64,
    /// Bytes of bodies that were not understood.
    pub(super) body_bytes: u64,
    /// Bodies of another serialization.
    pub(super) body_codec: u64,
    /// Header maps that do not fit their 16-bit length any more.
    pub(super) header_overflow: u64,
    /// Rewritten frames that did not decode to the same structure (a bug of this program).
    pub(super) unsound: u64,
    /// Strings that no text can hold (lone surrogates) and that were changed nevertheless.
    pub(super) inexact: u64,
    /// Personal values of a kind that has no pseudonym, such as booleans.
    pub(super) not_redacted: u64,
    /// The frame was emptied: its header map and its body are gone.
    pub(super) emptied: bool,
}

/// The serializer code of Hessian in BOLT (SOFABolt 1.6.11).
const HESSIAN: u8 = 1;

/// Computes what changes in a frame under the rules. The result is checked: a rewritten frame
/// that does not decode to the same structure is emptied instead.
pub(super) fn changes(rules: &Rules, keep: Keep, frame: &Frame, hits: &mut Hits) -> Changes {
    let mut notes = Notes::default();
    let Some(parts) = frame.parts() else {
        // The decoder passes on whole frames only.
        return Changes::default();
    };
    let mut changes = header_changes(rules, keep, frame, &parts, hits, &mut notes);
    let header_growth = growth(&changes);
    body_changes(rules, keep, frame, &parts, hits, &mut notes, &mut changes);
    if changes.is_empty() {
        return Changes { changes, notes };
    }
    let content_growth = growth(&changes) - header_growth;
    let header_len = parts.headers.len() as i64 + header_growth;
    let content_len = parts.content.len() as i64 + content_growth;
    let (Ok(header_len), Ok(content_len)) = (u16::try_from(header_len), u32::try_from(content_len))
    else {
        notes.header_overflow += 1;
        return emptied(frame, &parts, notes);
    };
    let finished = finish(frame, &parts, header_len, content_len, changes);
    if !is_same_structure(frame, &parts, &finished, keep, notes) {
        notes.unsound += 1;
        return emptied(frame, &parts, notes);
    }
    Changes {
        changes: finished,
        notes,
    }
}

fn growth(changes: &[Change]) -> i64 {
    changes
        .iter()
        .map(|change| change.bytes.len() as i64 - change.range.len() as i64)
        .sum()
}

fn header_changes(
    rules: &Rules,
    keep: Keep,
    frame: &Frame,
    parts: &Parts,
    hits: &mut Hits,
    notes: &mut Notes,
) -> Vec<Change> {
    let headers = HeaderMap::parse(&frame.bytes, parts.headers.clone());
    if headers.damage().is_some() {
        notes.header_damage += 1;
        if keep.undecodable {
            return Vec::new();
        }
        return vec![Change {
            range: parts.headers.clone(),
            bytes: Vec::new(),
        }];
    }
    let mut changes = Vec::new();
    for entry in headers.entries() {
        let (Some(key), Some(value)) = (&entry.key, &entry.value) else {
            continue;
        };
        let bytes = |range: &Range<usize>| frame.bytes.get(range.clone()).unwrap_or_default();
        let mut blank = |range: &Range<usize>| {
            notes.header_not_text += 1;
            if !keep.undecodable {
                changes.push(Change {
                    bytes: vec![b'?'; range.len()],
                    range: range.clone(),
                });
            }
        };
        let key_text = String::from_utf8_lossy(bytes(key));
        if matches!(key_text, Cow::Owned(_)) {
            blank(key);
        }
        let Ok(text) = std::str::from_utf8(bytes(value)) else {
            blank(value);
            continue;
        };
        let key = &*key_text;
        let path = Path(
            std::iter::once("headers")
                .chain(key.split('.'))
                .map(|name| Step::Name(name.to_owned()))
                .collect(),
        );
        let place = Place {
            path: &path,
            header: Some(key),
        };
        if let Some(new) = rules.text(place, text, hits) {
            // A length of four bytes stands in front of each value.
            let Ok(len) = i32::try_from(new.len()) else {
                continue;
            };
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.extend_from_slice(new.as_bytes());
            changes.push(Change {
                range: value.start - 4..value.end,
                bytes,
            });
        }
    }
    changes
}

fn body_changes(
    rules: &Rules,
    keep: Keep,
    frame: &Frame,
    parts: &Parts,
    hits: &mut Hits,
    notes: &mut Notes,
    changes: &mut Vec<Change>,
) {
    let at = parts.content.start;
    let content = frame.bytes.get(parts.content.clone()).unwrap_or_default();
    if content.is_empty() {
        return;
    }
    if frame.head.codec != HESSIAN {
        notes.body_codec += 1;
        notes.body_bytes += content.len() as u64;
        if !keep.undecodable {
            changes.push(zeros(parts.content.clone()));
        }
        return;
    }
    let (document, _) = Document::parse(content);
    let mut made: Vec<Change> = Vec::new();
    let mut texts: Vec<(NodeId, String)> = Vec::new();
    walk(&document, |path, role, node| {
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
    changes.extend(made.into_iter().map(|change| Change {
        range: change.range.start + at..change.range.end + at,
        bytes: change.bytes,
    }));
}

/// Bytes that are text, such as JSON in a byte array, follow the rules for text.
fn binary(rules: &Rules, place: Place<'_>, bytes: &[u8], hits: &mut Hits) -> Option<Vec<u8>> {
    if let Some(pseudonyms) = rules.redacts(place) {
        return (!bytes.is_empty()).then(|| pseudonyms.bytes(bytes));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    rules.text(place, text, hits).map(String::into_bytes)
}

fn zeros(range: Range<usize>) -> Change {
    Change {
        bytes: vec![0; range.len()],
        range,
    }
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
pub(super) fn walk(document: &Document, mut visit: impl FnMut(&Path, Role, NodeId)) {
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
            steps: vec![Step::Index(index)],
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

/// Adds the lengths, and the CRC where there is one.
fn finish(
    frame: &Frame,
    parts: &Parts,
    header_len: u16,
    content_len: u32,
    mut changes: Vec<Change>,
) -> Vec<Change> {
    // The fixed part ends in classLen u16, headerLen u16, contentLen u32 in every layout.
    let fixed_len = parts.class.start;
    let mut lengths = Vec::new();
    if usize::from(header_len) != parts.headers.len() {
        lengths.push(Change {
            range: fixed_len - 6..fixed_len - 4,
            bytes: header_len.to_be_bytes().to_vec(),
        });
    }
    if u64::from(content_len) != parts.content.len() as u64 {
        lengths.push(Change {
            range: fixed_len - 4..fixed_len,
            bytes: content_len.to_be_bytes().to_vec(),
        });
    }
    lengths.append(&mut changes);
    if let Some(crc) = &parts.crc {
        let rewritten = apply(&frame.bytes, &lengths);
        let stored = |bytes: &[u8], range: Range<usize>| -> u32 {
            bytes
                .get(range)
                .and_then(|four| four.try_into().ok())
                .map_or(0, u32::from_be_bytes)
        };
        let old = crc32fast::hash(frame.bytes.get(..crc.start).unwrap_or_default());
        let covered = rewritten
            .get(..rewritten.len().saturating_sub(4))
            .unwrap_or_default();
        // One that was wrong stays wrong, by the same difference.
        let wrong = old ^ stored(&frame.bytes, crc.clone());
        lengths.push(Change {
            range: crc.clone(),
            bytes: (crc32fast::hash(covered) ^ wrong).to_be_bytes().to_vec(),
        });
    }
    lengths
}

/// The frame without header map and body: still a whole frame of the same kind and id.
fn emptied(frame: &Frame, parts: &Parts, mut notes: Notes) -> Changes {
    notes.emptied = true;
    let sections = [&parts.headers, &parts.content]
        .into_iter()
        .filter(|section| !section.is_empty())
        .map(|section| Change {
            range: section.clone(),
            bytes: Vec::new(),
        })
        .collect();
    Changes {
        changes: finish(frame, parts, 0, 0, sections),
        notes,
    }
}

/// Makes changes that are in order and do not overlap.
pub(super) fn apply(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for change in changes {
        out.extend_from_slice(bytes.get(at..change.range.start).unwrap_or_default());
        out.extend_from_slice(&change.bytes);
        at = change.range.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
}

/// Decodes the rewritten frame and compares its structure with that of the original.
fn is_same_structure(
    frame: &Frame,
    parts: &Parts,
    changes: &[Change],
    keep: Keep,
    notes: Notes,
) -> bool {
    let Ok(new) = Frame::parse(Bytes::from(apply(&frame.bytes, changes))) else {
        return false;
    };
    let Some(new_parts) = new.parts() else {
        return false;
    };
    let old_headers = HeaderMap::parse(&frame.bytes, parts.headers.clone());
    let new_headers = HeaderMap::parse(&new.bytes, new_parts.headers.clone());
    // A key that was no text was blanked as well.
    let keys = |headers: &HeaderMap| -> Vec<Option<Vec<u8>>> {
        headers
            .pairs()
            .map(|(key, _)| {
                let key = key?;
                let is_text = std::str::from_utf8(key).is_ok();
                Some(if is_text {
                    key.to_vec()
                } else {
                    vec![b'?'; key.len()]
                })
            })
            .collect()
    };
    let same_headers = notes.header_damage > 0
        || (new_headers.damage().is_none() && keys(&new_headers) == keys(&old_headers));
    // Blanked bytes decode to something else, or to nothing; whatever it is, it is zeros.
    let blanked = notes.body_bytes > 0 && !keep.undecodable;
    let same_body = blanked || frame.head.codec != HESSIAN || {
        let (old, old_findings) = Document::parse(frame.content());
        let (new, new_findings) = Document::parse(new.content());
        // Characters that Java would not have written so are written as Java does.
        old.len() == new.len()
            && old.roots().len() == new.roots().len()
            && new_findings.len() <= old_findings.len()
    };
    new.class_bytes() == frame.class_bytes()
        && new.head.id == frame.head.id
        && new.head.kind == frame.head.kind
        && new.crc() == frame.crc()
        && same_headers
        && same_body
}
