//! Many capture files, read as one.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::beside::Beside;
use super::error::Error;
use super::finding::{Finding, What};
use super::input::Input;
use super::inputs::{Chosen, Inputs, Named};
use super::reader::{Begun, Reader, Record};
use super::{OPEN_FILES_MAX, Packet, Packets};

/// A capture point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name; `capture` for inputs that were given none.
    pub name: String,
    /// Nanoseconds that are added to the time of each of its packets.
    pub offset_ns: i64,
}

/// Capture files, read as one sequence of packets in time order.
///
/// Each file is read from its beginning to its end in its own order; where files overlap in time
/// (several sources, or parts of one) the earliest of their next packets comes first. A file is
/// open only while its packets may be the next, so that many rotated parts cost no more memory
/// than one.
pub struct Captures {
    sources: Vec<Source>,
    /// Files that hold a packet, by the time of their first.
    parts: Vec<Part>,
    /// The first part that was not begun.
    next_part: usize,
    /// Corrected time of its first packet; the end of time where there is none.
    next_part_ns: u64,
    active: Vec<Active>,
    /// Which one gave the last packet, and is to go on before the next choice.
    last: Option<usize>,
    number: u64,
    /// Findings of files that are done or hold no packet.
    findings: Vec<Finding>,
    /// How many of them come from opening, and stand again after [`Captures::rewind`].
    findings_of_opening: usize,
    /// What those files hold besides packets.
    beside: Beside,
    /// The part of it that comes from opening.
    beside_of_opening: Beside,
    spare: Vec<Vec<u8>>,
    files_bytes: Option<u64>,
    done_bytes: u64,
}

struct Part {
    path: PathBuf,
    source: u16,
    first_ns: u64,
    /// A reader that stands behind its first packet: for what can be opened once only.
    begun: Option<(Box<Reader>, Record)>,
    /// Whether it can be opened again.
    again: Again,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Can,
    Cannot,
}

struct Active {
    reader: Reader,
    /// The next packet, its time corrected.
    record: Record,
    source: u16,
    part: usize,
}

impl Captures {
    /// Finds the files, reads each one's header and first packet, and sets them in order.
    ///
    /// # Errors
    /// Nothing was named, a name or pattern matches nothing, a file that was named is empty or no
    /// capture, its header cannot be read. Files that a folder or glob brought in and that are no
    /// capture are left out, with a finding.
    pub fn open(inputs: &Inputs) -> Result<Captures, Error> {
        let (names, files) = inputs.files()?;
        let mut captures = Captures::new(names);
        let only = files.len() == 1;
        let mut bytes = Some(0u64);
        for file in &files {
            bytes = match (bytes, std::fs::metadata(&file.path)) {
                (Some(sum), Ok(metadata)) if metadata.is_file() => Some(sum + metadata.len()),
                _ => None,
            };
            captures.add(file, only)?;
        }
        captures.files_bytes = bytes;
        captures.in_order()?;
        Ok(captures)
    }

    /// One capture from anything that can be read, once. `name` stands in findings.
    ///
    /// # Errors
    /// As [`Captures::open`].
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Result<Captures, Error> {
        let path = PathBuf::from(name);
        let mut captures = Captures::new(vec![name.to_owned()]);
        let input = Input::reader(Box::new(reader)).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        let reader = captures.begin(&path, input)?;
        captures.first(&path, 0, reader, Again::Cannot, true)?;
        captures.in_order()?;
        Ok(captures)
    }

    fn new(names: Vec<String>) -> Captures {
        Captures {
            sources: names
                .into_iter()
                .map(|name| Source { name, offset_ns: 0 })
                .collect(),
            parts: Vec::new(),
            next_part: 0,
            next_part_ns: u64::MAX,
            active: Vec::new(),
            last: None,
            number: 0,
            findings: Vec::new(),
            findings_of_opening: 0,
            beside: Beside::default(),
            beside_of_opening: Beside::default(),
            spare: Vec::new(),
            files_bytes: None,
            done_bytes: 0,
        }
    }

    /// The capture points; [`Packet::source`] is an index into them.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Corrects the clock of a capture point: `offset_ns` is added to the time of its packets from
    /// the next one on. Without effect where there is no such source.
    pub fn set_offset(&mut self, source: u16, offset_ns: i64) {
        let Some(of) = self.sources.get_mut(usize::from(source)) else {
            return;
        };
        let step = offset_ns.saturating_sub(of.offset_ns);
        of.offset_ns = offset_ns;
        for active in self.active.iter_mut().filter(|a| a.source == source) {
            active.record.at_ns = active.record.at_ns.saturating_add_signed(step);
        }
        self.sort();
    }

