//! Namespaces of one's own.
//!
//! Only the calling thread changes. A process that wants a user namespace must do so before it
//! has a second thread; a thread that wants a network of its own may do so at any time, and what
//! it starts from then on is in that network.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use rustix::thread::{CapabilitySet, capabilities};

/// What can be one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// User ids, and every capability inside.
    User,
    /// Mounts.
    Mount,
    /// Process ids, for children alone: the first child is pid 1, and all others end with it.
    Pid,
    /// Links, addresses, ports.
    Network,
    /// The host name.
    HostName,
    /// System V IPC and POSIX message queues.
    Ipc,
}

impl Namespace {
    fn flag(self) -> CloneFlags {
        match self {
            Namespace::User => CloneFlags::CLONE_NEWUSER,
            Namespace::Mount => CloneFlags::CLONE_NEWNS,
            Namespace::Pid => CloneFlags::CLONE_NEWPID,
            Namespace::Network => CloneFlags::CLONE_NEWNET,
            Namespace::HostName => CloneFlags::CLONE_NEWUTS,
            Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
        }
    }

    /// The entry of `/proc/thread-self/ns`.
    fn entry(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Mount => "mnt",
            Namespace::Pid => "pid",
            Namespace::Network => "net",
            Namespace::HostName => "uts",
            Namespace::Ipc => "ipc",
        }
    }

    /// A descriptor of the calling thread's; the namespace lives at least as long.
    pub fn of_this_thread(self) -> io::Result<OwnedFd> {
        let path = format!("/proc/thread-self/ns/{}", self.entry());
        Ok(File::open(path)?.into())
    }
}

/// Enters a namespace of this kind, by a descriptor of it such as `/proc/PID/ns/net`. A user
/// namespace is entered by a process of one thread alone.
pub fn enter(kind: Namespace, namespace: impl AsFd) -> io::Result<()> {
    Ok(nix::sched::setns(namespace, kind.flag())?)
}

/// Leaves the present namespaces of these kinds for new ones. With a user namespace among them
/// no privilege is needed, unless the machine forbids it (EPERM; ENOSPC where their number is
/// limited).
pub fn unshare(kinds: &[Namespace]) -> io::Result<()> {
    let flags = kinds
        .iter()
        .fold(CloneFlags::empty(), |flags, kind| flags | kind.flag());
    Ok(nix::sched::unshare(flags)?)
}

/// Whether mounts and networks can be made without a user namespace. Capabilities decide, not
/// user id 0: in a container root often has neither.
pub fn privileged() -> io::Result<bool> {
    let effective = capabilities(None)?.effective;
    Ok(effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN))
}

/// The ids of this process, to be mapped after [`unshare`] has changed how they look.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    user: u32,
    group: u32,
}

impl Identity {
    /// Of this process, as it is seen now.
    pub fn of_this_process() -> Identity {
        Identity {
            user: nix::unistd::geteuid().as_raw(),
            group: nix::unistd::getegid().as_raw(),
        }
    }

    /// Makes this process root of its new user namespace, the only user there is in it.
    pub fn becomes_root(self) -> io::Result<()> {
        fs::write("/proc/self/uid_map", format!("0 {} 1", self.user))?;
        // Without this the kernel takes no group map of an ordinary user.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/gid_map", format!("0 {} 1", self.group))
    }
}

/// SIGKILL for this process when the *thread* that started it ends: its parent must have started
/// it from a thread that lives as long as it is to.
pub fn die_with_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Names the host, within the calling thread's namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_leaves_a_namespace_alone() {
        let entry = || fs::read_link("/proc/thread-self/ns/uts").unwrap();
        let before = entry();
        let inside = std::thread::spawn(move || {
            unshare(&[Namespace::HostName]).map(|()| {
                set_host_name("elsewhere").unwrap();
                let held = Namespace::HostName.of_this_thread().unwrap();
                drop(held);
                (entry(), nix::unistd::gethostname().unwrap())
            })
        })
        .join()
        .unwrap();
        assert_eq!(entry(), before);
        match inside {
            Ok((after, name)) => {
                assert_ne!(after, before);
                assert_eq!(name.to_str(), Some("elsewhere"));
                assert_ne!(nix::unistd::gethostname().unwrap(), name);
            }
            // An ordinary user may not, and is told.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
