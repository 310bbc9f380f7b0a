//! One capture file of either format.

use std::io;

use super::Link;
use super::beside::Beside;
use super::finding::{Notes, What};
use super::input::{Failed, Input};
use super::pcap::{self, Pcap};
use super::pcapng::{self, PcapNg};
use super::window::Window;

/// One packet, by its place in the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) at_ns: u64,
    pub(super) link: Link,
    pub(super) position: usize,
    pub(super) len: usize,
    pub(super) orig_len: u32,
}

/// Why a file is not read further.
pub(super) enum Halt {
    /// The operating system refused.
    Io(io::Error),
    /// The rest cannot be trusted.
    Damage(What),
}

impl From<Failed> for Halt {
    fn from(failed: Failed) -> Halt {
        match failed {
            Failed::Io(error) => Halt::Io(error),
            Failed::Compression(why) => Halt::Damage(What::Compression { why }),
        }
    }
}

/// Why a file is not read at all.
pub(super) enum Begun {
    Io(io::Error),
    Empty,
    NotACapture,
    Header {
        offset: u64,
        why: String,
        advice: &'static str,
    },
}

impl From<Failed> for Begun {
    fn from(failed: Failed) -> Begun {
        match failed {
            Failed::Io(error) => Begun::Io(error),
            Failed::Compression(why) => Begun::Header {
                offset: 0,
                why: format!("expected compressed data, found damage: {why}"),
                advice: "copy the file again",
            },
        }
    }
}

/// A file, and how far it was read.
pub(super) struct Reader {
    window: Window,
    format: Format,
    notes: Notes,
    /// Packets that came out so far.
    packets: u64,
    last_ns: u64,
    done: bool,
}

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

impl Reader {
    /// Reads the header.
    pub(super) fn begin(input: Input, buffer: Vec<u8>) -> Result<Reader, (Begun, Vec<u8>)> {
        let mut window = Window::new(input, buffer);
        let mut notes = Notes::default();
        match format(&mut window, &mut notes) {
            Ok(format) => Ok(Reader {
                window,
                format,
                notes,
                packets: 0,
                last_ns: 0,
                done: false,
            }),
            Err(begun) => {
                // The first bytes are for the message.
                let seen = window.bytes();
                let seen = seen[..seen.len().min(4)].to_vec();
                Err((begun, seen))
            }
        }
    }

    /// Goes on to the next packet; `None` at the end, be it damage. After `None` it stays there.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<Option<Record>, io::Error> {
        if self.done {
            return Ok(None);
        }
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.advance(&mut self.window, &mut self.notes, self.packets + 1),
            Format::PcapNg(pcapng) => {
                pcapng.advance(&mut self.window, &mut self.notes, self.packets + 1)
            }
        };
        match next {
            Ok(Some(record)) => {
                self.packets += 1;
                if record.at_ns < self.last_ns {
                    self.stepped_back(&record);
                }
                self.last_ns = record.at_ns;
                Ok(Some(record))
            }
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(halt) => self.halted(halt),
        }
    }

    #[cold]
    fn stepped_back(&mut self, record: &Record) {
        let what = What::TimeBackwards {
            step_ns: self.last_ns - record.at_ns,
        };
        let behind = self.window.position() - record.position;
        let offset = self.window.offset() - behind as u64;
        self.notes.add(offset, self.packets, what);
    }

    #[cold]
    fn halted(&mut self, halt: Halt) -> Result<Option<Record>, io::Error> {
        self.done = true;
        match halt {
            Halt::Io(error) => Err(error),
            Halt::Damage(what) => {
                self.notes.add(self.window.offset(), self.packets + 1, what);
                Ok(None)
            }
        }
    }

    /// The bytes of the record that came out last.
    #[inline]
    pub(super) fn data(&self, record: &Record) -> &[u8] {
        self.window.at(record.position, record.len)
    }

    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// What was passed over so far besides packets.
    pub(super) fn beside(&self) -> Beside {
        match &self.format {
            Format::Pcap(_) => Beside::default(),
            Format::PcapNg(pcapng) => pcapng.beside(),
        }
    }

    /// Bytes of the file passed so far, after decompression.
    pub(super) fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// The buffer, for the next file.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.window.into_buffer()
    }
}

fn format(window: &mut Window, notes: &mut Notes) -> Result<Format, Begun> {
    if !window.ensure(4)? {
        return Err(if window.bytes().is_empty() {
            Begun::Empty
        } else {
            Begun::NotACapture
        });
    }
    let magic = *window.bytes().first_chunk::<4>().ok_or(Begun::Empty)?;
    if pcap::is_magic(magic) {
        Ok(Format::Pcap(Pcap::begin(window, notes)?))
    } else if pcapng::is_magic(magic) {
        Ok(Format::PcapNg(PcapNg::begin(window, notes)?))
    } else {
        Err(Begun::NotACapture)
    }
}
