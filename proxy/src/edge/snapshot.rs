//! The last good addresses, kept in the run directory for a restart.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use meshproof_sys::clock::Nanos;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::discovery::State;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads a snapshot; `None` where there is none that is whole, which is logged.
pub(super) fn read(path: &Path) -> Option<State> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(target: "proxy::discovery", ?path, %error, "snapshot not read");
            return None;
        }
    };
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    let parsed = read.and_then(|_| Ok(serde_json::from_slice(&bytes)?));
    parsed
        .inspect_err(|error| {
            tracing::warn!(target: "proxy::discovery", ?path, %error, "snapshot not read");
        })
        .ok()
}

/// Writes a snapshot so that a reader finds the old one or the new one, never a piece.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

/// Writes a while after a change, one write at a time.
pub(super) struct Keeper {
    path: PathBuf,
    due: Option<Nanos>,
    writing: Option<oneshot::Receiver<()>>,
}

impl Keeper {
    pub(super) fn new(path: PathBuf) -> Keeper {
        Keeper {
            path,
            due: None,
            writing: None,
        }
    }

    /// The state has changed; it is to be on disk some time after `due`.
    pub(super) fn changed(&mut self, due: Nanos) {
        self.due.get_or_insert(due);
    }

    /// When [`Keeper::keep`] has something to do.
    pub(super) fn due(&self) -> Option<Nanos> {
        // The end of a write wakes its owner: it is a task of his.
        self.due.filter(|_| self.writing.is_none())
    }

    /// Begins a write where one is due.
    pub(super) fn keep(
        &mut self,
        now: Nanos,
        state: impl FnOnce() -> State,
        tasks: &mut JoinSet<()>,
    ) {
        use oneshot::error::TryRecvError;
        if let Some(writing) = &mut self.writing
            && writing.try_recv() != Err(TryRecvError::Empty)
        {
            self.writing = None;
        }
        if self.writing.is_some() || self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        // Addresses alone: what the app publishes, a new process learns from the app.
        let whole = state();
        let kept = State {
            lists: whole.lists,
            names: whole.names,
            ..State::default()
        };
        let path = self.path.clone();
        let (done, writing) = oneshot::channel();
        self.writing = Some(writing);
        tasks.spawn_blocking(move || {
            if let Err(error) = write(&path, &kept) {
                tracing::warn!(target: "proxy::discovery", ?path, %error, "snapshot not written");
            }
            let _ = done.send(());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_torn_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.json");
        assert_eq!(read(&path), None);
        let state = State {
            session: "a".to_owned(),
            ..State::default()
        };
        write(&path, &state).unwrap();
        assert_eq!(read(&path), Some(state));
        fs::write(&path, "{\"session\":").unwrap();
        assert_eq!(read(&path), None);
    }
}
