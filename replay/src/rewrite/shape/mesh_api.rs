//! The application API: a head of lines and JSON, in one piece or in chunks.

use meshproof_wire::Frame;

use super::super::frame::{Change, growth};
use super::{Form, Part, Role, Shape};
use crate::idiom::message::{Framing, Message};

pub(super) struct MeshApi {
    message: Message,
}

impl MeshApi {
    pub(super) fn of(frame: &Frame) -> Option<MeshApi> {
        Some(MeshApi {
            message: Message::of(&frame.bytes)?,
        })
    }
}

impl Shape for MeshApi {
    fn parts(&self) -> Vec<Part> {
        let pieces = self.message.pieces();
        let body = match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => self.message.head_end..self.message.head_end,
        };
        vec![
            Part {
                range: 0..self.message.head_end,
                form: Form::Lines(self.message.clone()),
                name: "headers",
                role: Role::Envelope,
            },
            Part {
                range: body,
                form: Form::Json(pieces),
                name: "",
                role: Role::Content,
            },
        ]
    }

    fn finish(&self, frame: &Frame, changes: Vec<Change>) -> Option<Vec<Change>> {
        let within = |range: &std::ops::Range<usize>| -> Vec<Change> {
            let inside = |change: &&Change| {
                change.range.start >= range.start && change.range.end <= range.end
            };
            changes.iter().filter(inside).cloned().collect()
        };
        let mut lengths = Vec::new();
        match &self.message.framing {
            Framing::Unsaid(_) => {}
            Framing::Length { digits, body } => {
                let growth = growth(&within(body));
                if growth != 0 {
                    let len = u64::try_from(body.len() as i64 + growth).ok()?;
                    lengths.push(Change {
                        range: digits.clone(),
                        bytes: len.to_string().into_bytes(),
                    });
                }
            }
            Framing::Chunked(chunks) => {
                for chunk in chunks {
                    let growth = growth(&within(&chunk.bytes));
                    if growth == 0 {
                        continue;
                    }
                    let len = u64::try_from(chunk.bytes.len() as i64 + growth).ok()?;
                    if len == 0 {
                        // An empty chunk would end the body.
                        return None;
                    }
                    let old = frame.bytes.get(chunk.digits.clone())?;
                    let bytes = match old.iter().any(u8::is_ascii_uppercase) {
                        true => format!("{len:0width$X}", width = leading(old)),
                        false => format!("{len:0width$x}", width = leading(old)),
                    };
                    lengths.push(Change {
                        range: chunk.digits.clone(),
                        bytes: bytes.into_bytes(),
                    });
                }
            }
        }
        let mut finished = changes;
        finished.extend(lengths);
        finished.sort_by_key(|change| change.range.start);
        Some(finished)
    }

    /// First line and lengths stay; values of other lines and the body become spaces.
    fn emptied(&self, frame: &Frame) -> Vec<Change> {
        let mut changes: Vec<Change> = self
            .message
            .headers
            .iter()
            .filter(|(name, _)| !self.message.is_framing(&frame.bytes, name))
            .map(|(_, value)| value.clone())
            .chain(self.message.pieces())
            .map(|range| Change {
                bytes: vec![b' '; range.len()],
                range,
            })
            .collect();
        changes.sort_by_key(|change| change.range.start);
        changes
    }
}

/// How many digits to write at least: those that begin with a zero keep their number.
fn leading(digits: &[u8]) -> usize {
    match digits.first() {
        Some(b'0') => digits.len(),
        _ => 0,
    }
}
