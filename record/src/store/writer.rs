//! Writing a record: streaming, with bounded memory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::{ARTEFACTS, EVENTS, EXCHANGES, MANIFEST, MANIFEST_PARTIAL, StoreError, WIRE};
use crate::event::{Entry, Event};
use crate::histogram::Histogram;
use crate::ledger::{CaptureLedger, ReplayLedger};
use crate::manifest::{Input, Manifest, SCHEMA, Start};
use crate::row::ExchangeRow;
use crate::verdict::{Claim, End, overall};

/// Rows between two flushes of the compressor: what a run that is cut off loses at most.
const ROWS_PER_FLUSH: u64 = 256;
/// Level 3 is zstd's own default: about 300 MB/s, and bodies of RPC shrink five-fold.
const ZSTD_LEVEL: i32 = 3;

/// What is known when a run ends.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The wall clock.
    pub now: Timestamp,
    /// Nanoseconds since the run's start.
    pub at_ns: u64,
    /// How it ended.
    pub end: End,
    /// Every claim; the events need not have told them before.
    pub claims: Vec<Claim>,
    /// Account of the capture.
    pub capture: Option<CaptureLedger>,
    /// Account of the replay.
    pub replay: Option<ReplayLedger>,
    /// See [`Manifest::latency`].
    pub latency: Option<Histogram>,
    /// See [`Manifest::lateness`].
    pub lateness: Option<Histogram>,
}

/// Writes one record. Holds one line and the buffers of two files, whatever the run's length.
///
/// Dropped without [`Writer::finish`], it leaves the record of a run that was cut off.
pub struct Writer {
    folder: PathBuf,
    start: Start,
    inputs: Vec<Input>,
    events: BufWriter<File>,
    events_written: u64,
    rows: zstd::Encoder<'static, BufWriter<File>>,
    rows_written: u64,
    line: Vec<u8>,
}

impl Writer {
    /// Makes the folder and writes the first event.
    ///
    /// A folder that is there must be empty: records are never mixed.
    pub fn create(folder: &Path, start: Start) -> Result<Writer, StoreError> {
        if fs::metadata(folder).is_ok_and(|it| !it.is_dir()) {
            return Err(StoreError::NoFolder {
                path: folder.to_owned(),
            });
        }
        fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let mut entries = fs::read_dir(folder).map_err(StoreError::io(folder))?;
        if entries.next().is_some() {
            return Err(StoreError::NotEmpty {
                path: folder.to_owned(),
            });
        }
        let open = |name: &str| {
            let path = folder.join(name);
            File::create_new(&path).map_err(StoreError::io(&path))
        };
        let events = BufWriter::new(open(EVENTS)?);
        let rows = zstd::Encoder::new(BufWriter::new(open(EXCHANGES)?), ZSTD_LEVEL)
            .map_err(StoreError::io(folder))?;
        let mut writer = Writer {
            folder: folder.to_owned(),
            start: start.clone(),
            inputs: Vec::new(),
            events,
            events_written: 0,
            rows,
            rows_written: 0,
            line: Vec::new(),
        };
        writer.event(0, Event::RunStarted { start })?;
        writer.flush()?;
        Ok(writer)
    }

    /// The record's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the run's own traffic goes, for whoever was asked to capture it.
    pub fn wire_path(&self) -> PathBuf {
        self.folder.join(WIRE)
    }

    /// A folder for whatever else the run leaves; made on the first call.
    pub fn artefacts(&self) -> Result<PathBuf, StoreError> {
        let path = self.folder.join(ARTEFACTS);
        fs::create_dir_all(&path).map_err(StoreError::io(&path))?;
        Ok(path)
    }

    /// Notes a file that the run read.
    pub fn input(&mut self, at_ns: u64, input: Input) -> Result<(), StoreError> {
        self.inputs.push(input.clone());
        self.event(at_ns, Event::InputRead { input })
    }

    /// Appends an event; `at_ns` counts from the run's start.
    pub fn event(&mut self, at_ns: u64, event: Event) -> Result<(), StoreError> {
        encode(&mut self.line, &Entry { at_ns, event })
            .and_then(|()| self.events.write_all(&self.line))
            .map_err(StoreError::io(&self.folder.join(EVENTS)))?;
        self.events_written += 1;
        Ok(())
    }

    /// Appends an exchange. Rows may come in any order.
    pub fn row(&mut self, row: &ExchangeRow) -> Result<(), StoreError> {
        let written = encode(&mut self.line, row).and_then(|()| self.rows.write_all(&self.line));
        self.rows_written += 1;
        let flushed = if self.rows_written.is_multiple_of(ROWS_PER_FLUSH) {
            written.and_then(|()| self.rows.flush())
        } else {
            written
        };
        flushed.map_err(StoreError::io(&self.folder.join(EXCHANGES)))
    }

    /// Hands everything written so far to the operating system.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.events
            .flush()
            .and_then(|()| self.rows.flush())
            .map_err(StoreError::io(&self.folder))
    }

    /// Writes the last event, then the manifest: to a file of another name, synced, renamed.
    pub fn finish(mut self, ending: Ending) -> Result<Manifest, StoreError> {
        let verdict = overall(&ending.claims);
        let last = Event::RunEnded {
            end: ending.end,
            verdict,
        };
        self.event(ending.at_ns, last)?;
        self.events
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(StoreError::io(&self.folder.join(EVENTS)))?;
        self.rows
            .finish()
            .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|file| file.sync_all())
            .map_err(StoreError::io(&self.folder.join(EXCHANGES)))?;
        let manifest = Manifest {
            schema: SCHEMA,
            start: self.start,
            ended: ending.now.to_string(),
            elapsed_ns: ending.at_ns,
            end: ending.end,
            inputs: self.inputs,
            claims: ending.claims,
            verdict,
            events: self.events_written,
            exchanges: self.rows_written,
            capture: ending.capture,
            replay: ending.replay,
            latency: ending.latency,
            lateness: ending.lateness,
        };
        seal(&self.folder, &manifest).map_err(StoreError::io(&self.folder.join(MANIFEST)))?;
        Ok(manifest)
    }
}

fn encode<T: Serialize>(line: &mut Vec<u8>, value: &T) -> io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, value)?;
    line.push(b'\n');
    Ok(())
}

/// The manifest appears whole, on disk, or not at all.
fn seal(folder: &Path, manifest: &Manifest) -> io::Result<()> {
    let partial = folder.join(MANIFEST_PARTIAL);
    let mut file = File::create(&partial)?;
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Readable::default());
    manifest.serialize(&mut serializer)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(MANIFEST))?;
    // The rename itself is on disk once the folder is.
    File::open(folder)?.sync_all()
}

/// JSON with a line for each field, and lists within one line: a histogram has thousands of pairs.
#[derive(Default)]
struct Readable(PrettyFormatter<'static>);

impl Formatter for Readable {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object(to)
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object(to)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object_value(to)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object_value(to)
    }
}
