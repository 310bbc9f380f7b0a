//! Connections between the parties, as two pipes of bytes each.

use meshproof_proxy::core::Conn;

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Client(usize),
    Server(usize),
    Core(usize, Conn),
}

/// One connection. `pipes[n]` holds what the end `n` wrote and the other has not read.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) owners: [Owner; 2],
    pub(super) pipes: [Vec<u8>; 2],
    /// This end is closed: it neither reads nor writes.
    pub(super) closed: [bool; 2],
    /// The other end was told of it.
    pub(super) told: [bool; 2],
}

/// Bytes that a pipe holds, as a kernel's socket buffers would.
pub(super) const PIPE_BYTES: usize = 12 << 10;

impl Link {
    pub(super) fn new(owners: [Owner; 2]) -> Link {
        Link {
            owners,
            pipes: [Vec::new(), Vec::new()],
            closed: [false; 2],
            told: [false; 2],
        }
    }

    pub(super) fn end_of(&self, owner: Owner) -> usize {
        usize::from(self.owners[1] == owner)
    }

    pub(super) fn space(&self, end: usize) -> usize {
        PIPE_BYTES.saturating_sub(self.pipes[end].len())
    }

    /// Writes; what goes to a closed end is lost.
    pub(super) fn write(&mut self, end: usize, bytes: &[u8]) {
        if !self.closed[1 - end] {
            self.pipes[end].extend_from_slice(bytes);
        }
    }

    pub(super) fn close(&mut self, end: usize) {
        self.closed[end] = true;
        // What it did not read is lost.
        self.pipes[1 - end].clear();
    }

    pub(super) fn open(&self) -> bool {
        self.closed == [false; 2]
    }
}

/// The chances of a run: the same seed, the same run.
#[derive(Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, n: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
