//! Other readings of the same bytes: what an encoding hides is laid open, and each byte remembers
//! where it came from.

use std::ops::Range;

use super::scan::Encoding;

/// Bytes laid open.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// For each byte where its source begins, and at the end where the last one's ends.
    places: Vec<u32>,
}

impl View {
    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    fn push(&mut self, byte: u8, at: usize) {
        self.bytes.push(byte);
        self.places.push(at as u32);
    }

    fn close(&mut self, at: usize) {
        self.places.push(at as u32);
    }

    /// Where a range of the view lies in the source.
    pub(super) fn source(&self, range: Range<usize>) -> Range<usize> {
        let place = |at: usize| self.places.get(at).map_or(0, |place| *place as usize);
        place(range.start)..place(range.end)
    }

    /// Whether the source of a range is longer than the range: something in it was encoded.
    pub(super) fn is_encoded(&self, range: &Range<usize>) -> bool {
        self.source(range.clone()).len() != range.len()
    }
}

/// Shortest run of UTF-16 that is laid open, in characters.
const UTF16_MIN: usize = 4;
/// Shortest run of hexadecimal digits that is laid open as text.
const HEX_MIN: usize = 8;
/// Shortest run of base64 that is laid open: four bytes take six characters.
const BASE64_MIN: usize = 6;

/// Runs of ASCII written as UTF-16 in both byte orders.
pub(super) fn utf16(source: &[u8], view: &mut View, mut each: impl FnMut(&View, Encoding)) {
    for (encoding, zero, letter) in [(Encoding::Utf16Le, 1, 0), (Encoding::Utf16Be, 0, 1)] {
        for parity in 0..2 {
            let mut at = parity;
            while let Some(pair) = source.get(at..at + 2) {
                if pair[zero] != 0 || !is_text(pair[letter]) {
                    at += 2;
                    continue;
                }
                view.clear();
                while let Some(pair) = source.get(at..at + 2) {
                    if pair[zero] != 0 || !is_text(pair[letter]) {
                        break;
                    }
                    view.push(pair[letter], at);
                    at += 2;
                }
                view.close(at);
                if view.bytes.len() >= UTF16_MIN {
                    each(view, encoding);
                }
            }
        }
    }
}

fn is_text(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte)
}

/// `%3A` of URLs, laid open once; `%253A` takes a second look at the result.
pub(super) fn percent(source: &[u8], view: &mut View) -> bool {
    if memchr::memchr(b'%', source).is_none() {
        return false;
    }
    view.clear();
    let mut encoded = false;
    let mut at = 0;
    while let Some(byte) = source.get(at) {
        // `%25` may stand before two more digits: an escape that was escaped.
        let digits_at = match source.get(at..at + 3) {
            Some(b"%25") if hex_pair(source, at + 3).is_some() => at + 3,
            _ => at + 1,
        };
        match (byte, hex_pair(source, digits_at)) {
            (b'%', Some(decoded)) => {
                view.push(decoded, at);
                encoded = true;
                at = digits_at + 2;
            }
            _ => {
                view.push(*byte, at);
                at += 1;
            }
        }
    }
    view.close(at);
    encoded
}

/// `\u003a`, `\x3a` and `\/` of JSON and its kin.
pub(super) fn escapes(source: &[u8], view: &mut View) -> bool {
    if memchr::memchr(b'\\', source).is_none() {
        return false;
    }
    view.clear();
    let mut encoded = false;
    let mut at = 0;
    while let Some(byte) = source.get(at) {
        let step = if *byte == b'\\' {
            escape(source, at)
        } else {
            None
        };
        match step {
            Some((character, len)) => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    view.push(byte, at);
                }
                encoded = true;
                at += len;
            }
            None => {
                view.push(*byte, at);
                at += 1;
            }
        }
    }
    view.close(at);
    encoded
}

fn escape(source: &[u8], at: usize) -> Option<(char, usize)> {
    match source.get(at + 1)? {
        b'u' => {
            let high = hex_pair(source, at + 2)?;
            let low = hex_pair(source, at + 4)?;
            let unit = u32::from(high) << 8 | u32::from(low);
            Some((char::from_u32(unit)?, 6))
        }
        b'x' => Some((char::from(hex_pair(source, at + 2)?), 4)),
        b'/' => Some(('/', 2)),
        _ => None,
    }
}

/// Runs of hexadecimal digits as bytes, from both phases.
pub(super) fn hex(source: &[u8], view: &mut View, mut each: impl FnMut(&View)) {
    runs(source, u8::is_ascii_hexdigit, HEX_MIN, |run| {
        for phase in 0..2 {
            view.clear();
            let mut at = run.start + phase;
            while at + 2 <= run.end {
                let Some(byte) = hex_pair(source, at) else {
                    break;
                };
                view.push(byte, at);
                at += 2;
            }
            view.close(at);
            each(view);
        }
    });
}

