//! What is written down before the first rule, so that rules can be found and taken away by
//! somebody who knows nothing else of them.
//!
//! One file for each lease, locked by its keeper and by the tools that it runs: as long as the
//! lock is held, somebody may still be making rules. The folder lies on a file system that is
//! empty after a new start of the machine, as its rules are.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::{Family, Way};

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Leases that are looked at.
pub const ENTRIES_MAX: usize = 10_000;

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// The lease.
    pub lease: String,
    /// How it is done.
    pub way: Way,
    /// The chain that its rules are in.
    pub chain: String,
    /// The fault in words.
    pub fault: String,
    /// Of which families.
    pub families: Vec<Family>,
    /// Its network: device and number of its namespace.
    pub network: (u64, u64),
    /// The keeper, as it was numbered where it ran.
    pub keeper: u32,
}

/// The folder of the journal: `/run/meshproof/faults`; of an ordinary user one of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    folder: PathBuf,
}

/// The right to change rules and the journal: nobody else of ours does at the same time.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "the lock goes with it")] File);

impl Journal {
    /// Where it may be, the best first.
    fn places() -> Vec<PathBuf> {
        let uid = rustix::process::geteuid().as_raw();
        let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        [
            Some(PathBuf::from("/run")),
            of_user,
            Some(std::env::temp_dir().join(format!("meshproof-{uid}"))),
        ]
        .into_iter()
        .flatten()
        .map(|place| place.join("meshproof/faults"))
        .collect()
    }

    /// The one that is in use here, made where it is missing.
    pub fn open() -> io::Result<Journal> {
        let mut refused = None;
        for folder in Journal::places() {
            match Journal::at(&folder) {
                Ok(journal) => return Ok(journal),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// The one that is in use here; none: there was no fault yet. Makes nothing.
    pub fn existing() -> Option<Journal> {
        Journal::places()
            .into_iter()
            .map(|folder| Journal { folder })
            .find(|journal| {
                File::options()
                    .write(true)
                    .open(journal.folder.join("lock"))
                    .is_ok()
            })
    }

    /// The one in this folder, made where it is missing.
    pub fn at(folder: &Path) -> io::Result<Journal> {
        fs::create_dir_all(folder)?;
        let journal = Journal {
            folder: folder.to_owned(),
        };
        // Who may not lock may not write.
        drop(journal.lock_file()?);
        Ok(journal)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn lock_file(&self) -> io::Result<File> {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.folder.join("lock"))
    }

    /// Waits for the right to change something. Who has it keeps it for the time of a few rules.
    pub fn turn(&self) -> io::Result<Turn> {
        let file = self.lock_file()?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Turn(file)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn path(&self, lease: &str) -> PathBuf {
        self.folder.join(format!("{lease}.json"))
    }

    /// Writes an entry and locks it; it is on the disk when this returns.
    pub fn write(&self, entry: &Entry) -> io::Result<File> {
        let part = self.folder.join(format!(".{}.part", entry.lease));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&part)?;
        // Before it can be found: nobody takes it for one whose keeper is gone.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(&serde_json::to_vec_pretty(entry)?)?;
        file.sync_all()?;
        fs::rename(&part, self.path(&entry.lease))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(file)
    }

    /// Removes an entry and what was written beside it.
    pub fn remove(&self, lease: &str) -> io::Result<()> {
        for family in Family::ALL {
            match fs::remove_file(self.script(lease, *family)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match fs::remove_file(self.path(lease)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where the rules of a lease are written for the tool that makes them.
    pub fn script(&self, lease: &str, family: Family) -> PathBuf {
        self.folder.join(format!("{lease}.{family}"))
    }

    /// All entries, by their leases; those that cannot be read are passed over.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(ENTRIES_MAX) {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "json")
                && path.file_name().is_some_and(|name| name != MADE)
            {
                found.extend(read::<Entry>(&path));
            }
        }
        found.sort_by(|one, other| one.lease.cmp(&other.lease));
        Ok(found)
    }

    /// Whether somebody still has the lock of an entry: its keeper, or a tool that it ran.
    pub fn is_kept(&self, lease: &str) -> bool {
        let Ok(file) = File::open(self.path(lease)) else {
            return false;
        };
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Tables that faults made, in a network, and that go when they are empty.
    pub fn made(&self) -> Vec<Made> {
        read(&self.folder.join(MADE)).unwrap_or_default()
    }

    /// Remembers them; to be called by whoever has the turn.
    pub fn remember(&self, made: &[Made]) -> io::Result<()> {
        let path = self.folder.join(MADE);
        if made.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let part = self.folder.join(".made.part");
        fs::write(&part, serde_json::to_vec(made)?)?;
        File::open(&part)?.sync_all()?;
        fs::rename(part, path)
    }
}

const MADE: &str = "made.json";

/// A table that was not there before a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// By which tool.
    pub way: Way,
    /// Of which family.
    pub family: Family,
    /// In which network.
    pub network: (u64, u64),
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let mut file = File::open(path).ok()?;
    file.rewind().ok()?;
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The network of this thread: device and number of its namespace.
pub fn network() -> io::Result<(u64, u64)> {
    let found = fs::metadata("/proc/thread-self/ns/net")?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_and_tells_whether_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path()).unwrap();
        let entry = Entry {
            schema: 1,
            run: "r".into(),
            lease: "one".into(),
            way: Way::IptablesNft,
            chain: "MP-one".into(),
            fault: "drop".into(),
            families: vec![Family::V4],
            network: network().unwrap(),
            keeper: 1,
        };
        let _turn = journal.turn().unwrap();
        let held = journal.write(&entry).unwrap();
        assert_eq!(journal.entries().unwrap(), [entry]);
        assert!(journal.is_kept("one"));
        drop(held);
        assert!(!journal.is_kept("one"));
        fs::write(journal.script("one", Family::V4), "*filter").unwrap();
        let made = vec![Made {
            way: Way::IptablesNft,
            family: Family::V4,
            network: (1, 2),
        }];
        journal.remember(&made).unwrap();
        assert_eq!(journal.made(), made);
        journal.remember(&[]).unwrap();
        journal.remove("one").unwrap();
        journal.remove("one").unwrap();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["lock"]);
    }
}
