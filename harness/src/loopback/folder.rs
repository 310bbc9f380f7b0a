//! The private folder of an environment, and what is left of those that could not remove theirs.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::getuid;

/// Held for as long as the folder is used.
const LOCK: &str = "lock";

/// A folder below that for temporary files, for this user alone. It is removed when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes it, and removes those whose owners are gone.
    pub(super) fn make() -> io::Result<Folder> {
        let base = std::env::temp_dir();
        sweep(&base);
        make_in(&base)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a folder; what somebody writes into it meanwhile does not save it.
pub(super) fn remove(path: &Path) {
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            _ => return,
        }
    }
}

fn prefix() -> String {
    format!("meshproof-{}-", getuid().as_raw())
}

fn make_in(base: &Path) -> io::Result<Folder> {
    /// Names that are tried: of folders that others left under our number.
    const TRIES: u32 = 1000;
    let mut said = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in 0..TRIES {
        let path = base.join(format!("{}{}-{number}", prefix(), std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                // Locked before it has its name: whoever finds it, finds it locked.
                let unnamed = path.join("unnamed");
                let lock = File::create_new(&unnamed)?;
                lock.lock()?;
                fs::rename(unnamed, path.join(LOCK))?;
                return Ok(Folder { path, _lock: lock });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => said = error,
            Err(error) => return Err(error),
        }
    }
    Err(said)
}

/// Removes the folders of this user that nobody holds. What cannot be read is left alone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    let prefix = prefix();
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        // Of the entry itself, not of what a link leads to.
        let ours = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == getuid().as_raw());
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        match lock.try_lock() {
            Ok(()) => remove(&entry.path()),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_swept_and_the_rest_stays() {
        let base = tempfile::tempdir().unwrap();
        let held = make_in(base.path()).unwrap();
        let mode = fs::metadata(held.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        let left = base.path().join(format!("{}left", prefix()));
        fs::create_dir_all(left.join("files/deep")).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let unlocked = base.path().join(format!("{}unlocked", prefix()));
        let other = base.path().join("other");
        for folder in [&unlocked, &other] {
            fs::create_dir(folder).unwrap();
        }
        sweep(base.path());
        assert!(!left.exists());
        assert!(unlocked.exists() && other.exists() && held.path().join(LOCK).exists());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
