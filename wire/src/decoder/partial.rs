//! The front of a frame that has not come whole.

use crate::bolt;
use crate::detect::LOOK_BYTES_MAX;

/// Bytes that are held without an allocation: enough for any head of BOLT, and to tell what a
/// stream is.
pub(super) const FRONT_BYTES: usize = if LOOK_BYTES_MAX > bolt::Head::BYTES_MAX {
    LOOK_BYTES_MAX
} else {
    bolt::Head::BYTES_MAX
};

/// The front of a frame. Grows beyond [`FRONT_BYTES`] only for protocols whose heads do.
#[derive(Clone, Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; FRONT_BYTES],
    /// `0 <= len <= bytes.len()`
    len: usize,
    /// All bytes, once they are more than fit.
    more: Vec<u8>,
}

impl Partial {
    /// The bytes.
    #[inline]
    pub(super) fn filled(&self) -> &[u8] {
        if self.more.is_empty() {
            self.bytes.get(..self.len).unwrap_or(&[])
        } else {
            &self.more
        }
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.filled().len()
    }

    /// Takes bytes from the front of `input` until `until` are there; returns how many.
    #[inline]
    pub(super) fn take(&mut self, input: &[u8], until: usize) -> usize {
        let room = until.saturating_sub(self.len());
        let taken = input.get(..room).unwrap_or(input);
        if self.more.is_empty() && self.len + taken.len() <= FRONT_BYTES {
            let end = self.len + taken.len();
            if let Some(free) = self.bytes.get_mut(self.len..end) {
                free.copy_from_slice(taken);
            }
            self.len = end;
        } else {
            self.spill(taken);
        }
        taken.len()
    }

    #[cold]
    fn spill(&mut self, taken: &[u8]) {
        if self.more.is_empty() {
            self.more = self.bytes.get(..self.len).unwrap_or(&[]).to_vec();
        }
        self.more.extend_from_slice(taken);
    }

    /// The bytes, to keep.
    pub(super) fn into_vec(self) -> Vec<u8> {
        if self.more.is_empty() {
            self.filled().to_vec()
        } else {
            self.more
        }
    }
}
