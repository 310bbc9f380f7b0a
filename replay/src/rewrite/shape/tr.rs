//! TR: a connection object and a body, each with a length in the fixed part. The id lies within
//! the connection object, and so does the server's address in every answer.

use meshproof_wire::Frame;
use meshproof_wire::hessian::{self, Document, NodeId, Value};
use meshproof_wire::tr::{CONNECTION_BYTES_MAX, Parts};

use super::super::frame::{Change, growth};
use super::{Form, Part, Role, Shape};

/// The name that paths into the connection object begin with.
const CONNECTION: &str = "connection";

/// Where the lengths stand: of the connection object, and of the content (TR as MOSN's tests of
/// before 2018-07-17 hold it).
const CONNECTION_LEN_AT: usize = 5;
const CONTENT_LEN_AT: usize = 10;

pub(super) struct Tr {
    parts: Parts,
    is_hessian: bool,
}

impl Tr {
    pub(super) fn of(frame: &Frame) -> Option<Tr> {
        Some(Tr {
            parts: frame.tr_parts()?,
            is_hessian: frame.head.is_hessian(),
        })
    }
}

impl Shape for Tr {
    fn parts(&self) -> Vec<Part> {
        vec![
            // The decoder has read an id in it, so it is Hessian whatever the content is.
            Part {
                range: self.parts.connection.clone(),
                form: Form::Hessian,
                name: CONNECTION,
                role: Role::Envelope,
            },
            Part {
                range: self.parts.content.clone(),
                form: match self.is_hessian {
                    true => Form::Hessian,
                    false => Form::Other,
                },
                name: "",
                role: Role::Content,
            },
        ]
    }

    fn finish(&self, _: &Frame, changes: Vec<Change>) -> Option<Vec<Change>> {
        let in_connection = changes
            .iter()
            .take_while(|change| change.range.end <= self.parts.connection.end)
            .count();
        let (connection, content) = changes.split_at_checked(in_connection)?;
        let connection_growth = growth(connection);
        let content_growth = growth(content);
        let len = |old: usize, growth: i64| u32::try_from(old as i64 + growth).ok();
        let connection_len = len(self.parts.connection.len(), connection_growth)
            .filter(|len| *len <= CONNECTION_BYTES_MAX)?;
        let content_len = len(self.parts.content.len(), content_growth)?;
        let lengths = [
            (CONNECTION_LEN_AT, connection_len, connection_growth),
            (CONTENT_LEN_AT, content_len, content_growth),
        ];
        let mut finished: Vec<Change> = lengths
            .into_iter()
            .filter(|(.., growth)| *growth != 0)
            .map(|(at, len, _)| Change {
                range: at..at + 4,
                bytes: len.to_be_bytes().to_vec(),
            })
            .collect();
        finished.extend(changes);
        Some(finished)
    }

    /// The id stays where it is, beside texts that are empty.
    fn emptied(&self, frame: &Frame) -> Vec<Change> {
        let at = self.parts.connection.start;
        let object = frame.bytes.get(self.parts.connection.clone());
        let (document, _) = Document::parse(object.unwrap_or_default());
        let texts: Vec<(NodeId, String)> = document
            .nodes()
            .filter(|node| matches!(document.value(*node), Value::String(_)))
            .map(|node| (node, String::new()))
            .collect();
        let edits = hessian::edit(&document, &texts).unwrap_or_default();
        let mut changes: Vec<Change> = edits
            .into_iter()
            .map(|edit| Change {
                range: at + edit.range.start..at + edit.range.end,
                bytes: edit.bytes,
            })
            .collect();
        changes.sort_by_key(|change| change.range.start);
        if !self.parts.content.is_empty() {
            changes.push(Change {
                range: self.parts.content.clone(),
                bytes: Vec::new(),
            });
        }
        // It only got shorter.
        self.finish(frame, changes).unwrap_or_default()
    }
}
