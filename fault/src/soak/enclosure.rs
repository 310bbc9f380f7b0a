//! The small machine in which runs are killed.

use std::fs;
use std::io;
use std::path::Path;

use meshproof_sys::links::Links;
use meshproof_sys::mounts;
use meshproof_sys::namespaces::{Namespace, unshare};

use crate::Error;

/// The small disk.
pub(super) const DISK: &str = "/run/soak/disk";

/// What fits on it, in bytes.
const DISK_BYTES: u64 = 1 << 20;

/// What programs are told of memory: half of it is taken by a burner.
const MEMORY: &str = "MemTotal: 65536 kB\nMemFree: 32768 kB\nMemAvailable: 32768 kB\n";

/// The calling thread leaves its network and its mounts for ones in which it is alone: a link
/// that can be cut, a small disk, little memory, an empty journal.
pub(super) fn enter() -> Result<(), Error> {
    unshare(&[Namespace::Network, Namespace::Mount]).map_err(|error| Error::Unsupported {
        missing: format!("a network and mounts of its own: {error}"),
        advice: "run as root, or allow user namespaces".to_owned(),
    })?;
    let made = || -> io::Result<()> {
        mounts::make_private()?;
        mounts::tmpfs(Path::new("/run"))?;
        fs::create_dir_all(DISK)?;
        mounts::tmpfs_of(Path::new(DISK), DISK_BYTES)?;
        fs::write("/run/soak/meminfo", MEMORY)?;
        mounts::replace_file(Path::new("/proc/meminfo"), Path::new("/run/soak/meminfo"))?;
        let links = Links::open()?;
        links.up(links.find("lo")?)?;
        // One that is up would get an address by itself, some time later.
        links.bridge("soak0").map(drop)
    };
    made().map_err(Error::io("a small machine to kill runs in"))
}
