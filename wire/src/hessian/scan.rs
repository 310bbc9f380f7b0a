//! Reading from the front of a body without a tree, for paths where every frame passes.
//!
//! Knows what the objects of SOFA's protocols are made of and no more: whatever else is met ends
//! the scan, and the caller asks [`super::Document`], which reads everything.

/// Deepest nesting that is passed over.
const DEPTH_MAX: u8 = 8;

/// A place in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Scan<'a> {
    /// At the front of `body`.
    #[inline]
    pub(crate) fn new(body: &'a [u8]) -> Scan<'a> {
        Scan {
            rest: body,
            len: body.len(),
        }
    }

    /// Offset in the body.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Passes over exactly these bytes.
    #[inline]
    pub(crate) fn eat(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(bytes)?;
        Some(())
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    /// Takes a string of one chunk; `None` inside is null.
    #[inline]
    pub(crate) fn text_or_null(&mut self) -> Option<Option<&'a str>> {
        if self.rest.first() == Some(&b'N') {
            self.byte()?;
            return Some(None);
        }
        let bytes = match self.byte()? {
            len @ 0..=0x1f => self.units(usize::from(len))?,
            b'S' => {
                let len = u16::from_be_bytes(self.array()?);
                self.units(usize::from(len))?
            }
            _ => return None,
        };
        std::str::from_utf8(bytes).ok().map(Some)
    }

    /// The bytes of so many UTF-16 units, each of one to three bytes.
    #[inline]
    fn units(&mut self, units: usize) -> Option<&'a [u8]> {
        let all = self.rest;
        if let Some((bytes, rest)) = all.split_at_checked(units)
            && bytes.is_ascii()
        {
            self.rest = rest;
            return Some(bytes);
        }
        for _ in 0..units {
            let len = match self.rest.first()? {
                0x00..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => return None,
            };
            self.rest = self.rest.get(len..)?;
        }
        all.get(..all.len() - self.rest.len())
    }

    /// Takes an int in any of its forms.
    #[inline]
    pub(crate) fn int(&mut self) -> Option<i32> {
        let code = self.byte()?;
        Some(match code {
            0x80..=0xbf => i32::from(code) - 0x90,
            0xc0..=0xcf => (i32::from(code) - 0xc8) * 0x100 + i32::from(self.byte()?),
            0xd0..=0xd7 => {
                let low = u16::from_be_bytes(self.array()?);
                (i32::from(code) - 0xd4) * 0x1_0000 + i32::from(low)
            }
            b'I' => i32::from_be_bytes(self.array()?),
            _ => return None,
        })
    }

    /// Takes a long in any of its forms.
    #[inline]
    pub(crate) fn long(&mut self) -> Option<i64> {
        let code = self.byte()?;
        Some(match code {
            0xd8..=0xef => i64::from(code) - 0xe0,
            0xf0..=0xff => (i64::from(code) - 0xf8) * 0x100 + i64::from(self.byte()?),
            0x38..=0x3f => {
                let low = u16::from_be_bytes(self.array()?);
                (i64::from(code) - 0x3c) * 0x1_0000 + i64::from(low)
            }
            0x77 => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return None,
        })
    }

    /// Begins a map, of whatever type.
    #[inline]
    pub(crate) fn map(&mut self) -> Option<()> {
        self.eat(b"M")?;
        match self.rest.first()? {
            b't' => {
                self.byte()?;
                let len = u16::from_be_bytes(self.array()?);
                self.units(usize::from(len)).map(drop)
            }
            b'u' => {
                self.byte()?;
                self.int().map(drop)
            }
            _ => Some(()),
        }
    }

    /// Whether a map or list ends here; passes over its end.
    #[inline]
    pub(crate) fn ends(&mut self) -> bool {
        self.eat(b"z").is_some()
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self) -> Option<()> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: u8) -> Option<()> {
        match *self.rest.first()? {
            b'N' | b'T' | b'F' | 0x67 | 0x68 => self.byte().map(drop),
            0x80..=0xd7 | b'I' => self.int().map(drop),
            0xd8..=0xff | 0x38..=0x3f | 0x77 | b'L' => self.long().map(drop),
            b's' => {
                self.byte()?;
                let len = u16::from_be_bytes(self.array()?);
                self.units(usize::from(len))?;
                // Chunks of a string are followed by one.
                match *self.rest.first()? {
                    0x00..=0x1f | b'S' | b's' => self.skip_within(depth.checked_sub(1)?),
                    _ => None,
                }
            }
            0x00..=0x1f => {
                let len = self.byte()?;
                self.units(usize::from(len)).map(drop)
            }
            b'S' => {
                self.byte()?;
                let len = u16::from_be_bytes(self.array()?);
                self.units(usize::from(len)).map(drop)
            }
            0x69 => self.array::<2>().map(drop),
            0x6a => self.array::<3>().map(drop),
            0x6b => self.array::<5>().map(drop),
            b'D' | b'd' => self.array::<9>().map(drop),
            b'M' => {
                let depth = depth.checked_sub(1)?;
                self.map()?;
                while !self.ends() {
                    self.skip_within(depth)?;
                    self.skip_within(depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Document, Value, Writer};
    use super::*;

    #[test]
    fn numbers_of_every_length_read_as_the_tree_reads_them() {
        for shift in 0..63 {
            for around in -2..=2_i64 {
                for sign in [1, -1] {
                    let value = sign * ((1_i64 << shift) + around);
                    let mut writer = Writer::new();
                    writer.long(value).int(value as i32);
                    let bytes = writer.finish();
                    let mut scan = Scan::new(&bytes);
                    assert_eq!(scan.long(), Some(value));
                    assert_eq!(scan.int(), Some(value as i32));
                    assert_eq!(scan.at(), bytes.len());
                }
            }
        }
    }

    #[test]
    fn what_is_passed_over_ends_where_the_tree_says() {
        let mut writer = Writer::new();
        writer.map(None);
        for text in ["", "short", "é", "\u{4e2d}\u{6587}", &"x".repeat(70_000)] {
            writer.string(text).string_or_null(None);
        }
        writer.string("typed").map(Some("java.util.LinkedHashMap"));
        writer.string("again").map(Some("java.util.LinkedHashMap"));
        writer.end_map().end_map();
        writer.string("numbers").map(None);
        writer
            .long(1 << 40)
            .double(0.25)
            .double(0.1)
            .double(5.0)
            .double(300.0)
            .date(7);
        writer.end_map().end_map().int(5);
        let bytes = writer.finish();
        let (document, findings) = Document::parse(&bytes);
        assert_eq!(findings, []);
        let mut scan = Scan::new(&bytes);
        scan.skip().expect("all of it is known");
        assert_eq!(scan.at(), document.range(document.roots()[0]).end);
        assert_eq!(scan.int(), Some(5));
        for end in (0..200).chain((200..bytes.len() - 1).step_by(1009)) {
            assert_eq!(Scan::new(&bytes[..end]).skip(), None, "cut at {end}");
        }
    }

    #[test]
    fn texts() {
        for text in ["", "plain", "é", "中文", &"y".repeat(40)] {
            let mut writer = Writer::new();
            writer.string(text).null();
            let bytes = writer.finish();
            let mut scan = Scan::new(&bytes);
            assert_eq!(scan.text_or_null(), Some(Some(text)));
            assert_eq!(scan.text_or_null(), Some(None));
            let (document, _) = Document::parse(&bytes);
            assert_eq!(document.value(document.roots()[0]), Value::String(text));
        }
    }
}
