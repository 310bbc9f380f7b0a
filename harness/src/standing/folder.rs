//! The folder of an environment that stands.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::environment::{Backend, Pod};

const NOTICE: &str = "env.json";
const LOCK: &str = "env.lock";
pub(super) const SOCKET: &str = "env.sock";

/// Folders among the runs that are looked at; of more, the newest.
const FOLDERS_MAX: usize = 10_000;

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// 1.
    pub schema: u32,
    /// What it is called: that of its topology, if nobody said otherwise.
    pub name: String,
    /// What it is made of.
    pub backend: Backend,
    /// The process that keeps it.
    pub pid: u32,
    /// When it stood, in seconds since the Unix epoch.
    pub since_s: u64,
    /// When its time is over, likewise; none: when it is told.
    pub until_s: Option<u64>,
    /// Its pods.
    pub pods: Vec<Pod>,
}

/// The folder of an environment of ours. It counts as standing from [`Folder::announce`] on,
/// until this is dropped, or until this process ends.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// There before anybody is told: whoever comes early is answered as soon as it stands.
    pub(super) listener: UnixListener,
    _lock: File,
}

impl Folder {
    /// Makes the folder and locks it; one that another environment stands in is refused.
    pub fn take(path: &Path) -> Result<Folder, Error> {
        let what = || format!("the folder {}", path.display());
        fs::create_dir_all(path).map_err(Error::io(what()))?;
        let lock = File::create(path.join(LOCK)).map_err(Error::io(what()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Refused(format!(
                    "in {} an environment stands already: name another folder",
                    path.display()
                )));
            }
            Err(error) => return Err(Error::io(what())(error.into())),
        }
        let listener =
            listen(path).map_err(Error::io(format!("the socket in {}", path.display())))?;
        Ok(Folder {
            path: path.to_owned(),
            listener,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder with all that is in it, once nothing stands here any more.
    pub fn remove(self) -> Result<(), Error> {
        // Locked until this returns: nobody comes between.
        fs::remove_dir_all(&self.path)
            .map_err(Error::io(format!("removing {}", self.path.display())))
    }

    /// Says what stands here.
    pub fn announce(&self, notice: &Notice) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            let part = self.path.join(".env.json.part");
            fs::write(&part, serde_json::to_vec_pretty(notice)?)?;
            fs::rename(part, self.path.join(NOTICE))
        };
        write().map_err(Error::io(format!("the notice in {}", self.path.display())))
    }
}

fn listen(folder: &Path) -> io::Result<UnixListener> {
    // Of one that stood here before and was killed.
    let _ = fs::remove_file(folder.join(SOCKET));
    let opened = File::open(folder)?;
    UnixListener::bind(socket(&opened))
}

/// An environment that somebody keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its folder.
    pub folder: PathBuf,
    /// What stands there.
    pub notice: Notice,
}

/// The environments that stand in the folders below `runs`, the oldest first; none where there is
/// no such folder.
pub fn list(runs: &Path) -> Result<Vec<Standing>, Error> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("the folder {}", runs.display()))(error)),
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // Names of runs sort by time.
    folders.sort();
    let skipped = folders.len().saturating_sub(FOLDERS_MAX);
    Ok(folders
        .iter()
        .skip(skipped)
        .filter_map(|at| look(at))
        .collect())
}

/// The one that is called so, by its name or its folder's; none: the only one.
pub fn find(runs: &Path, name: Option<&str>) -> Result<Standing, Error> {
    let all = list(runs)?;
    let names = |all: &[Standing]| {
        let names: Vec<String> = all.iter().map(|one| one.notice.name.clone()).collect();
        names.join(", ")
    };
    let Some(name) = name else {
        return match <[Standing; 1]>::try_from(all) {
            Ok([one]) => Ok(one),
            Err(all) if all.is_empty() => Err(Error::Refused(format!(
                "no environment stands in {}: bring one up with `meshproof env up`",
                runs.display()
            ))),
            Err(all) => Err(Error::Refused(format!(
                "{} environments stand ({}): name one with --env",
                all.len(),
                names(&all)
            ))),
        };
    };
    let called = |one: &&Standing| {
        one.notice.name == name || one.folder.file_name().is_some_and(|file| file == name)
    };
    // Of two that are called the same, the newer one.
    all.iter().rev().find(called).cloned().ok_or_else(|| {
        Error::Refused(match all.is_empty() {
            true => format!("no environment stands in {}", runs.display()),
            false => format!(
                "no environment is called `{name}`; there are {}",
                names(&all)
            ),
        })
    })
}

fn look(folder: &Path) -> Option<Standing> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    if !is_held(&lock) {
        return None;
    }
    let notice = serde_json::from_slice(&fs::read(folder.join(NOTICE)).ok()?).ok()?;
    Some(Standing {
        folder: folder.to_owned(),
        notice,
    })
}

/// Whether somebody has the lock.
fn is_held(lock: impl AsFd) -> bool {
    // Shared, so that two who look do not see each other.
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // It also goes with the descriptor.
            let _ = flock(&lock, FlockOperation::Unlock);
            false
        }
        Err(error) => error == Errno::WOULDBLOCK,
    }
}

/// Whether an environment stands in this folder.
pub(super) fn stands(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| is_held(&lock))
}

/// The socket in a folder by a path that is short enough for a socket, as long as `folder` is
/// open.
pub(super) fn socket(folder: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(name: &str) -> Notice {
        Notice {
            schema: 1,
            name: name.into(),
            backend: Backend::Netns,
            pid: std::process::id(),
            since_s: 1,
            until_s: None,
            pods: Vec::new(),
        }
    }

    #[test]
    fn what_stands_is_found_and_what_does_not_is_not() {
        let runs = tempfile::tempdir().unwrap();
        let told = |name| find(runs.path(), name).unwrap_err().to_string();
        assert_eq!(list(&runs.path().join("none")).unwrap(), []);
        assert!(told(None).starts_with("no environment stands in"));
        let one = Folder::take(&runs.path().join("01A")).unwrap();
        // It is not there before it is announced.
        assert_eq!(list(runs.path()).unwrap(), []);
        one.announce(&notice("pair")).unwrap();
        assert_eq!(find(runs.path(), None).unwrap().notice.name, "pair");
        let again = Folder::take(one.path()).unwrap_err().to_string();
        assert!(again.ends_with("an environment stands already: name another folder"));
        let two = Folder::take(&runs.path().join("01B")).unwrap();
        two.announce(&notice("chain")).unwrap();
        assert_eq!(
            told(None),
            "2 environments stand (pair, chain): name one with --env"
        );
        assert_eq!(find(runs.path(), Some("01B")).unwrap().notice.name, "chain");
        assert_eq!(
            told(Some("x")),
            "no environment is called `x`; there are pair, chain"
        );
        drop(one);
        assert_eq!(find(runs.path(), None).unwrap().notice.name, "chain");
        drop(two);
        assert_eq!(list(runs.path()).unwrap(), []);
    }
}
