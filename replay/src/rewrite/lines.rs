//! What changes in the head of an HTTP message.

use super::frame::{Change, Editor};
use super::text::Place;
use crate::idiom::message::Message;
use crate::map::{Path, Step};

/// The target of a request and the values of headers follow the rules for text; lengths do not.
pub(super) fn changes(editor: &mut Editor<'_>, message: &Message) -> Vec<Change> {
    let Editor {
        rules,
        keep,
        frame,
        hits,
        notes,
        ..
    } = editor;
    let mut changes = Vec::new();
    let places = message
        .target(&frame.bytes)
        .map(|range| ("target".to_owned(), range))
        .into_iter()
        .chain(
            message
                .headers
                .iter()
                .filter(|(name, _)| !message.is_framing(&frame.bytes, name))
                .map(|(name, value)| {
                    let name = frame.bytes.get(name.clone()).unwrap_or_default();
                    (String::from_utf8_lossy(name).into_owned(), value.clone())
                }),
        );
    for (name, range) in places {
        let bytes = frame.bytes.get(range.clone()).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(bytes) else {
            notes.header_not_text += 1;
            if !keep.undecodable {
                changes.push(Change {
                    bytes: vec![b'?'; range.len()],
                    range,
                });
            }
            continue;
        };
        let path = Path(vec![
            Step::Name("headers".to_owned()),
            Step::Name(name.clone()),
        ]);
        let place = Place {
            path: &path,
            header: Some(&name),
        };
        if let Some(new) = rules.text(place, text, hits) {
            changes.push(Change {
                range,
                bytes: on_one_line(&new).into_bytes(),
            });
        }
    }
    changes
}

/// A rule may put anything in; a line has to stay one.
fn on_one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Whether two heads have the same lines.
pub(super) fn is_same(old: &Message, old_bytes: &[u8], new: &Message, new_bytes: &[u8]) -> bool {
    let names = |message: &Message, bytes: &[u8]| -> Vec<Vec<u8>> {
        message
            .headers
            .iter()
            .map(|(name, _)| bytes.get(name.clone()).unwrap_or_default().to_vec())
            .collect()
    };
    names(old, old_bytes) == names(new, new_bytes)
}
