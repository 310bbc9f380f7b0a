//! Pseudonyms: the same input under the same key gives the same output of a similar shape.

/// Makes pseudonyms under one key.
///
/// Keyed BLAKE3 of the input drives which character takes the place of which: digits become
/// digits, letters become letters of the same case, CJK ideographs become such, everything else
/// stays. So a phone number still looks like one, keeps its length in UTF-16 units, and cannot be
/// led back without the key. Short values may meet: there are only ten digits.
#[derive(Clone)]
pub(super) struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    /// For the `key` of a map.
    pub(super) fn new(key: &str) -> Pseudonyms {
        Pseudonyms {
            key: blake3::derive_key("meshproof rewrite map redact v1", key.as_bytes()),
        }
    }

    fn stream(&self, input: &[u8]) -> Stream {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(input);
        Stream(hasher.finalize_xof())
    }

    /// The pseudonym of a text.
    pub(super) fn text(&self, text: &str) -> String {
        let mut stream = self.stream(text.as_bytes());
        text.chars()
            .map(|c| match c {
                '0'..='9' => stream.within('0', 10),
                'a'..='z' => stream.within('a', 26),
                'A'..='Z' => stream.within('A', 26),
                // CJK unified ideographs: three bytes each, one UTF-16 unit.
                '\u{4e00}'..='\u{9fa5}' => stream.within('\u{4e00}', 0x9fa5 - 0x4e00 + 1),
                // Any other letter becomes a plain one: scripts are not told apart further.
                c if !c.is_ascii() && c.is_alphanumeric() => stream.within('a', 26),
                c => c,
            })
            .collect()
    }

    /// The pseudonym of a whole number: sign and number of digits stay, within `min..=max`.
    pub(super) fn number(&self, value: i64, min: i64, max: i64) -> i64 {
        let digits = value.unsigned_abs().to_string();
        let mut stream = self.stream(digits.as_bytes());
        let mut made: i64 = 0;
        for at in 0..digits.len() {
            let digit = if at == 0 && digits.len() > 1 {
                1 + stream.below(9)
            } else {
                stream.below(10)
            };
            made = match made
                .checked_mul(10)
                .and_then(|made| made.checked_add(i64::from(digit)))
            {
                Some(made) => made,
                None => break,
            };
        }
        let signed = if value < 0 { -made } else { made };
        // Ten digits may not fit 32 bits: one less does, and the shape is nearly kept.
        if signed < min || signed > max {
            signed / 10
        } else {
            signed
        }
    }

    /// As many other bytes.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; bytes.len()];
        self.stream(bytes).0.fill(&mut out);
        out
    }
}

/// Numbers from a keyed hash.
struct Stream(blake3::OutputReader);

impl Stream {
    fn below(&mut self, bound: u32) -> u32 {
        let mut four = [0; 4];
        self.0.fill(&mut four);
        // The bias of a remainder by so small a bound does not matter here.
        u32::from_le_bytes(four) % bound
    }

    fn within(&mut self, first: char, count: u32) -> char {
        char::from_u32(u32::from(first) + self.below(count)).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_length_stay() {
        let pseudonyms = Pseudonyms::new("a long secret");
        for text in ["13800138000", "Li Lei", "李雷", "a.b@c-D.net", "", "ünder"] {
            let made = pseudonyms.text(text);
            assert_eq!(made, pseudonyms.text(text), "not the same twice");
            assert_eq!(made.encode_utf16().count(), text.encode_utf16().count());
            for (old, new) in text.chars().zip(made.chars()) {
                assert_eq!(old.is_ascii_digit(), new.is_ascii_digit(), "{text} {made}");
                assert_eq!(old.is_alphabetic(), new.is_alphabetic(), "{text} {made}");
            }
        }
        assert_ne!(pseudonyms.text("13800138000"), "13800138000");
        assert_ne!(
            pseudonyms.text("13800138000"),
            Pseudonyms::new("another secret").text("13800138000")
        );
    }

    #[test]
    fn numbers_keep_sign_and_digits() {
        let pseudonyms = Pseudonyms::new("a long secret");
        for value in [0, 7, -7, 13_800_138_000, i64::MAX, i64::MIN] {
            let made = pseudonyms.number(value, i64::MIN, i64::MAX);
            assert_eq!(made, pseudonyms.number(value, i64::MIN, i64::MAX));
            assert!(value == 0 || made == 0 || (value < 0) == (made < 0));
        }
        for value in [i32::MAX, i32::MIN, 1_999_999_999] {
            let made =
                pseudonyms.number(i64::from(value), i64::from(i32::MIN), i64::from(i32::MAX));
            assert!(i32::try_from(made).is_ok());
        }
        let made = pseudonyms.number(13_800_138_000, i64::MIN, i64::MAX);
        assert_eq!(made.to_string().len(), 11);
        assert_eq!(pseudonyms.bytes(b"abc").len(), 3);
    }
}
