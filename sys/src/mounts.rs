//! Mounts within a mount namespace of one's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

const NONE: Option<&str> = None;

/// From now on no mount of this namespace is seen outside, and none from outside in it.
pub fn make_private() -> io::Result<()> {
    Ok(mount(
        NONE,
        "/",
        NONE,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NONE,
    )?)
}

/// A `/proc` that shows the processes of the caller's pid namespace. A container whose own
/// `/proc` is masked refuses this to an ordinary user (EPERM).
pub fn proc() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), "/proc", Some("proc"), flags, NONE)?)
}

/// A `/sys` that shows the links of the caller's network namespace. Refused like [`proc`].
pub fn sysfs() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("sysfs"), "/sys", Some("sysfs"), flags, NONE)?)
}

/// An empty folder in memory at `path`.
pub fn tmpfs(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), flags, NONE)?)
}

/// The same, with room for so many bytes.
pub fn tmpfs_of(path: &Path, bytes: u64) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let size = format!("size={bytes}");
    Ok(mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        flags,
        Some(size.as_str()),
    )?)
}

/// Puts the file `with` in the place of the file `at`, which must be there.
pub fn replace_file(at: &Path, with: &Path) -> io::Result<()> {
    Ok(mount(Some(with), at, NONE, MsFlags::MS_BIND, NONE)?)
}

/// An empty folder over `path` that takes no writes; the kernel's table of mounts names `source`.
pub fn empty_read_only(path: &Path, source: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
    Ok(mount(Some(source), path, Some("tmpfs"), flags, NONE)?)
}

/// Puts the folder `with` over the folder `at`, where it takes no writes.
pub fn bind_read_only(with: &Path, at: &Path) -> io::Result<()> {
    mount(Some(with), at, NONE, MsFlags::MS_BIND, NONE)?;
    // What was forbidden there stays so: the kernel refuses to an ordinary user to allow it.
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let forbids = statvfs(at)?.flags();
    for (forbids_this, flag) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        flags.set(flag, forbids.contains(forbids_this));
    }
    Ok(mount(NONE, at, NONE, flags, NONE)?)
}

/// Takes what is mounted at `path` away, the newest of several, though something in it be open.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(umount2(path, MntFlags::MNT_DETACH)?)
}

/// Where `path` leads in the end, as [`fs::canonicalize`], though the last file be missing; a
/// link is followed at most 16 times. Asked before a mount hides what lies there.
pub fn leads_to(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..16 {
        let Ok(target) = fs::read_link(&path) else {
            break;
        };
        // `join` takes an absolute target as it is.
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return path;
    };
    match fs::canonicalize(folder) {
        Ok(folder) => folder.join(name),
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_what_may_not_be_there() {
        let folder = std::env::temp_dir().join(format!("leads-to-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep")).unwrap();
        let link = |name: &str, target: &str| {
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
        };
        link("one", "two");
        link("two", "deep/../deep/three");
        link("loop", "loop");
        fs::write(folder.join("plain"), "").unwrap();
        let real = fs::canonicalize(&folder).unwrap();
        assert_eq!(leads_to(&folder.join("one")), real.join("deep/three"));
        assert_eq!(leads_to(&folder.join("plain")), real.join("plain"));
        assert_eq!(leads_to(&folder.join("loop")), real.join("loop"));
        assert_eq!(leads_to(Path::new("/")), Path::new("/"));
        fs::remove_dir_all(folder).unwrap();
    }
}
