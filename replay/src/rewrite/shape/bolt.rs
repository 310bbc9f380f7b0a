//! BOLT: a header map and a body, each with a length in the fixed part, and a CRC at the end.

use std::ops::Range;

use meshproof_wire::Frame;
use meshproof_wire::bolt::Parts;
use meshproof_wire::sofarpc::CODEC_HESSIAN;

use super::super::frame::{Change, apply, growth};
use super::{Form, Part, Role, Shape};

pub(super) struct Bolt {
    parts: Parts,
    codec: u8,
}

impl Bolt {
    pub(super) fn of(frame: &Frame) -> Option<Bolt> {
        Some(Bolt {
            parts: frame.parts()?,
            codec: frame.head.codec,
        })
    }

    /// Adds the lengths, and the CRC where there is one.
    fn follow(
        &self,
        frame: &Frame,
        header_len: u16,
        content_len: u32,
        mut changes: Vec<Change>,
    ) -> Vec<Change> {
        let parts = &self.parts;
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
}

impl Shape for Bolt {
    fn parts(&self) -> Vec<Part> {
        let form = match self.codec {
            CODEC_HESSIAN => Form::Hessian,
            _ => Form::Other,
        };
        vec![
            Part {
                range: self.parts.headers.clone(),
                form: Form::HeaderMap,
                name: "headers",
                role: Role::Content,
            },
            Part {
                range: self.parts.content.clone(),
                form,
                name: "",
                role: Role::Content,
            },
        ]
    }

    fn finish(&self, frame: &Frame, changes: Vec<Change>) -> Option<Vec<Change>> {
        let in_headers = changes
            .iter()
            .take_while(|change| change.range.end <= self.parts.headers.end)
            .count();
        let (headers, content) = changes.split_at_checked(in_headers)?;
        let header_len = self.parts.headers.len() as i64 + growth(headers);
        let content_len = self.parts.content.len() as i64 + growth(content);
        let header_len = u16::try_from(header_len).ok()?;
        let content_len = u32::try_from(content_len).ok()?;
        Some(self.follow(frame, header_len, content_len, changes))
    }

    fn emptied(&self, frame: &Frame) -> Vec<Change> {
        let sections = [&self.parts.headers, &self.parts.content]
            .into_iter()
            .filter(|section| !section.is_empty())
            .map(|section| Change {
                range: section.clone(),
                bytes: Vec::new(),
            })
            .collect();
        self.follow(frame, 0, 0, sections)
    }
}
