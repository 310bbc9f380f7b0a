//! JSON lines that may be torn, damaged or hostile.

use std::io::{self, BufRead};

use serde::de::DeserializeOwned;

/// Longest line read: two bodies of 64 MiB in base64 and what stands around them. A longer one
/// is passed over without being held.
const LINE_BYTES_MAX: usize = 192 << 20;

/// What was wrong with a file of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The file ends within a line, or within a compressed block: that last line was dropped.
    pub torn: bool,
    /// Whole lines that could not be understood, passed over.
    pub unreadable: u64,
    /// The first of them: 1-based line, and what is wrong with it.
    pub first: Option<(u64, String)>,
}

impl Damage {
    /// Nothing was wrong.
    pub fn is_none(&self) -> bool {
        !self.torn && self.unreadable == 0
    }
}

/// Reads values a line at a time.
pub(super) struct Lines<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    pub(super) damage: Damage,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R) -> Lines<R> {
        Lines {
            from,
            line: Vec::new(),
            number: 0,
            damage: Damage::default(),
        }
    }

    /// The next line that can be understood.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        while self.fill()? {
            match serde_json::from_slice(&self.line) {
                Ok(value) => return Ok(Some(value)),
                Err(error) => self.blame(error.to_string()),
            }
        }
        Ok(None)
    }

    /// Reads one whole line within the limit; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut too_long = false;
        loop {
            let buffer = match self.from.fill_buf() {
                Ok(buffer) => buffer,
                // A compressed file of a run that was cut off ends within a block.
                Err(error) if is_torn(&error) => {
                    self.damage.torn = true;
                    &[]
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                self.damage.torn |= too_long || !self.line.is_empty();
                return Ok(false);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            too_long |= self.line.len() + taken > LINE_BYTES_MAX;
            if !too_long {
                self.line.extend_from_slice(&buffer[..taken]);
            }
            self.from.consume(taken);
            if end.is_none() {
                continue;
            }
            self.number += 1;
            if !too_long {
                return Ok(true);
            }
            self.blame(format!("line longer than {LINE_BYTES_MAX} bytes"));
            self.line.clear();
            too_long = false;
        }
    }

    fn blame(&mut self, why: String) {
        self.damage.unreadable += 1;
        let number = self.number;
        self.damage.first.get_or_insert((number, why));
    }
}

/// What the decompressor says of a file that ends too early or is damaged; what the operating
/// system says has other kinds.
fn is_torn(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other
    )
}
