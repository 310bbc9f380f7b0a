//! Faults of disks: the way `filler`, a full one.
//!
//! What fills it is a file without a name (`O_TMPFILE`): there is nothing to delete, and the
//! kernel frees it with its last descriptor.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use rustix::fs::{FallocateFlags, Mode, OFlags, StatVfs, fallocate, fstatvfs, openat};
use rustix::io::Errno;

use crate::spec::Kind;
use crate::{
    Backend, Count, Error, Evidence, Hold, Plan, Refusal, Residue, RuleText, Scene, Spec, Way,
};

/// A disk with more room than this is not filled, in bytes.
const FILL_BYTES_MAX: u64 = 16 << 30;

/// Between two looks at whether something was freed; it is filled again then.
const LOOK: Duration = Duration::from_millis(100);

/// A disk without room.
#[derive(Debug)]
pub struct Filler;

impl Backend for Filler {
    fn way(&self) -> Way {
        Way::Filler
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        if kind != Kind::Full {
            return Err(Refusal::Inexact(format!("a filler does no {kind}")));
        }
        let Some(folder) = &spec.folder else {
            return Err(Refusal::Inexact("no folder was named".to_owned()));
        };
        let path = Path::new(&folder.value);
        let inexact = |error: io::Error| Refusal::Inexact(format!("{}: {error}", path.display()));
        let folder = fs::metadata(path).map_err(inexact)?;
        let whole = fs::metadata("/").map_err(inexact)?;
        if folder.dev() == whole.dev() {
            return Err(Refusal::Inexact(format!(
                "{} is on the disk of the whole machine (the one of /); name a folder on a disk \
                 of its own, such as a small tmpfs",
                path.display()
            )));
        }
        let file = nameless(path).map_err(|error| Refusal::Missing {
            missing: format!("files without a name at {}: {error}", path.display()),
            advice: "use a file system that has O_TMPFILE: ext4, xfs, btrfs, tmpfs".to_owned(),
        })?;
        let free = free(&fstatvfs(&file).map_err(|error| inexact(error.into()))?);
        if free > FILL_BYTES_MAX {
            return Err(Refusal::Inexact(format!(
                "{} MiB are free at {}: expected at most {} MiB to be filled",
                free >> 20,
                path.display(),
                FILL_BYTES_MAX >> 20
            )));
        }
        let mut plan = Plan::bare(Way::Filler, spec, scene);
        plan.rules = vec![RuleText {
            exact: format!("fill {} KiB at {}", free >> 10, path.display()),
            iptables: None,
        }];
        plan.also_hit = vec![format!(
            "everything that writes to the file system of {}",
            path.display()
        )];
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let Some(folder) = &plan.spec.folder else {
            return Err(Error::Refused("a plan that is not of this way".to_owned()));
        };
        let told = |error| Error::io(format!("filling {}", folder.value))(error);
        let file = nameless(Path::new(&folder.value)).map_err(told)?;
        let mut full = Full {
            folder: folder.value.clone(),
            file: Some(file),
            bytes: 0,
        };
        full.fill().map_err(told)?;
        Ok(Box::new(full))
    }
}

fn nameless(folder: &Path) -> io::Result<OwnedFd> {
    let folder = File::open(folder)?;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR)?)
}

/// Bytes that an ordinary user may still write.
fn free(disk: &StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

struct Full {
    folder: String,
    file: Option<OwnedFd>,
    bytes: u64,
}

impl Full {
    /// Takes all there is, in ever smaller parts.
    fn fill(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let disk = fstatvfs(file)?;
        let smallest = disk.f_frsize.max(1);
        let mut part = free(&disk).max(smallest);
        while part >= smallest && self.bytes < FILL_BYTES_MAX {
            match fallocate(file, FallocateFlags::empty(), self.bytes, part) {
                Ok(()) => self.bytes += part,
                Err(Errno::NOSPC | Errno::DQUOT) => part /= 2,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_full(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let disk = fstatvfs(file)?;
        Ok(free(&disk) < disk.f_frsize.max(1))
    }
}

impl Hold for Full {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        let full = self
            .is_full()
            .map_err(Error::io(format!("looking at {}", self.folder)))?;
        let mut evidence = Evidence {
            counts: vec![Count {
                what: format!("bytes filled at {}, none left", self.folder),
                met: if full { self.bytes } else { 0 },
            }],
            ..Evidence::default()
        };
        if !full {
            evidence
                .reasons
                .push("somebody has freed some meanwhile".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        // The last descriptor of a file that has no name.
        drop(self.file.take());
        Ok(Residue {
            looked_at: vec![format!("{}: what filled it had no name", self.folder)],
            ..Residue::default()
        })
    }

    fn tick(&mut self, now: Nanos) -> Option<Nanos> {
        self.file.as_ref()?;
        // What cannot be filled again shows in the evidence.
        let _ = self.fill();
        Some(now + LOOK)
    }
}
