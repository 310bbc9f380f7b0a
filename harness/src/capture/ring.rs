//! A capture of bounded size: the newest packets, in a few files.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use meshproof_replay::capture::{Packet, Writer};

use super::Captured;

/// Bytes that a ring may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    bytes_max: u64,
}

impl Size {
    /// Of one capture point, where nothing else is said.
    pub const USUAL: Size = Size {
        bytes_max: 64 << 20,
    };

    /// The smallest ring: a packet of the largest kind in each of its files.
    pub const SMALLEST: Size = Size {
        bytes_max: FILES as u64 * (128 << 10),
    };

    /// So many bytes, at least those of [`Size::SMALLEST`].
    pub fn bytes(bytes_max: u64) -> Size {
        Size {
            bytes_max: bytes_max.max(Size::SMALLEST.bytes_max),
        }
    }
}

/// Files that a ring consists of at most.
const FILES: usize = 4;

/// Bytes that are gathered before they are written, where nobody asks for it before.
const HELD_BYTES_MAX: usize = 256 << 10;

/// Files `NAME.0001.pcapng` and on. The sum of their sizes stays below the ring's: before a file
/// is begun that would be one too many, the oldest is removed.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    name: String,
    part_bytes_max: u64,
    parts: VecDeque<Part>,
    /// Parts that were begun.
    begun: u32,
    writing: Option<Writer<Whole>>,
    held: Rc<RefCell<Held>>,
    overwritten: u64,
    refused: u64,
    failed: Option<String>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    packets: u64,
    bytes: u64,
}

impl Ring {
    /// Begins the first file. `name` is that of a pod, or what else has no `/` in it.
    pub fn begin(folder: &Path, name: &str, size: Size) -> io::Result<Ring> {
        fs::create_dir_all(folder)?;
        let mut ring = Ring {
            folder: folder.to_owned(),
            name: name.to_owned(),
            part_bytes_max: size.bytes_max / FILES as u64,
            parts: VecDeque::new(),
            begun: 0,
            writing: None,
            held: Rc::default(),
            overwritten: 0,
            refused: 0,
            failed: None,
        };
        ring.turn()?;
        ring.flush()?;
        Ok(ring)
    }

    /// Ends the file and begins the next.
    fn turn(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.parts.len() == FILES
            && let Some(oldest) = self.parts.pop_front()
        {
            self.overwritten += oldest.packets;
            // One that somebody moved away is his.
            let _ = fs::remove_file(&oldest.path);
        }
        self.begun += 1;
        let path = self
            .folder
            .join(format!("{}.{:04}.pcapng", self.name, self.begun));
        let file = File::create(&path)?;
        self.held.borrow_mut().file = Some(file);
        self.parts.push_back(Part {
            path,
            packets: 0,
            bytes: 0,
        });
        self.writing = Some(Writer::new(Whole(Rc::clone(&self.held)))?);
        self.account();
        Ok(())
    }

    /// Puts a packet in; it is in its file after [`Ring::flush`]. A packet that cannot be written
    /// is counted, and so are all after it.
    pub fn put(&mut self, packet: &Packet<'_>) {
        if self.failed.is_none()
            && let Err(error) = self.try_put(packet)
        {
            self.failed = Some(error.to_string());
        }
        if self.failed.is_some() {
            self.refused += 1;
        }
    }

    fn try_put(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        /// Of a block beside the packet's bytes, and of the description of its link.
        const AROUND: u64 = 32 + 4 + 32;
        let room = self
            .parts
            .back()
            .map_or(0, |part| self.part_bytes_max.saturating_sub(part.bytes));
        if packet.data.len() as u64 + AROUND > room {
            self.turn()?;
        }
        if let Some(writer) = &mut self.writing {
            writer.write(packet)?;
        }
        self.account();
        if let Some(part) = self.parts.back_mut() {
            part.packets += 1;
        }
        if self.held.borrow().bytes.len() > HELD_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Counts what the writer made into the present part.
    fn account(&mut self) {
        let mut held = self.held.borrow_mut();
        if let Some(part) = self.parts.back_mut() {
            part.bytes += std::mem::take(&mut held.more);
        }
    }

    /// Puts everything into its file: whoever reads it from now on finds it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.held.borrow_mut().flush()
    }

