//! What changes in JSON.

use std::ops::Range;

use super::frame::{Change, Editor, zeros};
use super::text::Place;
use crate::json::{self, Leaf, What};

/// Every string and key follows the rules; of other values only personal ones change.
///
/// `pieces` are the bytes of the body, in order: more than one where it came in chunks.
pub(super) fn changes(editor: &mut Editor<'_>, pieces: &[Range<usize>]) -> Vec<Change> {
    let body = joined(&editor.frame.bytes, pieces);
    if body.is_empty() {
        return Vec::new();
    }
    let Some(leaves) = json::leaves(&body) else {
        editor.notes.body_bytes += body.len() as u64;
        if editor.keep.undecodable {
            return Vec::new();
        }
        return pieces.iter().cloned().map(zeros).collect();
    };
    let mut changes = Vec::new();
    for leaf in leaves {
        let raw = body.get(leaf.range.clone()).unwrap_or_default();
        if let Some(new) = changed(editor, &leaf, raw) {
            spread(pieces, &leaf.range, new.as_bytes(), &mut changes);
        }
    }
    changes
}

/// What a value becomes, as it is written; `None` where it stays.
fn changed(editor: &mut Editor<'_>, leaf: &Leaf, raw: &[u8]) -> Option<String> {
    let Editor {
        rules, hits, notes, ..
    } = editor;
    let place = Place {
        path: &leaf.path,
        header: None,
    };
    match &leaf.what {
        What::Text(text) => rules.text(place, text, hits).map(|new| json::quoted(&new)),
        What::Key(text) => rules.key(place, text, hits).map(|new| json::quoted(&new)),
        What::Number => {
            let pseudonyms = rules.redacts(place)?;
            let number: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
            // The digits in front of the point; what is behind it goes. Within what a double
            // holds exactly, since that is what many readers take numbers for.
            const EXACT: i64 = 1 << 53;
            let number = number.clamp(-(EXACT as f64), EXACT as f64) as i64;
            Some(pseudonyms.number(number, -EXACT, EXACT).to_string())
        }
        What::Bool => {
            notes.not_redacted += u64::from(rules.redacts(place).is_some());
            None
        }
        What::Null => None,
    }
}

/// The pieces of a body, put together.
pub(super) fn joined(bytes: &[u8], pieces: &[Range<usize>]) -> Vec<u8> {
    pieces
        .iter()
        .flat_map(|piece| bytes.get(piece.clone()).unwrap_or_default())
        .copied()
        .collect()
}

/// Puts `new` where `range` of the body stands. A value across two chunks fills the first of them
/// as it did; the last one takes the rest.
fn spread(pieces: &[Range<usize>], range: &Range<usize>, new: &[u8], changes: &mut Vec<Change>) {
    let mut parts = Vec::new();
    let mut at = 0;
    for piece in pieces {
        let start = range.start.max(at);
        let end = range.end.min(at + piece.len());
        if start < end {
            parts.push(piece.start + start - at..piece.start + end - at);
        }
        at += piece.len();
    }
    let mut rest = new;
    let count = parts.len();
    for (number, part) in parts.into_iter().enumerate() {
        let len = match number + 1 == count {
            true => rest.len(),
            false => part.len().min(rest.len()),
        };
        let (bytes, behind) = rest.split_at(len);
        changes.push(Change {
            range: part,
            bytes: bytes.to_vec(),
        });
        rest = behind;
    }
}

/// Whether two bodies have the same structure.
pub(super) fn is_same(old: &[u8], new: &[u8]) -> bool {
    let sorts = |text: &[u8]| -> Option<Vec<u8>> {
        Some(
            json::leaves(text)?
                .iter()
                .map(|leaf| match leaf.what {
                    What::Key(_) => 0,
                    What::Text(_) => 1,
                    What::Number => 2,
                    What::Bool => 3,
                    What::Null => 4,
                })
                .collect(),
        )
    };
    old.is_empty() && new.is_empty() || sorts(old) == sorts(new)
}
