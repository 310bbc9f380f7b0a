//! Strings as Java writes them: lengths count UTF-16 units, each unit takes one to three bytes,
//! and a character outside the Basic Multilingual Plane is two surrogates of three bytes.
//! Unlike Java's "modified UTF-8", NUL is one zero byte.

use super::finding::Problem;

/// Length as the dialect counts it: in UTF-16 units.
pub fn utf16_len(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// Appends `text` as the real encoder writes it.
pub(super) fn encode(text: &str, out: &mut Vec<u8>) {
    for piece in text.split_inclusive(|c: char| c > '\u{ffff}') {
        let Some(last) = piece.chars().next_back() else {
            continue;
        };
        if last <= '\u{ffff}' {
            out.extend_from_slice(piece.as_bytes());
            continue;
        }
        out.extend_from_slice(&piece.as_bytes()[..piece.len() - last.len_utf8()]);
        for unit in last.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(&encode_unit(*unit));
        }
    }
}

/// A surrogate in three bytes.
fn encode_unit(unit: u16) -> [u8; 3] {
    [
        0xe0 | (unit >> 12) as u8,
        0x80 | (unit >> 6 & 0x3f) as u8,
        0x80 | (unit & 0x3f) as u8,
    ]
}

/// How a run of characters was decoded.
#[derive(Debug)]
pub(super) struct Decoder {
    /// A high surrogate that waits for its partner, which may stand in the next chunk.
    high: Option<u16>,
    /// Whether encoding the text again gives the same bytes.
    pub(super) exact: bool,
    /// Whether a character in four bytes was met.
    pub(super) four_byte: bool,
}

/// Why decoding stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The bytes end.
    End,
    /// A byte that begins no character, at this offset.
    Bad(usize, Problem),
}

impl Decoder {
    pub(super) fn new() -> Self {
        Decoder {
            high: None,
            exact: true,
            four_byte: false,
        }
    }

    /// Reads `units` UTF-16 units from `bytes` at `*at`, appends them to `text`, moves `*at` on.
    pub(super) fn run(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        units: usize,
        text: &mut String,
    ) -> Result<(), Stop> {
        let mut left = units;
        while left > 0 {
            let rest = bytes.get(*at..).unwrap_or_default();
            let window = rest.get(..left).unwrap_or(rest);
            let ascii = window
                .iter()
                .position(|b| !b.is_ascii())
                .unwrap_or(window.len());
            if ascii > 0 {
                self.flush(text);
                // Only ASCII: always valid.
                text.push_str(std::str::from_utf8(&window[..ascii]).unwrap_or_default());
                *at += ascii;
                left -= ascii;
                continue;
            }
            left -= self.unit(bytes, at, left, text)?;
        }
        Ok(())
    }

    /// One character that is not ASCII; returns how many units it took.
    fn unit(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        left: usize,
        text: &mut String,
    ) -> Result<usize, Stop> {
        let byte = |n: usize| bytes.get(*at + n).copied().ok_or(Stop::End);
        let low = |n: usize| byte(n).map(|b| u32::from(b & 0x3f));
        let first = byte(0)?;
        // Continuation bytes are masked and not checked, as the real decoder does; where they are
        // wrong the text is not exact.
        let plain = |n: usize| byte(n).map(|b| b & 0xc0 == 0x80);
        match first {
            0xc0..=0xdf => {
                let unit = u32::from(first & 0x1f) << 6 | low(1)?;
                self.exact &= plain(1)? && unit >= 0x80;
                *at += 2;
                self.push(unit as u16, text);
                Ok(1)
            }
            0xe0..=0xef => {
                let unit = u32::from(first & 0x0f) << 12 | low(1)? << 6 | low(2)?;
                self.exact &= plain(1)? && plain(2)? && unit >= 0x800;
                *at += 3;
                self.push(unit as u16, text);
                Ok(1)
            }
            0xf0..=0xf7 if left >= 2 => {
                let code = u32::from(first & 0x07) << 18 | low(1)? << 12 | low(2)? << 6 | low(3)?;
                *at += 4;
                self.flush(text);
                self.exact = false;
                self.four_byte = true;
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                Ok(2)
            }
            _ => Err(Stop::Bad(*at, Problem::BadText { byte: first })),
        }
    }

    fn push(&mut self, unit: u16, text: &mut String) {
        match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                let code = 0x1_0000 + (u32::from(high - 0xd800) << 10) + u32::from(unit - 0xdc00);
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, 0xd800..=0xdbff) => {
                self.flush(text);
                self.high = Some(unit);
            }
            _ => {
                self.flush(text);
                if char::from_u32(unit.into()).is_none() {
                    self.exact = false;
                }
                text.push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    /// A high surrogate that found no partner cannot stand in a `String`.
    pub(super) fn flush(&mut self, text: &mut String) {
        if self.high.take().is_some() {
            self.exact = false;
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
