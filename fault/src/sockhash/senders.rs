//! Whose descriptor a socket is, and a copy of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

/// Descriptors that are looked at.
const DESCRIPTORS_MAX: usize = 1_000_000;

/// A descriptor of some process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sender {
    /// The process.
    pub(super) process: u32,
    /// Its number for it.
    pub(super) descriptor: RawFd,
    /// The inode of the socket that it is.
    pub(super) inode: u64,
}

/// Who has these sockets, by inode; and how many processes would not show what they have.
pub(super) fn find(inodes: &[u64]) -> io::Result<(BTreeMap<u64, Sender>, u64)> {
    let mut found = BTreeMap::new();
    let (mut closed, mut looked_at) = (0, 0);
    for entry in fs::read_dir("/proc")? {
        // Whatever ends while it is looked at has nothing to show.
        let Some(process) = entry
            .ok()
            .and_then(|entry| entry.file_name().to_str()?.parse().ok())
        else {
            continue;
        };
        let descriptors = match fs::read_dir(format!("/proc/{process}/fd")) {
            Ok(descriptors) => descriptors,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                closed += 1;
                continue;
            }
            Err(_) => continue,
        };
        for entry in descriptors.flatten() {
            looked_at += 1;
            if found.len() == inodes.len() || looked_at > DESCRIPTORS_MAX {
                return Ok((found, closed));
            }
            let link = fs::read_link(entry.path()).unwrap_or_default();
            let inode = link.to_str().and_then(inode_of);
            let descriptor = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let (Some(inode), Some(descriptor)) = (inode, descriptor)
                && inodes.contains(&inode)
            {
                found.entry(inode).or_insert(Sender {
                    process,
                    descriptor,
                    inode,
                });
            }
        }
    }
    Ok((found, closed))
}

/// `socket:[4711]`
fn inode_of(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

impl Sender {
    /// A copy of the descriptor, closed on exec; none: it is another socket by now, or none. As
    /// long as the copy is there, the socket does not end with its owner.
    pub(super) fn copy(self) -> io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Ok(None);
        };
        let copied = pidfd_open(pid, PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, self.descriptor, PidfdGetfdFlags::empty()));
        match copied {
            Ok(socket) if rustix::fs::fstat(&socket)?.st_ino == self.inode => Ok(Some(socket)),
            Ok(_) | Err(Errno::SRCH | Errno::BADF) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_found_by_its_inode() {
        let (one, _other) = UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(&one).unwrap().st_ino;
        let (found, _) = find(&[inode]).unwrap();
        let sender = found[&inode];
        assert_eq!(sender.process, std::process::id());
        assert_eq!(sender.descriptor, one.as_raw_fd());
        let copy = sender.copy().unwrap().unwrap();
        assert_eq!(rustix::fs::fstat(&copy).unwrap().st_ino, inode);
        let moved = Sender { inode: 1, ..sender };
        assert!(moved.copy().unwrap().is_none());
        assert_eq!(inode_of("socket:[12]"), Some(12));
        assert_eq!(inode_of("pipe:[12]"), None);
    }
}
