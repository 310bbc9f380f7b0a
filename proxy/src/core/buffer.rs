//! Bytes that wait to be written.

/// An output buffer: appended at its end, written from its start.
///
/// It grows with what is put in and gives memory back once it is empty.
#[derive(Debug)]
pub(super) struct Out {
    bytes: Vec<u8>,
    start: usize,
    kept_bytes_max: usize,
}

/// Capacity that an empty buffer of a client may keep, in bytes: there are thousands of them.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// That of an upstream connection, of which there are few: the calls of many clients meet here,
/// and memory that is given back after every round costs more than the copying.
const KEPT_BYTES_MAX_UPSTREAM: usize = 1 << 20;

impl Out {
    /// Of a client.
    pub(super) fn of_client() -> Out {
        Out::keeping(KEPT_BYTES_MAX)
    }

    /// Of an upstream connection.
    pub(super) fn of_upstream() -> Out {
        Out::keeping(KEPT_BYTES_MAX_UPSTREAM)
    }

    fn keeping(kept_bytes_max: usize) -> Out {
        Out {
            bytes: Vec::new(),
            start: 0,
            kept_bytes_max,
        }
    }

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
            if self.bytes.capacity() > self.kept_bytes_max {
                self.bytes = Vec::new();
            }
        } else if self.start > self.kept_bytes_max && self.start > self.bytes.len() / 2 {
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
        let mut out = Out::of_client();
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
