//! Replacing strings: every byte that is not of a replaced string stays as it came.

use std::ops::Range;

use super::document::{Document, Form, Kind, NodeId};
use super::text::{encode, utf16_len};
use super::writer::{write_int, write_string};

/// Bytes that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced, in the body.
    pub range: Range<usize>,
    /// By what.
    pub bytes: Vec<u8>,
}

/// Why a replacement is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Only strings and names can be replaced.
    #[error("{path} is no string")]
    NotAString {
        /// The node.
        path: String,
    },
    /// A type name has a 16-bit length.
    #[error("{path} is a type name and holds at most 65535 UTF-16 units, not {units}")]
    TooLong {
        /// The node.
        path: String,
        /// Units of the new text.
        units: usize,
    },
    /// One string was to become two different ones.
    #[error("{path} is replaced twice")]
    Twice {
        /// The node.
        path: String,
    },
}

/// Replaces strings and names.
///
/// The result is in the order of the bytes and does not overlap; a replacement by the same text
/// gives no edit. The prefix follows the new length as the real encoder writes it: up to 31 units
/// in the code, up to 32,768 in one chunk, several chunks beyond. References, class numbers and
/// type numbers do not depend on texts, so nothing else changes.
pub fn edit(
    document: &Document,
    replacements: &[(NodeId, String)],
) -> Result<Vec<Edit>, EditError> {
    let mut sorted: Vec<&(NodeId, String)> = replacements.iter().collect();
    sorted.sort_by_key(|(node, _)| *node);
    let mut edits = Vec::with_capacity(sorted.len());
    for (n, (node, new)) in sorted.iter().map(|pair| (pair.0, &pair.1)).enumerate() {
        if let Some(before) = n.checked_sub(1).and_then(|before| sorted.get(before))
            && before.0 == node
        {
            if before.1 == *new {
                continue;
            }
            let path = document.path(node);
            return Err(EditError::Twice { path });
        }
        let Some(old) = document.text(node) else {
            let path = document.path(node);
            return Err(EditError::NotAString { path });
        };
        if old == new {
            continue;
        }
        edits.push(Edit {
            range: document.range(node),
            bytes: encoded(document, node, new)?,
        });
    }
    edits.sort_by_key(|edit| edit.range.start);
    Ok(edits)
}

fn encoded(document: &Document, node: NodeId, new: &str) -> Result<Vec<u8>, EditError> {
    let mut bytes = Vec::with_capacity(new.len() + 3);
    let units = utf16_len(new);
    match document.node(node).kind {
        Kind::ClassName { .. } => {
            // No text of 2 GiB fits a frame.
            write_int(&mut bytes, i32::try_from(units).unwrap_or(i32::MAX));
            encode(new, &mut bytes);
        }
        Kind::TypeName { .. } => {
            let Ok(length) = u16::try_from(units) else {
                let path = document.path(node);
                return Err(EditError::TooLong { path, units });
            };
            bytes.push(b't');
            bytes.extend_from_slice(&length.to_be_bytes());
            encode(new, &mut bytes);
        }
        // An encoder that wrote a long form for a short text is followed in that.
        Kind::String {
            text,
            form: Form::Long,
            ..
        } if units < 32 && utf16_len(&document.text[text.range()]) < 32 => {
            bytes.push(b'S');
            bytes.extend_from_slice(&(units as u16).to_be_bytes());
            encode(new, &mut bytes);
        }
        _ => write_string(&mut bytes, new),
    }
    Ok(bytes)
}

/// The body with `edits` made. Edits that overlap one before them are left out.
pub fn apply(body: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut result = Vec::with_capacity(body.len());
    let mut at = 0;
    for edit in edits {
        let Some(kept) = body.get(at..edit.range.start) else {
            continue;
        };
        result.extend_from_slice(kept);
        result.extend_from_slice(&edit.bytes);
        at = edit.range.end;
    }
    result.extend_from_slice(body.get(at..).unwrap_or_default());
    result
}