    /// What is wrong with the files read so far. Complete once [`Packets::next`] gave `None`.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = self.findings.clone();
        for active in &self.active {
            let part = &self.parts[active.part];
            all.extend(active.reader.notes().findings(&part.path));
        }
        all
    }

    /// What the files hold besides packets. Complete once [`Packets::next`] gave `None`.
    pub fn beside(&self) -> Beside {
        let mut all = self.beside;
        for active in &self.active {
            all += active.reader.beside();
        }
        all
    }

    /// The files that hold a packet, in the order in which they are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.path.as_path())
    }

    /// Size of all files in bytes, where it is known; for showing progress.
    pub fn bytes_total(&self) -> Option<u64> {
        self.files_bytes
    }

    /// Bytes passed so far, after decompression.
    pub fn bytes_read(&self) -> u64 {
        let open: u64 = self.active.iter().map(|a| a.reader.offset()).sum();
        self.done_bytes + open
    }

    /// Starts again at the first packet, for a second pass.
    ///
    /// # Errors
    /// Where the input can be read only once.
    pub fn rewind(&mut self) -> Result<(), Error> {
        if let Some(part) = self.parts.iter().find(|part| part.again == Again::Cannot) {
            return Err(Error::OnePass {
                path: part.path.clone(),
            });
        }
        self.last = None;
        while let Some(active) = self.active.pop() {
            self.recycle(active.reader);
        }
        for part in &mut self.parts {
            part.begun = None;
        }
        self.findings.truncate(self.findings_of_opening);
        self.beside = self.beside_of_opening;
        self.number = 0;
        self.done_bytes = 0;
        self.next_part = 0;
        self.sort();
        Ok(())
    }

    /// Takes a file in at opening.
    fn add(&mut self, file: &Named, only: bool) -> Result<(), Error> {
        let path = &file.path;
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let again = match path.metadata() {
            Ok(metadata) if metadata.is_file() => Again::Can,
            _ => Again::Cannot,
        };
        let begun = Input::open(path)
            .map_err(io)
            .and_then(|input| self.begin(path, input));
        let reader = match begun {
            Ok(reader) => reader,
            Err(error @ (Error::Io { .. } | Error::TooManyOpen { .. })) => return Err(error),
            Err(error) if file.chosen == Chosen::ByName => return Err(error),
            Err(error) => {
                let why = match error {
                    Error::Empty { .. } => "the file is empty".to_owned(),
                    Error::NotACapture { found, .. } => {
                        format!("starts with {found}, which is no capture")
                    }
                    Error::Header { why, .. } => why,
                    other => other.to_string(),
                };
                self.findings.push(Finding {
                    path: path.clone(),
                    offset: 0,
                    packet: 0,
                    what: What::LeftOut { why },
                    count: 1,
                });
                return Ok(());
            }
        };
        self.first(path, file.source, reader, again, only)
    }

    /// Reads a file's first packet.
    fn first(
        &mut self,
        path: &Path,
        source: u16,
        mut reader: Reader,
        again: Again,
        only: bool,
    ) -> Result<(), Error> {
        let record = reader.advance().map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let Some(record) = record else {
            self.findings.extend(reader.notes().findings(path));
            self.beside += reader.beside();
            self.recycle(reader);
            // Nothing to read, and yet a part: a capture with a header and no packet is one.
            self.parts.push(Part {
                path: path.to_owned(),
                source,
                first_ns: u64::MAX,
                begun: None,
                again,
            });
            return Ok(());
        };
        let begun = if only || again == Again::Cannot {
            Some((Box::new(reader), record))
        } else {
            self.recycle(reader);
            None
        };
        self.parts.push(Part {
            path: path.to_owned(),
            source,
            first_ns: record.at_ns,
            begun,
            again,
        });
        Ok(())
    }

    /// Ends opening.
    fn in_order(&mut self) -> Result<(), Error> {
        if self.parts.is_empty() {
            return Err(Error::NoMatch {
                pattern: match self.findings.first() {
                    Some(finding) => finding.path.display().to_string(),
                    None => String::new(),
                },
                why: "none of the files is a capture",
            });
        }
        // Parts without a packet have said what they had to say.
        self.parts.retain(|part| part.first_ns != u64::MAX);
        self.findings_of_opening = self.findings.len();
        self.beside_of_opening = self.beside;
        self.sort();
        Ok(())
    }

    /// Puts the parts that were not begun in order of their first packets.
    fn sort(&mut self) {
        let sources = &self.sources;
        let first = |part: &Part| corrected(part.first_ns, sources, part.source);
        if let Some(waiting) = self.parts.get_mut(self.next_part..) {
            waiting.sort_by_key(first);
        }
        self.next_part_ns = self.parts.get(self.next_part).map_or(u64::MAX, first);
    }

    fn begin(&mut self, path: &Path, input: Input) -> Result<Reader, Error> {
        let buffer = self.spare.pop().unwrap_or_default();
        Reader::begin(input, buffer).map_err(|(begun, seen)| {
            let path = path.to_owned();
            match begun {
                Begun::Io(source) => Error::Io { path, source },
                Begun::Empty => Error::Empty { path },
                Begun::NotACapture => Error::NotACapture {
                    path,
                    found: seen.iter().map(|byte| format!("{byte:02x}")).collect(),
                },
                Begun::Header {
                    offset,
                    why,
                    advice,
                } => Error::Header {
                    path,
                    offset,
                    why,
                    advice,
                },
            }
        })
    }

    fn recycle(&mut self, reader: Reader) {
        if self.spare.is_empty() {
            self.spare.push(reader.into_buffer());
        }
    }

    /// Goes on in the file that gave the last packet.
    #[inline]
    fn go_on(&mut self, index: usize) -> Result<(), Error> {
        let Some(active) = self.active.get_mut(index) else {
            return Ok(());
        };
        match active.reader.advance() {
            Ok(Some(record)) => {
                active.record = record;
                let offset_ns = self.sources[usize::from(active.source)].offset_ns;
                if offset_ns != 0 {
                    active.record.at_ns = record.at_ns.saturating_add_signed(offset_ns);
                }
                Ok(())
            }
            Ok(None) => {
                self.end(index);
                Ok(())
            }
            Err(source) => Err(Error::Io {
                path: self.parts[active.part].path.clone(),
                source,
            }),
        }
    }

    #[cold]
    fn end(&mut self, index: usize) {
        let active = self.active.swap_remove(index);
        let part = &self.parts[active.part];
        self.findings
            .extend(active.reader.notes().findings(&part.path));
        self.beside += active.reader.beside();
        self.done_bytes += active.reader.offset();
        self.recycle(active.reader);
    }

    /// The open file whose packet is the earliest, after opening those whose turn has come.
    #[cold]
    fn choose(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let earliest = self
                .active
                .iter()
                .enumerate()
                .min_by_key(|(_, active)| (active.record.at_ns, active.part))
                .map(|(index, active)| (index, active.record.at_ns));
            let waiting = self.next_part < self.parts.len();
            match earliest {
                Some((index, at_ns)) if !waiting || at_ns <= self.next_part_ns => {
                    return Ok(Some(index));
                }
                None if !waiting => return Ok(None),
                _ => self.open_next()?,
            }
        }
    }

    fn open_next(&mut self) -> Result<(), Error> {
        let index = self.next_part;
        let part = &mut self.parts[index];
        let (path, source) = (part.path.clone(), part.source);
        if self.active.len() >= OPEN_FILES_MAX {
            return Err(Error::TooManyOpen {
                path,
                open: self.active.len(),
            });
        }
        let begun = part.begun.take();
        self.next_part += 1;
        let next = self.parts.get(self.next_part);
        self.next_part_ns = next.map_or(u64::MAX, |part| {
            corrected(part.first_ns, &self.sources, part.source)
        });
        let io = |source| Error::Io {
            path: path.clone(),
            source,
        };
        let begun = match begun {
            Some((reader, record)) => Some((*reader, record)),
            None => {
                let input = Input::open(&path).map_err(io)?;
                let mut reader = self.begin(&path, input)?;
                reader.advance().map_err(io)?.map(|record| (reader, record))
            }
        };
        // A file that lost its packets since it was opened first has nothing to add.
        if let Some((reader, mut record)) = begun {
            record.at_ns = corrected(record.at_ns, &self.sources, source);
            self.active.push(Active {
                reader,
                record,
                source,
                part: index,
            });
        }
        Ok(())
    }
}

fn corrected(at_ns: u64, sources: &[Source], source: u16) -> u64 {
    match sources.get(usize::from(source)) {
        Some(source) => at_ns.saturating_add_signed(source.offset_ns),
        None => at_ns,
    }
}

impl Packets for Captures {
    #[inline]
    fn next(&mut self) -> Result<Option<Packet<'_>>, Error> {
        if let Some(last) = self.last.take() {
            self.go_on(last)?;
        }
        let index = match self.active.as_slice() {
            // One file, and none whose turn has come: the usual case.
            [only] if only.record.at_ns <= self.next_part_ns => 0,
            _ => match self.choose()? {
                Some(index) => index,
                None => return Ok(None),
            },
        };
        self.last = Some(index);
        self.number += 1;
        let active = &self.active[index];
        Ok(Some(Packet {
            number: self.number,
            at_ns: active.record.at_ns,
            link: active.record.link,
            source: active.source,
            data: active.reader.data(&active.record),
            orig_len: active.record.orig_len,
        }))
    }
}
