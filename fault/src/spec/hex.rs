//! Bytes as people write them.

/// Bytes of one text at most.
pub const BYTES_MAX: usize = 64 << 10;

/// Two digits for each byte, blanks passed over; none where it is anything else.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| {
            letter
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let good = rest.is_empty() && !pairs.is_empty() && pairs.len() <= BYTES_MAX;
    good.then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_two_digits() {
        assert_eq!(bytes("da bb\n00"), Some(vec![0xda, 0xbb, 0]));
        for bad in ["", "d", "dab", "xx", "  "] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }
}
