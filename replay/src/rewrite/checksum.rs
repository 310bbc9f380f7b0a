//! Checksums of IP and TCP, updated by difference (RFC 1624).

/// A ones' complement sum of 16-bit words (RFC 1071), not folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even place; an odd last byte is the high half of a word.
    pub(crate) fn add(mut self, bytes: &[u8]) -> Sum {
        let words = bytes.chunks_exact(2);
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        for word in words {
            if let [a, b] = word {
                self.0 += u64::from(u16::from_be_bytes([*a, *b]));
            }
        }
        self
    }

    pub(super) fn word(mut self, word: u16) -> Sum {
        self.0 += u64::from(word);
        self
    }

    pub(crate) fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }
}

/// The checksum after the covered bytes changed from those of `old` to those of `new`, neither
/// with the checksum itself: `HC' = ~(~HC + ~m + m')` (RFC 1624, equation 3).
///
/// One that was right is right again, and one that was wrong is wrong by the same difference.
pub(super) fn updated(checksum: u16, old: Sum, new: Sum) -> u16 {
    if old.fold() == new.fold() {
        return checksum;
    }
    !Sum::default()
        .word(!checksum)
        .word(!old.fold())
        .word(new.fold())
        .fold()
}

/// Whether a checksum is right for the covered bytes.
pub(super) fn holds(checksum: u16, covered: Sum) -> bool {
    covered.word(checksum).fold() == 0xffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn right(bytes: &[u8]) -> u16 {
        !Sum::default().add(bytes).fold()
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 1624, section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives 0x0000.
        let old = Sum::default().word(0x5555);
        let new = Sum::default().word(0x3285);
        assert_eq!(updated(0xdd2f, old, new), 0x0000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn right_stays_right_and_wrong_stays_wrong(
            old in prop::collection::vec(any::<u8>(), 1..40),
            new in prop::collection::vec(any::<u8>(), 1..40),
            error in 1u16..0xfffe,
        ) {
            let sum = |bytes: &[u8]| Sum::default().add(bytes);
            prop_assume!(sum(&old).fold() != 0 && sum(&new).fold() != 0);
            let made = updated(right(&old), sum(&old), sum(&new));
            prop_assert!(holds(made, sum(&new)));
            let wrong = Sum::default().word(right(&old)).word(error).fold();
            let made = updated(wrong, sum(&old), sum(&new));
            prop_assert_eq!(holds(made, sum(&new)), holds(wrong, sum(&old)));
            // And back again.
            let back = updated(made, sum(&new), sum(&old));
            prop_assert!(back == wrong || (wrong == 0xffff && back == 0) || (wrong == 0 && back == 0xffff));
        }
    }
}
