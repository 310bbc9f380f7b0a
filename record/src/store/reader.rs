//! Reading a record, whole or cut off.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::lines::Lines;
use super::{ARTEFACTS, EVENTS, EXCHANGES, MANIFEST, SCHEMA, StoreError, WIRE};
use crate::case::{Case, Detail};
use crate::event::{Entry, Event};
use crate::manifest::{Manifest, Start};
use crate::row::ExchangeRow;

pub use super::lines::Damage;

/// Longest manifest read, in bytes; a capture of many gaps makes a long one.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Longest explanation of a case read, in bytes.
const DETAIL_BYTES_MAX: u64 = 4 << 20;

/// A record on disk.
#[derive(Clone, Debug)]
pub struct Record {
    folder: PathBuf,
    manifest: Option<Manifest>,
    start: Option<Start>,
}

impl Record {
    /// Opens the folder of a run.
    ///
    /// Without a manifest the run was cut off: [`Record::manifest`] is `None`, and events and
    /// rows hold what was written until then.
    pub fn open(folder: &Path) -> Result<Record, StoreError> {
        let metadata = fs::metadata(folder).map_err(StoreError::io(folder))?;
        let none = || StoreError::NoRecord {
            path: folder.to_owned(),
        };
        if !metadata.is_dir() {
            return Err(none());
        }
        let mut record = Record {
            folder: folder.to_owned(),
            manifest: manifest(&folder.join(MANIFEST))?,
            start: None,
        };
        record.start = match &record.manifest {
            Some(manifest) => Some(manifest.start.clone()),
            None if !folder.join(EVENTS).is_file() => return Err(none()),
            None => match record.events()?.next().transpose()? {
                Some(Entry {
                    event: Event::RunStarted { start },
                    ..
                }) => Some(start),
                _ => None,
            },
        };
        match &record.start {
            Some(start) if start.schema > SCHEMA => Err(StoreError::Newer {
                path: folder.join(EVENTS),
                found: u64::from(start.schema),
            }),
            _ => Ok(record),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the run says of itself; `None` for one that was cut off.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// What was known when the run began; `None` only where its first event is damaged.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// The run's own traffic, where it was asked for.
    pub fn wire(&self) -> Option<PathBuf> {
        let path = self.folder.join(WIRE);
        path.is_file().then_some(path)
    }

    /// What the run kept to explain a case; `None` where it kept nothing that can be read.
    pub fn detail(&self, case: &Case) -> Result<Option<Detail>, StoreError> {
        let plain = |path: &&String| {
            path.ends_with("detail.json")
                && Path::new(path.as_str())
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)))
        };
        let Some(path) = case.evidence.iter().find(plain) else {
            return Ok(None);
        };
        let path = self.folder.join(ARTEFACTS).join(path);
        let Some(file) = open(&path)? else {
            return Ok(None);
        };
        let mut text = Vec::new();
        let read = file.take(DETAIL_BYTES_MAX).read_to_end(&mut text);
        read.map_err(StoreError::io(&path))?;
        Ok(serde_json::from_slice(&text).ok())
    }

    /// Its events, in order; none where the file is not there.
    pub fn events(&self) -> Result<Entries, StoreError> {
        let path = self.folder.join(EVENTS);
        let from: Source = match open(&path)? {
            Some(file) => Box::new(BufReader::with_capacity(1 << 18, file)),
            None => Box::new(io::empty()),
        };
        Ok(Entries {
            lines: Lines::new(from),
            path,
        })
    }

    /// Its exchanges, in the order of writing; none where the file is not there.
    ///
    /// Memory: one row.
    pub fn rows(&self) -> Result<Rows, StoreError> {
        let path = self.folder.join(EXCHANGES);
        let from: Source = match open(&path)? {
            Some(file) => {
                let plain = zstd::Decoder::new(file).map_err(StoreError::io(&path))?;
                Box::new(BufReader::with_capacity(1 << 18, plain))
            }
            None => Box::new(io::empty()),
        };
        Ok(Rows {
            lines: Lines::new(from),
            path,
        })
    }
}

/// What lines are read from.
type Source = Box<dyn BufRead + Send>;

/// A file that a run may have been cut off before making.
fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

/// Reads the manifest, if there is one.
fn manifest(path: &Path) -> Result<Option<Manifest>, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u64,
    }
    if !path.exists() {
        return Ok(None);
    }
    let file = File::open(path).map_err(StoreError::io(path))?;
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(StoreError::io(path))?;
    let wrong = |error: serde_json::Error| StoreError::Manifest {
        path: path.to_owned(),
        line: error.line(),
        why: error.to_string(),
    };
    // The version first: what a newer one writes need not parse as ours.
    let version: Version = serde_json::from_slice(&text).map_err(wrong)?;
    if version.schema > u64::from(SCHEMA) {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version.schema,
        });
    }
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}

/// The events of a record, in order.
pub struct Entries {
    lines: Lines<Source>,
    path: PathBuf,
}

impl Entries {
    /// What was wrong with the lines read so far.
    pub fn damage(&self) -> &Damage {
        &self.lines.damage
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.lines.next();
        next.map_err(StoreError::io(&self.path)).transpose()
    }
}

/// The exchanges of a record, in the order of writing.
pub struct Rows {
    lines: Lines<Source>,
    path: PathBuf,
}

impl Rows {
    /// What was wrong with the lines read so far.
    pub fn damage(&self) -> &Damage {
        &self.lines.damage
    }
}

impl Iterator for Rows {
    type Item = Result<ExchangeRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.lines.next();
        next.map_err(StoreError::io(&self.path)).transpose()
    }
}