    /// Flushes, and where that fails says so in what is told of the ring.
    pub(super) fn settle(&mut self) {
        if let Err(error) = self.flush() {
            self.failed.get_or_insert(error.to_string());
        }
    }

    /// What is in it; `dropped` are those that the kernel dropped.
    pub fn captured(&self, dropped: u64) -> Captured {
        Captured {
            at: self.name.clone(),
            files: self.parts.iter().map(|part| part.path.clone()).collect(),
            packets: self.parts.iter().map(|part| part.packets).sum(),
            bytes: self.parts.iter().map(|part| part.bytes).sum(),
            overwritten: self.overwritten,
            dropped: dropped + self.refused,
            failed: self.failed.clone(),
        }
    }
}

/// What the writer wrote and the file does not have yet: it gets whole blocks only.
#[derive(Debug, Default)]
struct Held {
    file: Option<File>,
    bytes: Vec<u8>,
    /// Bytes that were not accounted for yet.
    more: u64,
}

impl Held {
    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.bytes)?;
        }
        self.bytes.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct Whole(Rc<RefCell<Held>>);

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.0.borrow_mut();
        held.bytes.extend_from_slice(bytes);
        held.more += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

#[cfg(test)]
mod tests {
    use meshproof_replay::capture::{Captures, Inputs, Link, Packets};

    use super::*;

    fn packet(number: u64, data: &[u8]) -> Packet<'_> {
        Packet {
            number,
            at_ns: number * 1_000,
            link: Link::Ethernet,
            source: 0,
            data,
            orig_len: data.len() as u32,
        }
    }

    /// The times of all packets in the files of a capture, as they are on the disk.
    fn times(captured: &Captured) -> Vec<u64> {
        let mut found = Vec::new();
        for file in &captured.files {
            let inputs = Inputs {
                captures: vec![file.to_string_lossy().into_owned()],
                sources: Vec::new(),
            };
            let mut captures = Captures::open(&inputs).unwrap();
            while let Some(packet) = captures.next().unwrap() {
                found.push(packet.at_ns / 1_000);
            }
        }
        found
    }

    #[test]
    fn the_newest_packets_are_kept_and_the_others_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::begin(folder.path(), "server", Size::bytes(0)).unwrap();
        let data = [0x5a; 10_000];
        let sent = 200;
        for number in 1..=sent {
            ring.put(&packet(number, &data));
        }
        ring.flush().unwrap();
        let captured = ring.captured(7);
        assert_eq!(captured.packets + captured.overwritten, sent);
        assert!(captured.overwritten > 0);
        let kept: Vec<u64> = (captured.overwritten + 1..=sent).collect();
        assert_eq!(times(&captured), kept);
        assert_eq!((captured.dropped, captured.failed.as_ref()), (7, None));
        let on_disk: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(on_disk, captured.bytes);
        assert!(on_disk <= Size::SMALLEST.bytes_max, "{on_disk}");
        assert_eq!(captured.files.len(), FILES);
    }

    #[test]
    fn what_was_flushed_is_read_while_the_ring_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::begin(folder.path(), "a", Size::USUAL).unwrap();
        assert!(times(&ring.captured(0)).is_empty());
        ring.put(&packet(1, b"one"));
        ring.put(&packet(2, b"two"));
        ring.flush().unwrap();
        assert_eq!(times(&ring.captured(0)), [1, 2]);
        ring.put(&packet(3, &[0; 100_000]));
        assert_eq!(ring.captured(0).packets, 3);
    }

    #[test]
    fn a_folder_that_goes_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        let mut ring = Ring::begin(&inner, "a", Size::SMALLEST).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        for number in 1..=20 {
            ring.put(&packet(number, &[0; 20_000]));
        }
        let captured = ring.captured(0);
        assert!(captured.failed.is_some());
        assert_eq!(captured.packets + captured.dropped, 20);
        assert!(captured.dropped > 0);
    }
}
