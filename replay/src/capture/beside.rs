//! What a capture holds besides packets, counted: nobody here reads it, and nobody loses it
//! without a word.

use std::ops::AddAssign;

/// What a pcapng holds besides packets and what is needed to read them. None of it comes out with
/// the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Comments, of packets and of anything else.
    pub comments: u64,
    /// Other options of packets, interfaces and sections: names, programs, flags, filters.
    pub options: u64,
    /// Blocks with names of hosts.
    pub name_blocks: u64,
    /// Other blocks without packets: statistics, journals, secrets, custom and unknown ones.
    pub other_blocks: u64,
}

impl Beside {
    /// Each count with the name under which a summary tells it.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        [
            ("comment-left-out", self.comments),
            ("option-left-out", self.options),
            ("name-block-left-out", self.name_blocks),
            ("block-left-out", self.other_blocks),
        ]
    }

    /// Counts the options at the end of a block, but for those that `is_used` names by code.
    /// `u16_at` reads in the order of the file.
    #[cold]
    pub(super) fn options(
        &mut self,
        mut options: &[u8],
        u16_at: impl Fn(&[u8], usize) -> u16,
        is_used: impl Fn(u16) -> bool,
    ) {
        while options.len() >= 4 {
            let (code, len) = (u16_at(options, 0), usize::from(u16_at(options, 2)));
            match code {
                END => return,
                COMMENT => self.comments += 1,
                code if is_used(code) => {}
                _ => self.options += 1,
            }
            let next = 4 + len.next_multiple_of(4);
            options = options.get(next..).unwrap_or_default();
        }
    }
}

/// Codes that all options share (draft-ietf-opsawg-pcapng, 3.5).
const END: u16 = 0;
const COMMENT: u16 = 1;

impl AddAssign for Beside {
    fn add_assign(&mut self, other: Beside) {
        self.comments += other.comments;
        self.options += other.options;
        self.name_blocks += other.name_blocks;
        self.other_blocks += other.other_blocks;
    }
}
