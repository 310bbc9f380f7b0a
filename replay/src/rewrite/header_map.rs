//! What changes in a header map of BOLT.

use std::borrow::Cow;
use std::ops::Range;

use meshproof_wire::bolt::HeaderMap;

use super::frame::{Change, Editor};
use super::text::Place;
use crate::map::{Path, Step};

pub(super) fn changes(editor: &mut Editor<'_>) -> Vec<Change> {
    let Editor {
        rules,
        keep,
        frame,
        part,
        hits,
        notes,
    } = editor;
    let headers = HeaderMap::parse(&frame.bytes, part.range.clone());
    if headers.damage().is_some() {
        notes.header_damage += 1;
        if keep.undecodable {
            return Vec::new();
        }
        return vec![Change {
            range: part.range.clone(),
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

/// Whether two header maps have the same keys in the same order.
pub(super) fn is_same(old: &HeaderMap, new: &HeaderMap) -> bool {
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
    new.damage().is_none() && keys(new) == keys(old)
}
