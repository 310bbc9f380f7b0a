//! What changes in one frame.

use std::ops::Range;

use bytes::Bytes;
use meshproof_wire::bolt::HeaderMap;
use meshproof_wire::{Frame, Head, Protocol};

use super::shape::{self, Form, Part, Shape};
use super::text::{Hits, Rules};
use super::{header_map, hessian, json, lines};
use crate::map::Keep;

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

/// Computes what changes in a frame under the rules. The result is checked: a rewritten frame
/// that does not decode to the same structure is emptied instead.
pub(super) fn changes(rules: &Rules, keep: Keep, frame: &Frame, hits: &mut Hits) -> Changes {
    let mut notes = Notes::default();
    let Some(shape) = shape::of(frame) else {
        // The decoder passes on whole frames only.
        return Changes::default();
    };
    let mut changes = Vec::new();
    for part in shape.parts() {
        let mut editor = Editor {
            rules,
            keep,
            frame,
            part: &part,
            hits,
            notes: &mut notes,
        };
        changes.extend(match &part.form {
            Form::HeaderMap => header_map::changes(&mut editor),
            Form::Hessian => hessian::changes(&mut editor),
            Form::Lines(message) => lines::changes(&mut editor, message),
            Form::Json(pieces) => json::changes(&mut editor, pieces),
            Form::Other => other(&mut editor),
        });
    }
    if changes.is_empty() {
        return Changes { changes, notes };
    }
    let Some(finished) = shape.finish(frame, changes) else {
        notes.header_overflow += 1;
        return emptied(frame, &*shape, notes);
    };
    if !is_same_structure(frame, &*shape, &finished, keep, notes) {
        notes.unsound += 1;
        return emptied(frame, &*shape, notes);
    }
    Changes {
        changes: finished,
        notes,
    }
}

/// By how many bytes changes make something longer.
pub(super) fn growth(changes: &[Change]) -> i64 {
    changes
        .iter()
        .map(|change| change.bytes.len() as i64 - change.range.len() as i64)
        .sum()
}

/// The frame without anything that could hold a value: still a whole frame of the same kind and
/// id.
fn emptied(frame: &Frame, shape: &dyn Shape, mut notes: Notes) -> Changes {
    notes.emptied = true;
    Changes {
        changes: shape.emptied(frame),
        notes,
    }
}

/// Finds what changes in one part of a frame.
pub(super) struct Editor<'a> {
    pub(super) rules: &'a Rules,
    pub(super) keep: Keep,
    pub(super) frame: &'a Frame,
    pub(super) part: &'a Part,
    pub(super) hits: &'a mut Hits,
    pub(super) notes: &'a mut Notes,
}

fn other(editor: &mut Editor<'_>) -> Vec<Change> {
    let Editor {
        keep, part, notes, ..
    } = editor;
    if part.range.is_empty() {
        return Vec::new();
    }
    notes.body_codec += 1;
    notes.body_bytes += part.range.len() as u64;
    if keep.undecodable {
        return Vec::new();
    }
    vec![zeros(part.range.clone())]
}

pub(super) fn zeros(range: Range<usize>) -> Change {
    Change {
        bytes: vec![0; range.len()],
        range,
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
    shape: &dyn Shape,
    changes: &[Change],
    keep: Keep,
    notes: Notes,
) -> bool {
    let Some(new) = parsed(frame, Bytes::from(apply(&frame.bytes, changes))) else {
        return false;
    };
    let Some(new_shape) = shape::of(&new) else {
        return false;
    };
    let (old_parts, new_parts) = (shape.parts(), new_shape.parts());
    // Blanked bytes decode to something else, or to nothing; whatever it is, it is zeros.
    let blanked = notes.body_bytes > 0 && !keep.undecodable;
    let same_part = |(old, new_part): (&Part, &Part)| {
        let bytes = |frame: &Frame, part: &Part| frame.bytes.slice(part.range.clone());
        match (&old.form, &new_part.form) {
            (Form::HeaderMap, Form::HeaderMap) => {
                notes.header_damage > 0
                    || header_map::is_same(
                        &HeaderMap::parse(&frame.bytes, old.range.clone()),
                        &HeaderMap::parse(&new.bytes, new_part.range.clone()),
                    )
            }
            (Form::Hessian, Form::Hessian) => {
                blanked || hessian::is_same(&bytes(frame, old), &bytes(&new, new_part))
            }
            (Form::Lines(old), Form::Lines(new_lines)) => {
                lines::is_same(old, &frame.bytes, new_lines, &new.bytes)
            }
            (Form::Json(old), Form::Json(new_pieces)) => {
                blanked
                    || json::is_same(
                        &json::joined(&frame.bytes, old),
                        &json::joined(&new.bytes, new_pieces),
                    )
            }
            (Form::Other, Form::Other) => true,
            _ => false,
        }
    };
    new.class_bytes() == frame.class_bytes()
        && new.head.id == frame.head.id
        && new.head.kind == frame.head.kind
        && new.crc() == frame.crc()
        && old_parts.len() == new_parts.len()
        && old_parts.iter().zip(&new_parts).all(same_part)
}

/// Rewritten bytes as a frame of the same protocol; `None` where they are none.
fn parsed(frame: &Frame, bytes: Bytes) -> Option<Frame> {
    match frame.head.protocol {
        // A message has no id on the wire, and its head says nothing that a rule could change.
        Protocol::MeshApi => Some(Frame {
            head: Head {
                len: bytes.len() as u64,
                ..frame.head
            },
            bytes,
        }),
        _ => Frame::parse(bytes).ok(),
    }
}