/// Runs of base64 as bytes, from all four phases; both alphabets, line breaks passed over.
pub(super) fn base64(source: &[u8], view: &mut View, mut each: impl FnMut(&View)) {
    let mut letters: Vec<(u8, u32)> = Vec::new();
    let mut at = 0;
    while at < source.len() {
        letters.clear();
        while let Some(byte) = source.get(at) {
            match sextet(*byte) {
                Some(value) => letters.push((value, at as u32)),
                // A line break within a run: the next line goes on.
                None if matches!(byte, b'\r' | b'\n')
                    && letters.len() >= BASE64_MIN
                    && (source.get(at + 1).copied().and_then(sextet).is_some()
                        || source.get(at + 1) == Some(&b'\n')) => {}
                None => break,
            }
            at += 1;
        }
        if letters.len() >= BASE64_MIN {
            for phase in 0..4 {
                view.clear();
                // What stands before the phase is the tail of a group of its own.
                for group in letters.get(phase..).unwrap_or_default().chunks(4) {
                    let sextets = group
                        .iter()
                        .fold(0u32, |bits, (value, _)| bits << 6 | u32::from(*value))
                        << (6 * (4 - group.len()));
                    let bytes = sextets.to_be_bytes();
                    // n characters hold n - 1 whole bytes.
                    for (index, (_, from)) in group.iter().take(group.len() - 1).enumerate() {
                        if let Some(byte) = bytes.get(index + 1) {
                            view.push(*byte, *from as usize);
                        }
                    }
                }
                view.close(at);
                each(view);
            }
        }
        at += 1;
    }
}

/// Calls `each` with every run of at least `min` bytes that `fits`.
pub(super) fn runs(
    source: &[u8],
    fits: impl Fn(&u8) -> bool,
    min: usize,
    mut each: impl FnMut(Range<usize>),
) {
    let mut start = None;
    for (at, byte) in source.iter().enumerate() {
        match (fits(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                if at - from >= min {
                    each(from..at);
                }
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start
        && source.len() - from >= min
    {
        each(from..source.len());
    }
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// The value of one hexadecimal digit.
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The byte that two hexadecimal digits at `at` spell.
pub(super) fn hex_pair(source: &[u8], at: usize) -> Option<u8> {
    let high = hex_digit(*source.get(at)?)?;
    let low = hex_digit(*source.get(at + 1)?)?;
    Some(high << 4 | low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_lays_open_twice_escaped() {
        let mut view = View::default();
        assert!(percent(b"http%3A%2f%252Fa:1%zz", &mut view));
        assert_eq!(view.bytes, b"http://a:1%zz");
        assert_eq!(view.source(4..7), 4..15);
        assert!(view.is_encoded(&(4..7)) && !view.is_encoded(&(0..4)));
        assert!(!percent(b"100% of it", &mut view));
    }

    #[test]
    fn escapes_of_json() {
        let mut view = View::default();
        assert!(escapes(br"a\u002eb\/c\x2Ed\n", &mut view));
        assert_eq!(view.bytes, br"a.b/c.d\n");
        assert_eq!(view.source(1..2), 1..7);
    }

    #[test]
    fn utf16_of_both_orders_at_any_place() {
        let mut seen = Vec::new();
        let source = b"xa\0b\0c\0d\0\xff\0e\0f\0g\0h\0\0i";
        utf16(source, &mut View::default(), |view, encoding| {
            seen.push((
                String::from_utf8_lossy(&view.bytes).into_owned(),
                encoding,
                view.source(0..view.bytes.len()),
            ));
        });
        assert!(
            seen.contains(&("abcd".into(), Encoding::Utf16Le, 1..9)),
            "{seen:?}"
        );
        assert!(
            seen.contains(&("efgh".into(), Encoding::Utf16Be, 10..18)),
            "{seen:?}"
        );
    }

    #[test]
    fn base64_of_every_alignment_and_alphabet() {
        use base64::Engine;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        for before in ["", "x", "xy", "xyz"] {
            for (what, text) in [
                ("std", STANDARD.encode(format!("{before}10.1.2.3?>~"))),
                (
                    "url",
                    URL_SAFE_NO_PAD.encode(format!("{before}10.1.2.3?>~")),
                ),
            ] {
                let source = format!("Q:{text}\"");
                let mut found = 0;
                base64(source.as_bytes(), &mut View::default(), |view| {
                    if let Some(at) = memchr::memmem::find(&view.bytes, b"10.1.2.3") {
                        let place = view.source(at..at + 8);
                        assert!(place.start >= 2 && place.end <= source.len());
                        found += 1;
                    }
                });
                assert_eq!(found, 1, "{what} {before}");
            }
        }
    }

    #[test]
    fn base64_goes_on_after_a_line_break() {
        let mut found = false;
        base64(b"MTAuMS\r\n4yLjM=", &mut View::default(), |view| {
            found |= view.bytes.starts_with(b"10.1.2.3");
        });
        assert!(found);
    }

    #[test]
    fn hex_of_both_phases() {
        let mut seen = Vec::new();
        hex(b"-f31302e31-", &mut View::default(), |view| {
            seen.push(String::from_utf8_lossy(&view.bytes).into_owned());
        });
        assert!(seen.contains(&"10.1".to_owned()), "{seen:?}");
    }
}
