//! Bytes that wait to be written.

/// An output buffer: appended at its end, written from its start.
///
/// It grows with what is put in and gives memory back once it is empty.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    start: usize,
}

/// Capacity that an empty buffer may keep, in bytes.
const KEPT_BYTES_MAX: usize = 256 << 10;

impl Out {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.start
    }

    #[inline]
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or(&[])
    }

    /// Where new bytes are put; what is there already is left alone.
    #[inline]
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Lets go of the first `len` bytes that wait.
    pub(super) fn wrote(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.bytes.len());
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        } else if self.start > KEPT_BYTES_MAX && self.start > self.bytes.len() / 2 {
            // Each byte is moved at most once for each byte that was written before it.
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_gone_and_memory_comes_back() {
        let mut out = Out::default();
        let mut expect: Vec<u8> = Vec::new();
        for round in 0..200u32 {
            let piece = vec![round as u8; 10_000];
            out.tail().extend_from_slice(&piece);
            expect.extend_from_slice(&piece);
            let wrote = (round as usize * 37) % 9000;
            out.wrote(wrote);
            expect.drain(..wrote);
            assert_eq!(out.waiting(), expect);
        }
        assert!(out.bytes.capacity() < 4 * out.len() + 4 * KEPT_BYTES_MAX);
        out.wrote(usize::MAX);
        assert!(out.is_empty() && out.waiting().is_empty() && out.bytes.capacity() == 0);
    }
}
