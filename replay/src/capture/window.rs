//! A window on a file: one buffer, moved forward.

use super::input::{Failed, Input};

/// Bytes per read. It stays in the second-level cache; 32 to 128 KiB measured the same, 1 MiB slower.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Room in front of where reads land, for the rest of a record that the previous read cut. Reads
/// so always land at the same aligned place and are of the same size.
const CARRY_BYTES: usize = 64 << 10;

/// Reads land at a multiple of this in memory: a page.
const ALIGN: usize = 4096;

/// The bytes of a file that can be seen at the moment.
pub(super) struct Window {
    input: Input,
    buf: Vec<u8>,
    /// Where reads land.
    area: usize,
    start: usize,
    end: usize,
    /// Bytes read so far.
    total: u64,
    ended: bool,
}

impl Window {
    /// `buf` is a buffer to use again; an empty one is replaced.
    pub(super) fn new(input: Input, mut buf: Vec<u8>) -> Window {
        buf.resize(ALIGN + CARRY_BYTES + READ_BYTES, 0);
        let area = area(&mut buf);
        Window {
            input,
            area,
            start: area,
            end: area,
            buf,
            total: 0,
            ended: false,
        }
    }

    /// What can be seen: at least as much as was last asked for.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // Both are within the buffer at all times; `get` keeps a panic out of the hot path.
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// A range of the buffer; see [`Window::position`].
    #[inline]
    pub(super) fn at(&self, from: usize, len: usize) -> &[u8] {
        self.buf
            .get(from..from.wrapping_add(len))
            .unwrap_or_default()
    }

    /// Where in the buffer the window starts. Good until more is asked for.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// Offset of the window's first byte in the file.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.total - (self.end - self.start) as u64
    }

    /// Moves the window's start forward by what was seen.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.end - self.start);
        self.start = (self.start + n).min(self.end);
    }

    /// Makes `n` bytes visible; `false` where the file ends before.
    #[inline]
    pub(super) fn ensure(&mut self, n: usize) -> Result<bool, Failed> {
        if self.end - self.start >= n {
            Ok(true)
        } else {
            self.refill(n)
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: usize) -> Result<bool, Failed> {
        while self.end - self.start < n {
            if self.ended {
                return Ok(false);
            }
            if self.end == self.buf.len() || self.start == self.end {
                self.make_room();
            }
            match self.input.read(&mut self.buf[self.end..])? {
                0 => self.ended = true,
                read => {
                    self.end += read;
                    self.total += read as u64;
                }
            }
        }
        Ok(true)
    }

    /// Moves what is left in front of where reads land, in a larger buffer where it does not fit.
    fn make_room(&mut self) {
        let left = self.end - self.start;
        if left <= self.area {
            self.buf.copy_within(self.start..self.end, self.area - left);
            self.start = self.area - left;
            self.end = self.area;
        } else {
            let carry = left.next_power_of_two();
            let mut buf = vec![0; ALIGN + carry + READ_BYTES];
            let area = area(&mut buf);
            buf[area - left..area].copy_from_slice(&self.buf[self.start..self.end]);
            self.buf = buf;
            self.area = area;
            self.start = area - left;
            self.end = area;
        }
    }

    /// Passes over `n` bytes, seen or not; gives how many there were.
    pub(super) fn skip(&mut self, n: u64) -> Result<u64, Failed> {
        let mut left = n;
        while left > 0 {
            let seen = (self.end - self.start) as u64;
            if seen == 0 {
                if !self.ensure(1)? {
                    break;
                }
                continue;
            }
            let step = seen.min(left);
            self.start += step as usize;
            left -= step;
        }
        Ok(n - left)
    }

    /// The buffer, for the next file.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buf
    }
}

/// The last aligned place of a buffer that leaves room for one read; what is behind that read is
/// cut off.
fn area(buf: &mut Vec<u8>) -> usize {
    let area = buf.len() - READ_BYTES;
    let misaligned = (buf.as_ptr() as usize).wrapping_add(area) % ALIGN;
    buf.truncate(area - misaligned + READ_BYTES);
    area - misaligned
}
