//! The run directory: whose it is, and the socket in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const LOCK: &str = "lock";
const SOCKET: &str = "upgrade.sock";

/// Why a run directory cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It is another sidecar's, alive or not.
    #[error("run directory {} is that of sidecar `{theirs}`, this one is `{ours}`: give this one a `run` of its own, or remove the directory if `{theirs}` is no more", path.display())]
    Name {
        /// The directory.
        path: PathBuf,
        /// As the directory says.
        theirs: String,
        /// As configured.
        ours: String,
    },
    /// The same sidecar runs.
    #[error("sidecar `{name}` runs already{}: add --upgrade to take over from it, or stop it first", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Runs {
        /// Its name.
        name: String,
        /// Its process, where it said so.
        pid: Option<u32>,
    },
    /// The file system says no.
    #[error("run directory {}: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Who has the directory.
#[derive(Debug)]
pub(super) enum Claim {
    /// This process, from now on.
    Mine(RunDirectory),
    /// Another one of the same name.
    Held { pid: Option<u32> },
}

/// The content of the lock file.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    name: String,
    pid: u32,
}

/// A run directory that is this process's alone, as long as this lives.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    pub(super) lock: File,
    pub(super) socket: UnixListener,
}

impl RunDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory for sidecar `name`, making it where it is not there. The lock goes
    /// with its process, however that ends; what a dead one left behind is in nobody's way.
    pub(super) fn claim(path: &Path, name: &str) -> Result<Claim, RunError> {
        let wrong = |error| RunError::Io {
            path: path.to_owned(),
            error,
        };
        // Whoever can reach the socket can take the sidecar over.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(wrong)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(wrong)?;
        let mine = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        };
        let mut text = String::new();
        (&lock)
            .take(64 << 10)
            .read_to_string(&mut text)
            .map_err(wrong)?;
        // One that has only just been made says nothing yet; its socket will.
        let owner: Option<Owner> = serde_json::from_str(&text).ok();
        if let Some(owner) = &owner
            && owner.name != name
        {
            return Err(RunError::Name {
                path: path.to_owned(),
                theirs: owner.name.clone(),
                ours: name.to_owned(),
            });
        }
        if !mine {
            return Ok(Claim::Held {
                pid: owner.map(|owner| owner.pid),
            });
        }
        sign(&mut lock, name).map_err(wrong)?;
        let socket = bind(path).map_err(wrong)?;
        Ok(Claim::Mine(RunDirectory {
            path: path.to_owned(),
            lock,
            socket,
        }))
    }

    /// Takes lock and socket from a predecessor.
    pub(super) fn inherited(path: &Path, lock: File, socket: UnixListener) -> RunDirectory {
        RunDirectory {
            path: path.to_owned(),
            lock,
            socket,
        }
    }

    /// Writes this process into the lock file.
    pub(super) fn sign(&mut self, name: &str) -> io::Result<()> {
        sign(&mut self.lock, name)
    }
}

fn sign(lock: &mut File, name: &str) -> io::Result<()> {
    let owner = Owner {
        name: name.to_owned(),
        pid: std::process::id(),
    };
    lock.seek(SeekFrom::Start(0))?;
    lock.set_len(0)?;
    // At once: to a file without a buffer each word would be a system call.
    lock.write_all(&serde_json::to_vec(&owner)?)?;
    lock.write_all(b"\n")
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    short(path, |socket| UnixListener::bind(socket))
}

/// Connects to the sidecar that has the directory.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    short(path, |socket| UnixStream::connect(socket))
}

/// Calls with the socket's path. The kernel takes paths of up to 107 bytes only; a longer one
/// goes by the directory's descriptor.
fn short<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let direct = path.join(SOCKET);
    if direct.as_os_str().len() < 100 {
        return with(&direct);
    }
    let directory = File::open(path)?;
    with(
        &Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(SOCKET),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn mine(path: &Path, name: &str) -> RunDirectory {
        match RunDirectory::claim(path, name).unwrap() {
            Claim::Mine(run) => run,
            held @ Claim::Held { .. } => panic!("{held:?}"),
        }
    }

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        let first = mine(&path, "a");
        match RunDirectory::claim(&path, "a").unwrap() {
            Claim::Held { pid } => assert_eq!(pid, Some(std::process::id())),
            claimed @ Claim::Mine(_) => panic!("{claimed:?}"),
        }
        connect(&path).unwrap();
        // The socket's file stays behind, and does no harm.
        drop(first);
        assert!(connect(&path).is_err());
        let again = mine(&path, "a");
        connect(&path).unwrap();
        // A copy of the lock keeps it, as it does in a successor.
        let lock = again.lock.try_clone().unwrap();
        drop(again);
        assert!(matches!(
            RunDirectory::claim(&path, "a").unwrap(),
            Claim::Held { .. }
        ));
        drop(lock);
        mine(&path, "a");
    }

    #[test]
    fn another_sidecars_directory_is_refused_alive_or_dead() {
        let dir = tempfile::tempdir().unwrap();
        let first = mine(dir.path(), "a");
        let refused = |path| RunDirectory::claim(path, "b").unwrap_err().to_string();
        assert!(refused(dir.path()).contains("is that of sidecar `a`, this one is `b`"));
        drop(first);
        assert!(refused(dir.path()).contains("is that of sidecar `a`"));
        mine(dir.path(), "a");
    }

    #[test]
    fn a_long_path_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(150));
        let _run = mine(&path, "a");
        connect(&path).unwrap();
    }
}
